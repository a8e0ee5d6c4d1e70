// Motion on the face without the head's, its curve over a clip, and where onset and apex are on it.
//
// Places are px of an upright face in which the eyes lie EYES apart, MIDDLE between them. A map
// [a, b, c, d, e, f] takes (x, y) to (a x + b y + c, d x + e y + f).

export const EYES = 96;
const MIDDLE = [126, 92];
const CELLS = 28; // along each side of the recognizer's motion
const LEAST_MOTION = 0.3; // % of the eyes' distance
const CLEAR = [0.06, 0.15]; // spread of possible apexes, as a share of the clip: clear, not clear

export const apply = ([a, b, c, d, e, f], [x, y]) => [a * x + b * y + c, d * x + e * y + f];

export function inverse([a, b, c, d, e, f]) {
  const area = a * e - b * d;
  return [e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area];
}

/** Return the map from a crop of `size` px, cut with a box, to the upright face. */
export function poseOf(keypoints, box, size) {
  const [left, right] = keypoints;
  const across = [(right[0] - left[0]) / EYES, (right[1] - left[1]) / EYES];
  const square = across[0] ** 2 + across[1] ** 2;
  const [cos, sin] = [across[0] / square, across[1] / square];
  const [x, y] = [(left[0] + right[0]) / 2 - box.x, (left[1] + right[1]) / 2 - box.y];
  const [h, v] = [box.width / size, box.height / size];
  return [cos * h, sin * v, MIDDLE[0] - cos * x - sin * y, -sin * h, cos * v, MIDDLE[1] + sin * x - cos * y];
}

export function inFace([x, y]) {
  return ((x - MIDDLE[0]) / EYES) ** 2 + ((y - MIDDLE[1] - 0.45 * EYES) / (1.2 * EYES)) ** 2 < 1;
}

function inLids([x, y]) {
  const down = ((y - MIDDLE[1]) / (0.25 * EYES)) ** 2;
  return [-0.5, 0.5].some((side) => ((x - MIDDLE[0] - side * EYES) / (0.42 * EYES)) ** 2 + down < 1);
}

/** Points of the skin, away from where lids move. */
const POINTS = [];
for (let y = MIDDLE[1] - 0.65 * EYES; y < MIDDLE[1] + 1.45 * EYES; y += 16) {
  for (let x = MIDDLE[0] - EYES; x <= MIDDLE[0] + EYES; x += 16) {
    if (inFace([x, y]) && !inLids([x, y])) POINTS.push([x, y]);
  }
}

/** Return the recognizer's motion (28 · 28 · 3) at a place of its crop of `size` px. */
export function motionAt(motion, [x, y], size) {
  const place = (value) => Math.min(Math.max((value * CELLS) / size - 0.5, 0), CELLS - 1.001);
  const [u, v] = [place(x), place(y)];
  const [i, j] = [Math.floor(u), Math.floor(v)];
  const [a, b] = [u - i, v - j];
  return [0, 1].map((k) => {
    const cell = (row, column) => motion[3 * (row * CELLS + column) + k];
    return (1 - b) * ((1 - a) * cell(j, i) + a * cell(j, i + 1)) + b * ((1 - a) * cell(j + 1, i) + a * cell(j + 1, i + 1));
  });
}

/**
 * Split motion into the head's and the face's.
 * @param way how far the second crop was moved already to follow the head, px of the crop
 * @returns head: a map of the upright face; moved: how far it moves the face, as a share of the
 *   eyes' distance; shift: the same, px of the crop; face: what is left at each point of the skin,
 *   [x, y, x, y, …]
 */
export function faceMotion(motion, pose, size, way = [0, 0]) {
  const back = inverse(pose);
  const [a, b, , d, e] = pose;
  const vectors = POINTS.map((point) => {
    const [x, y] = motionAt(motion, apply(back, point), size);
    return [a * x + b * y, d * x + e * y];
  });
  const head = fitSimilarity(POINTS, vectors);
  const displacement = (point) => apply(head, point).map((value, k) => value - point[k]);
  const middle = [[0, 0], [-0.5, 0], [0.5, 0], [0, 1]].map(([x, y]) => [MIDDLE[0] + x * EYES, MIDDLE[1] + y * EYES]);
  const face = POINTS.flatMap((point, i) => displacement(point).map((value, k) => vectors[i][k] - value));
  const gone = [a * way[0] + b * way[1], d * way[0] + e * way[1]];
  const moved = mean(middle.map((point) => Math.hypot(...displacement(point).map((value, k) => value + gone[k])))) / EYES;
  const [from, to] = [MIDDLE, apply(head, MIDDLE)].map((point) => apply(back, point));
  return { head, moved, shift: [to[0] - from[0], to[1] - from[1]], face: Float64Array.from(face) };
}

