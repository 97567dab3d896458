/** The page: what is chosen, what runs, what is shown. */

import { AppError, explained } from "../core/errors";
import { filesToOpen } from "../core/manifest";
import { checkSize, type Photo } from "../core/pixels";
import { artifactSha256 } from "../core/records";
import { duration, median, percentile } from "../core/statistics";
import { planImage } from "../core/tiling";
import type { Engine, EngineFacts } from "../workers/protocol";
import { PLANS, benchSize, measure, toJsonl } from "./benchmark";
import { loadBundle, type Bundle, type Model } from "./bundle";
import { Cancelled, InferenceClient, PhotoClient, type TileReply } from "./clients";
import { lookAtDevice, mostResultBytes, mostThreads, usualThreads, type Device } from "./device";
import { box, button, input, offer, onPress, press, select } from "./elements";
import { startServiceWorker } from "./isolation";
import { offerNotices } from "./notices";
import { canShare, download, resultFile, share, type Format, type Result } from "./saving";
import { Viewer } from "./viewer";
import { PRECISIONS, engineWords, family, fileWords, megapixels, signed } from "./words";

type State = "starting" | "empty" | "decoding" | "ready" | "running" | "benching" | "done" | "broken";

/** What one tile may take on the CPU or GPU; larger ones are hardly faster, and the page could not be cancelled. */
const MEMORY_MB = 200;
const TILES: readonly (readonly [string, string])[] = [
  ["auto", "automatic"],
  ...[64, 96, 128, 192, 256, 384, 512].map((px) => [String(px), `${px} px`] as const),
];

interface Chosen {
  readonly photo: Photo;
  readonly name: string;
  readonly exif: Uint8Array<ArrayBuffer> | null;
}

class Page {
  private readonly photos = new PhotoClient();
  private readonly viewer = new Viewer();
  private model: Model;
  private engine: Engine = "cpu";
  private threads: number;
  private isEngineChosen = false;
  private chosen: Chosen | null = null;
  private result: Result | null = null;
  private open: { key: string; client: InferenceClient; facts: EngineFacts } | null = null;
  private running: InferenceClient | null = null;
  private exported: File | null = null;
  /** Has the focus again when what it began is over. */
  private began = button("run");

  constructor(
    private readonly bundle: Bundle,
    private readonly device: Device,
  ) {
    this.model = bundle.models[0] as Model;
    this.threads = usualThreads(device);
    this.offerModels();
    this.offerEngines();
    this.takePhotos();
    this.answerButtons();
    offerNotices();
    this.chooseModel(this.model);
    button("share").hidden = !canShare();
    button("camera").hidden = !matchMedia("(pointer: coarse)").matches;
    this.state("empty");
  }

  private state(state: State): void {
    document.body.dataset["state"] = state;
    const focused = document.activeElement; // of a button that is disabled or hidden it would be lost
    const isWorking = ["running", "benching"].includes(state);
    const isBusy = isWorking || state === "decoding";
    box("progress").hidden = !isWorking;
    button("run").disabled = isBusy || this.chosen === null;
    button("bench-run").disabled = isBusy || this.chosen === null;
    for (const id of ["model", "threads", "tile"]) select(id).disabled = isBusy;
    for (const group of ["precision", "engine"]) {
      for (const each of box(group).querySelectorAll("button")) each.disabled = isBusy || each.dataset["missing"] === "yes";
    }
    box("result-card").hidden = button("quick-save").hidden = state !== "done";
    this.moveFocus(focused, isWorking);
    button("run").textContent = state === "decoding" ? "Reading the photo …" : `Enlarge ×${this.model.manifest.scale}`;
  }

  private moveFocus(from: Element | null, isWorking: boolean): void {
    const starters = [button("run"), button("bench-run")];
    if (isWorking) {
      this.began = starters.find((each) => each === from) ?? this.began;
      if (from === this.began) button("cancel").focus({ preventScroll: true });
    } else if (from === button("cancel")) this.began.focus({ preventScroll: true });
    else if (from !== null && box("empty").contains(from) && box("empty").hidden) button("run").focus({ preventScroll: true });
  }

