"""The shared parts: runtime, data and judges."""

import io
import math

import pytest
import torch
from rich.console import Console

from reference_impl import runtime
from reference_impl.data import digits
from reference_impl.judges import digit_judge, diversity_ratio
from reference_impl.runtime import Gate


def test_device_names():
    assert runtime.resolve_device("cpu") == torch.device("cpu")
    assert runtime.resolve_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match="no device is called 'tpu'"):
        runtime.resolve_device("tpu")
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ValueError, match=f"device '{missing}' is not available on this machine; it has: "):
        runtime.resolve_device(missing)


def test_precision_names():
    with runtime.autocast(torch.device("cpu"), "bfloat16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16, got 'fp8'"):
        runtime.autocast(torch.device("cpu"), "fp8")


def test_batches_cover_every_item_once_an_epoch():
    made = list(runtime.batches(10, 5, 4, torch.Generator().manual_seed(0)))
    assert len(made) == 4
    for epoch in (made[:2], made[2:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    assert made[0].tolist() != made[2].tolist(), "every epoch is in another order"
    assert all(len(batch) == 4 for batch in runtime.batches(10, 4, 7, torch.Generator()))
    with pytest.raises(ValueError, match="batch_size must lie in 1 to 10"):
        next(runtime.batches(10, 11, 1, torch.Generator()))


@pytest.mark.parametrize(("steps", "warm"), [(200, 0.3), (50, 0.1), (4000, 0.02)])
def test_one_cycle_goes_up_and_down_along_cosines(steps, warm):
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0, betas=(0.3, 0.7))
    schedule, rates, top = runtime.one_cycle(optimizer, 0.01, steps, warm), [], warm * steps - 1
    for step in range(steps):
        rates.append(schedule.get_last_lr()[0])
        low, share = (0.01 / 25, step / top) if step <= top else (0.01 / 25e4, (steps - 1 - step) / (steps - 1 - top))
        assert rates[-1] == pytest.approx(low + (0.01 - low) * (1 - math.cos(math.pi * share)) / 2)
        assert optimizer.param_groups[0]["betas"] == (0.3, 0.7), "the optimizer's own, whatever the rate"
        optimizer.step()
        if step < steps - 1:
            schedule.step()
    assert max(rates) == pytest.approx(0.01, rel=1e-3) and rates[-1] < 1e-7


def test_one_cycle_of_any_length():
    for steps in range(1, 41):
        for warm in (0.05, 0.1, 0.2, 0.25, 0.3, 0.5):
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
            schedule = runtime.one_cycle(optimizer, 0.5, steps, warm)
            for _ in range(steps):
                assert 0 < schedule.get_last_lr()[0] <= 0.5
                optimizer.step()
                schedule.step()
    for steps, warm in ((0, 0.3), (10, 0.0), (10, 1.0)):
        with pytest.raises(ValueError, match=f"warm must lie between 0 and 1 and steps must be positive, got {warm} and {steps}"):
            runtime.one_cycle(optimizer, 0.5, steps, warm)


def test_progress_bar_only_on_a_terminal(monkeypatch):
    for is_terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal)
        monkeypatch.setattr("rich.progress.get_console", lambda console=console: console)
        assert list(runtime.track(iter(range(3)), total=3, description="counting")) == [0, 1, 2]
        assert ("counting" in out.getvalue()) == is_terminal


@pytest.mark.parametrize(
    ("gate", "figures", "holds"),
    [
        (Gate("a", at_least=1), {"a": 1.0}, True),
        (Gate("a", at_least=1), {"a": 0.9}, False),
        (Gate("a", at_most=1), {"a": 1.1}, False),
        (Gate("a", at_least=0.8, at_most=1.2), {"a": 1.3}, False),
        (Gate("a", below="b"), {"a": 2.0, "b": 2.0}, False),
        (Gate("a", above="b"), {"a": 2.1, "b": 2.0}, True),
        (Gate("a", at_most=9), {"a": float("nan")}, False),
    ],
)
def test_gate(gate, figures, holds):
    assert gate.holds(figures) == holds


def test_digits_split_is_fixed_stratified_and_disjoint():
    train, test = digits.load("train"), digits.load("test")
    assert (len(train), len(test)) == (1347, 450)
    assert train.counts.min() == 0
    assert train.counts.max() == digits.LEVELS
    assert torch.equal(train.counts, train.counts.round()), "pixels are counts"
    for k in range(digits.CLASSES):
        share = (train.labels == k).float().mean() - (test.labels == k).float().mean()
        assert abs(share) < 0.01
    seen = {tuple(image.flatten().tolist()) for image in train.counts}
    assert not any(tuple(image.flatten().tolist()) in seen for image in test.counts), "a test image is also in training"
    with pytest.raises(ValueError, match="split must be 'train' or 'test'"):
        digits.load("valid")


def test_digit_judge_knows_real_digits_and_is_not_fooled_by_noise():
    judge, real = digit_judge(), digits.load("test")
    assert judge.ceiling() >= 0.98
    labels = torch.arange(10).repeat(30)
    assert judge.accuracy(torch.rand(300, 1, 8, 8), labels) < 0.3
    means = torch.stack([real.images[real.labels == k].mean(0) for k in range(10)])
    assert diversity_ratio(means[labels], labels, real.images, real.labels) < 1e-6, "one image a class has no diversity"
    assert 0.9 < diversity_ratio(real.images, real.labels, real.images, real.labels) < 1.1
