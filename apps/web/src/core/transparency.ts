/** Colour for what is invisible, so that the network sees no edge where an object ends. The rounds are those of
 * edgesr/transparency.py. */

import type { Photo } from "./pixels";

const REACH_PX = 32;
/** Smallest alpha of a pixel whose colour counts. */
const HAS_COLOUR = 8;
/** (x, y) from a pixel: left, right, above, below, then the corners. */
const NEIGHBOURS = [[-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [1, -1], [-1, 1], [1, 1]] as const;

/** `photo` with the colour of what is visible in the barely visible pixels beside it. In each of 32 rounds, every pixel
 * without colour takes that of the first of its neighbours that had one before the round. */
export function colourCarriedOn(photo: Photo): Photo {
  const { width, height } = photo;
  const open = new Uint8Array(width * height);
  let count = 0;
  for (let i = 0; i < open.length; i += 1) {
    if ((photo.rgba[4 * i + 3] as number) < HAS_COLOUR) count += open[i] = 1;
  }
  if (count === 0 || count === open.length) return photo;
  const rgba = photo.rgba.slice();
  const colours = new Uint32Array(rgba.buffer);
  const opacity = new Uint32Array(new Uint8Array([0, 0, 0, 255]).buffer)[0] as number;
  /** The neighbour of pixel `i`, -1 outside. */
  const beside = (i: number, right: number, down: number) => {
    const x = (i % width) + right;
    const y = Math.floor(i / width) + down;
    return x < 0 || x >= width || y < 0 || y >= height ? -1 : y * width + x;
  };
  let newest: number[] = [];
  for (let i = 0; i < open.length; i += 1) {
    if (open[i] === 0 && NEIGHBOURS.some(([right, down]) => open[beside(i, right, down)] === 1)) newest.push(i);
  }
  for (let round = 0; round < REACH_PX && newest.length > 0; round += 1) {
    const found: number[] = [];
    for (const [right, down] of NEIGHBOURS) {
      for (const from of newest) {
        const to = beside(from, -right, -down);
        if (open[to] !== 1) continue;
        open[to] = 0;
        colours[to] = ((colours[from] as number) & ~opacity) | ((colours[to] as number) & opacity);
        found.push(to);
      }
    }
    newest = found;
  }
  return { ...photo, rgba };
}
