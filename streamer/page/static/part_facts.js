// What is known of one frame: its pictures, figures, regions, what its sender said, and good frames like it.

import { el, fmt, nameOf } from "./common.js";
import { picture, scaleWords, thumbnail } from "./frames.js";
import { legend } from "./heat.js";

// Pictures

/** Boxes over a picture, placed in per cent of the frame, so that they fit it at every width. */
function boxes({ regions, shape }) {
  const layer = el("div", { class: "boxes", "aria-hidden": "true" });
  if (!shape) return layer;
  const [height, width] = shape;
  regions.forEach(([x, y, w, h, score], n) => {
    const box = el("div", { class: "box", "data-region": String(n) }, el("span", {}, fmt.score(score)));
    Object.assign(box.style, {
      left: `${(100 * x) / width}%`,
      top: `${(100 * y) / height}%`,
      width: `${(100 * w) / width}%`,
      height: `${(100 * h) / height}%`,
    });
    layer.append(box);
  });
  return layer;
}

/** The frame, its heat map, and the outline of what reaches the threshold, side by side. */
export function pictures(frame) {
  const panel = (caption, options, more = null) => {
    const shown = picture(frame, options);
    if (more) shown.append(more);
    return el("figure", {}, shown, el("figcaption", {}, caption));
  };
  return el(
    "div",
    { class: "figures", role: "img", "aria-label": described(frame) },
    panel("frame", { contour: false, map: false }),
    heatMap(frame),
    panel("outline of what reaches the threshold", {}, boxes(frame)),
  );
}

/** The map alone, over the legend of its own scale. */
function heatMap(frame) {
  const ramp = el("canvas", { class: "ramp", "aria-hidden": "true" });
  legend(ramp);
  const about = frame.map?.ignored ? "heat map (part of the frame is ignored)" : "heat map";
  return el(
    "figure",
    {},
    picture(frame, { opacity: 1, contour: false, image: false }),
    frame.map ? ramp : "",
    el("figcaption", {}, frame.map ? `${about}, ${scaleWords(frame)}` : about),
  );
}

function described(frame) {
  const { regions: found } = frame;
  if (!found.length) return `${nameOf(frame)}: no region reaches the threshold`;
  const [x, y, w, h, score] = found[0];
  return `${nameOf(frame)}: ${found.length} regions reach the threshold; the worst, ${fmt.score(score)}, is ${w} x ${h} pixels at ${x}, ${y}`;
}

// Figures

function rows(pairs) {
  const list = el("dl", {});
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value));
  }
  return list;
}

const at = (ms) => (ms ? `${fmt.day(ms)} ${fmt.time(ms)}` : "");
const number = (value) => (value === null || value === undefined ? "" : fmt.score(value));

/** What was measured of it. */
export function figures(frame) {
  const total = frame.latency_ms?.total ?? frame.latency_ms;
  return section(
    "Figures",
    rows([
      ["stream", el("a", { href: `/live?stream=${encodeURIComponent(frame.stream)}` }, frame.stream)],
      ["part", frame.part_id],
      ["product", frame.product_id],
      ["frame id", String(frame.frame_id)],
      ["number", frame.seq === null ? "" : String(frame.seq)],
      ["captured", at(frame.captured)],
      ["scored", at(frame.scored)],
      ["raw score", number(frame.raw)],
      ["threshold", number(frame.threshold) || "none yet"],
      ["re-scored (RsCIN)", number(frame.rscin)],
      ["normalised (0.5 at threshold)", number(frame.pred)],
      ["against", `${fmt.count(frame.n_references)} references, ${frame.state}`],
      ["revisions", `${fmt.count(frame.revision)}${frame.final ? ", final" : ", may change yet"}`],
      ["known defect", frame.known_defect],
      ["took", Number.isFinite(total) ? (total < 10_000 ? `${total.toFixed(0)} ms` : fmt.span(total)) : ""],
      ["model", frame.model_id],
    ]),
  );
}

/** A part of a page under a heading. */
export function section(title, ...content) {
  return el("section", { class: "panel" }, el("h2", {}, title), ...content);
}

/** Its regions; the box over `pictures` of the one that is pointed at is lit. */
export function regions(frame, pictures) {
  if (!frame.regions.length) return section("Regions", el("p", { class: "muted" }, "None reaches the threshold."));
  const body = el("tbody", {});
  const light = (n, wanted) => pictures.querySelector(`[data-region="${n}"]`)?.classList.toggle("lit", wanted);
  frame.regions.forEach(([x, y, w, h, score], n) => {
    const row = el("tr", {}, ...[fmt.score(score), `${w} x ${h}`, `${x}, ${y}`].map((text) => el("td", {}, text)));
    row.addEventListener("pointerenter", () => light(n, true));
    row.addEventListener("pointerleave", () => light(n, false));
    body.append(row);
  });
  const head = el(
    "thead",
    {},
    el("tr", {}, ...["score", "size, pixels", "at x, y"].map((text) => el("th", { scope: "col" }, text))),
  );
  return section(
    "Regions, worst first",
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "regions" }, el("table", {}, head, body)),
  );
}

/** What came with it. */
export function meta(frame) {
  const entries = Object.entries(frame.meta ?? {});
  if (!entries.length)
    return section("What the sender said", el("p", { class: "muted" }, "Nothing: frames may carry a meta map."));
  return section(
    "What the sender said",
    rows(entries.map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)])),
  );
}

/** What good frames look like. */
export function nearest(frame) {
  const { nearest: alike = [] } = frame;
  if (!alike.length) return section("Good frames like it", el("p", { class: "muted" }, "None is kept yet."));
  const title = frame.picture ? "Good frames that look most like it" : "Good frames nearest in time";
  return section(title, el("div", { class: "thumbnails" }, ...alike.map((one) => thumbnail(one))));
}
