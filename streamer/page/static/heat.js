// A map over its picture: interpolated from the patch grid as the detector does, coloured, with the
// threshold's contour.

// 65 of matplotlib's 256 colours each; those between are interpolated, and are at most 2 of 255 off.
const PALETTES = {
  inferno:
    "00000402010a04031207051b0b072410092d150b371a0c40210c4a270b532e0a5a3609603c0965430a684a0c6b500e6c" +
    "57106d5d126e63146e6a176e70196e761b6d7d1e6d83206b89226a9024689627669c2964a32b61a92e5faf315cb53458" +
    "bb3755c13a51c63e4dcc4149d14644d64a40db4f3bdf5437e35932e75f2deb6528ee6b23f1711ef47819f67f14f8860f" +
    "f98d0afa9407fb9c06fca309fcab0ffcb217fbba1ffac228f9ca32f7d23df5d949f3e156f2e865f1ef75f3f586f6fa96" +
    "fcffa4",
  cividis:
    "00224e00255400285b002b62002e6a0030700433711135701a386f213b6e273e6e2d416d32436d36466c3b496c3f4c6c" +
    "434e6c47516c4b546c4f576c52596d565c6d5a5f6e5d626e61656f646770686a716b6d726f7073727374757676797877" +
    "7c7b78807e788481798784788b87788f8a78938d789790779b93769f9676a39a75a79d74aba072afa371b3a670b7aa6e" +
    "bbad6cbfb06bc3b469c8b766ccba64d0be61d4c15fd9c55cddc958e1cc55e6d051ead44cefd748f4db42f8df3cfde334" +
    "fee838",
};
const LEVELS = 256;
const MOST_SAMPLES = 320; // along the longer side; beyond, a screen shows no difference
const MOST_PIXELS = 1600;
const tables = new Map();

/** `[256 * 3]` red, green, blue of a palette whose lightness grows with the value. */
export function palette(name) {
  if (tables.has(name)) return tables.get(name);
  const hex = PALETTES[name] ?? PALETTES.inferno;
  const anchors = Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  const last = anchors.length / 3 - 1;
  const table = new Uint8ClampedArray(3 * LEVELS);
  for (let level = 0; level < LEVELS; level += 1) {
    const at = (level / (LEVELS - 1)) * last;
    const low = Math.min(Math.floor(at), last - 1);
    for (let c = 0; c < 3; c += 1) {
      const [from, to] = [anchors[3 * low + c], anchors[3 * low + 3 + c]];
      table[3 * level + c] = from + (at - low) * (to - from);
    }
  }
  tables.set(name, table);
  return table;
}

function axis(side, size, start, stop) {
  const last = side - 1;
  const lower = new Int32Array(size);
  const fraction = new Float64Array(size);
  for (let i = 0; i < size; i += 1) {
    const at = size > 1 ? start * last + ((stop - start) * last * i) / (size - 1) : Math.max(start, 0) * last;
    const outside = at < -1e-9 || at > last + 1e-9;
    lower[i] = outside ? -1 : Math.min(Math.max(Math.trunc(at), 0), Math.max(side - 2, 0));
    fraction[i] = Math.min(Math.max(at - lower[i], 0), 1);
  }
  return { lower, fraction };
}

/**
 * Bilinear interpolation of a grid, corners aligned: `streamer.maps.interpolate` in the browser.
 *
 * @param {Float32Array} grid `[rows * cols]`.
 * @param {[number, number, number, number] | null} view the frame's top, left, bottom and right edge on the
 *   grid, which reaches from 0 to 1 each way; 0 where the frame reaches beyond it.
 * @returns {Float32Array} `[height * width]`.
 */
export function bilinear(grid, rows, cols, height, width, view = null) {
  const [top, left, bottom, right] = view ?? [0, 0, 1, 1];
  const down = axis(rows, height, top, bottom);
  const across = axis(cols, width, left, right);
  const made = new Float32Array(height * width);
  for (let y = 0; y < height; y += 1) {
    if (down.lower[y] < 0) continue;
    const upper = down.lower[y] * cols;
    const lower = Math.min(down.lower[y] + 1, rows - 1) * cols;
    const dy = down.fraction[y];
    for (let x = 0; x < width; x += 1) {
      const before = across.lower[x];
      if (before < 0) continue;
      const after = Math.min(before + 1, cols - 1);
      const start = grid[upper + before] + dy * (grid[lower + before] - grid[upper + before]);
      const end = grid[upper + after] + dy * (grid[lower + after] - grid[upper + after]);
      made[y * width + x] = start + across.fraction[x] * (end - start);
    }
  }
  return made;
}

