// Which frames the gallery shows: its filters, as fields, as the address, and as `/api/scores` takes them.

import { el, fmt } from "./common.js";

const DAY_MS = 86_400_000;
const NAMES = ["stream", "day", "date", "from", "to", "verdict", "reviewed", "q", "sort"];
const TYPING_MS = 250;
const DAYS = [
  ["", "every day"],
  ["0", "today"],
  ["1", "yesterday"],
  ["7", "last 7 days"],
  ["on", "on a day ..."],
];
const VERDICTS = [
  ["", "any"],
  ["anomalous", "✕ NOT OK"],
  ["normal", "✓ OK"],
  ["none", "no verdict"],
];
const REVIEWED = [
  ["", "any"],
  ["no", "not yet"],
  ["yes", "reviewed"],
];
const SORTS = [
  ["time", "newest first"],
  ["score", "worst first"],
];

/** The filters that the address of the page names. */
export function fromAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(NAMES.map((name) => [name, given.get(name) ?? ""]));
}

/** Whether they leave frames out. */
export const isFiltered = (filters) => NAMES.some((name) => name !== "sort" && filters[name]);

/** The filters as `/api/scores` takes them: a day becomes its hours, as the clock on the wall has them. */
export function asked({ day, date, from, to, ...rest }) {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const back = (days) => new Date(midnight).setDate(midnight.getDate() - days);
  if (day === "0") return { ...rest, from: back(0) };
  if (day === "1") return { ...rest, from: back(1), to: back(0) };
  if (day === "7") return { ...rest, from: back(6) };
  if (day === "on" && date) {
    const [year, month, number] = date.split("-").map(Number);
    return {
      ...rest,
      from: new Date(year, month - 1, number).getTime(),
      to: new Date(year, month - 1, number + 1).getTime(),
    };
  }
  return { ...rest, from, to };
}

function choice(id, label, options, value, chosen) {
  const select = el(
    "select",
    { id },
    options.map(([key, text]) => el("option", { value: key }, text)),
  );
  select.value = value;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
  select.addEventListener("change", () => chosen({ [id]: select.value }));
  return el("label", { class: "field" }, el("span", {}, label), select);
}

function range({ from, to }) {
  const at = (ms) => `${fmt.day(ms)} ${fmt.time(ms).slice(0, 5)}`;
  const [start, end] = [Number(from), Number(to)];
  if (!end) return `from ${at(start)}`;
  const sameDay = end - start < DAY_MS && fmt.day(start) === fmt.day(end);
  return `${start ? at(start) : "..."} to ${sameDay ? fmt.time(end).slice(0, 5) : at(end)}`;
}

/**
 * The fields of the filters.
 * @param filters as `fromAddress` gives them.
 * @param streams as `/api/streams` gives them.
 * @param {(part: object) => void} changed is told which filters are others now.
 * @returns {{form, search, exportLink}} elements.
 */
export function toolbar(filters, streams, changed) {
  const names = [...new Set([...streams.map(({ stream }) => stream), filters.stream])].filter(Boolean);
  const date = el("input", {
    type: "date",
    id: "date",
    value: filters.date,
    "aria-label": "which day",
    hidden: filters.day !== "on",
  });
  date.addEventListener("change", () => changed({ date: date.value }));
  const dayChosen = ({ day }) => {
    date.hidden = day !== "on";
    if (day === "on" && !date.value) date.focus();
    changed({ day: day === "all" ? "" : day, date: date.value, from: "", to: "" });
  };
  const search = el("input", {
    type: "search",
    id: "search",
    value: filters.q,
    autocomplete: "off",
    spellcheck: "false",
    maxlength: "200",
  });
  let waiting = 0;
  const searched = () => {
    clearTimeout(waiting);
    changed({ q: search.value.trim() });
  };
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(searched, TYPING_MS);
  });
  const exportLink = el("a", { id: "export", class: "button", download: "" }, "Export CSV", el("kbd", {}, "E"));
  const days = filters.from || filters.to ? [["", range(filters)], ["all", "every day"], ...DAYS.slice(1)] : DAYS;
  const form = el(
    "form",
    { class: "toolbar", role: "search", "aria-label": "which frames" },
    choice("stream", "stream", [["", "all streams"], ...names.map((name) => [name, name])], filters.stream, changed),
    choice("day", "day", days, filters.day, dayChosen),
    date,
    choice("verdict", "verdict", VERDICTS, filters.verdict, changed),
    choice("reviewed", "reviewed", REVIEWED, filters.reviewed, changed),
    el("label", { class: "field grow" }, el("span", {}, "part or frame id ", el("kbd", {}, "/")), search),
    choice("sort", "sort", SORTS, filters.sort || "time", changed),
    exportLink,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    searched();
  });
  return { form, search, exportLink };
}
