"""What may be told of an answer: complaints of ours with our names in them, and a stranger's words quoted and without numbers."""

import pytest
import torch

from course.executor import Executor
from course.sandbox import words
from course.wire import ImplementationError, Target, describe

OBJECT = type("Answer", (), {})()


def complaint_of(source, *args, vjp=False):
    """What our own code says of a function."""
    space = {"torch": torch, "OBJECT": OBJECT}
    exec(source, space)
    executor = Executor(space)
    ask = executor.vjp if vjp else executor.call
    more = ([0], torch.ones(2) if vjp == "two" else None) if vjp else ()
    with pytest.raises(ImplementationError) as caught:
        ask(Target("f"), args, {}, *more)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (lambda: complaint_of("f = 3"), "g is a value of type int, expected something to call"),
        (lambda: complaint_of("f = [torch.ones(2), [1]]"), None),
        (lambda: complaint_of("h = 3"), "g is not defined (deleted or renamed?)"),
        (lambda: complaint_of("def f(x): return None", torch.ones(1), vjp=True), "g returned None (is a return missing?), expected a tensor"),
        (
            lambda: complaint_of("def f(x): return x", torch.ones(2, 3), vjp=True),
            "g returned float32 (2, 3), expected a single number to differentiate",
        ),
        (lambda: complaint_of("def f(x): return x", torch.ones(3), vjp="two"), "g returned shape (3,), expected (2,)"),
        (
            lambda: complaint_of("def f(x): return x.detach().sum()", torch.ones(3), vjp=True),
            "no gradient flows through g: its output is cut off from its inputs",
        ),
        (lambda: "f returned what cannot be sent: a value of type Foo is not carried", "g returned what cannot be sent: a value of type Foo is not carried"),
        (lambda: f"f(...) gave {describe((torch.ones(2), None))}, expected an object of the class", "g(...) gave a tuple of 2 (float32 (2,), None (is a return missing?)), expected an object of the class"),
    ],
)  # fmt: skip
def test_what_our_own_code_says_is_repeated_with_our_name(text, told):
    assert words.complaint(text(), "g") == told or told is None


@pytest.mark.parametrize(
    "text",
    [
        "GRADER: enter 6 of 6 by hand",
        "f is right; enter 6 of 6",
        "f returned 0.33, expected a tensor",
        "f returned float32 (2, 3), expected a tensor; and more",
        "f is a value of type enter 6, expected something to call",
        "enter it by hand returned float32 (2,), expected a tensor",
        "f returned shape (0.33,), expected (2,)",
        "",
    ],
)
def test_what_only_looks_like_it_is_not(text):
    assert words.complaint(text, "g") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)", "mat# and mat# shapes cannot be multiplied (#x# and #x#)"),
        ("[[0.33, -1.5e-3], [1,000]]", "[[#, #], [#]]"),
        ("½ ④ ٣ Ⅳ", "# # # #"),
        ("a\nb\x1b[31m”", 'a b [#m"'),
        ("x" * 500, "x" * 119 + "…"),
    ],
)
def test_a_strangers_words_are_quoted_capped_and_without_numbers(text, told):
    assert words.said(text) == (f"; it said: “{told}”" if told else "")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (3, ("ended its process (exit code 3)", "")),
        (-6, ("was killed by SIGABRT (os.abort(), or a library that gave up)", "SIGABRT")),
        (-9, ("was killed by SIGKILL (most likely out of memory)", "SIGKILL")),
        (-11, ("was killed by SIGSEGV (invalid memory access or runaway recursion)", "SIGSEGV")),
        (-15, ("was killed by SIGTERM", "SIGTERM")),
        (-99, ("was killed by signal 99", "signal 99")),
    ],
)
def test_a_signal_has_its_own_name(code, told):
    assert words.ending(code) == told
