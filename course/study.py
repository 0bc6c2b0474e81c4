"""Flashcards in the terminal. FSRS decides when a card comes back; each answer is saved before the next card is shown."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from fsrs import Card, Rating, Scheduler

from course.catalogue import Unit
from course.errors import at
from course.state import Store

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


def answer(store: Store, card: str, rating: int, now: datetime) -> Card:
    """Grade a card at `now` (in UTC): its new schedule, which is saved when this returns."""
    with store.update() as state:
        before = state.cards.get(card) or Card(int(hashlib.sha256(card.encode()).hexdigest()[:12], 16), due=now)
        after, _ = SCHEDULER.review_card(before, Rating(rating), now)
        state.cards[card] = after
        state.reviews.append((card, rating, now.isoformat()))
        state.active()
    return after
