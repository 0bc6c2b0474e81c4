"use strict";
// Runs before the page is drawn, so that a dark page never flashes white.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("aigc-theme"); } catch { /* a browser may forbid storage to local files */ }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => { document.documentElement.dataset.theme = chosen || (dark.matches ? "dark" : "light"); };
  show();
  dark.addEventListener("change", show);
  window.toggleTheme = () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("aigc-theme", chosen); } catch { /* lasts until the page is left */ }
    show();
  };
})();
