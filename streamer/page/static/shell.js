// The frame around every page: where one is, whether the detector and the cameras live, the clock, theme and
// text size.
import { api, ask, el, fmt, hello, post, setText } from "./common.js";
import * as keyboard from "./keys.js";

const PAGES = [
  ["live", "Live"],
  ["gallery", "Gallery"],
  ["threshold", "Threshold"],
  ["events", "Events"],
  ["report", "Shift"],
  ["health", "Health"],
  ["wall", "Wall"],
];
const OF_A_STREAM = new Set(["live", "gallery", "threshold", "events", "report", "wall"]);
const POLL_MS = 5_000;
const SIZES = ["1", "2", "3"];

/** The stream in the address, "" for all. */
export const streamParam = () => new URLSearchParams(location.search).get("stream") ?? "";

/** A page's address with the stream one looks at. */
export function goto(page, params = {}) {
  const stream = streamParam();
  const query = new URLSearchParams(
    stream && OF_A_STREAM.has(page) ? { stream, ...params } : params,
  ).toString();
  return `/${page}${query ? `?${query}` : ""}`;
}

let parts = null;
let heard = 0; // when the last word on health came, by the monotonic clock
let health = { detector: null, streams: [] };

/** What was last said of detector and streams, {detector, streams}; `detector` is null before that. */
export const lastHealth = () => health;

/**
 * Draws header, navigation, keys and the place for the banner.
 *
 * @param {string} active name of the page: "live", "gallery", ...
 * @returns {HTMLElement} the page's `<main>`.
 */
export function shell(active) {
  const state = el("div", { class: "states", "aria-label": "state of the line" });
  const time = el("time", { class: "clock" });
  const links = PAGES.map(([page, name]) =>
    el("a", { href: goto(page), "aria-current": page === active ? "page" : null }, name),
  );
  const header = el(
    "header",
    { id: "header" },
    el("a", { class: "skip", href: "#main" }, "Skip to the page"),
    el("a", { class: "brand", href: goto("live") }, "musc-online"),
    el("nav", { "aria-label": "pages" }, links),
    state,
    el("div", { class: "tools" }, time, themeButton(), sizeButton(), keysButton(), leaveButton()),
  );
  const banner = el("div", { id: "banner", role: "alert" });
  const main = el("main", { id: "main", tabindex: "-1" });
  document.body.prepend(header, banner, main);
  // On a narrow screen the pages scroll sideways: where one is should be seen.
  header.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  parts = { state, time, banner, chips: new Map() };
  keyboard.onKey("?", "the keys", showKeys);
  setInterval(tick, 1000);
  tick();
  poll();
  return main;
}

function tick() {
  setText(parts.time, fmt.time(Date.now()));
  drawStates();
}

async function poll() {
  // Pages with a socket hear of it there.
  if (!heard || performance.now() - heard > POLL_MS) {
    try {
      showHealth(await api("/api/streams"));
    } catch {
      // The next will tell; a socket's page says "reconnecting".
    }
  }
  setTimeout(poll, POLL_MS);
}

/**
 * What `/api/streams` or a `health` message says: drawn in the header, and told to the page as the event
 * `health`.
 */
export function showHealth({ detector, streams }) {
  heard = performance.now();
  health = { detector, streams: streams ?? [] };
  document.body.dataset.detector = detector?.up ? "up" : "down";
  if (parts) drawStates();
  document.dispatchEvent(new CustomEvent("health", { detail: health }));
}

function chip(name, level, text, title = "") {
  let made = parts.chips.get(name);
  if (!made) {
    made = el("span", { class: "chip" }, el("i", { "aria-hidden": "true" }), el("span"));
    parts.chips.set(name, made);
    parts.state.append(made);
  }
  made.hidden = text === null;
  made.dataset.level = level;
  made.title = title;
  setText(made.lastChild, text ?? "");
}

