"""What is demanded of a unit, in numbers. Apart from the audit itself, which imports torch: tables and pages need none."""

BAR, MARKED = 0.98, 0.03  # share of mutants that must be killed, and share that may be marked as equivalent
SEEDS_OF_A_FAKE = 20
