/** Reads the part of manifest.json that the app needs, trusting nothing in it. Schema 1 of edgesr/artifact.py. */

import { AppError } from "./errors";
import type { Size, TilingFacts } from "./tiling";

export type Dtype = "float32" | "uint8" | "int8";
export type Layout = "NCHW" | "NHWC";

/** One tensor: `range` is what 0 and 1 of a colour are in its numbers. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly layout: Layout;
  readonly range: readonly [number, number];
}

export interface FileEntry {
  readonly name: string;
  readonly sha256: string;
  readonly bytes: number;
}

export interface Manifest extends TilingFacts {
  readonly slug: string;
  readonly model: string;
  readonly target: "onnxruntime" | "tflite";
  readonly precision: string;
  readonly main: string;
  readonly files: readonly FileEntry[];
  readonly input: TensorSpec;
  readonly output: TensorSpec;
  readonly weights: { readonly kind: string; readonly file: string; readonly sha256: string };
  readonly int8Share: number | null;
  /** Mean drop against float32 in dB over the image sets of the proof, with their names; null: not measured. */
  readonly dropDb: { readonly mean: number; readonly sets: string } | null;
}

const SCHEMA = 1;
const RANGES: Record<Dtype, readonly [number, number]> = { float32: [0, 1], uint8: [0, 255], int8: [-128, 127] };
const LARGEST = 100_000;

/** Throws AppError of kind "artifact" naming the field. */
export function parseManifest(text: string): Manifest {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw wrong("the file", `is not valid JSON (${error instanceof Error ? error.message : error})`);
  }
  const top = table(raw, "the file");
  if (top["schema"] !== SCHEMA) throw wrong("schema", `is ${String(top["schema"])}; this page reads schema ${SCHEMA}`);
  const request = table(top["request"], "request");
  const target = word(request["target"], "request.target");
  if (target !== "onnxruntime" && target !== "tflite") {
    throw wrong("request.target", `is ${target}; browsers run onnxruntime and tflite`);
  }
  const files = list(top["files"], "files").map(fileEntry);
  const main = word(top["main"], "main");
  if (!files.some((file) => file.name === main)) throw wrong("main", `is ${main}, which is not among the files`);
  const manifest: Manifest = {
    slug: word(top["slug"], "slug"),
    model: word(request["model"], "request.model"),
    target,
    precision: word(request["precision"], "request.precision"),
    scale: whole(top["scale"], "scale", 1, 8),
    main,
    files,
    input: tensor(list(top["inputs"], "inputs"), "inputs"),
    output: tensor(list(top["outputs"], "outputs"), "outputs"),
    haloPx: whole(top["halo_px"], "halo_px", 0, LARGEST),
    minSidePx: whole(top["min_side_px"], "min_side_px", 1, LARGEST),
    multiplePx: whole(top["multiple_px"] ?? 1, "multiple_px", 1, LARGEST),
    peakBytesPerPx: whole(top["peak_bytes_per_px"], "peak_bytes_per_px", 1, 2 ** 40),
    sizes: list(request["sizes"], "request.sizes").map(size),
    weights: weights(top["weights"]),
    int8Share: share(top["shares"]),
    dropDb: drop(top["proof"]),
  };
  filesToOpen(manifest);
  return manifest;
}

/** The file for inputs of `size`: LiteRT has one for each size (`model_HEIGHTxWIDTH.tflite`) where there are several. */
export function fileFor(manifest: Manifest, size: Size): FileEntry {
  const name =
    manifest.target === "tflite" && manifest.sizes.length > 1 ? `model_${size[0]}x${size[1]}.tflite` : manifest.main;
  const found = manifest.files.find((file) => file.name === name);
  if (found === undefined) throw wrong("files", `have no ${name}, the file for ${size[0]}x${size[1]} inputs`);
  return found;
}

