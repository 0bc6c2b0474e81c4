"""What tests of exercises are written with: random inputs, assertions whose messages teach, and wrong implementations.

A test asks for `impl` (the implementation under test) and, if it needs numbers, for `draw` (seeded afresh on every run).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from course.guard import as_tensor, same
from course.wire import EAGER, ImplementationError, describe

T = TypeVar("T")

# Largest error allowed, relative to the largest expected magnitude. Right variants (another order of summation, another
# library call) stay an order of magnitude below; the mildest wrong ones (a missing eps of 1e-5, n for n - 1) lie above.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
FLOOR = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 1e-3, torch.float16: 1e-4}
SIZES = (1, 2, 3, 5, 7, 4, 6, 8)
PRECISION = 1e-6  # an error in float64 that is smaller, relative to the largest magnitude, is most likely the rounding of float32
LARGEST_WEIGHT = 1 << 24  # elements of a weight for which numbers are drawn


class CheckFailure(AssertionError):
    """An answer is wrong. `public` says how without giving any expected value away; the message itself says all."""

    def __init__(self, public: str, detail: str = "", hint: str = "") -> None:
        super().__init__(f"{public}; {detail}" if detail else public)
        self.public, self.detail, self.hint = public, detail, hint


class Draw:
    """Random inputs from one seed. Sizes are small and include 1 and primes, so that no two axes are mistaken for each other.

    single: of all sizes that may be 1, count from 0, which one is 1; all others are not. -1 for none; None leaves it to chance.
    alone: whether every `batch` has one item.
    """

    def __init__(self, seed: int, *, single: int | None = None, alone: bool = False) -> None:
        self.seed = seed
        self.axes = self.batches = 0  # sizes drawn so far that might have been 1, and batches
        self._single, self._alone = single, alone
        self._generator = torch.Generator().manual_seed(seed)

    def size(self, low: int = 1, high: int = 8) -> int:
        """An integer from `low` to `high`, both included; 1 and primes come first when they are in range."""
        if self._single is not None and low == 1 < high:
            if self._is_single():
                return 1
            low = 2
        choices = [n for n in SIZES if low <= n <= high] or list(range(low, high + 1))
        choices += [n for n in range(low, high + 1) if n not in choices]
        return self.choice(choices)

    def batch(self, low: int = 1, high: int = 8) -> int:
        """The size of a batch, as `size`; in one round of every run it is 1, also where a larger `low` is asked of the others."""
        self.batches += 1
        if self._alone:
            return 1
        return self.size(low if self._single is None else max(low, 2), max(high, 2))

    def sizes(self, count: int, low: int = 2, high: int = 8) -> list[int]:
        """`count` different integers from `low` to `high`."""
        if self._single is not None and low == 1 < high - count + 1:
            singles = [self._is_single() for _ in range(count)]
            return [1 if single else n for single, n in zip(singles, self.sizes(count, 2, high), strict=True)]
        return [low + i for i in torch.randperm(high - low + 1, generator=self._generator)[:count].tolist()]

    def _is_single(self) -> bool:
        self.axes += 1
        return self.axes - 1 == self._single

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included, all equally likely."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def integers(self, high: int, size: Sequence[int], low: int = 0) -> Tensor:
        """int64 in [low, high)."""
        return torch.randint(low, high, tuple(size), generator=self._generator)

    def normal(self, *size: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Tensor:
        """Gaussian numbers with standard deviation `scale`."""
        return torch.randn(size, generator=self._generator, dtype=torch.float64).mul(scale).to(dtype)

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
        """Numbers in [low, high)."""
        return torch.rand(size, generator=self._generator, dtype=torch.float64).mul(high - low).add(low).to(dtype)

    def number(self, low: float, high: float) -> float:
        """One float in [low, high)."""
        return float(self.uniform(low=low, high=high))

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[self.integer(0, len(options) - 1)]

    def permutation(self, n: int) -> Tensor:
        """A random order of 0 to n − 1."""
        return torch.randperm(n, generator=self._generator)

    def like(self, state: dict[str, Tensor], scale: float = 0.3) -> dict[str, Tensor]:
        """Random weights of the shapes and dtypes of a state_dict, so that no test depends on an initialisation."""
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.numel() > LARGEST_WEIGHT:
                raise CheckFailure(f"{name} of the state_dict is {describe(value)}, expected a weight")
        return {
            name: self.normal(*value.shape, dtype=value.dtype, scale=scale) if value.is_floating_point() else value
            for name, value in state.items()
        }


def assert_close(
    actual: Any,
    expected: Any,
    *,
    hint: str = "",
    hint_for: str = "values",
    tolerance: float | None = None,
    check_dtype: bool = True,
    what: str = "the result",
) -> None:
    """Equal shape and dtype, and an error small beside the largest expected magnitude; of tensors or NumPy arrays. Raises CheckFailure.

    tolerance: relative to that magnitude; by default set by the dtype (`TOLERANCE`). Where NaN or infinity is expected, it must stand.
    hint_for: which failures the hint explains: words of `type`, `shape`, `dtype`, `NaN`, `precision` and `values`.
    """

    def failure(about: str, public: str, detail: str = "") -> CheckFailure:
        return CheckFailure(public, detail, hint if about in hint_for.split() else "")

    came, wanted = describe(actual), describe(expected)
    if isinstance(expected, np.ndarray):
        if not isinstance(actual, np.ndarray) or actual.dtype.kind not in "biufc":
            raise failure("type", f"{what} is {came}, expected {wanted}")
        actual, expected = as_tensor(actual), as_tensor(expected)
    if not isinstance(expected, Tensor):
        expected = torch.as_tensor(expected, dtype=torch.float64)
        wanted, check_dtype = describe(expected), False
    if isinstance(actual, int | float | np.ndarray) and not isinstance(actual, bool):
        actual = torch.as_tensor(actual, dtype=torch.float64)
        check_dtype = False
    if not isinstance(actual, Tensor):
        raise failure("type", f"{what} is {came}, expected {wanted}")
    if actual.shape != expected.shape:
        raise failure("shape", f"{what} has shape {tuple(actual.shape)}, expected {tuple(expected.shape)}")
    if check_dtype and actual.dtype != expected.dtype:
        raise failure("dtype", f"{what} is {came}, expected {wanted}")
    if expected.numel() == 0:
        return
    coarse = expected.dtype if not actual.is_floating_point() or _resolution(expected) >= _resolution(actual) else actual.dtype
    a, e = actual.double(), expected.double()
    finite = e.isfinite()
    if bool((a.isfinite() != finite).any()) or bool((a[~finite].nan_to_num() != e[~finite].nan_to_num()).any()):
        where = (a.isfinite() != finite).nonzero()
        position = tuple(where[0].tolist()) if len(where) else ()
        kind = "NaN or infinity" if len(where) and not bool(a[position].isfinite()) else "a finite number where none is expected"
        raise failure("NaN", f"{what} has {kind} at index {position}")
    scale = e[finite].abs().max().item() if bool(finite.any()) else 0.0
    allowed = (tolerance if tolerance is not None else TOLERANCE.get(coarse, 1e-9)) * scale + FLOOR.get(coarse, 1e-13)
    error = (a - e).abs()
    wrong = (error > allowed) & finite
    if not bool(wrong.any()):
        return
    position = tuple(wrong.nonzero()[0].tolist())
    place = f"at index {position}" if position else "as a number"
    place += f" ({int(wrong.sum())} of {wrong.numel()} elements)" if position else ""
    worst = error[finite].max().item() / scale if scale else math.inf
    if coarse is torch.float64 and worst < PRECISION:
        digit = f"from digit {max(1, math.floor(-math.log10(worst)))} on"
        seen = f"got {a[position].item():.16g}, expected {e[position].item():.16g}"
        asked = "float64 is asked for: is a part computed in float32, or are digits lost where near equals are subtracted?"
        raise failure("precision", f"{what} differs only in precision {place}, {digit}: {asked}", seen)
    raise failure("values", f"{what} differs {place}", f"got {a[position].item():.6g}, expected {e[position].item():.6g}")


def _resolution(x: Tensor) -> float:
    return torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0


def assert_equal(actual: Any, expected: Any, *, hint: str = "", what: str = "the result") -> None:
    """Exactly equal: integers, booleans, strings, None, tensors, arrays, and lists of plain values. Raises CheckFailure."""
    came, wanted = describe(actual), describe(expected)
    if isinstance(expected, np.ndarray):
        if not isinstance(actual, np.ndarray) or actual.dtype != expected.dtype:
            raise CheckFailure(f"{what} is {came}, expected {wanted}")
        actual, expected = as_tensor(actual), as_tensor(expected)
    if isinstance(expected, Tensor):
        if not isinstance(actual, Tensor) or actual.shape != expected.shape or actual.dtype != expected.dtype:
            raise CheckFailure(f"{what} is {came}, expected {wanted}")
        wrong = actual != expected
        if bool(wrong.any()):
            position = tuple(wrong.nonzero()[0].tolist())
            raise CheckFailure(
                f"{what} differs at index {position} ({int(wrong.sum())} of {wrong.numel()} elements)",
                f"got {actual[position].item()}, expected {expected[position].item()}",
                hint,
            )
        return
    if type(actual) is not type(expected) or actual != expected:
        raise CheckFailure(f"{what} differs", f"got {actual!r}, expected {expected!r}", hint)


def assert_finite(actual: Any, *, hint: str = "", what: str = "the result") -> None:
    """A tensor or an array without NaN and infinity. Raises CheckFailure."""
    if isinstance(actual, np.ndarray) and actual.dtype.kind in "biufc":
        actual = as_tensor(actual)
    if not isinstance(actual, Tensor):
        raise CheckFailure(f"{what} is {describe(actual)}, expected a tensor or an array of numbers")
    if not bool(actual.isfinite().all()):
        position = tuple((~actual.isfinite()).nonzero()[0].tolist())
        raise CheckFailure(f"{what} has NaN or infinity at index {position}", hint=hint)


def assert_true(condition: bool | Tensor, message: str, *, hint: str = "", detail: str = "") -> None:
    """`condition` holds; `message` says what was expected, `detail` may say what came. Raises CheckFailure."""
    if not bool(condition):
        raise CheckFailure(message, detail, hint)


def assert_between(actual: float, low: float, high: float, *, hint: str = "", what: str = "the result") -> None:
    """A number within [low, high]. Raises CheckFailure."""
    if not (isinstance(actual, int | float) and math.isfinite(actual) and low <= actual <= high):
        raise CheckFailure(
            f"{what} lies outside of the range that is right", f"got {actual!r}, expected {low:g} to {high:g}", hint
        )


@contextmanager
def raises(kind: type[Exception] = ValueError, *, hint: str = "") -> Iterator[None]:
    """The implementation must refuse bad input with `kind` or an error derived from it, not with another error and not by going on, and
    leave alone what it was given."""
    at_once = EAGER.set(True)
    try:
        yield
    except ImplementationError as error:
        if kind.__name__ in (error.kind, *error.bases) and not error.late:
            if error.broken is not None:
                raise error.broken from None
            return
        if error.kind not in ("", "NotImplementedError"):  # its process ended, or it is not written yet
            error.instead_of(kind.__name__)
        error.hint = hint
        raise
    finally:
        EAGER.reset(at_once)
    raise CheckFailure(f"bad input was accepted, expected a {kind.__name__}", hint=hint)


def weight_gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of `loss` with respect to each parameter, by name: zero where it does not depend on it. For `model.reference`."""
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


@contextmanager
def unchanged(*modules: Any, hint: str = "") -> Iterator[None]:
    """What happens in the block, a refusal of bad input for one, leaves every weight and buffer of `modules` as it was."""
    before = [module.state_dict() for module in modules]
    yield
    for module, state in zip(modules, before, strict=True):
        for name, value in module.state_dict().items():
            assert_true(same(state[name], value), f"{name} was changed, expected it to be left alone", hint=hint)


@dataclass(frozen=True)
class Edit:
    """A variant of the reference, made by replacing text in the body of the stub: `Edit("dim=1", "dim=0")`."""

    old: str
    new: str


Variant = Callable[..., Any] | Edit | str
