// Frames from pictures, videos and the camera, as the canvas reads them: RGBA, 8 bits.

import { Problem, TEXTS } from "./texts.js";

export const MOST_FRAMES = 200; // of a video
const RING_SECONDS = 3; // of the camera
const MS_A_FRAME = 40; // a video plays so slowly that there is time to take its frames
const SLOWEST = 0.0625; // that browsers play at
const MOST_LOST = 5; // frames of the camera in a row

const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });

/** Return the pixels of a picture, or of what a video shows, or of a part of that. */
function pixels(source, width, height, part = { x: 0, y: 0, width, height }) {
  if (canvas.width !== part.width || canvas.height !== part.height) [canvas.width, canvas.height] = [part.width, part.height];
  context.globalCompositeOperation = "copy"; // nothing shines through of the frame before; a new size resets it
  context.drawImage(source, part.x, part.y, part.width, part.height, 0, 0, part.width, part.height);
  return context.getImageData(0, 0, part.width, part.height);
}

const shown = (video, part) => pixels(video, video.videoWidth, video.videoHeight, part);

/** Read a picture file, turned as its camera noted. */
export async function readPicture(file) {
  const image = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw new Problem(TEXTS.noPicture(file.name));
  });
  const frame = pixels(image, image.width, image.height);
  for (let i = 3; i < frame.data.length; i += 4) {
    if (frame.data[i] < 255) throw new Problem(TEXTS.transparent(file.name)); // what it hides would count
  }
  return frame;
}

/**
 * Wait for what a video does; ends where the video breaks or the signal aborts.
 * @param begin called with what resolves, what rejects, and a signal that removes listeners
 */
function waitFor(video, signal, begin) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    if (video.error) throw new Problem(TEXTS.brokenVideo);
    const over = new AbortController();
    const settle = (act) => (value) => { over.abort(); act(value); };
    const fail = settle(reject);
    signal.addEventListener("abort", () => fail(signal.reason), { signal: over.signal });
    video.addEventListener("error", () => fail(new Problem(TEXTS.brokenVideo)), { signal: over.signal });
    begin(settle(resolve), fail, over.signal);
  });
}

const settled = (video, signal, promise) => waitFor(video, signal, (resolve, reject) => promise.then(resolve, reject));

/** Show a video file, at its beginning. */
export async function openVideo(video, file, signal) {
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(file);
  await waitFor(video, signal, (resolve, reject, over) => {
    // A sound has no width.
    video.addEventListener("loadeddata", () => (video.videoWidth ? resolve() : reject()), { signal: over });
  }).catch(() => {
    signal.throwIfAborted();
    throw new Problem(TEXTS.noVideo(file.name));
  });
}

/** Play a video; one of a few frames may end before it is said to play. */
const play = (video, signal) => settled(video, signal, video.play().catch((error) => { if (!video.ended) throw error; }));

/** Wait for the next frame that is shown; returns its time, or null at the end. */
const nextFrame = (video, signal) => waitFor(video, signal, (resolve, _, over) => {
  if (video.ended) resolve(null);
  video.addEventListener("ended", () => resolve(null), { signal: over });
  video.requestVideoFrameCallback((_now, { mediaTime }) => resolve(mediaTime));
});

const go = (video, time, signal) => waitFor(video, signal, (resolve, _, over) => {
  video.addEventListener("seeked", resolve, { signal: over });
  video.currentTime = time;
});

/**
 * Go to a time; returns the frame shown there and its time, or null if the browser reports none.
 * @param earliest that frame is not before, s
 */
async function seek(video, time, earliest, signal, part) {
  let found = null, handle;
  const wait = () => { handle = video.requestVideoFrameCallback(look); };
  const look = (_now, { mediaTime }) => {
    if (mediaTime >= earliest && mediaTime <= time) found = { time: mediaTime, image: shown(video, part) };
    else wait(); // that was a frame of the place before
  };
  wait();
  try {
    await go(video, time, signal);
    const latest = performance.now() + 500;
    while (!found && performance.now() < latest) await settled(video, signal, pause(5));
    return found;
  } finally {
    video.cancelVideoFrameCallback(handle);
  }
}

