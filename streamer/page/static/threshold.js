// The threshold of a stream: where it lies among the scores of the window, and what another one would change.
// Counted here while the line is dragged; what the detector answers to a preview is what counts.

import { action, reason, watch, whoami, why } from "./actions.js";
import { showBetween } from "./between.js";
import { address, api, ask, el, fmt, post, shell, streamParam, toast } from "./common.js";
import { empty, failed } from "./frames.js";
import { draggable, draw as drawHistogram, flips, span } from "./histogram.js";
import { follow, inTurn } from "./watching.js";
import { changesOf } from "./threshold_changes.js";
import { legend, reviewedWords, ruleFields } from "./threshold_form.js";

const STEPS = 1000;
const INSET = 13; // half the slider's thumb: its middle lies under the line
const PREVIEW_AFTER_MS = 200;
const FRESH_AFTER_MS = 10_000;

const main = shell("threshold");
const view = {};
const state = { stream: "", told: null, value: null, rule: "fixed", answer: null, asked: 0, timer: 0 };

const plural = (n, word) => `${fmt.count(n)} ${word}${n === 1 ? "" : "s"}`;
const number = (value) => (value === null || value === undefined ? "none yet" : fmt.score(value));

// What the page says

function now() {
  const { told } = state;
  const parts = [`${told.rule ?? state.rules.get(state.stream) ?? "rule unknown"} → ${number(told.threshold)}`];
  const how = [
    told.since ? `since ${fmt.day(told.since)} ${fmt.time(told.since)}` : "",
    told.who ? `by ${told.who}` : "",
  ].filter(Boolean);
  if (how.length) parts.push(` (${how.join(", ")})`);
  view.now.replaceChildren("now: ", el("strong", {}, parts[0]), parts[1] ?? "");
  view.why.textContent = told.why ? `why: ${told.why}` : "";
}

/** What the line would change: counted here at once, and put right by the detector's answer. */
function count() {
  const here = flips(state.told.scores, lineValue() ?? Infinity);
  const { answer } = state;
  const [up, down] = answer
    ? [answer.n_to_anomalous, answer.n_to_normal]
    : [here.toAnomalous.length, here.toNormal.length];
  view.flips.dataset.toAnomalous = String(up);
  view.flips.dataset.toNormal = String(down);
  view.flips.dataset.by = answer ? "detector" : "page";
  view.flips.textContent = `would flip: ${plural(up, "more alarm")}, ${fmt.count(down)} fewer`;
  view.source.textContent = answer ? "says the detector" : state.failure || "counted here; the detector is asked ...";
  view.reviewed.replaceChildren(...reviewedWords(here));
  return here;
}

/** Where the line is: the slider's, or where the rule chosen would put it, once the detector has said so. */
function lineValue() {
  if (state.rule === "fixed") return state.value;
  return state.answer?.after.threshold ?? null;
}

function redraw() {
  const line = lineValue();
  if (state.rule !== "fixed" && line !== null) view.slider.value = String(line); // keys go on from there
  view.value.textContent = line === null ? "..." : fmt.score(line);
  view.slider.setAttribute("aria-valuetext", fmt.score(line));
  drawHistogram(view.canvas, {
    scores: state.told.scores,
    low: state.low,
    high: state.high,
    now: state.told.threshold,
    value: line,
    learned: null,
    inset: INSET,
  });
  const here = count();
  view.apply.classList.toggle("primary", !unchanged());
  showBetween(view.between, state.stream, here, line);
}

const unchanged = () => state.rule === "fixed" && state.told.rule === "fixed" && state.value === state.told.threshold;

// What is asked of the detector

function request(preview) {
  const body = { stream: state.stream, preview };
  if (state.rule === "fixed") return { ...body, value: state.value };
  if (state.rule === "auto") return { ...body, rule: "auto", false_alarms: share() };
  return { ...body, rule: state.rule };
}

