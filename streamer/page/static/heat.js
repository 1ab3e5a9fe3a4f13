// A map over its picture: interpolated from the patch grid as the detector does, coloured, with the
// threshold's contour.

// Inferno, red, green and blue of its 256 colours: what `streamer.overlays.table` gives, of which reports, overlays
// and the files bridge are drawn. Equal steps look equal, and it is read by people who do not see all colours.
const INFERNO =
  "00000401000501010601010802010a02020c02020e03021004031204031405041706041907051b08051d09061f0a0722" +
  "0b07240c08260d08290e092b10092d110a30120a32140b34150b37160b39180c3c190c3e1b0c411c0c431e0c451f0c48" +
  "210c4a230c4c240c4f260c51280b53290b552b0b572d0b592f0a5b310a5c320a5e340a5f3609613809623909633b0964" +
  "3d09653e0966400a67420a68440a68450a69470b6a490b6a4a0c6b4c0c6b4d0d6c4f0d6c510e6c520e6d540f6d550f6d" +
  "57106e59106e5a116e5c126e5d126e5f136e61136e62146e64156e65156e67166e69166e6a176e6c186e6d186e6f196e" +
  "71196e721a6e741a6e751b6e771c6d781c6d7a1d6d7c1d6d7d1e6d7f1e6c801f6c82206c84206b85216b87216b88226a" +
  "8a226a8c23698d23698f24699025689225689326679526679727669827669a28659b29649d29649f2a63a02a63a22b62" +
  "a32c61a52c60a62d60a82e5fa92e5eab2f5ead305dae305cb0315bb1325ab3325ab43359b63458b73557b93556ba3655" +
  "bc3754bd3853bf3952c03a51c13a50c33b4fc43c4ec63d4dc73e4cc83f4bca404acb4149cc4248ce4347cf4446d04545" +
  "d24644d34743d44842d54a41d74b3fd84c3ed94d3dda4e3cdb503bdd513ade5238df5337e05536e15635e25734e35933" +
  "e45a31e55c30e65d2fe75e2ee8602de9612bea632aeb6429eb6628ec6726ed6925ee6a24ef6c23ef6e21f06f20f1711f" +
  "f1731df2741cf3761bf37819f47918f57b17f57d15f67e14f68013f78212f78410f8850ff8870ef8890cf98b0bf98c0a" +
  "f98e09fa9008fa9207fa9407fb9606fb9706fb9906fb9b06fb9d07fc9f07fca108fca309fca50afca60cfca80dfcaa0f" +
  "fcac11fcae12fcb014fcb216fcb418fbb61afbb81dfbba1ffbbc21fbbe23fac026fac228fac42afac62df9c72ff9c932" +
  "f9cb35f8cd37f8cf3af7d13df7d340f6d543f6d746f5d949f5db4cf4dd4ff4df53f4e156f3e35af3e55df2e661f2e865" +
  "f2ea69f1ec6df1ed71f1ef75f1f179f2f27df2f482f3f586f3f68af4f88ef5f992f6fa96f8fb9af9fc9dfafda1fcffa4";
const LEVELS = 256;
const MOST_SAMPLES = 320; // along the longer side; beyond, a screen shows no difference
const MOST_PIXELS = 1600;

/** `[256 * 3]` red, green, blue of the colours from the scale's low end to its high one. */
export const PALETTE = Uint8ClampedArray.from({ length: 3 * LEVELS }, (_, i) =>
  parseInt(INFERNO.slice(2 * i, 2 * i + 2), 16),
);

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

/** The level of a frame's line, `streamer.outlines.level`: its threshold if it was called anomalous, else null. */
export const levelOf = (frame) => (frame.label === true ? (frame.threshold ?? null) : null);

/**
 * A level that what is drawn of a map reaches where the map itself does: between samples the highest place can
 * be lost, and a line round nothing is none.
 *
 * @param {Float32Array} drawn the samples.
 * @param {Float32Array} grid the map.
 */
export function reached(drawn, grid, level) {
  const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  const highest = most(drawn);
  if (highest >= level || most(grid) < level) return level;
  // A little below: the line of one sample is a point.
  return highest - 0.02 * Math.abs(highest);
}

/**
 * Where a map crosses a level: round what reaches it.
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
      const above = (tl >= level ? 8 : 0) + (tr >= level ? 4 : 0) + (br >= level ? 2 : 0) + (bl >= level ? 1 : 0);
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

/**
 * What the colours of a frame's own map span: around its threshold, the same whatever else it shows, so that frames
 * can be compared; where it has none, from its own least value to well above its greatest.
 */
export function scaleOf({ threshold, map }) {
  return threshold > 0 ? { low: threshold * 0.4, high: threshold * 1.6 } : windowScale([{ map }]);
}

/** The scale as it was where the new one hardly differs: colours that flicker say nothing. */
export function steady(before, next) {
  const room = 0.04 * (next.high - next.low);
  const near = Math.abs(next.low - before.low) < room && Math.abs(next.high - before.high) < room;
  return near ? before : next;
}

/** How much of the picture a value of 0..1 covers: what is normal stays visible. */
export const cover = (share, opacity) => opacity * Math.min(1, 1.3 * share ** 2);

function heatImage(values, height, width, { low, high, opacity, alone }) {
  const image = new ImageData(width, height);
  const pixels = image.data;
  const scale = 1 / (high - low);
  for (let i = 0, at = 0; i < values.length; i += 1, at += 4) {
    const share = Math.min(Math.max((values[i] - low) * scale, 0), 1);
    const level = 3 * Math.round(share * (LEVELS - 1));
    pixels[at] = PALETTE[level];
    pixels[at + 1] = PALETTE[level + 1];
    pixels[at + 2] = PALETTE[level + 2];
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
  const pieces = contourOf(values, h, w, reached(values, grid, contour));
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
 * @param {[number, number]} [options.shape] height and width of the frame: the aspect, and what `regions`
 *   refer to.
 * @param {number[][]} [options.regions] x, y, width, height, score; drawn where `shape` is known.
 * @param {string} [options.key] of the frame.
 */
export function draw(canvas, options) {
  const said = { opacity: 0.55, contour: null, low: 0, high: 1, regions: [], ...options };
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
export function legend(canvas) {
  canvas.width = LEVELS;
  canvas.height = 1;
  const image = new ImageData(LEVELS, 1);
  for (let i = 0; i < LEVELS; i += 1)
    image.data.set([...PALETTE.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
