// Frames from pictures, videos and the camera, as the canvas reads them: RGBA, 8 bits.

import { Problem, TEXTS } from "./texts.js";

export const MOST_FRAMES = 200; // of a video
export const RING_SECONDS = 3; // of the camera
const MS_A_FRAME = 60; // a video plays so slowly that there is time to follow the face
const SLOWEST = 0.0625; // that browsers play at
const WAITING = 6; // frames that may wait to be measured

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
    video.onloadeddata = resolve;
    video.onerror = () => reject(new Problem(TEXTS.noVideo(file.name)));
  });
}

const nextFrame = (video) => new Promise((resolve) => {
  const ended = () => resolve(null);
  video.addEventListener("ended", ended, { once: true });
  video.requestVideoFrameCallback((_, { mediaTime }) => {
    video.removeEventListener("ended", ended);
    resolve(mediaTime);
  });
});

/**
 * Follow the face through a video from where it stands.
 * @param engine the recognizer, see main.js
 * @param progress called with the number of frames that were measured
 * @returns frames, see recognizer.js; skipped, how many came before a face; more, whether the
 *   video goes on; frame(i), a promise of all of a frame
 */
export async function followVideo(video, engine, progress, stopped) {
  const frames = [];
  const times = [];
  let part = null, skipped = 0, waiting = 0, failed = null;
  video.pause();
  video.muted = true;
  video.playbackRate = 0.25;
  await video.play();
  while (skipped + times.length < MOST_FRAMES && !stopped() && !failed) {
    const time = await nextFrame(video);
    if (time === null) break;
    if (time === times.at(-1)) continue;
    if (!part) {
      video.pause(); // finding the face takes longer than a frame
      part = (await engine.begin(shown(video)))?.part ?? null;
      if (!part) skipped += 1;
    }
    if (part) {
      times.push(time);
      waiting += 1;
      engine.measure(shown(video, part), time).then((frame) => {
        frames.push(frame);
        waiting -= 1;
        progress(frames.length);
      }, (error) => { failed = error; });
    }
    if (times.length > 1) video.playbackRate = Math.min(Math.max((1000 * frameTime(times)) / MS_A_FRAME, SLOWEST), 1);
    if (waiting > WAITING) {
      video.pause();
      while (waiting > 1 && !failed) await pause(20);
    }
    if (video.paused) await video.play();
  }
  video.pause();
  const more = !video.ended;
  while (waiting && !failed) await pause(20);
  if (failed) throw failed;
  if (!frames.length) throw new Problem(TEXTS.noFaceInClip(skipped));
  const step = times.length > 1 ? frameTime(times) : 1 / 30;
  const frame = async (i) => {
    await seek(video, times[i] + step / 4);
    return shown(video);
  };
  return { frames, skipped, fps: 1 / step, more, live: false, frame };
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

function frameTime(times) {
  const steps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
  return steps[steps.length >> 1];
}

async function seek(video, time) {
  const done = new Promise((resolve) => { video.addEventListener("seeked", resolve, { once: true }); });
  const drawn = new Promise((resolve) => { video.requestVideoFrameCallback(resolve); });
  video.currentTime = time;
  await done;
  await Promise.race([drawn, pause(250)]); // a frame that is shown already is not announced again
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
 * @param state called with "looking", "steady" or "lost" and the box of the face
 * @param step called after each frame that was measured, with the ring
 * @returns a promise of the ring once `stopped` returns true: entries with seconds, image and,
 *   where there was time, frame
 */
export async function followCamera(video, engine, state, step, stopped) {
  let ring = [], found = null, busy = false, lost = 0;
  const measure = async (entry) => {
    busy = true;
    entry.frame = await engine.measure(entry.image, entry.seconds);
    busy = false;
    lost = entry.frame.seen ? 0 : lost + 1;
    if (entry.frame.seen) state("steady", found.box, entry.frame.shift);
    if (lost > 5) [ring, found, lost] = [[], null, 0]; // begin anew where the face is now
    else await step(ring);
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
