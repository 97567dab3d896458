import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../src/core/errors";
import { checkFile, sha256Hex } from "../src/core/hashing";
import { fileFor, filesToOpen, parseManifest } from "../src/core/manifest";
import { artifactSha256 } from "../src/core/records";

const EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const tensor = { name: "image", dtype: "float32", layout: "NCHW", value_range: [0, 1], colour: "RGB", shape: [] };
const good = {
  schema: 1,
  slug: "bsrn-s_x4_onnxruntime_int8_dynamic",
  request: { model: "bsrn-s", scale: 4, target: "onnxruntime", precision: "int8", sizes: [], io: "float32" },
  scale: 4,
  main: "model.onnx",
  files: [{ name: "model.onnx", sha256: EMPTY, bytes: 0 }],
  inputs: [tensor],
  outputs: [{ ...tensor, name: "upscaled" }],
  min_side_px: 15,
  halo_px: 32,
  multiple_px: 1,
  peak_bytes_per_px: 3264,
  weights: { kind: "user", file: "w.pth", sha256: EMPTY },
  shares: { int8_macs: 0.9 },
  proof: { sets: [{ name: "Set5", psnr_drop_db: 0.1 }, { name: "Set14", psnr_drop_db: 0.3 }] },
};
const parse = (changes: object) => parseManifest(JSON.stringify({ ...good, ...changes }));

test("a manifest of this kit is read", () => {
  const manifest = parse({});
  assert.equal(manifest.haloPx, 32);
  assert.deepEqual(manifest.input.range, [0, 1]);
  assert.equal(manifest.dropDb?.mean, 0.2);
  assert.equal(fileFor(manifest, [100, 100]).name, "model.onnx");
  const files = ["a.json", "model.onnx"].map((name) => ({ name, sha256: EMPTY, bytes: 0 }));
  assert.deepEqual(filesToOpen(parse({ files })).map(({ name }) => name), ["model.onnx"]);
});

test("LiteRT has a file for each of several sizes", () => {
  const files = ["model_64x64.tflite", "model_96x128.tflite"].map((name) => ({ name, sha256: EMPTY, bytes: 0 }));
  const request = { ...good.request, target: "tflite", sizes: [[64, 64], [96, 128]] };
  const manifest = parse({ request, files, main: "model_64x64.tflite" });
  assert.equal(fileFor(manifest, [96, 128]).name, "model_96x128.tflite");
  assert.throws(() => fileFor(manifest, [7, 7]), /have no model_7x7.tflite/);
  assert.deepEqual(filesToOpen(manifest), manifest.files);
  assert.throws(() => parse({ request, files: files.slice(1), main: "model_96x128.tflite" }), /have no model_64x64.tflite/);
});

const hostile: readonly (readonly [string, object])[] = [
  ["another schema", { schema: 2 }],
  ["a file outside", { files: [{ name: "../../x", sha256: EMPTY, bytes: 0 }], main: "../../x" }],
  ["an absolute file", { files: [{ name: "/etc/x", sha256: EMPTY, bytes: 0 }], main: "/etc/x" }],
  ["a file with a query", { files: [{ name: "x?y", sha256: EMPTY, bytes: 0 }], main: "x?y" }],
  ["no hash", { files: [{ name: "model.onnx", sha256: "abc", bytes: 0 }] }],
  ["a main that is not there", { main: "other.onnx" }],
  ["a target of phones", { request: { ...good.request, target: "coreml" } }],
  ["a scale of nothing", { scale: 0 }],
  ["a scale of text", { scale: "4" }],
  ["a negative halo", { halo_px: -1 }],
  ["another range", { inputs: [{ ...tensor, value_range: [0, 255] }] }],
  ["another colour", { inputs: [{ ...tensor, colour: "BGR" }] }],
  ["two inputs", { inputs: [tensor, tensor] }],
  ["no request", { request: null }],
  ["sizes of nothing", { request: { ...good.request, sizes: [[0, 4]] } }],
];
for (const [name, changes] of hostile) {
  test(`${name} is refused`, () => {
    assert.throws(() => parse(changes), (error) => error instanceof AppError && error.kind === "artifact");
  });
}

test("what is no JSON is refused", () => assert.throws(() => parseManifest("{"), /not valid JSON/));

test("files are checked by size and hash, with and without WebCrypto", async () => {
  const bytes = new TextEncoder().encode("abc");
  const sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  await checkFile({ name: "m", sha256, bytes: 3 }, bytes);
  await assert.rejects(checkFile({ name: "m", sha256, bytes: 4 }, bytes), /4 bytes expected, 3 found/);
  await assert.rejects(checkFile({ name: "m", sha256: EMPTY, bytes: 3 }, bytes), /m was changed/);
  const crypto = Object.getOwnPropertyDescriptor(globalThis, "crypto");
  Object.defineProperty(globalThis, "crypto", { value: undefined, configurable: true });
  try {
    assert.equal(await sha256Hex(bytes), sha256);
  } finally {
    if (crypto) Object.defineProperty(globalThis, "crypto", crypto);
    else delete (globalThis as { crypto?: unknown }).crypto;
  }
});

test("an artifact's hash is over names and hashes in the order of names", () => {
  const files = ["b", "a"].map((name) => ({ name, sha256: EMPTY, bytes: 0 }));
  assert.equal(artifactSha256(parse({ files, main: "a" })), artifactSha256(parse({ files: files.reverse(), main: "a" })));
});