/** Fit a shift, a turn and a change of scale to motion vectors; outliers are down-weighted. */
function fitSimilarity(points, vectors) {
  let weights = points.map(() => 1);
  let found;
  for (let round = 0; round <= 5; round++) {
    const sum = weights.reduce((a, b) => a + b, 0);
    const share = weights.map((weight) => weight / sum);
    const total = (value) => share.reduce((all, weight, i) => all + weight * value(i), 0);
    const [cx, cy, mx, my] = [(i) => points[i][0], (i) => points[i][1], (i) => vectors[i][0], (i) => vectors[i][1]].map(total);
    const moment = (of) => total((i) => of(points[i][0] - cx, points[i][1] - cy, vectors[i][0] - mx, vectors[i][1] - my));
    const spread = moment((x, y) => x * x + y * y);
    const zoom = moment((x, y, u, v) => x * u + y * v) / spread;
    const turn = moment((x, y, u, v) => x * v - y * u) / spread;
    found = [1 + zoom, -turn, mx - zoom * cx + turn * cy, turn, 1 + zoom, my - turn * cx - zoom * cy];
    const left = points.map((point, i) => {
      const [x, y] = apply(found, point);
      return (vectors[i][0] - x + point[0]) ** 2 + (vectors[i][1] - y + point[1]) ** 2;
    });
    const usual = Math.max(3 * median(left), 1e-6);
    weights = left.map((square) => (usual / (usual + square)) ** 2);
  }
  return found;
}

/**
 * Find onset and apex of a clip.
 * @param frames {seconds, seen, face} each, see faceMotion; `face` null where it is not seen
 * @param known {onset, apex}: indices of frames that somebody chose, or null
 */
export function spot(frames, known = {}) {
  const seconds = frames.map((frame) => frame.seconds);
  const seen = frames.map((frame) => frame.seen);
  const motion = bridged(frames);
  const first = known.onset ?? findOnset(motion, seconds, seen, known.apex);
  const curve = flowCurve(motion, first);
  const allowed = seen.map((one, i) => one && i > first);
  const peak = locatePeak(curve.slice(first), allowed.slice(first));
  const apex = known.apex ?? first + peak.at;
  const smooth = [...curve.slice(0, first), ...peak.smooth];
  const whole = locatePeak(curve);
  return {
    method: known.apex == null ? "flow" : "given",
    onset: first, apex, curve, smooth, seconds,
    near: known.apex == null ? peak.near.map((i) => first + i) : [apex],
    clearness: peak.clearness,
    moved: whole.smooth[apex] > Math.max(LEAST_MOTION, 3 * whole.noise),
  };
}

/** Fill in where the face is not seen what lies between. */
function bridged(frames) {
  const places = frames.flatMap((frame, i) => (frame.seen ? [i] : []));
  return frames.map(({ seen, face }, i) => {
    if (seen) return face;
    const [before, after] = [places.findLast((k) => k < i), places.find((k) => k > i)];
    if (before === undefined || after === undefined) return frames[before ?? after].face;
    const share = (i - before) / (after - before);
    return frames[before].face.map((value, k) => value + share * (frames[after].face[k] - value));
  });
}

/** Return the motion since a frame at the place that moves most, % of the eyes' distance. */
function flowCurve(motion, onset) {
  const moved = motion.map((row) => row.map((value, k) => value - motion[onset][k]));
  const steady = times(smoothing(moved.length, Math.min(2, moved.length / 8)), moved);
  // The pattern that moves most: the first singular vector, by power iteration.
  let pattern = [...steady].sort((a, b) => dot(b, b) - dot(a, a))[0];
  for (let round = 0; round < 60; round++) {
    const next = new Float64Array(pattern.length);
    for (const row of steady) {
      const along = dot(row, pattern);
      row.forEach((value, k) => { next[k] += along * value; });
    }
    const length = Math.sqrt(dot(next, next));
    if (length === 0) return moved.map(() => 0);
    pattern = next.map((value) => value / length);
  }
  let largest = 0;
  for (let k = 0; k < pattern.length; k += 2) largest = Math.max(largest, Math.hypot(pattern[k], pattern[k + 1]));
  const strongest = steady.map((row) => dot(row, pattern)).reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
  return moved.map((row) => (Math.sign(strongest || 1) * dot(row, pattern) * largest * 100) / EYES);
}

