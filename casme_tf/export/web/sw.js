// Keeps the page's files, so that it works without a network; files.js, written at export, lists them.

importScripts("files.js");
const scope = self.registration.scope;
const name = scope + self.VERSION;
const listed = new Set(self.FILES.map((file) => new URL(file, scope).href));

self.addEventListener("install", (event) => {
  const files = self.FILES.map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(name).then((cache) => cache.addAll(files)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  // Pages in folders below this one keep their own.
  const earlier = (key) => key.startsWith(scope) && !key.slice(scope.length).includes("/") && key !== name;
  event.waitUntil(caches.keys()
    .then((keys) => Promise.all(keys.filter(earlier).map((key) => caches.delete(key))))
    .then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = request.url.split(/[?#]/)[0];
  if (request.method === "GET" && listed.has(address)) event.respondWith(answer(address));
});

async function answer(address) {
  const cache = await caches.open(name);
  const kept = await cache.match(address);
  if (kept) return kept;
  // The page drops what is damaged; what comes in its place is kept again.
  const response = await fetch(address, { cache: "no-cache" });
  if (response.status === 200) await cache.put(address, response.clone()).catch(() => {}); // the disk may be full
  return response;
}
