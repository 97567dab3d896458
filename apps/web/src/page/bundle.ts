/** The models of this bundle: bundle.json and the manifests that it names. */

import { AppError, explained } from "../core/errors";
import { sha256Hex } from "../core/hashing";
import { parseManifest, type Manifest } from "../core/manifest";

export interface Model {
  readonly manifest: Manifest;
  /** Its folder, ends with a slash. */
  readonly url: string;
}

export interface Bundle {
  readonly edgesr: string;
  readonly models: readonly Model[];
}

const SCHEMA = 1;

/** Throws AppError of kind "artifact". */
export async function loadBundle(): Promise<Bundle> {
  const raw = JSON.parse(await text("bundle.json")) as Record<string, unknown>;
  const models = raw["models"];
  if (raw["schema"] !== SCHEMA || !Array.isArray(models) || models.length === 0) {
    throw new AppError("artifact", "bundle.json is not of this page. Make the bundle again.");
  }
  return {
    edgesr: String(raw["edgesr"]),
    models: await Promise.all(models.map((entry) => loadModel(entry as Record<string, unknown>))),
  };
}

async function loadModel(entry: Record<string, unknown>): Promise<Model> {
  const path = String(entry["path"]);
  if (!/^models\/[\w.+-]+$/.test(path) || path.includes("..")) {
    throw new AppError("artifact", `bundle.json names ${path.slice(0, 80)}, which is no folder of this bundle.`);
  }
  const source = await text(`${path}/manifest.json`);
  const found = await sha256Hex(new TextEncoder().encode(source));
  if (found !== entry["manifest_sha256"]) {
    throw new AppError("artifact", `${path}/manifest.json was changed after the bundle was made. Copy the bundle again.`);
  }
  return { manifest: parseManifest(source), url: new URL(`${path}/`, document.baseURI).href };
}

async function text(name: string): Promise<string> {
  try {
    const response = await fetch(name);
    if (response.ok) return await response.text();
    throw new AppError("artifact", `${name} cannot be loaded (HTTP ${response.status}). Is the bundle complete?`);
  } catch (thrown) {
    throw explained(thrown, "artifact", `${name} cannot be loaded. Is the connection gone?`);
  }
}
