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
  context.drawImage(source, part.x, part.y, part.width, part.height, 0, 0, part.width, part.height);
  return context.getImageData(0, 0, part.width, part.height);
}

const shown = (video, part) => pixels(video, video.videoWidth, video.videoHeight, part);

/** Read a picture file, turned as its camera noted. */
export async function readPicture(file) {
  const image = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw new Problem(TEXTS.noPicture(file.name));
  });
  return pixels(image, image.width, image.height);
}

/** Show a video file, at its beginning. */
export async function openVideo(video, file) {
  video.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => {
    const none = () => reject(new Problem(TEXTS.noVideo(file.name)));
    video.onloadeddata = () => (video.videoWidth ? resolve() : none()); // a sound has no width
    video.onerror = none;
  });
}

/** Wait for the next frame that is shown; returns its time, or null at the end. */
const nextFrame = (video) => new Promise((resolve) => {
  if (video.ended) resolve(null);
  const ended = () => resolve(null);
  video.addEventListener("ended", ended, { once: true });
  video.requestVideoFrameCallback((_, { mediaTime }) => {
    video.removeEventListener("ended", ended);
    resolve(mediaTime);
  });
});

/** Go to a time; returns the time of the frame that is shown there, or null if that was shown before. */
async function seek(video, time) {
  const seeked = new Promise((resolve) => { video.addEventListener("seeked", resolve, { once: true }); });
  const drawn = new Promise((resolve) => { video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime)); });
  video.currentTime = time;
  await seeked;
  return Promise.race([drawn, pause(500).then(() => null)]);
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * Follow the face through a video from where it stands: it is played slowly to take its frames,
 * those that this device missed are fetched, and then each is measured.
 * @param engine the recognizer, see main.js
 * @param progress called with how many frames were measured, of how many
 * @returns frames, see recognizer.js; skipped, how many came before a face; more, whether the
 *   video goes on; frame(i), a promise of all of a frame
 */
export async function followVideo(video, engine, progress, stopped) {
  const taken = []; // {time, strip}
  const start = video.currentTime;
  let part = null, skipped = 0;
  const take = async (time) => { taken.push({ time, strip: await engine.strip(shown(video, part)) }); };
  video.muted = true;
  video.playbackRate = 2 * SLOWEST;
  await video.play();
  while (skipped + taken.length < MOST_FRAMES && !stopped()) {
    const time = await nextFrame(video);
    if (time === null) break;
    if (!part) {
      video.pause(); // finding a face takes longer than a frame
      part = (await engine.begin(shown(video)))?.part ?? null;
      if (!part) skipped += 1;
    }
    if (part && time !== taken.at(-1)?.time) await take(time);
    if (taken.length > 1) video.playbackRate = Math.min(Math.max((1000 * frameTime(taken)) / MS_A_FRAME, SLOWEST), 1);
    // At its end, a video would start again.
    if (video.paused && !video.ended) await video.play();
  }
  video.pause();
  const { ended } = video;
  if (!taken.length) throw new Problem(TEXTS.noFaceInClip(skipped));
  const step = frameTime(taken);
  const known = taken.map(({ time }) => time);
  if (!skipped) known.unshift(start - step);
  if (ended) known.push(video.duration);
  for (const [i, time] of known.slice(1).entries()) {
    for (let at = known[i] + 1.25 * step; at < time - 0.5 * step && !stopped(); at += step) {
      const found = await seek(video, at);
      if (found !== null && taken.every((other) => Math.abs(other.time - found) > step / 4)) await take(found);
    }
  }
  taken.sort((one, other) => one.time - other.time);
  const kept = taken.slice(0, MOST_FRAMES - skipped);
  const frames = [];
  for (const { time, strip } of kept) {
    if (stopped()) break;
    progress(frames.length, kept.length);
    frames.push(await engine.measure(strip, time));
  }
  const frame = async (i) => {
    await seek(video, kept[i].time + step / 4);
    return shown(video);
  };
  const more = !ended || kept.length < taken.length;
  return { frames, skipped, fps: 1 / frameTime(kept, 1 / 2), more, live: false, frame };
}

/** Return the seconds between frames; a share below a half passes over those that were missed. */
function frameTime(taken, share = 1 / 8) {
  const steps = taken.slice(1).map(({ time }, i) => time - taken[i].time).sort((a, b) => a - b);
  return steps.length ? steps[Math.floor(steps.length * share)] : 1 / 30;
}

/** Open the camera in a video element; returns what closes it. */
export async function openCamera(video) {
  if (!navigator.mediaDevices?.getUserMedia) throw new Problem(TEXTS.cameraInsecure);
  const wanted = { facingMode: "user", width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 60 } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    const reasons = { NotFoundError: TEXTS.noCamera, NotAllowedError: TEXTS.cameraRefused, SecurityError: TEXTS.cameraRefused };
    throw new Problem(reasons[error.name] ?? TEXTS.cameraBusy);
  }
  video.srcObject = stream;
  await video.play();
  return () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
}

/**
 * Keep the last seconds of the camera, and follow the face in them as fast as this device can.
 * @param state called with "looking", "lost", or "steady", the box of the face and how far it moved
 * @param step called after each frame that was measured, with the ring
 * @returns a promise of the ring once `stopped` returns true: entries with seconds, image and,
 *   where there was time, frame
 */
export async function followCamera(video, engine, state, step, stopped) {
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
  while (!stopped() && !failed) {
    await new Promise((resolve) => { video.requestVideoFrameCallback(resolve); setTimeout(resolve, 1000); });
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
