/** What the browser leaves of EXIF orientation: Chromium 156 turns JPEG and PNG, and shows WebP as it is stored. */

import { orientationOf, type PhotoFile } from "../core/photo_file";

/** Photos of 2x1 pixels whose EXIF says that they stand upright as 1x2. Every browser turns JPEG; others carry no EXIF. */
const PROBES: Readonly<Partial<Record<PhotoFile["kind"], string>>> = {
  PNG:
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAAGmVYSWZNTQAqAAAACAABARIAAwAAAAEABgAAAAAAANZnS2kAAAALSURBVHjaY2Bg" +
    "AAAAAwABKwlNhAAAAABJRU5ErkJggg==",
  WebP:
    "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAA" +
    "AAA=",
};

const answers = new Map<string, Promise<boolean>>();

/** Turned as its EXIF says where this browser does so for such files; straight alpha. */
export function decoded(file: Blob): Promise<ImageBitmap> {
  return createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none" });
}

/** The orientation that is still to be applied to a decoded photo; 1: it is upright. */
export async function orientationLeft({ kind, exif }: PhotoFile): Promise<number> {
  const orientation = exif === null ? 1 : orientationOf(exif);
  return orientation === 1 || (await isTurned(kind)) ? 1 : orientation;
}

function isTurned(kind: PhotoFile["kind"]): Promise<boolean> {
  const probe = PROBES[kind];
  if (probe === undefined) return Promise.resolve(true);
  const answer = answers.get(kind) ?? isUpright(probe);
  answers.set(kind, answer);
  return answer;
}

async function isUpright(probe: string): Promise<boolean> {
  const bitmap = await decoded(new Blob([Uint8Array.from(atob(probe), (each) => each.charCodeAt(0))]));
  const { width } = bitmap;
  bitmap.close();
  return width === 1;
}

/** A canvas of a decoded photo with `orientation` applied; null where memory is short. */
export function upright(bitmap: ImageBitmap, orientation: number): OffscreenCanvasRenderingContext2D | null {
  const { width, height } = bitmap;
  const size = orientation < 5 ? ([width, height] as const) : ([height, width] as const);
  const context = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
  context?.setTransform(...turn(orientation, width, height));
  context?.drawImage(bitmap, 0, 0);
  return context;
}

/** Where a stored x and y belong: [a, b, c, d, e, f] of x' = ax + cy + e, y' = bx + dy + f. */
function turn(orientation: number, width: number, height: number): [number, number, number, number, number, number] {
  switch (orientation) {
    case 2: return [-1, 0, 0, 1, width, 0];
    case 3: return [-1, 0, 0, -1, width, height];
    case 4: return [1, 0, 0, -1, 0, height];
    case 5: return [0, 1, 1, 0, 0, 0];
    case 6: return [0, 1, -1, 0, height, 0];
    case 7: return [0, -1, -1, 0, height, width];
    case 8: return [0, -1, 1, 0, 0, width];
    default: return [1, 0, 0, 1, 0, 0];
  }
}
