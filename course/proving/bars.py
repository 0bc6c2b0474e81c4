"""What is demanded of a unit, in numbers. Apart from the audit itself, which imports torch: tables and pages need none."""

BAR, MARKED = 0.98, 0.03  # share of mutants that must be killed, and share that may be marked as equivalent
# On how many seeds a right variant must be accepted and a fake rejected; each seed asks every case four times, with other sizes.
SEEDS_OF_A_VARIANT, SEEDS_OF_A_FAKE = 50, 20
SEEDS_OF_A_HOLLOW = 3
SEEDS_OF_A_GATE = 3
SOLUTION_BYTES = 250_000
DEMO_SECONDS = 10.0  # of one core
VARIANTS_OF_A_STUB = 3
FAKES_OF_A_UNIT = 6
