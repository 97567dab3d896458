/** Plans against those that edgesr/tiling.py made: the file of cases is written by tests/test_web_core.py. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { AppError } from "../src/core/errors";
import { planImage, planTiles, reflected, type Box, type Size, type TilingFacts } from "../src/core/tiling";

interface Case {
  readonly height: number;
  readonly width: number;
  readonly facts: TilingFacts;
  readonly tilePx: number | null;
  readonly memoryMb: number;
  readonly refused: boolean;
  readonly tileHw: Size;
  readonly paddedHw: Size;
  /** top, left, core top, core left, core bottom, core right */
  readonly boxes: readonly (readonly number[])[];
}

const file = process.env["EDGESR_CASES"];

test("plans equal those of the Python code", { skip: file === undefined && "EDGESR_CASES names no file" }, () => {
  const cases = (JSON.parse(readFileSync(file as string, "utf8")) as { tiling: Case[] }).tiling;
  assert.ok(cases.length >= 100);
  for (const each of cases) {
    const make = () => planImage(each.height, each.width, each.facts, each);
    if (each.refused) {
      assert.throws(make, AppError);
      continue;
    }
    const plan = make();
    const label = `${each.width}x${each.height} ${JSON.stringify(each.facts)} ${each.tilePx} ${each.memoryMb}`;
    assert.deepEqual(plan.tileHw, each.tileHw, label);
    assert.deepEqual(plan.paddedHw, each.paddedHw, label);
    assert.deepEqual(plan.boxes.map(numbers), each.boxes, label);
  }
});

test("an image is reflected as numpy does", () => {
  const at = (length: number, count: number) => Array.from({ length: count }, (_, i) => reflected(i, length));
  assert.deepEqual(at(3, 9), [0, 1, 2, 1, 0, 1, 2, 1, 0]);
  assert.deepEqual(at(1, 3), [0, 0, 0]);
});

test("a tile that leaves nothing between its halos is refused in words", () => {
  const rule = { haloPx: 32, minSidePx: 15, multiplePx: 1 };
  assert.throws(() => planTiles(500, 500, rule, 4, [64, 64]), /leaves nothing between two halos of 32 px/);
});

function numbers(box: Box): number[] {
  return [box.top, box.left, box.coreTop, box.coreLeft, box.coreBottom, box.coreRight];
}