  // ------------------------------------------------------------------------------------------------ choices

  private offerModels(): void {
    const names = [...new Set(this.bundle.models.map(({ manifest }) => family(manifest)))];
    offer(select("model"), names.map((name) => [name, name] as const), family(this.model.manifest));
    select("model").hidden = names.length < 2;
    select("model").addEventListener("change", () => {
      const found = this.bundle.models.find(({ manifest }) => family(manifest) === select("model").value);
      if (found) this.chooseModel(found);
    });
    this.offerPrecisions();
    onPress(box("precision"), "slug", (slug) => {
      const found = this.bundle.models.find(({ manifest }) => manifest.slug === slug);
      if (found) this.chooseModel(found);
    });
  }

  /** Of the chosen family. */
  private offerPrecisions(): void {
    const alike = this.bundle.models.filter(({ manifest }) => family(manifest) === family(this.model.manifest));
    box("precision").replaceChildren(
      ...alike.map(({ manifest }) => {
        const each = document.createElement("button");
        each.type = "button";
        each.textContent = PRECISIONS[manifest.precision] ?? manifest.precision;
        each.dataset["slug"] = manifest.slug;
        return each;
      }),
    );
  }

  private chooseModel(model: Model): void {
    const { manifest } = model;
    const isOfAnother = family(manifest) !== family(this.model.manifest);
    this.model = model;
    if (isOfAnother) this.offerPrecisions();
    press(box("precision"), manifest.slug, "slug");
    const drop = manifest.dropDb;
    const parts = [
      drop === null ? "" : `${signed(-drop.mean)} dB against the float network (${drop.sets}).`,
      manifest.int8Share === null ? "" : `${Math.round(100 * manifest.int8Share)} % of its work on integers.`,
      manifest.sizes.length > 0 ? `Tiles of ${manifest.sizes.map((size) => size.join("×")).join(", ")}.` : "",
    ];
    box("model-note").textContent = parts.filter(Boolean).join(" ");
    box("tagline").textContent = `${manifest.model} ×${manifest.scale}`;
    document.title = `edgesr: ${manifest.model} ×${manifest.scale}`;
    offer(select("tile"), manifest.sizes.length > 0 ? [["auto", "as the model"]] : TILES, "auto");
    if (!this.isEngineChosen) {
      const { gpu } = this.device;
      const suits = manifest.precision === "fp32" || (manifest.precision === "fp16" && gpu?.hasFloat16);
      const isGpuWorthIt = gpu !== null && !gpu.isSoftware && suits;
      this.engine = isGpuWorthIt ? "gpu" : "cpu";
    }
    this.describe();
    if (this.chosen === null) return;
    this.showPhoto(this.chosen);
    try {
      this.alert(null);
      checkSize(this.chosen.photo, this.mostPx());
    } catch (thrown) {
      this.report(thrown);
    }
  }

  private offerEngines(): void {
    const most = mostThreads(this.device);
    offer(
      select("threads"),
      Array.from({ length: most }, (_, i) => [String(i + 1), String(i + 1)] as const),
      String(this.threads),
    );
    select("threads").addEventListener("change", () => {
      this.threads = Number(select("threads").value);
      this.describe();
    });
    select("tile").addEventListener("change", () => this.describe());
    const gpu = box("engine").querySelector<HTMLButtonElement>('[data-engine="gpu"]');
    if (gpu !== null && this.device.gpu === null) gpu.dataset["missing"] = "yes";
    onPress(box("engine"), "engine", (value) => {
      this.engine = value === "gpu" ? "gpu" : "cpu";
      this.isEngineChosen = true;
      this.describe();
    });
  }

