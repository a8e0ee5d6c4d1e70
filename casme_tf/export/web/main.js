// The page: what is chosen, what is shown. The work is done in recognizer.js, in a worker.

import { clipDoubts } from "./checks.js";
import { drawCrop, drawCurve, drawMotion, drawWheel } from "./drawing.js";
import { closeCamera, followCamera, followVideo, MOST_FRAMES, openCamera, openVideo, readPicture } from "./frames.js";
import { spot } from "./movement.js";
import { Problem, TEXTS } from "./texts.js";

const element = (id) => document.getElementById(id);
const SPOT_EVERY = 8; // frames that were measured, of the camera
const LIVE_FRAMES = 16; // before the camera's last seconds say anything
const LEAST_FILMED = 1; // s

// A worker that is made of a blob is bound by this page's Content-Security-Policy.
const source = JSON.stringify(new URL("recognizer.js", import.meta.url).href);
const starter = `import(${source}).catch((error) => postMessage({ id: "ready", error: error.message }));`;
const worker = new Worker(URL.createObjectURL(new Blob([starter], { type: "text/javascript" })));
const waiting = new Map();
const ready = new Promise((resolve, reject) => { waiting.set("ready", { resolve, reject }); }).catch((error) => {
  console.warn(error);
  throw new Problem(TEXTS.notWhole("recognizer.js or a file that it imports"));
});

