/** The work of an inference worker, whatever its runtime: open an artifact, run photos in tiles, time crops. */

import { AppError, explained } from "../core/errors";
import { checkFile } from "../core/hashing";
import { fileFor, type FileEntry, type Manifest } from "../core/manifest";
import { OutputCheck, coreOutput, paste, tileInput, type Numbers, type Photo, type Source } from "../core/pixels";
import { planTiles, type Box, type Size } from "../core/tiling";
import { colourCarriedOn } from "../core/transparency";
import { bytesToHex } from "@noble/hashes/utils.js";
import { sha256 } from "@noble/hashes/sha2.js";
import type { BenchRequest, EngineFacts, InferenceReply, InferenceRequest, OpenRequest, RunRequest, WorkerScope } from "./protocol";

/** One loaded model file. */
export interface Session {
  readonly facts: Omit<EngineFacts, "loadNs">;
  /** The numbers of one tile of `size` in, those of scale * `size` out. */
  run(input: Numbers, size: Size): Promise<Numbers>;
  close(): Promise<void> | void;
}

/** Loads checked bytes into a runtime. `size`: what the file was made for. */
export type LoadSession = (bytes: Uint8Array<ArrayBuffer>, request: OpenRequest, size: Size | null) => Promise<Session>;

interface Open {
  readonly request: OpenRequest;
  readonly session: Session;
  readonly file: string;
}

const CROPS = 16;

export function serve(load: LoadSession): void {
  const scope = self as unknown as WorkerScope<InferenceRequest, InferenceReply>;
  let open: Open | null = null;
  let cancelled = false;
  const reply = (message: InferenceReply, transfer: Transferable[] = []) => scope.postMessage(message, transfer);

  async function opened(request: OpenRequest, size: Size | null): Promise<Open> {
    const entry = fileFor(request.manifest, size ?? request.manifest.sizes[0] ?? [0, 0]);
    if (open !== null && open.request === request && open.file === entry.name) return open;
    await open?.session.close();
    open = null;
    const bytes = await download(request.url, entry);
    const session = await load(bytes, request, size);
    open = { request, session, file: entry.name };
    return open;
  }

  async function handle(message: Exclude<InferenceRequest, { kind: "cancel" }>): Promise<void> {
    if (message.kind === "open") {
      const start = performance.now();
      const { session } = await opened(message, message.manifest.sizes[0] ?? null);
      reply({ kind: "opened", facts: { ...session.facts, loadNs: ns(performance.now() - start) } });
      return;
    }
    if (open === null) throw new AppError("engine", "No model is loaded. Reload the page.");
    if (message.kind === "run") {
      const { request, session } = await opened(open.request, message.plan.tileHw);
      await runPhoto(request.manifest, session, message, reply, () => cancelled);
    } else {
      const { request, session } = await opened(open.request, message.size);
      await bench(request.manifest, session, message, reply, () => cancelled);
    }
  }

  scope.onmessage = (event: MessageEvent<InferenceRequest>) => {
    const message = event.data;
    if (message.kind === "cancel") {
      cancelled = true;
      return;
    }
    cancelled = false;
    handle(message).catch((thrown: unknown) => {
      const error = explained(thrown, "engine", "The model could not be run on this device.");
      reply({ kind: "failed", error: error.kind, message: error.message });
    });
  };
}

async function download(folder: string, entry: FileEntry): Promise<Uint8Array<ArrayBuffer>> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    const response = await fetch(new URL(entry.name, folder));
    if (!response.ok) throw new AppError("artifact", `${entry.name} cannot be loaded (HTTP ${response.status}).`);
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (thrown) {
    throw explained(thrown, "artifact", `${entry.name} cannot be loaded. Is the connection gone?`);
  }
  await checkFile(entry, bytes);
  return bytes;
}

