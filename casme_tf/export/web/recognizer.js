// The recognizer, in a worker of its own: what casme_tf.recognition.recognizer does, on pairs and
// on the frames of a clip. A frame is {width, height, data}, RGBA as canvases have it.

import { frameDoubts, grayOf, likeness, pairDoubts, placeDoubts } from "./checks.js";
import { cropBox, FaceDetector } from "./face.js";
import { loadModel, loadRuntime, readFacts } from "./model.js";
import { faceMotion, mean, median, poseOf } from "./movement.js";
import { resize } from "./resize.js";
import { DOUBTS, Problem, TEXTS } from "./texts.js";

const SURE = 0.9; // score from which a face is upright
const UPRIGHT = 30; // degrees
const LIKENESS = 0.7; // of a face that is followed
const MARGIN = 32; // px of the crop by which it may move to follow the head
const STEP = 1.5; // px of the crop, from which the head is followed between onset and apex
const ROUNDS = 3;
const CUT = 12; // gray levels between frames, in which a scene changes

let facts, models, detector; // what model.json says, functions by file, faces
let clip; // the face that is followed, and its frames

const commands = {
  async load() {
    facts = await readFacts();
    await loadRuntime();
    models = {};
    for (const [name, digest] of Object.entries(facts.files)) models[name] = await loadModel(name, digest);
    detector = new FaceDetector({ short: models["face_short.tflite"], full: models["face_full.tflite"] });
    return facts;
  },

  /** Answer for two frames of one clip. */
  async pair(onset, apex) {
    if (onset.width !== apex.width || onset.height !== apex.height) throw new Problem(TEXTS.twoSizes(onset, apex));
    const face = await detector.detect(onset);
    if (!face) {
      const turn = await detector.turned(onset);
      throw new Problem(turn ? TEXTS.turnedFace(turn) : TEXTS.noFace(onset));
    }
    const box = cropBox(face, onset);
    const size = facts.recognizer_frame_size;
    const crops = [onset, apex].map((frame) => resize(frame, box, size));
    const seen = await ask(facts.recognizer, crops, size);
    const answer = facts.model === facts.recognizer ? seen
      : await ask(facts.model, [onset, apex].map((frame) => resize(frame, box, facts.frame_size)), facts.frame_size);
    const pose = poseOf(face.keypoints, box, size);
    const doubts = [
      ...placeDoubts(face, onset),
      ...pairDoubts({ face, pose, size, ...await afterHead(crops, seen.motion, pose, apex, box, size) }),
      ...frameDoubts([onset, apex].map((frame) => cut(frame, box))),
    ];
    const [left, right] = face.keypoints;
    const roll = Math.abs(Math.atan2(right[1] - left[1], right[0] - left[0]) * 180) / Math.PI;
    if (face.score < SURE || roll > UPRIGHT) {
      const turn = await detector.turned(onset, face.score);
      if (turn) doubts.push(DOUBTS.turned(turn));
    }
    const probabilities = Array.from(answer[facts.output]);
    const confidence = Math.max(...probabilities);
    return {
      json: {
        label: confidence >= facts.threshold ? facts.classes[probabilities.indexOf(confidence)] : null,
        confidence,
        probabilities: Object.fromEntries(facts.classes.map((name, i) => [name, probabilities[i]])),
        model: facts.name,
        box, faces: face.count, doubts,
        action_units: facts.action_units.map((number, i) => ({
          number, probability: seen.action_units[i], strength: seen.strengths[i],
        })).sort((a, b) => b.probability - a.probability),
      },
      crops, motion: withoutMedian(seen.motion), shape: box.height / box.width,
    };
  },

  /** Begin to follow the face of a frame; returns the part of the frames to pass on, or null. */
  async begin(frame) {
    const face = await detector.detect(frame);
    if (!face) return null;
    const box = cropBox(face, frame);
    const size = facts.recognizer_frame_size;
    const [h, v] = [box.width, box.height].map((length) => Math.round((length * MARGIN) / size));
    const [x, y] = [Math.max(box.x - h, 0), Math.max(box.y - v, 0)];
    const part = {
      x, y, width: Math.min(box.x + box.width + h, frame.width) - x, height: Math.min(box.y + box.height + v, frame.height) - y,
    };
    const wide = { x: box.x - h - x, y: box.y - v - y, width: box.width + 2 * h, height: box.height + 2 * v };
    clip = { wide, pose: poseOf(face.keypoints, box, size), shift: [0, 0], first: null, thumbnail: null };
    return { part, box };
  },

  /** Resize the part of a frame that `begin` returned: the crop with MARGIN px more on each side. */
  async strip(image) {
    return resize(image, clip.wide, facts.recognizer_frame_size + 2 * MARGIN);
  },

  /** Follow the face into a strip, seen from the first strip since `begin`. */
  async measure(strip, seconds) {
    clip.first ??= strip;
    const cut = isCut(strip);
    let found = await follow(strip, clip.shift);
    if (found.likeness < LIKENESS) {
      const [before, now] = [await eyesIn(clip.first), await eyesIn(strip)];
      if (before && now) found = await follow(strip, now.map((value, k) => Math.round(value - before[k])));
    }
    const seen = found.likeness >= LIKENESS;
    if (seen) clip.shift = found.shift;
    return { seconds, seen, cut, face: seen ? found.face : null, crop: found.crop, shift: clip.shift };
  },
};

