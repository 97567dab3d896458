/** 8-bit RGBA <-> what a network takes and gives, one tile at a time: no float copy of the whole photo is ever made.
 *
 * The arithmetic is that of edgesr/images.py: the network sees colours that were carried on into what is invisible
 * (transparency.ts); grey photos stay grey; results are clipped to [0, 1] and a half is rounded up. */

import { AppError } from "./errors";
import type { TensorSpec } from "./manifest";
import { reflected, type Box, type TilePlan } from "./tiling";

/** An upright photo: straight (not premultiplied) 8-bit RGBA, row by row from the top. */
export interface Photo {
  readonly width: number;
  readonly height: number;
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  /** Stored as grey: its enlargement is made grey, too. */
  readonly isGrey: boolean;
  /** Any pixel that is not opaque. */
  readonly hasAlpha: boolean;
}

export type Numbers = Float32Array | Uint8Array | Int8Array;

/** Which image of the photo goes through the network. */
export type Source = "colour" | "alpha";

const VISIBLE = 0.5 / 255;

export function isTransparent(rgba: Uint8ClampedArray): boolean {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return true;
  return false;
}

/** Throws AppError of kind "too-large" for a photo of more than `mostPx` pixels. */
export function checkSize({ width, height }: { readonly width: number; readonly height: number }, mostPx: number): void {
  if (width * height <= mostPx) return;
  const megapixels = (px: number) => (px / 1e6).toFixed(px < 1e7 ? 1 : 0);
  throw new AppError(
    "too-large",
    `This photo is too large: ${width}x${height} is ${megapixels(width * height)} megapixels, and this device can enlarge ` +
      `at most ${megapixels(mostPx)} here. Crop it or make it smaller first.`,
  );
}

/** The numbers of one tile at the network's input, (1, 3, h, w) or (1, h, w, 3) as `spec` says. */
export function tileInput(photo: Photo, plan: TilePlan, box: Box, spec: TensorSpec, source: Source): Numbers {
  const [height, width] = plan.tileHw;
  const area = height * width;
  const unit = new Float32Array(3 * area);
  const [pixelStep, channelStep] = spec.layout === "NCHW" ? [1, area] : [3, 1];
  const { rgba } = photo;
  const columns = Int32Array.from({ length: width }, (_, x) => 4 * reflected(box.left + x, photo.width));
  for (let y = 0; y < height; y += 1) {
    const row = 4 * photo.width * reflected(box.top + y, photo.height);
    for (let x = 0; x < width; x += 1) {
      const from = row + (columns[x] as number);
      const to = (y * width + x) * pixelStep;
      for (let channel = 0; channel < 3; channel += 1) {
        const level = rgba[source === "alpha" ? from + 3 : from + channel] as number;
        unit[to + channel * channelStep] = level / 255;
      }
    }
  }
  return rounded(unit, spec);
}

/** `unit` in [0, 1] as the numbers of `spec`. */
function rounded(unit: Float32Array, spec: TensorSpec): Numbers {
  if (spec.dtype === "float32") return unit;
  const numbers = spec.dtype === "uint8" ? new Uint8Array(unit.length) : new Int8Array(unit.length);
  const [low] = spec.range;
  for (let i = 0; i < unit.length; i += 1) numbers[i] = Math.round((unit[i] as number) * 255) + low;
  return numbers;
}

/** What numbers of `spec` stand for, in [0, 1]. */
function unitOf(number: number, spec: TensorSpec): number {
  return spec.dtype === "float32" ? number : (number - spec.range[0]) / 255;
}

/** Watches the answers to one source for what must never be shown: NaN, infinity, or black from a source that is not (as
 * edgesr.images.check_output). `spec`: the network's output. */
export class OutputCheck {
  private brightest: number;

  constructor(
    private readonly photo: Photo,
    private readonly source: Source,
    private readonly spec: TensorSpec,
  ) {
    this.brightest = spec.range[0];
  }

  tile(numbers: Numbers): void {
    let most = this.brightest;
    for (const number of numbers) {
      if (!Number.isFinite(number)) {
        throw new AppError(
          "output",
          "The network returned NaN or infinity: this model does not work on this device's engine. Choose another " +
            "engine or precision.",
        );
      }
      if (number > most) most = number;
    }
    this.brightest = most;
  }

