"""The trusted side's own objects: the calls of a round made again on the reference, as far as somebody asks.

What a stranger's process says of its modules is only what a stranger says. So names, shapes and dtypes of weights, the modules from
which tests take a truth, and what a call may change are asked of objects made here, by the same calls with the same arguments.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from course.executor import Executor
from course.guard import Change
from course.wire import Changed, ImplementationError, Named, Remote, Target

State = dict[str, Tensor]  # weights and buffers, by name
CASTS = {"double": torch.float64, "float": torch.float32, "bfloat16": torch.bfloat16, "half": torch.float16}

_fresh: dict[tuple, State] = {}  # by class and arguments: sizes are small, so they come again
MOST = 4096  # of them


@dataclass
class Call:
    """One call of a round, and what came back from the implementation. `value` is what the reference returned, once it was asked."""

    target: Target
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    came: Any
    value: Any = None
    changes: Sequence[Change] = ()
    failed: bool = False  # on the reference


class Twins:
    """Keeps the calls of a round, and makes them again on `reference` when `last`, `of` or `elsewhere` is asked."""

    def __init__(self, reference: types.ModuleType) -> None:
        self._reference = reference
        self.begin()

    def begin(self) -> None:
        """Forget the round before."""
        self._executor = Executor(vars(self._reference), watchful=True)
        self._calls: list[Call] = []
        self._made = 0
        self._ids: dict[int, int] = {}  # of an object there -> of its twin here
        self._constructed: dict[int, Call] = {}  # by the object there
        self._casts: dict[int, torch.dtype] = {}  # by the object there
        self._loaded: set[int] = set()  # ids of the twins of which a test has set the weights

    def note(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], came: Any) -> Call:
        """Keep a call that the implementation has answered. Weights that are loaded are copied: a test may go on to change them."""
        if target.name == "load_state_dict":
            args = _copied(list(args))
        call = Call(target, args, kwargs, came)
        self._calls.append(call)
        if isinstance(came, Remote) and isinstance(vars(self._reference).get(target.name), type) and target.object_id is None:
            self._constructed.setdefault(came.id, call)
        if target.object_id is not None and target.name in CASTS:
            self._casts[target.object_id] = CASTS[target.name]
        return call

    def last(self) -> Call:
        """The call that was noted last, with what the reference returned and changed."""
        self._catch_up()
        return self._calls[-1]

    def of(self, remote: Remote) -> Any:
        """The twin of an object; None where the reference made none at that point."""
        self._catch_up()
        return self._executor.held(self._ids[remote.id]) if remote.id in self._ids else None

    def fresh_state(self, remote: Remote) -> State:
        """The weights and buffers of such an object, newly made: their names, shapes and dtypes are those that it must have. Empty if it
        is no module of a class of the reference.

        It is constructed, and no more: what has been called of it since changes none of that but the dtype.
        """
        call = self._constructed.get(remote.id)
        if call is None or not issubclass(vars(self._reference)[call.target.name], nn.Module):
            return {}
        key = self._key(call)
        if key not in _fresh:
            state = torch.default_generator.get_state()
            built = self._built(remote)
            torch.default_generator.set_state(state)
            if len(_fresh) > MOST:
                _fresh.clear()
            _fresh[key] = dict(built.state_dict())
        cast = self._casts.get(remote.id)
        fresh = _fresh[key]
        return {
            name: value.to(cast) if cast is not None and value.is_floating_point() else value for name, value in fresh.items()
        }

    def _key(self, value: Any) -> Any:
        """What two constructions have in common that come to the same."""
        if isinstance(value, Call):
            return vars(self._reference)[value.target.name], self._key(tuple(value.args)), self._key(dict(value.kwargs))
        if isinstance(value, Remote):
            return self._key(self._constructed[value.id]) if value.id in self._constructed else object()
        if isinstance(value, list | tuple):
            return type(value), *map(self._key, value)
        if isinstance(value, dict):
            return dict, *((name, self._key(item)) for name, item in value.items())
        return (type(value), value) if isinstance(value, int | float | str | None | Named) else object()

    def _built(self, value: Any) -> Any:
        """A value in which constructed objects are constructed here."""
        if isinstance(value, Remote):
            call = self._constructed.get(value.id)
            if call is None:
                return self.of(value)
            return vars(self._reference)[call.target.name](*self._built(list(call.args)), **self._built(dict(call.kwargs)))
        if isinstance(value, Named):
            return vars(self._reference)[value.name]
        if isinstance(value, list | tuple):
            return type(value)(map(self._built, value))
        if isinstance(value, dict):
            return {name: self._built(item) for name, item in value.items()}
        return value

    def module(self, remote: Remote, state: Callable[[], Mapping[str, Tensor]]) -> nn.Module:
        """The twin of a module. It has the weights that the test has loaded; if it never did, those that `state` gives."""
        twin = self.of(remote)
        if id(twin) not in self._loaded:
            twin.load_state_dict(state())
        return twin

    def elsewhere(self, call: Call, how: str) -> list[Any]:
        """The call on the reference with `Target.how`. Raises ImplementationError if the reference cannot do that."""
        self._catch_up()
        return self._ask(replace(call.target, how=how), call)

    def _catch_up(self) -> None:
        state = torch.default_generator.get_state()
        try:
            for call in self._calls[self._made :]:
                self._made += 1
                try:
                    value = self._ask(call.target, call)
                except ImplementationError as error:
                    call.failed, call.changes = True, error.changes
                    continue
                call.value, call.changes = (value.value, value.changes) if isinstance(value, Changed) else (value, ())
                self._pair(call.came, call.value)
                if call.target.name == "load_state_dict":
                    self._loaded.add(id(self._executor.held(self._ids[call.target.object_id or 0])))
        finally:
            torch.default_generator.set_state(state)

    def _ask(self, target: Target, call: Call) -> Any:
        if target.object_id is not None:
            target = replace(target, object_id=self._translated(Remote(target.object_id, target.name)).id)
        return self._executor.call(target, self._translated(list(call.args)), self._translated(dict(call.kwargs)))

    def _translated(self, value: Any) -> Any:
        """Objects there become their twins. Raises ImplementationError if one has none."""
        if isinstance(value, Remote):
            if value.id not in self._ids:
                raise ImplementationError(value.type_name, "", "the reference made no such object")
            return Remote(self._ids[value.id], value.type_name)
        if isinstance(value, list | tuple):
            return type(value)(self._translated(item) for item in value)
        if isinstance(value, dict):
            return {key: self._translated(item) for key, item in value.items()}
        return value

    def _pair(self, came: Any, own: Any) -> None:
        """Say which objects of two values stand for each other."""
        if isinstance(came, Remote) and isinstance(own, Remote):
            self._ids.setdefault(came.id, own.id)
        elif isinstance(came, list | tuple) and isinstance(own, list | tuple):
            for pair in zip(came, own, strict=False):
                self._pair(*pair)
        elif isinstance(came, dict) and isinstance(own, dict):
            for key in came.keys() & own.keys():
                self._pair(came[key], own[key])


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value
