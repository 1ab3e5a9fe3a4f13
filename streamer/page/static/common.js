// What every page shares: requests, elements, numbers as text, the verdict's words, dialogues. The frame
// around a page is drawn by shell.js and handed on here.
export { shell, showHealth, lastHealth, streamParam, goto } from "./shell.js";
export { onKey } from "./keys.js";

/**
 * A request that failed: `message` is one line for a person, `code` what went wrong, `status` HTTP's
 * number.
 */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** `path` with those of `params` that say something; text is percent-encoded. */
export function address(path, params = {}) {
  const said = Object.entries(params).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const query = new URLSearchParams(said).toString();
  return query ? `${path}?${query}` : path;
}

async function answerOf(response) {
  const isJson = (response.headers.get("content-type") ?? "").includes("json");
  const said = isJson ? await response.json() : null;
  if (response.ok) return said;
  if (response.status === 401 && location.pathname !== "/login") {
    location.assign(address("/login", { next: location.pathname + location.search }));
  }
  throw new ApiError(
    said?.error ?? `the page's server answered ${response.status}`,
    said?.code,
    response.status,
  );
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new ApiError("the page's server does not answer", "unreachable", 0);
  }
  return answerOf(response);
}

/** GET as JSON. Throws ApiError; a session that ended leads to the login. */
export const api = (path, params) => request(address(path, params), {});

/** POST of JSON, with this session's token against forged requests. Throws ApiError. */
export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  if (path !== "/api/login") headers["x-csrf-token"] = (await hello()).csrf;
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

let greeting = null;

/** Who one is, `{who, role, csrf, read_only, ...}`: asked once a page. */
export function hello() {
  greeting ??= api("/api/hello").catch((error) => {
    greeting = null;
    throw error;
  });
  return greeting;
}

const RANKS = ["viewer", "operator", "admin"];

/** Whether somebody of this role may do what needs `wanted`. */
export const may = (who, wanted) => RANKS.indexOf(who?.role) >= RANKS.indexOf(wanted);

/** Browsers keep pictures for good: an id that comes anew after a restart has a picture, and a time, of its own. */
export const pictureUrl = ({ stream, key, captured, from }) =>
  address("/api/picture", { stream, key, at: captured ?? from });

/** The map of a frame as it is drawn: {grid: Float32Array, rows, cols}, or null where there is none. */
export async function fetchGrid(frame) {
  if (!frame.map) return null;
  const response = await fetch(address("/api/grid", { stream: frame.stream, key: frame.key }));
  if (!response.ok) return null;
  const grid = new Float32Array(await response.arrayBuffer());
  const [rows, cols] = ["x-rows", "x-cols"].map((name) => Number(response.headers.get(name)));
  return grid.length === rows * cols && rows > 0 ? { grid, rows, cols } : null;
}

/** The image at `url`, decoded; null where there is none. */
export async function loadImage(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}

/**
 * An element. Text children become text nodes, so that what others wrote never becomes markup.
 *
 * @param {string} tag
 * @param {object} attrs attributes; `class`, `dataset: {}`, `style: {}` (set by property: the policy forbids
 *   inline styles), `onclick: f`; true sets an attribute without a value, false and null leave it out.
 * @param {...(Node | string | number | null | Array)} children
 */
export function el(tag, attrs = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "dataset" || name === "style") Object.assign(made[name], value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return made;
}

/** Set only where it changes: an aria-live region is read out again whenever its text is set. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { year: "numeric", month: "short", day: "numeric" });
const whole = new Intl.NumberFormat("en-GB");
const NONE = "–";
const is = (value) => typeof value === "number" && Number.isFinite(value);

/** Three, and more where a score has nothing but noughts there: "0.000 / 0.000" would say nothing. */
function decimals(value) {
  const size = Math.abs(value);
  return size > 0 && size < 0.01 ? Math.min(8, 2 - Math.floor(Math.log10(size))) : 3;
}

/**
 * Numbers and times as text, "–" for what is not known. Times are milliseconds since 1970, shown in local
 * time.
 */
export const fmt = {
  score: (value) => (is(value) ? value.toFixed(decimals(value)) : NONE),
  time: (ms) => (is(ms) ? clock.format(ms) : NONE),
  day: (ms) => (is(ms) ? date.format(ms) : NONE),
  /** When, as short as it can be: on the day of `beside`, today if none is named, by its time alone. */
  moment: (ms, beside = Date.now()) =>
    fmt.day(ms) === fmt.day(beside) ? fmt.time(ms) : is(ms) ? `${fmt.day(ms)} ${fmt.time(ms)}` : NONE,
  count: (value) => (is(value) ? whole.format(value) : NONE),
  percent: (share) => (is(share) ? `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %` : NONE),
  /** How long ago `ms` was, or how long `from` to `ms`. */
  ago: (ms, now = Date.now()) => (is(ms) ? `${fmt.span(Math.max(0, now - ms))} ago` : NONE),
  span(ms) {
    const s = ms / 1000;
    if (s < 10) return `${s.toFixed(1)} s`;
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  },
};