  end(): void {
    if (unitOf(this.brightest, this.spec) >= 0.5 / 255) return;
    const mean = this.source === "colour" ? meanColour(this.photo) : meanAlpha(this.photo);
    if (mean <= 2 / 255) return;
    const [what, measure] = this.source === "colour" ? ["a black", "mean"] : ["an invisible", "mean opacity"];
    throw new AppError(
      "output",
      `The network returned ${what} image although the photo is not (its ${measure} is ${mean.toFixed(3)}): this model ` +
        "does not work on this device's engine. Choose another engine or precision.",
    );
  }
}

function meanColour(photo: Photo): number {
  let sum = 0;
  for (let i = 0; i < photo.rgba.length; i += 4) {
    sum += (photo.rgba[i] as number) + (photo.rgba[i + 1] as number) + (photo.rgba[i + 2] as number);
  }
  return sum / (photo.width * photo.height * 3 * 255);
}

function meanAlpha(photo: Photo): number {
  let sum = 0;
  for (let i = 3; i < photo.rgba.length; i += 4) sum += photo.rgba[i] as number;
  return sum / (photo.width * photo.height * 255);
}

/** 8-bit RGBA of a tile's core, (core height * scale) rows of (core width * scale) pixels.
 *
 * `photo`: as it was given; what ends with an alpha of 0 in 8 bits keeps its colour. `colour`, `alpha`: the network's
 * answers; `alpha` null for an opaque photo. */
export function coreOutput(
  photo: Photo,
  plan: TilePlan,
  box: Box,
  spec: TensorSpec,
  colour: Numbers,
  alpha: Numbers | null,
): Uint8ClampedArray<ArrayBuffer> {
  const { scale } = plan;
  const tileWidth = plan.tileHw[1] * scale;
  const area = plan.tileHw[0] * scale * tileWidth;
  const [pixelStep, channelStep] = spec.layout === "NCHW" ? [1, area] : [3, 1];
  const height = (box.coreBottom - box.coreTop) * scale;
  const width = (box.coreRight - box.coreLeft) * scale;
  const firstRow = (box.coreTop - box.top) * scale;
  const firstColumn = (box.coreLeft - box.left) * scale;
  const out = new Uint8ClampedArray(4 * height * width);
  const clipped = (numbers: Numbers, at: number) => Math.min(Math.max(unitOf(numbers[at] as number, spec), 0), 1);
  const rgb = [0, 0, 0];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = ((firstRow + y) * tileWidth + firstColumn + x) * pixelStep;
      for (let c = 0; c < 3; c += 1) rgb[c] = clipped(colour, at + c * channelStep);
      let opacity = 1;
      if (alpha !== null) {
        opacity = 0;
        for (let c = 0; c < 3; c += 1) opacity += clipped(alpha, at + c * channelStep) / 3;
        const source = 4 * ((box.coreTop + Math.floor(y / scale)) * photo.width + box.coreLeft + Math.floor(x / scale));
        if (opacity < VISIBLE) for (let c = 0; c < 3; c += 1) rgb[c] = (photo.rgba[source + c] as number) / 255;
      }
      if (photo.isGrey) rgb.fill(((rgb[0] as number) + (rgb[1] as number) + (rgb[2] as number)) / 3);
      const to = 4 * (y * width + x);
      for (let c = 0; c < 3; c += 1) out[to + c] = level(rgb[c] as number);
      out[to + 3] = level(opacity);
    }
  }
  return out;
}

/** A half is rounded up, as in edgesr. */
function level(unit: number): number {
  return Math.floor(unit * 255 + 0.5);
}

/** Put a core into the whole result, RGBA of scale times the photo. */
export function paste(result: Uint8ClampedArray, plan: TilePlan, box: Box, core: Uint8ClampedArray): void {
  const resultWidth = plan.width * plan.scale;
  const rowBytes = 4 * (box.coreRight - box.coreLeft) * plan.scale;
  const rows = (box.coreBottom - box.coreTop) * plan.scale;
  for (let y = 0; y < rows; y += 1) {
    const to = 4 * ((box.coreTop * plan.scale + y) * resultWidth + box.coreLeft * plan.scale);
    result.set(core.subarray(y * rowBytes, (y + 1) * rowBytes), to);
  }
}
