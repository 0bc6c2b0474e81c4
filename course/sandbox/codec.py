"""The wire between the grader and a sandbox: length-prefixed messages of JSON, and the bytes of tensors behind it.

A message is one value: None, bool, int (64 bits), float, str, list, tuple, dict with string keys, a tensor, a NumPy array, a `Remote` or
a `Named`. Both sides use this file; on the trusted side it reads bytes that an attacker wrote. So decoding believes nothing: every count is
capped before memory is spent on it, every number is checked, and whatever is odd raises `WireError`. Nothing is ever unpickled or evaluated.

In JSON a plain scalar stands for itself, and all else is an array that begins with its kind; there are no objects. A tensor says its dtype
and shape, and takes the next bytes of the blob: so each byte belongs to one tensor, whatever a message says.
"""

import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course.wire import Changed, Named, Remote

MAX_MESSAGE = 64 << 20  # bytes of one message, JSON and blob together
MAX_JSON = 4 << 20
MAX_STRING = 1 << 20
MAX_NAME = 256  # of a class or function
MAX_DEPTH = 32
MAX_NODES = 100_000  # values in one message
MAX_ITEMS = 50_000  # in one list, tuple or dict
MAX_TENSORS = 4096
MAX_DIMS = 16
HEADER = struct.Struct(">II")  # bytes of JSON, bytes of blob

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
NUMPY_CODES = {np.dtype(name): code for name, code in (
    ("bool", "BOOL"), ("uint8", "U8"), ("int8", "I8"), ("uint16", "U16"), ("int16", "I16"), ("uint32", "U32"), ("int32", "I32"),
    ("uint64", "U64"), ("int64", "I64"), ("float16", "F16"), ("float32", "F32"), ("float64", "F64"), ("complex64", "C64"),
)}  # fmt: skip
FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
LOW, HIGH = -(2**63), 2**63 - 1
LIST, TUPLE, DICT, FLOAT, TENSOR, COMPLEX, ARRAY, REMOTE, NAMED, CHANGED = "ltdfxcarnw"  # kinds
NUMPY_DTYPES = {DTYPES[code] for code in NUMPY_CODES.values()}


class WireError(Exception):
    """A message breaks the rules, or a value cannot be put in one. The text is short and repeats nothing of the message."""


def encode(value: Any) -> bytes:
    """The message of `value`, with its length in front. Raises WireError if the wire does not carry such a value."""
    tensors: list[bytes] = []
    body = json.dumps(_pack(value, tensors, 0), allow_nan=False, separators=(",", ":")).encode()
    blob = sum(map(len, tensors))
    if len(body) > MAX_JSON or len(tensors) > MAX_TENSORS or HEADER.size + len(body) + blob > MAX_MESSAGE:
        raise WireError(f"a message of {len(body) + blob} bytes and {len(tensors)} tensors is more than the wire carries")
    return b"".join([HEADER.pack(len(body), blob), body, *tensors])


def decode(message: bytes | bytearray) -> Any:
    """The value in a whole message as `encode` made it. Raises WireError, and nothing else, on any other bytes."""
    if len(message) < HEADER.size:
        raise WireError("the message is cut short")
    size = sum(body_sizes(bytes(message[: HEADER.size])))
    if len(message) != HEADER.size + size:
        raise WireError("the message is cut short" if len(message) < HEADER.size + size else "bytes follow the message")
    view = memoryview(message)[HEADER.size :]
    length = HEADER.unpack(message[: HEADER.size])[0]
    try:
        reader = _Reader(view[length:])
        value = reader.value(_parse_json(bytes(view[:length])), 0)
        reader.finish()
        return value
    except (RecursionError, MemoryError):
        raise WireError("the message is nested too deeply or too large") from None


def body_sizes(header: bytes) -> tuple[int, int]:
    """Bytes of JSON and of blob that follow a header. Raises WireError if they are more than is allowed."""
    body, blob = HEADER.unpack(header)
    if not 0 < body <= MAX_JSON or HEADER.size + body + blob > MAX_MESSAGE:
        raise WireError(f"a message of {body + blob} bytes is announced, more than is allowed")
    return body, blob


def read_message(read: Callable[[int], bytes | bytearray]) -> Any:
    """One value from a stream. `read(n)` gives exactly n bytes or raises."""
    header = bytes(read(HEADER.size))
    return decode(header + read(sum(body_sizes(header))))


# Encoding


