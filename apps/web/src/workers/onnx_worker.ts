/** Runs ONNX artifacts with ONNX Runtime Web: WebAssembly on the CPU, or WebGPU. A worker is opened for one engine only;
 * each engine is another build of the runtime, of which only the one in use is loaded. */

import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-web";
import { AppError } from "../core/errors";
import type { Numbers } from "../core/pixels";
import type { Size } from "../core/tiling";
import { serve, type Session } from "./inference";
import type { Engine, OpenRequest } from "./protocol";

type Ort = typeof import("onnxruntime-web");

const BUILDS: Record<Engine, string> = { cpu: "ort-wasm-simd-threaded", gpu: "ort-wasm-simd-threaded.asyncify" };

let loaded: Promise<Ort> | null = null;

serve(async (bytes, request) => {
  loaded ??= request.engine === "cpu" ? import("onnxruntime-web/wasm") : import("onnxruntime-web/webgpu");
  const ort = await loaded;
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = request.threads;
  ort.env.wasm.wasmPaths = {
    mjs: new URL(`${BUILDS[request.engine]}.mjs`, request.runtimeUrl).href,
    wasm: new URL(`${BUILDS[request.engine]}.wasm`, request.runtimeUrl).href,
  };
  const { session, backend } = await create(ort, bytes, request);
  return wrap(ort, session, backend, request);
});

async function create(
  ort: Ort,
  bytes: Uint8Array,
  request: OpenRequest,
): Promise<{ session: InferenceSession; backend: string }> {
  const options: InferenceSession.SessionOptions = { graphOptimizationLevel: "all", logSeverityLevel: 3 };
  if (request.engine === "cpu") {
    return { session: await ort.InferenceSession.create(bytes, { ...options, executionProviders: ["wasm"] }), backend: "CPU" };
  }
  const name = await gpuName();
  const gpu = { ...options, executionProviders: ["webgpu"] };
  try {
    // Refused where an operator has no GPU kernel, so that "all on the GPU" is never claimed wrongly.
    const strict = { ...gpu, extra: { session: { disable_cpu_ep_fallback: "1" } } };
    return { session: await ort.InferenceSession.create(bytes, strict), backend: `WebGPU (${name})` };
  } catch (thrown) {
    if (/requires f16/.test(String(thrown))) {
      throw new AppError("engine", "This GPU has no 16-bit floats (shader-f16), which this model needs. Choose FP32, or the CPU.");
    }
    const session = await ort.InferenceSession.create(bytes, gpu);
    return { session, backend: `WebGPU (${name}), some operators on the CPU` };
  }
}

async function gpuName(): Promise<string> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new AppError("engine", "This browser offers no WebGPU on this device. Choose the CPU under Settings.");
  const { vendor, architecture, description } = adapter.info;
  return [vendor, architecture || description].filter(Boolean).join(" ") || "unnamed GPU";
}

function wrap(ort: Ort, session: InferenceSession, backend: string, { manifest, engine }: OpenRequest): Session {
  const { input, output } = manifest;
  if (session.inputNames.join() !== input.name || session.outputNames.join() !== output.name) {
    throw new AppError(
      "artifact",
      `${manifest.main} does not match its manifest: tensors ${input.name} and ${output.name} expected, ` +
        `${session.inputNames.join()} and ${session.outputNames.join()} found. Make the bundle again.`,
    );
  }
  return {
    facts: {
      runtime: `onnxruntime-web ${ort.env.versions.web ?? ort.env.versions.common}`,
      backend,
      // The runtime lowers this in silence where the page is not cross-origin isolated.
      threads: engine === "cpu" ? (ort.env.wasm.numThreads ?? 1) : 1,
    },
    async run(numbers: Numbers, [height, width]: Size): Promise<Numbers> {
      const shape = input.layout === "NCHW" ? [1, 3, height, width] : [1, height, width, 3];
      const tensor = new ort.Tensor(input.dtype, numbers as never, shape) as OrtTensor;
      const answers = await session.run({ [input.name]: tensor });
      const answer = answers[output.name] as OrtTensor;
      const data = (await answer.getData(true)) as Numbers;
      tensor.dispose();
      answer.dispose();
      return data;
    },
    close: () => session.release(),
  };
}
