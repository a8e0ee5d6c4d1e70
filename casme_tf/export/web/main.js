// The page: what is chosen, what is shown. The work is done in recognizer.js, in a worker.

import { clipDoubts } from "./checks.js";
import { drawCrop, drawCurve, drawMotion, drawWheel } from "./drawing.js";
import { followCamera, followVideo, MOST_FRAMES, openCamera, openVideo, readPicture } from "./frames.js";
import { spot } from "./movement.js";
import { Problem, TEXTS } from "./texts.js";

const element = (id) => document.getElementById(id);
const SPOT_EVERY = 8; // frames that were measured, of the camera
const LIVE_FRAMES = 16; // before the camera's last seconds say anything

// A worker that is made of a blob is bound by this page's Content-Security-Policy.
const source = JSON.stringify(new URL("recognizer.js", import.meta.url).href);
const starter = `import(${source}).catch((error) => postMessage({ id: "ready", error: error.message }));`;
const worker = new Worker(URL.createObjectURL(new Blob([starter], { type: "text/javascript" })));
const waiting = new Map();
const ready = new Promise((resolve, reject) => { waiting.set("ready", { resolve, reject }); });

worker.onmessage = ({ data: { id, result, error, expected } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(expected ? new Problem(error) : new Error(error));
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
let clip = null; // frames that were followed, see frames.js
let turn = 0; // counts what was asked for; an earlier one that is still at work stops

/** Do something that was asked for; whatever goes wrong is a sentence on the page. */
async function asked(work) {
  turn += 1;
  const mine = turn;
  say(TEXTS.loading, true);
  try {
    await loaded;
    say("");
    await work(() => mine !== turn);
  } catch (error) {
    if (mine !== turn) return;
    element("result").hidden = element("waiting").hidden = true;
    element("problem").textContent = error instanceof Problem ? error.message : TEXTS.bug(error.message);
    element("problem").hidden = false;
    element("problem").scrollIntoView({ block: "nearest" });
    say("");
    if (!(error instanceof Problem)) console.warn(error);
  }
}

/** Show what is being done, and how much of it. */
function say(text, fresh = false, share = null) {
  // The same text again would be read aloud again.
  if (element("status").textContent !== text) element("status").textContent = text;
  element("progress").hidden = share === null;
  if (share !== null) element("progress").value = share;
  if (fresh) element("problem").hidden = true;
}

async function lookAtPair(onset, apex, extra = {}, doubts = []) {
  const answer = await engine.pair(onset, apex);
  Object.assign(answer.json, extra, { doubts: [...doubts, ...answer.json.doubts] });
  return answer;
}

function show({ json, crops, motion, shape }) {
  element("waiting").hidden = element("problem").hidden = true;
  element("result").hidden = false;
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

/** Find onset and apex of the clip, or take those that were chosen, and answer for them. */
async function lookAtClip(stopped, known = {}) {
  const { frames, skipped, fps } = clip;
  const followed = frames.filter((frame) => frame.seen).length;
  if (followed < 2) throw new Problem(TEXTS.tooShort(followed));
  if (known.onset >= known.apex) throw new Problem(TEXTS.wrongOrder(known.onset + skipped, known.apex + skipped));
  const filmed = Number(element("fps").value) || fps;
  const timed = frames.map((frame) => ({ ...frame, seconds: ((frame.seconds - frames[0].seconds) * fps) / filmed }));
  const spotting = spot(timed, known);
  if (spotting.apex <= spotting.onset) throw new Problem(TEXTS.lostAfter);
  showTimeline(spotting);
  const both = (values) => ({ onset: values(spotting.onset), apex: values(spotting.apex) });
  const answer = await lookAtPair(await clip.frame(spotting.onset), await clip.frame(spotting.apex), {
    frames: both((i) => i + skipped),
    seconds: both((i) => spotting.seconds[i]),
    spotting: { method: spotting.method, clearness: spotting.clearness, moved: spotting.moved },
  }, clipDoubts(spotting, timed, filmed, skipped));
  if (stopped()) return;
  show(answer);
  if (clip.more) say(`${element("status").textContent}. ${TEXTS.cutShort(MOST_FRAMES)}`);
}

function showTimeline(spotting) {
  element("timeline").hidden = false;
  element("by-hand").disabled = clip.live;
  clip.spotting = spotting;
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

for (const name of ["onset", "apex"]) {
  element(`${name}-at`).addEventListener("input", () => {
    showPlace(name);
    const canvas = element(`${name}-crop`);
    drawCrop(canvas, clip.frames[element(`${name}-at`).value].crop, canvas.height / canvas.width);
    drawCurve(element("curve"), { ...clip.spotting, [name]: Number(element(`${name}-at`).value) });
  });
  element(`${name}-at`).addEventListener("change", () => asked((stopped) => lookAtClip(stopped, {
    onset: Number(element("onset-at").value), apex: Number(element("apex-at").value),
  })));
}
element("automatic").addEventListener("click", () => asked((stopped) => lookAtClip(stopped)));
element("fps").addEventListener("change", () => asked((stopped) => lookAtClip(stopped)));
const redraw = () => { if (clip?.spotting) drawCurve(element("curve"), clip.spotting); };
window.addEventListener("resize", redraw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// Two pictures.
const pictures = {};
for (const name of ["onset", "apex"]) {
  const input = element(`${name}-file`);
  input.addEventListener("change", () => asked(async (stopped) => {
    if (!input.files.length) return;
    delete pictures[name];
    const image = input.parentElement.querySelector("img");
    image.hidden = true;
    const frame = await readPicture(input.files[0]);
    URL.revokeObjectURL(image.src);
    Object.assign(image, { src: URL.createObjectURL(input.files[0]), alt: TEXTS.pictureAlt(TEXTS[name]), hidden: false });
    pictures[name] = frame;
    if (!pictures.onset || !pictures.apex) return;
    say(TEXTS.working);
    const answer = await lookAtPair(pictures.onset, pictures.apex);
    if (!stopped()) show(answer);
  }));
}

// A video.
const film = element("film");

async function lookAtVideo(stopped) {
  forget();
  film.controls = false;
  const progress = (done, all) => { if (!stopped()) say(TEXTS.measuring(done + 1, all), false, done / all); };
  try {
    say(TEXTS.taking);
    clip = await followVideo(film, engine, progress, stopped);
    if (stopped()) return;
    element("fps").value = Number(clip.fps.toFixed(2));
    element("speed").hidden = false;
    await lookAtClip(stopped);
  } finally {
    film.controls = true;
  }
}

element("video-file").addEventListener("change", ({ target }) => asked(async (stopped) => {
  if (!target.files.length) return;
  film.hidden = element("again").hidden = true;
  await openVideo(film, target.files[0]);
  film.hidden = element("again").hidden = false;
  await lookAtVideo(stopped);
}));
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
  return { frames, skipped: 0, fps, more: false, live, frame: (i) => entries[i].image };
}

async function useCamera(stopped) {
  forget();
  const size = (await loaded).recognizer_frame_size;
  const live = element("live");
  const close = await openCamera(live);
  element("live").parentElement.hidden = false;
  let done = false, measured = 0, answered = 0;
  cameraText = "";
  stopCamera = () => { done = true; };
  button.textContent = TEXTS.cameraStop;
  element("speed").hidden = true;
  element("fps").value = "";
  const step = async (ring) => {
    measured += 1;
    const entries = ring.filter((entry) => entry.frame);
    if (measured % SPOT_EVERY || entries.length < LIVE_FRAMES || done) return;
    clip = cameraClip(entries, true);
    const spotting = spot(clip.frames);
    showTimeline(spotting);
    const apex = entries[spotting.apex].seconds;
    // An apex among the newest frames may be exceeded by the next one.
    if (!spotting.moved || spotting.apex > entries.length - 3 || apex < answered + 0.3) return;
    answered = apex;
    // What cannot be answered now may be in a moment.
    await lookAtClip(() => done || stopped()).catch((error) => { if (!(error instanceof Problem)) throw error; });
  };
  let ring;
  try {
    const state = (...now) => { if (!stopped()) cameraState(size, ...now); };
    ring = await followCamera(live, engine, state, step, () => done || stopped());
  } finally {
    close();
    element("live").parentElement.hidden = true;
    button.textContent = TEXTS.cameraStart;
    stopCamera = null;
  }
  if (stopped()) return;
  for (const [i, entry] of ring.entries()) {
    say(TEXTS.measuring(i + 1, ring.length), false, i / ring.length);
    entry.frame ??= await engine.measure(await engine.strip(entry.image), entry.seconds);
    if (stopped()) return;
  }
  if (ring.length < 2) throw new Problem(TEXTS.cameraNoFace);
  clip = cameraClip(ring);
  await lookAtClip(stopped);
}

button.addEventListener("click", () => {
  if (stopCamera) stopCamera();
  else asked(useCamera);
});

function forget() {
  clip = null;
  element("timeline").hidden = element("result").hidden = true;
  element("waiting").hidden = false;
  element("ask").className = "";
}

for (const radio of document.getElementsByName("source")) {
  radio.addEventListener("change", () => asked(async () => {
    for (const name of ["pictures", "video", "camera"]) element(name).hidden = radio.value !== name;
    film.pause();
    forget();
  }));
}

for (const each of document.querySelectorAll("[data-text]")) each.textContent = TEXTS[each.dataset.text];
for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", TEXTS[each.dataset.label]);
drawWheel(element("wheel"));
if (window.isSecureContext && navigator.serviceWorker) navigator.serviceWorker.register("sw.js");

asked(async () => {
  if (!film.requestVideoFrameCallback || !window.OffscreenCanvas) throw new Problem(TEXTS.oldBrowser);
  const facts = await loaded;
  element("about").textContent = TEXTS.about(facts.name, facts.made_by);
  element("units-note").textContent = facts.model === facts.recognizer ? "" : TEXTS.unitsNote;
  say(TEXTS.ready);
});
