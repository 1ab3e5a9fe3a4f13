// Alarms, newest first. One that was revised to normal is struck through and says when: it never goes
// silently.
import { el, fmt, nameOf, pictureUrl, setText } from "./common.js";

const SHOWN = 60;
const KEPT = 300;

const CAUSES = {
  anomalous: "NOT OK",
  repeat: "same defect again",
  changeover: "changeover: alike, and unlike the ring",
  drift: "drift of the scores",
  frozen: "camera frozen",
  silent: "camera silent",
  detector: "no detector",
};

const OF_PARTS = new Set(["anomalous", "repeat"]); // the others are of the line

export class AlarmList {
  /**
   * @param {object} on {choose(alarm), acknowledge(alarm)}
   */
  constructor(on) {
    this.on = on;
    this.alarms = new Map();
    this.items = new Map();
    this.newest = 0;
    this.node = el("ul", { id: "alarms", class: "alarms scroll", tabindex: "0", "aria-label": "alarms" });
    this.told = el("div", { class: "told", role: "alert", "aria-live": "assertive" });
    this.more = el("p", { class: "hint more" });
    this.mayAct = false;
  }

  /** A new or changed alarm. Returns whether it is news: an old one that comes into sight again is none. */
  take(alarm) {
    const isNew = alarm.id > this.newest;
    this.newest = Math.max(this.newest, alarm.id);
    this.alarms.set(alarm.id, alarm);
    if (this.alarms.size > KEPT) this.#forgetOldest();
    return isNew;
  }

  /** Said aloud by a screen reader. */
  announce(alarm) {
    setText(
      this.told,
      `Alarm on ${alarm.stream}: ${CAUSES[alarm.cause] ?? alarm.cause}, ${fmt.moment(alarm.from)}`,
    );
  }

  #forgetOldest() {
    const closed = this.sorted().filter((one) => one.ack_at);
    const oldest = closed.at(-1) ?? this.sorted().at(-1);
    this.alarms.delete(oldest.id);
  }

  sorted() {
    return [...this.alarms.values()].sort((a, b) => b.from - a.from || b.id - a.id);
  }

  /** Those nobody has acknowledged, newest first. */
  open() {
    return this.sorted().filter((alarm) => !alarm.ack_at);
  }

  /** Whether there is room for open alarms that the page does not hold. */
  get lacks() {
    return this.open().length < SHOWN;
  }

  /** The open alarm of a frame, if there is one. */
  of = (frame) => frame && this.open().find((one) => this.#holds(one, frame));

  // One alarm may be of many frames, each of which says which.
  #holds = (alarm, frame) =>
    frame.alarm === alarm.id ||
    (alarm.stream === frame.stream && alarm.key !== null && alarm.key === frame.key);

  /** @param {(alarm: object) => object | null} frameOf the alarm's frame, where the page holds it. */
  show(frameOf, chosen = null) {
    const all = this.sorted();
    const open = all.filter((alarm) => !alarm.ack_at);
    // Open ones first: an hour of acknowledged alarms must not push one off the list.
    const shown = [...open, ...all.filter((alarm) => alarm.ack_at)].slice(0, SHOWN);
    const wanted = new Set(shown.map((alarm) => alarm.id));
    for (const [id, item] of this.items) {
      if (wanted.has(id)) continue;
      item.remove();
      this.items.delete(id);
    }
    shown.forEach((alarm, i) => {
      const item = this.items.get(alarm.id) ?? this.#item(alarm);
      this.#draw(item, alarm, frameOf(alarm));
      item.classList.toggle("chosen", Boolean(chosen && this.#holds(alarm, chosen)));
      if (this.node.children[i] !== item) this.node.insertBefore(item, this.node.children[i] ?? null);
    });
    this.node.classList.toggle("none-yet", !shown.length);
    const hides = open.length > SHOWN;
    setText(this.more, hides ? "Older open alarms follow as these are acknowledged." : "");
  }

  #item(alarm) {
    const current = () => this.alarms.get(alarm.id);
    const choose = el(
      "button",
      { type: "button", class: "choose quiet", onclick: () => this.on.choose(current()) },
      el("span", { class: "thumb" }),
      el(
        "span",
        { class: "what" },
        el("span", { class: "when" }),
        el("span", { class: "cause" }),
        el("span", { class: "then" }),
      ),
    );
    const ack = el(
      "button",
      { type: "button", class: "ack", onclick: () => this.on.acknowledge(current()) },
      "Ack",
    );
    const item = el("li", { dataset: { id: alarm.id } }, choose, ack);
    this.items.set(alarm.id, item);
    return item;
  }

  #draw(item, alarm, frame) {
    const told = JSON.stringify([alarm, frame?.change, frame?.picture, this.mayAct]);
    if (item.dataset.told === told) return;
    item.dataset.told = told;
    if (alarm.key) item.dataset.key = alarm.key;
    item.dataset.stream = alarm.stream;
    item.dataset.cause = alarm.cause;
    item.className = `${alarm.ack_at ? "acked" : "open"}${alarm.revised ? " revised" : ""}`;
    const [when, cause, then] = item.querySelector(".what").children;
    setText(when, `${fmt.moment(alarm.from)} ${alarm.stream}`);
    const part = alarm.key ? nameOf(frame ?? alarm) : "";
    const score = frame ? fmt.score(frame.raw) : "";
    const word = CAUSES[alarm.cause] ?? alarm.cause;
    const sign = OF_PARTS.has(alarm.cause) ? "✕" : "!";
    const many = alarm.n_frames > 1 ? `, ${fmt.count(alarm.n_frames)} frames` : "";
    const first = `${sign} ${word}${many}`;
    cause.replaceChildren(
      el(alarm.revised ? "del" : "b", { class: "bad" }, first),
      ` ${part} ${score}`.trimEnd(),
    );
    then.replaceChildren(...this.#after(alarm));
    this.#thumb(item.querySelector(".thumb"), alarm, frame);
    const ack = item.querySelector(".ack");
    ack.hidden = Boolean(alarm.ack_at) || !this.mayAct;
    ack.setAttribute("aria-label", `Ack: ${word}, ${part || alarm.stream}`);
  }

  #after(alarm) {
    const said = [];
    if (alarm.revised)
      said.push(el("span", { class: "good" }, `→ ✓ revised to OK ${fmt.moment(alarm.revised)}`));
    else if (!alarm.ack_at) said.push(el("span", { class: "tag bad" }, "NEW"));
    if (alarm.ack_at) said.push(el("span", {}, ` ${alarm.ack_by}, ${fmt.moment(alarm.ack_at)}`));
    return said;
  }

  #thumb(place, alarm, frame) {
    if (!frame?.picture || place.firstChild) return;
    const image = el("img", { src: pictureUrl(alarm), alt: "", loading: "lazy", decoding: "async" });
    // No picture was kept: the sign alone says it.
    image.addEventListener("error", () => (image.hidden = true));
    place.append(image);
  }
}
