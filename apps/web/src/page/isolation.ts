/** The service worker: offline use, and the headers without which there are no threads. */

import { shell } from "./shell";

const RELOADED = "edgesr reloaded for isolation";

/** Registers it; reloads the page once where that gives cross-origin isolation. False: the page is being reloaded.
 *
 * `offline` is called when everything is kept on the device. A service worker that is refused or cannot keep its files
 * (no room, private window) costs offline use and perhaps threads, never the page. */
export async function startServiceWorker(offline: () => void): Promise<boolean> {
  if (shell() !== undefined) {
    offline(); // all files are in the app
    return true;
  }
  if (!("serviceWorker" in navigator)) return true; // plain http, or switched off
  const working = register().then((isWorking) => {
    if (isWorking) offline();
    return isWorking;
  });
  if (self.crossOriginIsolated) {
    sessionStorage.removeItem(RELOADED);
    return true;
  }
  if (sessionStorage.getItem(RELOADED) !== null) return true; // it did not help: one thread, and the page says so
  if (!(await working)) return true;
  await controlled();
  sessionStorage.setItem(RELOADED, "yes");
  location.reload();
  return false;
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

function controlled(): Promise<void> {
  return new Promise((resolve) => {
    if (navigator.serviceWorker.controller !== null) return resolve();
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
  });
}
