// Raw scores of the last frames with their threshold: hollow while provisional, filled once revised.
import { el, fmt, nameOf, setText } from "./common.js";

const SHOWN = 200;
const NOTHING = "no scores yet";
const KINDS = [
  { name: "OK, provisional", bad: false, filled: false },
  { name: "OK, revised", bad: false, filled: true },
  { name: "NOT OK, provisional", bad: true, filled: false },
  { name: "NOT OK, revised", bad: true, filled: true },
];

/** Rows for uPlot: places, threshold, and one of `KINDS` each. */
export function rowsOf(frames) {
  const places = frames.map((_, i) => i);
  const thresholds = frames.map((frame) => frame.threshold ?? null);
  const of = ({ bad, filled }) =>
    frames.map((frame) =>
      (frame.label === true) === bad && (frame.revision > 0 || frame.final) === filled ? frame.raw : null,
    );
  return [places, thresholds, ...KINDS.map(of)];
}

/** The least and greatest of what is shown, with room above and below. */
export function rangeOf(rows) {
  const values = rows
    .slice(1)
    .flat()
    .filter((value) => Number.isFinite(value));
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.08 * (high - low) || 0.05;
  return [Math.max(0, low - room), high + room];
}

/** A value of the axis with as many digits as its steps need. */
export const labelOf = (value, step) =>
  value.toFixed(Math.min(8, Math.max(2, Math.ceil(-Math.log10(step) - 1e-9))));

/** Room for the axis: what its longest label needs. */
const widest = (_, labels) => Math.max(48, 14 + 7 * Math.max(0, ...(labels ?? []).map((label) => label.length)));

export class Timeline {
  /** @param {(frame: object) => void} onChoose */
  constructor(onChoose) {
    this.frames = [];
    this.chosen = -1;
    this.onChoose = onChoose;
    this.node = el("div", { id: "timeline", class: "timeline", role: "img", tabindex: "0", "aria-label": NOTHING });
    this.hint = el("span", { class: "hint" });
    this.plot = null;
    new ResizeObserver(() => this.#resize()).observe(this.node);
    document.addEventListener("theme", () => this.#build());
  }

  /**
   * @param {object[]} frames oldest first.
   * @param {object | null} chosen the one that is looked at.
   * @param {boolean} single they are of one stream: of several there is no one threshold.
   */
  show(frames, chosen, single) {
    this.frames = frames.slice(-SHOWN);
    this.chosen = chosen
      ? this.frames.findIndex((one) => one.key === chosen.key && one.stream === chosen.stream)
      : -1;
    this.rows = rowsOf(this.frames);
    if (!single) this.rows[1].fill(null);
    if (this.plot) this.plot.setData(this.rows);
    else this.#build();
    const last = this.frames.at(-1);
    const [low, high] = rangeOf(this.rows);
    const told = last
      ? `raw scores of the last ${this.frames.length} frames, ${fmt.score(low)} to ${fmt.score(high)}, ` +
        `threshold ${fmt.score(last.threshold)}`
      : NOTHING;
    if (this.node.getAttribute("aria-label") !== told) this.node.setAttribute("aria-label", told);
  }

  #size() {
    return { width: Math.max(120, this.node.clientWidth), height: Math.max(80, this.node.clientHeight) };
  }

  #resize() {
    if (this.plot) this.plot.setSize(this.#size());
  }

  #build() {
    if (!this.rows || !globalThis.uPlot) return;
    this.plot?.destroy();
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(name).trim();
    const dots = ({ name, bad, filled }) => {
      const stroke = colour(bad ? "--bad" : "--good");
      const size = bad ? 10 : 6;
      return {
        label: name,
        paths: () => null,
        points: { show: true, size, width: 1.5, stroke, fill: filled ? stroke : colour("--panel") },
      };
    };
    const axis = {
      stroke: colour("--muted"),
      font: `12px ${getComputedStyle(document.body).fontFamily}`,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    this.plot = new globalThis.uPlot(
      {
        ...this.#size(),
        legend: { show: false },
        padding: [8, 8, 0, 0],
        scales: {
          x: { time: false, range: () => [-1, Math.max(SHOWN, this.frames.length)] },
          y: { range: () => rangeOf(this.rows) },
        },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        axes: [
          {
            ...axis,
            size: 24,
            space: 90,
            grid: { show: false },
            values: (_, places) =>
              places.map((i) =>
                Number.isInteger(i) && this.frames[i] ? fmt.time(this.frames[i].scored) : "",
              ),
          },
          { ...axis, size: widest, values: (_, values, __, ___, step) => values.map((value) => labelOf(value, step)) },
        ],
        series: [
          {},
          {
            label: "threshold",
            stroke: colour("--text"),
            width: 1.5,
            dash: [6, 4],
            points: { show: false },
            paths: globalThis.uPlot.paths.stepped({ align: 1 }),
          },
          ...KINDS.map(dots),
        ],
        hooks: {
          draw: [(plot) => this.#markChosen(plot, colour("--accent"))],
          setCursor: [(plot) => this.#say(plot.cursor.idx)],
        },
      },
      this.rows,
      this.node,
    );
    this.plot.over.addEventListener("click", () => {
      const frame = this.frames[this.plot.cursor.idx];
      if (frame) this.onChoose(frame);
    });
  }

  #markChosen(plot, colour) {
    if (this.chosen < 0) return;
    const { ctx } = plot;
    const x = Math.round(plot.valToPos(this.chosen, "x", true));
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(x, plot.bbox.top);
    ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  #say(place) {
    const frame = this.frames[place];
    setText(this.hint, frame ? `${fmt.time(frame.scored)} ${nameOf(frame)} ${fmt.score(frame.raw)}` : "");
  }
}
