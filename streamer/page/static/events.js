// What no single frame shows: a defect that comes again, another product, drift, a picture that does not change.
// A person decides of a repeat or a changeover, and reads here what that does before it is done.

import { action, operate, whoami, why } from "./actions.js";
import { address, api, ask, el, fmt, shell, streamParam, toast } from "./common.js";
import { Frames, empty, failed, thumbnail } from "./frames.js";
import { follow, inTurn } from "./watching.js";

const SHOWN = 8;
const LIMIT = 100;
const KINDS = {
  repeat: {
    title: "A defect comes again",
    sign: "↻",
    accept: "its frames are good from now on, and references: frames like them raise no alarm any more.",
    reject:
      "its frames show a defect. Give it a name: frames that show it again are NOT OK whatever their score, and carry that name.",
  },
  changeover: {
    title: "Another product",
    sign: "⇄",
    accept: "its frames are the new normal: they become the references, and the old ones leave but for those pinned.",
    reject: "it is no new product but a defect. Give it a name: frames like it are NOT OK and carry that name.",
  },
  drift: {
    title: "Drift",
    sign: "↗",
    todo: "Scores of normal frames have been rising: look at light, focus and fixture. There is nothing to decide here; when the cause is mended, the next frames bring the level back.",
  },
  frozen: {
    title: "The same picture over and over",
    sign: "❚❚",
    todo: "The camera sends one picture again and again: look at the camera, its cable and its trigger. There is nothing to decide here.",
  },
};

const GONE =
  "The detector holds this group no more: its frames have left the ring, or it was decided elsewhere. It is told anew when it comes again.";

const main = shell("events");
const view = {};
const frames = new Frames();
const state = { stream: streamParam(), open: false, events: [] };

const gone = new Set(); // groups that the detector, asked of them, held no more
const idOf = ({ stream, event, group }) => `${group} ${event} ${stream}`;
const decidable = (event) => Boolean(KINDS[event.event]?.accept) && !gone.has(idOf(event));

function decision(event) {
  const { decision: decided, who, name } = event;
  if (!decided) return "";
  const word = decided === "accept" ? "✓ accepted as good" : `✕ rejected${name ? ` as ${name}` : ""}`;
  const when = event.decided ? `, ${fmt.day(event.decided)} ${fmt.time(event.decided)}` : "";
  return el(
    "p",
    { class: `decided ${decided === "accept" ? "good" : "bad"}` },
    `${word}${who ? ` by ${who}` : ""}${when}`,
  );
}

function deciding(event) {
  if (gone.has(idOf(event))) return el("p", { class: "muted" }, GONE);
  const kind = KINDS[event.event];
  if (!kind?.accept) return el("p", { class: "muted" }, kind?.todo ?? "");
  if (event.decision) return "";
  const done = (text) => async () => {
    toast(text, "ok");
    await load();
  };
  const accept = action("✓ Accept ...", {
    detector: true,
    cls: "good",
    run: () => decide(event, "accept", done("Accepted as good.")),
  });
  const reject = action("✕ Reject ...", {
    detector: true,
    cls: "bad",
    run: () => decide(event, "reject", done("Rejected: known as a defect.")),
  });
  return el(
    "div",
    {},
    el(
      "ul",
      { class: "does" },
      el("li", {}, el("strong", {}, "Accept: "), kind.accept),
      el("li", {}, el("strong", {}, "Reject: "), kind.reject),
    ),
    el("div", { class: "buttons start" }, accept, reject),
    why({ detector: true }),
  );
}

const frameCount = ({ n_frames: n }) => `${fmt.count(n)} ${n === 1 ? "frame" : "frames"}`;

async function decide(event, word, done) {
  const fields =
    word === "reject" ? [{ name: "name", label: "name of the defect", required: true, value: event.name ?? "" }] : [];
  const answer = await ask(
    word === "accept"
      ? `Accept ${frameCount(event)} as good?`
      : `Reject ${frameCount(event)} as a defect?`,
    [...fields, { name: "note", label: "note", required: false }],
    {
      text: `${word === "accept" ? "Accept" : "Reject"}: ${KINDS[event.event][word]}`,
      confirm: word === "accept" ? "Accept" : "Reject",
      danger: word === "reject",
    },
  );
  if (!answer) return;
  const more = { group: event.group, note: answer.note || undefined };
  try {
    await operate(event.stream, word, word === "reject" ? { ...more, name: answer.name } : more);
  } catch (error) {
    if (error.code !== "unknown_group") throw error;
    gone.add(idOf(event));
    draw();
    return;
  }
  await done();
}