/** The share of normal frames that `auto` may call anomalous, 0 to 0.15, from a field in per cent. */
function share() {
  const percent = Number(view.share.value);
  if (view.share.value === "" || !(percent > 0 && percent < 15)) {
    throw new Error(
      `false alarms: got ${view.share.value || "nothing"}, expected more than 0 and less than 15 per cent`,
    );
  }
  return percent / 100;
}

function soon() {
  state.answer = null;
  state.failure = "";
  state.asked += 1;
  clearTimeout(state.timer);
  state.timer = setTimeout(preview, PREVIEW_AFTER_MS);
  redraw();
}

async function preview() {
  const no = reason({ role: "operator", detector: true });
  const mine = state.asked;
  if (no) {
    state.failure = `counted here: ${no}`;
  } else {
    try {
      const answer = await post("/api/threshold", request(true));
      if (mine !== state.asked) return; // an answer to an older question
      state.answer = answer;
      state.failure = "";
    } catch (error) {
      if (mine !== state.asked) return;
      state.failure = `counted here: ${error.message}`;
    }
  }
  redraw();
}

async function apply() {
  const line = lineValue();
  const told = state.rule === "fixed" ? `a fixed line at ${fmt.score(state.value)}` : `the rule ${state.rule}`;
  request(false); // refuses what cannot be asked before it asks who and why
  const { toAnomalous, toNormal } = view.flips.dataset;
  const fields = [
    { name: "who", label: "who", required: true, maxlength: 80, value: view.me?.who ?? "" },
    { name: "why", label: "why (kept in the shift report)", required: true },
  ];
  const now = state.rule !== "fixed" && line !== null ? `, now ${fmt.score(line)}` : "";
  const text = `Frames are labelled by ${told}${now}: ${plural(Number(toAnomalous), "more alarm")}, ${toNormal} fewer.`;
  const answer = await ask(`Another threshold for ${state.stream}?`, fields, { text, confirm: "Apply" });
  if (!answer) return;
  const done = await post("/api/threshold", { ...request(false), who: answer.who, why: answer.why });
  toast(`The threshold is ${number(done.after.threshold)} (${done.after.rule}).`, "ok");
  await load();
}

// The page

function choose(rule) {
  state.rule = rule;
  for (const radio of main.querySelectorAll('input[name="rule"]')) radio.checked = radio.value === rule;
  soon();
}

/** Moves the line to a share of the scale. */
function slideTo(part) {
  slide(state.low + (Math.round(part * STEPS) / STEPS) * (state.high - state.low));
}

function slide(value) {
  state.value = Math.min(state.high, Math.max(state.low, value));
  view.slider.value = String(state.value);
  choose("fixed");
}

function build(streams) {
  const select = el(
    "select",
    { id: "stream" },
    ...streams.map(({ stream }) => el("option", { value: stream }, stream)),
  );
  select.value = state.stream;
  select.addEventListener("change", () => location.assign(address("/threshold", { stream: select.value })));
  view.now = el("p", { id: "now" });
  view.why = el("p", { class: "muted" });
  view.canvas = el("canvas", { class: "histogram", role: "img" });
  view.slider = el("input", { type: "range", id: "threshold-slider", "aria-label": "threshold" });
  view.slider.addEventListener("input", () => {
    state.value = Number(view.slider.value);
    choose("fixed");
  });
  view.value = el("output", { id: "threshold-value", for: "threshold-slider" });
  view.flips = el("p", { id: "flips", "aria-live": "polite" });
  view.source = el("p", { class: "muted" });
  view.reviewed = el("p", { id: "reviewed" });
  view.between = el("div", { class: "thumbnails", id: "between" });
  view.notes = el("div", {});
  view.apply = action("Apply ...", { id: "apply", role: "admin", detector: true, run: apply });
  const reset = el("button", { type: "button" }, "Back to now");
  reset.addEventListener("click", () => state.told.threshold !== null && slide(state.told.threshold));
  draggable(view.canvas, INSET, slideTo);
  const rules = ruleFields(state.rule, choose);
  view.share = rules.share;
  main.append(
    el(
      "div",
      { class: "title" },
      el("h1", {}, "Threshold"),
      el("label", { class: "field" }, el("span", {}, "stream"), select),
    ),
    view.now,
    view.why,
    el(
      "section",
      { class: "panel" },
      legend(),
      view.canvas,
      view.slider,
      el(
        "div",
        { class: "line-row" },
        view.value,
        el("div", { class: "says" }, view.flips, view.source, view.reviewed),
      ),
      rules.form,
      el("div", { class: "buttons" }, view.apply, reset),
      why({ role: "admin", detector: true }),
    ),
    el("section", { class: "panel" }, el("h2", {}, "Frames between the old line and the new one"), view.between),
    el("section", { class: "panel" }, el("h2", {}, "Changes of the threshold"), view.notes),
  );
  new ResizeObserver(() => state.told && redraw()).observe(view.canvas);
  document.addEventListener("theme", () => state.told && redraw());
  watch(() => state.told && !state.answer && soon(), view.apply);
}