  /** Everything that follows from the choices. */
  private describe(): void {
    press(box("engine"), this.engine, "engine");
    box("threads-line").hidden = this.engine === "gpu";
    const gpu = this.device.gpu;
    const notes = [
      gpu === null ? "GPU: this browser offers no WebGPU on this device." : "",
      this.engine === "cpu" && !this.device.isIsolated && this.device.cores > 1
        ? "One thread only: this page is not cross-origin isolated (its host sends no COOP and COEP headers, and no service worker could add them)."
        : "",
      this.engine === "gpu" && gpu?.isSoftware ? "This GPU is emulated in software: expect it to be slow." : "",
      this.engine === "gpu" && this.model.manifest.precision === "int8"
        ? "On a GPU an INT8 model is computed in floats: no faster, and single values may differ by a level or two."
        : "",
    ];
    box("engine-note").textContent = notes.filter(Boolean).join(" ");
    this.chip(this.engine === "cpu" ? "CPU" : `WebGPU (${gpu?.name ?? "none"})`, this.threads);
    this.describeModel();
    this.refreshSizes();
  }

  private chip(backend: string, threads: number): void {
    box("engine-chip").textContent = engineWords(backend, threads);
  }

  private describeModel(): void {
    const { manifest } = this.model;
    const facts: [string, string][] = [
      ["Model", `${manifest.slug}, sha256 ${artifactSha256(manifest).slice(0, 12)}…`],
      ["Weights", `${manifest.weights.kind}: ${manifest.weights.file}, sha256 ${manifest.weights.sha256.slice(0, 12)}…`],
      ["File", `${filesToOpen(manifest).map(fileWords).join("; ")}; checked before each use`],
      ["Made by", `edgesr ${this.bundle.edgesr}`],
      ["Private", "Photos are worked on in this page and sent nowhere."],
    ];
    box("about-facts").replaceChildren(...facts.map(([name, text]) => row(name, text)));
  }

  // ------------------------------------------------------------------------------------------------ photos

