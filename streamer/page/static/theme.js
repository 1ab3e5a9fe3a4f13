// Before anything is drawn: the theme and text size this browser chose. Classic and blocking on purpose: a
// module would run after the first paint, and a dark control room would flash white at every page.
(() => {
  const read = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage forbidden: the defaults
    }
  };
  const root = document.documentElement;
  const theme = read("theme");
  if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  const size = read("size");
  if (["1", "2", "3"].includes(size)) root.dataset.size = size;
})();
