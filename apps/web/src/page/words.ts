/** Facts as people read them. */

import type { FileEntry, Manifest } from "../core/manifest";

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

/** The network whose precisions can be switched. */
export function family({ model, scale, target }: Manifest): string {
  return `${model} ×${scale}, ${target === "tflite" ? "LiteRT" : "ONNX"}`;
}

export function fileWords({ name, bytes, sha256 }: FileEntry): string {
  return `${name}, ${(bytes / 1000).toFixed(0)} KB, sha256 ${sha256.slice(0, 12)}…`;
}
