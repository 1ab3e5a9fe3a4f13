// One frame: what was said of it and when, what it looks like, what looks like it, and what a person makes of it.

import { action, operate, review, watch, whoami, reason, why } from "./actions.js";
import { api, ask, el, fmt, nameOf, post, shell, toast } from "./common.js";
import { empty, failed, marks, partUrl, picture, scores, thumbnail } from "./frames.js";
import { onKey } from "./keys.js";
import { connect } from "./socket.js";
import { words } from "./frame_words.js";

const main = shell("gallery");
const given = new URLSearchParams(location.search);
const [stream, key] = [given.get("stream"), given.get("key")];
const KINDS_OF_DAYS = 30;
const view = {};
const drafts = new Map();
let frame = null;
let kinds = [];

// Pictures

/** Boxes over a picture, placed in per cent of the frame, so that they fit it at every width. */
function boxes(regions, shape) {
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

function pictures() {
  const panel = (caption, options, more = null) => {
    const shown = picture(frame, options);
    if (more) shown.append(more);
    return el("figure", {}, shown, el("figcaption", {}, caption));
  };
  return el(
    "div",
    { class: "figures", role: "img", "aria-label": described() },
    panel("frame", { contour: false, map: false }),
    panel(frame.map?.ignored ? "heat map (part of the frame is ignored)" : "heat map", { opacity: 1, contour: false, image: false }),
    panel("outline of what reaches the threshold", {}, boxes(frame.regions, frame.shape)),
  );
}

function described() {
  const { regions } = frame;
  if (!regions.length) return `${nameOf(frame)}: no region reaches the threshold`;
  const [x, y, w, h, score] = regions[0];
  return `${nameOf(frame)}: ${regions.length} regions reach the threshold; the worst, ${fmt.score(score)}, is ${w} x ${h} pixels at ${x}, ${y}`;
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

const moment = (ms) => (ms ? `${fmt.day(ms)} ${fmt.time(ms)}` : "");
const number = (value) => (value === null || value === undefined ? "" : fmt.score(value));

function figures() {
  const total = frame.latency_ms?.total;
  return section(
    "Figures",
    rows([
      ["stream", el("a", { href: `/live?stream=${encodeURIComponent(frame.stream)}` }, frame.stream)],
      ["part", frame.part_id],
      ["product", frame.product_id],
      ["frame id", String(frame.frame_id)],
      ["number", frame.seq === null ? "" : String(frame.seq)],
      ["captured", moment(frame.captured)],
      ["scored", moment(frame.scored)],
      ["raw score", number(frame.raw)],
      ["threshold", number(frame.threshold) || "none yet"],
      ["re-scored (RsCIN)", number(frame.rscin)],
      ["normalised (0.5 at threshold)", number(frame.pred)],
      ["against", `${fmt.count(frame.n_references)} references, ${frame.state}`],
      ["revisions", `${fmt.count(frame.revision)}${frame.final ? ", final" : ", may change yet"}`],
      ["known defect", frame.known_defect],
      ["took", total ? `${total.toFixed(0)} ms` : ""],
      ["model", frame.model_id],
    ]),
  );
}

function section(title, ...content) {
  return el("section", { class: "panel" }, el("h2", {}, title), ...content);
}

function regions() {
  if (!frame.regions.length) return section("Regions", el("p", { class: "muted" }, "None reaches the threshold."));
  const body = el("tbody", {});
  frame.regions.forEach(([x, y, w, h, score], n) => {
    const row = el("tr", {}, ...[fmt.score(score), `${w} x ${h}`, `${x}, ${y}`].map((text) => el("td", {}, text)));
    row.addEventListener("pointerenter", () => light(n, true));
    row.addEventListener("pointerleave", () => light(n, false));
    body.append(row);
  });
  const head = el("thead", {}, el("tr", {}, ...["score", "size, pixels", "at x, y"].map((text) => el("th", { scope: "col" }, text))));
  return section("Regions, worst first", el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "regions" }, el("table", {}, head, body)));
}

const light = (n, wanted) => view.pictures.querySelector(`[data-region="${n}"]`)?.classList.toggle("lit", wanted);

