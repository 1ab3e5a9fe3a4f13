<<<<<<< HEAD
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
    what: frame.final ? "final" : frame.revision ? `revised ${fmt.count(frame.revision)} times` : "not revised yet",
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
=======
// What an operator tells of a frame: a false alarm, a defect, a reference for good, out of the ring.
import { ask, nameOf, post, toast } from "./common.js";

const where = ({ stream, key }) => ({ stream, key });

/** Does it; what was refused is said in one line. Returns the answer, or null. */
async function told(path, body, done, action = null) {
  try {
    const answer = await post(path, body);
    if (done) toast(done, "ok", action);
    return answer ?? {};
  } catch (error) {
    toast(error.message, "error");
    return null;
  }
}

export async function falseAlarm(frame) {
  const name = nameOf(frame);
  const wrong = { label: "It is a defect", run: () => defect(frame) };
  const answer = await told("/api/operate", { kind: "false_alarm", ...where(frame) }, `${name}: known good from now on`, wrong);
  if (answer) await told("/api/review", { ...where(frame), decision: "good", note: "false alarm" });
}

export async function defect(frame) {
  const said = await ask(
    `${nameOf(frame)} is a defect`,
    [
      { name: "kind", label: "Kind of defect", hint: "scratch, dent, stain: counted in the shift's report", maxlength: 80 },
      { name: "note", label: "Note", type: "textarea" },
    ],
    { confirm: "It is a defect", text: "The detector calibrates its threshold on it." },
  );
  if (!said) return;
  const body = { ...where(frame), decision: "defect", confirm: true, ...(said.kind && { kind: said.kind }), ...(said.note && { note: said.note }) };
  await told("/api/review", body, `${nameOf(frame)}: a defect${said.kind ? `, ${said.kind}` : ""}`);
}

export async function pin(frame) {
  const undo = { label: "Undo", run: () => told("/api/operate", { kind: "unpin", ...where(frame) }, `${nameOf(frame)}: no longer pinned`) };
  await told("/api/operate", { kind: "pin", ...where(frame) }, `${nameOf(frame)}: pinned as a good reference`, undo);
}

export async function forget(frame) {
  const sure = await ask(`Forget ${nameOf(frame)}?`, [], {
    text: "It leaves the ring: nothing is compared with it any more. This cannot be undone.",
    confirm: "Forget",
    danger: true,
  });
  if (sure) await told("/api/operate", { kind: "forget", ...where(frame) }, `${nameOf(frame)}: out of the ring`);
}

export const acknowledge = (alarm) => told("/api/ack", { id: alarm.id });
>>>>>>> w_4
