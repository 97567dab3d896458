import assert from "node:assert/strict";
import { test } from "node:test";
import type { TensorSpec } from "../src/core/manifest";
import { OutputCheck, coreOutput, isTransparent, paste, tileInput, type Numbers, type Photo } from "../src/core/pixels";
import { planTiles, type TilePlan } from "../src/core/tiling";

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

test("colour is multiplied by alpha before the network and divided after it", () => {
  const photo = photoOf(6, 5, (i) => [0, 64, 128, 255][i % 4] as number);
  const plan = planTiles(5, 6, RULE, 2, null);
  const input = tileInput(photo, plan, plan.boxes[0] as never, FLOAT, "colour");
  const expected = ((photo.rgba[4] as number) / 255) * (64 / 255);
  assert.ok(Math.abs((input[1] as number) - expected) < 1e-6);
  const result = enlarge(photo, plan, FLOAT);
  for (let i = 0; i < 4; i += 1) assert.ok(Math.abs((result[8 + i] as number) - (photo.rgba[4 + i] as number)) <= 1);
  // invisible: the colour of the source
  assert.deepEqual([...result.subarray(0, 4)], [...photo.rgba.subarray(0, 3), 0]);
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
