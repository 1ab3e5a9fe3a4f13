// The frame one looks at: its verdict in large words, its picture under its map. Live page and wall draw with
// it.
import { el, firstVerdict, fmt, nameOf, setText, verdict } from "./common.js";
import { aspectOf, draw, levelOf } from "./heat.js";
import { idOf } from "./pictures.js";
import { learned, remarks } from "./states.js";

const PATIENCE_MS = 400; // for a picture that follows its score
const LONGEST_OLD_MS = 1000; // a canvas does not lag behind by more, however slow pictures are

export class Panel {
  /**
   * @param {Pictures} pictures
   * @param {() => object} settings {opacity, contour: bool, colours, low, high}, asked at each drawing.
   * @param {boolean} [named] the stream is said, too: frames of several are shown.
   */
  constructor(pictures, settings, named = false) {
    this.named = named;
    this.pictures = pictures;
    this.settings = settings;
    this.frame = null;
    this.drawnAt = 0;
    this.painted = "";
    this.image = null;
    this.timer = 0;
    this.sign = el("span", { class: "sign", "aria-hidden": "true" });
    this.word = el("span", { class: "word" });
    this.verdict = el(
      "div",
      { id: "verdict", class: "verdict none", role: "status", "aria-live": "polite" },
      this.sign,
      this.word,
    );
    this.name = el("span", { class: "name" });
    this.score = el("span", { class: "score" });
    this.tags = el("span", { class: "tags" });
    this.facts = el("div", { class: "facts" }, this.name, this.score, this.tags);
    this.canvas = el("canvas", { id: "heat", role: "img" });
    this.note = el("p", { class: "note" });
    this.stage = el("div", { id: "frame", class: "stage" }, this.canvas, this.note);
    new ResizeObserver(() => this.paint(true)).observe(this.stage);
  }

  /**
   * @param {object | null} frame
   * @param {object} about {stream: health of its stream, down: a word in the verdict's place}
   */
  show(frame, { stream = null, down = null } = {}) {
    const changed = !frame || !this.frame || idOf(frame) !== idOf(this.frame);
    this.frame = frame;
    this.#say(frame, stream, down);
    if (changed) (clearTimeout(this.timer), (this.timer = 0));
    this.paint(false);
  }

  #say(frame, stream, down) {
    const { word, sign, cls } = down ? { word: down, sign: "!", cls: "none" } : verdict(frame);
    setText(this.sign, sign);
    setText(this.word, cls === "learning" ? `${word}${learned(stream)}` : word);
    this.verdict.className = `verdict ${cls}${down ? " down" : ""}${stream?.silent ? " stale" : ""}`;
    this.stage.classList.toggle("stale", Boolean(down));
    this.stage.dataset.key = frame?.key ?? "";
    this.stage.dataset.stream = frame?.stream ?? "";
    setText(this.name, frame ? `${this.named ? `${frame.stream} · ` : ""}${nameOf(frame)}` : "");
    setText(this.score, frame ? `${fmt.score(frame.raw)} / ${fmt.score(frame.threshold)}` : "");
    this.score.title = "raw score / threshold";
    const said = frame ? [...this.#history(frame), ...remarks(frame, stream)] : [];
    const wanted = said.map(([text, kind]) => `${kind}:${text}`).join("\n");
    if (this.tags.dataset.said === wanted) return;
    this.tags.dataset.said = wanted;
    this.tags.replaceChildren(...said.map(([text, kind]) => el("span", { class: `tag ${kind}` }, text)));
  }

  #history(frame) {
    const said = [];
    const first = firstVerdict(frame);
    if (first)
      said.push([
        `first ${first.sign} ${first.word} ${fmt.score(frame.first.raw)}, revised ${fmt.moment(frame.flipped)}`,
        "warn",
      ]);
    else if (frame.final) said.push(["final", ""]);
    else said.push([frame.revision > 0 ? "revised" : "provisional", ""]);
    if (frame.review)
      said.push([
        `${frame.review.decision}, says ${frame.review.who}`,
        frame.review.decision === "defect" ? "bad" : "good",
      ]);
    return said;
  }

  /** Draws what there is of the frame; while its picture is on its way the one before stays, for a moment. */
  paint(atOnce = true) {
    const frame = this.frame;
    if (!frame || document.hidden) return void (frame || this.#empty());
    const image = this.pictures.image(frame);
    const map = this.pictures.grid(frame);
    const old = performance.now() - this.drawnAt > LONGEST_OLD_MS && this.timer;
    if (!atOnce && !old && this.pictures.waiting(frame)) {
      this.timer ||= setTimeout(() => this.paint(true), PATIENCE_MS);
      return;
    }
    const { contour, ...settings } = this.settings();
    const options = {
      ...settings,
      image,
      ...(map ?? {}),
      view: frame.map?.view ?? null,
      shape: frame.shape,
      contour: contour && map ? levelOf(frame) : null,
      regions: map && contour ? [] : (frame.regions ?? []),
      key: frame.key,
    };
    this.#fit(aspectOf(options));
    // The same again would be most of what a busy page does.
    const wanted = [
      idOf(frame),
      frame.change,
      Boolean(image),
      Boolean(map),
      this.canvas.clientWidth,
      settings,
      options.contour,
    ];
    const said = JSON.stringify(wanted);
    if (said === this.painted && image === this.image) return;
    this.painted = said;
    this.image = image;
    draw(this.canvas, options);
    this.drawnAt = performance.now();
    this.#describe(frame, image, map);
  }

  #empty() {
    delete this.canvas.dataset.drawn;
    this.painted = "";
    this.canvas.hidden = true;
    setText(this.note, "no frame yet");
  }

  #describe(frame, image, map) {
    this.canvas.hidden = false;
    const lacks = [!image && !frame.picture && "no picture", !map && !frame.map && "no map"].filter(Boolean);
    const [x, y, , , worst] = frame.regions?.[0] ?? [];
    const at = lacks.length && !frame.shape && worst ? `; worst ${fmt.score(worst)} at ${x}, ${y}` : "";
    setText(
      this.note,
      `${lacks.length === 2 ? "no picture and no map of this frame" : lacks.join(", ")}${at}`,
    );
    const { word } = verdict(frame);
    const where = frame.regions?.length ? `, ${frame.regions.length} anomalous regions` : "";
    this.canvas.setAttribute(
      "aria-label",
      `${nameOf(frame)} of ${frame.stream}: ${word}, score ${fmt.score(frame.raw)}${where}`,
    );
  }

  /** The largest box of this aspect that the stage has room for. */
  #fit(aspect) {
    const { clientWidth, clientHeight } = this.stage;
    const width = Math.floor(Math.min(clientWidth, clientHeight * aspect));
    const style = this.canvas.style;
    const [w, h] = [`${width}px`, `${Math.floor(width / aspect)}px`];
    if (style.width === w && style.height === h) return;
    style.width = w;
    style.height = h;
  }
}
