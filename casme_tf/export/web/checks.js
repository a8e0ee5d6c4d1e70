// Reasons to doubt an answer: those of casme_tf.recognition.quality_checks, by the same limits.

import { apply, countPeaks, EYES, inFace, inverse, mean, median, motionAt } from "./movement.js";
import { DOUBTS } from "./texts.js";

const LIMITS = {
  smallFace: 120, dark: 45, bright: 225, flat: 8, saturated: 0.04, changedLight: 12, // px, gray levels
  likeness: 0.7, notMotion: 20, // correlation, gray levels
  large: 0.04, head: 0.05, // of the eyes' distance
  blocks: 1.6, combed: 1.2, // ratios
  fewFrames: 5, fastest: 1000, slow: 60, rise: 0.5, again: 3, clear: 0.35, // frames, frames a second, s
};

/** Return the gray levels of RGB or, with `channels` 4, of RGBA. */
export function grayOf(pixels, channels = 3) {
  return Float32Array.from({ length: pixels.length / channels }, (_, i) => {
    const at = i * channels;
    return (pixels[at] * 4899 + pixels[at + 1] * 9617 + pixels[at + 2] * 1868 + 8192) >> 14;
  });
}

/** Judge two crops of `size` px; `split` is the motion between them, see movement.js. */
export function pairDoubts({ face, crops, motion, split, pose, size }) {
  const doubts = [];
  if (face.width < LIMITS.smallFace) doubts.push(DOUBTS.small(face.width, LIMITS.smallFace));
  const [onset, apex] = crops.map((crop) => grayOf(crop));
  const mask = Array.from(onset.keys()).filter((i) => inFace(apply(pose, [i % size, Math.floor(i / size)])));
  const levels = [onset, apex].map((gray) => mask.map((i) => gray[i]));
  const [before, after] = levels.map(mean);
  const white = Math.max(...levels.map((values) => values.filter((value) => value >= 250).length / values.length));
  if (before < LIMITS.dark) doubts.push(DOUBTS.dark(before));
  else if (before > LIMITS.bright || white > LIMITS.saturated) doubts.push(DOUBTS.bright(before));
  else if (Math.sqrt(mean(levels[0].map((value) => (value - before) ** 2))) < LIMITS.flat) doubts.push(DOUBTS.flat);
  if (likeness(onset, apex, pose, split.head, size) < LIMITS.likeness) return [...doubts, DOUBTS.lost];
  if (unexplained(onset, apex, motion, mask, size) > LIMITS.notMotion) return [...doubts, DOUBTS.covered];
  let largest = 0;
  for (let k = 0; k < split.face.length; k += 2) largest = Math.max(largest, Math.hypot(split.face[k], split.face[k + 1]) / EYES);
  if (largest > LIMITS.large) doubts.push(DOUBTS.large(largest));
  if (split.moved > LIMITS.head) doubts.push(DOUBTS.head(split.moved));
  if (Math.abs(after - before) > LIMITS.changedLight) doubts.push(DOUBTS.light);
  return doubts;
}

/** Return the correlation of two faces, each seen as a grid of coarse cells; the head's motion is undone. */
export function likeness(onset, apex, pose, head, size) {
  const back = inverse(pose);
  const values = [[], []];
  for (let y = 2; y < 276; y += 4) {
    for (let x = 2; x < 252; x += 4) {
      if (!inFace([x, y])) continue;
      const around = [[-1, -1], [1, -1], [-1, 1], [1, 1]].map(([u, v]) => [x + u, y + v]);
      values[0].push(mean(around.map((place) => sample(onset, apply(back, place), size))));
      values[1].push(mean(around.map((place) => sample(apex, apply(back, apply(head, place)), size))));
    }
  }
  const [a, b] = values.map((row) => {
    const middle = mean(row);
    return row.map((value) => value - middle);
  });
  const product = (p, q) => p.reduce((sum, value, i) => sum + value * q[i], 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b)) || 0;
}

function sample(gray, [x, y], size) {
  const place = (value) => Math.min(Math.max(value, 0), size - 1.001);
  const [u, v] = [place(x), place(y)];
  const at = Math.floor(v) * size + Math.floor(u);
  const [a, b] = [u % 1, v % 1];
  return (1 - b) * ((1 - a) * gray[at] + a * gray[at + 1]) + b * ((1 - a) * gray[at + size] + a * gray[at + size + 1]);
}

