// What may be done to a frame, a group or a stream, by whom and when. An action that cannot be done now stays
// where it is, disabled, with the reason beside it: a button that vanished would teach nobody anything.

import { el, hello, post, toast } from "./common.js";

const RANK = { viewer: 0, operator: 1, admin: 2 };
const MOST_WATCHED = 400; // above it those that are no longer shown are let go
const watched = new Set();
let me = null;

/** Who is signed in, as `/api/hello` says; asked once, and again after a failure. */
export async function whoami() {
  me = await hello();
  refresh();
  return me;
}

/**
 * Why something cannot be done now, as one sentence; "" where it can.
 * @param {{role?: "viewer"|"operator"|"admin", detector?: boolean}} needs the least role, and whether the
 *   detector has to answer.
 */
export function reason({ role = "operator", detector = false } = {}) {
  if (!me) return "Who is signed in is not known yet.";
  if (RANK[me.role] < RANK[role]) {
    return `You are signed in as ${me.role}: this needs the role ${role}.`;
  }
  if (detector && me.read_only) {
    return "The detector takes no words from this page: its key may not control it, or detector.control of page.yaml is wrong.";
  }
  if (detector && document.body.dataset.detector === "down") {
    return "The detector does not answer: what is kept can be read, nothing can be changed.";
  }
  return "";
}

/**
 * A button that does something, or says why not.
 * @param {string} label what it says.
 * @param {{role?: string, detector?: boolean, key?: string, id?: string, cls?: string, run: Function}} options
 *   `key` is shown as its key; `run` may be asynchronous, and what it throws is shown.
 */
export function action(label, options) {
  const button = el("button", { type: "button", class: options.cls ?? "" }, label);
  if (options.id) button.id = options.id;
  if (options.key) button.append(el("kbd", {}, options.key));
  button.addEventListener("click", () => attempt(options, button));
  button.perform = () => attempt(options, button);
  watch(() => {
    button.title = reason(options);
    button.disabled = Boolean(button.title);
  }, button);
  return button;
}

/**
 * A line that says why a group of actions cannot be done now, and is hidden where they can.
 * @param needs as of `reason`.
 * @param [beside] needs of another group of the page, whose line says the same already.
 */
export function why(needs, beside = null) {
  const line = el("p", { class: "why" });
  watch(() => {
    line.textContent = reason(needs);
    line.hidden = !line.textContent || (beside !== null && reason(beside) === line.textContent);
  }, line);
  return line;
}

/** Calls `update` now and whenever role or detector change, as long as `node` is in the document. */
export function watch(update, node) {
  update();
  watched.add({ update, node });
  if (watched.size <= MOST_WATCHED) return;
  for (const entry of watched) if (!entry.node.isConnected && entry.node !== node) watched.delete(entry);
}

async function attempt(options, button) {
  const no = reason(options);
  if (no) return toast(no, "error");
  if (button.getAttribute("aria-busy") === "true") return undefined;
  button.setAttribute("aria-busy", "true");
  try {
    return await options.run();
  } catch (error) {
    return toast(error.message, "error");
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function refresh() {
  for (const entry of watched) entry.update();
}

new MutationObserver(refresh).observe(document.documentElement, {
  attributes: true,
  attributeFilter: ["data-detector"],
  subtree: true,
});

/**
 * Keeps a decision on a frame; with `confirm` the detector is told too, where it is good or a defect. That the
 * detector would not hear of it is told, and does not undo what was kept.
 */
export async function review(frame, decision, { kind = "", note = "", confirm = false } = {}) {
  const body = { stream: frame.stream, key: frame.key, decision };
  if (kind) body.kind = kind;
  if (note) body.note = note;
  if (confirm && decision !== "unsure") body.confirm = true;
  const answer = await post("/api/review", body);
  if (answer.confirm?.ok === false) toast(`Kept here; the detector says: ${answer.confirm.error}`, "error");
  return answer;
}

/** Says an operator's word of a frame or a group to the detector. */
export function operate(stream, kind, more = {}) {
  return post("/api/operate", { stream, kind, ...more });
}
