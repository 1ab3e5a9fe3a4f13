// What is the matter with detector, camera and connection, in words: the banner of live page and wall.
import { el, fmt, setText } from "./common.js";

/**
 * The gravest thing that keeps what is shown from being the line as it is now; null where nothing does.
 *
 * @param {object | null} detector of a health message.
 * @param {object[]} streams those one looks at, of a health message.
 * @param {"connecting" | "open" | "reconnecting"} socket
 * @param {number} now milliseconds.
 * @returns {{level: "down" | "warn", kind: string, text: string, more: string, since: number | null} | null} `level`
 *   down: nothing that is shown may be taken for the present.
 */
export function situation(detector, streams, socket, now) {
  if (socket === "reconnecting") {
    return { level: "down", kind: "reconnecting", text: "Reconnecting", more: "to the page's server; what is shown is old", since: null };
  }
  if (!detector) return null;
  if (!detector.up) {
    const never = detector.heard === null || detector.heard === undefined;
    const text = never ? "No detector heard yet" : `No detector since ${fmt.time(detector.heard)}`;
    const more = never ? "is it running, and is its address right?" : "frames are not inspected";
    return { level: "down", kind: "detector", text, more, since: never ? detector.since : detector.heard };
  }
  const silent = streams.filter((one) => one.silent && !one.asleep);
  if (silent.length) {
    const names = silent.map((one) => one.stream).join(", ");
    const last = Math.max(...silent.map((one) => one.last_frame ?? 0));
    const more = last ? `last frame at ${fmt.time(last)}` : "no frame yet";
    return { level: "warn", kind: "silent", text: `Camera silent: ${names}`, more, since: last || null };
  }
  if (detector.state === "degraded") {
    return { level: "warn", kind: "degraded", text: "Detector degraded", more: "its history or a snapshot could not be written: look at its log", since: null };
  }
  if (!streams.length) return { level: "warn", kind: "empty", text: "No camera yet", more: "nothing was published to the detector", since: null };
  return null;
}

/** Draws it, or takes it away. What is read out changes only with the matter, not with the seconds. */
export function drawBanner(node, matter, now) {
  node.classList.toggle("shown", Boolean(matter));
  node.classList.toggle("down", matter?.level === "down");
  node.dataset.kind = matter?.kind ?? "";
  if (!matter) return node.replaceChildren();
  if (!node.firstChild) node.append(el("span"), el("small"), el("small", { "aria-live": "off" }));
  const [text, more, span] = node.children;
  setText(text, matter.text);
  setText(more, matter.more);
  setText(span, matter.since ? `for ${fmt.span(Math.max(0, now - matter.since))}` : "");
}

/** What of a stream is worth a small word beside its verdict: [[text, class]...]. */
export function remarks(frame, stream) {
  const said = [];
  if (stream?.asleep) said.push(["asleep on disk, wakes with the next frame", "warn"]);
  else if (stream?.silent) said.push(["camera silent: not the line as it is now", "warn"]);
  if (frame?.state === "degraded") said.push(["degraded: fewer references in time", "warn"]);
  if (frame && frame.state !== "warmup" && (frame.threshold === null || frame.threshold === undefined)) {
    said.push(["threshold unset", "warn"]);
  }
  if (frame?.known_defect) said.push([`known defect: ${frame.known_defect}`, "bad"]);
  return said;
}

/** How far a ring has filled, " 5 of 8", "" where it has. */
export const learned = (stream) => (stream?.warmup ? ` ${stream.warmup[0]} of ${stream.warmup[1]}` : "");
