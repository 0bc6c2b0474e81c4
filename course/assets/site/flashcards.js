"use strict";
// Scheduling is FSRS with default parameters, as in `aigc study`; ts-fsrs also keeps hard, good and easy at least a day apart.
// The state of each card is kept in this browser only.
(() => {
  const KEY = "aigc-flashcards-1", NEW_A_DAY = 20, DAY = 86400000;
  const byId = (id) => document.getElementById(id);
  const scheduler = FSRS.fsrs({ enable_fuzz: false });
  const base = document.body.dataset.base, lang = document.body.dataset.lang;
  const grades = document.querySelectorAll(".grade");
  const [minutes, hours, days] = document.querySelector(".grades").dataset.times.split("|");
  let state = { cards: {}, day: "", fresh: 0 }, current = null, extra = 0, timer = 0;

  const sound = (value) => value && typeof value === "object" && value.cards && typeof value.cards === "object" &&
    Object.values(value.cards).every((card) => card && !Number.isNaN(Date.parse(card.due)) && Number.isFinite(card.stability));
  const read = () => {
    let text = null;
    try { text = localStorage.getItem(KEY); } catch { byId("warning").hidden = false; }
    if (text === null) return;
    try {
      const kept = JSON.parse(text);
      if (sound(kept)) { state = { day: "", fresh: 0, ...kept }; return; }
    } catch { /* unreadable: put aside below */ }
    localStorage.setItem(`${KEY}-unreadable`, text);
  };
  const write = () => {
    try { localStorage.setItem(KEY, JSON.stringify(state)); } catch { byId("warning").hidden = false; }
  };
  const today = () => new Date().toLocaleDateString("sv");
  // The rule of the site and of the terminal (cards.py), in the same words: a card in review is due for the whole of its day by the learner's
  // calendar, which comes after the day of its last answer; a card that is being learnt is due from its minute on.
  const inReview = (card) => card.state === FSRS.State.Review;
  const dayOf = (moment) => { const at = new Date(moment); return Date.UTC(at.getFullYear(), at.getMonth(), at.getDate()) / DAY; };
  const dueDay = (card) => (card.last_review ? Math.max(dayOf(card.due), dayOf(card.last_review) + 1) : dayOf(card.due));
  const isDue = (card, now) => (inReview(card) ? dueDay(card) <= dayOf(now) : new Date(card.due) <= now);
  // The card as FSRS is to see it: one that is asked earlier on its day than FSRS meant has waited for all of its days. The days since the
  // last answer are whole ones of 24 h, as in the terminal; ts-fsrs alone would count midnights in Greenwich.
  const cardOf = (id, now) => {
    if (!state.cards[id]) return FSRS.createEmptyCard(now);
    const card = { ...state.cards[id], due: new Date(state.cards[id].due) };
    if (!card.last_review) return card;
    const asked = inReview(card) && isDue(card, now) ? Math.max(card.due, now) : now;
    const waited = Math.max(0, Math.floor((asked - new Date(card.last_review)) / DAY));
    return { ...card, last_review: new Date(now - waited * DAY) };
  };

  const queue = () => {
    const now = new Date(), track = byId("track").value;
    const chosen = window.CARDS.filter((card) => !track || card.track === track);
    const known = chosen.filter((card) => state.cards[card.id])
      .sort((a, b) => new Date(state.cards[a.id].due) - new Date(state.cards[b.id].due));
    const fresh = chosen.filter((card) => !state.cards[card.id]);
    const allowed = Math.max(0, NEW_A_DAY + extra - (state.day === today() ? state.fresh : 0));
    const due = known.filter((card) => isDue(state.cards[card.id], now)), later = known.filter((card) => !isDue(state.cards[card.id], now));
    return { due, later, fresh: fresh.slice(0, allowed), seen: known.length, total: chosen.length };
  };
  // How long a card waits: one in review whole days of the calendar (1: tomorrow); else minutes or hours, at least a minute.
  const interval = (card) => {
    const now = new Date();
    if (inReview(card)) return days.replace("{0}", dueDay(card) - dayOf(now));
    const wait = Math.max(1, Math.round((new Date(card.due) - now) / 60000));
    return wait < 60 ? minutes.replace("{0}", wait) : hours.replace("{0}", Math.round(wait / 60));
  };
  const show = () => {
    clearTimeout(timer);
    const q = queue();
    byId("counts").textContent = byId("counts").dataset.words.replace("{due}", q.due.length).replace("{new}", q.fresh.length)
      .replace("{seen}", q.seen).replace("{total}", q.total);
    current = q.due[0] || q.fresh[0] || null;
    byId("card").hidden = !current;
    byId("done").hidden = Boolean(current);
    if (!current) {
      const words = byId("done").dataset, next = q.later.length ? state.cards[q.later[0].id] : null;
      byId("done").textContent = next === null ? words.end : words.words.replace("{when}", interval(next));
      const midnight = new Date().setHours(24, 0, 0, 0), then = next === null || inReview(next) ? midnight : new Date(next.due);
      timer = setTimeout(show, Math.min(then, midnight) - Date.now() + 500);
      return;
    }
    byId("card").dataset.id = current.id;
    byId("unit").textContent = current.title;
    byId("unit").href = `${base}${lang}/${current.path}`;
    byId("front").innerHTML = current.front;
    byId("back").innerHTML = current.back;
    byId("back").hidden = true;
    byId("flip").hidden = false;
    grades.forEach((button) => { button.hidden = true; });
  };
  const flip = () => {
    if (!current || !byId("back").hidden) return;
    byId("back").hidden = false;
    byId("flip").hidden = true;
    const now = new Date(), preview = scheduler.repeat(cardOf(current.id, now), now);
    grades.forEach((button) => {
      button.hidden = false;
      button.querySelector("small").textContent = interval(preview[Number(button.dataset.grade)].card);
    });
  };
  const grade = (rating) => {
    if (!current || byId("back").hidden) return;
    read(); // another tab may have graded in between
    if (!state.cards[current.id]) {
      if (state.day !== today()) Object.assign(state, { day: today(), fresh: 0 });
      state.fresh += 1;
    }
    const now = new Date();
    state.cards[current.id] = scheduler.next(cardOf(current.id, now), now, rating).card;
    write();
    show();
  };
  byId("flip").addEventListener("click", flip);
  byId("card").addEventListener("click", (event) => {
    if (!event.target.closest("a, button") && getSelection().isCollapsed) flip();
  });
  grades.forEach((button) => button.addEventListener("click", () => grade(Number(button.dataset.grade))));
  byId("track").addEventListener("change", show);
  byId("more").addEventListener("click", () => { extra += 10; show(); });
  byId("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(state)], { type: "application/json" }));
    link.download = "aigc-flashcards.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  byId("load").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", async () => {
    let given = null;
    try { given = JSON.parse(await byId("file").files[0].text()); } catch { /* said below */ }
    byId("file").value = "";
    if (!sound(given)) { alert(byId("load").dataset.refused); return; }
    state = { day: "", fresh: 0, ...given };
    write();
    show();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = document.activeElement.tagName;
    if (at === "INPUT" || at === "SELECT") return;
    if (event.key === " " && at !== "BUTTON" && at !== "A" && at !== "SUMMARY") { event.preventDefault(); flip(); }
    if (/^[1-4]$/.test(event.key)) grade(Number(event.key));
  });
  read();
  show();
})();
