"""What a call must leave alone: its arguments, the modules among them, torch's switches and the global generators.

It runs beside the implementation, in a sandbox too, so it depends on torch alone. Whether a change is allowed is not decided here:
that is for whoever knows what the reference does (`course.checking.rules`).
"""

import contextlib
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# A learner has not asked for strided inputs, and need not read that some function would be quicker without.
warnings.filterwarnings("ignore", message=r".*non-contiguous", category=UserWarning)

SCALARS = (bool, int, float, complex, str, bytes, np.generic)
Change = tuple[str, str]  # which argument (or "torch", "NumPy", "Python"), and what of it

# Switches of torch: what is said of one that was moved, how it is read, and how it is put back.
SWITCHES: tuple[tuple[str, Callable[[], Any], Callable[[Any], Any]], ...] = (
    ("gradients", torch.is_grad_enabled, torch.set_grad_enabled),
    ("default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("number of threads", torch.get_num_threads, torch.set_num_threads),
    ("deterministic algorithms", torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
)


class Guard:
    """Remembers what a call is given, and says afterwards what it has changed.

    given: (name, value as it came, the copy that the call gets) of each argument. modules: whether to watch modules, which copies
    their weights. generators: whether to watch NumPy's and Python's generators, which costs more than a small call.
    """

    def __init__(self, given: Iterable[tuple[str, Any, Any]], *, modules: bool = True, generators: bool = True) -> None:
        self._given = list(given)
        self._modules = [(name, m, _of_module(m)) for name, _, copy in self._given for m in _modules_in(copy)] if modules else []
        self._switches = [read() for _, read, _ in SWITCHES]
        self._seed = torch.default_generator.initial_seed()
        self._others = _others() if generators else None

    def changes(self) -> list[Change]:
        """What is not as it was, without repetition. Switches are put back, so that one slip is reported once."""
        found: dict[Change, None] = {(name, ""): None for name, came, copy in self._given if not same(came, copy)}
        for name, module, before in self._modules:
            found |= dict.fromkeys((name, what) for what in _moved(module, before))
        for (what, read, restore), before in zip(SWITCHES, self._switches, strict=True):
            if read() != before:
                restore(before)
                found["torch", what] = None
        if torch.default_generator.initial_seed() != self._seed:
            found["torch", "seed"] = None
        if self._others is not None:
            found |= {(library, "seed"): None for library, state in _others().items() if state != self._others[library]}
        return list(found)


def same(came: Any, copy: Any) -> bool:
    """Whether a copy still holds what came: tensors and arrays by dtype, shape and value, where NaN is equal to itself; lists and dicts
    item by item; numbers and text by value. Objects are not looked into."""
    if isinstance(came, Tensor):
        if not isinstance(copy, Tensor) or came.shape != copy.shape or came.dtype != copy.dtype:
            return False
        if copy.is_meta:
            return True
        here = copy.detach().to(came.device)
        return torch.equal(came, here) or _bits(came) == _bits(here)
    if isinstance(came, np.ndarray):
        if not isinstance(copy, np.ndarray) or came.shape != copy.shape or came.dtype != copy.dtype:
            return False
        return np.array_equal(came, copy) or came.tobytes() == copy.tobytes()
    if isinstance(came, list | tuple):
        return type(copy) is type(came) and len(copy) == len(came) and all(map(same, came, copy))
    if isinstance(came, dict):
        return isinstance(copy, dict) and list(copy) == list(came) and all(same(came[key], copy[key]) for key in came)
    if isinstance(came, SCALARS):
        return type(copy) is type(came) and (bool(copy == came) or (copy != copy and came != came))
    return True


def _bits(x: Tensor) -> bytes:
    """Its bytes in order. A copy: one element of a strided tensor counts as contiguous, and cannot be seen as bytes."""
    whole = x.detach().cpu().clone(memory_format=torch.contiguous_format)
    return whole.reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b""


def _modules_in(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _modules_in(item)
    elif isinstance(value, dict):
        yield from _modules_in(list(value.values()))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dicts, in their order; NumPy's arrays of numbers as tensors that share their memory."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            yield as_tensor(value)
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def as_tensor(array: np.ndarray) -> Tensor:
    """An array of numbers as a tensor of the same memory; as a copy where torch cannot read that: read backwards, or not to be written."""
    readable = array.flags.writeable and min(array.strides, default=0) >= 0 and array.dtype.isnative
    return torch.from_numpy(array if readable else array.astype(array.dtype.newbyteorder("=")))


def has_arrays(value: Any) -> bool:
    """Whether there are NumPy arrays in lists, tuples and dicts."""
    if isinstance(value, list | tuple | dict):
        return any(map(has_arrays, value.values() if isinstance(value, dict) else value))
    return isinstance(value, np.ndarray)


Before = tuple[list[tuple[nn.Module, bool]], list[tuple[nn.Parameter, bool, Tensor]], list[tuple[Tensor, Tensor]]]


def _of_module(module: nn.Module) -> Before:
    modes = [(part, part.training) for part in module.modules()]
    weights = [(weight, weight.requires_grad, weight.detach().clone()) for weight in module.parameters()]
    return modes, weights, [(buffer, buffer.detach().clone()) for buffer in module.buffers()]


def _moved(module: nn.Module, before: Before) -> Iterator[str]:
    """What of a module is not as it was."""
    modes, weights, buffers = before
    if any(part.training != training for part, training in modes):
        yield "mode"
    if any(weight.requires_grad != required for weight, required, _ in weights):
        yield "requires_grad"
    now = list(module.parameters())
    if len(now) != len(weights) or not all(same(old, new) for (_, _, old), new in zip(weights, now, strict=True)):
        yield "weights"
    held = list(module.buffers())
    if len(held) != len(buffers) or not all(same(old, new) for (_, old), new in zip(buffers, held, strict=True)):
        yield "buffers"


def _others() -> dict[str, Any]:
    """The states of the generators that are not torch's, such that they can be compared."""
    name, keys, *rest = np.random.get_state()
    return {"NumPy": (name, np.asarray(keys).tobytes(), *rest), "Python": random.getstate()}


def strided(x: Tensor, turn: int) -> Tensor:
    """A tensor of equal values whose storage is laid out otherwise: transposed, a slice of a larger one, or expanded.

    turn: which of the ways, in rotation. A single number has only one layout.
    """
    if x.ndim == 0 or x.numel() == 0:
        return x.clone()
    if x.ndim > 1 and len(x) > 1:
        repeated = x[:1].clone().expand_as(x)
        if torch.equal(x, repeated) and _bits(x) == _bits(repeated):  # 0 is not the same input as −0
            return repeated
    if x.ndim > 1 and turn % 2 == 0:
        return x.transpose(0, -1).clone(memory_format=torch.contiguous_format).transpose(0, -1)
    larger = x.new_zeros(*(size + 1 for size in x.shape[:-1]), 2 * x.shape[-1] + 1)  # no two axes of its slice can be merged
    return larger[(*[slice(1, None)] * (x.ndim - 1), slice(1, None, 2))].copy_(x)


def spoil(value: Any, given: Any) -> list[tuple[Tensor, Tensor]]:
    """Write over the tensors in what a call returned, unless their memory is part of what it was given. Each with what it held."""
    mine = {_memory(x) for x in tensors_in(given)}
    mine |= {_memory(x) for module in _modules_in(given) for x in (*module.parameters(), *module.buffers())}
    spoiled = []
    for x in tensors_in(value):
        x = x.detach()
        if x.layout is torch.strided and not x.is_meta and x.numel() and _memory(x) not in mine:
            spoiled.append((x, x.clone()))
            with contextlib.suppress(RuntimeError):  # an expanded one, say
                x.copy_(~x if x.dtype is torch.bool else x + 1)
    return spoiled


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr() if x.layout is torch.strided else id(x)