/** One, or one for each size. Throws where one is not among the files. */
export function filesToOpen(manifest: Manifest): readonly FileEntry[] {
  const sizes: readonly Size[] = manifest.sizes.length > 0 ? manifest.sizes : [[0, 0]];
  return [...new Set(sizes.map((size) => fileFor(manifest, size)))];
}

function wrong(field: string, what: string): AppError {
  return new AppError("artifact", `This model cannot be used: in its manifest.json, ${field} ${what}. Make the bundle again.`);
}

function table(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(field, "is not an object");
  return value as Record<string, unknown>;
}

function list(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(field, "is not a list");
  return value;
}

function word(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "") throw wrong(field, "is not a text");
  return value;
}

function whole(value: unknown, field: string, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
    throw wrong(field, `must be a whole number from ${least} to ${most}; it is ${JSON.stringify(value)}`);
  }
  return value;
}

function fileEntry(value: unknown): FileEntry {
  const entry = table(value, "files");
  const name = word(entry["name"], "files.name");
  if (name.split("/").some((part) => ["", ".", ".."].includes(part)) || /[\\:\0?#%]/.test(name)) {
    throw wrong("files.name", `${JSON.stringify(name.slice(0, 80))} is not a plain file name`);
  }
  const sha256 = word(entry["sha256"], "files.sha256").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw wrong("files.sha256", "is not a SHA-256 in hexadecimal");
  return { name, sha256, bytes: whole(entry["bytes"], "files.bytes", 0, 2 ** 40) };
}

function tensor(specs: readonly unknown[], field: string): TensorSpec {
  if (specs.length !== 1) throw wrong(field, `must have one entry; it has ${specs.length}`);
  const spec = table(specs[0], field);
  const dtype = spec["dtype"];
  const layout = spec["layout"];
  if (dtype !== "float32" && dtype !== "uint8" && dtype !== "int8") throw wrong(`${field}.dtype`, `is ${String(dtype)}`);
  if (layout !== "NCHW" && layout !== "NHWC") throw wrong(`${field}.layout`, `is ${String(layout)}`);
  const range = list(spec["value_range"], `${field}.value_range`);
  const expected = RANGES[dtype];
  if (range.length !== 2 || range[0] !== expected[0] || range[1] !== expected[1]) {
    throw wrong(`${field}.value_range`, `is ${JSON.stringify(range)}; of ${dtype} it must be ${JSON.stringify(expected)}`);
  }
  if (spec["colour"] !== "RGB") throw wrong(`${field}.colour`, `is ${String(spec["colour"])}, not RGB`);
  return { name: word(spec["name"], `${field}.name`), dtype, layout, range: expected };
}

function size(value: unknown): Size {
  const sides = list(value, "request.sizes");
  if (sides.length !== 2) throw wrong("request.sizes", "must hold [height, width]");
  return [whole(sides[0], "request.sizes", 1, LARGEST), whole(sides[1], "request.sizes", 1, LARGEST)];
}

function weights(value: unknown): Manifest["weights"] {
  const entry = table(value, "weights");
  const [kind, file, sha256] = ["kind", "file", "sha256"].map((key) => word(entry[key], `weights.${key}`));
  return { kind: kind as string, file: file as string, sha256: sha256 as string };
}

function share(value: unknown): number | null {
  const found = typeof value === "object" && value !== null ? (value as Record<string, unknown>)["int8_macs"] : null;
  return typeof found === "number" && found >= 0 && found <= 1 ? found : null;
}

function drop(value: unknown): Manifest["dropDb"] {
  if (typeof value !== "object" || value === null) return null;
  const sets = (value as Record<string, unknown>)["sets"];
  if (!Array.isArray(sets) || sets.length === 0) return null;
  const drops = sets.map((set) => (set as Record<string, unknown> | null)?.["psnr_drop_db"]);
  const names = sets.map((set) => String((set as Record<string, unknown> | null)?.["name"]).slice(0, 40));
  if (!drops.every((found): found is number => typeof found === "number")) return null;
  return { mean: drops.reduce((sum, found) => sum + found, 0) / drops.length, sets: names.join(", ") };
}