function drawStates() {
  const { detector, streams } = health;
  if (!detector) return;
  const up = detector.up;
  const word = up ? (detector.state ?? "ready") : `no detector for ${fmt.span(Date.now() - (detector.heard ?? detector.since))}`;
  chip(
    "detector",
    !up ? "bad" : word === "ready" ? "good" : "warn",
    up ? `detector ${word}` : word,
    detector.model_id,
  );
  const name = streamParam();
  const shown = name ? streams.filter((one) => one.stream === name) : streams;
  const last = Math.max(...shown.map((one) => one.last_frame ?? 0), 0);
  const silent = shown.filter((one) => one.silent).length;
  const camera =
    name || shown.length === 1
      ? "camera"
      : silent
        ? `${silent} of ${shown.length} cameras silent,`
        : "cameras";
  chip("camera", silent ? "warn" : last ? "good" : "", last ? `${camera} ${fmt.ago(last)}` : "no frame yet");
  const rate = shown.reduce((sum, one) => sum + (one.fps_scored ?? 0), 0);
  chip("rate", "", `${rate.toFixed(1)}/s`, "frames scored a second, over the last minute");
  const one = shown.length === 1 ? shown[0] : null;
  const learning = one?.warmup ? ` learning ${one.warmup[0]} of ${one.warmup[1]}` : "";
  chip(
    "ring",
    "",
    one ? `ring ${one.images}/${one.capacity}${learning}` : null,
    "frames that new ones are compared with",
  );
}

function kept(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Storage forbidden: it holds for this page.
  }
}

function themeButton() {
  const root = document.documentElement;
  const dark = () =>
    (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) ===
    "dark";
  const turn = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    kept("theme", root.dataset.theme);
    document.dispatchEvent(new CustomEvent("theme"));
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    document.dispatchEvent(new CustomEvent("theme")),
  );
  return el(
    "button",
    {
      type: "button",
      class: "tool",
      id: "theme",
      "aria-label": "light or dark",
      title: "light or dark",
      onclick: turn,
    },
    "☾",
  );
}

function sizeButton() {
  const root = document.documentElement;
  const turn = () => {
    root.dataset.size = SIZES[SIZES.indexOf(root.dataset.size ?? "1") + 1] ?? "1";
    kept("size", root.dataset.size);
  };
  return el(
    "button",
    {
      type: "button",
      class: "tool",
      id: "size",
      "aria-label": "A+: larger text",
      title: "larger text",
      onclick: turn,
    },
    "A+",
  );
}

const keysButton = () =>
  el(
    "button",
    { type: "button", class: "tool", "aria-label": "keys", title: "keys (?)", onclick: showKeys },
    "?",
  );

function leaveButton() {
  const button = el("button", { type: "button", class: "tool who", hidden: true });
  hello()
    .then(({ who, role }) => {
      button.hidden = false;
      button.title = `${who}, ${role}: log out`;
      button.setAttribute("aria-label", `${who}, ${role}: log out`);
      setText(button, who);
      button.addEventListener("click", () => leave(who));
    })
    .catch(() => {});
  return button;
}

async function leave(who) {
  if (!(await ask("Log out?", [], { text: `${who} leaves this browser.`, confirm: "Log out" }))) return;
  await post("/api/logout", {}).catch(() => {});
  location.assign("/login");
}

async function showKeys() {
  if (document.querySelector("dialog[open]")) return;
  const said = keyboard
    .keys()
    .map(({ key, what }) =>
      el("div", {}, el("dt", {}, el("kbd", {}, keyboard.keyName(key))), el("dd", {}, what)),
    );
  const list = el("dl", { class: "keys" }, said);
  const asked = ask(
    "Keys",
    [{ name: "on", label: "Single-letter keys are on", type: "checkbox", value: keyboard.on() }],
    { confirm: "Done" },
  );
  document.querySelector("dialog[open] h2").after(list);
  const answer = await asked;
  if (answer) keyboard.switchKeys(answer.on);
}
