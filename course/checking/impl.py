"""`impl`: how a test meets an implementation, whichever it is and wherever it runs.

    impl.kl_divergence(mu, logvar)                   call a function
    model = impl.VAE(impl.Config(latent=3))          construct; objects are held by handle
    model(x, y, noise); model.decode(z, y)           call an object, or one of its methods
    model.train(); model.state_dict(); ...           what every nn.Module has
    model.forward_calls()                            how often it was called since this was asked last
    impl.vjp("elbo", x, y, wrt=0)                    gradients; `wrt=(0, 1)` for several
    model.vjp(x, y, wrt="parameters", cotangent=g)   gradients of an object's parameters
    impl.given("bigram")                             a function to be passed to another function
    model.reference                                  the trusted side's own module, from which a truth may be taken
    model.fresh_state()                              names, shapes and dtypes of its weights, to draw others by

Values are tensors, arrays, numbers, strings, None, and lists, tuples and dicts of these. What a call returns is held
against the jaxtyping signature of the reference, so that a wrong shape is caught wherever it would broadcast. Where a float, an int or
a bool is promised, NumPy's scalars and tensors without axes are taken as numbers.
"""

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from course.checking.promises import as_promised, check_signature, signature_of
from course.checking.rules import WAYS, RuleBroken, ask_elsewhere, judge_changes
from course.checking.twins import CASTS, Call, Twins
from course.wire import Changed, ImplementationError, Named, Remote, Target, describe

OF_TORCH = ("state_dict", "load_state_dict", "train", "eval")  # what every module has, whatever the unit says


