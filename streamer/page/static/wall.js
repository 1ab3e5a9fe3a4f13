// The wall: a verdict that is read across the hall, its picture and what came before. Nothing to press.
import { api, el, fmt, hello, setText, showHealth, streamParam } from "./common.js";
import { steady, windowScale } from "./heat.js";
import { Panel } from "./panel.js";
import { Pictures } from "./pictures.js";
import { Rows } from "./rows.js";
import { connect } from "./socket.js";
import { drawBanner, situation } from "./states.js";
import { Strip } from "./strip.js";
import { Today } from "./streams.js";

const SHIFTED_MS = 60_000;
const PLACES = [
  [0, 0],
  [6, 3],
  [9, -3],
  [3, -6],
  [-6, -3],
  [-9, 3],
  [-3, 6],
];

const stream = streamParam();
const rows = new Rows(200);
let health = { detector: null, streams: [] };
let socketState = "connecting";
let scale = { low: 0, high: 1 };
let asked = 0;

const mark = () => {
  if (!asked && !document.hidden) asked = requestAnimationFrame(paint);
};
const pictures = new Pictures(mark);
const panel = new Panel(pictures, () => ({ opacity: 0.55, contour: true, ...scale }));
const strip = new Strip();
const today = new Today();
const name = el("h1", {});
const clock = el("time", { class: "clock" });
const banner = el("div", { id: "banner", role: "alert" });
const main = el(
  "main",
  { id: "main" },
  el("header", { class: "wall-head" }, name, clock),
  panel.verdict,
  el("div", { class: "wall-body" }, panel.stage, el("div", { class: "wall-side" }, panel.facts, today.node)),
  strip.node,
);
document.body.append(banner, main);

function paint() {
  asked = 0;
  const now = Date.now();
  const mine = health.streams.filter((one) => !stream || one.stream === stream);
  const matter = situation(health.detector, mine, socketState, now);
  drawBanner(banner, matter, now);
  const frame = rows.last(1, stream)[0] ?? null;
  scale = steady(scale, windowScale(rows.last(200, stream || frame?.stream), frame?.threshold));
  document.body.classList.toggle("away", Boolean(matter?.word));
  panel.show(frame, { stream: mine.find((one) => one.stream === frame?.stream), down: matter?.word });
  strip.show(rows.last(20, stream));
  today.show(mine, 0);
  setText(name, stream || (frame ? frame.stream : "all streams"));
  setText(clock, fmt.time(now));
}

document.addEventListener("visibilitychange", () => {
  asked = 0;
  mark();
});

// What stands still on a panel for months is burnt into it: all of it moves by a few pixels.
let place = 0;
setInterval(() => {
  place = (place + 1) % PLACES.length;
  main.style.translate = PLACES[place].map((by) => `${by}px`).join(" ");
}, SHIFTED_MS);
setInterval(mark, 1000);

document.addEventListener("health", ({ detail }) => {
  health = detail;
  mark();
});

function take(message) {
  const of = message.frame?.stream ?? message.stream;
  if (stream && of !== undefined && of !== stream) return;
  if (message.type === "score") {
    if (message.grid) pictures.putGrid(message.frame, message.grid);
    if (message.frame.picture) pictures.learn(message.frame);
    rows.take(message.frame);
  } else if (message.type === "picture") {
    // Kept also where the score comes behind it.
    if (message.jpeg && !document.hidden) pictures.putImage(message, message.jpeg);
    else pictures.forget(message);
    const frame = rows.get(message.stream, message.key);
    if (frame) pictures.learn(Object.assign(frame, { picture: true }));
  } else if (message.type === "revised") message.flips.forEach((frame) => rows.take(frame));
  mark();
}

async function fill() {
  // Without a word on the detector an old verdict would be taken for the line as it is.
  const [told, { frames }] = await Promise.all([
    api("/api/streams"),
    api("/api/scores", { stream, limit: 200 }),
  ]);
  showHealth(told);
  frames.reverse().forEach((frame) => rows.take(frame));
  mark();
}

hello().catch(() => {}); // a session that ended leads to the login
connect({
  streams: stream ? [stream] : [],
  pictures: true,
  onMessage: take,
  onState(state) {
    document.body.dataset.socket = state;
    socketState = state;
    if (state === "open") fill().catch(() => {});
    mark();
  },
});
mark();
