// What every list of frames shares: what a frame is called and where it is, its picture with the outline of
// what is anomalous, its card. Texts from outside only ever become text nodes.

import { address, api, el, fetchGrid, firstVerdict, fmt, loadImage, nameOf, pictureUrl, verdict } from "./common.js";
import * as heat from "./heat.js";

const DECISIONS = {
  defect: { sign: "✕", word: "defect" },
  good: { sign: "✓", word: "good" },
  unsure: { sign: "?", word: "unsure" },
};

/** The address of a frame on a page. */
export const partUrl = (frame) => address("/part", { stream: frame.stream, key: frame.key });

/** Score and threshold as text, "0.537 / 0.412". */
export function scores(frame) {
  const score = frame.raw === null || frame.raw === undefined ? "no score" : fmt.score(frame.raw);
  return frame.threshold === null || frame.threshold === undefined ? score : `${score} / ${fmt.score(frame.threshold)}`;
}

/** A verdict as sign, word and colour. */
export function mark(frame, tag = "span") {
  const { word, sign, cls } = verdict(frame);
  return el(tag, { class: `badge ${cls}` }, el("span", { "aria-hidden": "true" }, sign), ` ${word}`);
}

/** The verdict; where the first one was another, that one struck through before it, and since when. */
export function marks(frame) {
  const was = firstVerdict(frame);
  if (!was) return el("span", { class: "marks" }, mark(frame));
  return el(
    "span",
    { class: "marks revised" },
    el("del", {}, was.word),
    el("span", { "aria-label": "revised to" }, " → "),
    mark(frame),
    frame.flipped ? el("span", { class: "when" }, ` ${fmt.moment(frame.flipped)}`) : "",
  );
}

/** What a person said of it, or that nobody has. */
export function reviewed(review) {
  if (!review) return el("span", { class: "reviewed none" }, "not reviewed");
  const { sign, word } = DECISIONS[review.decision] ?? { sign: "", word: review.decision };
  return el(
    "span",
    { class: `reviewed ${review.decision}` },
    el("span", { "aria-hidden": "true" }, sign),
    ` ${word}`,
    review.kind ? `: ${review.kind}` : "",
    review.who ? ` (${review.who})` : "",
  );
}

/**
 * A picture that is fetched and drawn when it comes into sight, and drawn again when its width changes.
 * @param frame the frame.
 * @param {{opacity?: number, contour?: boolean, image?: boolean, map?: boolean}} how opacity of the heat map, 0 to
 *   1; whether the threshold's outline is drawn; whether the picture is; whether the map is, and alone where
 *   there is no picture.
 */
export function picture(frame, { opacity = 0, contour = true, image = true, map = true } = {}) {
  const canvas = el("canvas", { "aria-hidden": "true" });
  const box = el("div", { class: "picture" }, canvas);
  box.style.aspectRatio = String(heat.aspectOf({ shape: frame.shape }));
  drawings.set(box, { frame, canvas, box, opacity, contour, wanted: { image, map }, width: 0 });
  sight.observe(box);
  return box;
}

const drawings = new WeakMap();

const sight = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      fetchAndDraw(drawings.get(target)).catch(() => blank(target, "not to be had just now"));
    }
  },
  { rootMargin: "300px" },
);

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const drawing = drawings.get(target);
    if (drawing.width && Math.abs(target.clientWidth - drawing.width) > 1) paint(drawing);
  }
});

async function fetchAndDraw(drawing) {
  const { frame, box, wanted } = drawing;
  [drawing.image, drawing.map] = await Promise.all([
    wanted.image && frame.picture ? loadImage(pictureUrl(frame)) : null,
    wanted.map ? fetchGrid(frame) : null,
  ]);
  if (!drawing.map && !drawing.image) {
    const missing = [wanted.image && "no picture", wanted.map && "no map"].filter(Boolean);
    return blank(box, `${missing.join(", ")} kept`);
  }
  paint(drawing);
  resized.observe(box);
  box.classList.add("drawn");
  return undefined;
}

function paint(drawing) {
  const { frame, canvas, box, image, map, opacity, contour } = drawing;
  drawing.width = box.clientWidth;
  heat.draw(canvas, {
    image,
    ...(map ?? {}),
    view: frame.map?.view ?? null,
    ...heat.scaleOf(frame),
    opacity: image ? opacity : 1,
    contour: contour && map ? heat.levelOf(frame) : null,
    shape: frame.shape ?? undefined,
    key: frame.key,
  });
  if (map && !image) box.title = scaleWords(frame);
}

/** The scale of a map that is shown with one of its own, in words. */
export function scaleWords(frame) {
  const { low, high } = heat.scaleOf(frame);
  const threshold = frame.threshold > 0 ? `, threshold ${fmt.score(frame.threshold)} in the middle` : "";
  return `colours from ${fmt.score(low)} to ${fmt.score(high)} and beyond${threshold}`;
}

function blank(box, text) {
  box.replaceChildren(el("span", {}, text));
  box.classList.add("blank");
}

/** A small picture with its name that leads to its part page; for rows of thumbnails. */
export function thumbnail(frame, more = "") {
  return el(
    "a",
    { class: "thumbnail", href: partUrl(frame), "data-key": frame.key },
    picture(frame),
    el("span", { class: "name" }, nameOf(frame)),
    el("span", { class: "numbers" }, mark(frame), ` ${scores(frame).split(" / ")[0]}`),
    more ? el("span", { class: "more" }, more) : "",
  );
}

/** Frames by key, asked for once each; for pages that only know keys. Those that are gone are null. */
export class Frames {
  constructor(most = 400) {
    this.most = most;
    this.known = new Map();
  }

  get(stream, key) {
    const place = `${stream} ${key}`;
    if (!this.known.has(place)) {
      if (this.known.size >= this.most) this.known.delete(this.known.keys().next().value);
      this.known.set(
        place,
        api("/api/frame", { stream, key }).catch(() => null),
      );
    }
    return this.known.get(place);
  }
}

/** What to show where there is nothing: what is so, and what to do. */
export function empty(what, todo = "", link = null) {
  const box = el("div", { class: "empty" }, el("p", { class: "what" }, what));
  if (todo) box.append(el("p", {}, todo));
  if (link) box.append(el("p", {}, el("a", { href: link.href }, link.text)));
  return box;
}

/** A failed request, told where its answer would have been. */
export const failed = (error, again) => {
  const button = el("button", { type: "button" }, "Try again");
  button.addEventListener("click", again);
  return el("div", { class: "empty", role: "alert" }, el("p", { class: "what" }, error.message), button);
};
