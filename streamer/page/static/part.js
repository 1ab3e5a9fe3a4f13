// One frame: what was said of it and when, what it looks like, what looks like it, and what a person makes of it.

import { action, operate, review, watch, whoami, reason, why } from "./actions.js";
import { api, el, nameOf, post, shell, toast } from "./common.js";
import { empty, failed, marks, partUrl, scores } from "./frames.js";
import { words } from "./frame_words.js";
import { onKey } from "./keys.js";
import { figures, meta, nearest, pictures, regions, section } from "./part_facts.js";
import { follow, inTurn } from "./watching.js";
import { falseAlarm, forget, pin } from "./words.js";

const main = shell("gallery");
const given = new URLSearchParams(location.search);
const [stream, key] = [given.get("stream"), given.get("key")];
const KINDS_OF_DAYS = 30;
const view = {};
const drafts = new Map();
let frame = null;
let kinds = [];

// What a person does

/** A field of the review whose text outlives that the page is drawn anew while it is typed. */
function draft(field) {
  field.value = drafts.get(field.id) ?? frame.review?.[field.id] ?? "";
  watch(() => {
    field.disabled = Boolean(reason({}));
  }, field);
  field.addEventListener("input", () => drafts.set(field.id, field.value));
  return field;
}

function reviewing() {
  const kind = draft(el("input", { id: "kind", list: "kinds", maxlength: "200", autocomplete: "off" }));
  const note = draft(el("textarea", { id: "note", rows: "2", maxlength: "2000" }));
  const confirm = el("input", { type: "checkbox", id: "confirm" });
  const ticked = el(
    "label",
    { class: "tick" },
    confirm,
    " tell the detector too: it labels the frame so from now on, and sets its threshold by it",
  );
  watch(() => {
    confirm.disabled = Boolean(reason({ detector: true }));
    ticked.title = reason({ detector: true });
  }, ticked);
  const decide = (decision, sign, letter, text) =>
    action(`${sign} ${text}`, {
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
  view.decisions = [
    decide("defect", "✕", "D", "defect"),
    decide("good", "✓", "G", "good"),
    decide("unsure", "?", "U", "unsure"),
  ];
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
  const say = (text, letter, run) => action(text, { key: letter, detector: true, run: () => run(frame).then(load) });
  view.words = {
    f: say("false alarm", "F", falseAlarm),
    p: say("pin as good", "P", pin),
    n: say("unpin", "N", unpin),
    x: say("forget ...", "X", forget),
  };
  return section(
    "Tell the detector",
    el("div", { class: "buttons" }, ...Object.values(view.words)),
    why({ detector: true }, {}),
    el(
      "p",
      { class: "muted" },
      "Works as long as the frame is in the detector's ring. Forget takes it out: nothing is compared with it any more.",
    ),
  );
}

async function unpin({ key: pinned }) {
  await operate(stream, "unpin", { key: pinned });
  toast(`${nameOf(frame)}: no longer pinned`, "ok");
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
  if (view.drawn !== drawn) Object.assign(view, { pictures: pictures(frame), drawn });
  const focus = document.activeElement?.id;
  main.replaceChildren(
    head(),
    view.pictures,
    el(
      "div",
      { class: "columns" },
      el("div", {}, reviewing(), telling(), section("All words on it", words(frame))),
      el("div", {}, nearest(frame), regions(frame, view.pictures), figures(frame), meta(frame)),
    ),
  );
  main.dataset.key = frame.key;
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

let shown = "";

const load = inTurn(async () => {
  const found = await api("/api/frame", { stream, key });
  const told = JSON.stringify(found);
  if (told === shown) return; // nothing moves under the hand for nothing
  shown = told;
  view.ack = null;
  frame = found;
  draw();
});

async function first() {
  try {
    await load();
  } catch (error) {
    main.replaceChildren(error.status === 404 ? gone() : failed(error, first));
  }
}

const gone = () =>
  empty(
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
  ["d", "g", "u"].forEach((letter, n) =>
    onKey(letter, ["it shows a defect", "it is good", "unsure"][n], () => view.decisions?.[n].perform()),
  );
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
  const mine =
    message.type === "hello" ||
    same(message) ||
    same(message.frame) ||
    same(message.word) ||
    message.flips?.some(same) ||
    (message.type === "alarm" && same(message.alarm));
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
  follow([stream], heard);
  loadKinds().catch(() => {}); // only suggestions
}

start();
