/** Files out of the page: download or share. */

import { AppError } from "../core/errors";
import { exifOfSize } from "../core/photo_file";
import type { Photo } from "../core/pixels";
import { artifactSha256 } from "../core/records";
import type { EngineFacts } from "../workers/protocol";
import type { Model } from "./bundle";
import type { PhotoClient } from "./clients";
import { handOver, shell } from "./shell";

export type Format = "png" | "jpeg" | "webp";
const SUFFIX: Record<Format, string> = { png: "png", jpeg: "jpg", webp: "webp" };

export interface Result {
  readonly model: Model;
  readonly facts: EngineFacts;
  readonly name: string;
  readonly exif: Uint8Array<ArrayBuffer> | null;
  /** Detached while it is being encoded. */
  image: Photo;
}

/** The result as a file, with what made it (PNG) and, if wanted, the photo's own EXIF. Throws AppError. */
export async function resultFile(result: Result, format: Format, keepsExif: boolean, client: PhotoClient): Promise<File> {
  const { manifest } = result.model;
  if (result.image.rgba.length === 0) throw new AppError("save", "The result was lost when it was saved before. Enlarge the photo again.");
  const texts = new Map([
    ["Software", "edgesr"],
    ["Comment", `${manifest.slug}, sha256 ${artifactSha256(manifest)}, ${result.facts.runtime}, ${result.facts.backend}`],
  ]);
  const { width, height } = result.image;
  const exif = keepsExif && result.exif !== null ? exifOfSize(result.exif, width, height) : null;
  const request = { kind: "encode", image: result.image, format, texts, exif } as const;
  const reply = await client.ask(request, [result.image.rgba.buffer]);
  if (reply.kind !== "decoded" && reply.rgba !== null) result.image = { ...result.image, rgba: reply.rgba };
  if (reply.kind === "failed") throw new AppError(reply.error, reply.message);
  if (reply.kind !== "encoded") throw new Error(`unexpected answer ${reply.kind}`);
  const stem = result.name.replace(/\.[^.]*$/, "") || "photo";
  return new File([reply.file], `${stem}_x${manifest.scale}.${SUFFIX[format]}`, { type: reply.file.type });
}

export async function download(file: File): Promise<void> {
  const app = shell();
  if (app !== undefined) return handOver(file, app, "save");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export async function share(file: File): Promise<void> {
  const app = shell();
  if (app !== undefined) return handOver(file, app, "share");
  try {
    await navigator.share({ files: [file], title: file.name });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return; // closed by the person
    throw new AppError("save", "This device does not share such a file. Save it instead.");
  }
}

export function canShare(): boolean {
  if (shell() !== undefined) return true;
  const file = new File([new Uint8Array(1)], "photo.png", { type: "image/png" });
  return navigator.canShare?.({ files: [file] }) ?? false;
}
