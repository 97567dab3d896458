/** The lines of a measurement, as edgesr/bench/records.py defines them (schema 1): raw nanoseconds, one JSON object a
 * line. `edgesr bench` and its reports read them. */

import { bytesToHex } from "@noble/hashes/utils.js";
import { sha256 } from "@noble/hashes/sha2.js";
import type { Manifest } from "./manifest";
import type { Size } from "./tiling";

/** One cold start and what was timed after it. */
export interface Repeat {
  readonly loadNs: number;
  readonly firstNs: number;
  readonly warmupNs: readonly number[];
  readonly rawNs: readonly number[];
  /** Seconds from the first timed inference to the end of the last. */
  readonly atS: number;
  /** What really ran: runtime, backend, threads. */
  readonly runtime: Readonly<Record<string, string>>;
}

export interface Run {
  readonly manifest: Manifest;
  readonly size: Size;
  readonly threads: number;
  readonly startedAt: Date;
  readonly edgesr: string;
  readonly where: { readonly name: string; readonly facts: Readonly<Record<string, string | number | boolean>> };
  readonly inputs: { readonly count: number; readonly source: string; readonly sha256: string };
  readonly repeats: readonly Repeat[];
}

/** JSON Lines: a start, then opened, samples and closed of every repeat, then an end. */
export function toJsonl(run: Run): string {
  const { manifest } = run;
  const stamp = run.startedAt.toISOString();
  const start = {
    run: `web-${manifest.slug}-${stamp.replace(/[:.]/g, "")}`,
    started_at: stamp,
    edgesr: run.edgesr,
    subject: subject(manifest, run.size),
    regime: { profile: "web", threads: run.threads, cpus: null },
    where: { name: run.where.name, address: "browser", kind: "device", facts: run.where.facts },
    inputs: run.inputs,
    schema: 1,
    kind: "start",
  };
  const repeats = run.repeats.flatMap((repeat, index) => [
    {
      repeat: index,
      load_ns: repeat.loadNs,
      first_ns: repeat.firstNs,
      warmup_ns: repeat.warmupNs,
      runtime: repeat.runtime,
      kind: "opened",
    },
    { repeat: index, raw_ns: repeat.rawNs, at_s: repeat.atS, kind: "samples" },
    { repeat: index, reason: "enough", kind: "closed" },
  ]);
  return [start, ...repeats, { kind: "end" }].map((line) => `${JSON.stringify(line)}\n`).join("");
}

function subject(manifest: Manifest, size: Size): object {
  return {
    sha256: artifactSha256(manifest),
    name: manifest.slug,
    target: manifest.target,
    precision: manifest.precision,
    scale: manifest.scale,
    size,
    bytes: manifest.files.reduce((sum, file) => sum + file.bytes, 0),
    model: manifest.model,
    weights: manifest.weights.kind,
    halo_px: manifest.haloPx,
    fixed_size: manifest.sizes.length > 0,
    int8_share: manifest.int8Share,
  };
}

/** Over names and hashes of the files, in the order of names: equal bytes are the same artifact anywhere. */
export function artifactSha256(manifest: Manifest): string {
  const names = [...manifest.files].sort((a, b) => (a.name < b.name ? -1 : 1));
  const text = names.map((file) => `${file.name}\0${file.sha256}\n`).join("");
  return bytesToHex(sha256(new TextEncoder().encode(text)));
}
