// Which streams there are and how each does: tabs, and the day's counts.
import { el, fmt, setText, verdict } from "./common.js";
import { CAMERA, learned } from "./states.js";

export class Tabs {
  /** @param {string} chosen the stream one looks at, "" for all. */
  constructor(chosen) {
    this.chosen = chosen;
    this.links = new Map();
    this.node = el("nav", { id: "streams", class: "tabs", "aria-label": "streams" });
  }

  /**
   * @param {object[]} streams health of each.
   * @param {(name: string) => object | undefined} lastOf a stream's last frame.
   * @param {object[]} open alarms.
   */
  show(streams, lastOf, open) {
    // One camera needs no choice.
    this.node.hidden =
      streams.length < 2 && !(streams.length && this.chosen && streams[0].stream !== this.chosen);
    const names = [...streams.map((one) => one.stream), ""];
    for (const [name, link] of this.links) {
      if (names.includes(name)) continue;
      link.remove();
      this.links.delete(name);
    }
    names.forEach((name, i) => {
      const link = this.links.get(name) ?? this.#link(name);
      if (this.node.children[i] !== link) this.node.insertBefore(link, this.node.children[i] ?? null);
      if (name)
        this.#draw(
          link,
          streams[i],
          this.chosen ? null : lastOf(name),
          open.filter((one) => one.stream === name).length,
        );
    });
  }

  #link(name) {
    const query = name ? `?stream=${encodeURIComponent(name)}` : "";
    const link = el(
      "a",
      {
        href: `/live${query}`,
        "aria-current": name === this.chosen ? "true" : null,
        dataset: { stream: name },
      },
      el("span", { class: "name" }, name || "all"),
      el("span", { class: "how" }),
      el("span", { class: "tag bad" }),
    );
    link.lastChild.hidden = true;
    this.links.set(name, link);
    return link;
  }

  #draw(link, stream, last, open) {
    const [, how, tag] = link.children;
    const { sign, word, cls } = verdict(last);
    const off = stream.asleep
      ? "asleep"
      : CAMERA[stream.camera?.state] ||
        (stream.silent ? "silent" : stream.state === "warmup" ? `learning${learned(stream)}` : "");
    setText(how, off || (last ? `${sign} ${word}` : ""));
    how.className = `how ${off ? "learning" : cls}`;
    tag.hidden = !open;
    setText(tag, `${open} open`);
  }
}

export class Today {
  constructor() {
    this.values = ["inspected today", "NOT OK", "open alarms"].map((name) => [
      el("dt", {}, name),
      el("dd", { class: "figure" }),
    ]);
    this.node = el(
      "dl",
      { id: "today", class: "block today" },
      this.values.map((pair) => el("div", {}, pair)),
    );
  }

  show(streams, open) {
    const sum = (name) => streams.reduce((total, one) => total + (one.today?.[name] ?? 0), 0);
    const [inspected, anomalous] = [sum("inspected"), sum("anomalous")];
    const share = inspected ? ` ${fmt.percent(anomalous / inspected)}` : "";
    const open_ = Math.max(open, sum("open_alarms"));
    const texts = [fmt.count(inspected), fmt.count(anomalous), fmt.count(open_)];
    this.values.forEach(([, value], i) => {
      const more = i === 1 ? share : "";
      if (value.dataset.said === texts[i] + more) return;
      value.dataset.said = texts[i] + more;
      value.replaceChildren(texts[i], el("small", {}, more));
    });
    this.values[2][1].classList.toggle("bad", open_ > 0);
  }
}
