// Who changed a stream's threshold, when, from what to what, and why.

import { api, el, fmt } from "./common.js";
import { thresholdChange } from "./frame_words.js";

const NOTES = 10;
const SAME_MS = 10_000;

/** What the detector told of a change, and why as the page kept it beside, as one. Newest first. */
function joined(lines) {
  const told = lines.filter(({ after }) => after && typeof after === "object").map((line) => ({ ...line }));
  const alone = [];
  for (const line of lines.filter(({ after }) => !after || typeof after !== "object")) {
    const same = told.find((one) => !one.note && one.who === line.who && Math.abs(one.at - line.at) < SAME_MS);
    if (same) same.note = line.note;
    else alone.push(line);
  }
  return [...told, ...alone].sort((one, other) => other.at - one.at);
}

/** The list of a stream's newest changes, newest first. */
export async function changesOf(stream) {
  const { audit } = await api("/api/audit", { stream, limit: 200 });
  const changed = joined(audit.filter(({ what }) => what === "threshold")).slice(0, NOTES);
  if (!changed.length) {
    return el("p", { class: "muted" }, "None is known: the threshold is as the detector was configured.");
  }
  return el(
    "ol",
    { class: "words" },
    changed.map(({ at, who, before, after, note }) =>
      el(
        "li",
        {},
        el("time", {}, `${fmt.day(at)} ${fmt.time(at)}`),
        el("span", { class: "what" }, who ?? "nobody named"),
        el("span", { class: "change" }, thresholdChange(before, after)),
        note ? el("span", { class: "note" }, `"${note}"`) : "",
      ),
    ),
  );
}