worker.onmessage = ({ data: { id, result, error, expected } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(expected ? new Problem(error) : new Error(error));
};
worker.onerror = ({ message }) => {
  for (const { reject } of waiting.values()) reject(new Error(message));
};

let calls = 0;
const call = (command) => async (...args) => {
  await ready;
  return new Promise((resolve, reject) => {
    calls += 1;
    waiting.set(calls, { resolve, reject });
    worker.postMessage({ id: calls, command, args });
  });
};
const engine = Object.fromEntries(["load", "pair", "begin", "strip", "measure"].map((name) => [name, call(name)]));

const loaded = engine.load(); // what model.json says
let isLoaded = false;
let clip = null; // frames that were followed, see frames.js, and where onset and apex were found
let turn = { controller: new AbortController(), over: Promise.resolve() }; // what was asked for last

/** Do something that was asked for, once what was asked for before has stopped. */
function asked(work) {
  const before = turn;
  before.controller.abort();
  const controller = new AbortController();
  turn = { controller, over: before.over.then(() => attempt(work, controller.signal)) };
}

/** Do it; whatever goes wrong is a sentence on the page. */
async function attempt(work, signal) {
  if (signal.aborted) return;
  if (!element("problem").hidden) showInAnswer("waiting");
  say(isLoaded ? "" : TEXTS.loading);
  try {
    await loaded;
    signal.throwIfAborted();
    say("");
    await work(signal);
  } catch (error) {
    if (signal.aborted) return;
    element("problem").textContent = error instanceof Problem ? error.message : TEXTS.bug(error.message);
    showInAnswer("problem");
    element("problem").scrollIntoView({ block: "nearest" });
    say("");
    if (!(error instanceof Problem)) console.warn(error);
  }
}

function showInAnswer(id) {
  for (const each of ["problem", "waiting", "result"]) element(each).hidden = each !== id;
}

/** Show what is being done, and how much of it. */
function say(text, share = null) {
  // The same text again would be read aloud again.
  if (element("status").textContent !== text) element("status").textContent = text;
  element("progress").hidden = share === null;
  if (share !== null) element("progress").value = share;
}

async function lookAtPair(onset, apex, extra = {}, doubts = []) {
  const answer = await engine.pair(onset, apex);
  Object.assign(answer.json, extra, { doubts: [...doubts, ...answer.json.doubts] });
  return answer;
}

function show({ json, crops, motion, shape }) {
  showInAnswer("result");
  element("ask").className = "looked"; // hints have done their work
  element("label").textContent = json.label ?? TEXTS.none;
  element("times").textContent = json.frames
    ? ["onset", "apex"].map((name) => `${TEXTS[name]} ${TEXTS.frameOf(json.frames[name], json.seconds[name])}`).join(" · ") : "";
  element("bars").tBodies[0].replaceChildren(...Object.entries(json.probabilities).map(([name, value]) => {
    const row = document.createElement("tr");
    const best = name === json.label;
    row.className = best ? "likeliest" : "";
    row.append(make("th", name, { scope: "row" }), make("td", "", { className: "bar" }), make("td", value.toFixed(2)));
    const bar = make("span");
    bar.style.width = `${100 * value}%`;
    row.children[1].append(bar);
    if (best) row.children[0].append(make("span", ` ${TEXTS.likeliest}`, { className: "hidden" }));
    return row;
  }));
  showDoubts(json.doubts);
  const acting = json.action_units.filter((unit) => unit.probability >= 0.5);
  element("units").replaceChildren(...(acting.length ? acting.map(({ number, probability, strength }) => {
    const item = make("li");
    item.append(make("b", `AU${number}`), ` ${TEXTS.unit(number)} `,
      make("span", `${probability.toFixed(2)}, ${TEXTS.strength(strength)}`, { className: "note" }));
    return item;
  }) : [make("li", TEXTS.noUnits, { className: "note" })]));
  drawCrop(element("onset-crop"), crops[0], shape);
  drawCrop(element("apex-crop"), crops[1], shape);
  const longest = drawMotion(element("motion"), motion, shape);
  element("motion").setAttribute("aria-label", TEXTS.motionAlt(longest));
  element("motion-note").textContent = TEXTS.motionNote(longest);
  URL.revokeObjectURL(element("download").href);
  element("download").href = URL.createObjectURL(new Blob([JSON.stringify(json, null, 2)], { type: "application/json" }));
  say(TEXTS.answered(json.label, json.confidence));
  const head = element("answer-head");
  const chosen = json.spotting?.method === "given" || clip?.live;
  if (!chosen && head.getBoundingClientRect().top > 0.8 * window.innerHeight) head.scrollIntoView();
  document.dispatchEvent(new CustomEvent("answer", { detail: json }));
}

function showDoubts(doubts) {
  element("doubts").className = doubts.length ? "some" : "";
  const list = make("ul");
  list.append(...doubts.map((doubt) => make("li", doubt)));
  element("doubts").replaceChildren(...(doubts.length ? [make("h3", TEXTS.doubts), list] : [make("p", TEXTS.noDoubts)]));
}

function make(name, text = "", properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

/** Find onset and apex of a clip, or take those that were chosen, and answer for them. */
async function lookAtClip(signal, found, known = {}) {
  const { frames, skipped, fps, live } = found;
  const followed = frames.filter((frame) => frame.seen).length;
  if (followed < 2) throw new Problem(TEXTS.tooShort(followed));
  if (known.onset >= known.apex) throw new Problem(TEXTS.wrongOrder(known.onset + skipped, known.apex + skipped));
  if (!element("fps").checkValidity()) throw new Problem(TEXTS.badSpeed(element("fps").value));
  const filmed = Number(element("fps").value) || fps;
  const timed = frames.map((frame) => ({ ...frame, seconds: ((frame.seconds - frames[0].seconds) * fps) / filmed }));
  const spotting = spot(timed, known);
  if (spotting.apex <= spotting.onset) throw new Problem(TEXTS.lostAfter);
  if (!live) showTimeline(found, spotting); // by hand, what has no answer may get one
  const both = (values) => ({ onset: values(spotting.onset), apex: values(spotting.apex) });
  const answer = await lookAtPair(...await found.pair(spotting.onset, spotting.apex, signal), {
    frames: both((i) => i + skipped),
    seconds: both((i) => spotting.seconds[i]),
    spotting: { method: spotting.method, clearness: spotting.clearness, moved: spotting.moved },
  }, clipDoubts(spotting, timed, filmed, skipped));
  signal.throwIfAborted();
  if (live) showTimeline(found, spotting);
  show(answer);
  if (found.more) say(`${element("status").textContent}. ${TEXTS.cutShort(MOST_FRAMES)}`);
}

function showTimeline(found, spotting) {
  clip = { ...found, spotting };
  element("timeline").hidden = false;
  element("by-hand").disabled = clip.live;
  drawCurve(element("curve"), spotting);
  element("curve").setAttribute("aria-label", TEXTS.curveAlt(spotting.onset + clip.skipped, spotting.apex + clip.skipped));
  for (const name of ["onset", "apex"]) {
    element(`${name}-at`).max = spotting.curve.length - 1;
    element(`${name}-at`).value = spotting[name];
    showPlace(name);
  }
}

function showPlace(name) {
  const i = Number(element(`${name}-at`).value);
  const text = TEXTS.frameOf(i + clip.skipped, clip.spotting.seconds[i]);
  element(`${name}-out`).value = text;
  element(`${name}-at`).setAttribute("aria-valuetext", text);
}

const places = () => ({ onset: Number(element("onset-at").value), apex: Number(element("apex-at").value) });
const speedOf = ({ fps }) => Number(fps.toFixed(2));

for (const name of ["onset", "apex"]) {
  element(`${name}-at`).addEventListener("input", () => {
    showPlace(name);
    const canvas = element(`${name}-crop`);
    drawCrop(canvas, clip.frames[element(`${name}-at`).value].crop, canvas.height / canvas.width);
    redraw();
  });
  element(`${name}-at`).addEventListener("change", () => lookAgain(places()));
}
element("automatic").addEventListener("click", () => lookAgain());
element("fps").addEventListener("change", ({ target }) => {
  if (clip && !target.value && !target.validity.badInput) target.value = speedOf(clip);
  lookAgain();
});

function lookAgain(known) {
  const found = clip;
  if (found) asked((signal) => lookAtClip(signal, found, known));
}

function redraw() {
  if (clip) drawCurve(element("curve"), { ...clip.spotting, ...places() });
}

window.addEventListener("resize", redraw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// A file that was chosen before may be chosen again.
for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("click", () => { input.value = ""; });
}

// Two pictures.
const pictures = {}; // promises of frames: the other one may come while this one is read
for (const name of ["onset", "apex"]) {
  const input = element(`${name}-file`);
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (!file) return;
    const image = input.parentElement.querySelector("img");
    image.hidden = true;
    const reading = readPicture(file);
    pictures[name] = reading;
    reading.then(() => {
      if (pictures[name] !== reading) return;
      URL.revokeObjectURL(image.src);
      Object.assign(image, { src: URL.createObjectURL(file), alt: TEXTS.pictureAlt(TEXTS[name]), hidden: false });
    }, () => {}); // lookAtPictures says it
    asked(lookAtPictures);
  });
}

