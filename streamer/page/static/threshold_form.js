// The threshold page's fields: which rule decides, and what the signs of the histogram mean.

import { el, fmt } from "./common.js";

const RULES = [
  ["fixed", "the line, fixed"],
  ["auto", "learned (auto), false alarms at most"],
  ["mad", "median and spread (mad)"],
  ["quantile", "quantile"],
];

/** What the colours and signs of the histogram mean. */
export function legend() {
  const entry = (mark, text) => el("span", { class: "entry" }, mark, text);
  return el(
    "p",
    { class: "legend" },
    el("span", {}, "frames of the window by score"),
    entry(el("i", { class: "swatch" }), "OK"),
    entry(el("i", { class: "swatch bad" }), "NOT OK at the line"),
    entry(el("span", { class: "badge bad" }, "✕"), "reviewed defect"),
    entry(el("span", { class: "badge good" }, "✓"), "reviewed good"),
  );
}

/**
 * The choice of a rule.
 * @param {string} chosen rule.
 * @param {(rule: string) => void} choose is told of another one, and of another share of false alarms.
 * @returns {{form: HTMLElement, share: HTMLInputElement}} `share`: false alarms in per cent, of `auto`.
 */
export function ruleFields(chosen, choose) {
  const share = el("input", {
    type: "number",
    id: "false-alarms",
    min: "0.1",
    max: "14.9",
    step: "0.1",
    value: "2",
    "aria-label": "false alarms, per cent",
  });
  share.addEventListener("input", () => choose("auto"));
  const choices = RULES.map(([rule, text]) => {
    const radio = el("input", { type: "radio", name: "rule", value: rule });
    radio.checked = rule === chosen;
    radio.addEventListener("change", () => choose(rule));
    const label = el("label", { class: "choice" }, radio, ` ${text}`);
    return rule === "auto" ? el("span", { class: "with" }, label, share, el("span", {}, "%")) : label;
  });
  return { form: el("fieldset", { class: "rules" }, el("legend", {}, "rule"), choices), share };
}

const plural = (n, word) => `${fmt.count(n)} ${word}${n === 1 ? "" : "s"}`;

/** What a line does to the reviewed frames, as nodes and texts; `here` as `flips` of histogram.js counts it. */
export function reviewedWords(here) {
  if (!here.defects && !here.good) {
    return [
      "No frame of the window is reviewed yet: review some in the gallery, and this line says what the threshold does to them.",
    ];
  }
  return [
    el("span", { class: "badge bad" }, "✕"),
    ` of ${plural(here.defects, "reviewed defect")} ${fmt.count(here.caught)} caught (now ${fmt.count(here.caughtNow)}); `,
    el("span", { class: "badge good" }, "✓"),
    ` of ${fmt.count(here.good)} reviewed good ${plural(here.alarms, "alarm")} (now ${fmt.count(here.alarmsNow)})`,
  ];
}
