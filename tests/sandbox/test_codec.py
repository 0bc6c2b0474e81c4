"""The wire: what goes in comes out, and nothing that an attacker writes does more than raise WireError."""

import contextlib
import json
import math
import struct
import time

import numpy as np
import pytest
import torch

from course.sandbox import codec
from course.sandbox.codec import HEADER, WireError, decode, encode
from course.wire import Changed, Named, Remote

VALUES = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 0.1, 1e308, math.inf, -math.inf, "", "text", "中文 ε 🎲", [], (), {},
    [1, [2, (3, {"a": None})]], {"tensor": 0, "float": "nan", "": ["x"]}, Remote(3, "VAE"), Named("bigram"), ({"x": Remote(1, "A")}, "y"),
]  # fmt: skip
SHAPES = [(), (0,), (3,), (2, 0, 5), (2, 3, 4)]


def same(one, other):
    return type(one) is type(other) and (one == other or (one != one and other != other))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_return_unchanged(value):
    back = decode(encode(value))
    assert same(value, back) and repr(value) == repr(back), f"sent {value!r}, got {back!r}"


def test_what_a_call_changed_goes_beside_its_value_and_nowhere_else():
    sent = Changed([1.0, Remote(3, "VAE")], [("0", ""), ("self", "mode")])
    assert decode(encode({"ok": sent}))["ok"] == sent
    for misplaced in ({"ok": [sent]}, {"ok": {"x": sent}}, sent):
        with pytest.raises(WireError):
            decode(encode(misplaced))


def test_not_a_number_returns():
    assert math.isnan(decode(encode([math.nan]))[0]), "nan did not survive"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", codec.CODES, ids=str)
def test_tensors_return_unchanged(dtype, shape):
    tensor = (
        torch.randint(0, 2, (*shape, dtype.itemsize), dtype=torch.uint8).view(dtype).reshape(shape)
        if shape
        else torch.zeros((), dtype=dtype)
    )
    if dtype is torch.bool:
        tensor = torch.rand(shape) < 0.5
    back = decode(encode({"x": [tensor]}))["x"][0]
    assert back.dtype == dtype and back.shape == tensor.shape, f"sent {dtype} {shape}, got {back.dtype} {tuple(back.shape)}"
    assert (
        back.reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist() if back.numel() else True
    ), "bytes differ"