// Which edges of a cell the contour crosses, by which of its corners are above: marching squares. Edges are
// top 0, right 1, bottom 2, left 3; corners top left 8, top right 4, bottom right 2, bottom left 1.
// prettier-ignore
const CROSSED = [
  [], [3, 2], [2, 1], [3, 1], [0, 1], [0, 3, 2, 1], [0, 2], [0, 3],
  [0, 3], [0, 2], [0, 1, 3, 2], [0, 1], [3, 1], [2, 1], [3, 2], [],
];

/**
 * Where a map crosses a level.
 *
 * @param {Float32Array} values `[height * width]`.
 * @returns {number[]} x1, y1, x2, y2 of each piece, in samples.
 */
export function contourOf(values, height, width, level) {
  const pieces = [];
  const share = (a, b) => (level - a) / (b - a);
  for (let y = 0; y + 1 < height; y += 1) {
    for (let x = 0; x + 1 < width; x += 1) {
      const at = y * width + x;
      const [tl, tr, bl, br] = [values[at], values[at + 1], values[at + width], values[at + width + 1]];
      const above = (tl > level ? 8 : 0) + (tr > level ? 4 : 0) + (br > level ? 2 : 0) + (bl > level ? 1 : 0);
      for (const edge of CROSSED[above]) {
        if (edge === 0) pieces.push(x + share(tl, tr), y);
        else if (edge === 1) pieces.push(x + 1, y + share(tr, br));
        else if (edge === 2) pieces.push(x + share(bl, br), y + 1);
        else pieces.push(x, y + share(tl, bl));
      }
    }
  }
  return pieces;
}

const sorted = (values) => values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
const quantile = (values, share) => values[Math.round(share * (values.length - 1))];

/**
 * One scale for all frames of a window, so that they can be compared: from what good frames have everywhere
 * to what the worst have, and the threshold well inside it.
 *
 * @param {object[]} frames with `map: {min, max}`.
 * @returns {{low: number, high: number}}
 */
export function windowScale(frames, threshold = null) {
  const lows = sorted(frames.map((frame) => frame.map?.min ?? NaN));
  const highs = sorted(frames.map((frame) => frame.map?.max ?? NaN));
  if (!lows.length || !highs.length) return { low: 0, high: 1 };
  const low = quantile(lows, 0.1);
  let high = quantile(highs, 0.98);
  if (Number.isFinite(threshold)) high = Math.max(high, low + 1.25 * (threshold - low));
  else high += 0.6 * (high - low); // nothing is known to be anomalous: the greatest is no alarm
  return { low, high: Math.max(high, low + 1e-6) };
}

/** The scale as it was where the new one hardly differs: colours that flicker say nothing. */
export function steady(before, next) {
  const room = 0.04 * (next.high - next.low);
  const near = Math.abs(next.low - before.low) < room && Math.abs(next.high - before.high) < room;
  return near ? before : next;
}

/** How much of the picture a value of 0..1 covers: what is normal stays visible. */
export const cover = (share, opacity) => opacity * Math.min(1, 1.3 * share ** 2);

function heatImage(values, height, width, { low, high, opacity, colours, alone }) {
  const table = palette(colours);
  const image = new ImageData(width, height);
  const pixels = image.data;
  const scale = 1 / (high - low);
  for (let i = 0, at = 0; i < values.length; i += 1, at += 4) {
    const share = Math.min(Math.max((values[i] - low) * scale, 0), 1);
    const level = 3 * Math.round(share * (LEVELS - 1));
    pixels[at] = table[level];
    pixels[at + 1] = table[level + 1];
    pixels[at + 2] = table[level + 2];
    pixels[at + 3] = 255 * (alone ? 1 : cover(share, opacity));
  }
  return image;
}

let scratch = null;

function paintHeat(context, width, height, options) {
  const { grid, rows, cols, view, contour } = options;
  const fit = Math.min(1, MOST_SAMPLES / Math.max(width, height));
  const [w, h] = [Math.max(2, Math.round(width * fit)), Math.max(2, Math.round(height * fit))];
  const values = bilinear(grid, rows, cols, h, w, view);
  if (options.opacity > 0) {
    scratch ??= document.createElement("canvas");
    scratch.width = w;
    scratch.height = h;
    scratch
      .getContext("2d")
      .putImageData(heatImage(values, h, w, { ...options, alone: !options.image }), 0, 0);
    context.imageSmoothingQuality = "high";
    // From the middle of the first sample to that of the last: corners aligned.
    context.drawImage(scratch, 0.5, 0.5, w - 1, h - 1, 0, 0, width, height);
  }
  if (!Number.isFinite(contour)) return;
  const pieces = contourOf(values, h, w, contour);
  const [sx, sy] = [width / (w - 1), height / (h - 1)];
  context.beginPath();
  for (let i = 0; i < pieces.length; i += 4) {
    context.moveTo(pieces[i] * sx, pieces[i + 1] * sy);
    context.lineTo(pieces[i + 2] * sx, pieces[i + 3] * sy);
  }
  // Dark under light: to be seen on any picture.
  stroke(context, Math.max(1, width / 480));
}

