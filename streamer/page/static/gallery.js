// The gallery: frames as cards, filtered, sorted, reviewed by keys. A page of cards at a time, so that the tab
// stays small whatever the store holds; what is asked for is in the address, so that it can be passed on.

import { action, review, watch, whoami, reason, why } from "./actions.js";
import { address, api, el, fmt, nameOf, shell, toast } from "./common.js";
import { asked, fromAddress, isFiltered, toolbar } from "./filters.js";
import { empty, failed } from "./frames.js";
import { cardOf } from "./gallery_card.js";
import { onKey } from "./keys.js";
import { follow } from "./watching.js";

const PER_PAGE = 48;
const main = shell("gallery");
const state = { filters: {}, cursors: [null], page: 0, frames: [], total: 0, fresh: 0, asked: null };
const view = {};

/** Asks anew from the first page, with these filters changed. */
function changed(part = {}) {
  Object.assign(state.filters, part);
  Object.assign(state, { cursors: [null], page: 0 });
  return load();
}

// Cards

const card = (frame) => cardOf(frame, { ticked: selected, opened: keepOrder, focused });

const cards = () => [...view.cards.children];
const current = () =>
  document.activeElement?.closest?.(".card") ?? view.cards.querySelector('.card a[tabindex="0"]')?.closest(".card");
const ticked = () => cards().filter((item) => item.querySelector("input").checked);

/** One stop of the Tab key in the whole list; arrows move within it. */
function focused(link) {
  for (const other of view.cards.querySelectorAll('a[tabindex="0"]')) other.tabIndex = -1;
  link.tabIndex = 0;
}

function selected() {
  const n = ticked().length;
  for (const item of cards()) item.classList.toggle("ticked", item.querySelector("input").checked);
  view.selection.textContent = n ? `${fmt.count(n)} selected` : "";
  view.clear.hidden = !n;
}

function tickAll(wanted) {
  for (const item of cards()) item.querySelector("input").checked = wanted;
  selected();
}

/** The part page moves on in the order of this list. */
function keepOrder() {
  try {
    sessionStorage.setItem("order", JSON.stringify(state.frames.map(({ stream, key }) => [stream, key])));
    sessionStorage.setItem("list", location.pathname + location.search);
  } catch {
    // Storage forbidden: the part page has no next one.
  }
}

async function move(step) {
  const all = cards();
  if (!all.length) return;
  const at = all.indexOf(current());
  const focusedOne = document.activeElement?.closest?.(".card");
  const next = focusedOne ? at + step : Math.max(at, 0);
  if (next >= all.length && step === 1 && state.next) return void (await turn(1, 0));
  if (next < 0 && step === -1 && state.page) return void (await turn(-1, -1));
  all[Math.min(Math.max(next, 0), all.length - 1)].querySelector("a").focus();
}

/** How many cards lie side by side. */
function columns() {
  const all = cards();
  const first = all[0]?.offsetTop;
  const n = all.findIndex((item) => item.offsetTop !== first);
  return n < 1 ? all.length : n;
}

// Loading

async function load() {
  const { filters } = state;
  const ask = { ...asked(filters), cursor: state.cursors[state.page], limit: PER_PAGE };
  const mine = (state.asked = JSON.stringify(ask));
  history.replaceState(
    null,
    "",
    address("/gallery", { ...filters, sort: filters.sort === "time" ? "" : filters.sort }),
  );
  view.tools.exportLink.href = address("/api/export.csv", asked(filters));
  view.cards.setAttribute("aria-busy", "true");
  try {
    const answer = await api("/api/scores", ask);
    if (state.asked !== mine) return; // asked for something else meanwhile
    state.frames = answer.frames;
    state.total = answer.total;
    state.next = answer.next;
    state.fresh = 0;
    draw();
  } catch (error) {
    if (state.asked === mine) view.empty.replaceChildren(failed(error, load));
  } finally {
    if (state.asked === mine) view.cards.removeAttribute("aria-busy");
  }
}

