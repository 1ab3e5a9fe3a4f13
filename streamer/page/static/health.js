// How well the line is watched: the detector, each stream, what was missed, what is on disk.

import { whoami } from "./actions.js";
import { api, el, fmt, setText, shell } from "./common.js";
import { empty, failed } from "./frames.js";
import { CAMERA } from "./states.js";
import { follow } from "./watching.js";

const COLUMNS = [
  "stream",
  "state",
  "ring",
  "last frame",
  "in / scored a s",
  "queue",
  "p50 / p95",
  "✕ today",
  "dropped, refused",
  "threshold",
];
const STATES = {
  ready: ["✓", "good"],
  warmup: ["…", "learning"],
  degraded: ["!", "learning"],
  asleep: ["☾", "none"],
};
const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

const main = shell("health");
const view = { rows: new Map() };
let last = null;

/** Bytes as a person reads them, in powers of 1000. */
function bytes(n) {
  if (n === null || n === undefined) return "–";
  const power = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(n, 1)) / 3)));
  return `${(n / 1000 ** power).toFixed(power ? 1 : 0)} ${UNITS[power]}`;
}

const counts = (of) =>
  Object.entries(of ?? {})
    .filter(([, n]) => n)
    .map(([name, n]) => `${name} ${fmt.count(n)}`);
const plural = (n, word) => `${fmt.count(n)} ${word}${n === 1 ? "" : "s"}`;
const rate = (value) => (Number.isFinite(value) ? value.toFixed(1) : "–");
const ms = (value) => (!Number.isFinite(value) ? "–" : value < 10_000 ? `${Math.round(value)} ms` : fmt.span(value));

// A stream's row

function stateOf(health) {
  const camera = CAMERA[health.camera?.state];
  if (camera) return ["✕", "bad", camera];
  if (health.silent) return ["✕", "bad", "silent"];
  const [sign, cls] = STATES[health.state] ?? ["", "none"];
  const [has, of] = health.warmup ?? [];
  const text = of ? `learning ${has} of ${of}` : health.warmup ? "learning" : health.state;
  return [sign, cls, health.asleep ? "asleep" : text];
}

function cells(health) {
  const given = [...counts(health.dropped), ...counts(health.refused)];
  const more = health.quarantined ? ` + ${fmt.count(health.quarantined)} apart` : "";
  return [
    `${fmt.count(health.images)} / ${fmt.count(health.capacity)}${more}`,
    health.last_frame ? fmt.ago(health.last_frame) : "none yet",
    `${rate(health.fps_in)} / ${rate(health.fps_scored)}`,
    fmt.count(health.queued),
    `${ms(health.p50_ms)} / ${ms(health.p95_ms)}`,
    `${fmt.count(health.today?.anomalous ?? 0)} of ${fmt.count(health.today?.inspected ?? 0)}`,
    given.join(", ") || "none",
    health.threshold === null ? "none yet" : `${fmt.score(health.threshold)} ${health.threshold_rule ?? ""}`,
  ];
}

/** A row is made once and then only its texts change: the page lives for days, several times a second. */
function row(health) {
  const name = el(
    "th",
    { scope: "row" },
    el("a", { href: `/live?stream=${encodeURIComponent(health.stream)}` }, health.stream),
  );
  const state = el("td", {}, el("span", { class: "badge" }, el("span", { "aria-hidden": "true" }), el("span", {})));
  const rest = cells(health).map((_, n) => el("td", { "data-label": COLUMNS[n + 2] }));
  state.dataset.label = "state";
  return { node: el("tr", { "data-stream": health.stream }, name, state, ...rest), badge: state.firstChild, rest };
}

function drawStreams(streams) {
  for (const health of streams) {
    if (!view.rows.has(health.stream)) {
      const made = row(health);
      view.rows.set(health.stream, made);
      view.body.append(made.node);
    }
    const { node, badge, rest } = view.rows.get(health.stream);
    const [sign, cls, text] = stateOf(health);
    badge.className = `badge ${cls}`;
    setText(badge.firstChild, sign);
    setText(badge.lastChild, text);
    cells(health).forEach((words, n) => setText(rest[n], words));
    node.classList.toggle("alert", health.silent);
  }
  for (const [stream, { node }] of view.rows) {
    if (streams.some((health) => health.stream === stream)) continue;
    node.remove();
    view.rows.delete(stream);
  }
  view.none.replaceChildren(
    ...(streams.length
      ? []
      : [
          empty(
            "No stream is open yet.",
            "A stream is there with its first frame: python -m streamer.publish --source DIR --stream line-1",
          ),
        ]),
  );
  view.table.hidden = !streams.length;
}

// The detector and what is on disk

