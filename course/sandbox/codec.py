"""The wire between the grader and a sandbox: length-prefixed messages of JSON and one safetensors blob.

A message is one value: None, bool, int (64 bits), float, str, list, tuple, dict with string keys, a tensor, a NumPy array, a `Remote` or
a `Named`. Both sides use this file; on the trusted side it reads bytes that an attacker wrote. So decoding believes nothing: every count is
capped before memory is spent on it, every number is checked, and whatever is odd raises `WireError`. Nothing is ever unpickled or evaluated.

The blob has the safetensors layout. It is read here, not by the library, because the library is laxer than an attacker deserves (a boolean
tensor holding the byte 2 is at once true and false), and because the sandbox should hold as little as can be.
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
MAX_BLOB_HEADER = 1 << 20
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


class WireError(Exception):
    """A message breaks the rules, or a value cannot be put in one. The text is short and repeats nothing of the message."""


def encode(value: Any) -> bytes:
    """The message of `value`, with its length in front. Raises WireError if the wire does not carry such a value."""
    tensors: list[tuple[str, tuple[int, ...], bytes]] = []
    body = json.dumps(_pack(value, tensors, 0), allow_nan=False, separators=(",", ":")).encode()
    blob = _write_blob(tensors) if tensors else b""
    if len(body) > MAX_JSON or len(tensors) > MAX_TENSORS or HEADER.size + len(body) + len(blob) > MAX_MESSAGE:
        raise WireError(f"a message of {len(body) + len(blob)} bytes and {len(tensors)} tensors is more than the wire carries")
    return HEADER.pack(len(body), len(blob)) + body + blob


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
        parsed = _parse_json(bytes(view[:length]))
        return _unpack(parsed, _Blob(view[length:]))
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


def _pack(value: Any, tensors: list[tuple[str, tuple[int, ...], bytes]], depth: int) -> Any:
    """JSON of a value. Plain scalars stand for themselves; all else is an object with one key, its kind."""
    if depth > MAX_DEPTH:
        raise WireError(f"values nested deeper than {MAX_DEPTH} are not carried")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        if not LOW <= value <= HIGH:
            raise WireError("integers beyond 64 bits are not carried")
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if kind is str:
        return _clean(value, MAX_STRING)
    if kind in (list, tuple):
        return {kind.__name__: [_pack(item, tensors, depth + 1) for item in _few(value)]}
    if kind is dict:
        if any(type(key) is not str for key in value):
            raise WireError("a dict is carried only with strings as keys")
        return {"dict": [[_clean(key, MAX_STRING), _pack(item, tensors, depth + 1)] for key, item in _few(value).items()]}
    if isinstance(value, Tensor) and value.dtype is torch.complex128 and value.layout is torch.strided:
        # safetensors has no such dtype: it goes as pairs of F64
        return {"complex": _pack(torch.view_as_real(value.detach().as_subclass(Tensor).resolve_conj()), tensors, depth)["tensor"]}
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.dtype not in CODES or value.ndim > MAX_DIMS:
            raise WireError(f"a tensor of {str(value.dtype).removeprefix('torch.')} and {value.ndim} axes is not carried")
        plain = value.detach().as_subclass(Tensor).resolve_conj().resolve_neg().to("cpu").contiguous()
        data = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        tensors.append((CODES[value.dtype], tuple(plain.shape), data))
        return {"tensor": len(tensors) - 1}
    if isinstance(value, np.ndarray):
        code = NUMPY_CODES.get(value.dtype.newbyteorder("="))
        if code is None or value.ndim > MAX_DIMS:
            raise WireError("an array of this dtype is not carried")
        tensors.append((code, value.shape, value.astype(value.dtype.newbyteorder("<"), order="C", copy=False).tobytes()))
        return {"array": len(tensors) - 1}
    if kind is Remote:
        return {"remote": [value.id, _clean(value.type_name, MAX_NAME)]}
    if kind is Changed:
        return {"changed": [_pack(value.value, tensors, depth + 1), _pack(value.changes, tensors, depth + 1)]}
    if kind is Named:
        return {"named": _clean(value.name, MAX_NAME)}
    raise WireError(f"a value of type {kind.__name__[:64]} is not carried")


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


def _write_blob(tensors: list[tuple[str, tuple[int, ...], bytes]]) -> bytes:
    header, start = {}, 0
    for number, (code, shape, data) in enumerate(tensors):
        header[str(number)] = {"dtype": code, "shape": list(shape), "data_offsets": [start, start + len(data)]}
        start += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *(data for _, _, data in tensors)])


# Decoding


def _parse_json(raw: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, no repeated keys, no huge numbers, no lone surrogates, no nesting beyond what a value can need."""
    _survey(raw)
    try:
        parsed = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError:
        raise WireError("the message is not UTF-8") from None
    except ValueError:
        raise WireError("the message is not JSON") from None
    return parsed


def _survey(raw: bytes) -> None:
    """Refuse what nests or counts beyond any value of ours, before a parser recurses into it or spends memory on it."""
    # A string that never closes is taken to the end, so that this is one pass whatever the quotes.
    bare = re.sub(rb'"(?:[^"\\]++|\\.)*+"?', b"", raw, flags=re.DOTALL)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > 4 * MAX_NODES:
        raise WireError("the message has too many values")
    depth = 0
    for mark in re.findall(rb"[\[\]{}]", bare):
        depth += 1 if mark in b"[{" else -1
        if depth > 4 * MAX_DEPTH + 4:
            raise WireError("the message is nested too deeply")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WireError("the message repeats a key")
    return found


