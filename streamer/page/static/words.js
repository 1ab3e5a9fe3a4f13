// What an operator tells of a frame: a false alarm, a defect, a reference for good, out of the ring. Buttons
// and keys.
import { ask, el, may, nameOf, onKey, post, toast } from "./common.js";

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
  const answer = await told(
    "/api/operate",
    { kind: "false_alarm", ...where(frame) },
    `${name}: known good from now on`,
    wrong,
  );
  if (answer) await told("/api/review", { ...where(frame), decision: "good", note: "false alarm" });
}

export async function defect(frame) {
  const said = await ask(
    `${nameOf(frame)} is a defect`,
    [
      {
        name: "kind",
        label: "Kind of defect",
        hint: "scratch, dent, stain: counted in the shift's report",
        maxlength: 80,
      },
      { name: "note", label: "Note", type: "textarea" },
    ],
    { confirm: "It is a defect", text: "The detector calibrates its threshold on it." },
  );
  if (!said) return;
  const body = {
    ...where(frame),
    decision: "defect",
    confirm: true,
    ...(said.kind && { kind: said.kind }),
    ...(said.note && { note: said.note }),
  };
  const answer = await told(
    "/api/review",
    body,
    `${nameOf(frame)}: a defect${said.kind ? `, ${said.kind}` : ""}`,
  );
  // Kept here whatever the detector says; but whoever said it must know that the threshold does not.
  if (answer?.confirm?.ok === false) toast(`the detector was not told: ${answer.confirm.error}`, "error");
}

export async function pin(frame) {
  const undo = {
    label: "Undo",
    run: () => told("/api/operate", { kind: "unpin", ...where(frame) }, `${nameOf(frame)}: no longer pinned`),
  };
  await told(
    "/api/operate",
    { kind: "pin", ...where(frame) },
    `${nameOf(frame)}: pinned as a good reference`,
    undo,
  );
}

export async function forget(frame) {
  const sure = await ask(`Forget ${nameOf(frame)}?`, [], {
    text: "It leaves the ring: nothing is compared with it any more. This cannot be undone.",
    confirm: "Forget",
    danger: true,
  });
  if (sure)
    await told("/api/operate", { kind: "forget", ...where(frame) }, `${nameOf(frame)}: out of the ring`);
}

export const acknowledge = (alarm) => told("/api/ack", { id: alarm.id });

const ACTS = [
  ["F", "False alarm", "false alarm: the frame was good", falseAlarm],
  ["D", "Defect", "defect: name its kind", defect],
  ["P", "Pin", "pin: a good reference for good", pin],
  ["X", "Forget", "forget: out of the ring", forget],
];

/** A button with the key that does the same. */
export const keyed = (key, text, run, attrs = {}) =>
  el("button", { type: "button", onclick: run, ...attrs }, el("kbd", {}, key), text);

export class Acts {
  /**
   * @param {() => object | null} current the frame one looks at.
   * @param {() => {who: object | null, detector: object | null}} about who looks, and at what.
   * @param {(frame: object) => void} onAct it is about to be told of: nothing else may take its place
   *   meanwhile.
   */
  constructor(current, about, onAct) {
    this.about = about;
    this.buttons = ACTS.map(([key, text, what, tell]) => {
      const run = () => {
        // The frame of the moment of the press, whatever comes while somebody thinks.
        const frame = current();
        const why = this.hindered(frame);
        if (why) return toast(why);
        onAct(frame);
        tell(frame);
      };
      onKey(key, what, run);
      return keyed(key, text, run, { id: `act-${key.toLowerCase()}` });
    });
  }

  /** Why nothing can be told of a frame now, "" where it can. */
  hindered(frame) {
    const { who, detector } = this.about();
    if (!may(who, "operator")) return "a viewer looks, and tells the detector nothing";
    if (who.read_only) return "this page may not control the detector";
    if (!detector?.up) return "there is no detector to tell it to";
    return frame ? "" : "there is no frame yet";
  }

  show(frame) {
    const why = this.hindered(frame);
    for (const button of this.buttons) {
      button.disabled = why !== "";
      button.title = why;
    }
  }
}