function draw() {
  const { frames, total, page } = state;
  view.cards.replaceChildren(...frames.map(card));
  view.cards.querySelector("a")?.setAttribute("tabindex", "0");
  view.empty.replaceChildren(...(frames.length ? [] : [nothing()]));
  view.count.textContent = total ? `${fmt.count(total)} ${total === 1 ? "frame" : "frames"}` : "";
  const pages = Math.max(1, Math.ceil(total / PER_PAGE));
  view.pages.textContent = `page ${page + 1} of ${Math.max(pages, page + 1)}`;
  view.before.disabled = page === 0;
  view.after.disabled = !state.next;
  view.pager.hidden = pages < 2 && page === 0;
  view.fresh.hidden = true;
  selected();
}

function nothing() {
  if (!isFiltered(state.filters)) {
    return empty(
      "No frame has been scored yet.",
      "Frames appear here as soon as the detector scores them. Send some with: python -m streamer.publish --source DIR --stream line-1",
    );
  }
  return empty("No frame matches.", "Take a filter away, or look at every day.", {
    href: "/gallery",
    text: "Show all frames",
  });
}

async function turn(step, focus) {
  if (step > 0) {
    if (!state.next) return;
    state.cursors[state.page + 1] = state.next;
  }
  state.page = Math.max(0, state.page + step);
  await load();
  scrollTo(0, 0);
  if (focus !== undefined) cards().at(focus)?.querySelector("a").focus();
}

// Reviewing

function decide(decision, sign, key, label) {
  return action(`${sign} ${label}`, {
    key,
    cls: decision,
    id: `review-${decision}`,
    run: async () => {
      const chosen = ticked().length ? ticked() : [current()].filter(Boolean);
      if (!chosen.length) return toast("Choose a frame first: J and K move, X selects.", "error");
      const confirm = view.confirm.checked && !reason({ detector: true });
      for (const item of chosen) {
        const kept = await review(item.frame, decision, { confirm });
        tell(
          item.frame.stream,
          item.frame.key,
          kept.review ?? { decision, at: Date.now(), kind: null, who: null, note: null },
        );
      }
      toast(
        chosen.length === 1
          ? `${nameOf(chosen[0].frame)}: ${decision}`
          : `${fmt.count(chosen.length)} frames: ${decision}`,
        "ok",
      );
      if (chosen.length === 1) return move(1);
      tickAll(false);
      return undefined;
    },
  });
}

/** A card drawn anew in its place, with its focus and its tick. */
function put(frame) {
  const item = cards().find((one) => one.dataset.key === frame.key && one.dataset.stream === frame.stream);
  if (!item) return false;
  const [had, tick, stop] = [
    item.contains(document.activeElement),
    item.querySelector("input").checked,
    item.querySelector("a").tabIndex,
  ];
  const fresh = card(frame);
  const [old, made] = [item.querySelector(".picture"), fresh.querySelector(".picture")];
  const same =
    item.frame.picture === frame.picture && item.frame.threshold === frame.threshold && item.frame.raw === frame.raw;
  if (same && old.matches(".drawn, .blank")) made.replaceWith(old); // nothing to fetch again
  fresh.querySelector("input").checked = tick;
  fresh.querySelector("a").tabIndex = stop;
  item.replaceWith(fresh);
  if (had) fresh.querySelector("a").focus();
  selected();
  return true;
}

function tell(stream, key, what) {
  const item = cards().find((one) => one.dataset.key === key && one.dataset.stream === stream);
  if (item) put({ ...item.frame, review: what });
}

