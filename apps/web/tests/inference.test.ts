/** The work of a worker with a network of a few lines, asked as the page asks. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256Hex } from "../src/core/hashing";
import type { Manifest, TensorSpec } from "../src/core/manifest";
import type { Numbers, Photo } from "../src/core/pixels";
import { planTiles } from "../src/core/tiling";
import { serve } from "../src/workers/inference";
import type { InferenceReply, InferenceRequest, WorkerScope } from "../src/workers/protocol";

const SPEC: TensorSpec = { name: "x", dtype: "float32", layout: "NCHW", range: [0, 1] };
const FACTS = { runtime: "fake", backend: "CPU", threads: 1 };

/** What a worker replies last to a photo of two tiles whose left half is half transparent. */
async function answer(network: (input: Numbers) => Numbers): Promise<InferenceReply> {
  const scope: WorkerScope<InferenceRequest, InferenceReply> = { onmessage: null, postMessage: () => undefined };
  const file = new Uint8Array(4);
  Object.assign(globalThis, { self: scope, fetch: async () => new Response(file) });
  serve(async () => ({ facts: FACTS, run: async (input) => network(input), close: () => undefined }));
  const ask = (request: InferenceRequest) =>
    new Promise<InferenceReply>((resolve) => {
      scope.postMessage = (reply) => reply.kind !== "tile" && resolve(reply);
      scope.onmessage?.({ data: request } as MessageEvent<InferenceRequest>);
    });
  const rgba = new Uint8ClampedArray(4 * 16 * 8).map((_, i) => (i % 4 < 3 ? 90 : i % 64 < 32 ? 128 : 255));
  const photo: Photo = { width: 16, height: 8, rgba, isGrey: false, hasAlpha: true };
  const rule = { haloPx: 0, minSidePx: 1, multiplePx: 1 };
  const entry = { name: "model.onnx", bytes: file.length, sha256: await sha256Hex(file) };
  const manifest = { ...rule, scale: 1, target: "onnxruntime", main: entry.name, files: [entry], sizes: [], input: SPEC, output: SPEC };
  const open = { url: "http://localhost/", manifest: manifest as unknown as Manifest, engine: "cpu", threads: 1, runtimeUrl: "" } as const;
  assert.equal((await ask({ kind: "open", ...open })).kind, "opened");
  return ask({ kind: "run", photo, plan: planTiles(8, 16, rule, 1, [8, 8]) });
}

/** Colour is at most 90 of 255 there, opacity at least 128. */
const isAlpha = (input: Numbers) => input.every((value) => value > 0.5);

test("a network that repeats its input gives the photo back", async () => {
  assert.equal((await answer((input) => input)).kind, "done");
});

for (const [source, spoils] of [["colour", (input: Numbers) => !isAlpha(input)], ["alpha", isAlpha]] as const) {
  test(`NaN in the answer to ${source} is never shown`, async () => {
    const reply = await answer((input) => (spoils(input) ? input.map(() => NaN) : input));
    assert.ok(reply.kind === "failed" && reply.error === "output", reply.kind);
    assert.match(reply.message, /NaN or infinity/);
  });
}