def _pack(value: Any, tensors: list[bytes], depth: int) -> Any:
    """What stands in JSON for a value; the bytes of tensors are put behind the others."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        if not LOW <= value <= HIGH:
            raise WireError("integers beyond 64 bits are not carried")
        return value
    if kind is float:
        return value if math.isfinite(value) else [FLOAT, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"]
    if kind is str:
        return _clean(value, MAX_STRING)
    if depth >= MAX_DEPTH:
        raise WireError(f"values nested deeper than {MAX_DEPTH} are not carried")
    if kind in (list, tuple):
        return [LIST if kind is list else TUPLE, *[_pack(item, tensors, depth + 1) for item in _few(value)]]
    if kind is dict:
        packed: list[Any] = [DICT]
        for key, item in _few(value).items():
            if type(key) is not str:
                raise WireError("a dict is carried only with strings as keys")
            packed += (_clean(key, MAX_STRING), _pack(item, tensors, depth + 1))
        return packed
    if isinstance(value, Tensor):
        return _pack_tensor(value, tensors)
    if isinstance(value, np.ndarray):
        code = NUMPY_CODES.get(value.dtype.newbyteorder("="))
        if code is None or value.ndim > MAX_DIMS:
            raise WireError("an array of this dtype is not carried")
        _put(value.astype(value.dtype.newbyteorder("<"), copy=False), tensors)
        return [ARRAY, code, list(value.shape)]
    if kind is Remote:
        return [REMOTE, value.id, _clean(value.type_name, MAX_NAME)]
    if kind is Changed:
        return [CHANGED, _pack(value.value, tensors, depth + 1), _pack(value.changes, tensors, depth + 1)]
    if kind is Named:
        return [NAMED, _clean(value.name, MAX_NAME)]
    raise WireError(f"a value of type {kind.__name__[:64]} is not carried")


def _pack_tensor(value: Tensor, tensors: list[bytes]) -> list[Any]:
    """A tensor's kind, dtype and shape; its bytes go to the others."""
    dtype = value.dtype
    code = "C128" if dtype is torch.complex128 else CODES.get(dtype)
    if value.layout is not torch.strided or code is None or value.ndim > MAX_DIMS:
        raise WireError(f"a tensor of {str(dtype).removeprefix('torch.')} and {value.ndim} axes is not carried")
    plain = value.detach().as_subclass(Tensor).resolve_conj().resolve_neg()
    if plain.device.type != "cpu":
        plain = plain.to("cpu")
    if dtype not in NUMPY_DTYPES and dtype is not torch.complex128:
        _check_size(plain.nbytes)
        # A copy: an axis of one element may have any stride and still count as contiguous, and cannot be seen as bytes then.
        plain = plain.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)
    _put(plain.numpy(), tensors)
    shape = list(value.shape)
    return [COMPLEX, shape] if code == "C128" else [TENSOR, code, shape]


def _put(array: np.ndarray, tensors: list[bytes]) -> None:
    _check_size(array.nbytes)
    tensors.append(array.tobytes())


def _check_size(size: int) -> None:
    """Refuse it before a view of many repetitions is written out."""
    if size > MAX_MESSAGE:
        raise WireError(f"a message of {size} bytes and 1 tensors is more than the wire carries")


def _few(value: Any) -> Any:
    if len(value) > MAX_ITEMS:
        raise WireError(f"{len(value)} items in one {type(value).__name__} are more than is carried")
    return value


def _clean(text: str, limit: int) -> str:
    if len(text) > limit:
        raise WireError(f"a string of {len(text)} characters is more than is carried")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise WireError("a string with lone surrogates is not carried")
    return text


# Decoding


