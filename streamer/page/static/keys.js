// Single-letter keys: one table, which `?` lists and a person can switch off (WCAG 2.1.4).

const table = new Map();
const STORED = "keys";
const MOVES = new Set(["arrowleft", "arrowright", "arrowup", "arrowdown", "j", "k"]);

export const on = () => {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true;
  }
};

export function switchKeys(wanted) {
  try {
    localStorage.setItem(STORED, wanted ? "on" : "off");
  } catch {
    // Storage forbidden: they stay on for this page.
  }
}

/**
 * @param {string} key as KeyboardEvent.key has it ("f", "ArrowLeft", "Enter", "/"), or "ctrl+a".
 * @param {string} what it does, for the list of keys.
 * @param {(event: KeyboardEvent) => void} run
 */
export function onKey(key, what, run) {
  table.set(key.toLowerCase(), { key, what, run });
}

/** Those that are there, for the list: [{key, what}]. */
export const keys = () => [...table.values()].map(({ key, what }) => ({ key, what }));

const NAMES = { arrowleft: "←", arrowright: "→", arrowup: "↑", arrowdown: "↓", escape: "Esc", " ": "Space" };

/** What is printed on the key. */
export const keyName = (key) => NAMES[key.toLowerCase()] ?? (key.length === 1 ? key.toUpperCase() : key);

function typing(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.matches("textarea, select")) return true;
  return target.matches("input") && !["checkbox", "radio", "button", "submit"].includes(target.type);
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.metaKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return; // it has its own
  const pressed = event.key.toLowerCase();
  const known = table.get(event.ctrlKey ? `ctrl+${pressed}` : pressed);
  if (!known) return;
  if (pressed.length === 1 && !event.ctrlKey && !on()) return;
  // A finger that rests on a key moves on; it does not say the same of one frame after another.
  if (event.repeat && !MOVES.has(pressed)) return event.preventDefault();
  // A slider and a text field need their arrows and letters; a button its Enter and Space.
  if (typing(event.target)) {
    if (event.target.type !== "range" || pressed.startsWith("arrow")) return;
  }
  if (["enter", " "].includes(pressed) && event.target.closest?.("button, a, summary, input")) return;
  event.preventDefault();
  known.run(event);
});
