/** SHA-256 where the browser has no WebCrypto, too: pages on plain http other than localhost have none. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { AppError } from "./errors";
import type { FileEntry } from "./manifest";

export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (globalThis.crypto?.subtle !== undefined) {
    return bytesToHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
  }
  return bytesToHex(sha256(bytes));
}

/** Throws AppError of kind "artifact" unless `bytes` are what the manifest says. */
export async function checkFile(entry: FileEntry, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  if (bytes.length !== entry.bytes) {
    throw new AppError(
      "artifact",
      `${entry.name} was changed or cut short: ${entry.bytes} bytes expected, ${bytes.length} found. Copy the bundle again.`,
    );
  }
  const found = await sha256Hex(bytes);
  if (found !== entry.sha256) {
    throw new AppError(
      "artifact",
      `${entry.name} was changed: sha256 ${entry.sha256.slice(0, 12)}… expected, ${found.slice(0, 12)}… found. ` +
        "Copy the bundle again.",
    );
  }
}
