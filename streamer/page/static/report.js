// The shift report: what was inspected, what was wrong, what people made of it, what stood still and what was lost.
// It prints on paper as it stands.

import { address, api, el, fmt, shell, toast } from "./common.js";
import { empty, failed, thumbnail } from "./frames.js";
import { SHIFTS, day, local, shift, two } from "./shifts.js";
import { follow } from "./watching.js";
import { thresholdChange } from "./frame_words.js";

const main = shell("report");
const view = {};
const state = { stream: "", from: 0, to: 0 };

const between = ({ from, to }) => {
  const one = fmt.day(from) === fmt.day(to - 1);
  return `${fmt.day(from)} ${fmt.time(from).slice(0, 5)} to ${one ? "" : `${fmt.day(to)} `}${fmt.time(to).slice(0, 5)}`;
};

// What the report says

function tile(name, value, more = "", cls = "") {
  return el(
    "div",
    { class: `tile ${cls}` },
    el("span", { class: "what" }, name),
    el("strong", {}, value),
    more ? el("span", { class: "more" }, more) : "",
  );
}

const share = (part, whole) => (whole ? fmt.percent(part / whole) : "");

function figures(report) {
  const { inspected, anomalous } = report;
  return el(
    "div",
    { class: "tiles" },
    tile("inspected", fmt.count(inspected)),
    tile("✕ NOT OK", fmt.count(anomalous), share(anomalous, inspected), "bad"),
    tile("alarms", fmt.count(report.alarms)),
    tile("revised to OK", fmt.count(report.revised_to_normal), `${fmt.count(report.revised_to_anomalous)} to NOT OK`),
    tile("reviewed", fmt.count(report.reviewed), share(report.reviewed, inspected)),
    tile("false alarms", fmt.count(report.false_alarms), "NOT OK, reviewed good"),
    tile("missed", fmt.count(report.missed), "OK, reviewed defect"),
    tile(
      "lost",
      fmt.count(report.lost),
      report.lost ? "scores that were not kept" : "every score was kept",
      report.lost ? "warn" : "",
    ),
  );
}

/** A table; columns whose name begins with # hold numbers, and are set to the right. */
function table(head, body, cls = "") {
  const names = head.map((name) => name.replace("#", ""));
  const cell = (tag, content, n, more) => {
    const attributes = { ...more, class: head[n].startsWith("#") ? "num" : null };
    return el(tag, attributes, typeof content === "number" ? fmt.count(content) : content);
  };
  const line = (tag, row, more = {}) =>
    el(
      "tr",
      {},
      row.map((content, n) => cell(tag, content, n, more)),
    );
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": names.join(", ") },
    el(
      "table",
      { class: cls },
      el("thead", {}, line("th", names, { scope: "col" })),
      el(
        "tbody",
        {},
        body.map((row) => line("td", row)),
      ),
    ),
  );
}

function hours(report) {
  const most = Math.max(1, ...report.by_hour.map(({ inspected }) => inspected));
  const bar = ({ inspected, anomalous }) => {
    const good = el("span", { class: "part ok" });
    const bad = el("span", { class: "part nok" });
    good.style.width = `${(100 * (inspected - anomalous)) / most}%`;
    bad.style.width = `${(100 * anomalous) / most}%`;
    return el("div", { class: "stack", "aria-hidden": "true" }, bad, good);
  };
  const rows = report.by_hour.map((hour) => [
    `${fmt.time(hour.from).slice(0, 5)}`,
    hour.inspected,
    hour.anomalous,
    share(hour.anomalous, hour.inspected) || "-",
    bar(hour),
  ]);
  return section(
    "By hour",
    rows.length
      ? table(["hour", "#inspected", "#✕ NOT OK", "#share", "inspected, of which NOT OK"], rows, "hours")
      : none("No frame in this time."),
  );
}

const none = (text) => el("p", { class: "muted" }, text);

function section(title, ...content) {
  return el("section", { class: "panel" }, el("h2", {}, title), ...content);
}

function kinds({ kinds: found }) {
  return section(
    "Defects by kind",
    found.length
      ? table(
          ["kind", "#frames"],
          found.map(({ kind, n }) => [kind || "no kind given", n]),
        )
      : none("No defect was reviewed in this time. The kind is typed on a frame's page."),
  );
}

function thresholds({ thresholds: changed }) {
  const rows = changed.map(({ stream, at, who, before, after, why }) => [
    ...whose({ stream }),
    `${fmt.day(at)} ${fmt.time(at)}`,
    who ?? "nobody named",
    thresholdChange(before, after),
    why ?? "",
  ]);
  return section("Changes of the threshold", rows.length ? table([...WHOSE(), "when", "who", "what", "why"], rows) : none("None."));
}

/** Of whom a line is, where the report is of all streams. */
const whose = ({ stream }) => (state.stream ? [] : [stream ?? "every stream"]);
const WHOSE = () => (state.stream ? [] : ["stream"]);

function stops({ stops: stood, inspected }) {
  const rows = stood.map(({ stream, cause, from, to }) => [
    ...whose({ stream: cause === "detector" ? null : stream }),
    cause === "detector" ? "no detector" : "camera silent",
    `${fmt.day(from)} ${fmt.time(from)}`,
    to ? fmt.moment(to, from) : "still",
    fmt.span((to ?? Date.now()) - from),
  ]);
  return section(
    "Stops",
    rows.length
      ? table([...WHOSE(), "what", "from", "to", "how long"], rows)
      : none(inspected ? "None: frames came all the time." : "None is known: no frame came."),
  );
}

