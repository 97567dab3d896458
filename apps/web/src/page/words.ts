/** Numbers as people read them. */

export function megapixels(px: number): string {
  const value = px / 1e6;
  return `${value < 10 ? value.toFixed(value < 0.1 ? 2 : 1) : Math.round(value)} Mpx`;
}

export function signed(value: number): string {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}

export const PRECISIONS: Readonly<Record<string, string>> = { fp32: "FP32", fp16: "FP16", int8: "INT8" };

export function engineWords(backend: string, threads: number): string {
  return backend === "CPU" ? `CPU · ${threads} ${threads === 1 ? "thread" : "threads"}` : backend;
}
