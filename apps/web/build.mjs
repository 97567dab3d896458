// Bundles the page, its workers and the service worker; copies the runtimes' files. `node build.mjs dist`.
// `node build.mjs --tests build/tests` bundles the unit tests for `node --test` instead.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const inTests = process.argv[2] === "--tests";
const out = process.argv[inTests ? 3 : 2];
if (out === undefined) {
  console.error("usage: node build.mjs [--tests] OUT");
  process.exit(2);
}

const common = {
  absWorkingDir: root,
  bundle: true,
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
  // The builds that load their WebAssembly from files beside them instead of carrying their loaders twice.
  conditions: ["onnxruntime-web-use-extern-wasm"],
};

/** Which files of a package a runtime needs: "now" on every device, "later" where something else is found. */
const RUNTIMES = {
  onnxruntime: {
    package: "onnxruntime-web/dist",
    now: ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
    later: ["ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
  },
  tflite: {
    package: "@litertjs/core/wasm",
    now: ["litert_wasm_threaded_internal.js", "litert_wasm_threaded_internal.wasm"],
    later: ["litert_wasm_internal.js", "litert_wasm_internal.wasm"],
  },
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await (inTests ? buildTests() : buildApp());

async function buildTests() {
  const names = (await readdir(join(root, "tests"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...common,
    entryPoints: names.map((name) => `tests/${name}`),
    outdir: out,
    platform: "node",
    format: "esm",
    outExtension: { ".js": ".mjs" },
  });
}

async function buildApp() {
  const options = { ...common, outdir: join(out, "app"), minify: true };
  const litert = await version("@litertjs/core");
  await build({ ...options, entryPoints: { page: "src/page/main.ts" }, format: "esm" });
  await build({ ...options, entryPoints: { photo_worker: "src/workers/photo_worker.ts" }, format: "esm" });
  await build({
    ...options,
    entryPoints: { onnx_worker: "src/workers/onnx_worker.ts" },
    format: "esm",
    splitting: true,
    chunkNames: "onnx_[name]_[hash]",
  });
  await build({
    ...options,
    entryPoints: { litert_worker: "src/workers/litert_worker.ts" },
    format: "iife",
    define: { LITERT_VERSION: JSON.stringify(litert) },
  });
  await build({ ...options, outdir: out, entryPoints: { sw: "src/service_worker.ts" }, format: "iife" });
  for (const name of await readdir(join(root, "public"))) await copyFile(join(root, "public", name), join(out, name));
  await mkdir(join(out, "runtime"));
  for (const runtime of Object.values(RUNTIMES)) {
    for (const name of [...runtime.now, ...runtime.later]) {
      await copyFile(join(root, "node_modules", runtime.package, name), join(out, "runtime", name));
    }
  }
  await copyFile(join(root, "node_modules/@noble/hashes/LICENSE"), join(out, "noble-hashes.LICENSE"));
  const versions = { "onnxruntime-web": await version("onnxruntime-web"), "@litertjs/core": litert };
  await writeFile(join(out, "build.json"), `${JSON.stringify({ runtimes: RUNTIMES, versions }, null, 1)}\n`);
}

async function version(name) {
  return JSON.parse(await readFile(join(root, "node_modules", name, "package.json"), "utf8")).version;
}
