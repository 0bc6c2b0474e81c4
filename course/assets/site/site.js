"use strict";
(() => {
  const body = document.body, base = body.dataset.base, lang = body.dataset.lang;
  const byId = (id) => document.getElementById(id);

  byId("theme").addEventListener("click", window.toggleTheme);
  byId("menu").addEventListener("click", () => {
    const open = body.classList.toggle("menu");
    byId("menu").setAttribute("aria-expanded", String(open));
    if (open) scrollTo(0, 0);
  });
  // In a long menu the page's own entry is in view.
  const nav = byId("nav"), here = nav.querySelector("[aria-current]");
  if (here) nav.scrollTop = here.offsetTop - nav.clientHeight / 2;
  // Sections have the same ids in both languages, so the switch keeps the place too.
  const other = byId("switch"), target = other.getAttribute("href");
  const follow = () => other.setAttribute("href", target + location.hash);
  addEventListener("hashchange", follow);
  follow();

  // --- search: the index of a language is loaded when it is first needed, as a script, since a local page may fetch nothing ---
  const input = byId("search"), list = byId("found");
  const script = (path) => new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = base + path;
    element.onload = resolve;
    element.onerror = () => reject(new Error(path));
    document.head.append(element);
  });
  const indexes = {};
  let libraries = null;
  const indexOf = (language) => {
    libraries ??= Promise.all([script("assets/minisearch.js"), script("assets/search.js")]);
    indexes[language] ??= Promise.all([libraries, script(`assets/search-${language}.js`)])
      .then(() => makeIndex(window.SEARCH[language]));
    return indexes[language];
  };
  const excerpt = (text, words) => {
    const low = foldInPlace(text);
    const found = words.map((word) => low.indexOf(word)).filter((at) => at >= 0);
    const start = Math.max(0, (found.length ? Math.min(...found) : 0) - 40);
    return (start ? "…" : "") + text.slice(start, start + 130) + (start + 130 < text.length ? "…" : "");
  };
  const line = (text) => Object.assign(document.createElement("li"), { textContent: text });
  let latest = 0;
  const search = async () => {
    const turn = ++latest, query = input.value.trim();
    list.hidden = !query;
    if (!query) return;
    if (!list.childElementCount) list.replaceChildren(line(body.dataset.loading));
    // Chinese leads to the Chinese pages from any page; what one language does not have, the other may.
    let language = /[\u3400-\u9fff]/.test(query) ? "zh" : lang;
    let results = (await indexOf(language)).search(query);
    if (!results.length && language === lang) {
      language = lang === "zh" ? "en" : "zh";
      results = (await indexOf(language)).search(query);
    }
    if (turn !== latest) return;
    // Two sections of a page are enough: the others should not push the next page out of the list.
    const seen = {};
    const shown = results.filter(({ path }) => { const page = path.split("#")[0]; seen[page] = (seen[page] || 0) + 1; return seen[page] <= 2; });
    list.replaceChildren(...shown.slice(0, 12).map((result) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = `${base}${language}/${result.path}`;
      const strong = document.createElement("strong"), small = document.createElement("small");
      strong.textContent = result.title + (result.heading && !result.title.endsWith(result.heading) ? ` › ${result.heading}` : "");
      small.textContent = excerpt(result.text, result.queryTerms);
      link.append(strong, small);
      item.append(link);
      return item;
    }));
    if (!results.length) list.append(line(body.dataset.none));
  };
  const step = (by) => {
    const stops = [input, ...list.querySelectorAll("a")];
    const at = stops.indexOf(document.activeElement);
    if (at >= 0) stops[Math.min(Math.max(at + by, 0), stops.length - 1)].focus();
  };
  input.addEventListener("input", search);
  input.addEventListener("focus", () => { indexOf(lang); search(); });
  addEventListener("keydown", (event) => {
    const inSearch = Boolean(document.activeElement.closest("search"));
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) { event.preventDefault(); input.focus(); }
    if (event.key === "Escape" && inSearch) { list.hidden = true; input.blur(); }
    if (event.key === "Enter" && document.activeElement === input) list.querySelector("a")?.click();
    if (inSearch && /^Arrow(Up|Down)$/.test(event.key)) { event.preventDefault(); step(event.key === "ArrowDown" ? 1 : -1); }
  });
  addEventListener("click", (event) => { if (!event.target.closest("search")) list.hidden = true; });
})();