class Backend(Protocol):
    """Where calls go: an `Executor` in this process, or a connection to one in a sandbox.

    `construct` and `tell` may wait until a value is asked for; `settle` makes sure of them.
    """

    def seed(self, seed: int, thorough: bool = False) -> None: ...
    def call(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any: ...
    def construct(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Remote: ...
    def tell(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None: ...
    def settle(self) -> None: ...
    def vjp(
        self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], wrt: Sequence[int] | str, cotangent: Any
    ) -> Any: ...


class WrongType(ImplementationError):
    """A call returned something that its signature does not promise."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(what, "", message)


TRIES = 3
_asked: WeakKeyDictionary[Backend, dict[str, int]] = WeakKeyDictionary()  # in how many cases each stub was asked elsewhere


class Impl:
    """One implementation of a unit. `reference` is the unit's own module: it gives signatures, and twins of what is constructed."""

    def __init__(self, backend: Backend, reference: types.ModuleType) -> None:
        self._backend = backend
        self._reference = reference
        self._twins = Twins(reference)
        self._stubs: set[str] = set()
        self._complaint: RuleBroken | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(Target(name), getattr(self._reference, name, None), args, kwargs)

        return call

    def seed(self, seed: int, *, thorough: bool = False, stubs: Iterable[str] = ()) -> None:
        """Begin a round: seed the implementation's own randomness; handles of earlier rounds are void.

        thorough: whether inputs are strided views, and modules are watched. stubs: those whose first call is made again on a device
        without numbers and, once for a backend, in other dtypes.
        """
        self._backend.seed(seed, thorough)
        self._twins.begin()
        self._complaint = None if thorough else self._complaint
        self._stubs = set(stubs)

    def settle(self) -> None:
        """End a round: what was asked for is done, and an object that cannot be made has raised, though nobody has used it."""
        self._backend.settle()

    def conclude(self) -> None:
        """End a case that has passed: raise what was wrong in other dtypes or on another device. A wrong value is told before that."""
        if self._complaint is not None:
            raise self._complaint

    def given(self, name: str) -> Named:
        """A function or class of the implementation, to be passed to another of its functions."""
        return Named(name)

    def vjp(self, function: str, *args: Any, wrt: int | Sequence[int], cotangent: Any = None, **kwargs: Any) -> Any:
        """Gradient of `function(*args)` with respect to the argument(s) at `wrt`, weighted by `cotangent` (1 for a scalar)."""
        return self._vjp(Target(function), args, kwargs, wrt, cotangent)

    def _vjp(self, target: Target, args: Any, kwargs: Any, wrt: Any, cotangent: Any) -> Any:
        positions = wrt if isinstance(wrt, str) else [wrt] if isinstance(wrt, int) else list(wrt)
        gradients = self._backend.vjp(target, _lower(args), _lower(kwargs), positions, _lower(cotangent))
        return gradients[0] if isinstance(wrt, int) else gradients

    def _call(self, target: Target, reference: Any, args: Any, kwargs: Any) -> Any:
        lowered, named = _lower(args), _lower(kwargs)
        if inspect.isclass(reference):
            made = self._backend.construct(target, lowered, named)
            self._twins.note(target, lowered, named, made)
            return Handle(self, made, reference)  # the class that was called, whatever the object says of its type
        try:
            came = self._backend.call(target, lowered, named)
        except ImplementationError as error:
            if error.changes and reference is not None:  # whoever expected the error asks whether they were allowed
                error.broken = self._broken(reference, error.changes, target, lowered, named)
            raise
        value, changes = (came.value, came.changes) if isinstance(came, Changed) else (came, [])
        call = self._twins.note(target, lowered, named, value)
        if reference is not None:
            name = getattr(reference, "__qualname__", target.name)
            complaint = check_signature(reference, args, kwargs, value, skip_self=target.object_id is not None)
            if complaint:
                raise WrongType(name, f"{name} returned {describe(value)}, expected {complaint}")
            if changes:
                judge_changes(reference, changes, call, self._twins)
            if name in self._stubs:  # its first call in this case
                self._stubs.discard(name)
                self._ask_elsewhere(name, reference, call, changed=bool(changes))
            value = as_promised(value, signature_of(reference).return_annotation)
        return self._lift(value)

    def _broken(
        self, reference: Callable[..., Any], changes: list[Any], target: Target, args: Any, kwargs: Any
    ) -> RuleBroken | None:
        """What is wrong with a call that raised, beside its error."""
        try:
            judge_changes(reference, changes, self._twins.note(target, args, kwargs, None), self._twins)
        except RuleBroken as broken:
            return broken
        return None

    def _tell(self, target: Target, args: Any, kwargs: Any) -> None:
        lowered, named = _lower(args), _lower(kwargs)
        self._backend.tell(target, lowered, named)
        self._twins.note(target, lowered, named, None)

    def _ask_elsewhere(self, stub: str, reference: Callable[..., Any], call: Call, *, changed: bool) -> None:
        """Once for a backend; on `meta` in up to `TRIES` cases, until the function could go on there."""
        asked = _asked.setdefault(self._backend, {})
        tries = asked.get(stub, 0)
        if tries < TRIES:
            asked[stub] = tries + 1
            ways = ("meta",) if tries else WAYS
            try:
                if ask_elsewhere(reference, call, self._twins, self._backend.call, ways, changed=changed):
                    asked[stub] = TRIES
            except RuleBroken as complaint:
                self._complaint = self._complaint or complaint
                asked[stub] = tries  # the same questions again are to have the same verdict

    def _check_state(self, remote: Remote, kind: str, state: Any) -> None:
        """Raise WrongType unless a module's weights have the names, shapes and dtypes that the reference's have."""
        fresh = self._twins.fresh_state(remote)
        if not fresh:
            return
        if type(state) is not dict:
            raise WrongType(kind, f"the state_dict of {kind} is {describe(state)}, expected a dict")
        for name, own in fresh.items():
            expected = describe(own)
            if name not in state:
                raise WrongType(
                    kind, f"{kind} has no parameter `{name}`, expected {expected}; keep the given modules as they are"
                )
            value = state[name]
            if not isinstance(value, Tensor) or value.shape != own.shape or value.dtype != own.dtype:
                raise WrongType(kind, f"`{name}` of {kind} is {describe(value)}, expected {expected}")
        if len(state) > len(fresh):
            raise WrongType(
                kind, f"{kind} has {len(state)} parameters and buffers, expected {len(fresh)}: {', '.join(fresh)[:200]}"
            )

    def _lift(self, value: Any) -> Any:
        if isinstance(value, Remote):
            return Handle(self, value, getattr(self._reference, value.type_name, None))
        if type(value) in (list, tuple):
            return type(value)(self._lift(item) for item in value)
        if type(value) is dict:
            return {key: self._lift(item) for key, item in value.items()}
        return value


class Handle:
    """An object that lives on the implementation's side."""

    def __init__(self, impl: Impl, remote: Remote, reference: type | None) -> None:
        self._impl, self._remote, self._class = impl, remote, reference

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        reference = getattr(self._class, "forward", None)  # of a module; other objects are called without a signature
        return self._impl._call(Target("__call__", self._remote.id), reference, args, kwargs)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        reference = getattr(self._class, name, None)
        if name in OF_TORCH or (reference is not None and reference is getattr(nn.Module, name, None)):
            reference = None  # torch's own, not the unit's

        target = Target(name, self._remote.id)

        def tell(*args: Any, **kwargs: Any) -> "Handle | None":
            self._impl._tell(target, args, kwargs)
            return self if name in CASTS else None

        def call(*args: Any, **kwargs: Any) -> Any:
            value = self._impl._call(target, reference, args, kwargs)
            if name == "state_dict" and not args and not kwargs:
                self._impl._check_state(self._remote, self._class.__name__ if self._class else "", value)
            return value

        return tell if reference is None and name in (*CASTS, *OF_TORCH[1:]) else call

    @property
    def reference(self) -> nn.Module:
        """The module of the trusted side that was made by the same calls, in the same mode, to take a truth from.

        It has the weights that the test has loaded, or, if it has loaded none, those of the implementation.
        """
        return self._impl._twins.module(self._remote, self.state_dict)

    def fresh_state(self) -> dict[str, Tensor]:
        """A state_dict of the names, shapes and dtypes that this module must have, to draw other weights by. Nobody is asked for it: it
        is the trusted side's. Copies."""
        fresh = self._impl._twins.fresh_state(self._remote) or self.state_dict()
        return {name: value.clone() for name, value in fresh.items()}

    def vjp(
        self, *args: Any, wrt: int | Sequence[int] | str, cotangent: Any = None, method: str = "__call__", **kwargs: Any
    ) -> Any:
        """Gradients of a call of this object (or of its `method`): by argument position, or of its "parameters"."""
        return self._impl._vjp(Target(method, self._remote.id), args, kwargs, wrt, cotangent)


def _lower(value: Any) -> Any:
    """Handles become what the wire carries."""
    if isinstance(value, Handle):
        return value._remote
    if isinstance(value, list | tuple):
        return type(value)(_lower(item) for item in value)
    if isinstance(value, dict):
        return {key: _lower(item) for key, item in value.items()}
    return value
