// What every page but live and wall does with news: one socket, and the banner that says what is not as it should be.

import { lastHealth } from "./common.js";
import { connect } from "./socket.js";
import { drawBanner, situation } from "./states.js";

const EVERY_MS = 1000;

/**
 * One reading at a time; asked for while it runs, it runs once more after it. An answer that was on its way when
 * something happened would undo what was told of it meanwhile.
 * @param {() => Promise<void>} read
 * @returns {() => Promise<void>} done when what was asked for last is shown.
 */
export function inTurn(read) {
  let running = null;
  let again = false;
  const run = async () => {
    let failed = null;
    do {
      again = false;
      failed = await read().then(
        () => null,
        (error) => error,
      );
    } while (again);
    running = null;
    if (failed) throw failed;
  };
  return () => {
    again = true;
    running ??= run();
    return running;
  };
}

/**
 * Tells a page what happens, and draws the banner: no detector, a silent camera, reconnecting.
 * @param {string[]} streams names; none means all.
 * @param {((message: object) => void) | null} onMessage null: the page is not changed by news, and opens no socket.
 */
export function follow(streams, onMessage) {
  let health = lastHealth(); // told while this page's first data were on their way
  let state = onMessage ? "connecting" : "open";
  const draw = () => {
    if (!health.detector && state !== "reconnecting") return;
    const ours = (health.streams).filter(({ stream }) => !streams.length || streams.includes(stream));
    const now = Date.now();
    drawBanner(document.querySelector("#banner"), situation(health.detector, ours, state, now), now);
  };
  document.addEventListener("health", ({ detail }) => {
    health = detail;
    draw();
  });
  setInterval(draw, EVERY_MS);
  draw();
  if (!onMessage) return;
  connect({
    streams,
    onMessage,
    onState: (now) => {
      state = now;
      document.body.dataset.socket = now;
      draw();
    },
  });
}
