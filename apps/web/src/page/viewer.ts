/** Before and after, one over the other, with a divider; fitted or pixel by pixel. */

import type { Photo } from "../core/pixels";
import { box, canvas, input, onPress, press } from "./elements";
import type { TileReply } from "./clients";

/** Larger canvases do not exist on some phones; the saved file is always whole. */
const MOST_CANVAS_PX = 16_000_000;

export class Viewer {
  private readonly viewport = box("viewport");
  private readonly stack = box("stack");
  private readonly before = canvas("before");
  private readonly after = canvas("after");
  private readonly divider = box("divider");
  private readonly slider = input("split");
  private zoom: "fit" | 1 | 2 = "fit";
  private resultSize = { width: 1, height: 1 };
  private shrink = 1;

  constructor() {
    onPress(box("zoom"), "zoom", (value) => {
      this.zoom = value === "fit" ? "fit" : value === "2" ? 2 : 1;
      press(box("zoom"), value, "zoom");
      this.layOut();
    });
    this.slider.addEventListener("input", () => this.clip());
    this.viewport.addEventListener("scroll", () => this.clip(), { passive: true });
    new ResizeObserver(() => this.layOut()).observe(this.viewport);
    const handle = this.divider.firstElementChild as HTMLElement;
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) this.moveTo(event.clientX);
    });
  }

  /** A new photo; `scale`: how many times as large its result will be. */
  show(photo: Photo, scale: number): void {
    this.resultSize = { width: photo.width * scale, height: photo.height * scale };
    this.shrink = Math.min(1, Math.sqrt(MOST_CANVAS_PX / (this.resultSize.width * this.resultSize.height)));
    paint(this.before, photo);
    this.clear();
    this.slider.value = "500";
    this.layOut();
  }

  /** Forget the result. */
  clear(): void {
    this.after.width = Math.max(1, Math.round(this.resultSize.width * this.shrink));
    this.after.height = Math.max(1, Math.round(this.resultSize.height * this.shrink));
    this.showDivider(false);
  }

  /** True where the screen shows fewer pixels than the saved file will have. */
  get isReduced(): boolean {
    return this.shrink < 1;
  }

  tile(tile: TileReply): void {
    const context = this.after.getContext("2d");
    if (context === null) return;
    const image = new ImageData(tile.core, tile.width, tile.height);
    if (this.shrink === 1) return context.putImageData(image, tile.left, tile.top);
    const whole = new OffscreenCanvas(tile.width, tile.height);
    whole.getContext("2d")?.putImageData(image, 0, 0);
    const at = (px: number) => Math.round(px * this.shrink);
    const [left, top] = [at(tile.left), at(tile.top)];
    context.drawImage(whole, left, top, at(tile.left + tile.width) - left, at(tile.top + tile.height) - top);
  }

  showDivider(isShown: boolean): void {
    this.divider.hidden = !isShown;
    this.slider.hidden = !isShown;
    this.after.setAttribute("aria-hidden", String(!isShown));
    this.clip();
  }

  private layOut(): void {
    const { clientWidth, clientHeight } = this.viewport;
    const { width, height } = this.resultSize;
    const fit = Math.min(clientWidth / width, clientHeight / height);
    const factor = this.zoom === "fit" ? fit : this.zoom / devicePixelRatio;
    this.viewport.classList.toggle("magnified", this.zoom === 2);
    this.stack.style.width = `${width * factor}px`;
    this.stack.style.height = `${height * factor}px`;
    if (this.zoom !== "fit") {
      this.viewport.scrollLeft = (width * factor - clientWidth) / 2;
      this.viewport.scrollTop = (height * factor - clientHeight) / 2;
    }
    this.clip();
  }

  private moveTo(clientX: number): void {
    const frame = this.frame();
    const share = (clientX - frame.left) / Math.max(1, frame.right - frame.left);
    this.slider.value = String(Math.round(1000 * Math.min(1, Math.max(0, share))));
    this.clip();
  }

  /** The part of the photo that can be seen, in pixels of the window. */
  private frame(): { left: number; right: number } {
    const port = this.viewport.getBoundingClientRect();
    const image = this.stack.getBoundingClientRect();
    return { left: Math.max(port.left, image.left), right: Math.min(port.right, image.right) };
  }

  private clip(): void {
    if (this.divider.hidden) {
      this.after.style.clipPath = "none";
      return;
    }
    const port = this.viewport.getBoundingClientRect();
    const image = this.stack.getBoundingClientRect();
    const { left, right } = this.frame();
    const share = Number(this.slider.value) / 1000;
    const before = Math.round(100 * share);
    this.slider.setAttribute("aria-valuetext", `${before} % before, ${100 - before} % after`);
    const x = left + (right - left) * share;
    this.divider.style.left = `${x - port.left}px`;
    this.divider.style.top = `${Math.max(0, image.top - port.top)}px`;
    this.divider.style.bottom = `${Math.max(0, port.bottom - image.bottom)}px`;
    this.after.style.clipPath = `inset(0 0 0 ${x - image.left}px)`;
  }
}

function paint(target: HTMLCanvasElement, photo: Photo): void {
  const shrink = Math.min(1, Math.sqrt(MOST_CANVAS_PX / (photo.width * photo.height)));
  target.width = Math.round(photo.width * shrink);
  target.height = Math.round(photo.height * shrink);
  const image = new ImageData(photo.rgba, photo.width, photo.height);
  if (shrink === 1) return target.getContext("2d")?.putImageData(image, 0, 0);
  const whole = new OffscreenCanvas(photo.width, photo.height);
  whole.getContext("2d")?.putImageData(image, 0, 0);
  target.getContext("2d")?.drawImage(whole, 0, 0, target.width, target.height);
}