function heard(message) {
  if (message.type === "review") return tell(message.stream, message.key, message.review);
  if (message.type === "picture") {
    const item = cards().find((one) => one.dataset.key === message.key && one.dataset.stream === message.stream);
    return item && put({ ...item.frame, picture: true });
  }
  if (message.type === "revised") return message.flips.forEach(put);
  if (message.type === "score" && !put(message.frame)) {
    const { stream } = state.filters;
    if (stream && stream !== message.frame.stream) return undefined;
    state.fresh += 1;
    view.fresh.textContent = `${fmt.count(state.fresh)} new: show`;
    view.fresh.hidden = false;
  }
  return undefined;
}

// The page

function bar() {
  view.count = el("p", { id: "count", "aria-live": "polite" });
  view.selection = el("p", { class: "selection", "aria-live": "polite" });
  view.clear = el("button", { type: "button", class: "quiet" }, "clear");
  view.clear.addEventListener("click", () => tickAll(false));
  view.fresh = el("button", { type: "button", class: "fresh" }, "");
  view.fresh.addEventListener("click", () => changed());
  view.confirm = el("input", { type: "checkbox", id: "confirm" });
  const label = el("label", { class: "tick" }, view.confirm, " tell the detector too");
  watch(() => {
    label.title = reason({ detector: true }) || "It labels the frame so from now on, and sets its threshold by it.";
    view.confirm.disabled = Boolean(reason({ detector: true }));
  }, label);
  view.decisions = [
    decide("defect", "✕", "D", "defect"),
    decide("good", "✓", "G", "good"),
    decide("unsure", "?", "U", "unsure"),
  ];
  return el(
    "div",
    { class: "bar" },
    view.count,
    view.fresh,
    el("span", { class: "space" }),
    view.selection,
    view.clear,
    ...view.decisions,
    label,
    why({}),
  );
}

function pager() {
  [view.before, view.after] = [
    ["Previous page", -1],
    ["Next page", 1],
  ].map(([text, step]) => {
    const button = el("button", { type: "button" }, text);
    button.addEventListener("click", () => turn(step));
    return button;
  });
  view.pages = el("span", { class: "pages" });
  view.pager = el("nav", { class: "pager", "aria-label": "pages of frames" }, view.before, view.pages, view.after);
  return view.pager;
}

function bindKeys() {
  onKey("j", "next frame", () => move(1));
  onKey("k", "previous frame", () => move(-1));
  onKey("ArrowRight", "next frame", () => move(1));
  onKey("ArrowLeft", "previous frame", () => move(-1));
  onKey("ArrowDown", "frame below", () => move(columns()));
  onKey("ArrowUp", "frame above", () => move(-columns()));
  onKey("Enter", "open the frame", () => current()?.querySelector("a").click());
  onKey("x", "select the frame", tick);
  onKey("ctrl+a", "select all frames of the page", () => tickAll(ticked().length < cards().length));
  onKey("d", "it shows a defect", () => view.decisions[0].perform());
  onKey("g", "it is good", () => view.decisions[1].perform());
  onKey("u", "unsure", () => view.decisions[2].perform());
  onKey("e", "export what is filtered as CSV", () => view.tools.exportLink.click());
  onKey("/", "search a part or frame id", () => view.tools.search.focus());
}

function tick() {
  const box = current()?.querySelector("input");
  if (!box) return;
  box.checked = !box.checked;
  selected();
}

async function start() {
  state.filters = fromAddress();
  const [{ streams }] = await Promise.all([
    api("/api/streams").catch(() => ({ streams: [] })),
    whoami().catch(() => null),
  ]);
  view.cards = el("ul", { id: "cards", class: "cards", "aria-label": "frames" });
  view.cards.addEventListener("keydown", (event) => {
    if (event.key !== " " || !event.target.matches("a.open")) return;
    event.preventDefault();
    tick();
  });
  view.empty = el("div", {});
  view.tools = toolbar(state.filters, streams, changed);
  main.append(el("h1", {}, "Gallery"), view.tools.form, bar(), view.cards, view.empty, pager());
  bindKeys();
  await load();
  follow([], heard);
}

start();
