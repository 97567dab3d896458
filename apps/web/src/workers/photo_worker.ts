/** Decodes photos and encodes results, so that neither stops the page. */

import { AppError, explained } from "../core/errors";
import { readPhotoFile, withExif } from "../core/photo_file";
import { checkSize, isTransparent, type Photo } from "../core/pixels";
import { encodePng } from "../core/png";
import { decoded, orientationLeft, upright } from "./orientation";
import { isSamePhoto, straightPixels } from "./straight";
import type { DecodeRequest, EncodeRequest, PhotoReply, PhotoRequest, WorkerScope } from "./protocol";

const JPEG_QUALITY = 0.95;
const MOST_BYTES = 256 << 20;

const scope = self as unknown as WorkerScope<PhotoRequest, PhotoReply>;

scope.onmessage = (event: MessageEvent<PhotoRequest>) => {
  const message = event.data;
  const rgba = message.kind === "encode" ? message.image.rgba : null;
  const work = message.kind === "decode" ? decode(message) : encode(message);
  work.then(
    ([reply, transfer]) => scope.postMessage(reply, transfer),
    (thrown: unknown) => {
      const error =
        message.kind === "decode"
          ? explained(thrown, "photo", "This photo cannot be read.")
          : explained(thrown, "save", "The photo cannot be saved in this format.");
      const failed: PhotoReply = { kind: "failed", id: message.id, error: error.kind, message: error.message, rgba };
      scope.postMessage(failed, rgba === null ? [] : [rgba.buffer]);
    },
  );
};

async function decode({ id, file, mostPx }: DecodeRequest): Promise<[PhotoReply, Transferable[]]> {
  if (file.size === 0) throw new AppError("photo", "This file is empty. Choose another photo.");
  if (file.size > MOST_BYTES) {
    throw new AppError("too-large", `This file has ${Math.round(file.size / 1e6)} MB; the page reads at most 268 MB.`);
  }
  const found = readPhotoFile(new Uint8Array(await file.arrayBuffer()));
  if (found.size !== null) checkSize(found.size, mostPx);
  let bitmap: ImageBitmap;
  try {
    bitmap = await decoded(file);
  } catch (thrown) {
    const what = found.kind === "unknown" ? "it is no image, or of a kind that this browser does not know" : `this ${found.kind} file is damaged or cut short`;
    throw explained(new AppError("photo", `This photo cannot be read: ${what}. Choose another, or copy it again.`), "photo", String(thrown));
  }
  checkSize(bitmap, mostPx);
  const orientation = await orientationLeft(found);
  const { width, height, data } = pixelsOf(bitmap, orientation);
  const hasAlpha = isTransparent(data);
  const straight = hasAlpha && orientation === 1 ? straightPixels(bitmap) : null;
  bitmap.close();
  const rgba = straight !== null && isSamePhoto(straight, data) ? straight : data;
  const photo: Photo = { width, height, rgba, isGrey: found.isGrey, hasAlpha };
  return [{ kind: "decoded", id, photo, exif: found.exif }, [rgba.buffer]];
}

function pixelsOf(bitmap: ImageBitmap, orientation: number): ImageData & { readonly data: Photo["rgba"] } {
  const context = upright(bitmap, orientation);
  if (context === null) throw new AppError("memory", "There is not enough memory for this photo. Close other pages.");
  const { width, height } = context.canvas;
  return context.getImageData(0, 0, width, height) as ReturnType<typeof pixelsOf>;
}

async function encode({ id, image, format, texts, exif }: EncodeRequest): Promise<[PhotoReply, Transferable[]]> {
  const file = format === "png" ? await encodePng(image, texts, exif) : await throughCanvas(image, format, exif);
  return [{ kind: "encoded", id, file, rgba: image.rgba }, [image.rgba.buffer]];
}

async function throughCanvas(image: Photo, format: "jpeg" | "webp", exif: EncodeRequest["exif"]): Promise<Blob> {
  if (format === "jpeg" && image.hasAlpha) {
    throw new AppError("save", "JPEG has no transparency, and this photo does. Save it as PNG.");
  }
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  if (context === null) throw new AppError("save", `${image.width}x${image.height} is too large for this format. Save it as PNG.`);
  context.putImageData(new ImageData(image.rgba, image.width, image.height), 0, 0);
  const blob = await context.canvas.convertToBlob({ type: `image/${format}`, quality: JPEG_QUALITY });
  if (blob.type !== `image/${format}`) {
    throw new AppError("save", `This browser cannot write ${format.toUpperCase()}. Save it as PNG.`);
  }
  if (format !== "jpeg" || exif === null) return blob;
  return new Blob([withExif(new Uint8Array(await blob.arrayBuffer()), exif)], { type: blob.type });
}
