/** The lines that edgesr/bench/records.py reads; tests/test_web_core.py reads the file that is written here. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import type { Manifest } from "../src/core/manifest";
import { toJsonl } from "../src/core/records";

const manifest: Manifest = {
  slug: "m_x4_onnxruntime_int8_dynamic",
  model: "m",
  target: "onnxruntime",
  precision: "int8",
  scale: 4,
  main: "model.onnx",
  files: [{ name: "model.onnx", sha256: "0".repeat(64), bytes: 12 }],
  input: { name: "image", dtype: "float32", layout: "NCHW", range: [0, 1] },
  output: { name: "upscaled", dtype: "float32", layout: "NCHW", range: [0, 1] },
  haloPx: 9,
  minSidePx: 1,
  multiplePx: 1,
  peakBytesPerPx: 10,
  sizes: [],
  weights: { kind: "user", file: "w", sha256: "1".repeat(64) },
  int8Share: 0.9,
  dropDb: null,
};

test("a run is a start, its repeats and an end, with raw nanoseconds", () => {
  const repeat = { loadNs: 5, firstNs: 4, warmupNs: [3], rawNs: [1, 2], atS: 0.5, runtime: { runtime: "r" } };
  const text = toJsonl({
    manifest,
    size: [180, 320],
    threads: 2,
    startedAt: new Date(0),
    edgesr: "0.1.0",
    where: { name: "Chrome 1 on Linux", facts: { cores: 2 } },
    inputs: { count: 16, source: "pieces of a photo", sha256: "2".repeat(64) },
    repeats: [repeat, repeat],
  });
  const kinds = text.trimEnd().split("\n").map((line) => (JSON.parse(line) as { kind: string }).kind);
  assert.deepEqual(kinds, ["start", ...["opened", "samples", "closed"], ...["opened", "samples", "closed"], "end"]);
  const file = process.env["EDGESR_CASES"];
  if (file !== undefined) writeFileSync(`${file}.jsonl`, text);
});
