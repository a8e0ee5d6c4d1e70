// Cutting and resizing, to the gray level as the package does it: bilinear, with antialiasing.

const BITS = 22; // of the fixed-point shares, as Pillow has them

/** For each new pixel the first old one, and the shares of the old ones that are merged into it. */
function shares(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - reach + 0.5), 0);
    const end = Math.min(Math.trunc(center + reach + 0.5), from);
    const weights = Array.from({ length: end - first }, (_, k) =>
      Math.max(1 - Math.abs((first + k - center + 0.5) / reach), 0));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: Int32Array.from(weights, (w) => Math.floor((w / sum) * 2 ** BITS + 0.5)) };
  });
}

const clamp = (value, last) => Math.min(Math.max(value, 0), last);

/**
 * Cut a box out of a frame and resize it. What lies outside the frame repeats its edge.
 * @param {{width: number, height: number, data: Uint8ClampedArray}} frame RGBA, as of a canvas
 * @param {{x: number, y: number, width: number, height: number}} box whole pixels
 * @returns {Uint8Array} height · width · 3, rows of RGB
 */
export function resize(frame, box, width, height = width) {
  const narrow = new Uint8Array(box.height * width * 3);
  const half = 1 << (BITS - 1);
  const columns = Int32Array.from({ length: box.width }, (_, x) => 4 * clamp(box.x + x, frame.width - 1));
  const across = shares(box.width, width);
  for (let y = 0, to = 0; y < box.height; y++) {
    const row = 4 * frame.width * clamp(box.y + y, frame.height - 1);
    for (const { first, weights } of across) {
      let r = half, g = half, b = half;
      for (let k = 0; k < weights.length; k++) {
        const at = row + columns[first + k];
        r += weights[k] * frame.data[at];
        g += weights[k] * frame.data[at + 1];
        b += weights[k] * frame.data[at + 2];
      }
      narrow[to++] = r >> BITS;
      narrow[to++] = g >> BITS;
      narrow[to++] = b >> BITS;
    }
  }
  const result = new Uint8Array(height * width * 3);
  shares(box.height, height).forEach(({ first, weights }, y) => {
    for (let x = 0; x < width * 3; x++) {
      let sum = half;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first + k) * width * 3 + x];
      result[y * width * 3 + x] = sum >> BITS;
    }
  });
  return result;
}
