/** What the page and its workers say to each other. */

import type { ErrorKind } from "../core/errors";
import type { Manifest } from "../core/manifest";
import type { Photo } from "../core/pixels";
import type { Repeat } from "../core/records";
import type { Size, TilePlan } from "../core/tiling";

/** The part of a worker's global scope that is used; TypeScript has no types for pages and workers at once. */
export interface WorkerScope<Request, Reply> {
  onmessage: ((event: MessageEvent<Request>) => void) | null;
  postMessage(message: Reply, transfer: Transferable[]): void;
}

export type Engine = "cpu" | "gpu";

/** What really runs, in words. `threads`: those in use, 1 for the GPU. `backend`: "CPU", "WebGPU" ... */
export interface EngineFacts {
  readonly runtime: string;
  readonly backend: string;
  readonly threads: number;
  readonly loadNs: number;
}

export interface OpenRequest {
  readonly kind: "open";
  /** Folder of the artifact, ends with a slash. */
  readonly url: string;
  readonly manifest: Manifest;
  readonly engine: Engine;
  readonly threads: number;
  /** Folder of the runtime's files, ends with a slash. */
  readonly runtimeUrl: string;
}

export interface RunRequest {
  readonly kind: "run";
  readonly photo: Photo;
  readonly plan: TilePlan;
}

/** Time `count` inferences of crops of the photo after `warmup`. */
export interface BenchRequest {
  readonly kind: "bench";
  readonly photo: Photo;
  readonly size: Size;
  readonly warmup: number;
  readonly count: number;
}

export type InferenceRequest = OpenRequest | RunRequest | BenchRequest | { readonly kind: "cancel" };

export type InferenceReply =
  | { readonly kind: "opened"; readonly facts: EngineFacts }
  | {
      readonly kind: "tile";
      readonly done: number;
      readonly total: number;
      readonly ns: number;
      readonly left: number;
      readonly top: number;
      readonly width: number;
      readonly height: number;
      readonly core: Uint8ClampedArray<ArrayBuffer>;
    }
  | { readonly kind: "done"; readonly rgba: Uint8ClampedArray<ArrayBuffer>; readonly tilesNs: readonly number[] }
  | { readonly kind: "cancelled" }
  | { readonly kind: "benched"; readonly repeat: Omit<Repeat, "runtime">; readonly inputsSha256: string; readonly inputs: number }
  | { readonly kind: "failed"; readonly error: ErrorKind; readonly message: string };

export interface DecodeRequest {
  readonly kind: "decode";
  readonly id: number;
  readonly file: Blob;
  readonly mostPx: number;
}

export interface EncodeRequest {
  readonly kind: "encode";
  readonly id: number;
  readonly image: Photo;
  readonly format: "png" | "jpeg" | "webp";
  readonly texts: ReadonlyMap<string, string>;
  readonly exif: Uint8Array<ArrayBuffer> | null;
}

export type PhotoRequest = DecodeRequest | EncodeRequest;

export type PhotoReply =
  | { readonly kind: "decoded"; readonly id: number; readonly photo: Photo; readonly exif: Uint8Array<ArrayBuffer> | null }
  | { readonly kind: "encoded"; readonly id: number; readonly file: Blob; readonly rgba: Uint8ClampedArray<ArrayBuffer> }
  | {
      readonly kind: "failed";
      readonly id: number;
      readonly error: ErrorKind;
      readonly message: string;
      /** Given back when an encoding failed. */
      readonly rgba: Uint8ClampedArray<ArrayBuffer> | null;
    };