async function lookAtPictures(signal) {
  const [onset, apex] = await Promise.all([pictures.onset, pictures.apex]);
  signal.throwIfAborted();
  if (!onset && !apex) return;
  if (!onset || !apex) {
    say(onset ? TEXTS.nowApex : TEXTS.nowOnset);
    return;
  }
  say(TEXTS.working);
  const answer = await lookAtPair(onset, apex);
  signal.throwIfAborted();
  show(answer);
}

// A video.
const film = element("film");

async function lookAtVideo(signal) {
  forget();
  film.controls = false;
  try {
    say(TEXTS.taking);
    const found = await followVideo(film, engine, (done, all) => say(TEXTS.measuring(done + 1, all), done / all), signal);
    element("fps").value = speedOf(found);
    element("speed").hidden = false;
    await lookAtClip(signal, found);
  } finally {
    film.controls = true;
  }
}

element("video-file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  asked(async (signal) => {
    forget();
    film.hidden = element("again").hidden = true;
    await openVideo(film, file, signal);
    film.hidden = element("again").hidden = false;
    await lookAtVideo(signal);
  });
});
element("again").addEventListener("click", () => asked(lookAtVideo));

// The camera.
const button = element("camera-button");
let stopCamera = null;
let cameraText = "";

function cameraState(size, state, box, shift) {
  const text = { looking: TEXTS.cameraLooking, steady: TEXTS.cameraSteady, lost: TEXTS.cameraLost }[state];
  if (text !== cameraText) say(text); // else an answer stays
  cameraText = text;
  element("face").hidden = !box;
  if (!box) return;
  const live = element("live");
  const [width, height] = [live.videoWidth / 100, live.videoHeight / 100];
  const [right, down] = shift.map((value, k) => (value * [box.width, box.height][k]) / size);
  const [left, top] = [(box.x + right) / width, (box.y + down) / height];
  const place = { left, top, width: box.width / width, height: box.height / height };
  for (const [name, share] of Object.entries(place)) element("face").style[name] = `${share}%`;
}

/** Return a clip, see frames.js, of entries of the camera that were measured. */
function cameraClip(entries, live = false) {
  const frames = entries.map((entry) => entry.frame);
  const fps = (frames.length - 1) / (frames.at(-1).seconds - frames[0].seconds);
  return { frames, skipped: 0, fps, more: false, live, pair: async (onset, apex) => [entries[onset].image, entries[apex].image] };
}

