// The live page: the frame that came last or is held, what came before it, and alarms until acknowledged.
import { api, el, fmt, goto, hello, may, onKey, setText, shell, streamParam, toast } from "./common.js";
import * as alarm from "./alarm.js";
import { AlarmList } from "./alarm_list.js";
import { controls } from "./controls.js";
import { steady, windowScale } from "./heat.js";
import { lay } from "./live_layout.js";
import { Panel } from "./panel.js";
import { Pictures } from "./pictures.js";
import { Older, Rows } from "./rows.js";
import { connect } from "./socket.js";
import { drawBanner, situation } from "./states.js";
import { Strip } from "./strip.js";
import { Tabs, Today } from "./streams.js";
import { Timeline } from "./timeline.js";
import { Acts, acknowledge as tellSeen, keyed } from "./words.js";

const WINDOW = 200;
const REFRESH_MS = 5_000; // at most so often is the window fetched again for what a revision changed

const TIMELINE_MS = 250; // 200 points in five series: most of what a busy page would draw

const stream = streamParam();
const rows = new Rows();
const main = shell("live");
const look = controls(() => mark("panel"));
let health = { detector: null, streams: [] };
let socketState = "connecting";
let who = null;
let held = null; // a frame somebody chose or an alarm held; null follows the line
let heldFor = "";
let newer = 0;

const pictures = new Pictures(() => mark("panel"));
const panel = new Panel(pictures, () => ({ ...look.settings(), ...scale }), !stream);
let scale = { low: 0, high: 1 };
const strip = new Strip((frame) => hold(frame, "chosen"));
const timeline = new Timeline((frame) => hold(frame, "chosen"));
const older = new Older(() => mark("alarms"));
const frameOf = ({ stream: of, key }) => key && (rows.get(of, key) ?? older.get(of, key));
const alarms = new AlarmList({ choose: chooseAlarm, acknowledge });
const tabs = new Tabs(stream);
const today = new Today();

// What changed since the last drawing; a hidden tab draws nothing and catches up when it is looked at.
const dirty = new Set();
let asked = 0;
let timelineDue = 0;

function mark(...names) {
  names.forEach((name) => dirty.add(name));
  if (!asked && !document.hidden) asked = requestAnimationFrame(paint);
}

document.addEventListener("visibilitychange", () => {
  asked = 0;
  if (document.hidden) return;
  mark("panel", "list", "alarms", "state");
  refresh();
});

function paint() {
  asked = 0;
  const shown = current();
  const changed = (...names) => names.some((name) => dirty.has(name));
  if (changed("list"))
    scale = steady(scale, windowScale(rows.last(WINDOW, stream || shown?.stream), shown?.threshold));
  if (changed("panel", "list", "state")) drawPanel(shown);
  if (changed("list")) {
    strip.show(rows.last(20, stream), shown);
    timelineDue ||= setTimeout(drawTimeline, TIMELINE_MS);
  }
  if (changed("alarms")) {
    alarms.show(frameOf, held);
    alarm.mark(alarms.open().length, stream);
  }
  if (changed("state", "alarms", "list")) {
    tabs.show(health.streams, (name) => rows.last(1, name)[0], alarms.open());
    today.show(health.streams.filter(mine), alarms.open().length);
  }
  dirty.clear();
}

function drawTimeline() {
  timelineDue = 0;
  const single = Boolean(stream) || health.streams.length < 2;
  if (!document.hidden) timeline.show(rows.last(WINDOW, stream), current(), single);
}

const mine = (one) => !stream || one.stream === stream;
const current = () => held ?? rows.last(1, stream)[0] ?? null;
const healthOf = (name) => health.streams.find((one) => one.stream === name) ?? null;

function drawPanel(shown) {
  const now = Date.now();
  const matter = situation(health.detector, health.streams.filter(mine), socketState, now);
  drawBanner(document.querySelector("#banner"), matter, now);
  panel.show(shown, { stream: healthOf(shown?.stream), down: matter?.word });
  look.showScale(scale, shown);
  acts.show(shown);
  part.href = shown ? goto("part", { stream: shown.stream, key: shown.key }) : goto("gallery");
  part.hidden = !shown;
  holding.hidden = !held;
  const reason = heldFor === "alarm" ? "held on this alarm" : "held";
  setText(holding.lastChild, newer ? `${reason}, ${fmt.count(newer)} newer` : reason);
}

function hold(frame, why) {
  held = frame;
  heldFor = why;
  newer = 0;
  mark("panel", "list", "alarms");
}

function follow() {
  held = null;
  mark("panel", "list", "alarms");
}

function step(by) {
  const from = current();
  const to = from && rows.beside(from, by, stream);
  if (to) hold(to, "chosen");
  else if (by > 0) follow();
}

async function chooseAlarm(chosen) {
  if (!chosen.key) return;
  const known = frameOf(chosen);
  try {
    hold(known ?? (await api("/api/frame", { stream: chosen.stream, key: chosen.key })), "chosen");
  } catch (error) {
    toast(error.message, "error");
  }
}

