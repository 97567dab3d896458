/** The cutting of an image into tiles: the same plan, number for number, as edgesr/tiling.py and edgesr/upscale.py.
 *
 * A tile's input is its core plus a halo of real image around it. When the halo is at least the network's receptive
 * radius, the tiled result equals the untiled one. Every tile has the same size and starts at a multiple of
 * `multiplePx`; tiles at the border shift inward instead of being padded; the starts are spread evenly. */

import { AppError } from "./errors";

/** [height, width] in pixels of the low-resolution input. */
export type Size = readonly [number, number];

/** Where a tile's input starts in the padded image, and the core (end exclusive) that it answers for. */
export interface Box {
  readonly top: number;
  readonly left: number;
  readonly coreTop: number;
  readonly coreLeft: number;
  readonly coreBottom: number;
  readonly coreRight: number;
}

export interface TilePlan {
  readonly height: number;
  readonly width: number;
  readonly scale: number;
  readonly haloPx: number;
  readonly tileHw: Size;
  /** The image after reflection to the right and bottom. */
  readonly paddedHw: Size;
  readonly boxes: readonly Box[];
}

/** What the network asks of a side. */
export interface SideRule {
  readonly haloPx: number;
  readonly minSidePx: number;
  readonly multiplePx: number;
}

/** What a plan needs to know of an artifact. */
export interface TilingFacts extends SideRule {
  readonly scale: number;
  readonly peakBytesPerPx: number;
  /** Empty: any size. */
  readonly sizes: readonly Size[];
}

interface Span {
  readonly start: number;
  readonly coreStart: number;
  readonly coreEnd: number;
}

const BYTES_PER_MB = 1_000_000;

/** Tiles for one image: the artifact's own size where it is fixed, else `tilePx` or what fits `memoryMb`. */
export function planImage(
  height: number,
  width: number,
  facts: TilingFacts,
  choice: { readonly tilePx: number | null; readonly memoryMb: number },
): TilePlan {
  if (facts.sizes.length > 0) {
    const plans = facts.sizes.map((size) => planTiles(height, width, facts, facts.scale, size));
    return plans.reduce((best, plan) => (waste(plan) < waste(best) ? plan : best));
  }
  let tile: Size | null;
  if (choice.tilePx !== null) {
    // A side that fits whole needs no halo.
    const side = (length: number) => Math.max(facts.minSidePx, Math.min(choice.tilePx as number, length));
    tile = [side(height), side(width)];
  } else {
    // The rule of edgesr/upscale.py, which budgets before it rounds to multiples.
    tile = tileForBudget(height, width, { ...facts, multiplePx: 1 }, facts.peakBytesPerPx, choice.memoryMb);
  }
  return planTiles(height, width, facts, facts.scale, tile);
}

/** `tileHw` is the exact size of every tile; null is one tile for all. Throws AppError when it does not suit. */
export function planTiles(height: number, width: number, rule: SideRule, scale: number, tileHw: Size | null): TilePlan {
  if (Math.min(height, width, scale) < 1) throw new AppError("photo", `An image of ${width}x${height} has no pixels.`);
  const wanted: Size = tileHw ?? [padded(rule, height), padded(rule, width)];
  const rows = spans(rule, height, wanted[0]);
  const columns = spans(rule, width, wanted[1]);
  const boxes = rows.flatMap((row) =>
    columns.map((column) => ({
      top: row.start,
      left: column.start,
      coreTop: row.coreStart,
      coreLeft: column.coreStart,
      coreBottom: row.coreEnd,
      coreRight: column.coreEnd,
    })),
  );
  const paddedHw: Size = [Math.max(padded(rule, height), wanted[0]), Math.max(padded(rule, width), wanted[1])];
  return { height, width, scale, haloPx: rule.haloPx, tileHw: wanted, paddedHw, boxes };
}

/** The tile that computes the fewest pixels within a memory budget; null: the whole image fits. */
export function tileForBudget(
  height: number,
  width: number,
  rule: SideRule,
  bytesPerPx: number,
  budgetMb: number,
): Size | null {
  const whole: Size = [padded(rule, height), padded(rule, width)];
  const areaPx = Math.trunc((Math.max(budgetMb, 0) * BYTES_PER_MB) / bytesPerPx);
  if (whole[0] * whole[1] <= areaPx) return null;
  let best: { tile: Size; cost: readonly [number, number, number] } | null = null;
  for (const tile of evenTiles(rule, height, width, areaPx)) {
    if (tile[0] * tile[1] > areaPx) continue;
    const count = spans(rule, height, tile[0]).length * spans(rule, width, tile[1]).length;
    const cost = [count * tile[0] * tile[1], count, Math.max(...tile)] as const;
    if (best === null || less(cost, best.cost)) best = { tile, cost };
  }
  if (best !== null) return best.tile;
  const smallest = whole.map((side) => Math.min(smallestTile(rule), side));
  const neededMb = ((smallest[0] ?? 0) * (smallest[1] ?? 0) * bytesPerPx) / BYTES_PER_MB;
  throw new AppError(
    "memory",
    `${budgetMb} MB are too little: the smallest tile, ${smallest[0]}x${smallest[1]}, needs ${neededMb.toPrecision(3)} MB. ` +
      "Choose larger tiles under Settings or a smaller model.",
  );
}