function meta() {
  const entries = Object.entries(frame.meta ?? {});
  if (!entries.length) return section("What the sender said", el("p", { class: "muted" }, "Nothing: frames may carry a meta map."));
  return section("What the sender said", rows(entries.map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)])));
}

function nearest() {
  const { nearest: alike = [] } = frame;
  if (!alike.length) return section("Good frames like it", el("p", { class: "muted" }, "None is kept yet."));
  const title = frame.picture ? "Good frames that look most like it" : "Good frames nearest in time";
  return section(title, el("div", { class: "thumbnails" }, ...alike.map((one) => thumbnail(one))));
}

// What a person does

/** A field of the review whose text outlives that the page is drawn anew while it is typed. */
function draft(field) {
  field.value = drafts.get(field.id) ?? frame.review?.[field.id] ?? "";
  field.addEventListener("input", () => drafts.set(field.id, field.value));
  return field;
}

function reviewing() {
  const kind = draft(el("input", { id: "kind", list: "kinds", maxlength: "200", autocomplete: "off" }));
  const note = draft(el("textarea", { id: "note", rows: "2", maxlength: "2000" }));
  const confirm = el("input", { type: "checkbox", id: "confirm" });
  const ticked = el("label", { class: "tick" }, confirm, " tell the detector too: it labels the frame so from now on, and sets its threshold by it");
  watch(() => {
    confirm.disabled = Boolean(reason({ detector: true }));
    ticked.title = reason({ detector: true });
  }, ticked);
  const decide = (decision, sign, letter, text) => action(`${sign} ${text}`, {
    key: letter,
    id: `review-${decision}`,
    cls: `${decision} ${frame.review?.decision === decision ? "chosen" : ""}`,
    run: async () => {
      await review(frame, decision, { kind: kind.value.trim(), note: note.value.trim(), confirm: confirm.checked });
      toast(`${nameOf(frame)}: ${decision}`, "ok");
      drafts.clear();
      await load();
    },
  });
  view.decisions = [decide("defect", "✕", "D", "defect"), decide("good", "✓", "G", "good"), decide("unsure", "?", "U", "unsure")];
  for (const [n, button] of view.decisions.entries()) {
    button.setAttribute("aria-pressed", String(frame.review?.decision === ["defect", "good", "unsure"][n]));
  }
  return section(
    "Review",
    el("div", { class: "buttons" }, ...view.decisions),
    why({}),
    el("label", { class: "field" }, el("span", {}, "kind of defect"), kind),
    el("datalist", { id: "kinds" }, ...kinds.map((text) => el("option", { value: text }))),
    el("label", { class: "field" }, el("span", {}, "note"), note),
    ticked,
  );
}

function telling() {
  const say = (kind, text, letter, done) => action(text, {
    key: letter,
    detector: true,
    run: async () => {
      await operate(frame.stream, kind, { key: frame.key });
      toast(done, "ok");
      await load();
    },
  });
  view.words = {
    f: say("false_alarm", "false alarm", "F", "Never called anomalous again."),
    p: say("pin", "pin as good", "P", "Kept as a reference, never called anomalous."),
    n: say("unpin", "unpin", "N", "May leave the ring in its turn."),
    x: action("forget ...", { key: "X", detector: true, run: forget }),
  };
  return section(
    "Tell the detector",
    el("div", { class: "buttons" }, ...Object.values(view.words)),
    why({ detector: true }),
    el("p", { class: "muted" }, "Works as long as the frame is in the detector's ring. Forget takes it out: nothing is compared with it any more."),
  );
}

async function forget() {
  const answer = await ask(`Forget ${nameOf(frame)}?`, [{ name: "note", label: "why (kept with the frame)", required: false }]);
  if (!answer) return;
  await operate(frame.stream, "forget", { key: frame.key, note: answer.note || undefined });
  toast("Out of the ring.", "ok");
  await load();
}

function alarm() {
  if (!frame.alarm) return "";
  if (frame.acked) return el("span", { class: "muted" }, "alarm acknowledged");
  view.ack = action("acknowledge", {
    key: "A",
    id: "ack",
    run: async () => {
      await post("/api/ack", { id: frame.alarm });
      toast("Acknowledged.", "ok");
      await load();
    },
  });
  return view.ack;
}

// The page

