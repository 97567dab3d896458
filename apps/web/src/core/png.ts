/** Writes PNG from straight RGBA. A canvas would multiply by alpha and lose colour, and has a size limit. */

import { AppError } from "./errors";
import type { Photo } from "./pixels";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const TRUECOLOUR = 2;
const TRUECOLOUR_ALPHA = 6;
const ROWS_AT_ONCE = 64;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** `texts`: keyword to Latin-1 text, tEXt chunks. `exif`: a TIFF block, eXIf chunk. */
export async function encodePng(
  image: Pick<Photo, "width" | "height" | "rgba" | "hasAlpha">,
  texts: ReadonlyMap<string, string>,
  exif: Uint8Array | null,
): Promise<Blob> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, image.width);
  view.setUint32(4, image.height);
  header.set([8, image.hasAlpha ? TRUECOLOUR_ALPHA : TRUECOLOUR], 8);
  const parts: Uint8Array<ArrayBuffer>[] = [Uint8Array.from(SIGNATURE), chunk("IHDR", header)];
  for (const [keyword, text] of texts) parts.push(chunk("tEXt", latin1(`${keyword}\0${text}`)));
  if (exif !== null) parts.push(chunk("eXIf", exif));
  for (const block of await deflated(image)) parts.push(chunk("IDAT", block));
  parts.push(chunk("IEND", new Uint8Array(0)));
  return new Blob(parts, { type: "image/png" });
}

/** Filtered rows ("up", which suits smooth photos) through the browser's zlib. */
async function deflated(image: Pick<Photo, "width" | "height" | "rgba" | "hasAlpha">): Promise<Uint8Array[]> {
  if (typeof CompressionStream === "undefined") {
    throw new AppError("save", "This browser cannot write PNG here: it has no CompressionStream. Save as JPEG, or update it.");
  }
  const stream = new CompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const reader = stream.readable.getReader();
  const blocks: Uint8Array[] = [];
  const reading = (async () => {
    for (let next = await reader.read(); !next.done; next = await reader.read()) blocks.push(next.value);
  })();
  for (let row = 0; row < image.height; row += ROWS_AT_ONCE) {
    await writer.write(filtered(image, row, Math.min(row + ROWS_AT_ONCE, image.height)));
  }
  await writer.close();
  await reading;
  return blocks;
}

function filtered(
  image: Pick<Photo, "width" | "height" | "rgba" | "hasAlpha">,
  first: number,
  end: number,
): Uint8Array<ArrayBuffer> {
  const channels = image.hasAlpha ? 4 : 3;
  const { rgba, width } = image;
  const out = new Uint8Array((end - first) * (1 + channels * width));
  let to = 0;
  for (let y = first; y < end; y += 1) {
    out[to++] = y === 0 ? 0 : 2;
    for (let x = 0; x < width; x += 1) {
      const from = 4 * (y * width + x);
      for (let c = 0; c < channels; c += 1) {
        const above = y === 0 ? 0 : (rgba[from + c - 4 * width] as number);
        out[to++] = (rgba[from + c] as number) - above;
      }
    }
  }
  return out;
}

function chunk(kind: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(12 + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, body.length);
  out.set(latin1(kind), 4);
  out.set(body, 8);
  view.setUint32(8 + body.length, crc(out.subarray(4, 8 + body.length)));
  return out;
}

function crc(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = (CRC_TABLE[(c ^ byte) & 0xff] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (letter) => (letter.charCodeAt(0) < 256 ? letter.charCodeAt(0) : 0x3f));
}
