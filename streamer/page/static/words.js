// What an operator tells of a frame: a false alarm, a defect, a reference for good, out of the ring.
import { ask, nameOf, post, toast } from "./common.js";

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
  const answer = await told("/api/operate", { kind: "false_alarm", ...where(frame) }, `${name}: known good from now on`, wrong);
  if (answer) await told("/api/review", { ...where(frame), decision: "good", note: "false alarm" });
}

export async function defect(frame) {
  const said = await ask(
    `${nameOf(frame)} is a defect`,
    [
      { name: "kind", label: "Kind of defect", hint: "scratch, dent, stain: counted in the shift's report", maxlength: 80 },
      { name: "note", label: "Note", type: "textarea" },
    ],
    { confirm: "It is a defect", text: "The detector calibrates its threshold on it." },
  );
  if (!said) return;
  const body = { ...where(frame), decision: "defect", confirm: true, ...(said.kind && { kind: said.kind }), ...(said.note && { note: said.note }) };
  const answer = await told("/api/review", body, `${nameOf(frame)}: a defect${said.kind ? `, ${said.kind}` : ""}`);
  // Kept here whatever the detector says; but whoever said it must know that the threshold does not.
  if (answer?.confirm?.ok === false) toast(`the detector was not told: ${answer.confirm.error}`, "error");
}

export async function pin(frame) {
  const undo = { label: "Undo", run: () => told("/api/operate", { kind: "unpin", ...where(frame) }, `${nameOf(frame)}: no longer pinned`) };
  await told("/api/operate", { kind: "pin", ...where(frame) }, `${nameOf(frame)}: pinned as a good reference`, undo);
}

export async function forget(frame) {
  const sure = await ask(`Forget ${nameOf(frame)}?`, [], {
    text: "It leaves the ring: nothing is compared with it any more. This cannot be undone.",
    confirm: "Forget",
    danger: true,
  });
  if (sure) await told("/api/operate", { kind: "forget", ...where(frame) }, `${nameOf(frame)}: out of the ring`);
}

export const acknowledge = (alarm) => told("/api/ack", { id: alarm.id });
