"""Flashcards in the terminal. FSRS decides when a card comes back; each answer is saved before the next card is shown."""

import hashlib
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from fsrs import Card, Rating, Scheduler
from fsrs import State as Learned
from rich.console import Console

from course.errors import at
from course.studying.state import ONE_DAY, State, Store, local_date
from course.units.catalogue import Unit

# Without fuzzing (a random day more or less), the same answers always give the same schedule.
SCHEDULER = Scheduler(enable_fuzzing=False)


@dataclass(frozen=True)
class Flashcard:
    """One card in one language. Its id is that of the English card, so that both languages share a schedule."""

    id: str
    unit: Unit
    front: str
    back: str


def flashcards(unit: Unit, language: str = "en") -> list[Flashcard]:
    """The cards of a unit in `en` or `zh`. Raises CourseError if the two pages have not as many."""
    english, page = unit.pages["en"].cards, unit.pages[language]
    if len(page.cards) != len(english):
        raise at(page.path, f"has {len(page.cards)} flashcards, the English page {len(english)}", unit.root)
    return [Flashcard(card_id(unit, of), unit, *card) for (of, _), card in zip(english, page.cards, strict=True)]


def card_id(unit: Unit, front: str) -> str:
    """The id of the card with this English front: it stays while the front does, wherever the card stands on its page."""
    return f"{unit.id}#{hashlib.sha256(front.encode()).hexdigest()[:12]}"


# The rule of the terminal and of the site (flashcards.js), in the same words: a card in review is due for the whole of its day by the learner's
# calendar, which comes after the day of its last answer; a card that is being learnt is due from its minute on.


def due_date(card: Card) -> date:
    """The local date from which a card in review is due. FSRS adds days of 24 h: where a day has 25, they may end on the day of the answer."""
    day = local_date(card.due)
    return day if card.last_review is None else max(day, local_date(card.last_review) + ONE_DAY)


def is_due(card: Card, now: datetime) -> bool:
    """Whether a card is to be asked at `now` (aware), by the rule above."""
    return due_date(card) <= local_date(now) if card.state is Learned.Review else card.due <= now


def as_asked(card: Card, now: datetime) -> Card:
    """The card as FSRS is to see it at `now`: one that is asked earlier on its day than FSRS meant has waited for all of its days."""
    seen = copy(card)
    if card.state is Learned.Review and card.last_review is not None and now < card.due and is_due(card, now):
        seen.last_review = card.last_review - (card.due - now)
    return seen


def answer(store: Store, card: str, rating: int, now: datetime) -> Card:
    """Grade a card at `now` (in UTC): its new schedule, which is saved when this returns."""
    with store.update() as state:
        before = state.cards.get(card) or Card(int(hashlib.sha256(card.encode()).hexdigest()[:12], 16), due=now)
        after, _ = SCHEDULER.review_card(as_asked(before, now), Rating(rating), now)
        state.cards[card] = after
        state.reviews.append((card, rating, now.isoformat()))
        state.active(now.astimezone())
    return after


WORDS = {
    "en": {
        "show": "Enter: answer, q: quit ",
        "grade": "1 again 2 hard 3 good 4 easy, q: quit ",
        "again": "one of 1, 2, 3, 4 or q",
        "back": "comes back in {0}",
        "none": "no card is due",
        "new": "; `aigc study` also asks the new ones",
        "done": "{0} answered ({1} again), {2} still due",
        "minutes": "{0} min",
        "hours": "{0} h",
        "days": "{0} d",
    },
    "zh": {
        "show": "回车看答案，q 退出 ",
        "grade": "1 忘了，2 吃力，3 记得，4 轻松，q 退出 ",
        "again": "请输入 1、2、3、4 或 q",
        "back": "{0}后再问",
        "none": "没有到期的卡片",
        "new": "；`aigc study` 会加上新卡片",
        "done": "答了 {0} 次（忘了 {1} 次），还有 {2} 张到期",
        "minutes": "{0} 分钟",
        "hours": "{0} 小时",
        "days": "{0} 天",
    },
}


def interval(card: Card, now: datetime, words: dict[str, str]) -> str:
    """How long a card waits after `now`: one in review whole days of the calendar (1: tomorrow); else minutes or hours, at least a minute."""
    if card.state is Learned.Review:
        return words["days"].format((due_date(card) - local_date(now)).days)
    minutes = max(1, round((card.due - now) / timedelta(minutes=1)))
    return words["minutes"].format(minutes) if minutes < 60 else words["hours"].format(round(minutes / 60))


def following(cards: Iterable[Flashcard], state: State, now: datetime, only_due: bool) -> Flashcard | None:
    """The card to ask now: of those that are due the one whose moment came first, else the first new one, if new ones may be asked."""
    due, fresh = [], None
    for card in cards:
        known = state.cards.get(card.id)
        if known is None:
            fresh = fresh or card
        elif is_due(known, now):
            due.append((known.due, card))
    if due:
        return min(due, key=lambda pair: pair[0])[1]
    return None if only_due else fresh


def due_count(cards: Iterable[Flashcard], state: State, now: datetime) -> int:
    """How many of `cards` are to be asked again at `now`."""
    return sum(card.id in state.cards and is_due(state.cards[card.id], now) for card in cards)


class Quit(Exception):
    """The learner has had enough: q, Ctrl-C or the end of the input."""


def ask(prompt: str) -> str:
    """A line from the terminal, in lower case. Raises Quit."""
    try:
        line = input(prompt).strip().lower()
    except (EOFError, KeyboardInterrupt):
        print()
        raise Quit from None
    if line in ("q", "quit"):
        raise Quit
    return line


def study(
    cards: list[Flashcard],
    store: Store,
    console: Console,
    *,
    language: str = "en",
    only_due: bool = False,
    limit: int = 20,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Ask cards until `limit` are answered, none is left, or the learner quits; how many were answered.

    A card that is due again during the session is asked again. An answer is saved before "comes back in …" is shown.
    """
    words = WORDS[language]
    answered = forgotten = 0
    nothing_left = False

    def show(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False)

    try:
        while answered < limit:
            card = following(cards, store.read(), now(), only_due)
            if card is None:
                nothing_left = True
                break
            show(f"\n{answered + 1}/{limit}  {card.unit.id}", "dim")
            show(card.front, "bold")
            ask(words["show"])
            show(card.back)
            grade = ask(words["grade"])
            while grade not in ("1", "2", "3", "4"):
                show(words["again"])
                grade = ask(words["grade"])
            moment = now()
            after = answer(store, card.id, int(grade), moment)
            answered, forgotten = answered + 1, forgotten + (grade == "1")
            show(words["back"].format(interval(after, moment, words)), "dim")
    except (Quit, KeyboardInterrupt):  # an interrupt between two prompts, too
        pass
    state = store.read()
    if nothing_left and not answered:
        fresh = any(card.id not in state.cards for card in cards)
        show(words["none"] + (words["new"] if fresh else ""))
    else:
        show("\n" + words["done"].format(answered, forgotten, due_count(cards, state, now())))
    return answered
