"""Flashcards in the terminal. FSRS decides when a card comes back; each answer is saved before the next card is shown."""

import hashlib
from datetime import datetime

from fsrs import Card, Rating, Scheduler

from course.state import Store

# Without fuzzing (a random day more or less), the same answers always give the same schedule.
SCHEDULER = Scheduler(enable_fuzzing=False)


def card_number(card: str) -> int:
    """The number that FSRS knows a card by."""
    return int(hashlib.sha256(card.encode()).hexdigest()[:12], 16)


def answer(store: Store, card: str, rating: int, now: datetime) -> Card:
    """Grade a card at `now` (in UTC): its new schedule, which is saved when this returns."""
    with store.update() as state:
        before = state.cards.get(card) or Card(card_number(card), due=now)
        after, _ = SCHEDULER.review_card(before, Rating(rating), now)
        state.cards[card] = after
        state.reviews.append((card, rating, now.isoformat()))
        state.active()
    return after
