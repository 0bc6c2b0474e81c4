"""What a signature of the reference promises of a value, and whether the value is that."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jaxtyping
import numpy as np
from torch import Tensor

from course.wire import Remote


def check_signature(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], value: Any, *, skip_self: bool = False
) -> str:
    """What was expected of `value` by the signature of `function`, if it is not that; else the empty string.

    Dimensions named in the arguments' annotations are bound to the sizes that came, so `Float[Tensor, " B"]` means *this* B.
    """
    try:
        signature = signature_of(function)
        bound = signature.bind(*((None, *args) if skip_self else args), **kwargs)
    except (TypeError, ValueError):
        return ""
    expected = signature.return_annotation
    if expected is inspect.Signature.empty:
        return ""
    with jaxtyping.jaxtyped("context"):
        sizes: dict[str, int] = {}
        for name, argument in bound.arguments.items():
            annotation = signature.parameters[name].annotation
            for part in typing.get_args(annotation) or (annotation,):  # `Float[...] | None` too
                if isinstance(argument, Tensor | np.ndarray) and _is_array(part) and isinstance(argument, part):
                    sizes |= _named_sizes(part, argument)
        return "" if _conforms(value, expected) else _spell(expected, sizes)


@lru_cache(maxsize=1024)
def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _is_array(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray)


def _conforms(value: Any, annotation: Any) -> bool:
    """Whether `value` is of the annotated type, as far as the annotation speaks of what can cross the wire."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or isinstance(annotation, str | typing.TypeVar):
        return True
    if annotation is None or annotation is types.NoneType:
        return value is None
    if _is_array(annotation):
        value = as_promised(value, annotation)
        try:
            return isinstance(value, Tensor | np.ndarray) and isinstance(value, annotation)
        except jaxtyping.AnnotationError:  # a sum such as T+N of which one part was not given
            return value.ndim == len(annotation.dim_str.split())
    if origin in (typing.Union, types.UnionType):
        return any(_conforms(value, argument) for argument in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return type(value) in (tuple, list) and all(_conforms(item, arguments[0]) for item in value)
        return (
            type(value) in (tuple, list)
            and len(value) == len(arguments)
            and all(_conforms(item, argument) for item, argument in zip(value, arguments, strict=True))
        )
    if origin is list:
        return isinstance(value, list) and all(_conforms(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_conforms(item, arguments[1]) for item in value.values())
    if annotation is Tensor:
        return isinstance(value, Tensor)
    if annotation in NUMBERS:
        return type(as_promised(value, annotation)) in NUMBERS[annotation]
    if annotation is str:
        return type(value) is str
    if annotation is np.ndarray:
        return isinstance(value, np.ndarray)
    if inspect.isclass(annotation):
        return isinstance(value, Remote)
    return True


NUMBERS = {float: (float, int), int: (int,), bool: (bool,)}  # what is taken for each of them


def as_promised(value: Any, annotation: Any) -> Any:
    """`value`, in which arrays and tensors without axes have become numbers where the annotation promises some; and numbers have become
    arrays without axes where it promises NumPy's, whose functions make no difference between the two."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in NUMBERS:
        single = isinstance(value, np.ndarray | Tensor) and value.ndim == 0
        number = value.item() if single else value
        return number if type(number) in NUMBERS[annotation] else value
    if type(value) in (float, int, bool) and _is_array(annotation) and annotation.array_type is np.ndarray:
        return np.asarray(value)
    if origin in (typing.Union, types.UnionType):
        number = type(value) in (float, int, bool)
        kinds = sorted(arguments, key=lambda kind: kind not in NUMBERS) if number else [k for k in arguments if k in NUMBERS]
        return next((as_promised(value, kind) for kind in kinds if _conforms(value, kind)), value)
    if origin is tuple and type(value) in (tuple, list):
        kinds = [arguments[0]] * len(value) if arguments[1:] == (Ellipsis,) else list(arguments)
        return type(value)(map(as_promised, value, kinds))
    if origin is list and type(value) is list:
        return [as_promised(item, arguments[0]) for item in value]
    if origin is dict and type(value) is dict:
        return {key: as_promised(item, arguments[1]) for key, item in value.items()}
    return value


def _named_sizes(annotation: Any, tensor: Tensor | np.ndarray) -> dict[str, int]:
    """The sizes that a tensor or an array gives to the dimensions named in its annotation; none where some may repeat."""
    names = annotation.dim_str.split()
    return dict(zip(names, tensor.shape, strict=True)) if len(names) == tensor.ndim else {}


def _spell(annotation: Any, sizes: Mapping[str, int]) -> str:
    """An annotation in words, the sizes of its named dimensions filled in where they are known."""
    if _is_array(annotation):
        dims = [str(sizes.get(name, name)) for name in annotation.dim_str.split()]
        kind = annotation.__name__.split("[")[0].lower()
        thing = "NumPy array" if annotation.array_type is np.ndarray else "tensor"
        return f"a {kind} {thing} of shape ({', '.join(dims)}{',' if len(dims) == 1 else ''})"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return f"a tuple of {len(arguments)}: " + ", ".join(_spell(argument, sizes) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(argument, sizes) for argument in arguments)
    if origin in (list, dict):
        return f"a {origin.__name__}, each item {_spell(arguments[-1], sizes)}" if arguments else f"a {origin.__name__}"
    if annotation is None or annotation is types.NoneType:
        return "None"
    return f"a {getattr(annotation, '__name__', annotation)}"
