// The frames a page holds: in the order they came, the newest word on each, never more than so many.
import { api } from "./common.js";
import { idOf } from "./pictures.js";

const MOST = 2000;

const cameAt = (frame) => frame.first?.scored ?? frame.scored;

export class Rows {
  constructor(most = MOST) {
    this.most = most;
    this.byId = new Map();
    this.order = [];
  }

  get = (stream, key) => this.byId.get(idOf({ stream, key })) ?? null;

  /** Takes a frame; an older word on it than the one held changes nothing. Returns whether it is new. */
  take(frame) {
    const id = idOf(frame);
    const held = this.byId.get(id);
    if (held) {
      if (frame.change >= held.change) Object.assign(held, frame);
      return false;
    }
    this.byId.set(id, frame);
    // Nearly always at the end; frames fetched after a break go where they belong.
    let at = this.order.length;
    while (at > 0 && cameAt(this.order[at - 1]) > cameAt(frame)) at -= 1;
    this.order.splice(at, 0, frame);
    if (this.order.length > this.most) this.byId.delete(idOf(this.order.shift()));
    return true;
  }

  /** The last `n`, oldest first, of a stream or of all. */
  last(n, stream = "") {
    if (!stream) return this.order.slice(-n);
    const found = [];
    for (let i = this.order.length - 1; i >= 0 && found.length < n; i -= 1) {
      if (this.order[i].stream === stream) found.push(this.order[i]);
    }
    return found.reverse();
  }

  /** The frame `step` places after this one in its stream; null at either end. */
  beside(frame, step, stream = "") {
    const frames = this.last(this.most, stream);
    const at = frames.findIndex((one) => one.key === frame.key && one.stream === frame.stream);
    return at < 0 ? null : (frames[at + step] ?? null);
  }
}

const row = ({ nearest: _nearest, words: _words, meta: _meta, ...frame }) => frame;

/** Frames of alarms that came before those a page holds: each asked for once, no more than lists show. */
export class Older {
  /** @param {() => void} onReady one that was asked for is there. */
  constructor(onReady, most = 80) {
    this.onReady = onReady;
    this.most = most;
    this.frames = new Map();
  }

  /** The frame, null while it is on its way or where it is no longer kept. */
  get(stream, key) {
    const id = idOf({ stream, key });
    if (this.frames.has(id)) return this.frames.get(id);
    this.frames.set(id, null);
    if (this.frames.size > this.most) this.frames.delete(this.frames.keys().next().value);
    api("/api/frame", { stream, key })
      .then((frame) => {
        this.frames.set(id, row(frame));
        this.onReady();
      })
      .catch(() => {}); // no longer kept: the alarm says what is known
    return null;
  }
}
