// What is the matter with detector, camera and connection, in words: the banner of live page and wall.
import { el, fmt, setText } from "./common.js";

/** A camera that gives no frame, in words, by the state that its publisher tells. */
export const CAMERA = { lost: "camera lost", waiting: "waiting for the camera", unknown: "no word of the camera" };

// What stands in the verdict's place: it is not of the present.
const WORDS = { reconnecting: "NO CONNECTION", detector: "NO DETECTOR" };

/**
 * The gravest thing that keeps what is shown from being the line as it is now; null where nothing does.
 *
 * @param {object | null} detector of a health message.
 * @param {object[]} streams those one looks at, of a health message.
 * @param {"connecting" | "open" | "reconnecting"} socket
 * @param {number} now milliseconds.
 * @returns {object | null} `level` "down" (nothing that is shown may be taken for the present) or "warn";
 *   `kind`; `text` and `more` for the banner; `since` milliseconds or null; `word` in the verdict's place or
 *   null.
 */
export function situation(detector, streams, socket, now) {
  const matter = (level, kind, text, more, since = null) => ({
    level,
    kind,
    text,
    more,
    since,
    word: WORDS[kind] ?? null,
  });
  if (socket === "reconnecting") {
    return matter("down", "reconnecting", "Reconnecting", "to the page's server; what is shown is old");
  }
  if (!detector) return null;
  if (!detector.up) return noDetector(detector, matter);
  for (const [state, text] of [
    ["lost", "Camera lost"],
    ["waiting", "Waiting for the camera"],
  ]) {
    const off = streams.filter((one) => one.camera?.state === state);
    if (!off.length) continue;
    const names = off.map((one) => one.stream).join(", ");
    const since = Math.min(...off.map((one) => one.camera.since ?? now));
    return matter("warn", state, `${text}: ${names}`, off[0].camera.text || off[0].camera.source || "", since);
  }
  const silent = streams.filter((one) => one.silent && !one.asleep);
  if (silent.length) {
    const names = silent.map((one) => one.stream).join(", ");
    const last = Math.max(...silent.map((one) => one.last_frame ?? 0));
    const more = last ? `last frame at ${fmt.moment(last)}` : "no frame yet";
    return matter("warn", "silent", `Camera silent: ${names}`, more, last || null);
  }
  if (detector.state === "degraded") {
    const more = "its history or a snapshot could not be written: look at its log";
    return matter("warn", "degraded", "Detector degraded", more);
  }
  if (!streams.length)
    return matter("warn", "empty", "No camera yet", "nothing was published to the detector");
  return null;
}

function noDetector({ heard, since }, matter) {
  if (heard === null || heard === undefined) {
    return matter(
      "down",
      "detector",
      "No detector heard yet",
      "is it running, and is its address right?",
      since,
    );
  }
  const text = `No detector since ${fmt.moment(heard)}`;
  return matter("down", "detector", text, "frames are not inspected", heard);
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
  else if (stream?.camera?.state === "lost") said.push(["camera lost: not the line as it is now", "warn"]);
  else if (stream?.silent) said.push(["camera silent: not the line as it is now", "warn"]);
  if (frame?.state === "degraded") said.push(["degraded: fewer references in time", "warn"]);
  if (frame && frame.state !== "warmup" && (frame.threshold === null || frame.threshold === undefined)) {
    said.push(["threshold unset", "warn"]);
  }
  if (frame?.map?.ignored) said.push(["part of the picture is ignored, whatever its colour", ""]);
  if (frame?.known_defect) said.push([`known defect: ${frame.known_defect}`, "bad"]);
  return said;
}

/** How far a ring has filled, " 5 of 8", "" where it has. */
export const learned = (stream) => (stream?.warmup ? ` ${stream.warmup[0]} of ${stream.warmup[1]}` : "");