  private takePhotos(): void {
    const [file, shot, drop] = [input("file"), input("shot"), box("drop")];
    button("choose").addEventListener("click", () => file.click());
    button("another").addEventListener("click", () => file.click());
    button("camera").addEventListener("click", () => shot.click());
    for (const each of [file, shot]) {
      each.addEventListener("change", () => {
        void this.take(each.files?.[0]);
        each.value = "";
      });
    }
    window.addEventListener("paste", (event) => void this.take([...(event.clipboardData?.files ?? [])][0]));
    window.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.hidden = !event.dataTransfer?.types.includes("Files");
    });
    window.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) drop.hidden = true;
    });
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.hidden = true;
      void this.take(event.dataTransfer?.files[0]);
    });
  }

  private async take(file: File | undefined): Promise<void> {
    if (file === undefined || this.running !== null) return;
    this.alert(null);
    const before = this.chosen;
    this.state("decoding");
    try {
      const reply = await this.photos.ask({ kind: "decode", file, mostPx: this.mostPx() });
      if (reply.kind === "failed") throw new AppError(reply.error, reply.message);
      if (reply.kind !== "decoded") throw new Error(`unexpected answer ${reply.kind}`);
      this.showPhoto({ photo: reply.photo, name: file.name, exif: reply.exif });
    } catch (thrown) {
      this.report(thrown);
      this.state(before === null ? "empty" : this.result === null ? "ready" : "done");
    }
  }

  /** Of the photo, so that its result fits the device. */
  private mostPx(): number {
    return Math.floor(mostResultBytes() / 4 / this.model.manifest.scale ** 2);
  }

  private showPhoto(chosen: Chosen): void {
    this.chosen = chosen;
    this.result = null;
    const { photo } = chosen;
    box("empty").hidden = true;
    box("viewer").hidden = false;
    box("photo-card").hidden = false;
    box("stage").style.setProperty("--aspect", String(photo.width / photo.height));
    box("photo-name").textContent = chosen.name;
    const { scale } = this.model.manifest;
    this.viewer.show(photo, scale);
    box("label-after").hidden = true;
    box("keep-line").hidden = chosen.exif === null;
    this.refreshSizes();
    this.state("ready");
  }

  private refreshSizes(): void {
    if (this.chosen === null) return;
    const { photo } = this.chosen;
    const { scale } = this.model.manifest;
    box("size-in").textContent = `${photo.width}×${photo.height} (${megapixels(photo.width * photo.height)})`;
    const [width, height] = [photo.width * scale, photo.height * scale];
    box("size-out").textContent = `${width}×${height} (${megapixels(width * height)})`;
  }

  // ------------------------------------------------------------------------------------------------ running

  private answerButtons(): void {
    button("run").addEventListener("click", () => void this.enlarge());
    button("cancel").addEventListener("click", () => {
      box("progress-text").textContent = "Stopping …";
      this.running?.cancel();
    });
    for (const id of ["save", "quick-save"]) button(id).addEventListener("click", () => void this.save(download));
    button("share").addEventListener("click", () => void this.save(share));
    button("bench-run").addEventListener("click", () => void this.benchmark());
    button("bench-export").addEventListener("click", () => {
      if (this.exported !== null) download(this.exported).catch((thrown: unknown) => this.report(thrown));
    });
  }

  private async enlarge(): Promise<void> {
    const { chosen, model } = this;
    if (chosen === null) return;
    this.alert(null);
    this.result = null;
    this.viewer.clear();
    this.progress(0, "Loading the engine …");
    this.say("Enlarging the photo …");
    this.state("running");
    try {
      checkSize(chosen.photo, this.mostPx());
      const { client, facts } = await this.opened();
      const tilePx = select("tile").value === "auto" ? null : Number(select("tile").value);
      const { photo } = chosen;
      const plan = planImage(photo.height, photo.width, model.manifest, { tilePx, memoryMb: MEMORY_MB });
      const began = performance.now();
      this.progress(0, `0 of ${plan.boxes.length} tiles`);
      const { rgba, tilesNs } = await client.run(photo, plan, (tile) => this.onTile(tile, began));
      const ms = performance.now() - began;
      const size = { width: photo.width * plan.scale, height: photo.height * plan.scale };
      this.result = { model, facts, name: chosen.name, exif: chosen.exif, image: { ...photo, ...size, rgba } };
      this.showResult(this.result, tilesNs, ms);
      this.say(`Enlarged to ${size.width}×${size.height} in ${duration(ms)}.`);
      this.state("done");
    } catch (thrown) {
      this.viewer.clear();
      this.report(thrown);
      this.state("ready");
    } finally {
      this.running = null;
    }
  }

  /** The engine for the choices; one is kept, another choice ends it. */
  private async opened(): Promise<{ client: InferenceClient; facts: EngineFacts }> {
    const key = `${this.model.manifest.slug} ${this.engine} ${this.engine === "cpu" ? this.threads : 1}`;
    if (this.open !== null && this.open.key === key && !this.open.client.ended) {
      this.running = this.open.client;
      return this.open;
    }
    this.open?.client.end();
    this.open = null;
    const opened = await InferenceClient.open(this.model, this.engine, this.threads, (client) => {
      this.running = client;
    });
    this.open = { key, ...opened };
    this.chip(this.open.facts.backend, this.open.facts.threads);
    return this.open;
  }

  private onTile(tile: TileReply, began: number): void {
    this.viewer.tile(tile);
    const leftMs = ((performance.now() - began) / tile.done) * (tile.total - tile.done);
    const left = tile.done < tile.total ? ` · about ${duration(Math.max(leftMs, 1000))} left` : "";
    this.progress(tile.done / tile.total, `${tile.done} of ${tile.total} tiles · ${duration(tile.ns / 1e6)} per tile${left}`);
  }

  private progress(share: number, text: string): void {
    const bar = box("bar");
    (bar.firstElementChild as HTMLElement).style.width = `${100 * share}%`;
    bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    bar.setAttribute("aria-valuetext", text);
    box("progress-text").textContent = text;
  }

  /** To screen readers: when work begins and ends, not every tile. */
  private say(text: string): void {
    box("spoken").textContent = text;
  }

  private showResult(result: Result, tilesNs: readonly number[], ms: number): void {
    const { manifest } = result.model;
    const { width, height } = result.image;
    const tilesMs = tilesNs.map((ns) => ns / 1e6);
    const facts: Record<string, string> = {
      time: duration(ms),
      tile: duration(median(tilesMs)),
      tiles: String(tilesNs.length),
      speed: `${((width * height) / 1000 / ms).toPrecision(2)} Mpx/s`,
      backend: result.facts.backend,
      threads: String(result.facts.threads),
      runtime: result.facts.runtime,
    };
    for (const [name, text] of Object.entries(facts)) {
      const place = document.querySelector(`[data-fact="${name}"]`);
      if (place !== null) place.textContent = text;
    }
    box("label-after").textContent = `×${manifest.scale} ${PRECISIONS[manifest.precision] ?? manifest.precision}`;
    box("label-after").hidden = false;
    const jpeg = select("format").querySelector<HTMLOptionElement>('[value="jpeg"]');
    if (jpeg !== null) jpeg.disabled = result.image.hasAlpha;
    if (result.image.hasAlpha && select("format").value === "jpeg") select("format").value = "png";
    this.viewer.showDivider(true);
  }

  private async save(out: (file: File) => void | Promise<void>): Promise<void> {
    if (this.result === null) return;
    const buttons = ["save", "quick-save", "share"].map(button);
    for (const each of buttons) each.disabled = true;
    try {
      const format = select("format").value as Format;
      await out(await resultFile(this.result, format, input("keep").checked, this.photos));
    } catch (thrown) {
      this.report(thrown);
    } finally {
      for (const each of buttons) each.disabled = false;
    }
  }

  // ------------------------------------------------------------------------------------------------ benchmark

  private async benchmark(): Promise<void> {
    if (this.chosen === null) return;
    const back = this.result === null ? "ready" : "done";
    const plan = PLANS[select("bench-length").value] ?? (PLANS["quick"] as (typeof PLANS)[string]);
    const subject = { model: this.model, engine: this.engine, threads: this.threads, photo: this.chosen.photo, photoName: this.chosen.name };
    this.alert(null);
    this.open?.client.end(); // two engines at once would disturb each other
    this.open = null;
    this.progress(0, "Starting …");
    this.say("Timing the model …");
    this.state("benching");
    try {
      const { run, facts } = await measure(subject, plan, this.device, this.bundle.edgesr, (client, repeat) => {
        this.running = client;
        this.progress(repeat / plan.repeats, `Start ${repeat + 1} of ${plan.repeats}: ${plan.warmup} warm-ups, ${plan.count} runs`);
      });
      const ms = run.repeats.flatMap((repeat) => repeat.rawNs).map((ns) => ns / 1e6);
      const [height, width] = benchSize(this.model);
      box("bench-text").textContent =
        `${width}×${height}: median ${duration(median(ms))}, 90 % within ${duration(percentile(ms, 0.9))}, ${ms.length} runs, ` +
        `${facts.runtime}, ${engineWords(facts.backend, facts.threads)}.`;
      this.exported = new File([toJsonl(run)], `${this.model.manifest.slug}_web.jsonl`, { type: "application/jsonl" });
      button("bench-export").hidden = false;
      this.chip(facts.backend, facts.threads);
    } catch (thrown) {
      this.report(thrown);
    } finally {
      this.running = null;
      this.state(back);
    }
  }

  // ------------------------------------------------------------------------------------------------ words

  private report(thrown: unknown): void {
    if (thrown instanceof Cancelled) return this.say("Stopped.");
    this.alert(explained(thrown, "engine", "Something went wrong."));
  }

  private alert(error: AppError | null): void {
    const place = box("alert");
    place.hidden = error === null;
    place.textContent = error?.message ?? "";
    place.dataset["kind"] = error?.kind ?? "";
    if (error !== null) place.scrollIntoView({ block: "nearest" });
  }
}

function row(name: string, text: string): HTMLElement {
  const [place, term, description] = [document.createElement("div"), document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = text;
  place.append(term, description);
  return place;
}

async function start(): Promise<void> {
  const isOffline = () => {
    box("offline-chip").hidden = false;
  };
  if (!(await startServiceWorker(isOffline))) return;
  const [bundle, device] = await Promise.all([loadBundle(), lookAtDevice()]);
  new Page(bundle, device);
}

start().catch((thrown: unknown) => {
  document.body.dataset["state"] = "broken";
  const error = explained(thrown, "artifact", "The page cannot start.");
  box("engine-chip").textContent = "not ready";
  box("alert").hidden = false;
  box("alert").dataset["kind"] = error.kind;
  box("alert").textContent = error.message;
});
