// One WebSocket for all that happens, and what was missed fetched again: by the cursor of the last change
// seen.
import { api, showHealth } from "./common.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const MOST_FETCHED = 2000;

/** One message of the socket as an object; a map comes as `grid` (Float32Array), a picture as `jpeg` (Blob). */
export function parse(data) {
  if (typeof data === "string") return JSON.parse(data);
  const length = new DataView(data).getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  if (message.type === "picture") message.jpeg = new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" });
  // Copied: a Float32Array must start at a multiple of four.
  else message.grid = new Float32Array(data.slice(4 + length));
  return message;
}

/**
 * @param {object} options
 * @param {string[]} [options.streams] names; none means all.
 * @param {boolean} [options.pictures] the last one is drawn, and comes with its message unless it is large.
 * @param {(message: object) => void} options.onMessage a message as the contract of the page has it; frames
 *   fetched after a break come as `score` with `again: true`.
 * @param {(state: "connecting" | "open" | "reconnecting") => void} [options.onState]
 * @returns {{close: () => void}}
 */
export function connect({ streams = [], pictures = false, onMessage, onState = () => {} }) {
  let socket = null;
  let cursor = null;
  let wait = FIRST_WAIT_MS;
  let timer = 0;
  let closed = false;
  let fetching = false;
  let missedSince = null;

  function seen(frame) {
    if (frame && frame.change > (cursor ?? -1)) cursor = frame.change;
  }

  function take(message) {
    if (message.type === "hello") return greeted(message);
    if (message.type === "missed") return void fetchSince(cursor);
    if (message.type === "health") showHealth(message);
    seen(message.frame);
    (message.flips ?? []).forEach(seen);
    onMessage(message);
  }

  function greeted(message) {
    wait = FIRST_WAIT_MS;
    onState("open");
    const before = cursor;
    if (before === null) cursor = message.cursor ?? null;
    onMessage(message);
    if (before !== null && message.cursor > before) fetchSince(before);
  }

  async function fetchSince(since) {
    if (since === null) return;
    if (fetching) return void (missedSince = Math.min(missedSince ?? since, since));
    fetching = true;
    try {
      for (const stream of streams.length ? streams : [""]) {
        const frames = [];
        let next = null;
        do {
          const page = await api("/api/scores", { stream, since, cursor: next, limit: 200 });
          frames.push(...page.frames);
          next = page.next;
        } while (next && frames.length < MOST_FETCHED);
        for (const frame of frames.reverse()) take({ type: "score", frame, again: true });
      }
    } catch (error) {
      console.warn(`what was missed could not be fetched: ${error.message}`); // the next break tries again
    } finally {
      fetching = false;
    }
    if (missedSince === null) return;
    const next = missedSince; // more was missed while that was fetched
    missedSince = null;
    fetchSince(next);
  }

  function open() {
    onState(cursor === null ? "connecting" : "reconnecting");
    const address = new URL("/ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (cursor !== null) address.searchParams.set("cursor", cursor);
    if (pictures) address.searchParams.set("pictures", "1");
    if (streams.length) address.searchParams.set("streams", JSON.stringify(streams));
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => {
      let message;
      try {
        message = parse(event.data);
      } catch (error) {
        return console.warn(`a message that cannot be read: ${error.message}`);
      }
      take(message);
    };
    socket.onclose = () => {
      if (closed) return;
      onState("reconnecting");
      // Spread, so that forty screens do not come back in the same moment.
      timer = setTimeout(again, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    };
  }

  async function again() {
    try {
      await api("/api/hello"); // a session that ended leads to the login, and not to a loop
    } catch {
      // Not there yet: the socket will say so as well.
    }
    if (!closed) open();
  }

  open();
  addEventListener("online", () => {
    if (closed || socket.readyState !== WebSocket.CLOSED) return;
    clearTimeout(timer);
    open();
  });
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      socket.close();
    },
  };
}
