/** Benchmark mode: cold starts, each with its warm-up and its timed runs; exported as the kit's own records. */

import type { Photo } from "../core/pixels";
import { toJsonl, type Repeat, type Run } from "../core/records";
import type { Size } from "../core/tiling";
import { Cancelled, InferenceClient } from "./clients";
import type { Device } from "./device";
import type { Engine, EngineFacts } from "../workers/protocol";
import type { Model } from "./bundle";

export interface Plan {
  readonly repeats: number;
  readonly warmup: number;
  readonly count: number;
}

export const PLANS: Readonly<Record<string, Plan>> = {
  quick: { repeats: 1, warmup: 2, count: 10 },
  full: { repeats: 3, warmup: 5, count: 50 },
};

export interface Subject {
  readonly model: Model;
  readonly engine: Engine;
  readonly threads: number;
  readonly photo: Photo;
  readonly photoName: string;
}

/** What `edgesr bench` times by default; an artifact of fixed sizes at its first. */
const DEFAULT_SIZE: Size = [180, 320];

export function benchSize({ manifest }: Model): Size {
  return manifest.sizes[0] ?? DEFAULT_SIZE;
}

/** Throws AppError, Cancelled. `started` gets every client, so that it can be cancelled. */
export async function measure(
  subject: Subject,
  plan: Plan,
  device: Device,
  edgesr: string,
  started: (client: InferenceClient, repeat: number) => void,
): Promise<{ run: Run; facts: EngineFacts }> {
  const startedAt = new Date();
  const repeats: Repeat[] = [];
  let inputs: Run["inputs"] = { count: 0, source: "", sha256: "" };
  let lastFacts: EngineFacts | null = null;
  for (let index = 0; index < plan.repeats; index += 1) {
    const { client, facts } = await InferenceClient.open(subject.model, subject.engine, subject.threads, (opening) =>
      started(opening, index),
    );
    try {
      const { repeat, inputsSha256, inputs: count } = await client.bench(subject.photo, benchSize(subject.model), plan.warmup, plan.count);
      const runtime = { runtime: facts.runtime, backend: facts.backend, threads: String(facts.threads), precision: subject.model.manifest.precision };
      repeats.push({ ...repeat, loadNs: facts.loadNs, runtime });
      // The photo's name may say who is on it: it stays out of the file.
      inputs = { count, source: `pieces of a photo of ${subject.photo.width}x${subject.photo.height}`, sha256: inputsSha256 };
      lastFacts = facts;
    } finally {
      client.end();
    }
  }
  if (lastFacts === null) throw new Cancelled();
  const run: Run = {
    manifest: subject.model.manifest,
    size: benchSize(subject.model),
    threads: lastFacts.threads,
    startedAt,
    edgesr,
    where: { name: browserName(), facts: deviceFacts(device) },
    inputs,
    repeats,
  };
  return { run, facts: lastFacts };
}

export { toJsonl };

function deviceFacts(device: Device): Record<string, string | number | boolean> {
  const { deviceMemory } = navigator as Navigator & { deviceMemory?: number };
  return {
    user_agent: navigator.userAgent,
    cores: device.cores,
    cross_origin_isolated: device.isIsolated,
    gpu: device.gpu?.name ?? "none",
    memory_gb: deviceMemory ?? "not told",
    clock_step_us: clockStepUs(),
  };
}

/** The smallest step of the clock: browsers coarsen it. */
function clockStepUs(): number {
  let least = Infinity;
  for (let i = 0; i < 20; i += 1) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return Math.round(least * 1000);
}

function browserName(): string {
  const agent = navigator.userAgent;
  const found = /(Firefox|Edg|OPR|SamsungBrowser|Chrome|Version)\/(\d+)/.exec(agent);
  const names: Record<string, string> = { Edg: "Edge", OPR: "Opera", Version: "Safari" };
  const browser = found === null ? "browser" : `${names[found[1] ?? ""] ?? found[1]} ${found[2]}`;
  const system = /Android|iPhone|iPad|Windows|Mac OS X|CrOS|Linux/.exec(agent)?.[0] ?? "unknown system";
  return `${browser} on ${system}`;
}
