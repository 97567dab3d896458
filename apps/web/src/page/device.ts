/** What this device has, as far as the browser says. */

export interface Device {
  readonly cores: number;
  readonly isIsolated: boolean;
  /** null: no WebGPU here. */
  readonly gpu: { readonly name: string; readonly isSoftware: boolean; readonly hasFloat16: boolean } | null;
}

export async function lookAtDevice(): Promise<Device> {
  return { cores: navigator.hardwareConcurrency || 1, isIsolated: self.crossOriginIsolated, gpu: await findGpu() };
}

/** Threads that can be used: one without cross-origin isolation. */
export function mostThreads(device: Device): number {
  return device.isIsolated ? Math.min(device.cores, 16) : 1;
}

/** All of few cores; of many the half, because phones have slow ones, too. */
export function usualThreads(device: Device): number {
  const most = mostThreads(device);
  return most <= 4 ? most : Math.min(8, Math.ceil(most / 2));
}

/** The most bytes that a result may have, from what the browser tells of the memory. */
export function mostResultBytes(): number {
  const { deviceMemory } = navigator as Navigator & { deviceMemory?: number };
  if (deviceMemory !== undefined) return Math.min(2e9, (deviceMemory * 1e9) / 4);
  return matchMedia("(pointer: coarse)").matches ? 6e8 : 1.5e9;
}

async function findGpu(): Promise<Device["gpu"]> {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return null;
    const { vendor, architecture, description } = adapter.info;
    const name = [vendor, architecture || description].filter(Boolean).join(" ") || "unnamed";
    const isFallback = (adapter.info as GPUAdapterInfo & { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
    const isSoftware = isFallback || /swiftshader|llvmpipe|software/i.test(name);
    return { name, isSoftware, hasFloat16: adapter.features.has("shader-f16") };
  } catch {
    return null; // a browser that knows WebGPU and may not use it
  }
}
