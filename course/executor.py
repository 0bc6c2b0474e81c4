"""The side that holds an implementation: runs calls on it and hands back plain values only.

Everything a test does to an implementation passes through `Executor`: in this process for the reference, a notebook
or a mutant, and in a sandboxed one for a stranger's code. It depends on torch alone, so that it can be all that a sandbox holds.
"""

import contextlib
import copy
import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course.guard import Change, Guard, as_tensor, spoil, strided, tensors_in
from course.wire import UNCOPIED, Changed, ImplementationError, Named, Remote, Target, bases_of, describe, is_answer_file

PLAIN = (type(None), bool, int, float, str)


class Executor:
    """Runs calls against `namespace`. Inputs are copied and moved to `device`; outputs come back as plain CPU values.

    A returned tensor is detached and copied, of whatever subclass it claims to be; any other object that is not plain
    data stays here, and a `Remote` goes back in its place. watchful: see `seed`.
    """

    def __init__(self, namespace: Mapping[str, Any], device: str | torch.device = "cpu", *, watchful: bool = False) -> None:
        self._namespace = namespace
        self._device = torch.device(device)
        self._objects: dict[int, Any] = {}
        self._counts: dict[int | None, int] = {}  # how often modules were called, of those that are counted
        self._watchful, self._strided, self._handed = watchful, False, 0

    def seed(self, seed: int, thorough: bool = False) -> None:
        """Begin a round of questions: seed torch's global generators, which is where an answer's own randomness comes from, and
        let go of the objects of the round before.

        thorough: whether tensors are handed in as strided views, and modules and foreign generators are watched besides arguments.
        """
        self._objects.clear()
        self._counts = {}  # a new one: modules that somebody keeps go on counting in the old one
        self._watchful = self._strided = thorough
        self._handed = 0
        if self._device.type == "cpu":
            # torch.manual_seed also walks the stack for each kind of accelerator: 1.5 ms
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)

    def call(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call it and return its value: `Changed` if it has changed something besides. Raises ImplementationError if it raises, with
        what it has changed before that.

        With `target.how`: a list of the tensors in its value; on `meta`, where there are no numbers, of the devices of those that have
        axes.
        """
        inputs, named = self._inward(list(args)), self._inward(dict(kwargs))
        if target.how:
            return self._elsewhere(target, inputs, named)
        with torch.enable_grad():
            given = [(str(i), args[i], inputs[i]) for i in range(len(inputs))]
            given += [(name, kwargs[name], named[name]) for name in named]
            guard = self._guard(target, given)
            try:
                value = self._run(target, inputs, named)
            except ImplementationError as error:
                error.changes = guard.changes() if guard is not None else []
                raise
            changes = guard.changes() if guard is not None else []
        plain = self._outward(value)
        return Changed(plain, changes) if changes else plain

    def _guard(self, target: Target, given: list[tuple[str, Any, Any]]) -> Guard | None:
        """What watches a call. None for a constructor, and for what every module has of torch: these are not the answer's."""
        held = self.held(target.object_id)
        if held is None and isinstance(self._namespace.get(target.name), type):
            return None
        own = "" if target.name == "__call__" else target.name
        if isinstance(held, nn.Module) and getattr(type(held), own, held) is getattr(nn.Module, own, None):
            return None
        return Guard([*given, ("self", held, held)], modules=self._watchful, generators=self._watchful)

    def _elsewhere(self, target: Target, inputs: list[Any], named: dict[str, Any]) -> list[Any]:
        """The call on copies in another dtype, or on a device without numbers. The global generator is left as it was."""
        held, state = self.held(target.object_id), torch.default_generator.get_state()
        try:
            try:
                copies = [copy.deepcopy((held, inputs, named)) for _ in range(2 if target.how == "again" else 1)]
                cast = copies[0] if target.how == "again" else moved(copies[0], target.how)
            except Exception as error:
                raise ImplementationError(self._name(target), UNCOPIED, type(error).__name__) from None
            if target.how == "again":
                return self._again(target, inputs, named, copies, state)
            held, inputs, named = cast
            with torch.enable_grad():
                found = list(tensors_in(self._run(target, inputs, named, held)))
        finally:
            torch.default_generator.set_state(state)
        return [x.device.type for x in found if x.ndim] if target.how == "meta" else [self._outward(x) for x in found]

    def _again(self, target: Target, args: list[Any], kwargs: dict[str, Any], copies: list[Any], state: Tensor) -> Any:
        """The tensors of the second of two calls without gradients, with `Changed` what these have changed. What the first returned is
        written over in between, for it is its caller's: who keeps it to give it out again gives out something else."""
        changes: dict[Change, None] = {}
        spoiled: list[tuple[Tensor, Tensor]] = []
        try:
            for held, inputs, named in copies:
                torch.default_generator.set_state(state)
                pairs = [(str(i), args[i], inputs[i]) for i in range(len(inputs))] + [(n, kwargs[n], named[n]) for n in named]
                guard = Guard([*pairs, ("self", held, held)], generators=False)
                with torch.no_grad():
                    result = self._run(target, inputs, named, held)
                changes |= dict.fromkeys(guard.changes())
                found = [self._outward(x) for x in tensors_in(result)]
                spoiled += spoil(result, [held, inputs, named])
        finally:
            for x, before in reversed(spoiled):  # it may be a constant of the module
                with contextlib.suppress(RuntimeError):
                    x.copy_(before)
        return Changed(found, list(changes)) if changes else found

    def construct(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], identity: int | None = None) -> Remote:
        """Call a class and keep what it makes, as number `identity` if one is given. Raises ImplementationError if it raises, or makes
        plain data."""
        with torch.enable_grad():
            made = self._run(target, self._inward(list(args)), self._inward(dict(kwargs)))
        if type(made) in PLAIN or isinstance(made, Tensor | np.ndarray | np.generic | list | tuple | dict):
            came = describe(self._outward(made))
            raise ImplementationError(target.name, "", f"{target.name}(...) gave {came}, expected an object of the class")
        return self._keep(made, identity)

    def tell(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Call what returns nothing of use: `load_state_dict`, `train`, `eval`. Raises as `call` does."""
        self.call(target, args, kwargs)

    def settle(self) -> None:
        """All that was constructed and told has been done, or its error is raised. Here it has."""

    def vjp(
        self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], wrt: Sequence[int] | str, cotangent: Any
    ) -> Any:
        """Vector-Jacobian products of a call: with respect to the arguments at `wrt`, or to the object's `parameters`.

        cotangent: a tensor of the output's shape, or a list with one tensor or None per output, those of nested tuples and lists in their
        order; None means 1 for a scalar.
        An input that the output does not depend on has a gradient of zero.
        """
        what = self._name(target)
        inputs = self._inward(list(args))
        named: dict[str, Tensor] = {}
        if wrt == "parameters":
            named = dict(self._objects[target.object_id].named_parameters()) if target.object_id is not None else {}
            sources = list(named.values())
        else:
            for i in wrt:
                inputs[int(i)] = inputs[int(i)].detach().requires_grad_()
            sources = [inputs[int(i)] for i in wrt]
        with torch.enable_grad():
            output = self._run(target, inputs, self._inward(dict(kwargs)))
            outputs = list(_leaves(output))
            cotangents = self._inward(
                [*_leaves(cotangent)] if isinstance(cotangent, list | tuple) else [cotangent] * len(outputs)
            )
            total: Any = 0.0
            for value, weight in zip(outputs, cotangents, strict=False):
                if not isinstance(value, Tensor):
                    raise ImplementationError(what, "", f"{what} returned {describe(value)}, expected a tensor")
                if weight is None and value.numel() != 1 and not isinstance(cotangent, list | tuple):
                    raise ImplementationError(
                        what, "", f"{what} returned {describe(value)}, expected a single number to differentiate"
                    )
                if weight is None and isinstance(cotangent, list | tuple):
                    continue
                if weight is not None and value.shape != weight.shape:
                    raise ImplementationError(
                        what, "", f"{what} returned shape {tuple(value.shape)}, expected {tuple(weight.shape)}"
                    )
                total = total + (value if weight is None else value * weight).sum()
        if not isinstance(total, Tensor) or not total.requires_grad:
            raise ImplementationError(what, "", f"no gradient flows through {what}: its output is cut off from its inputs")
        try:
            gradients = torch.autograd.grad(total, sources, allow_unused=True)
        except RuntimeError as error:
            raise ImplementationError(what, type(error).__name__, str(error).splitlines()[0]) from None
        filled = [torch.zeros_like(s) if g is None else g for g, s in zip(gradients, sources, strict=True)]
        if wrt == "parameters":
            return self._outward(dict(zip(named, filled, strict=True)))
        return self._outward(filled)

    def _run(self, target: Target, args: list[Any], kwargs: dict[str, Any], held: Any = None) -> Any:
        what = self._name(target)
        try:
            function = self._resolve(target, held)
            result = function(*args, **kwargs)
            if isinstance(result, nn.Module) and not target.how:
                result = result.to(self._device)
            return result
        except ImplementationError:
            raise
        except NotImplementedError as error:
            raise ImplementationError(what, "NotImplementedError", str(error)) from None
        except Exception as error:
            first = (str(error).strip() or "no message").splitlines()[0]
            raised = ImplementationError(what, type(error).__name__, first, last_line(error))
            raised.bases = bases_of(error)
            raise raised from None

    def held(self, object_id: int | None) -> Any:
        """The object with this number; None if there is none."""
        return self._objects.get(object_id) if object_id is not None else None

    def _name(self, target: Target) -> str:
        """What a learner calls the target: `kl_divergence`, `VAE.decode`, `VAE.forward`."""
        if target.object_id is None:
            return target.name
        held = self._objects[target.object_id]
        method = "forward" if target.name == "__call__" and isinstance(held, nn.Module) else target.name
        return f"{type(held).__name__}.{method}"

    def _resolve(self, target: Target, held: Any = None) -> Callable[..., Any]:
        """held: the object to call in place of the one that the target names."""
        if target.object_id is None:
            if target.name not in self._namespace:
                raise ImplementationError(target.name, "", f"{target.name} is not defined (deleted or renamed?)")
            found = self._namespace[target.name]
        else:
            held = self._objects[target.object_id] if held is None else held
            if target.name == "load_state_dict":
                return lambda state: held.load_state_dict(state) and None
            if target.name == "state_dict":
                return lambda: dict(held.state_dict())
            if target.name in ("train", "eval"):
                return lambda: getattr(held, target.name)() and None
            if target.name == "forward_calls" and isinstance(held, nn.Module):
                return lambda: self._forward_calls(target.object_id, held)
            found = held if target.name == "__call__" else getattr(held, target.name, None)
        if not callable(found):
            raise ImplementationError(target.name, "", f"{target.name} is {describe(found)}, expected something to call")
        return found

    def _forward_calls(self, number: int | None, module: nn.Module) -> int:
        """How often a module was called since this was asked last; it counts from the first time on."""
        if number not in self._counts:
            counts = self._counts
            module.register_forward_pre_hook(lambda *_: counts.__setitem__(number, counts[number] + 1))
        found = self._counts.get(number, 0)
        self._counts[number] = 0
        return found

    def _inward(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            self._handed += 1
            here = value.detach().to(self._device)
            return strided(here, self._handed) if self._strided else here.clone()
        if isinstance(value, np.ndarray):
            self._handed += 1
            return (
                strided(as_tensor(value), self._handed).numpy() if self._strided and value.dtype.kind in "biufc" else value.copy()
            )
        if isinstance(value, Remote):
            return self._objects[value.id]
        if isinstance(value, Named):
            return self._resolve(Target(value.name))
        if isinstance(value, dict):
            return {key: self._inward(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._inward(item) for item in value)
        return value

    def _outward(self, value: Any) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if isinstance(value, Tensor):
            plain = value.detach().as_subclass(Tensor)
            return plain.to("cpu", copy=True) if plain.layout is torch.strided else plain.to_dense().cpu()
        if isinstance(value, np.ndarray):
            return np.array(value)
        if isinstance(value, np.generic):  # a NumPy scalar is a number
            return self._outward(value.item())
        if kind in (list, tuple):
            return kind(self._outward(item) for item in value)
        if isinstance(value, dict):
            return {str(key): self._outward(item) for key, item in value.items()}
        if isinstance(value, tuple):  # named tuples
            return tuple(self._outward(item) for item in value)
        return self._keep(value)

    def _keep(self, value: Any, identity: int | None = None) -> Remote:
        number = len(self._objects) + 1 if identity is None else identity
        self._objects[number] = value
        return Remote(number, type(value).__name__)


def _leaves(value: Any) -> Iterator[Any]:
    """What nested lists and tuples hold, in its order."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def moved(value: Any, how: str) -> Any:
    """`value` with its modules and floating tensors and arrays in the dtype called `how`, or all tensors on `meta`."""
    if isinstance(value, nn.Module):
        return value.to("meta") if how == "meta" else value.to(getattr(torch, how))
    if isinstance(value, Tensor):
        if how == "meta":
            return value.to("meta")
        return value.to(getattr(torch, how)) if value.is_floating_point() else value
    if isinstance(value, np.ndarray):
        return value.astype(how) if value.dtype.kind == "f" else value
    if isinstance(value, list | tuple):
        return type(value)(moved(item, how) for item in value)
    if isinstance(value, dict):
        return {key: moved(item, how) for key, item in value.items()}
    return value


def last_line(error: BaseException) -> str:
    """The innermost line of the answer that the error passed through, with its number inside of its function."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_answer_file(f.filename)]
    if not frames:
        return ""
    return f"in {frames[-1].name}: {frames[-1].line}" if frames[-1].line else f"in {frames[-1].name}"