/** Return the quietest frame shortly before the rise begins. */
function findOnset(motion, seconds, seen, apex) {
  const rise = locatePeak(flowCurve(motion, 0), seen);
  const top = apex ?? rise.at;
  if (top === 0) return 0;
  const before = rise.smooth.slice(0, top + 1);
  const low = before.indexOf(Math.min(...before));
  const begun = before.findIndex((value, i) => i >= low && value > before[low] + 0.1 * (before[top] - before[low]));
  const foot = Math.min(low + Math.max((begun < 0 ? low : begun) - low - 1, 0), top - 1);
  const early = seconds.findIndex((time) => time >= seconds[foot] - 0.1);
  const earliest = Math.max(Math.min(early, foot - 1), 0);
  const still = times(smoothing(motion.length, 1), motion);
  const last = motion.length - 1;
  let found = foot, least = Infinity;
  for (let i = foot; i >= earliest; i--) {
    const [a, b] = [Math.max(i - 1, 0), Math.min(i + 1, last)];
    const speed = Math.hypot(...still[b].map((value, k) => value - still[a][k])) / Math.max(b - a, 1);
    if (seen[i] && Number(speed.toFixed(3)) < least) [found, least] = [i, Number(speed.toFixed(3))];
  }
  return found;
}

/** Find where a curve rises and falls again, or, if it only rises, its highest place. */
function locatePeak(curve, allowed = curve.map(() => true)) {
  const { smooth, noise } = smoothed(curve);
  const highest = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  const rising = rises(smooth).map((value, i) => (allowed[i] ? value : 0));
  let at = highest(rising);
  const range = Math.max(...smooth) - Math.min(...smooth);
  if (rising[at] < Math.max(3 * noise, 0.15 * range)) {
    at = highest(smooth.map((value, i) => (allowed[i] ? value : -Infinity)));
  }
  const near = smooth.flatMap((value, i) => (allowed[i] && value >= smooth[at] - 3 * noise ? [i] : []));
  const middle = mean(near);
  const spread = Math.sqrt(mean(near.map((i) => (i - middle) ** 2))) / curve.length;
  const clearness = Math.min(Math.max((CLEAR[1] - spread) / (CLEAR[1] - CLEAR[0]), 0), 1);
  return { at, smooth, noise, near, clearness };
}

/** Smooth a curve as much as its own noise asks for (generalized cross-validation). */
function smoothed(curve) {
  const frames = curve.length;
  let best = Infinity, kept = smoothing(frames, 0);
  for (const width of [0.7, 1, 1.5, 2, 3, 4, 6, 8].filter((each) => each <= frames / 8)) {
    const matrix = smoothing(frames, width);
    const left = matrix.map((row, i) => curve[i] - dot(row, curve));
    const trace = matrix.reduce((sum, row, i) => sum + row[i], 0);
    const score = dot(left, left) / (1 - trace / frames) ** 2;
    if (score < best) [best, kept] = [score, matrix];
  }
  const share = mean(kept.map((row) => dot(row, row)));
  return { smooth: kept.map((row) => dot(row, curve)), noise: noiseLevel(curve) * Math.sqrt(share) };
}

function noiseLevel(curve) {
  if (curve.length < 3) return 0;
  const second = curve.slice(2).map((value, i) => value - 2 * curve[i + 1] + curve[i]);
  const usual = median(second);
  return (1.4826 * median(second.map((value) => Math.abs(value - usual)))) / Math.sqrt(6);
}

/** How far each place lies above the higher of the lowest places on both sides. */
function rises(curve) {
  let low = Infinity;
  const before = curve.map((value) => (low = Math.min(low, value)));
  low = Infinity;
  const after = [...curve].reverse().map((value) => (low = Math.min(low, value))).reverse();
  return curve.map((value, i) => value - Math.max(before[i], after[i]));
}

/** Count the peaks that rise by half of the strongest over what is between them. */
export function countPeaks(smooth) {
  const curve = [0, ...smooth, 0];
  const least = Math.max(...curve, 1e-6) / 2;
  let count = 0, low = 0, high = 0, rising = true;
  for (const value of curve) {
    if (rising) {
      high = Math.max(high, value);
      if (high - value >= least && high - low >= least) [count, rising, low] = [count + 1, false, value];
      else if (value < low) [low, high] = [value, value];
    } else {
      low = Math.min(low, value);
      if (value - low >= least) [rising, high] = [true, value];
    }
  }
  return count;
}

/** Return the matrix that smooths a curve by a Gaussian, its ends held. */
function smoothing(frames, width) {
  const reach = Math.trunc(4 * width + 0.5);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, k) => (width ? Math.exp(-((k - reach) ** 2) / (2 * width * width)) : 1));
  const sum = kernel.reduce((a, b) => a + b, 0);
  return Array.from({ length: frames }, (_, i) => {
    const row = new Float64Array(frames);
    kernel.forEach((value, k) => { row[Math.min(Math.max(i + k - reach, 0), frames - 1)] += value / sum; });
    return row;
  });
}

const times = (matrix, rows) => matrix.map((weights) => {
  const sum = new Float64Array(rows[0].length);
  weights.forEach((weight, i) => { if (weight) rows[i].forEach((value, k) => { sum[k] += weight * value; }); });
  return sum;
});

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
export const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