def _refuse_constant(_: str) -> Any:
    raise WireError("the message spells a number in a way that JSON does not have")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not LOW <= int(digits) <= HIGH:
        raise WireError("the message has an integer beyond 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= 400 else math.inf
    if not math.isfinite(value):
        raise WireError("the message has a number beyond 64 bits")
    return value


def _string(value: Any, limit: int) -> str:
    if type(value) is not str or len(value) > limit:
        raise WireError("the message has a string that is none, or too long")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise WireError("the message has a string with lone surrogates")
    return value


class _Blob:
    """The tensors of a message, each to be claimed exactly once."""

    def __init__(self, data: memoryview) -> None:
        self._tensors: list[Tensor] = []
        self._claimed: set[int] = set()
        self.nodes = 0
        if not len(data):
            return
        if len(data) < 8:
            raise WireError("the tensors are cut short")
        (length,) = struct.unpack("<Q", data[:8])
        if length > min(MAX_BLOB_HEADER, len(data) - 8):
            raise WireError("the tensors' header is longer than is allowed")
        header, body = _parse_json(bytes(data[8 : 8 + length])), data[8 + length :]
        if type(header) is not dict or len(header) > MAX_TENSORS or list(header) != [str(i) for i in range(len(header))]:
            raise WireError("the tensors' header is malformed")
        end = 0
        for entry in header.values():
            tensor, end = _read_tensor(entry, body, end)
            self._tensors.append(tensor)
        if end != len(body):
            raise WireError("bytes follow the tensors")

    def claim(self, number: Any) -> Tensor:
        if type(number) is not int or not 0 <= number < len(self._tensors) or number in self._claimed:
            raise WireError("the message names a tensor that is not there, or names one twice")
        self._claimed.add(number)
        return self._tensors[number]

    def finish(self) -> None:
        if len(self._claimed) != len(self._tensors):
            raise WireError("the message holds tensors that nothing names")


def _read_tensor(entry: Any, body: memoryview, start: int) -> tuple[Tensor, int]:
    """The tensor of a header's entry, whose bytes must begin at `start`, and where they end."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise WireError("a tensor's header is malformed")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(code) is not str or code not in DTYPES:
        raise WireError("a tensor has an unknown dtype")
    if type(shape) is not list or len(shape) > MAX_DIMS or any(type(n) is not int or not 0 <= n <= MAX_MESSAGE for n in shape):
        raise WireError("a tensor has an impossible shape")
    dtype = DTYPES[code]
    size = math.prod(shape) * dtype.itemsize
    # torch multiplies the sizes of an empty tensor too when it makes strides: keep that from overflowing.
    if size > len(body) - start or math.prod(n or 1 for n in shape) > 2**40:
        raise WireError("a tensor's shape asks for more bytes than came")
    if type(offsets) is not list or [type(n) for n in offsets] != [int, int] or offsets != [start, start + size]:
        raise WireError("a tensor's offsets do not fit its shape")
    if not size:
        return torch.empty(shape, dtype=dtype), start
    raw = torch.frombuffer(bytearray(body[start : start + size]), dtype=torch.uint8)
    if dtype is torch.bool and int(raw.max()) > 1:
        raise WireError("a boolean tensor holds bytes that are neither true nor false")
    return raw.view(dtype).reshape(shape), start + size


def _unpack(parsed: Any, blob: _Blob) -> Any:
    value = _value(parsed, blob, 0)
    blob.finish()
    return value


def _value(item: Any, blob: _Blob, depth: int) -> Any:
    blob.nodes += 1
    if blob.nodes > MAX_NODES or depth > MAX_DEPTH:
        raise WireError("the message has too many values, or nests them too deeply")
    if item is None or type(item) in (bool, int, float):
        return item
    if type(item) is str:
        return _string(item, MAX_STRING)
    if type(item) is not dict or len(item) != 1:
        raise WireError("the message has a value of no known kind")
    ((kind, content),) = item.items()
    if kind == "float" and type(content) is str and content in FLOATS:
        return FLOATS[content]
    if kind in ("list", "tuple", "dict") and (type(content) is not list or len(content) > MAX_ITEMS):
        raise WireError(f"a {kind} is malformed or has too many items")
    if kind == "list":
        return [_value(part, blob, depth + 1) for part in content]
    if kind == "tuple":
        return tuple(_value(part, blob, depth + 1) for part in content)
    if kind == "dict":
        found: dict[str, Any] = {}
        for pair in content:
            if type(pair) is not list or len(pair) != 2 or _string(pair[0], MAX_STRING) in found:
                raise WireError("a dict is malformed or repeats a key")
            found[pair[0]] = _value(pair[1], blob, depth + 1)
        return found
    if kind == "tensor":
        return blob.claim(content)
    if kind == "complex":
        pairs = blob.claim(content)
        if pairs.dtype is not torch.float64 or pairs.ndim < 1 or pairs.shape[-1] != 2:
            raise WireError("a complex tensor is malformed")
        return torch.view_as_complex(pairs)
    if kind == "array":
        tensor = blob.claim(content)
        if tensor.dtype not in NUMPY_DTYPES:
            raise WireError("an array has a dtype that NumPy does not know")
        return tensor.numpy()
    if kind == "remote" and type(content) is list and len(content) == 2 and type(content[0]) is int and content[0] >= 0:
        return Remote(content[0], _string(content[1], MAX_NAME))
    if kind == "changed" and type(content) is list and len(content) == 2 and depth == 1:
        changes = _value(content[1], blob, depth + 1)
        if type(changes) is not list:
            raise WireError("what a call has changed is malformed")
        return Changed(_value(content[0], blob, depth + 1), changes)
    if kind == "named":
        return Named(_string(content, MAX_NAME))
    raise WireError("the message has a value of no known kind")


NUMPY_DTYPES = {DTYPES[code] for code in NUMPY_CODES.values()}