async function acknowledge(chosen = alarms.of(current()) ?? alarms.open()[0]) {
  if (!chosen) return toast("no alarm is open");
  const answer = await tellSeen(chosen);
  if (answer && held && heldFor === "alarm" && (held.alarm === chosen.id || held.key === chosen.key))
    follow();
}

// What comes in.

function take(message) {
  if (message.type === "score") takeFrame(message);
  else if (message.type === "picture") takePicture(message);
  else if (message.type === "revised") takeRevised(message);
  else if (message.type === "alarm") takeAlarm(message.alarm);
  else if (message.type === "review") takeReview(message);
  else if (message.type === "hello") document.body.dataset.socket = "open";
}

function takeFrame({ frame, grid, again }) {
  if (stream && frame.stream !== stream) return;
  if (grid) pictures.putGrid(frame, grid);
  if (frame.picture) pictures.learn(frame);
  const isNew = rows.take(frame);
  if (isNew && !again && frame.label === true && look.holds() && !held)
    hold(rows.get(frame.stream, frame.key), "alarm");
  else if (isNew && held) newer += 1;
  mark("list");
}

function takePicture({ stream: of, key, jpeg }) {
  if (stream && of !== stream) return;
  // Kept also where the score comes behind it; while a frame is held none of them is drawn.
  if (jpeg && !document.hidden && !held) pictures.putImage({ stream: of, key }, jpeg);
  else pictures.forget({ stream: of, key });
  const frame = rows.get(of, key);
  if (!frame) return;
  frame.picture = true;
  pictures.learn(frame);
  mark("panel", "alarms");
}

function takeRevised({ stream: of, flips }) {
  if (stream && of !== stream) return;
  flips.forEach((frame) => rows.take(frame));
  mark("list", "alarms");
  refresh();
}

function takeAlarm(said) {
  if (stream && said.stream !== stream) return;
  const isNew = alarms.take(said);
  if (isNew && !said.ack_at) {
    alarms.announce(said);
    alarm.sound(said.stream);
  }
  alarm.mark(alarms.open().length, stream); // of a hidden tab, too: that is what it is for
  mark("alarms");
}

function takeReview({ stream: of, key, review }) {
  const frame = rows.get(of, key);
  if (frame) frame.review = review;
  mark("list");
}

let refreshing = 0;
let filled = false;

/** What is kept is asked for again: of a revision only the labels that turned are told, of alarms only the newest. */
function refresh() {
  if (refreshing || document.hidden) return;
  refreshing = setTimeout(() => {
    refreshing = 0;
    fill().catch(() => {});
  }, REFRESH_MS);
}

async function fill() {
  const [scores, told, open] = await Promise.all([
    api("/api/scores", { stream, limit: WINDOW }),
    api("/api/alarms", { stream }),
    api("/api/alarms", { stream, open: 1 }), // one may be older than all of the newest
  ]);
  scores.frames.reverse().forEach((frame) => {
    rows.take(frame);
    if (frame.picture) pictures.learn(frame);
  });
  // What was raised while this page was not connected is news, too; what was open before it was opened is not.
  const raised = new Map([...told.alarms, ...open.alarms].map((one) => [one.id, one]));
  [...raised.values()].toReversed().forEach(filled ? takeAlarm : (one) => alarms.take(one));
  filled = true;
  mark("panel", "list", "alarms", "state");
}

// What is there.

const acts = new Acts(
  current,
  () => ({ who, detector: health.detector }),
  (frame) => held || hold(frame, "chosen"),
);
const part = el("a", { class: "button quiet", hidden: true }, el("kbd", {}, "Enter"), "Details");
const holding = el(
  "div",
  { class: "holding", hidden: true },
  keyed("L", "Follow the line", follow, { id: "follow" }),
  el("span"),
);

lay(main, { tabs, strip, panel, holding, acts, part, today, look, alarms, timeline });

onKey("a", "acknowledge the alarm shown, else the newest", () => acknowledge());
onKey("l", "follow the line again", follow);
onKey("Escape", "follow the line again", follow);
onKey("ArrowLeft", "the frame before", () => step(-1));
onKey("ArrowRight", "the frame after", () => step(1));
onKey("Enter", "details of the frame", () => !part.hidden && part.click());
look.keys();

document.addEventListener("health", ({ detail }) => {
  health = detail;
  const open = health.streams.filter(mine).reduce((sum, one) => sum + (one.today?.open_alarms ?? 0), 0);
  if (alarms.lacks && open > alarms.open().length) refresh();
  mark("state");
});
setInterval(() => mark("state"), 1000);

hello()
  .then((answer) => {
    who = answer;
    alarms.mayAct = may(who, "operator");
    document.body.dataset.role = who.role;
    mark("state", "alarms");
  })
  .catch((error) => toast(error.message, "error"));

connect({
  streams: stream ? [stream] : [],
  pictures: true,
  onMessage: take,
  onState(state) {
    document.body.dataset.socket = state;
    socketState = state;
    if (state === "open") fill().catch((error) => toast(error.message, "error"));
    mark("state");
  },
});
mark("list");
