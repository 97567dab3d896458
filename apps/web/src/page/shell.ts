/** What an app around the page does for it: its WebView neither downloads nor shares. */

import { AppError } from "../core/errors";

export interface Shell {
  /** A new file; the one before is given up. */
  begin(name: string, type: string): boolean;
  append(base64: string): boolean;
  /** Asks the person where to. */
  save(): boolean;
  share(): boolean;
}

declare global {
  interface Window {
    readonly edgesrShell?: Shell;
  }
}

/** Every piece is held several times on its way to the app. */
const PIECE_BYTES = 1 << 20;

/** undefined in a browser. */
export function shell(): Shell | undefined {
  return window.edgesrShell;
}

/** Throws AppError where the device has no room. */
export async function handOver(file: File, to: Shell, leave: "save" | "share"): Promise<void> {
  let isWell = to.begin(file.name, file.type);
  for (let at = 0; isWell && at < file.size; at += PIECE_BYTES) isWell = to.append(await base64(file.slice(at, at + PIECE_BYTES)));
  if (!isWell || !to[leave]()) throw new AppError("save", "The device could not take the file. Is there room on it?");
}

function base64(piece: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      const text = reader.result as string;
      resolve(text.slice(text.indexOf(",") + 1));
    };
    reader.onerror = () => reject(new AppError("save", "The result could not be read again."));
    reader.readAsDataURL(piece);
  });
}
