// All that was said of one frame, oldest first: the detector's scores, the operators' words, the page's notes.

import { el, fmt } from "./common.js";
import { mark } from "./frames.js";

const SAID = {
  pin: "pinned as good",
  unpin: "unpinned",
  forget: "taken out of the ring",
  false_alarm: "false alarm: known good",
  confirm: "confirmed",
  accept: "its group accepted as good",
  reject: "its group rejected as a defect",
  review: "reviewed",
  ack: "alarm acknowledged",
};

/**
 * The list of a frame's words.
 * @param frame as `/api/frame` gives it.
 */
export function words(frame) {
  const said = [provisional(frame), ...(frame.words ?? []).map(spoken)];
  if (frame.flipped) said.push({ at: frame.flipped, what: "verdict became", verdict: mark(frame) });
  if (frame.review && !(frame.words ?? []).some(({ what }) => what === "review")) said.push(reviewWord(frame.review));
  said.sort((one, other) => one.at - other.at);
  said.push(last(frame));
  return el("ol", { id: "words", class: "words" }, ...said.map(line));
}

function provisional(frame) {
  const first = frame.first ?? frame;
  return {
    at: first.scored,
    what: "provisional",
    score: first.raw,
    threshold: first.threshold,
    verdict: mark({ ...frame, label: first.label, raw: first.raw, threshold: first.threshold }),
  };
}

function last(frame) {
  return {
    at: null,
    what: frame.final ? "final" : frame.revision ? `revised ${frame.revision === 1 ? "once" : `${fmt.count(frame.revision)} times`}` : "not revised yet",
    score: frame.raw,
    threshold: frame.threshold,
    verdict: mark(frame),
  };
}

const reviewWord = (review) => ({
  at: review.at,
  who: review.who,
  what: `reviewed: ${review.decision}${review.kind ? `, ${review.kind}` : ""}`,
  note: review.note,
});

function spoken({ at, who, what, before, after, note }) {
  if (what === "review" && after?.decision) return reviewWord({ at, who, note, ...after });
  return { at, who, what: SAID[what] ?? what, change: changes(before, after), note };
}

/** What changed, key by key, "pinned: no → yes"; "" where nothing is known. */
export function changes(before, after) {
  if (after === null || after === undefined) return "";
  if (typeof after !== "object") return `${text(before)} → ${text(after)}`;
  return Object.entries(after)
    .filter(([name, value]) => !Array.isArray(value) && text(before?.[name]) !== text(value))
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${text(before?.[name])} → ${text(value)}`)
    .join(", ");
}

/** The same of a threshold; where a word left one that it did not move, that. */
export const thresholdChange = (before, after) =>
  changes(before, after) || (after?.rule ? `${after.rule}, ${fmt.score(after.threshold)} as before` : "");

function text(value) {
  if (value === null || value === undefined) return "none";
  if (value === true) return "yes";
  if (value === false) return "no";
  return typeof value === "number" && !Number.isInteger(value) ? fmt.score(value) : String(value);
}

function line({ at, who, what, score, threshold, verdict, change, note }) {
  const item = el(
    "li",
    {},
    el("time", {}, at ? `${fmt.day(at)} ${fmt.time(at)}` : "now"),
    el("span", { class: "what" }, what, who ? ` by ${who}` : ""),
  );
  const add = (cls, ...children) => item.append(el("span", { class: cls }, ...children));
  if (score !== null && score !== undefined) {
    add("numbers", fmt.score(score), threshold ? ` / ${fmt.score(threshold)}` : "");
  }
  if (verdict) item.append(verdict);
  if (change) add("change", change);
  if (note) add("note", `"${note}"`);
  return item;
}