function head() {
  const back = el("a", { href: listAddress() }, "← gallery");
  const steps = ["before", "after"].map((where, n) => {
    const other = neighbour(n ? 1 : -1);
    return other ? el("a", { href: other, rel: n ? "next" : "prev" }, n ? "next →" : "← previous") : "";
  });
  return el(
    "header",
    { class: "part-head" },
    el("p", { class: "trail" }, back, ...steps),
    el("h1", {}, nameOf(frame)),
    el("p", { class: "big", id: "verdict" }, marks(frame)),
    el("p", { class: "scores" }, scores(frame), frame.known_defect ? ` · ${frame.known_defect} again` : ""),
    el("p", { class: "alarm-state" }, alarm()),
  );
}

function stored(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

const listAddress = () => {
  const kept = stored("list");
  return kept?.startsWith("/gallery") ? kept : `/gallery?stream=${encodeURIComponent(stream)}`;
};

function neighbour(step) {
  const order = JSON.parse(stored("order") ?? "[]");
  const at = order.findIndex(([ofStream, ofKey]) => ofStream === stream && ofKey === key);
  const other = at < 0 ? undefined : order[at + step];
  return other ? partUrl({ stream: other[0], key: other[1] }) : null;
}

function draw() {
  document.title = `${nameOf(frame)} · musc-online`;
  // Drawn anew only if they changed: a review should not make them flicker.
  const drawn = JSON.stringify([frame.picture, frame.map, frame.raw, frame.threshold, frame.regions]);
  if (view.drawn !== drawn) Object.assign(view, { pictures: pictures(), drawn });
  const focus = document.activeElement?.id;
  main.replaceChildren(
    head(),
    view.pictures,
    el(
      "div",
      { class: "columns" },
      el("div", {}, reviewing(), telling(), section("All words on it", words(frame))),
      el("div", {}, nearest(), regions(), figures(), meta()),
    ),
  );
  main.dataset.key = frame.key;
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

async function load() {
  view.ack = null;
  frame = await api("/api/frame", { stream, key });
  draw();
}

async function first() {
  try {
    await load();
  } catch (error) {
    main.replaceChildren(error.status === 404 ? gone() : failed(error, first));
  }
}

const gone = () => empty(
  "This frame is not kept (any more).",
  "Good frames are kept for the days that page.yaml says, alarms and reviewed frames four times as long.",
  { href: "/gallery", text: "Back to the gallery" },
);

async function loadKinds() {
  const now = Date.now();
  const report = await api("/api/report", { stream, from: now - KINDS_OF_DAYS * 86_400_000, to: now });
  kinds = report.kinds.map(({ kind }) => kind).filter(Boolean);
  document.getElementById("kinds")?.replaceChildren(...kinds.map((text) => el("option", { value: text })));
}

function bindKeys() {
  ["d", "g", "u"].forEach((letter, n) => onKey(letter, ["it shows a defect", "it is good", "unsure"][n], () => view.decisions?.[n].perform()));
  const said = { f: "false alarm", p: "pin as good", n: "unpin", x: "forget" };
  for (const [letter, text] of Object.entries(said)) onKey(letter, text, () => view.words?.[letter].perform());
  onKey("a", "acknowledge its alarm", () => view.ack?.perform());
  const go = (step) => {
    const other = neighbour(step);
    if (other) location.assign(other);
  };
  onKey("j", "next frame of the list", () => go(1));
  onKey("k", "previous frame of the list", () => go(-1));
  onKey("Escape", "back to the gallery", () => location.assign(listAddress()));
}

function heard(message) {
  const same = (other) => other && other.stream === stream && other.key === key;
  const mine = same(message) || same(message.frame) || same(message.word) || message.flips?.some(same)
    || (message.type === "alarm" && same(message.alarm));
  if (mine && frame) load().catch((error) => toast(error.message, "error"));
}

async function start() {
  if (!stream || !key) {
    main.append(empty("No frame was named.", "Choose one in the gallery.", { href: "/gallery", text: "Gallery" }));
    return;
  }
  await whoami().catch(() => null);
  await first();
  bindKeys();
  connect({ streams: [stream], onMessage: heard });
  loadKinds().catch(() => {}); // only suggestions
}

start();