/** Computed pixels per needed pixel; 1 is perfect. */
export function waste(plan: TilePlan): number {
  return (plan.boxes.length * plan.tileHw[0] * plan.tileHw[1]) / (plan.height * plan.width);
}

/** np.pad's "reflect" on the right and bottom: which source pixel stands at `index` of a side of `length`. */
export function reflected(index: number, length: number): number {
  if (index < length) return index;
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const place = index % period;
  return place < length ? place : period - place;
}

function up(rule: SideRule, px: number): number {
  return Math.ceil(px / rule.multiplePx) * rule.multiplePx;
}

function padded(rule: SideRule, side: number): number {
  return up(rule, Math.max(side, rule.minSidePx));
}

function smallestTile(rule: SideRule): number {
  return Math.max(padded(rule, 1), up(rule, 2 * rule.haloPx) + rule.multiplePx);
}

/** The shortest tile with which at most `count` tiles cover a side. */
function tileForCount(rule: SideRule, side: number, count: number): number {
  if (count === 1) return padded(rule, side);
  const steps = Math.floor(padded(rule, side) / rule.multiplePx);
  const haloSteps = Math.floor(up(rule, 2 * rule.haloPx) / rule.multiplePx);
  const tile = Math.ceil((steps + (count - 1) * haloSteps) / count) * rule.multiplePx;
  return Math.min(Math.max(tile, smallestTile(rule)), padded(rule, side));
}

/** Tiles of length `tile` whose cores partition [0, side). */
function spans(rule: SideRule, side: number, tile: number): Span[] {
  if (tile < rule.minSidePx || tile % rule.multiplePx !== 0) {
    throw new AppError(
      "artifact",
      `A tile side of ${tile} px does not suit the network: at least ${rule.minSidePx} px and a multiple of ` +
        `${rule.multiplePx}. The nearest that fits is ${padded(rule, tile)} px.`,
    );
  }
  const length = padded(rule, side);
  if (tile >= length) return [{ start: 0, coreStart: 0, coreEnd: side }];
  const stride = Math.floor((tile - 2 * rule.haloPx) / rule.multiplePx);
  if (stride < 1) {
    throw new AppError(
      "artifact",
      `A tile side of ${tile} px leaves nothing between two halos of ${rule.haloPx} px. The smallest tile side for ` +
        `this network is ${Math.min(smallestTile(rule), length)} px.`,
    );
  }
  const free = Math.floor((length - tile) / rule.multiplePx);
  const gaps = Math.ceil(free / stride);
  const starts = Array.from({ length: gaps + 1 }, (_, i) => Math.floor((i * free) / gaps) * rule.multiplePx);
  // The border between two tiles lies in the middle of their overlap: both then have at least the halo.
  const cuts = [0, ...starts.slice(1).map((start, i) => Math.floor(((starts[i] ?? 0) + start + tile) / 2)), side];
  return starts.map((start, i) => ({ start, coreStart: cuts[i] ?? 0, coreEnd: cuts[i + 1] ?? side }));
}

/** For every number of rows: the tile that needs the fewest columns within `areaPx`. */
function evenTiles(rule: SideRule, height: number, width: number, areaPx: number): Size[] {
  const tiles = new Map<string, Size>();
  const rows = Math.floor(padded(rule, height) / rule.multiplePx);
  for (let count = 1; count <= rows; count += 1) {
    const tileHeight = tileForCount(rule, height, count);
    const fits = Math.floor(Math.floor(areaPx / tileHeight) / rule.multiplePx) * rule.multiplePx;
    const widest = Math.min(fits, padded(rule, width));
    if (widest < Math.min(smallestTile(rule), padded(rule, width))) continue;
    const columns = spans(rule, width, widest).length;
    const tile: Size = [tileHeight, tileForCount(rule, width, columns)];
    const key = tile.join("x");
    if (!tiles.has(key)) tiles.set(key, tile);
    if (tileHeight <= smallestTile(rule)) break; // more rows would all have this height
  }
  return [...tiles.values()];
}

function less(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i += 1) {
    const [x, y] = [a[i] ?? 0, b[i] ?? 0];
    if (x !== y) return x < y;
  }
  return false;
}
