"""Rules that hold for every answer, whatever its tests ask: a call leaves alone what it is given, and works in any dtype and on any device.

What a call changed is told by the side that runs it (`course.guard`); what it may change is what the reference changes, and a rule that the
reference itself does not keep does not apply. The reference is asked only where an answer is under suspicion.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from course.checking.twins import Call, Twins
from course.guard import SWITCHES, Change, has_arrays, tensors_in
from course.testing import FLOOR, TOLERANCE, CheckFailure
from course.wire import UNCOPIED, Changed, ImplementationError, Target

WAYS = ("again", "float32", "float64", "bfloat16", "meta")
LOOSE = 10  # how much further than a test allows a result in another dtype may be from the first one
ASPECTS = {
    "": "changes its argument `{}` in place: work on a copy",
    "mode": "leaves a module in another mode than it found it in (`{}`): put `train` or `eval` back",
    "requires_grad": "leaves `requires_grad` of the parameters of `{}` changed: put it back",
    "weights": "changes the weights of `{}`, which are not its to change",
    "buffers": "changes the buffers of `{}`, which are not its to change",
}
GLOBALS = {
    "torch": {"seed": "seeds torch's global generator: draw from it if you must, but leave its seed to others"}
    | {what: f"leaves torch's {what} changed for all code after it: put it back" for what, _, _ in SWITCHES},
    **{name: {"seed": f"uses or seeds {name}'s global generator: draw with torch, or from a generator of your own"}
       for name in ("NumPy", "Python")},
}  # fmt: skip

# What torch says where two dtypes meet that do not go together; all else that fails in bfloat16 only is torch's own limit.
MISMATCH = r"same|equal|match|scalar type|expected dtype|can't be cast"

Ask = Callable[[Target, Sequence[Any], Mapping[str, Any]], Any]

_allowed: WeakKeyDictionary[Callable[..., Any], set[Change]] = WeakKeyDictionary()  # what the reference was seen to change


class RuleBroken(CheckFailure):
    """An answer breaks a rule that holds for every answer."""


def judge_changes(function: Callable[..., Any], changes: Iterable[Any], call: Call, twins: Twins) -> None:
    """Raise RuleBroken if a call of `function`, the reference's, changed what the reference leaves alone. `call` is the last one."""
    allowed = _allowed.setdefault(function, set())
    named = list(dict.fromkeys(_named(function, change, call) for change in changes))
    if not all(change in allowed for change in named):
        allowed.update(_named(function, change, call) for change in twins.last().changes)
    for name, what in named:
        if (name, what) not in allowed:
            raise RuleBroken(f"{function.__qualname__} {_said(name, what)}")


def _said(name: str, what: str) -> str:
    return GLOBALS[name][what] if name in GLOBALS else ASPECTS[what].format(name)


def _named(function: Callable[..., Any], change: Any, call: Call) -> Change:
    """A change with the argument's name in place of its position. Raises RuleBroken for what is no change: a stranger may have sent it."""
    names = list(inspect.signature(function).parameters)
    if call.target.object_id is not None:
        names = names[1:]
    try:
        name, what = change
        if name.isdecimal():  # positions beyond the last name belong to *args
            name = names[min(int(name), len(names) - 1)]
        known = GLOBALS.get(name, ASPECTS if name == "self" or name in names else {})
        if what in known:
            return name, what
    except (TypeError, ValueError, AttributeError, IndexError):
        pass
    raise RuleBroken(f"{function.__qualname__} sent what is no answer")


