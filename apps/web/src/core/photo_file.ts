/** What a photo's file says before anything is decoded: kind, size, whether it is stored as grey, its EXIF. Trusts
 * nothing: whatever does not parse is simply not known, and the browser's decoder has the last word. */

export interface PhotoFile {
  readonly kind: "PNG" | "JPEG" | "WebP" | "GIF" | "BMP" | "unknown";
  /** As stored; null where the file does not say. EXIF may turn it. */
  readonly size: { readonly width: number; readonly height: number } | null;
  readonly isGrey: boolean;
  /** A TIFF block without the "Exif" prefix; null if there is none. */
  readonly exif: Uint8Array<ArrayBuffer> | null;
}

type Bytes = Uint8Array<ArrayBuffer>;
const UNKNOWN: PhotoFile = { kind: "unknown", size: null, isGrey: false, exif: null };
const EXIF_PREFIX = [0x45, 0x78, 0x69, 0x66, 0, 0];
const ORIENTATION = 0x0112;
const EXIF_IFD = 0x8769;
const [PIXEL_WIDTH, PIXEL_HEIGHT] = [0xa002, 0xa003];

export function readPhotoFile(bytes: Bytes): PhotoFile {
  try {
    if (starts(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return png(bytes);
    if (starts(bytes, [0xff, 0xd8, 0xff])) return jpeg(bytes);
    if (starts(bytes, [0x52, 0x49, 0x46, 0x46]) && ascii(bytes, 8, 4) === "WEBP") return webp(bytes);
    if (starts(bytes, [0x47, 0x49, 0x46, 0x38])) return gif(bytes);
    if (starts(bytes, [0x42, 0x4d])) return bmp(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // cut short
  }
  return UNKNOWN;
}

/** How a photo is stored, by TIFF's numbers: 1 (upright, also where EXIF does not say) to 8. */
export function orientationOf(exif: Bytes): number {
  try {
    const found = firstDirectory(exif);
    if (found === null) return 1;
    const at = entry(found.view, found.place, found.little, ORIENTATION);
    const told = at === null ? 1 : found.view.getUint16(at + 8, found.little);
    return told >= 1 && told <= 8 ? told : 1;
  } catch (error) {
    if (error instanceof RangeError) return 1;
    throw error;
  }
}

/** EXIF for the enlarged photo: upright, with its new pixel dimensions; null if it cannot be read. */
export function exifOfSize(exif: Bytes, width: number, height: number): Bytes | null {
  try {
    const copy = exif.slice();
    const found = firstDirectory(copy);
    if (found === null) return null;
    const { view, little, place: first } = found;
    set(view, first, little, ORIENTATION, 1);
    const inner = entry(view, first, little, EXIF_IFD);
    if (inner !== null) {
      const place = view.getUint32(inner + 8, little);
      set(view, place, little, PIXEL_WIDTH, width);
      set(view, place, little, PIXEL_HEIGHT, height);
    }
    return copy;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** `jpeg` with an EXIF segment as its first; unchanged where EXIF is too long for one (65533 bytes). */
export function withExif(jpeg: Bytes, exif: Bytes): Bytes {
  const length = 2 + EXIF_PREFIX.length + exif.length;
  if (length > 0xffff) return jpeg;
  const out = new Uint8Array(jpeg.length + 2 + length);
  out.set(jpeg.subarray(0, 2));
  out.set([0xff, 0xe1, length >> 8, length & 0xff, ...EXIF_PREFIX], 2);
  out.set(exif, 6 + EXIF_PREFIX.length);
  out.set(jpeg.subarray(2), 4 + length);
  return out;
}

function png(bytes: Bytes): PhotoFile {
  const view = viewOf(bytes);
  const colourType = view.getUint8(25);
  let exif: Bytes | null = null;
  for (let at = 8; at + 12 <= bytes.length && exif === null; ) {
    const length = view.getUint32(at);
    if (ascii(bytes, at + 4, 4) === "eXIf") exif = bytes.slice(at + 8, at + 8 + length);
    at += 12 + length;
  }
  const size = { width: view.getUint32(16), height: view.getUint32(20) };
  return { kind: "PNG", size, isGrey: colourType === 0 || colourType === 4, exif };
}

function jpeg(bytes: Bytes): PhotoFile {
  const view = viewOf(bytes);
  let exif: Bytes | null = null;
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) break;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff || (marker >= 0xd0 && marker <= 0xd8) || marker === 0x01) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    if (marker === 0xd9 || marker === 0xda) break;
    const length = view.getUint16(at + 2);
    const body = bytes.subarray(at + 4, at + 2 + length);
    if (marker === 0xe1 && exif === null && starts(body, EXIF_PREFIX)) exif = body.slice(EXIF_PREFIX.length);
    // SOF0 to SOF15, without DHT, JPG and DAC, which share the range
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const size = { height: view.getUint16(at + 5), width: view.getUint16(at + 7) };
      return { kind: "JPEG", size, isGrey: view.getUint8(at + 9) === 1, exif };
    }
    at += 2 + length;
  }
  return { kind: "JPEG", size: null, isGrey: false, exif };
}

function webp(bytes: Bytes): PhotoFile {
  const view = viewOf(bytes);
  let size: PhotoFile["size"] = null;
  let exif: Bytes | null = null;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const kind = ascii(bytes, at, 4);
    const length = view.getUint32(at + 4, true);
    const body = at + 8;
    if (kind === "VP8X") size = { width: uint24(view, body + 4) + 1, height: uint24(view, body + 7) + 1 };
    else if (kind === "VP8 " && size === null) {
      size = { width: view.getUint16(body + 6, true) & 0x3fff, height: view.getUint16(body + 8, true) & 0x3fff };
    } else if (kind === "VP8L" && size === null) {
      const bits = view.getUint32(body + 1, true);
      size = { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
    } else if (kind === "EXIF") {
      const block = bytes.slice(body, body + length);
      exif = starts(block, EXIF_PREFIX) ? block.slice(EXIF_PREFIX.length) : block;
    }
    at = body + length + (length % 2);
  }
  return { kind: "WebP", size, isGrey: false, exif };
}

function gif(bytes: Bytes): PhotoFile {
  const view = viewOf(bytes);
  return { ...UNKNOWN, kind: "GIF", size: { width: view.getUint16(6, true), height: view.getUint16(8, true) } };
}

function bmp(bytes: Bytes): PhotoFile {
  const view = viewOf(bytes);
  const size = { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
  return { ...UNKNOWN, kind: "BMP", size };
}

/** The first directory of a TIFF block; null if it is none. */
function firstDirectory(exif: Bytes): { readonly view: DataView; readonly little: boolean; readonly place: number } | null {
  const view = viewOf(exif);
  const little = ascii(exif, 0, 2) === "II";
  if (!little && ascii(exif, 0, 2) !== "MM") return null;
  return { view, little, place: view.getUint32(4, little) };
}

/** Offset of the 12 bytes of `tag` in the directory at `place`; null if it has none. */
function entry(view: DataView, place: number, little: boolean, tag: number): number | null {
  const count = view.getUint16(place, little);
  for (let i = 0; i < count; i += 1) {
    const at = place + 2 + 12 * i;
    if (view.getUint16(at, little) === tag) return at;
  }
  return null;
}

/** Overwrite a number where the directory has it, as SHORT or LONG. */
function set(view: DataView, place: number, little: boolean, tag: number, value: number): void {
  const at = entry(view, place, little, tag);
  if (at === null) return;
  const isShort = view.getUint16(at + 2, little) === 3;
  if (isShort && value <= 0xffff) view.setUint16(at + 8, value, little);
  else {
    view.setUint16(at + 2, 4, little); // LONG: an enlarged side may pass 65535
    view.setUint32(at + 8, value, little);
  }
}

function starts(bytes: Uint8Array, expected: readonly number[]): boolean {
  return bytes.length >= expected.length && expected.every((byte, i) => bytes[i] === byte);
}

function ascii(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

function uint24(view: DataView, at: number): number {
  return view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
