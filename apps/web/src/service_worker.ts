/** Keeps the bundle for use without a network, and adds the headers without which browsers give no threads
 * (cross-origin isolation), for hosts that cannot send them. Photos never pass through here: they are not requests. */

export {};

interface Precache {
  /** Changes with any file of the bundle. */
  readonly version: string;
  /** Kept at once. */
  readonly files: readonly string[];
  /** Kept when first used: engines that this device may not have. */
  readonly later: readonly string[];
}

declare const self: ServiceWorkerGlobalScope & { EDGESR_PRECACHE: Precache };

self.importScripts("precache.js");

const { version, files, later } = self.EDGESR_PRECACHE;
const PREFIX = `edgesr ${self.registration.scope} `;
const CACHE = PREFIX + version;
const kept = new Set(files.map(absolute));
const keptLater = new Set(later.map(absolute));

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await cache.addAll([...kept].map((url) => new Request(url, { cache: "no-cache" })));
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const names = await caches.keys();
      await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  const place = `${url.origin}${url.pathname}`;
  const name = place === self.registration.scope ? absolute("index.html") : place;
  const isOurs = kept.has(name) || keptLater.has(name);
  if (request.mode === "navigate" && !isOurs) return; // another page of the host
  event.respondWith(answer(event, name, isOurs));
});

async function answer(event: FetchEvent, name: string, isOurs: boolean): Promise<Response> {
  const cache = await caches.open(CACHE);
  const found = isOurs ? await cache.match(name) : undefined;
  if (found !== undefined) return isolated(found);
  const response = await fetch(event.request);
  if (keptLater.has(name) && response.ok) event.waitUntil(keep(cache, name, response.clone()));
  return isolated(response);
}

/** Without room for it, it is fetched again the next time. */
async function keep(cache: Cache, name: string, response: Response): Promise<void> {
  try {
    await cache.put(name, response);
  } catch (error) {
    console.warn(`${name} is not kept for use without a network.`, error);
  }
}

function isolated(response: Response): Response {
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

function absolute(name: string): string {
  return new URL(name, self.registration.scope).href;
}
