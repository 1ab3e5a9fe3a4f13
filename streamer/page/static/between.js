// The frames between an old threshold and a new one: whose label would become another.

import { el } from "./common.js";
import { Frames, thumbnail } from "./frames.js";

const MOST = 12;
const frames = new Frames();
let shown = "";

/**
 * Shows them as thumbnails, nearest to the new line first; fetched only where they are others than before.
 * @param place element that holds them.
 * @param stream name.
 * @param {{toAnomalous: object[], toNormal: object[]}} flips as `histogram.js` counts them.
 * @param {number | null} line the new threshold.
 */
export async function showBetween(place, stream, { toAnomalous, toNormal }, line) {
  const distance = ({ raw }) => Math.abs(raw - line);
  const between = [...toAnomalous, ...toNormal].sort((one, other) => distance(one) - distance(other)).slice(0, MOST);
  const wanted = between.map(({ key }) => key).join("\n");
  if (wanted === shown && place.childElementCount) return;
  shown = wanted;
  if (!between.length) {
    place.replaceChildren(
      el("p", { class: "muted" }, "No frame lies between the old line and the new one: drag the line."),
    );
    return;
  }
  const found = await Promise.all(between.map(({ key }) => frames.get(stream, key)));
  if (shown !== wanted) return; // dragged on meanwhile
  place.replaceChildren(...found.filter(Boolean).map((frame) => thumbnail(frame, frame.label ? "→ OK" : "→ NOT OK")));
}
