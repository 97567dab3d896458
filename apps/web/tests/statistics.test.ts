import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError, explained } from "../src/core/errors";
import { duration, median, percentile } from "../src/core/statistics";

test("percentiles are numpy's", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(percentile([1, 2, 3, 4], 0.9), 3.7);
  assert.equal(percentile([5], 0.9), 5);
  assert.throws(() => median([]), RangeError);
});

test("durations read well", () => {
  assert.deepEqual([2.34, 45.6, 1240, 125_000].map(duration), ["2.3 ms", "46 ms", "1.24 s", "2 min 5 s"]);
});

test("running out of memory is said in words, whatever threw it", () => {
  for (const thrown of [new RangeError("Array buffer allocation failed"), new Error("std::bad_alloc"), "out of memory"]) {
    assert.equal(explained(thrown, "engine", "It failed.").kind, "memory");
  }
  assert.equal(explained(new Error("x"), "engine", "It failed.").message, "It failed. (x)");
  const error = new AppError("photo", "no photo");
  assert.equal(explained(error, "engine", "It failed."), error);
});