def ask_elsewhere(
    function: Callable[..., Any], call: Call, twins: Twins, ask: Ask, ways: Sequence[str] = WAYS, *, changed: bool
) -> bool:
    """Make the call again in other dtypes and on `meta`, a device without numbers, and raise RuleBroken where only the reference can.

    changed: whether the call changed something, so that the same call again need not give the same numbers. Returns whether `meta` told
    anything: a function that looks at a number cannot go on there.
    """
    told = False

    def asked(target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        nonlocal told
        value = ask(target, args, kwargs)
        told = told or target.how == "meta"
        return value

    floats = _floats(call)
    same = {str(x.dtype).removeprefix("torch.") for x in floats} if floats else set(WAYS) - {"again", "meta"}
    if has_arrays([list(call.args), dict(call.kwargs), call.came]):
        same |= {"bfloat16", "meta"}  # NumPy knows neither
    for how in ways:
        if how in same:
            continue
        wrong = _wrong(function, call, how, asked, None if changed else call.came, floats)
        if wrong is not None and not _excused(function, call, how, twins, wrong, changed=changed):
            raise wrong
    return told


def _floats(call: Call) -> list[Tensor]:
    """The floating tensors of the arguments; where there are none, of the result: a module may have weights of its own."""
    given, result = tensors_in([list(call.args), dict(call.kwargs)]), tensors_in(call.came)
    return [x for x in given if x.is_floating_point()] or [x for x in result if x.is_floating_point()]


def _wrong(
    function: Callable[..., Any], call: Call, how: str, ask: Ask, value: Any, floats: Sequence[Tensor]
) -> RuleBroken | None:
    """What is wrong with the call made again. value: what it gave before, if that is to be the same."""
    name = function.__qualname__
    try:
        found = ask(Target(call.target.name, call.target.object_id, how), call.args, call.kwargs)
    except ImplementationError as error:
        if not error.kind:  # nothing that the answer raised: its process has ended
            raise
        if error.kind == UNCOPIED:
            return None
        if how == "meta":
            lies = error.kind == "RuntimeError" and ("expected device" in error.message or "same device" in error.message)
            return (
                RuleBroken(f"{name} makes a tensor on the CPU instead of on its input's device", error.message) if lies else None
            )
        if how == "again":
            return RuleBroken(f"{name} fails where no gradients are recorded: it raised {error.kind}", error.message)
        if "not implemented for" in error.message or (how == "bfloat16" and not re.search(MISMATCH, error.message)):
            return None  # torch or NumPy lacks it, not the answer
        hint = "make constants in the dtype of the input, and cast nothing to a dtype of your own"
        return RuleBroken(f"{name} fails where its float tensors are {how}: it raised {error.kind}", error.message, hint)
    if how == "again" and isinstance(found, Changed):
        argument, what = _named(function, found.changes[0], call)
        return RuleBroken(f"{name} {_said(argument, what)} where no gradients are recorded")
    if type(found) is not list:
        return RuleBroken(f"{name} sent what is no answer")
    if how == "again":
        again = value is None or (len(found) == len(list(tensors_in(value))) and all(map(_near, found, tensors_in(value))))
        hint = "give out a new tensor at each call: what was returned is its caller's, who may write to it"
        return None if again else RuleBroken(f"{name} gives another result when it is called again", hint=hint)
    if how == "meta":
        stray = any(device != "meta" for device in found)
        return RuleBroken(f"{name} returns a tensor on the CPU instead of on its input's device") if stray else None
    before = list(tensors_in(call.came))
    expected = [getattr(torch, how) if x.dtype == floats[0].dtype else x.dtype for x in before]
    dtypes = [x.dtype if isinstance(x, Tensor) else None for x in found]
    if dtypes != expected:
        got = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        return RuleBroken(f"{name} returns {got or 'no tensor'} where its float tensors are {how}")
    if value is not None and how != "bfloat16" and not all(map(_near, found, before)):
        return RuleBroken(f"{name} gives another result where its float tensors are {how}")
    return None


def _near(x: Tensor, y: Tensor) -> bool:
    """Whether two results are the same but for their rounding in float32."""
    if x.shape != y.shape:
        return False
    if not x.is_floating_point() or not y.is_floating_point() or not x.numel():
        return True
    a, b = x.double(), y.double()
    finite = b.isfinite()
    if not torch.equal(a.isfinite(), finite):
        return False
    scale = b[finite].abs().max().item() if bool(finite.any()) else 0.0
    allowed = LOOSE * (TOLERANCE[torch.float32] * scale + FLOOR[torch.float32])
    return bool((a[finite] - b[finite]).abs().max() <= allowed) if bool(finite.any()) else True


def _excused(function: Callable[..., Any], call: Call, how: str, twins: Twins, wrong: RuleBroken, *, changed: bool) -> bool:
    """Whether the reference does not keep the rule either, with these arguments: then it does not apply to them."""
    own = twins.last()
    if own.failed:
        return True

    def ask(target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return twins.elsewhere(own, target.how)

    mirrored = Call(call.target, call.args, call.kwargs, own.value)
    try:
        able = (
            _runs(twins, own, how)
            and _wrong(function, mirrored, how, ask, None if changed else own.value, _floats(mirrored)) is None
        )
    except ImplementationError:
        able = False
    return not able


def _runs(twins: Twins, call: Call, how: str) -> bool:
    """Whether the reference can be called so at all, for any reason."""
    try:
        twins.elsewhere(call, how)
    except ImplementationError:
        return False
    return True