function card(event) {
  const kind = KINDS[event.event] ?? { title: event.event, sign: "" };
  const pictures = el("div", { class: "thumbnails" });
  const keys = (event.keys ?? []).slice(-SHOWN);
  Promise.all(keys.map((key) => frames.get(event.stream, key))).then((found) => {
    const there = found.filter(Boolean);
    pictures.replaceChildren(...there.map((frame) => thumbnail(frame)));
    if (!there.length) pictures.append(el("p", { class: "muted" }, "Its frames are not kept (any more)."));
  });
  const more = event.n_frames - keys.length;
  return el(
    "li",
    {
      class: `panel event ${decidable(event) && !event.decision ? "open" : ""}`,
      "data-group": String(event.group),
      "data-event": event.event,
    },
    el(
      "header",
      {},
      el(
        "h2",
        {},
        el("span", { "aria-hidden": "true" }, `${kind.sign} `),
        kind.title,
        event.name ? `: ${event.name}` : "",
      ),
      el(
        "p",
        { class: "muted" },
        `${event.stream} · group ${event.group} · ${fmt.day(event.at)} ${fmt.time(event.at)} · ${frameCount(event)} since ${String(event.since).replace(/^[is]:/, "")}`,
      ),
      decision(event),
    ),
    pictures,
    more > 0 && keys.length ? el("p", { class: "muted" }, `and ${fmt.count(more)} older`) : "",
    deciding(event),
  );
}

function draw() {
  const shown = state.events.filter((event) => !state.open || (decidable(event) && !event.decision));
  view.list.replaceChildren(...shown.map(card));
  const waiting = state.events.filter((event) => decidable(event) && !event.decision).length;
  view.count.textContent = `${fmt.count(waiting)} to decide, ${fmt.count(state.events.length)} told`;
  view.empty.replaceChildren();
  if (shown.length) return;
  view.empty.append(
    state.events.length
      ? empty("Everything is decided.", "Untick the filter to see what was decided.")
      : empty(
          "Nothing of this kind was told yet.",
          "The detector tells here when a defect comes again, another product runs, scores drift, or a camera sends the same picture over and over.",
        ),
  );
}

const load = inTurn(async () => {
  try {
    const { events } = await api("/api/events", { stream: state.stream, limit: LIMIT });
    if (JSON.stringify(events) === JSON.stringify(state.events) && view.drawn) return;
    state.events = events;
    view.drawn = true;
    draw();
  } catch (error) {
    view.empty.replaceChildren(failed(error, load));
  }
});

function heard(message) {
  const decided = message.type === "operator" && ["accept", "reject"].includes(message.word.what);
  if (decided || ["hello", "event"].includes(message.type)) load();
}

async function start() {
  const [{ streams }] = await Promise.all([
    api("/api/streams").catch(() => ({ streams: [] })),
    whoami().catch(() => null),
  ]);
  const names = [...new Set(["", ...streams.map(({ stream }) => stream), state.stream])];
  const select = el(
    "select",
    { id: "stream" },
    ...names.map((name) => el("option", { value: name }, name || "all streams")),
  );
  select.value = state.stream;
  select.addEventListener("change", () => location.assign(address("/events", { stream: select.value })));
  const open = el("input", { type: "checkbox", id: "open" });
  open.addEventListener("change", () => {
    state.open = open.checked;
    draw();
  });
  view.count = el("p", { class: "muted", id: "count", "aria-live": "polite" });
  view.list = el("ul", { id: "events" });
  view.empty = el("div", {});
  main.append(
    el(
      "div",
      { class: "title" },
      el("h1", {}, "Events"),
      view.count,
      el("label", { class: "check" }, open, "only what is to be decided"),
      el("label", { class: "field" }, el("span", {}, "stream"), select),
    ),
    view.list,
    view.empty,
  );
  await load();
  follow(state.stream ? [state.stream] : [], heard);
}

start();
