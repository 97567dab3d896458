import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorSpec } from "../src/core/manifest";
import { OutputCheck, coreOutput, isTransparent, paste, tileInput, type Numbers, type Photo } from "../src/core/pixels";
import { planTiles, type TilePlan } from "../src/core/tiling";
import { colourCarriedOn } from "../src/core/transparency";
import { isSamePhoto } from "../src/workers/straight";

const FLOAT: TensorSpec = { name: "x", dtype: "float32", layout: "NCHW", range: [0, 1] };
const RULE = { haloPx: 2, minSidePx: 1, multiplePx: 1 };

function photoOf(width: number, height: number, alpha: (i: number) => number = () => 255): Photo {
  const rgba = new Uint8ClampedArray(4 * width * height);
  let state = 7;
  for (let i = 0; i < rgba.length; i += 1) {
    state = (state * 1103515245 + 12345) % 2147483648;
    rgba[i] = i % 4 === 3 ? alpha((i - 3) / 4) : (state >> 16) & 255;
  }
  return { width, height, rgba, isGrey: false, hasAlpha: isTransparent(rgba) };
}

/** A network that repeats pixels: its tiled result is exactly the repeated photo. */
function nearest(input: Numbers, plan: TilePlan, spec: TensorSpec): Numbers {
  const [height, width] = plan.tileHw;
  const { scale } = plan;
  const out = new (input.constructor as new (n: number) => Numbers)(input.length * scale * scale);
  const [pixel, channel] = spec.layout === "NCHW" ? [1, height * width] : [3, 1];
  const channelOut = spec.layout === "NCHW" ? channel * scale * scale : 1;
  for (let y = 0; y < height * scale; y += 1) {
    for (let x = 0; x < width * scale; x += 1) {
      for (let c = 0; c < 3; c += 1) {
        const from = (Math.floor(y / scale) * width + Math.floor(x / scale)) * pixel + c * channel;
        out[(y * width * scale + x) * pixel + c * channelOut] = input[from] as number;
      }
    }
  }
  return out;
}

function enlarge(photo: Photo, plan: TilePlan, spec: TensorSpec): Uint8ClampedArray {
  const result = new Uint8ClampedArray(4 * photo.width * photo.height * plan.scale ** 2);
  for (const box of plan.boxes) {
    const colour = nearest(tileInput(photo, plan, box, spec, "colour"), plan, spec);
    const alpha = photo.hasAlpha ? nearest(tileInput(photo, plan, box, spec, "alpha"), plan, spec) : null;
    paste(result, plan, box, coreOutput(photo, plan, box, spec, colour, alpha));
  }
  return result;
}

const specs: readonly TensorSpec[] = (["NCHW", "NHWC"] as const).flatMap((layout) => [
  { ...FLOAT, layout },
  { name: "x", dtype: "uint8", layout, range: [0, 255] },
  { name: "x", dtype: "int8", layout, range: [-128, 127] },
]);
for (const spec of specs) {
  test(`tiles in ${spec.dtype} ${spec.layout} give every pixel in its place`, () => {
    const photo = photoOf(23, 17);
    const plan = planTiles(17, 23, RULE, 2, [9, 11]);
    assert.ok(plan.boxes.length > 4);
    const result = enlarge(photo, plan, spec);
    for (let y = 0; y < 34; y += 1) {
      for (let x = 0; x < 46; x += 1) {
        const from = 4 * ((y >> 1) * 23 + (x >> 1));
        const to = 4 * (y * 46 + x);
        assert.deepEqual([...result.subarray(to, to + 4)], [...photo.rgba.subarray(from, from + 4)]);
      }
    }
  });
}

test("straight colour passes the network, and what ends invisible keeps that of the source", () => {
  const photo = photoOf(6, 5, (i) => [0, 64, 128, 255][i % 4] as number);
  const plan = planTiles(5, 6, RULE, 2, null);
  const input = tileInput(photo, plan, plan.boxes[0] as never, FLOAT, "colour");
  assert.ok(Math.abs((input[1] as number) - (photo.rgba[4] as number) / 255) < 1e-6);
  const whitened = { ...photo, rgba: photo.rgba.map((level, i) => (i % 4 === 3 ? level : 255)) };
  const result = new Uint8ClampedArray(4 * 12 * 10);
  for (const box of plan.boxes) {
    const [colour, alpha] = (["colour", "alpha"] as const).map((source) =>
      nearest(tileInput(whitened, plan, box, FLOAT, source), plan, FLOAT));
    paste(result, plan, box, coreOutput(photo, plan, box, FLOAT, colour as Numbers, alpha as Numbers));
  }
  for (let i = 0; i < 30; i += 1) {
    const at = 4 * (Math.floor(i / 6) * 2 * 12 + (i % 6) * 2);
    const opacity = photo.rgba[4 * i + 3] as number;
    const expected = opacity === 0 ? [...photo.rgba.subarray(4 * i, 4 * i + 3), 0] : [255, 255, 255, opacity];
    assert.deepEqual([...result.subarray(at, at + 4)], expected);
  }
});