async function useCamera(signal) {
  forget();
  const size = (await loaded).recognizer_frame_size;
  const live = element("live");
  const filming = new AbortController(); // ends by the button, and with this turn
  let opened = null, measured = 0, answered = 0;
  cameraText = "";
  signal.addEventListener("abort", () => filming.abort());
  stopCamera = () => filming.abort();
  button.textContent = TEXTS.cameraStop;
  element("speed").hidden = true;
  element("fps").value = "";
  const step = async (ring) => {
    measured += 1;
    const entries = ring.filter((entry) => entry.frame);
    if (measured % SPOT_EVERY || entries.length < LIVE_FRAMES || filming.signal.aborted) return;
    const found = cameraClip(entries, true);
    const spotting = spot(found.frames);
    const apex = entries[spotting.apex].seconds;
    // An apex among the newest frames may be exceeded by the next one.
    if (!spotting.moved || spotting.apex > entries.length - 3 || apex < answered + 0.3) return;
    answered = apex;
    // What cannot be answered now may be in a moment.
    await lookAtClip(filming.signal, found).catch((error) => {
      if (!(error instanceof Problem || filming.signal.aborted)) throw error;
    });
  };
  let ring = [];
  try {
    say(TEXTS.cameraOpening);
    await openCamera(live, filming.signal);
    say("");
    live.parentElement.hidden = false;
    opened = performance.now();
    const state = (...now) => { if (!filming.signal.aborted) cameraState(size, ...now); };
    ring = await followCamera(live, engine, state, step, filming.signal);
  } catch (error) {
    if (!filming.signal.aborted) throw error;
  } finally {
    filming.abort();
    closeCamera(live);
    live.parentElement.hidden = true;
    button.textContent = TEXTS.cameraStart;
    stopCamera = null;
  }
  signal.throwIfAborted();
  const seconds = ring.length ? ring.at(-1).seconds - ring[0].seconds
    : opened ? (performance.now() - opened) / 1000 : 0;
  if (seconds < LEAST_FILMED) throw new Problem(TEXTS.cameraShort(seconds));
  if (!ring.length) throw new Problem(TEXTS.cameraNoFace);
  for (const [i, entry] of ring.entries()) {
    say(TEXTS.measuring(i + 1, ring.length), i / ring.length);
    entry.frame ??= await engine.measure(await engine.strip(entry.image), entry.seconds);
    signal.throwIfAborted();
  }
  await lookAtClip(signal, cameraClip(ring));
}

button.addEventListener("click", () => {
  if (stopCamera) stopCamera();
  else asked(useCamera);
});

function forget() {
  clip = null;
  element("timeline").hidden = true;
  showInAnswer("waiting");
  element("ask").className = "";
}

for (const radio of document.getElementsByName("source")) {
  radio.addEventListener("change", () => {
    for (const name of ["pictures", "video", "camera"]) element(name).hidden = radio.value !== name;
    film.pause();
    asked(async (signal) => {
      forget();
      if (radio.value === "pictures") await lookAtPictures(signal);
    });
  });
}

for (const each of document.querySelectorAll("[data-text]")) each.textContent = TEXTS[each.dataset.text];
for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", TEXTS[each.dataset.label]);
element("waiting").className = "";
drawWheel(element("wheel"));
if (window.isSecureContext && navigator.serviceWorker) keepForOffline(navigator.serviceWorker);

function keepForOffline(container) {
  const isKept = Boolean(container.controller);
  container.addEventListener("controllerchange", () => { if (isKept) element("newer").textContent = TEXTS.newer; });
  // Without updateViaCache, the list of files may come from the browser's cache.
  container.register("sw.js", { updateViaCache: "none" }).catch(console.warn); // it works with a network
}

loaded.then((facts) => {
  isLoaded = true;
  element("about").textContent = TEXTS.about(facts.name, facts.made_by);
  element("units-note").textContent = facts.model === facts.recognizer ? "" : TEXTS.unitsNote;
}, () => {}); // each turn says it

asked(async () => {
  if (!film.requestVideoFrameCallback || !window.OffscreenCanvas) throw new Problem(TEXTS.oldBrowser);
  say(TEXTS.ready);
});