function given(report) {
  const rows = [
    ...Object.entries(report.dropped).map(([reason, n]) => ["dropped", reason, n]),
    ...Object.entries(report.refused).map(([code, n]) => ["refused", code, n]),
    ...(report.lost
      ? [["not kept", "scores missed by this page that the detector's history no longer had", report.lost]]
      : []),
  ];
  return section(
    "Not inspected, or not kept",
    rows.length ? table(["what", "why", "#frames"], rows) : none("Nothing was dropped, refused or lost."),
  );
}

function worst({ worst: frames }) {
  return section(
    "Worst scores",
    frames.length
      ? el("div", { class: "thumbnails" }, ...frames.map((frame) => thumbnail(frame)))
      : none("No frame was scored."),
  );
}

function draw(report) {
  view.caption.textContent = `${state.stream || "all streams"}, ${between(state)}`;
  if (!report.inspected && !report.lost && !Object.keys(report.dropped).length) {
    view.body.replaceChildren(
      empty(
        "Nothing was inspected in this time.",
        "Choose another time above; the days that are kept are those of page.yaml.",
      ),
      el("div", { class: "columns" }, thresholds(report), stops(report)),
    );
    return;
  }
  view.body.replaceChildren(
    figures(report),
    el(
      "div",
      { class: "columns" },
      el("div", {}, hours(report), kinds(report)),
      el("div", {}, thresholds(report), stops(report), given(report)),
    ),
    worst(report),
  );
}

// What is asked for

let asked = 0;

async function load() {
  const { stream, from, to } = state;
  asked += 1;
  const mine = asked;
  view.from.value = local(from);
  view.to.value = local(to);
  history.replaceState(null, "", address("/report", { stream, from, to }));
  view.csv.href = address("/api/report.csv", { stream, from, to });
  view.frames.href = address("/gallery", { stream, from, to });
  for (const button of view.presets)
    button.setAttribute("aria-pressed", String(button.range()[0] === from && button.range()[1] === to));
  view.body.setAttribute("aria-busy", "true");
  try {
    const report = await api("/api/report", { stream, from, to });
    if (mine === asked) draw(report);
  } catch (error) {
    if (mine === asked) view.body.replaceChildren(failed(error, load));
  } finally {
    if (mine === asked) view.body.removeAttribute("aria-busy");
  }
}

function chosen() {
  const [from, to] = [view.from, view.to].map((field) => new Date(field.value).getTime());
  if (!(from < to)) return toast("The time ends before it begins: choose a later end.", "error");
  Object.assign(state, { from, to });
  return load();
}

function presets() {
  const ranges = [
    ...SHIFTS.map(([name, start, end]) => [`${name} ${two(start)}-${two(end % 24)}`, () => shift(start, end)]),
    ["today", () => day(0)],
    ["yesterday", () => day(1)],
  ];
  view.presets = ranges.map(([text, range]) => {
    const button = el("button", { type: "button" }, text);
    button.range = range;
    button.addEventListener("click", () => {
      [state.from, state.to] = range();
      load();
    });
    return button;
  });
  return el("div", { class: "presets", role: "group", "aria-label": "times" }, ...view.presets);
}

/** The shift that runs now, where the address names no time. */
function fromAddress() {
  const given = new URLSearchParams(location.search);
  const [from, to] = ["from", "to"].map((name) => Number(given.get(name)));
  const running = SHIFTS.map(([, start, end]) => shift(start, end)).sort((one, other) => other[0] - one[0])[0];
  Object.assign(state, { stream: given.get("stream") ?? "", from: running[0], to: running[1] });
  if (from > 0 && to > from) Object.assign(state, { from, to });
}

async function start() {
  fromAddress();
  const { streams } = await api("/api/streams").catch(() => ({ streams: [] }));
  const names = [...new Set(["", ...streams.map(({ stream }) => stream), state.stream])];
  const select = el(
    "select",
    { id: "stream" },
    ...names.map((name) => el("option", { value: name }, name || "all streams")),
  );
  select.value = state.stream;
  select.addEventListener("change", () => {
    state.stream = select.value;
    load();
  });
  [view.from, view.to] = ["from", "to"].map((id) => el("input", { type: "datetime-local", id }));
  for (const input of [view.from, view.to]) input.addEventListener("change", chosen);
  view.caption = el("p", { class: "caption" });
  view.csv = el("a", { class: "button", id: "csv", download: "" }, "CSV");
  view.frames = el("a", { class: "button" }, "its frames");
  const print = el("button", { type: "button" }, "Print");
  print.addEventListener("click", () => window.print());
  view.body = el("div", { id: "report" });
  const field = (text, input) => el("label", { class: "field" }, el("span", {}, text), input);
  main.append(
    el(
      "div",
      { class: "title" },
      el("h1", {}, "Shift report"),
      view.caption,
      el("div", { class: "links noprint" }, view.frames, view.csv, print),
    ),
    el(
      "div",
      { class: "toolbar noprint" },
      presets(),
      field("from", view.from),
      field("to", view.to),
      field("stream", select),
    ),
    view.body,
  );
  follow([], null);
  await load();
}

start();
