/** Runs LiteRT (TensorFlow Lite) artifacts with LiteRT.js. A classic worker: its loader needs importScripts. */

import { Tensor, loadAndCompile, loadLiteRt, type CompiledModel, type TypedArray } from "@litertjs/core";
import { AppError } from "../core/errors";
import type { Numbers } from "../core/pixels";
import type { Size } from "../core/tiling";
import { serve, type Session } from "./inference";
import type { OpenRequest } from "./protocol";

declare const LITERT_VERSION: string; // written in by build.mjs

let threaded: Promise<boolean> | null = null;

serve(async (bytes, request) => {
  threaded ??= start(request);
  const isThreaded = await threaded;
  const threads = isThreaded && request.engine === "cpu" ? request.threads : 1;
  const accelerator = request.engine === "gpu" ? "webgpu" : "wasm";
  const model = await loadAndCompile(bytes, { accelerator, cpuOptions: { numThreads: threads } });
  return wrap(model, threads, request);
});

/** What the runtime's loader reads: it would look for its files beside this script. */
interface LoaderScope {
  Module?: { locateFile(name: string): string; mainScriptUrlOrBlob: string };
}

/** True for the build with threads, which only a cross-origin isolated page can use. */
async function start({ engine, runtimeUrl }: OpenRequest): Promise<boolean> {
  if (engine === "gpu" && !(await navigator.gpu?.requestAdapter())) {
    throw new AppError("engine", "This browser offers no WebGPU on this device. Choose the CPU under Settings.");
  }
  const build = self.crossOriginIsolated ? "litert_wasm_threaded_internal.js" : "litert_wasm_internal.js";
  const script = new URL(build, runtimeUrl).href;
  (self as LoaderScope).Module = { locateFile: (name) => new URL(name, runtimeUrl).href, mainScriptUrlOrBlob: script };
  await loadLiteRt(script);
  return self.crossOriginIsolated;
}

function wrap(model: CompiledModel, threads: number, { manifest, engine }: OpenRequest): Session {
  const found = [...model.getInputDetails(), ...model.getOutputDetails()];
  const names = [manifest.input.name, manifest.output.name];
  if (found.map((end) => end.name).join() !== names.join()) {
    throw new AppError(
      "artifact",
      `The model does not match its manifest: tensors ${names.join(", ")} expected, ` +
        `${found.map((end) => end.name).join(", ")} found. Make the bundle again.`,
    );
  }
  const isOnGpu = engine === "gpu" && model.options.accelerator === "webgpu";
  return {
    facts: {
      runtime: `LiteRT.js ${LITERT_VERSION}`,
      backend: isOnGpu ? "WebGPU" : "CPU",
      threads,
    },
    async run(numbers: Numbers, [height, width]: Size): Promise<Numbers> {
      const input = new Tensor(numbers as TypedArray, [1, height, width, 3]);
      const [answer] = await model.run([input]);
      input.delete();
      if (answer === undefined) throw new AppError("engine", "LiteRT.js gave no answer. Reload the page.");
      const data = (await answer.data()).slice() as Numbers;
      answer.delete();
      return data;
    },
    close: () => model.delete(),
  };
}
