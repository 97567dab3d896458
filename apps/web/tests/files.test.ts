/** Headers, EXIF and PNG: files come from Pillow (tests/test_web_core.py), results go back to it. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { exifOfSize, orientationOf, readPhotoFile, withExif } from "../src/core/photo_file";
import { encodePng } from "../src/core/png";

interface Case {
  readonly file: string;
  readonly kind: string;
  readonly width: number;
  readonly height: number;
  readonly isGrey: boolean;
  readonly hasExif: boolean;
}

const file = process.env["EDGESR_CASES"];
const skip = file === undefined && "EDGESR_CASES names no file";
const cases = file === undefined ? [] : (JSON.parse(readFileSync(file, "utf8")) as { photos: Case[] }).photos;
const bytesOf = (path: string) => new Uint8Array(readFileSync(path)) as Uint8Array<ArrayBuffer>;

test("headers say what Pillow wrote", { skip }, () => {
  assert.ok(cases.length >= 8);
  for (const each of cases) {
    const found = readPhotoFile(bytesOf(each.file));
    assert.equal(found.kind, each.kind, each.file);
    assert.deepEqual(found.size, { width: each.width, height: each.height }, each.file);
    assert.equal(found.isGrey, each.isGrey, each.file);
    assert.equal(found.exif !== null, each.hasExif, each.file);
    if (found.exif !== null) assert.equal(orientationOf(found.exif), 6, each.file);
  }
});

test("files that are cut short anywhere are not known or keep their size, and never throw", { skip }, () => {
  for (const each of cases) {
    const bytes = bytesOf(each.file);
    for (let length = 0; length < Math.min(bytes.length, 400); length += 1) readPhotoFile(bytes.slice(0, length));
  }
});

test("EXIF of the result is upright and has its size", { skip }, () => {
  const source = cases.find((each) => each.file.endsWith("turned.jpg"));
  assert.ok(source);
  const exif = readPhotoFile(bytesOf(source.file)).exif;
  assert.ok(exif);
  const changed = exifOfSize(exif, 70000, 123);
  assert.ok(changed);
  const jpeg = withExif(bytesOf(source.file.replace("turned", "plain")), changed);
  writeFileSync(`${source.file}.out.jpg`, jpeg);
  assert.deepEqual(readPhotoFile(jpeg).exif, changed);
  assert.equal(orientationOf(changed), 1);
  assert.equal(exifOfSize(Uint8Array.of(1, 2, 3), 1, 1), null);
  for (let length = 0; length < 20; length += 1) assert.equal(orientationOf(exif.slice(0, length)), 1);
});

test("PNG keeps every value of straight RGBA", { skip }, async () => {
  const [width, height] = [37, 150];
  const rgba = new Uint8ClampedArray(4 * width * height).map((_, i) => (i * 2654435761) >>> 24);
  for (const hasAlpha of [true, false]) {
    const blob = await encodePng({ width, height, rgba, hasAlpha }, new Map([["Software", "edgesr"]]), null);
    writeFileSync(`${file}.${hasAlpha ? "rgba" : "rgb"}.png`, new Uint8Array(await blob.arrayBuffer()));
  }
  writeFileSync(`${file}.raw`, rgba);
});