test("the colour of what is visible is carried on into what is not, 32 pixels far", () => {
  const photo = photoOf(80, 3, (i) => (i % 80 === 40 ? 255 : i % 80 === 41 ? 7 : 0));
  const carried = colourCarriedOn(photo);
  for (let i = 0; i < 240; i += 1) {
    const near = Math.abs((i % 80) - 40) <= 32;
    const from = near ? 4 * (Math.floor(i / 80) * 80 + 40) : 4 * i;
    assert.deepEqual([...carried.rgba.subarray(4 * i, 4 * i + 3)], [...photo.rgba.subarray(from, from + 3)], String(i));
    assert.equal(carried.rgba[4 * i + 3], photo.rgba[4 * i + 3]);
  }
  for (const alpha of [0, 7, 8, 255]) {
    const even = photoOf(4, 4, () => alpha);
    assert.deepEqual(colourCarriedOn(even).rgba, even.rgba);
  }
});

test("grey stays grey", () => {
  const photo = { ...photoOf(4, 4), isGrey: true };
  const plan = planTiles(4, 4, RULE, 1, null);
  const result = enlarge(photo, plan, FLOAT);
  assert.ok(result.every((value, i) => i % 4 === 3 || value === result[i - (i % 4)]));
});

test("values are clipped and a half is rounded up", () => {
  const photo = photoOf(2, 1);
  const plan = planTiles(1, 2, { ...RULE, haloPx: 0 }, 1, null);
  const colour = Float32Array.from([-3, 7, 0.5 / 255, 1.5 / 255, 0.999, 0]);
  const core = coreOutput(photo, plan, plan.boxes[0] as never, FLOAT, colour, null);
  assert.deepEqual([...core], [0, 1, 255, 255, 255, 2, 0, 255]);
});

test("NaN and infinity are refused", () => {
  for (const source of ["colour", "alpha"] as const) {
    const check = new OutputCheck(photoOf(4, 4), source, FLOAT);
    assert.throws(() => check.tile(Float32Array.of(0, NaN)), /NaN or infinity/);
    assert.throws(() => check.tile(Float32Array.of(Infinity)), /NaN or infinity/);
  }
});

test("black is refused in numbers of every kind, black of a black photo is not", () => {
  const blacks = [new Float32Array(8), new Uint8Array(8), new Int8Array(8).fill(-128)];
  for (const black of blacks) {
    const spec = specs.find(({ dtype }) => black.constructor.name.toLowerCase().startsWith(dtype)) as TensorSpec;
    for (const [source, words] of [["colour", /a black image/], ["alpha", /an invisible image/]] as const) {
      const broken = new OutputCheck(photoOf(4, 4), source, spec);
      broken.tile(black);
      assert.throws(() => broken.end(), words, spec.dtype);
      const fair = new OutputCheck({ ...photoOf(4, 4), rgba: new Uint8ClampedArray(64).fill(1) }, source, spec);
      fair.tile(black);
      fair.end();
    }
  }
});

test("straight colours are taken only where they are those of the same photo", () => {
  const stored = photoOf(16, 16, (i) => i).rgba;
  const rounded = stored.map((level, i) => {
    const alpha = stored[i - (i % 4) + 3] as number;
    return i % 4 === 3 || alpha === 0 ? (i % 4 === 3 ? level : 0) : Math.round((Math.round((level * alpha) / 255) * 255) / alpha);
  });
  assert.ok(isSamePhoto(stored, rounded));
  assert.ok(rounded.some((level, i) => Math.abs(level - (stored[i] as number)) > 20), "low alpha loses colour");
  assert.ok(!isSamePhoto(stored.slice(4), rounded));
  for (const [at, by] of [[4 * 200, 9], [4 * 200 + 3, 1]] as const) {
    const other = stored.slice();
    other[at] = (other[at] as number) > 128 ? (other[at] as number) - by : (other[at] as number) + by;
    assert.ok(!isSamePhoto(other, rounded), String(at));
  }
});
