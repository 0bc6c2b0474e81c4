"""The wire: what goes in comes out, and nothing that an attacker writes does more than raise WireError."""

import contextlib
import json
import math
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


LAYOUTS = {
    "columns": lambda x: x.T,
    # As QR leaves it: an axis of one element counts as contiguous at any stride.
    "one column": lambda x: x.T.contiguous().T[:, :1],
    "one row of columns": lambda x: x.T.contiguous().T[:1],
    "every other": lambda x: x[::2, ::2],
    "one of many": lambda x: x[1:2, 1:2],
    "repeated": lambda x: x[:1].expand(3, -1),
    "a number of a table": lambda x: x[1, 1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", codec.CODES, ids=str)
def test_a_tensor_of_any_layout_and_dtype_returns(dtype, layout):
    tensor = LAYOUTS[layout](torch.randint(0, 2, (4, 6)).to(dtype))
    back = decode(encode(tensor))
    assert back.dtype == dtype and back.shape == tensor.shape
    assert back.tolist() == tensor.tolist(), f"{layout} of {dtype} changed on the wire"


def test_a_message_is_what_was_sent_whatever_becomes_of_it_later():
    tensor = torch.zeros(3)
    message = encode([tensor, tensor.expand(2, 3)])
    tensor.add_(1)
    first, second = decode(message)
    assert not first.any() and not second.any(), "a change after sending reached the message"
    first.add_(1)
    assert not second.any(), "two tensors of a message share memory"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_view_of_endless_repetition_is_refused_before_it_is_written_out(dtype):
    with pytest.raises(WireError, match="more than the wire carries"):
        encode(torch.zeros(1, dtype=dtype).expand(10**12))


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


def listed(*items):
    return ["l", *items]


ONE = ["x", "F32", [1]]
MALFORMED = {
    "nothing": b"",
    "half a header": b"\0\0\0",
    "no body": HEADER.pack(0, 0),
    "cut short": message(1)[:-1],
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
    "overflowing float by digits": message(b"9" * 4000 + b".0"),
    "huge integer": message(b"9" * 100_000),
    "65 bits": message(b"9223372036854775808"),
    "an object": message({"list": []}),
    "empty object": message({}),
    "an object inside": message(listed({})),
    "empty array": message([]),
    "no kind": message([1]),
    "kind no string": message([["l"], 1]),
    "unknown kind": message(["eval", "1"]),
    "quotes that never close": message(b'"' + b'\\"' * 2_000_000),
    "four million brackets": message(b"[" * 4_000_000),
    "two million values": message(b'["l",' + b"0," * 2_000_000 + b"0]"),
    "backslashes": message(b'"' + b"\\" * 4_000_000),
    "repeated dict key": message(["d", "a", 1, "a", 2]),
    "dict key no string": message(["d", 1, 2]),
    "dict without a value": message(["d", "a"]),
    "deep nesting": message(b'["l",' * 5000 + b"]" * 5000),
    "deep enough to pass the survey": message(b'["l",' * 40 + b"0" + b"]" * 40),
    "brackets only": message(b"[" * 1_000_000),
    "objects only": message(b'{"a":' * 200_000),
    "too many values": message(listed(*[listed(*[0] * 40_000)] * 3)),
    "too many items": message(listed(*[0] * (codec.MAX_ITEMS + 1))),
    "lone surrogate": message(b'"\\ud800"'),
    "long string": message("x" * (codec.MAX_STRING + 1)),
    "long name": message(["n", "x" * 1000]),
    "remote without type": message(["r", 1]),
    "remote with float": message(["r", 1.5, "x"]),
    "remote with bool": message(["r", True, "x"]),
    "remote beyond 64 bits": message(["r", 2**63, "x"]),
    "negative remote": message(["r", -1, "x"]),
    "float spelled otherwise": message(["f", "1.0"]),
    "float of list": message(["f", []]),
    "tensor without bytes": message(ONE),
    "tensor twice": message(listed(ONE, ONE), b"\0" * 4),
    "bytes that no tensor takes": message(None, b"\0" * 4),
    "bytes after tensors": message(ONE, b"\0" * 9),
    "bytes cut short": message(ONE, b"\0\0\0"),
    "unknown dtype": message(["x", "PICKLE", [1]], b"\0" * 4),
    "dtype no string": message(["x", ["F32"], [1]], b"\0" * 4),
    "shape no list": message(["x", "F32", 1], b"\0" * 4),
    "huge shape": message(["x", "F32", [2**40, 2**40]], b"\0" * 4),
    "shape that wraps around": message(["x", "F32", [2**26, 2**26, 2**12]], b"\0" * 4),
    "empty with huge axes": message(["x", "F32", [0, 2**26, 2**26, 2**26]]),
    "negative shape": message(["x", "F32", [-1]], b"\0" * 4),
    "shape of bools": message(["x", "F32", [True]], b"\0" * 4),
    "too many axes": message(["x", "F32", [1] * 100], b"\0" * 4),
    "five thousand tensors": message(listed(*[["x", "U8", [0]]] * 5000)),
    "bool that is two": message(["x", "BOOL", [1]], b"\2"),
    "complex without pairs": message(["c", 3], b"\0" * 24),
    "complex of half the bytes": message(["c", [3]], b"\0" * 24),
    "array of bfloat16": message(["a", "BF16", [1]], b"\0" * 2),
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


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("VAE", "VAE"),
        ("Conv2d", "Conv2d"),
        ("E0_33_7", "E______"),
        ("enter 6 of 6", "object"),
        ("x" * 61, "object"),
        ("", "object"),
    ],
)
def test_a_type_is_told_by_a_name_or_not_at_all(sent, told):
    assert decode(encode(Remote(1, sent))).type_name == told