const VERDICTS = {
  bad: { word: "NOT OK", sign: "✕", cls: "bad" },
  good: { word: "OK", sign: "✓", cls: "good" },
  learning: { word: "LEARNING", sign: "…", cls: "learning" },
  none: { word: "NO VERDICT", sign: "–", cls: "none" },
};

/** What a label says: {word, sign, cls}; `cls` is a class of style.css. */
export function wordOf(label, state) {
  if (label === true) return VERDICTS.bad;
  if (label === false) return VERDICTS.good;
  return state === "warmup" ? VERDICTS.learning : VERDICTS.none;
}

export const verdict = (frame) => (frame ? wordOf(frame.label, frame.state) : VERDICTS.none);

/** The verdict a frame was given first, where it is another now; else null. */
export function firstVerdict(frame) {
  const first = frame?.first;
  if (!first || first.label === null || first.label === undefined || first.label === frame.label) return null;
  return wordOf(first.label);
}

/** What a person calls a frame: the part's number, else its id. */
export const nameOf = ({ part_id: part, frame_id: id }) =>
  part?.trim() ? `part ${isolated(part)}` : isolated(String(id));

// Written from right to left, or turned round on purpose: kept from the numbers that stand beside it.
const TURNS = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff]/;
const isolated = (text) => (TURNS.test(text) ? `\u2068${text}\u2069` : text);

/**
 * A line that goes by itself.
 *
 * @param {string} text
 * @param {"ok" | "error"} kind errors stay until they are closed.
 * @param {{label: string, run: () => void}} [action] a button in it.
 */
export function toast(text, kind = "ok", action = null) {
  let place = document.querySelector("#toasts");
  if (!place)
    document.body.append((place = el("div", { id: "toasts", role: "status", "aria-live": "polite" })));
  const close = () => line.remove();
  const line = el(
    "div",
    { class: `toast ${kind}` },
    el("span", {}, text),
    action && el("button", { type: "button", onclick: () => (close(), action.run()) }, action.label),
    el("button", { type: "button", class: "quiet", "aria-label": "close", onclick: close }, "×"),
  );
  place.append(line);
  while (place.children.length > 4) place.firstChild.remove();
  if (kind !== "error") setTimeout(close, action ? 12_000 : 5_000);
}

let fields = 0;

function field({ name, label, type = "text", value = "", options = [], hint, ...rest }) {
  const id = `field-${name}-${(fields += 1)}`;
  let input;
  if (type === "select") {
    const entries = options.map((option) => (Array.isArray(option) ? option : [option, option]));
    input = el(
      "select",
      { id, name, ...rest },
      entries.map(([key, text]) => el("option", { value: key }, text)),
    );
    input.value = value;
  } else if (type === "textarea")
    input = el("textarea", { id, name, rows: 3, maxlength: 2000, ...rest }, value);
  else if (type === "checkbox") input = el("input", { id, name, type, checked: Boolean(value), ...rest });
  else input = el("input", { id, name, type, value, maxlength: 200, autocomplete: "off", ...rest });
  const text = el("label", { for: id }, label);
  return el("div", { class: `field ${type}` }, text, input, hint && el("p", { class: "hint" }, hint));
}

/**
 * A dialogue; Esc and Cancel leave it, the focus stays in it and goes back after.
 *
 * @param {string} title
 * @param {object[]} entries {name, label, type: text|number|textarea|select|checkbox, value, options,
 *   required, hint}
 * @param {object} [more] {text: a line above, confirm: the button's word, danger: whether it destroys}
 * @returns {Promise<object | null>} the values by name, or null.
 */
export function ask(title, entries = [], { text = "", confirm = "OK", danger = false } = {}) {
  const before = document.activeElement;
  return new Promise((resolve) => {
    let values = null;
    const form = el(
      "form",
      { method: "dialog" },
      el("h2", { id: "ask-title" }, title),
      text && el("p", {}, text),
      entries.map(field),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
        el("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm),
      ),
    );
    form.addEventListener("submit", () => {
      values = {};
      for (const { name, type } of entries) {
        const input = form.elements.namedItem(name);
        if (type === "checkbox") values[name] = input.checked;
        else if (type === "number") values[name] = input.value === "" ? null : Number(input.value);
        else values[name] = input.value.trim();
      }
    });
    const dialog = el("dialog", { "aria-labelledby": "ask-title" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus?.();
      resolve(values);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