function define(list, pairs) {
  const wanted = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const said = JSON.stringify(wanted);
  if (list.said === said) return;
  list.said = said;
  list.replaceChildren(...wanted.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function drawDetector(detector) {
  const { up } = detector;
  const turned = up ? detector.since : (detector.heard ?? detector.since);
  const since = turned ? ` since ${fmt.day(turned)} ${fmt.time(turned)}` : "";
  define(view.detector, [
    ["detector", `${up ? "✓ answers" : "✕ does not answer"}${since}`],
    ["last heard", detector.heard ? fmt.ago(detector.heard) : "never"],
    ["state", detector.state],
    ["running for", Number.isFinite(detector.uptime_s) ? fmt.span(detector.uptime_s * 1000) : ""],
    ["version", detector.version],
    ["model", detector.model_id],
    ["published", Number.isFinite(detector.published) ? fmt.count(detector.published) : ""],
    ["scores from", detector.scores],
    ["control", detector.read_only ? `${detector.control ?? "none"} (this page may only read)` : detector.control],
  ]);
}

function drawDisk({ snapshot, history }) {
  define(view.disk, [
    [
      "history",
      history
        ? history.failed || `${plural(history.messages, "message")}, ${bytes(history.bytes)}${free(history)}`
        : "not configured: what this page misses while it is down is lost",
    ],
    ["snapshots", snapshot ? snapshotText(snapshot) : "not configured: a restart begins with an empty ring"],
    ["last snapshot", snapshot?.saved_ns ? fmt.ago(snapshot.saved_ns / 1e6) : ""],
    ["journal", snapshot?.journal_bytes ? bytes(snapshot.journal_bytes) : ""],
    ["refused snapshots", snapshot?.refused ? fmt.count(snapshot.refused) : ""],
    ["this page's store", view.me ? view.me.store || "✓ writes" : ""],
  ]);
}

const free = ({ free_bytes: left }) => (Number.isFinite(left) ? `; ${bytes(left)} free` : "");

function snapshotText(snapshot) {
  const { written, failed: failure, failures } = snapshot;
  return (
    failure || `${fmt.count(written)} written${failures ? `, ${fmt.count(failures)} failed` : ""}${free(snapshot)}`
  );
}

function drawGaps(gaps) {
  const said = JSON.stringify(gaps);
  if (view.gaps.said === said) return;
  view.gaps.said = said;
  if (!gaps.length) {
    view.gaps.replaceChildren(el("p", { class: "muted" }, "None: every message the detector numbered has come."));
    return;
  }
  const lost = gaps.reduce((sum, gap) => sum + gap.lost, 0);
  const body = gaps
    .toReversed()
    .map(({ at, topic, first, last: to, filled, lost: gone }) =>
      el(
        "tr",
        {},
        ...[
          `${fmt.day(at)} ${fmt.time(at)}`,
          topic,
          first === to ? fmt.count(first) : `${fmt.count(first)} to ${fmt.count(to)}`,
          fmt.count(filled),
          fmt.count(gone),
        ].map((text, n) => el("td", { class: n > 2 ? "num" : null }, text)),
      ),
    );
  const head = ["seen", "topic", "numbers", "filled from history", "not kept"].map((text, n) =>
    el("th", { scope: "col", class: n > 2 ? "num" : null }, text),
  );
  view.gaps.replaceChildren(
    el(
      "p",
      { class: lost ? "bad" : "muted" },
      lost
        ? `✕ not kept, since the detector's history no longer had them: ${plural(lost, "message")}.`
        : "✓ All were filled from the detector's history.",
    ),
    el(
      "div",
      { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "gaps" },
      el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)),
    ),
  );
}

function draw() {
  if (!last) return;
  drawStreams(last.streams);
  drawDetector(last.detector);
  drawDisk(last.detector);
  drawGaps(last.detector.gaps ?? []);
}

// The page

function build() {
  view.body = el("tbody", {});
  const head = COLUMNS.map((text) => el("th", { scope: "col" }, text));
  view.table = el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "streams" },
    el("table", { id: "streams", class: "stacked" }, el("thead", {}, el("tr", {}, ...head)), view.body),
  );
  view.none = el("div", {});
  [view.detector, view.disk, view.who] = [0, 1, 2].map(() => el("dl", {}));
  view.gaps = el("div", {});
  const section = (title, ...content) => el("section", { class: "panel" }, el("h2", {}, title), ...content);
  main.append(
    el("h1", {}, "Health"),
    section("Streams", view.table, view.none),
    el(
      "div",
      { class: "columns" },
      el("div", {}, section("Detector", view.detector), section("Signed in", view.who)),
      el("div", {}, section("Kept on disk", view.disk), section("Gaps in what was heard", view.gaps)),
    ),
  );
}

async function start() {
  build();
  document.addEventListener("health", ({ detail }) => {
    last = detail;
    draw();
  });
  setInterval(draw, 1000); // "0.4 s ago" grows although nothing comes
  try {
    last = await api("/api/streams");
    draw();
  } catch (error) {
    view.none.replaceChildren(failed(error, () => location.reload()));
  }
  whoami()
    .then((me) => {
      view.me = me;
      draw();
      return define(view.who, [
        ["who", me.who],
        ["role", me.role],
        ["page", me.version],
        ["may control the detector", me.read_only ? "no" : "yes"],
      ]);
    })
    .catch(() => define(view.who, [["who", "not known: the page's server does not answer"]]));
  follow([], () => {}); // the event "health" is all that is drawn
}

start();
