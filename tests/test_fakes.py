"""The tests of every exercise must reject each wrong implementation, and accept each right one however it is written."""

import pytest

from course.checking.load import forget, impl_from, reference_impl, variant_module
from course.checking.runner import load_suite, run
from course.units.catalogue import exercises

pytestmark = pytest.mark.proven_by("audit")
SUITES = [load_suite(unit) for unit in exercises()]
FAKES = [(suite, stub, name) for suite in SUITES for stub, table in suite.fakes.items() for name in table]
VARIANTS = [(suite, stub, name) for suite in SUITES for stub, table in suite.variants.items() for name in table]
SEEDS_OF_A_FAKE, SEEDS_OF_A_VARIANT = 1, 2  # `aigc audit` takes 20 and 50


def label(row):
    return f"{row[0].unit.id}:{row[1]}:{row[2]}"


@pytest.mark.parametrize("row", FAKES, ids=label)
def test_fake_is_rejected_by_an_assertion_on_every_seed(row):
    suite, stub, name = row
    module = variant_module(suite.unit, stub, suite.fakes[stub][name])
    try:
        impl = impl_from(module, suite.unit)
        for seed in range(SEEDS_OF_A_FAKE):
            verdicts = run(suite, impl, stubs=[stub], seed=seed)
            broken = [verdict for verdict in verdicts if verdict.status == "broken"]
            assert not broken, f"the test itself crashed on seed {seed}: {broken[0].message}"
            assert any(verdict.status == "failed" for verdict in verdicts), f"accepted on seed {seed}"
    finally:
        forget(module)


@pytest.mark.parametrize("row", VARIANTS, ids=label)
def test_right_variant_is_accepted_on_every_seed(row):
    suite, stub, name = row
    module = variant_module(suite.unit, stub, suite.variants[stub][name])
    try:
        impl = impl_from(module, suite.unit)
        for seed in range(SEEDS_OF_A_VARIANT):
            for verdict in run(suite, impl, stubs=[stub], seed=seed):
                assert verdict.status == "passed", f"seed {seed}, {verdict.case.id}: {verdict.message}"
    finally:
        forget(module)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.unit.id)
def test_reference_is_accepted_on_every_seed(suite):
    impl = reference_impl(suite.unit)
    for seed in range(SEEDS_OF_A_VARIANT):
        for verdict in run(suite, impl, seed=seed):
            assert verdict.status == "passed", f"seed {seed}, {verdict.case.id}: {verdict.message}"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.unit.id)
def test_every_stub_has_fakes_and_three_right_variants(suite):
    for stub in suite.unit.stubs:
        assert suite.fakes.get(stub), f"{stub} has no wrong implementation to be told from"
        right = len(suite.variants.get(stub, {}))
        assert right >= 3, f"{stub} has {right} right implementations that are written differently, expected at least 3"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.unit.id)
def test_same_seed_repeats_the_verdicts(suite):
    stub = suite.unit.stubs[0]
    module = variant_module(suite.unit, stub, next(iter(suite.fakes[stub].values())))
    impl = impl_from(module, suite.unit)
    first, second = (run(suite, impl, stubs=[stub], seed=11) for _ in range(2))
    assert first == second, "a dispute must be replayable: the same seed gave another verdict"
    forget(module)