/** The slider over the scores that are there, its line where the threshold is. */
function place(keep) {
  const { told } = state;
  const wanted = span(told.scores, [told.threshold]);
  // While somebody looks for a line the scale only grows: nothing slips away under the hand.
  const [low, high] = keep
    ? [Math.min(state.low, wanted.low), Math.max(state.high, wanted.high)]
    : [wanted.low, wanted.high];
  Object.assign(state, { low, high });
  Object.assign(view.slider, { min: state.low, max: state.high, step: (state.high - state.low) / STEPS });
  if (state.value === null) state.value = told.threshold ?? (state.low + state.high) / 2;
  view.slider.value = String(state.value);
  view.canvas.setAttribute(
    "aria-label",
    `Histogram of ${plural(told.scores.length, "score")} from ${fmt.score(state.low)} to ${fmt.score(state.high)}; the threshold is ${number(told.threshold)}`,
  );
}

/** Reads what there is; with `keep` the line that was dragged stays where it is. */
function load(keep = false) {
  state.anew ||= !keep;
  return read();
}

const read = inTurn(async () => {
  const keep = !state.anew;
  state.anew = false;
  const told = await api("/api/threshold", { stream: state.stream });
  state.told = { ...told, scores: told.scores.filter(({ raw }) => raw !== null) };
  if (!keep) state.value = null;
  place(keep);
  now();
  if (!state.told.scores.length) {
    view.between.replaceChildren(
      empty("No scores of this stream are kept yet.", "The histogram fills as frames are scored."),
    );
  }
  soon();
  changesOf(state.stream)
    .then((list) => view.notes.replaceChildren(list))
    .catch((error) => view.notes.replaceChildren(el("p", {}, error.message)));
});

let freshening = 0;

/** A threshold that somebody set is shown at once; new scores are taken in now and then. */
function heard({ type, word }) {
  const tell = (error) => toast(error.message, "error");
  if (type === "operator" && word.what === "threshold") load().catch(tell);
  if (type === "hello") load(true).catch(tell); // what was said before somebody listened
  if (!["score", "revised"].includes(type) || freshening) return;
  freshening = setTimeout(() => {
    freshening = 0;
    if (!document.hidden) load(true).catch(tell);
  }, FRESH_AFTER_MS);
}

async function start() {
  view.me = await whoami().catch(() => null);
  let streams = [];
  try {
    ({ streams } = await api("/api/streams"));
    state.rules = new Map(streams.map(({ stream, threshold_rule: rule }) => [stream, rule]));
  } catch (error) {
    main.append(failed(error, () => location.reload()));
    return;
  }
  state.stream = streamParam() || streams[0]?.stream || "";
  if (!state.stream) {
    main.append(el("h1", {}, "Threshold"), empty("No stream is known yet.", "A stream is there with its first frame."));
    document.addEventListener("health", ({ detail }) => detail.streams.length && location.reload());
    follow([], null);
    return;
  }
  build(streams.some(({ stream }) => stream === state.stream) ? streams : [...streams, { stream: state.stream }]);
  await load().catch((error) => toast(error.message, "error"));
  follow([state.stream], heard);
}

start();
