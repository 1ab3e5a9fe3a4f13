// The last twenty verdicts as signs in a row, oldest first.
import { el, firstVerdict, fmt, nameOf, setText, verdict } from "./common.js";

const SHOWN = 20;

export class Strip {
  /** @param {((frame: object) => void) | null} onChoose null for a strip that is only looked at. */
  constructor(onChoose = null) {
    this.onChoose = onChoose;
    this.frames = [];
    this.node = el("ol", { id: "last20", class: "strip", "aria-label": `the last ${SHOWN} frames` });
    // Made once: at ten frames a second new nodes would be the tab's main work.
    this.items = Array.from({ length: SHOWN }, (_, i) => this.#item(i));
  }

  #item(i) {
    const choose = this.onChoose && (() => this.frames[i] && this.onChoose(this.frames[i]));
    const mark = choose
      ? el("button", { type: "button", tabindex: i ? "-1" : "0", onclick: choose })
      : el("span");
    const item = el("li", { hidden: true }, mark);
    if (choose) mark.addEventListener("keydown", (event) => this.#move(event, i));
    return item;
  }

  #move(event, i) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -SHOWN, End: SHOWN }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = Math.min(Math.max(i + step, 0), this.frames.length - 1);
    this.items.forEach((item, at) => (item.firstChild.tabIndex = at === to ? 0 : -1));
    this.items[to].firstChild.focus();
  }

  /** @param {object[]} frames oldest first; the last twenty are shown. */
  show(frames, chosen = null) {
    this.frames = frames.slice(-SHOWN);
    if (!this.node.firstChild) this.node.append(...this.items);
    this.items.forEach((item, i) => this.#draw(item, this.frames[i], chosen));
  }

  #draw(item, frame, chosen) {
    item.hidden = !frame;
    if (!frame) return;
    const { word, sign, cls } = verdict(frame);
    const first = firstVerdict(frame);
    item.dataset.key = frame.key;
    item.dataset.stream = frame.stream;
    const isChosen = chosen && chosen.key === frame.key && chosen.stream === frame.stream;
    item.className = `${cls}${first ? " revised" : ""}${isChosen ? " chosen" : ""}`;
    const mark = item.firstChild;
    setText(mark, sign);
    const before = first ? `, first ${first.word}` : "";
    const told = `${word}, ${nameOf(frame)}, ${fmt.score(frame.raw)}, ${fmt.time(frame.scored)}${before}`;
    mark.title = told;
    mark.setAttribute("aria-label", told);
    if (mark.tagName === "SPAN") mark.setAttribute("role", "img");
  }
}