def _parse_json(raw: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, no objects, no lone surrogates, no nesting beyond what a value can need."""
    _survey(raw)
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_refuse, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise WireError("the message is not UTF-8") from None
    except ValueError:  # or an integer of thousands of digits
        raise WireError("the message is not JSON") from None


def _survey(raw: bytes) -> None:
    """Refuse what nests or counts beyond any value of ours, before a parser recurses into it or spends memory on it."""
    most_deep, most_values = 2 * MAX_DEPTH + 4, 4 * MAX_NODES
    if raw.count(b"[") + raw.count(b"{") <= most_deep and len(raw) <= most_values:
        return  # it cannot, even if no bracket is part of a string
    # A string that never closes is taken to the end, so that this is one pass whatever the quotes.
    bare = re.sub(rb'"(?:[^"\\]++|\\.)*+"?', b"", raw, flags=re.DOTALL)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > most_values:
        raise WireError("the message has too many values")
    depth = 0
    for mark in re.findall(rb"[\[\]{}]", bare):
        depth += 1 if mark in b"[{" else -1
        if depth > most_deep:
            raise WireError("the message is nested too deeply")


def _refuse(_: Any) -> Any:
    raise WireError("the message has an object, or a number that JSON does not have")


def _string(value: Any, limit: int) -> str:
    if type(value) is not str or len(value) > limit:
        raise WireError("the message has a string that is none, or too long")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise WireError("the message has a string with lone surrogates")
    return value


class _Reader:
    """Makes the values of one message. blob: the bytes of its tensors, of which each is used once."""

    def __init__(self, blob: memoryview) -> None:
        self._blob, self._at, self._nodes, self._tensors = blob, 0, 0, 0

    def finish(self) -> None:
        if self._at != len(self._blob):
            raise WireError("bytes follow the tensors")

    def value(self, item: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise WireError("the message has too many values, or nests them too deeply")
        kind = type(item)
        if item is None or kind is bool:
            return item
        if kind is int:
            if not LOW <= item <= HIGH:
                raise WireError("the message has an integer beyond 64 bits")
            return item
        if kind is float:
            if not math.isfinite(item):
                raise WireError("the message has a number beyond 64 bits")
            return item
        if kind is str:
            return _string(item, MAX_STRING)
        if not item or type(item[0]) is not str:
            raise WireError("the message has a value of no known kind")
        return self._compound(item[0], item, depth)

    def _compound(self, kind: str, item: list[Any], depth: int) -> Any:
        size = len(item)
        if size > 1 + MAX_ITEMS * (2 if kind == DICT else 1):
            raise WireError("a value has too many items")
        if kind == LIST:
            return [self.value(part, depth + 1) for part in item[1:]]
        if kind == TUPLE:
            return tuple(self.value(part, depth + 1) for part in item[1:])
        if kind == DICT and size % 2:
            found: dict[str, Any] = {}
            for key, part in zip(item[1::2], item[2::2], strict=True):
                if _string(key, MAX_STRING) in found:
                    raise WireError("a dict repeats a key")
                found[key] = self.value(part, depth + 1)
            return found
        if kind == TENSOR and size == 3:
            return self._tensor(item[1], item[2])
        if kind == ARRAY and size == 3:
            tensor = self._tensor(item[1], item[2])
            if tensor.dtype not in NUMPY_DTYPES:
                raise WireError("an array has a dtype that NumPy does not know")
            return tensor.numpy()
        if kind == FLOAT and size == 2 and type(item[1]) is str and item[1] in FLOATS:
            return FLOATS[item[1]]
        if kind == COMPLEX and size == 2 and type(item[1]) is list:
            return torch.view_as_complex(self._tensor("F64", [*item[1], 2]))
        if kind == REMOTE and size == 3 and type(item[1]) is int and 0 <= item[1] <= HIGH:
            return Remote(item[1], name(_string(item[2], MAX_NAME), "object"))
        if kind == NAMED and size == 2:
            return Named(_string(item[1], MAX_NAME))
        if kind == CHANGED and size == 3 and depth == 1:
            came, changes = self.value(item[1], depth + 1), self.value(item[2], depth + 1)
            if type(changes) is not list:
                raise WireError("what a call has changed is malformed")
            return Changed(came, changes)
        raise WireError("the message has a value of no known kind")

    def _tensor(self, code: Any, shape: Any) -> Tensor:
        """The tensor whose bytes begin where the last one's ended."""
        if type(code) is not str or code not in DTYPES:
            raise WireError("a tensor has an unknown dtype")
        if type(shape) is not list or len(shape) > MAX_DIMS + 1:
            raise WireError("a tensor has an impossible shape")
        dtype = DTYPES[code]
        size = room = dtype.itemsize
        for n in shape:
            if type(n) is not int or not 0 <= n <= MAX_MESSAGE:
                raise WireError("a tensor has an impossible shape")
            size *= n
            room *= n or 1
        self._tensors += 1
        start, end = self._at, self._at + size
        # torch multiplies the sizes of an empty tensor too when it makes strides: keep that from overflowing.
        if self._tensors > MAX_TENSORS or end > len(self._blob) or room > 2**40:
            raise WireError("a tensor's shape asks for more bytes than came")
        if start == end:
            return torch.empty(shape, dtype=dtype)
        self._at = end
        raw = bytearray(self._blob[start:end])
        if dtype is torch.bool and raw.translate(None, b"\0\1"):
            raise WireError("a boolean tensor holds bytes that are neither true nor false")
        return torch.frombuffer(raw, dtype=dtype).reshape(shape)


def name(text: str, instead: str) -> str:
    """`text` if it is fit for a report: a name of Python of at most 60 characters, its digits only if there are few; else `instead`."""
    if len(text) > 60 or not text.isidentifier():
        return instead
    return text if sum(map(str.isnumeric, text)) <= 2 else "".join("_" if c.isnumeric() else c for c in text)
