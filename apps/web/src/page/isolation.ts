/** The service worker: offline use, and the headers without which there are no threads. */

import { shell } from "./shell";

const RELOADED = "edgesr reloaded for isolation";
const RELOAD_PAUSE_MS = 10_000;

/** Registers it; reloads a page that came without it (the first time, or by a forced reload) once where that gives
 * cross-origin isolation. False: the page is being reloaded.
 *
 * `offline` is called when everything is kept on the device. A service worker that is refused or cannot keep its files
 * (no room, private window, blocked site data) costs offline use and perhaps threads, never the page. */
export async function startServiceWorker(offline: () => void): Promise<boolean> {
  if (shell() !== undefined) {
    offline(); // all files are in the app
    return true;
  }
  if (!("serviceWorker" in navigator)) return true; // plain http, or switched off
  const isAddedTo = navigator.serviceWorker.controller !== null;
  const working = register().then((isWorking) => {
    if (isWorking) offline();
    return isWorking;
  });
  if (self.crossOriginIsolated || isAddedTo) return true; // if its headers did not help: one thread, and the page says so
  if (!(await working) || !mayReload()) return true;
  location.reload();
  return false;
}

/** False after a reload that did not help, and where site data is blocked so that this cannot be known: it might never
 * end. By the time, because Chromium forgets late what an isolated page removes from the storage of one that is not. */
function mayReload(): boolean {
  try {
    const last = Number(sessionStorage.getItem(RELOADED));
    if (Date.now() - last < RELOAD_PAUSE_MS) return false;
    sessionStorage.setItem(RELOADED, String(Date.now()));
    return true;
  } catch {
    return false;
  }
}

/** True when a service worker with all its files is active. */
async function register(): Promise<boolean> {
  try {
    const registration = await navigator.serviceWorker.register("sw.js");
    if (registration.active !== null) return true;
    const worker = registration.installing ?? registration.waiting;
    return worker !== null && (await activated(worker));
  } catch (error) {
    console.warn("No offline use: the service worker was refused.", error);
    return false;
  }
}

function activated(worker: ServiceWorker): Promise<boolean> {
  return new Promise((resolve) => {
    const look = () => {
      if (worker.state === "activated") resolve(true);
      if (worker.state === "redundant") resolve(false);
    };
    worker.addEventListener("statechange", look);
    look();
  });
}