async function runPhoto(
  manifest: Manifest,
  session: Session,
  { photo, plan }: RunRequest,
  reply: (message: InferenceReply, transfer?: Transferable[]) => void,
  isCancelled: () => boolean,
): Promise<void> {
  const result = new Uint8ClampedArray(4 * plan.height * plan.width * plan.scale ** 2);
  const seen = photo.hasAlpha ? colourCarriedOn(photo) : photo;
  const checks = { colour: new OutputCheck(seen, "colour", manifest.output), alpha: new OutputCheck(seen, "alpha", manifest.output) };
  const answer = async (box: Box, source: Source): Promise<Numbers> => {
    const numbers = await runTile(manifest, session, tileInput(seen, plan, box, manifest.input, source), plan.tileHw);
    checks[source].tile(numbers);
    return numbers;
  };
  const tilesNs: number[] = [];
  for (const [index, box] of plan.boxes.entries()) {
    const start = performance.now();
    const colour = await answer(box, "colour");
    const alpha = photo.hasAlpha ? await answer(box, "alpha") : null;
    const core = coreOutput(photo, plan, box, manifest.output, colour, alpha);
    paste(result, plan, box, core);
    tilesNs.push(ns(performance.now() - start));
    const [left, top] = [box.coreLeft * plan.scale, box.coreTop * plan.scale];
    const size = { width: box.coreRight * plan.scale - left, height: box.coreBottom * plan.scale - top };
    const done = { kind: "tile", done: index + 1, total: plan.boxes.length, ns: tilesNs[index] as number } as const;
    reply({ ...done, left, top, ...size, core }, [core.buffer]);
    await breathe();
    if (isCancelled()) return reply({ kind: "cancelled" });
  }
  checks.colour.end();
  if (photo.hasAlpha) checks.alpha.end();
  reply({ kind: "done", rgba: result, tilesNs }, [result.buffer]);
}

async function runTile(manifest: Manifest, session: Session, input: Numbers, size: Size): Promise<Numbers> {
  const output = await session.run(input, size);
  const expected = input.length * manifest.scale ** 2;
  if (output.length !== expected) {
    throw new AppError(
      "artifact",
      `The model answered a tile of ${size[0]}x${size[1]} with ${output.length} numbers; for scale ${manifest.scale} it ` +
        `must be ${expected}. Its manifest does not belong to it: make the bundle again.`,
    );
  }
  return output;
}

async function bench(
  manifest: Manifest,
  session: Session,
  request: BenchRequest,
  reply: (message: InferenceReply) => void,
  isCancelled: () => boolean,
): Promise<void> {
  const inputs = crops(manifest, request.photo, request.size);
  const timed = async (index: number): Promise<number> => {
    const input = inputs.numbers[index % inputs.numbers.length] as Numbers;
    const start = performance.now();
    await runTile(manifest, session, input, request.size);
    return ns(performance.now() - start);
  };
  const firstNs = await timed(0);
  const warmupNs: number[] = [];
  for (let i = 0; i < request.warmup; i += 1) warmupNs.push(await timed(i));
  const began = performance.now();
  const rawNs: number[] = [];
  for (let i = 0; i < request.count; i += 1) {
    rawNs.push(await timed(i));
    await breathe();
    if (isCancelled()) return reply({ kind: "cancelled" });
  }
  const atS = (performance.now() - began) / 1000;
  const repeat = { loadNs: 0, firstNs, warmupNs, rawNs, atS };
  reply({ kind: "benched", repeat, inputsSha256: inputs.sha256, inputs: inputs.numbers.length });
}

/** Different pieces of the photo, spread evenly: never noise or zeros, which some kernels run faster. The hash is over
 * their pixels, RGB row by row, as edgesr/bench/inputs.py makes it. */
function crops(manifest: Manifest, photo: Photo, size: Size): { numbers: Numbers[]; sha256: string } {
  const opaque: Photo = { ...photo, hasAlpha: false };
  const hash = sha256.create();
  const numbers = Array.from({ length: CROPS }, (_, index) => {
    const share = index / (CROPS - 1);
    const top = Math.floor(Math.max(0, photo.height - size[0]) * share);
    const left = Math.floor(Math.max(0, photo.width - size[1]) * ((index * 7) % CROPS) / (CROPS - 1));
    const box = { top, left, coreTop: 0, coreLeft: 0, coreBottom: 0, coreRight: 0 };
    const plan = { ...planTiles(size[0], size[1], { haloPx: 0, minSidePx: 1, multiplePx: 1 }, 1, null) };
    const levels = { ...manifest.input, dtype: "uint8", layout: "NHWC", range: [0, 255] } as const;
    hash.update(tileInput(opaque, plan, box, levels, "colour") as Uint8Array);
    return tileInput(opaque, plan, box, manifest.input, "colour");
  });
  return { numbers, sha256: bytesToHex(hash.digest()) };
}

function ns(ms: number): number {
  return Math.round(ms * 1e6);
}

/** Lets a "cancel" in. */
function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
