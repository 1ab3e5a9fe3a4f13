// Where on the live page what stands; live.css says how large.
import { el } from "./common.js";

/** Puts the parts into the page's `main`. */
export function lay(main, { tabs, strip, panel, holding, acts, part, today, look, alarms, timeline }) {
  main.append(
    el(
      "div",
      { class: "top" },
      tabs.node,
      el("section", { class: "panel last", "aria-label": "last 20" }, el("h2", {}, "Last 20"), strip.node),
    ),
    el(
      "section",
      { class: "panel view", "aria-label": "frame" },
      el("div", { class: "head" }, panel.verdict, panel.facts, holding),
      panel.stage,
      el("div", { class: "bar actions" }, acts.buttons, part),
    ),
    el(
      "section",
      { class: "panel side", "aria-label": "line" },
      today.node,
      look.node,
      el(
        "div",
        { class: "bar alarms-title" },
        el("h2", {}, "Alarms"),
        look.sound,
        el("span", { class: "hint" }, el("kbd", {}, "A"), " acknowledges"),
      ),
      alarms.node,
      alarms.more,
      alarms.told,
    ),
    el(
      "section",
      { class: "panel time", "aria-label": "raw scores" },
      el(
        "h2",
        { class: "bar" },
        "Raw score, last 200",
        el("span", { class: "key" }, "○ provisional  ● revised  ┄ threshold"),
        timeline.hint,
      ),
      timeline.node,
    ),
  );
}
