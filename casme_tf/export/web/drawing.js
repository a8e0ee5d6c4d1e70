// Canvases: frames, motion, and the curve of a movement.

const CELLS = 28;
const ARROWS = 14; // along each side
const LEAST = 0.1; // px; where nothing moves more, noise is not drawn as large as motion
const FAINT = 0.15; // of the longest; shorter arrows are left out

/** Draw a crop, rows of RGB, as high as the part of the frame was. */
export function drawCrop(canvas, crop, shape) {
  const size = Math.sqrt(crop.length / 3);
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; i++) image.data.set([crop[3 * i], crop[3 * i + 1], crop[3 * i + 2], 255], 4 * i);
  stretch(canvas, image, shape);
}

function stretch(canvas, image, shape) {
  const from = new OffscreenCanvas(image.width, image.height);
  from.getContext("2d").putImageData(image, 0, 0);
  [canvas.width, canvas.height] = [448, Math.round(448 * shape)];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(from, 0, 0, canvas.width, canvas.height);
  return context;
}

/** Return the color of motion: hue by direction, brightness by length, as in the package's figures. */
function color(dx, dy, share) {
  const hue = ((Math.atan2(dy, dx) / Math.PI) * 3 + 6) % 6;
  return [5, 3, 1].map((n) => {
    const k = (n + hue) % 6;
    return 255 * share * (1 - Math.max(0, Math.min(k, 4 - k, 1)));
  });
}

/** Draw motion, [dx, dy] a cell, as colors and arrows; returns the length of the longest arrow, px. */
export function drawMotion(canvas, motion, shape) {
  const lengths = Array.from({ length: CELLS * CELLS }, (_, i) => Math.hypot(motion[2 * i], motion[2 * i + 1]));
  const most = Math.max(...lengths, LEAST);
  const image = new ImageData(CELLS, CELLS);
  lengths.forEach((length, i) => image.data.set([...color(motion[2 * i], motion[2 * i + 1], length / most), 255], 4 * i));
  const context = stretch(canvas, image, shape);
  const step = CELLS / ARROWS;
  const arrows = [];
  for (let y = 0; y < CELLS; y += step) {
    for (let x = 0; x < CELLS; x += step) {
      const mean = [0, 1].map((k) => [0, 1, CELLS, CELLS + 1].reduce((sum, n) => sum + motion[2 * (y * CELLS + x + n) + k] / 4, 0));
      arrows.push({ x: x + 1, y: y + 1, dx: mean[0], dy: mean[1], length: Math.hypot(...mean) });
    }
  }
  const longest = [...arrows].sort((a, b) => a.length - b.length)[Math.floor(arrows.length * 0.98)].length;
  const drawn = Math.max(longest, LEAST);
  context.strokeStyle = context.fillStyle = "#fff";
  context.lineWidth = 3;
  context.lineCap = "round";
  const unit = [canvas.width / CELLS, canvas.height / CELLS];
  for (const { x, y, dx, dy, length } of arrows) {
    if (length < FAINT * drawn) continue;
    const scale = (1.5 * step) / Math.max(drawn, length);
    arrow(context, x * unit[0], y * unit[1], dx * scale * unit[0], dy * scale * unit[1]);
  }
  return longest;
}

function arrow(context, x, y, dx, dy) {
  const head = Math.min(9, Math.hypot(dx, dy) * 0.6);
  const angle = Math.atan2(dy, dx);
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + dx, y + dy);
  context.moveTo(x + dx - head * Math.cos(angle - 0.5), y + dy - head * Math.sin(angle - 0.5));
  context.lineTo(x + dx, y + dy);
  context.lineTo(x + dx - head * Math.cos(angle + 0.5), y + dy - head * Math.sin(angle + 0.5));
  context.stroke();
}

/** Draw which color stands for which direction. */
export function drawWheel(canvas) {
  const side = canvas.width;
  const image = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    const [x, y] = [i % side, Math.floor(i / side)].map((place) => (2 * place + 1) / side - 1);
    const radius = Math.hypot(x, y);
    image.data.set([...color(x, y, Math.min(radius, 1)), 255 * Math.min(Math.max((1 - radius) * side / 4, 0), 1)], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Draw the curve of a movement, as measured and smoothed, with onset and apex. */
export function drawCurve(canvas, spotting) {
  const ratio = window.devicePixelRatio;
  const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const values = [...spotting.curve, ...spotting.smooth];
  const [low, high] = [Math.min(...values, 0), Math.max(...values, 0.5)];
  // The thumb of a slider stays inside its track by half its width: the curve is drawn as far in.
  const inset = 14 * ratio;
  const x = (i) => inset + (i * (width - 2 * inset)) / Math.max(spotting.curve.length - 1, 1);
  const y = (value) => height - 8 * ratio - ((value - low) / (high - low)) * (height - 30 * ratio);
  const line = (curve, name, thick) => {
    context.beginPath();
    curve.forEach((value, i) => context.lineTo(x(i), y(value)));
    context.strokeStyle = style.getPropertyValue(name);
    context.lineWidth = thick * ratio;
    context.stroke();
  };
  line(spotting.curve.map(() => 0), "--line", 1);
  line(spotting.curve, "--muted", 1);
  line(spotting.smooth, "--accent", 2.5);
  context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  context.fillStyle = style.getPropertyValue("--muted");
  context.textAlign = "right";
  context.fillText(`${Math.max(...spotting.smooth).toFixed(1)} %`, width - 8 * ratio, 16 * ratio);
  for (const [name, letter, token] of [["onset", "O", "--ink"], ["apex", "A", "--second"]]) {
    const at = spotting[name];
    context.strokeStyle = context.fillStyle = style.getPropertyValue(token);
    context.setLineDash([4 * ratio, 3 * ratio]);
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    context.moveTo(x(at), 18 * ratio);
    context.lineTo(x(at), height);
    context.stroke();
    context.setLineDash([]);
    context.beginPath();
    context.arc(x(at), y(spotting.smooth[at]), 5 * ratio, 0, 2 * Math.PI);
    context.fill();
    context.textAlign = "center";
    context.fillText(letter, x(at), 13 * ratio);
  }
}