/** Do what takes a video to other places, and bring it back to where it stood. */
async function andBack(video, signal, work) {
  const start = video.ended ? 0 : video.currentTime;
  try {
    return await work(start);
  } finally {
    video.pause();
    if (signal.aborted) video.currentTime = start;
    else await go(video, start, signal);
  }
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * Follow the face through a video from where it stands: its frames are taken, then each is measured.
 * @param engine the recognizer, see main.js
 * @param progress called with how many frames were measured, of how many
 * @returns frames, see recognizer.js; skipped, how many came before a face; more, whether the
 *   video goes on; pair(onset, apex, signal), a promise of two whole frames
 */
export async function followVideo(video, engine, progress, signal) {
  const { taken, skipped, ended } = await andBack(video, signal, (start) => takeFrames(video, engine, start, signal));
  const kept = taken.slice(0, MOST_FRAMES - skipped);
  const frames = [];
  for (const { time, strip } of kept) {
    progress(frames.length, kept.length);
    frames.push(await engine.measure(strip, time));
    signal.throwIfAborted();
  }
  const pair = (onset, apex, now) => andBack(video, now, async () => {
    const images = [];
    for (const i of [onset, apex]) {
      const { time } = kept[i];
      const half = Math.min(frameTime(kept), (kept[i + 1]?.time ?? Infinity) - time) / 2;
      const found = await seek(video, time + half, time - half, now);
      images.push(found ? found.image : shown(video)); // a frame that is shown already may not be reported
    }
    return images;
  });
  const more = !ended || kept.length < taken.length;
  return { frames, skipped, fps: 1 / frameTime(kept, 1 / 2), more, live: false, pair };
}

/**
 * Take the frames of a video from where a face is found: it is played slowly, then those that this
 * device missed are fetched.
 * @returns taken, of {time, strip}; skipped, how many came before; ended, whether the video did
 */
async function takeFrames(video, engine, start, signal) {
  const taken = [];
  let part = null, skipped = 0;
  const take = async (time, image) => { taken.push({ time, strip: await engine.strip(image) }); };
  video.muted = true;
  video.playbackRate = 2 * SLOWEST;
  await play(video, signal);
  while (skipped + taken.length < MOST_FRAMES) {
    let time = await nextFrame(video, signal);
    if (time === null && (part || skipped)) break;
    time ??= start; // a video of one frame ends before that is new
    if (!part) {
      video.pause(); // finding a face takes longer than a frame
      part = (await engine.begin(shown(video)))?.part ?? null;
      if (!part) skipped += 1;
    }
    if (part && time !== taken.at(-1)?.time) await take(time, shown(video, part));
    if (taken.length > 1) video.playbackRate = Math.min(Math.max((1000 * frameTime(taken)) / MS_A_FRAME, SLOWEST), 1);
    // At its end, a video would start again.
    if (video.paused && !video.ended) await play(video, signal);
  }
  video.pause();
  const { ended } = video;
  if (!taken.length) throw new Problem(TEXTS.noFaceInClip(skipped));
  const known = taken.map(({ time }) => time);
  let step = frameTime(taken);
  /** Take the frame before the one at a time, unless that is the other; returns its time, or null. */
  const takeBefore = async (time, other) => {
    const found = await seek(video, time - step / 8, other - step / 8, signal, part);
    if (!found || found.time <= other + step / 8) return null;
    await take(found.time, found.image);
    return found.time;
  };
  // A slow device may have missed every other frame. What is just before a known frame shows the true distance.
  for (let at = known.findIndex((time, i) => known[i + 1] - time === step); at >= 0;) {
    const between = await takeBefore(known[at + 1], known[at]);
    if (between === null) break;
    at += 1;
    known.splice(at, 0, between);
    step = known[at + 1] - between;
  }
  if (!skipped) known.unshift(start - step);
  if (ended && Number.isFinite(video.duration)) known.push(video.duration);
  for (const [i, time] of known.slice(1).entries()) {
    if (skipped + taken.filter((one) => one.time <= known[i]).length >= MOST_FRAMES) break; // no more are kept
    for (let end = time; end !== null && end - known[i] > 1.5 * step;) end = await takeBefore(end, known[i]);
  }
  taken.sort((one, other) => one.time - other.time);
  return { taken, skipped, ended };
}

/** Return the seconds between frames; a share below a half passes over those that were missed. */
function frameTime(taken, share = 1 / 8) {
  const steps = taken.slice(1).map(({ time }, i) => time - taken[i].time).sort((a, b) => a - b);
  return steps.length ? steps[Math.floor(steps.length * share)] : 1 / 30;
}

/** Show the camera in a video element, unless the signal aborts before the browser's user allows it. */
export async function openCamera(video, signal) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Problem(TEXTS.cameraInsecure);
  const wanted = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 60 } };
  const allowed = navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  // Nobody may wait for it any more.
  allowed.then((stream) => { if (signal.aborted) close(stream); }, () => {});
  try {
    video.srcObject = await settled(video, signal, allowed);
  } catch (error) {
    signal.throwIfAborted();
    const reasons = { NotFoundError: TEXTS.noCamera, NotAllowedError: TEXTS.cameraRefused, SecurityError: TEXTS.cameraRefused };
    throw new Problem(reasons[error.name] ?? TEXTS.cameraBusy);
  }
  await settled(video, signal, video.play());
}

const close = (stream) => stream.getTracks().forEach((track) => track.stop());

export function closeCamera(video) {
  if (video.srcObject) close(video.srcObject);
  video.srcObject = null;
}

/**
 * Keep the last seconds of the camera, and follow the face in them as fast as this device can.
 * @param state called with "looking", "lost", or "steady", the box of the face and how far it moved
 * @param step called after each frame that was measured, with the ring
 * @returns a promise of the ring once the signal aborts: entries with seconds, image and, where
 *   there was time, frame
 */
export async function followCamera(video, engine, state, step, signal) {
  const [track] = video.srcObject.getVideoTracks();
  let ring = [], found = null, busy = false, lost = 0;
  const measure = async (entry) => {
    busy = true;
    entry.frame = await engine.measure(await engine.strip(entry.image), entry.seconds);
    busy = false;
    lost = entry.frame.seen ? 0 : lost + 1;
    if (lost > MOST_LOST) {
      [ring, found, lost] = [[], null, 0]; // begin anew where the face is now
      state("lost");
      return;
    }
    if (entry.frame.seen) state("steady", found.box, entry.frame.shift);
    await step(ring);
  };
  const begin = async () => {
    busy = true;
    found = await engine.begin(shown(video));
    busy = false;
    if (!found) state("looking");
  };
  let failed = null;
  while (!signal.aborted && !failed) {
    await new Promise((resolve) => { video.requestVideoFrameCallback(resolve); setTimeout(resolve, 1000); });
    if (track.readyState === "ended") throw new Problem(TEXTS.cameraGone);
    const seconds = performance.now() / 1000;
    const catching = (error) => { failed = error; };
    if (!found) {
      if (!busy) begin().catch(catching);
      continue;
    }
    ring.push({ seconds, image: shown(video, found.part), frame: null });
    while (ring[0].seconds < seconds - RING_SECONDS) ring.shift();
    if (!busy) measure(ring.at(-1)).catch(catching);
  }
  while (busy && !failed) await pause(20);
  if (failed) throw failed;
  return ring;
}
