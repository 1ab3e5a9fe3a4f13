// The histogram of the threshold page: how many frames of the window have which score, where the line is and
// would be, and where the reviewed ones lie. Told by position, sign and pattern, never by colour alone.

const BINS = 48;
const MARK_ROOM = 34; // pixels above the bars for the reviewed frames' signs
const AXIS_ROOM = 20;

/** Scores that the slider spans, from `[{raw}]` and the thresholds that must be on it; a little room at both ends. */
export function span(scores, thresholds) {
  const values = [...scores.map(({ raw }) => raw), ...thresholds].filter((value) => Number.isFinite(value));
  if (!values.length) return { low: 0, high: 1 };
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = Math.max((most - least) * 0.06, most * 0.02, 0.005);
  return { low: Math.max(0, least - room), high: most + room };
}

/** Counts of `[{raw}]` in equal bins of `{low, high}`. */
export function bins(scores, { low, high }, n = BINS) {
  const counts = new Array(n).fill(0);
  for (const { raw } of scores) {
    if (!Number.isFinite(raw)) continue;
    counts[Math.min(n - 1, Math.max(0, Math.floor(((raw - low) / (high - low)) * n)))] += 1;
  }
  return counts;
}

/**
 * What a line at `value` would do to the window, counted here: as the detector labels, `raw >= value`.
 * @returns ids by what they become, nearest to the new line first, and what becomes of the reviewed ones.
 */
export function flips(scores, value) {
  const near = (one, other) => Math.abs(one.raw - value) - Math.abs(other.raw - value);
  const known = scores.filter(({ raw }) => Number.isFinite(raw));
  const would = ({ raw }) => raw >= value;
  const of = (decision) => known.filter((one) => one.decision === decision);
  return {
    toAnomalous: known.filter((one) => !one.label && would(one)).sort(near),
    toNormal: known.filter((one) => one.label && !would(one)).sort(near),
    defects: of("defect").length,
    caught: of("defect").filter(would).length,
    caughtNow: of("defect").filter(({ label }) => label).length,
    good: of("good").length,
    alarms: of("good").filter(would).length,
    alarmsNow: of("good").filter(({ label }) => label).length,
  };
}

/** Draws it on a canvas as wide as its box. `{scores, low, high, now, value, learned, inset}`: lines may be null. */
export function draw(canvas, { scores, low, high, now, value, learned, inset }) {
  const ratio = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const plot = {
    context,
    colour: (name) => style.getPropertyValue(name).trim(),
    at: (score) => inset + ((score - low) / (high - low)) * (width - 2 * inset),
    width,
    inset,
    top: MARK_ROOM,
    bottom: height - AXIS_ROOM,
  };
  context.font = `12px ${style.fontFamily}`;
  drawBars(plot, bins(scores, { low, high }), value);
  drawAxis(plot, low, high);
  drawReviewed(plot, scores);
  if (learned !== null) drawLine(plot, learned, "--text", [2, 3], "learned");
  if (now !== null) drawLine(plot, now, "--muted", [6, 4], "now");
  if (value !== null) drawLine(plot, value, "--accent", [], "");
}

function drawBars({ context, colour, inset, width, top, bottom, at }, counts, value) {
  const most = Math.max(1, ...counts);
  const step = (width - 2 * inset) / counts.length;
  const line = value === null ? Infinity : at(value);
  counts.forEach((n, bin) => {
    if (!n) return;
    const tall = Math.max(2, (n / most) * (bottom - top));
    const left = inset + bin * step;
    // What lies right of the line is anomalous: a bar that the line cuts is both.
    const cut = Math.min(Math.max(line, left), left + step);
    context.fillStyle = colour("--edge");
    context.fillRect(left + 0.5, bottom - tall, Math.max(0, cut - left - 0.5), tall);
    context.fillStyle = colour("--bad");
    context.fillRect(cut, bottom - tall, Math.max(0, left + step - cut - 0.5), tall);
  });
}

function drawAxis({ context, colour, at, width, bottom }, low, high) {
  context.fillStyle = colour("--muted");
  context.textAlign = "center";
  context.textBaseline = "top";
  const wanted = (high - low) / Math.max(2, Math.floor(width / 80));
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((by) => by * power).find((size) => size >= wanted);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  context.fillRect(at(low), bottom, at(high) - at(low), 1);
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) {
    context.fillRect(at(n * step), bottom, 1, 4);
    const text = (n * step).toFixed(digits);
    const half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(Math.max(at(n * step), half), width - half), bottom + 6); // never cut
  }
}

/** Two rows of signs: crosses for defects, ticks for good ones, where their scores lie. */
function drawReviewed({ context, colour, at }, scores) {
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const [decision, sign, name, y] of [
    ["defect", "✕", "--bad", 8],
    ["good", "✓", "--good", 24],
  ]) {
    context.fillStyle = colour(name);
    for (const one of scores)
      if (one.decision === decision && Number.isFinite(one.raw)) context.fillText(sign, at(one.raw), y);
  }
}

function drawLine({ context, colour, at, width, bottom }, score, name, dashes, word) {
  const x = at(score);
  context.save();
  context.strokeStyle = colour(name);
  context.fillStyle = colour(name);
  context.lineWidth = dashes.length ? 1.5 : 2.5;
  context.setLineDash(dashes);
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, bottom);
  context.stroke();
  const side = x > width - 70 ? -4 : 4;
  context.textAlign = side < 0 ? "right" : "left";
  context.textBaseline = "middle";
  context.fillText(word, x + side, 42);
  context.restore();
}

/**
 * Tells where on the scale, 0 to 1, the histogram is pointed at while it is dragged; `inset` as of `draw`.
 */
export function draggable(canvas, inset, told) {
  const at = (event) => {
    const { left, width } = canvas.getBoundingClientRect();
    told((event.clientX - left - inset) / (width - 2 * inset));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    at(event);
  });
  canvas.addEventListener("pointermove", (event) => event.buttons && at(event));
}
