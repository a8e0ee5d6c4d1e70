// Keeps the page's files, so that it works without a network; files.js, written at export, lists them.

importScripts("files.js");
const scope = self.registration.scope;
const name = scope + self.VERSION;

self.addEventListener("install", (event) => {
  const files = self.FILES.map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(name).then((cache) => cache.addAll(files)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const earlier = (key) => key.startsWith(scope) && key !== name;
  event.waitUntil(caches.keys()
    .then((keys) => Promise.all(keys.filter(earlier).map((key) => caches.delete(key))))
    .then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith(scope)) return;
  event.respondWith(caches.open(name)
    .then((cache) => cache.match(event.request, { ignoreSearch: true }))
    .then((kept) => kept ?? fetch(event.request)));
});
