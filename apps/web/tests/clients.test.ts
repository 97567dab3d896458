/** The page's side of its workers, with workers that do as they are told here. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../src/core/errors";
import type { Model } from "../src/page/bundle";
import { Cancelled, InferenceClient, PhotoClient } from "../src/page/clients";

class FakeWorker {
  static all: FakeWorker[] = [];
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message: string; preventDefault(): void }) => void) | null = null;
  isEnded = false;
  readonly asked: unknown[] = [];

  constructor() {
    FakeWorker.all.push(this);
  }

  postMessage(message: unknown): void {
    this.asked.push(message);
  }

  terminate(): void {
    this.isEnded = true;
  }
}

Object.assign(globalThis, { Worker: FakeWorker, document: { baseURI: "http://localhost/" } });
const newest = () => FakeWorker.all.at(-1) as FakeWorker;

test("an engine that was cancelled while it loaded is not used", async () => {
  const model = { manifest: { target: "onnxruntime" }, url: "http://localhost/models/x/" } as unknown as Model;
  const opened = InferenceClient.open(model, "cpu", 1, (client) => client.cancel());
  newest().onmessage?.({ data: { kind: "opened", facts: {} } });
  await assert.rejects(opened, Cancelled);
  assert.ok(newest().isEnded);
});

test("a photo worker that stops fails what it was asked, and another takes the next photo", async () => {
  const photos = new PhotoClient();
  const asked = [1, 2].map(() => photos.ask({ kind: "decode", file: new Blob(), mostPx: 1 }));
  const first = newest();
  first.onerror?.({ message: "", preventDefault: () => undefined });
  for (const reply of asked) {
    await assert.rejects(reply, (error) => error instanceof AppError && /its files cannot be loaded/.test(error.message));
  }
  const again = photos.ask({ kind: "decode", file: new Blob(), mostPx: 1 });
  assert.ok(first.isEnded && newest() !== first);
  newest().onmessage?.({ data: { kind: "failed", id: 3 } });
  assert.equal((await again).kind, "failed");
});