/** Ask a model for its answer to a pair of crops. */
function ask(name, [onset, apex], size) {
  const shape = [1, size, size, 3];
  return models[name]({ onset: [onset, shape], apex: [apex, shape] });
}

/** Return crops and motion, the second crop cut where the head has gone if it is out of step. */
async function afterHead([onset, crop], motion, pose, apex, box, size) {
  const way = [0, 0]; // px of the frame
  const unit = [box.width / size, box.height / size];
  let split = faceMotion(motion, pose, size);
  for (let round = 0; round < ROUNDS && Math.max(...split.shift.map(Math.abs)) > STEP; round++) {
    way.forEach((value, k) => { way[k] = value + Math.round(split.shift[k] * unit[k]); });
    crop = resize(apex, { ...box, x: box.x + way[0], y: box.y + way[1] }, size);
    motion = (await ask(facts.recognizer, [onset, crop], size)).motion;
    split = faceMotion(motion, pose, size, way.map((value, k) => value / unit[k]));
  }
  return { crops: [onset, crop], motion, split };
}

/** Measure the face's motion into a strip in which the head is shifted by whole px. */
async function follow(strip, shift) {
  const size = facts.recognizer_frame_size;
  if (Math.max(...shift.map(Math.abs)) > MARGIN) return { likeness: -1, crop: window(strip, [0, 0], size) };
  const [reference, crop] = [window(clip.first, [0, 0], size), window(strip, shift, size)];
  const { motion } = await ask(facts.recognizer, [reference, crop], size);
  const split = faceMotion(motion, clip.pose, size);
  const alike = likeness(grayOf(reference), grayOf(crop), clip.pose, split.head, size);
  return { likeness: alike, face: split.face, crop, shift: shift.map((value, k) => Math.round(value + split.shift[k])) };
}

/** Return `size` px of a strip that is MARGIN px wider on each side. */
function window(strip, [right, down], size) {
  const side = size + 2 * MARGIN;
  const crop = new Uint8Array(size * size * 3);
  for (let y = 0; y < size; y++) {
    const from = 3 * ((y + MARGIN + down) * side + MARGIN + right);
    crop.set(strip.subarray(from, from + 3 * size), 3 * y * size);
  }
  return crop;
}

/** Return the middle of the eyes in a strip, or null if no face is found. */
async function eyesIn(strip) {
  const side = Math.sqrt(strip.length / 3);
  const data = new Uint8ClampedArray(4 * side * side);
  for (let i = 0; i < side * side; i++) data.set(strip.subarray(3 * i, 3 * i + 3), 4 * i);
  const face = await detector.detect({ width: side, height: side, data });
  return face && [0, 1].map((k) => (face.keypoints[0][k] + face.keypoints[1][k]) / 2);
}

/** Tell whether another scene begins with this strip. */
function isCut(strip) {
  const side = Math.sqrt(strip.length / 3);
  const cells = 32, step = side / cells;
  const small = new Float32Array(cells * cells);
  grayOf(strip).forEach((value, i) => {
    small[Math.floor(Math.floor(i / side) / step) * cells + Math.floor((i % side) / step)] += value / step ** 2;
  });
  const level = mean(small);
  const before = clip.thumbnail;
  clip.thumbnail = small.map((value) => value - level);
  return before !== null && mean(clip.thumbnail.map((value, i) => Math.abs(value - before[i]))) > CUT;
}

/** Return the part of a frame in a box. */
function cut({ width, data }, box) {
  const part = new Uint8ClampedArray(4 * box.width * box.height);
  for (let y = 0; y < box.height; y++) {
    const from = 4 * ((box.y + y) * width + box.x);
    part.set(data.subarray(from, from + 4 * box.width), 4 * y * box.width);
  }
  return { width: box.width, data: part };
}

/** Return motion, [dx, dy] a cell, without its median: what remains is not the head's. */
function withoutMedian(motion) {
  const cells = motion.length / 3;
  const usual = [0, 1].map((k) => median(Array.from({ length: cells }, (_, i) => motion[3 * i + k])));
  return Float32Array.from({ length: 2 * cells }, (_, i) => motion[3 * (i >> 1) + (i % 2)] - usual[i % 2]);
}

// One command after another: the models have one memory.
let last = Promise.resolve();
self.onmessage = ({ data: { id, command, args } }) => {
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await commands[command](...args) });
    } catch (error) {
      self.postMessage({ id, error: error.message, expected: error instanceof Problem });
    }
  });
};
self.postMessage({ id: "ready" });