/** Return the largest difference of two faces, gray levels, that motion does not explain. */
function unexplained(onset, apex, motion, mask, size) {
  const back = apex.map((_, i) => {
    const [x, y] = [i % size, Math.floor(i / size)];
    const [dx, dy] = motionAt(motion, [x, y], size);
    return sample(apex, [x + dx, y + dy], size);
  });
  const level = mean(mask.map((i) => back[i])) - mean(mask.map((i) => onset[i]));
  const gaussian = Array.from({ length: 17 }, (_, k) => Math.exp(-((k - 8) ** 2) / 8));
  const left = blurred(back.map((value, i) => value - level - onset[i]), gaussian, size).map(Math.abs);
  const steady = blurred(left, new Array(17).fill(1), size);
  return mask.reduce((most, i) => Math.max(most, steady[i]), 0);
}

function blurred(image, kernel, size) {
  const reach = kernel.length >> 1;
  const sum = kernel.reduce((a, b) => a + b, 0);
  for (const step of [1, size]) {
    const source = image;
    image = source.map((_, i) => {
      const place = step === 1 ? i % size : Math.floor(i / size);
      let total = 0;
      for (let k = -reach; k <= reach; k++) {
        const to = Math.min(Math.max(place + k, 0), size - 1);
        total += kernel[k + reach] * source[i + (to - place) * step];
      }
      return total / sum;
    });
  }
  return image;
}

/** Judge how frames were recorded, from their crops in their own size, RGBA. */
export function frameDoubts(crops) {
  const grays = crops.map(({ data, width }) => ({ gray: grayOf(data, 4), width, height: data.length / 4 / width }));
  const doubts = [];
  if (Math.max(...grays.map(blocks)) > LIMITS.blocks) doubts.push(DOUBTS.compressed);
  if (Math.max(...grays.map(combing)) > LIMITS.combed) doubts.push(DOUBTS.interlaced);
  return doubts;
}

/** Return how much larger steps are every 8 px than elsewhere, in the lesser direction. */
function blocks({ gray, width, height }) {
  const ratios = [[width, height, 1, width], [height, width, width, 1]].map(([along, across, step, other]) => {
    const phases = new Float64Array(8);
    const whole = Math.floor((along - 1) / 8) * 8;
    if (!whole) return 0;
    for (let i = 0; i < whole; i++) {
      for (let j = 0; j < across; j++) phases[i % 8] += Math.abs(gray[(i + 1) * step + j * other] - gray[i * step + j * other]);
    }
    const [most, ...others] = phases.map((sum) => sum / ((across * whole) / 8)).sort().reverse();
    return most / Math.max(median(others), 1e-3);
  });
  return Math.min(...ratios);
}

/** Return the difference of a row from its neighbors, over that from the rows next to these. */
function combing({ gray, width, height }) {
  const difference = (step) => {
    let sum = 0;
    for (let i = step * width; i < (height - step) * width; i++) {
      sum += Math.abs(gray[i] - (gray[i - step * width] + gray[i + step * width]) / 2);
    }
    return sum / ((height - 2 * step) * width);
  };
  return difference(1) / Math.max(difference(2), 1e-3);
}

/** Judge where a face lies in its frame. */
export function placeDoubts(face, frame) {
  const doubts = face.count > 1 ? [DOUBTS.faces(face.count)] : [];
  const [x, y] = [0, 1].map((k) => face.keypoints.map((point) => point[k]));
  if (Math.min(...x) < 0 || Math.max(...x) > frame.width || Math.max(...y) > frame.height
    || face.y + face.height > frame.height) doubts.push(DOUBTS.cutOff);
  return doubts;
}

/** Judge a clip and how its apex was found. */
export function clipDoubts(spotting, frames, fps, skipped) {
  const count = frames.length;
  const doubts = frames.flatMap((frame, i) => (frame.cut ? [DOUBTS.scene(i + skipped)] : []));
  const unseen = skipped + frames.filter((frame) => !frame.seen).length;
  if (unseen) doubts.push(DOUBTS.unseen(unseen, count + skipped));
  if (count < LIMITS.fewFrames) doubts.push(DOUBTS.short(count));
  if (fps > LIMITS.fastest) doubts.push(DOUBTS.fast(fps, count / fps));
  else if (fps < LIMITS.slow) doubts.push(DOUBTS.slow(fps));
  const rise = spotting.seconds[spotting.apex] - spotting.seconds[spotting.onset];
  if (rise > LIMITS.rise) doubts.push(DOUBTS.rise(rise, LIMITS.rise));
  const peaks = countPeaks(spotting.smooth);
  if (!spotting.moved) doubts.push(DOUBTS.still);
  else if (peaks >= LIMITS.again) doubts.push(DOUBTS.again(peaks));
  else if (spotting.method !== "given" && spotting.clearness < LIMITS.clear) {
    doubts.push(DOUBTS.unclear(spotting.near[0] + skipped, spotting.near.at(-1) + skipped));
  }
  return doubts;
}
