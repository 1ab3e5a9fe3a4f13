// An alarm that is noticed from the next room: sound, the tab's title and icon. They stay until it is
// acknowledged.

const COOL_DOWN_MS = 10_000; // a stream: a burst of defects is one sound

let audio = null;
const sounded = new Map();

export const armed = () => audio !== null && audio.state === "running";

/** Sound on or off; a browser lets a page sound only after somebody pressed something on it. */
export async function arm(wanted) {
  if (!wanted) {
    await audio?.close();
    audio = null;
    return;
  }
  audio ??= new AudioContext();
  await audio.resume();
  beep();
}

function beep() {
  if (!armed()) return;
  const start = audio.currentTime + 0.02;
  [880, 660].forEach((pitch, i) => {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    const at = start + 0.22 * i;
    tone.frequency.value = pitch;
    // Faded in and out: a square edge is heard as a crack.
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.25, at + 0.02);
    volume.gain.linearRampToValueAtTime(0, at + 0.2);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.22);
  });
}

/** Sounds for a new alarm, unless its stream just did. Returns whether it would have. */
export function sound(stream, now = performance.now()) {
  const before = sounded.get(stream);
  if (before !== undefined && now - before < COOL_DOWN_MS) return false;
  sounded.set(stream, now);
  beep();
  return true;
}

const title = document.title;

/** Title and icon of the tab: how many alarms are open. */
export function mark(open, where = "") {
  const wanted = open
    ? `✕ ${open} open${where ? ` · ${where}` : ""} · musc-online`
    : where
      ? `${where} · ${title}`
      : title;
  if (document.title !== wanted) document.title = wanted;
  const icon = document.querySelector("#icon");
  const file = open ? "/static/icon-alarm.svg" : "/static/icon.svg";
  if (icon && icon.getAttribute("href") !== file) icon.setAttribute("href", file);
}
