// One frame of the gallery as a card: a link to its part page, and a box to select it by.

import { el, fmt, nameOf } from "./common.js";
import { marks, partUrl, picture, reviewed, scores } from "./frames.js";

/**
 * The card, as an item of a list; its `frame` is the frame.
 * @param frame of `/api/scores`.
 * @param {{ticked: () => void, opened: () => void, focused: (link: HTMLElement) => void}} told of what is done to it.
 */
export function cardOf(frame, { ticked, opened, focused }) {
  const box = el("input", {
    type: "checkbox",
    "aria-label": `select ${nameOf(frame)}`,
    tabindex: "-1",
    onchange: ticked,
  });
  const link = el(
    "a",
    { href: partUrl(frame), tabindex: "-1", class: "open", onclick: opened },
    picture(frame),
    el("span", { class: "name" }, nameOf(frame)),
    el("span", { class: "numbers" }, scores(frame), frame.known_defect ? ` · ${frame.known_defect}` : ""),
    marks(frame),
    el("span", { class: "line" }, reviewed(frame.review), " ", el("time", {}, fmt.moment(frame.scored))),
  );
  link.addEventListener("focus", () => focused(link));
  const item = el(
    "li",
    { class: `card ${frame.label === true ? "anomalous" : ""}`, dataset: { key: frame.key, stream: frame.stream } },
    link,
    el("label", { class: "pick" }, box),
  );
  item.frame = frame;
  return item;
}
