// BlazeFace: the steps before and after the network, and the box that both frames are cut with.

const MIN_SCORE = 0.5; // another threshold is another box
const MIN_SUPPRESSION = 0.3; // shared area over joined area from which two candidates are one face
const CLEARLY_HIGHER = 0.05; // in score

/** By model: side of its input, px, and [stride, anchors a cell] of each grid of anchors. */
const VARIANTS = {
  short: { size: 128, grids: [[8, 2], [16, 6]] },
  full: { size: 192, grids: [[4, 1]] },
};

/** A detector of the largest face; `short` and `full` are models, see model.js. */
export class FaceDetector {
  constructor(models) {
    this.models = Object.entries(VARIANTS).map(([name, { size, grids }]) => ({
      ask: models[name], size, anchors: grids.flatMap(([stride, count]) => anchors(size / stride, count)),
    }));
  }

  /** Return the largest face of a frame: x, y, width, height, score, count, keypoints; or null. */
  async detect(frame) {
    for (const model of this.models) {
      const faces = await findFaces(model, frame);
      if (faces.length) {
        const largest = faces.reduce((a, b) => (b.width > a.width ? b : a));
        return { ...largest, count: faces.length };
      }
    }
    return null;
  }

  /** Return by how many degrees clockwise to turn a frame for its face to be upright. */
  async turned(frame, score = 0) {
    let best = score + CLEARLY_HIGHER, turn = 0;
    for (const degrees of [90, 180, 270]) {
      frame = quarterTurn(frame);
      for (const model of this.models) {
        for (const face of await findFaces(model, frame)) {
          if (face.score > best) [best, turn] = [face.score, degrees];
        }
      }
    }
    return turn;
  }
}

function anchors(cells, count) {
  const found = [];
  for (let y = 0; y < cells; y++) {
    for (let x = 0; x < cells; x++) {
      for (let n = 0; n < count; n++) found.push([(x + 0.5) / cells, (y + 0.5) / cells]);
    }
  }
  return found;
}

async function findFaces({ ask, size, anchors }, frame) {
  const side = Math.max(frame.width, frame.height);
  const [raw, logits] = await ask([intoSquare(frame, size), [1, size, size, 3]]);
  const least = Math.log(MIN_SCORE / (1 - MIN_SCORE));
  const candidates = [];
  anchors.forEach((anchor, i) => {
    if (logits[i] < least) return;
    const value = (k) => Math.fround(raw[16 * i + k] / size);
    const center = [0, 1].map((axis) => Math.fround(value(axis) + anchor[axis]));
    const half = [2, 3].map((k) => value(k) / 2);
    candidates.push({
      score: 1 / (1 + Math.exp(-logits[i])),
      // Corners, then keypoints, as shares of the square's side.
      places: [
        ...center.map((c, axis) => Math.fround(c - half[axis])),
        ...center.map((c, axis) => Math.fround(c + half[axis])),
        ...Array.from({ length: 12 }, (_, k) => Math.fround(value(4 + k) + anchor[k % 2])),
      ],
    });
  });
  const margin = [(side - frame.width) / 2, (side - frame.height) / 2];
  return merged(candidates).map(({ score, places }) => {
    const px = places.map((place, k) => side * place - margin[k % 2]);
    const [x, y] = px.map(Math.trunc);
    const [width, height] = [px[2] - px[0], px[3] - px[1]].map(Math.trunc);
    const keypoints = Array.from({ length: 6 }, (_, k) => [px[4 + 2 * k], px[5 + 2 * k]]);
    return { x, y, width, height, score, keypoints };
  }).filter(({ x, y, width, height }) => inside(x + width / 2, frame.width) && inside(y + height / 2, frame.height));
}

const inside = (value, length) => value >= 0 && value < length;

/** Merge candidates that overlap into their mean, weighted by score. */
function merged(candidates) {
  const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
  let remaining = [...candidates].sort((a, b) => b.score - a.score);
  const faces = [];
  while (remaining.length) {
    const [best] = remaining;
    const same = remaining.filter(({ places }) => {
      const [left, top] = [0, 1].map((k) => Math.max(best.places[k], places[k]));
      const [right, bottom] = [2, 3].map((k) => Math.min(best.places[k], places[k]));
      const shared = Math.max(right - left, 0) * Math.max(bottom - top, 0);
      return places === best.places || shared > MIN_SUPPRESSION * (area(best.places) + area(places) - shared);
    });
    const sum = same.reduce((total, { score }) => total + score, 0);
    faces.push({
      score: best.score,
      places: best.places.map((_, k) => same.reduce((total, { score, places }) => total + (score / sum) * places[k], 0)),
    });
    remaining = remaining.filter((candidate) => !same.includes(candidate));
  }
  return faces;
}

/** Put a frame into the middle of a black square: size · size · 3 float32 of -1…1. */
function intoSquare(frame, size) {
  const { width, height, data } = frame;
  const side = Math.max(width, height);
  const pixels = new Float32Array(size * size * 3);
  // In 32nds of a pixel, the steps of OpenCV's interpolation.
  const places = (length) => Array.from({ length: size }, (_, i) => Math.round(32 * ((i * side) / size + (length - side) / 2)));
  const [columns, rows] = [places(width), places(height)];
  const at = (x, y, channel) => (inside(x, width) && inside(y, height) ? data[4 * (y * width + x) + channel] : 0);
  rows.forEach((row, i) => columns.forEach((column, j) => {
    const [x, y, a, b] = [column >> 5, row >> 5, column & 31, row & 31];
    for (let channel = 0; channel < 3; channel++) {
      const upper = (32 - a) * at(x, y, channel) + a * at(x + 1, y, channel);
      const lower = (32 - a) * at(x, y + 1, channel) + a * at(x + 1, y + 1, channel);
      const gray = ((32 - b) * upper + b * lower + 512) >> 10;
      pixels[3 * (i * size + j) + channel] = Math.fround(gray / Math.fround(127.5)) - 1;
    }
  }));
  return pixels;
}

function quarterTurn({ width, height, data }) {
  const from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < height; x++) to[y * height + x] = from[(height - 1 - x) * width + y];
  }
  return { width: height, height: width, data: new Uint8ClampedArray(to.buffer) };
}

/** Return the box to cut both frames with, from the face in the onset frame; see saved_models/README.md. */
export function cropBox(face, frame) {
  const unit = face.width / 260;
  const [left, right] = [face.x - 10 * unit, face.x + face.width + 10 * unit].map((v) => edge(v, frame.width));
  const [top, bottom] = [face.y - 67 * unit, face.y + face.height + 13 * unit].map((v) => edge(v, frame.height));
  return { x: left, y: top, width: right - left, height: bottom - top };
}

const edge = (value, last) => Math.min(Math.max(roundHalfEven(value), 0), last);

function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}
