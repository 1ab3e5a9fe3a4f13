// How the map is drawn and whether an alarm holds the picture: kept in this browser.
import { el, fmt, onKey, setText, toast } from "./common.js";
import * as alarm from "./alarm.js";
import { legend } from "./heat.js";

const STORED = "look";
const FIRST = { heat: true, opacity: 55, contour: true, hold: true };

function stored() {
  try {
    return { ...FIRST, ...JSON.parse(localStorage.getItem(STORED) ?? "{}") };
  } catch {
    return { ...FIRST };
  }
}

/** @param {() => void} onChange the picture must be drawn anew. */
export function controls(onChange) {
  const look = stored();
  const keep = () => {
    try {
      localStorage.setItem(STORED, JSON.stringify(look));
    } catch {
      // Storage forbidden: it holds for this page.
    }
    onChange();
  };
  const check = (name, key, text) => {
    const input = el("input", { type: "checkbox", id: name, checked: look[name] });
    input.addEventListener("change", () => ((look[name] = input.checked), keep()));
    const turn = () => input.click();
    return { node: el("label", { class: "check" }, input, text, key && el("kbd", {}, key)), turn };
  };
  const heat = check("heat-on", "H", "heat map");
  const heatInput = heat.node.querySelector("input");
  heatInput.checked = look.heat;
  heatInput.addEventListener("change", () => ((look.heat = heatInput.checked), keep()));
  const contour = check("contour", "C", "contour");
  const hold = check("hold", "", "hold on alarm");
  const opacity = el("input", {
    type: "range",
    id: "opacity",
    min: 0,
    max: 100,
    step: 5,
    value: look.opacity,
    "aria-label": "heat map's opacity, per cent",
  });
  const percent = el("output", { for: "opacity" });
  const ramp = el("canvas", { class: "ramp", role: "img" });
  const [low, mid, high] = [el("span"), el("span"), el("span")];
  const sound = el(
    "button",
    { type: "button", id: "sound", "aria-pressed": "false", onclick: turnSound },
    "Sound off",
  );

  async function turnSound() {
    try {
      await alarm.arm(!alarm.armed());
    } catch {
      toast("this browser has no sound for the page", "error");
    }
    sound.setAttribute("aria-pressed", String(alarm.armed()));
    setText(sound, alarm.armed() ? "Sound on" : "Sound off");
  }

  const drawLook = () => setText(percent, `${look.opacity} %`);
  opacity.addEventListener("input", () => ((look.opacity = Number(opacity.value)), drawLook(), keep()));
  drawLook();
  legend(ramp);

  return {
    node: el(
      "div",
      { class: "block look" },
      el("div", { class: "bar" }, heat.node, opacity, percent),
      el("div", { class: "scale" }, ramp, el("div", { class: "ends" }, low, mid, high)),
      el("div", { class: "bar" }, contour.node, hold.node),
    ),
    sound,
    settings: () => ({
      opacity: look.heat ? look.opacity / 100 : 0,
      contour: look.contour,
    }),
    holds: () => look.hold,
    /** The legend: the scale of the window, and where the threshold lies on it. */
    showScale(scale, frame) {
      setText(low, fmt.score(scale.low));
      setText(high, fmt.score(scale.high));
      const threshold = frame?.threshold;
      const inside = threshold > scale.low && threshold < scale.high;
      mid.hidden = !inside;
      if (inside) {
        const share = (threshold - scale.low) / (scale.high - scale.low);
        mid.style.left = `${100 * Math.min(Math.max(share, 0.22), 0.78)}%`;
        setText(mid, `▲ ${fmt.score(threshold)}`);
      }
      ramp.setAttribute("aria-label", `colours from ${fmt.score(scale.low)} to ${fmt.score(scale.high)}`);
    },
    keys() {
      onKey("h", "heat map on or off", heat.turn);
      onKey("c", "contour of the threshold on or off", contour.turn);
      onKey("s", "sound on or off", turnSound);
    },
  };
}
