// Pictures and maps of the frames one looks at: the last few are kept, so that a tab stays as small as it
// began.
import { fetchGrid, loadImage, pictureUrl } from "./common.js";

const MOST_IMAGES = 24;
const MOST_GRIDS = 80;

/** One name for a frame among all streams. */
export const idOf = ({ stream, key }) => `${key}\n${stream}`;

class Recent extends Map {
  constructor(most) {
    super();
    this.most = most;
  }

  put(id, value) {
    this.delete(id);
    this.set(id, value);
    if (this.size > this.most) this.#forgetOldest();
    return value;
  }

  #forgetOldest() {
    const [id, value] = this.entries().next().value;
    this.delete(id);
    value?.close?.(); // its pixels now, and not when there is time to look for garbage
  }
}

export class Pictures {
  /** @param {(id: string) => void} onReady a picture or map that was asked for is there. */
  constructor(onReady) {
    this.onReady = onReady;
    this.images = new Recent(MOST_IMAGES);
    this.grids = new Recent(MOST_GRIDS);
    this.coming = new Set();
    this.usual = new Set();
  }

  /** A map that came with its score. */
  putGrid(frame, grid) {
    const { rows, cols } = frame.map ?? {};
    if (grid && rows * cols === grid.length) this.grids.put(idOf(frame), { grid, rows, cols });
  }

  /** A picture that came with its message; one that cannot be decoded is asked for. */
  putImage(frame, jpeg) {
    this.#load(this.images, frame, () => createImageBitmap(jpeg).catch(() => loadImage(pictureUrl(frame))));
  }

  /** There is a new picture of a frame, perhaps of another under the same id: the next drawing asks for it. */
  forget(frame) {
    this.images.delete(idOf(frame));
  }

  /** A frame of this kind had a picture: the next will, so that waiting a moment for it is worth it. */
  learn(frame) {
    if (frame.picture) this.usual.add(`${frame.label}\n${frame.stream}`);
  }

  expects = (frame) => frame.picture || this.usual.has(`${frame.label}\n${frame.stream}`);

  /** The picture, null where there is none or it is on its way. */
  image(frame) {
    if (!frame.picture) return null;
    return this.#get(this.images, frame, () => loadImage(pictureUrl(frame)));
  }

  /** The map: {grid, rows, cols}; null where there is none or it is on its way. */
  grid(frame) {
    if (!frame.map) return null;
    return this.#get(this.grids, frame, () => fetchGrid(frame).catch(() => null));
  }

  waiting(frame) {
    const id = idOf(frame);
    const lacks = (kept, has) => has && !kept.has(id);
    return lacks(this.images, this.expects(frame)) || lacks(this.grids, frame.map);
  }

  #get(kept, frame, load) {
    const id = idOf(frame);
    if (kept.has(id)) return kept.put(id, kept.get(id)); // what is looked at stays
    this.#load(kept, frame, load);
    return null;
  }

  #load(kept, frame, load) {
    const id = idOf(frame);
    const task = `${kept === this.images ? "image" : "grid"}\n${id}`;
    if (this.coming.has(task)) return;
    this.coming.add(task);
    load().then((found) => {
      this.coming.delete(task);
      kept.put(id, found);
      this.onReady(id);
    });
  }
}
