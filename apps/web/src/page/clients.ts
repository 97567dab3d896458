/** The page's side of its workers. */

import { AppError, explained } from "../core/errors";
import type { Photo } from "../core/pixels";
import type { Repeat } from "../core/records";
import type { Size, TilePlan } from "../core/tiling";
import type { Engine, EngineFacts, InferenceReply, InferenceRequest, PhotoReply, PhotoRequest } from "../workers/protocol";
import type { Model } from "./bundle";

export type TileReply = Extract<InferenceReply, { kind: "tile" }>;
export type Bench = Extract<InferenceReply, { kind: "benched" }>;

/** What was asked to be stopped. */
export class Cancelled extends Error {}

/** How long a cancelled worker may finish its tile before it is ended. */
const GRACE_MS = 700;

/** One model, opened on one engine, in a worker of its own. */
export class InferenceClient {
  private readonly worker: Worker;
  private pending: { resolve: (reply: InferenceReply) => void; reject: (error: Error) => void } | null = null;
  private onTile: ((tile: TileReply) => void) | null = null;
  private isCancelled = false;
  ended = false;

  private constructor(readonly model: Model) {
    const isOnnx = model.manifest.target === "onnxruntime";
    const script = new URL(isOnnx ? "app/onnx_worker.js" : "app/litert_worker.js", document.baseURI);
    this.worker = new Worker(script, { type: isOnnx ? "module" : "classic" });
    this.worker.onmessage = (event: MessageEvent<InferenceReply>) => this.receive(event.data);
    onStop(this.worker, (why) => this.fail(new AppError("engine", `The engine stopped: ${why}. Reload the page.`)));
  }

  /** `started` gets the client at once, so that loading can be cancelled, too. */
  static async open(
    model: Model,
    engine: Engine,
    threads: number,
    started: (client: InferenceClient) => void,
  ): Promise<{ client: InferenceClient; facts: EngineFacts }> {
    const client = new InferenceClient(model);
    started(client);
    const runtimeUrl = new URL("runtime/", document.baseURI).href;
    try {
      const reply = await client.ask({ kind: "open", url: model.url, manifest: model.manifest, engine, threads, runtimeUrl });
      if (reply.kind !== "opened") throw new Error(`unexpected answer ${reply.kind}`);
      if (client.isCancelled) throw new Cancelled();
      return { client, facts: reply.facts };
    } catch (error) {
      client.end();
      throw error;
    }
  }

  /** Enlarged RGBA and the nanoseconds of every tile. Throws AppError, Cancelled. */
  async run(photo: Photo, plan: TilePlan, onTile: (tile: TileReply) => void) {
    this.onTile = onTile;
    const reply = await this.ask({ kind: "run", photo, plan });
    if (reply.kind !== "done") throw new Error(`unexpected answer ${reply.kind}`);
    return { rgba: reply.rgba, tilesNs: reply.tilesNs };
  }

  async bench(photo: Photo, size: Size, warmup: number, count: number): Promise<Bench> {
    const reply = await this.ask({ kind: "bench", photo, size, warmup, count });
    if (reply.kind !== "benched") throw new Error(`unexpected answer ${reply.kind}`);
    return reply;
  }

  /** Stops after the tile in work, or ends the worker where that takes long. */
  cancel(): void {
    this.isCancelled = true; // a worker that loads the engine hears it only afterwards
    this.worker.postMessage({ kind: "cancel" } satisfies InferenceRequest);
    const cancelled = this.pending;
    setTimeout(() => {
      if (this.pending === cancelled && cancelled !== null) this.fail(new Cancelled());
    }, GRACE_MS);
  }

  end(): void {
    this.ended = true;
    this.worker.terminate();
  }

  private ask(request: InferenceRequest): Promise<InferenceReply> {
    return new Promise((resolve, reject) => {
      this.pending = { resolve, reject };
      this.worker.postMessage(request);
    });
  }

  private receive(reply: InferenceReply): void {
    if (reply.kind === "tile") return this.onTile?.(reply);
    const { pending } = this;
    this.pending = null;
    if (reply.kind === "failed") pending?.reject(new AppError(reply.error, reply.message));
    else if (reply.kind === "cancelled") pending?.reject(new Cancelled());
    else pending?.resolve(reply);
  }

  private fail(error: Error): void {
    this.end();
    this.pending?.reject(error);
    this.pending = null;
  }
}

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Decodes and encodes; the reply to a failed encoding gives the pixels back. */
export class PhotoClient {
  private worker: Worker | null = null;
  private readonly pending = new Map<number, { resolve: (reply: PhotoReply) => void; reject: (error: Error) => void }>();
  private last = 0;

  /** Throws AppError where the worker stops; the next call starts another. */
  ask(request: Without<PhotoRequest, "id">, transfer: Transferable[] = []): Promise<PhotoReply> {
    this.last += 1;
    const id = this.last;
    return new Promise((resolve, reject) => {
      this.worker ??= this.start();
      this.pending.set(id, { resolve, reject });
      this.worker.postMessage({ ...request, id }, transfer);
    });
  }

  private start(): Worker {
    const worker = new Worker(new URL("app/photo_worker.js", document.baseURI), { type: "module" });
    worker.onmessage = (event: MessageEvent<PhotoReply>) => {
      this.pending.get(event.data.id)?.resolve(event.data);
      this.pending.delete(event.data.id);
    };
    onStop(worker, (why) => {
      worker.terminate();
      this.worker = null;
      const error = explained(why, "engine", "What reads and writes photos stopped. Try again, or reload the page.");
      for (const { reject } of this.pending.values()) reject(error);
      this.pending.clear();
    });
    return worker;
  }
}

/** `stopped` gets the reason. Workers answer what they catch: this is left for what they cannot. */
function onStop(worker: Worker, stopped: (why: string) => void): void {
  worker.onerror = (event) => {
    event.preventDefault();
    stopped(event.message || "its files cannot be loaded");
  };
  worker.onmessageerror = () => stopped("its answer cannot be read");
}

export type { Repeat };
