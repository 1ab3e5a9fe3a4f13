"""A script in the live page that says what is on it and since when; it changes nothing."""

from dataclasses import dataclass, field
from typing import Any

from bench.page.browser import Chromium

# What is seen is handed over and forgotten each time, lest the watching itself fill the heap.
SCRIPT = """
(() => {
  let seen = { verdict: {}, map: {}, picture: {} };
  const alarms = new Set();
  let told = [];
  // After the frame in which it is drawn: what the code has set is not yet what the eye sees.
  const painted = (what, key) => {
    if (!key || seen[what][key]) return;
    requestAnimationFrame(() => setTimeout(() => { seen[what][key] ??= Date.now(); }));
  };
  const look = () => {
    const frame = document.querySelector("#frame");
    const heat = document.querySelector("#heat");
    const word = document.querySelector("#verdict")?.textContent.trim();
    if (frame && word) painted("verdict", frame.dataset.key);
    const layers = heat?.dataset.layers ?? "";
    for (const layer of ["map", "picture"]) if (layers.includes(layer)) painted(layer, heat.dataset.drawn);
    for (const { dataset } of document.querySelectorAll("#alarms li[data-id]")) {
      if (!alarms.has(dataset.id)) { alarms.add(dataset.id); told.push(Number(dataset.id)); }
    }
  };
  new MutationObserver(look).observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true,
    attributeFilter: ["data-key", "data-drawn", "data-layers"],
  });
  window.musc_seen = () => {
    const all = { ...seen, alarms: told };
    seen = { verdict: {}, map: {}, picture: {} };
    told = [];
    return all;
  };
})();
"""
WHAT = ("verdict", "map", "picture")


@dataclass
class Seen:
    """What was on the page, by key: when (milliseconds since 1970) each was painted; ids of alarms listed."""

    verdict: dict[str, float] = field(default_factory=dict)
    map: dict[str, float] = field(default_factory=dict)
    picture: dict[str, float] = field(default_factory=dict)
    alarms: set[int] = field(default_factory=set)

    def take(self, browser: Chromium) -> None:
        """Add what the page has seen since it was last asked."""
        said: dict[str, Any] = browser.evaluate("window.musc_seen()")
        for what in WHAT:
            mine = getattr(self, what)
            for key, when in said[what].items():
                mine.setdefault(key, when)
        self.alarms |= set(said["alarms"])