@pytest.mark.parametrize("dtype", codec.NUMPY_CODES, ids=str)
def test_arrays_return_unchanged(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    back = decode(encode(array))
    assert back.dtype == array.dtype and np.array_equal(back, array), f"sent {array!r}, got {back!r}"
    back[0, 0] = 1  # and can be written to


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_double_complex_returns_though_the_format_lacks_it(shape):
    tensor = torch.randn(shape, dtype=torch.complex128).conj()
    back = decode(encode(tensor))
    assert back.dtype == tensor.dtype and back.shape == tensor.shape and torch.equal(back, tensor), f"sent {tensor}, got {back}"


def test_views_and_negative_zero_and_nan_bits_survive():
    tensor = torch.tensor([[0.0, -0.0], [math.nan, math.inf]]).T
    back = decode(encode(tensor))
    assert torch.equal(back.contiguous().view(torch.int32), tensor.contiguous().view(torch.int32)), "the bits changed"


def test_library_reads_our_blob():
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = [torch.randn(2, 3), torch.arange(4), torch.tensor([True, False])]
    message = encode(tensors)
    body, _ = HEADER.unpack(message[:8])
    read = safetensors.load(message[8 + body :])
    assert all(torch.equal(read[str(i)], tensor) for i, tensor in enumerate(tensors)), "safetensors reads other values"


@pytest.mark.parametrize(
    "value", [2**63, object(), {1: 2}, {1, 2}, b"bytes", 1j, np.zeros(2, dtype=complex), np.array(["a"]), "\ud800", torch.eye(2).to_sparse()],
    ids=lambda value: type(value).__name__,  # a repr may hold an address, and workers must agree on the names
)  # fmt: skip
def test_what_is_not_carried_is_refused_by_the_sender(value):
    with pytest.raises(WireError):
        encode([value])


def test_deep_and_long_values_are_refused_by_the_sender():
    deep = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, [0] * (codec.MAX_ITEMS + 1), "x" * (codec.MAX_STRING + 1), torch.zeros(codec.MAX_MESSAGE // 4 + 1)):
        with pytest.raises(WireError):
            encode(value)


def message(body, blob=b""):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HEADER.pack(len(raw), len(blob)) + raw + blob


def blob(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ONE = {"tensor": 0}
MALFORMED = {
    "nothing": b"",
    "half a header": b"\0\0\0",
    "no body": HEADER.pack(0, 0),
    "cut short": message([1, 2])[:-1],
    "trailing bytes": message(None) + b"x",
    "announces four gigabytes": HEADER.pack(0xFFFFFFFF, 0xFFFFFFFF),
    "announces too much JSON": HEADER.pack(codec.MAX_JSON + 1, 0),
    "not UTF-8": message(b'"\xff\xfe"'),
    "UTF-16": message("null".encode("utf-16")),
    "not JSON": message(b"{'a': 1}"),
    "a pickle": message(b"\x80\x04K\x01."),
    "NaN": message(b"NaN"),
    "Infinity": message(b"-Infinity"),
    "overflowing float": message(b"1e999"),
    "endless digits": message(b"1." + b"1" * 100_000),
    "huge integer": message(b"9" * 100_000),
    "65 bits": message(b"9223372036854775808"),
    "bare list": message([1]),
    "empty object": message({}),
    "two kinds": message({"list": [], "tuple": []}),
    "unknown kind": message({"eval": "1"}),
    "quotes that never close": message(b'"' + b'\\"' * 2_000_000),
    "four million brackets": message(b"[" * 4_000_000),
    "two million values": message(b'{"list":[' + b"0," * 2_000_000 + b"0]}"),
    "backslashes": message(b'"' + b"\\" * 4_000_000),
    "repeated key": message(b'{"list": [], "list": [1]}'),
    "repeated dict key": message({"dict": [["a", 1], ["a", 2]]}),
    "dict key no string": message({"dict": [[1, 2]]}),
    "dict pair of three": message({"dict": [["a", 1, 2]]}),
    "list no list": message({"list": "abc"}),
    "deep nesting": message(b'{"list":[' * 5000 + b"]}" * 5000),
    "brackets only": message(b"[" * 1_000_000),
    "objects only": message(b'{"a":' * 200_000),
    "too many values": message({"list": [{"list": [0] * 40_000}] * 3}),
    "too many items": message({"list": [0] * (codec.MAX_ITEMS + 1)}),
    "lone surrogate": message(b'"\\ud800"'),
    "long string": message("x" * (codec.MAX_STRING + 1)),
    "long name": message({"named": "x" * 1000}),
    "remote without type": message({"remote": [1]}),
    "remote with float": message({"remote": [1.5, "x"]}),
    "remote with bool": message({"remote": [True, "x"]}),
    "negative remote": message({"remote": [-1, "x"]}),
    "float spelled otherwise": message({"float": "1.0"}),
    "float of list": message({"float": []}),
    "tensor that is not there": message(ONE),
    "tensor by bool": message({"tensor": False}, blob({"0": entry()}, b"\0" * 4)),
    "tensor twice": message({"list": [ONE, ONE]}, blob({"0": entry()}, b"\0" * 4)),
    "tensor unused": message(None, blob({"0": entry()}, b"\0" * 4)),
    "blob cut short": message(ONE, b"\0\0\0"),
    "blob header too long": message(ONE, struct.pack("<Q", 2**63) + b"{}"),
    "blob header no object": message(ONE, blob([1])),
    "blob header repeats a key": message(ONE, blob(b'{"0": 1, "0": 2}')),
    "blob names": message(ONE, blob({"x": entry()}, b"\0" * 4)),
    "blob metadata": message(ONE, blob({"0": entry(), "__metadata__": {}}, b"\0" * 4)),
    "unknown dtype": message(ONE, blob({"0": entry("PICKLE")}, b"\0" * 4)),
    "dtype no string": message(ONE, blob({"0": entry(["F32"])}, b"\0" * 4)),
    "huge shape": message(ONE, blob({"0": entry(shape=(2**40, 2**40))}, b"\0" * 4)),
    "shape that wraps around": message(ONE, blob({"0": entry(shape=(2**26, 2**26, 2**12))}, b"\0" * 4)),
    "empty with huge axes": message(ONE, blob({"0": entry(shape=(0, 2**26, 2**26, 2**26), offsets=(0, 0))})),
    "negative shape": message(ONE, blob({"0": entry(shape=(-1,))}, b"\0" * 4)),
    "shape of bools": message(ONE, blob({"0": entry(shape=(True,))}, b"\0" * 4)),
    "too many axes": message(ONE, blob({"0": entry(shape=(1,) * 100)}, b"\0" * 4)),
    "offsets of another": message(ONE, blob({"0": entry(offsets=(4, 8))}, b"\0" * 8)),
    "offsets beyond": message(ONE, blob({"0": entry(offsets=(0, 400))}, b"\0" * 4)),
    "offsets overlap": message({"list": [ONE, {"tensor": 1}]}, blob({"0": entry(), "1": entry()}, b"\0" * 4)),
    "bytes after tensors": message(ONE, blob({"0": entry()}, b"\0" * 9)),
    "bool that is two": message(ONE, blob({"0": entry("BOOL", offsets=(0, 1))}, b"\2")),
    "complex of singles": message({"complex": 0}, blob({"0": entry(shape=(2,), offsets=(0, 8))}, b"\0" * 8)),
    "complex without pairs": message({"complex": 0}, blob({"0": entry("F64", shape=(3,), offsets=(0, 24))}, b"\0" * 24)),
    "array of bfloat16": message({"array": 0}, blob({"0": entry("BF16", offsets=(0, 2))}, b"\0" * 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_messages_are_refused(name):
    started = time.monotonic()
    with pytest.raises(WireError) as caught:
        decode(MALFORMED[name])
    assert time.monotonic() - started < 2, "refusing it takes too long"
    assert len(str(caught.value)) < 120, f"the reason is long: {caught.value}"


def test_no_flipped_byte_does_more_than_raise():
    whole = encode({"id": 1, "ok": [torch.arange(6.0).reshape(2, 3), True, math.inf, "x", Remote(1, "A")]})
    generator = np.random.default_rng(0)
    for _ in range(4000):
        mutated = bytearray(whole)
        for place in generator.integers(0, len(whole), size=generator.integers(1, 4)):
            mutated[place] = generator.integers(0, 256)
        with contextlib.suppress(WireError):
            decode(mutated)