function stroke(context, unit) {
  context.lineJoin = "round";
  for (const [style, wide] of [
    ["rgba(0,0,0,.75)", 3.5 * unit],
    ["#fff", 1.5 * unit],
  ]) {
    context.strokeStyle = style;
    context.lineWidth = wide;
    context.stroke();
  }
}

function paintRegions(context, width, height, { regions, shape }) {
  const unit = Math.max(1, width / 480);
  const [fullHeight, fullWidth] = shape;
  const [sx, sy] = [width / fullWidth, height / fullHeight];
  context.font = `600 ${Math.round(12 * unit)}px system-ui, sans-serif`;
  for (const [x, y, w, h, score] of regions) {
    context.beginPath();
    context.rect(x * sx, y * sy, w * sx, h * sy);
    stroke(context, unit);
    if (!Number.isFinite(score)) continue;
    const text = score.toFixed(2);
    const wide = context.measureText(text).width + 8 * unit;
    const left = Math.min(Math.max(0, x * sx), width - wide);
    const top = y * sy > 18 * unit ? y * sy - 17 * unit : (y + h) * sy + 1 * unit;
    context.fillStyle = "rgba(0,0,0,.78)";
    context.fillRect(left, top, wide, 16 * unit);
    context.fillStyle = "#fff";
    context.fillText(text, left + 4 * unit, top + 12.5 * unit);
  }
}

/** Width over height of what `draw` would draw: the frame's, as far as it is known. */
export function aspectOf({ image, shape, rows, cols, view }) {
  if (shape) return shape[1] / shape[0];
  if (image?.width) return image.width / image.height;
  if (!rows || !cols) return 4 / 3;
  const [top, left, bottom, right] = view ?? [0, 0, 1, 1];
  return ((right - left) * cols) / ((bottom - top) * rows);
}

/**
 * A frame on a canvas, as large as the canvas is shown; `canvas.dataset.drawn` then says which, `layers` what of it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {object} options
 * @param {CanvasImageSource} [options.image] the picture; without it the map is drawn alone, without either
 *   grey.
 * @param {Float32Array} [options.grid] `[rows * cols]`, with `rows`, `cols` and `view` (see `bilinear`).
 * @param {number} options.low, options.high the scale's ends (`windowScale`).
 * @param {number} [options.opacity] of the map, 0..1.
 * @param {number | null} [options.contour] level of the line, null for none.
 * @param {"inferno" | "cividis"} [options.colours]
 * @param {[number, number]} [options.shape] height and width of the frame: the aspect, and what `regions`
 *   refer to.
 * @param {number[][]} [options.regions] x, y, width, height, score; drawn where `shape` is known.
 * @param {string} [options.key] of the frame.
 */
export function draw(canvas, options) {
  const said = { opacity: 0.55, contour: null, colours: "inferno", low: 0, high: 1, regions: [], ...options };
  const aspect = aspectOf(said);
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const width = Math.max(2, Math.min(MOST_PIXELS, Math.round((canvas.clientWidth || 320) * ratio)));
  const height = Math.max(2, Math.round(width / aspect));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.fillStyle = "#3a4048";
  context.fillRect(0, 0, width, height);
  if (said.image) context.drawImage(said.image, 0, 0, width, height);
  if (said.grid) paintHeat(context, width, height, said);
  if (said.regions.length && said.shape) paintRegions(context, width, height, said);
  if (said.key === undefined) return;
  canvas.dataset.layers = [said.image && "picture", said.grid && "map"].filter(Boolean).join(" ");
  canvas.dataset.drawn = said.key;
}

/** The colours from `low` (left) to `high` (right), over the whole canvas. */
export function legend(canvas, colours = "inferno") {
  const table = palette(colours);
  canvas.width = LEVELS;
  canvas.height = 1;
  const image = new ImageData(LEVELS, 1);
  for (let i = 0; i < LEVELS; i += 1)
    image.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
