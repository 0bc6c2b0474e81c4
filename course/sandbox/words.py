"""What may be told of an answer, in the trusted side's words: names are names, what a stranger says is quoted, and no number of theirs is repeated."""

import re
import signal

SAID_LIMIT = 120  # characters of an answer's own words
CAUSES = {
    "SIGKILL": " (most likely out of memory)",
    "SIGSEGV": " (invalid memory access or runaway recursion)",
    "SIGABRT": " (os.abort(), or a library that gave up)",
    "SIGXCPU": " (out of processor time)",
    "SIGFPE": " (an impossible division in native code)",
    "SIGBUS": " (memory that is not there)",
}
# What our own code at the untrusted end says of an answer. N is a count, W a word, D a description of a value (`course.wire.describe`);
# the name in front is ours. Whatever does not read like one of these is taken for the answer's own words.
COMPLAINTS = (
    "returned D, expected a tensor",
    "returned D, expected a single number to differentiate",
    "returned shape S, expected S",
    "returned what cannot be sent: a message of N bytes and N tensors is more than the wire carries",
    "returned what cannot be sent: values nested deeper than N are not carried",
    "returned what cannot be sent: integers beyond N bits are not carried",
    "returned what cannot be sent: a dict is carried only with strings as keys",
    "returned what cannot be sent: a tensor of W and N axes is not carried",
    "returned what cannot be sent: an array of this dtype is not carried",
    "returned what cannot be sent: a value of type W is not carried",
    "returned what cannot be sent: N items in one W are more than is carried",
    "returned what cannot be sent: a string of N characters is more than is carried",
    "returned what cannot be sent: a string with lone surrogates is not carried",
    "is not defined (deleted or renamed?)",
    "is D, expected something to call",
    "(...) gave D, expected an object of the class",
)
CUT_OFF = "no gradient flows through {}: its output is cut off from its inputs"
_SHAPE = r"\([\d, ]{0,60}\)"
_FLAT = (
    rf"(?:\w{{1,20}} {_SHAPE}|array \w{{1,20}} {_SHAPE}|None \(is a return missing\?\)|an? (?:object|value) of type \w{{1,64}})"
)
_LIST = rf"an? (?:list|tuple) of \d{{1,6}} \((?:{_FLAT}(?:, {_FLAT})*(?:, …)?)?\)"
_PARTS = {"D": rf"(?:{_FLAT}|{_LIST})", "S": _SHAPE, "N": r"\d{1,12}", "W": r"\w{1,64}"}


def _pattern(template: str) -> str:
    return "".join(_PARTS.get(part, re.escape(part)) for part in re.split(r"\b([DSNW])\b", template))


_OURS = re.compile(rf"[\w.<>]{{1,200}}?(?P<said>(?: (?!\()|(?=\())(?:{'|'.join(map(_pattern, COMPLAINTS))}))")
_CUT_OFF = re.compile(re.escape(CUT_OFF).replace(r"\{\}", r"[\w.<>]{1,200}"))


def complaint(text: str, what: str) -> str | None:
    """`text` with `what` in place of the name in it, if it is a complaint of ours; else None."""
    if _CUT_OFF.fullmatch(text):
        return CUT_OFF.format(what)
    found = _OURS.fullmatch(text)
    return what + found["said"] if found else None


def plain(text: str, limit: int) -> str:
    """One line of printable characters, capped."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * limit])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def said(text: str) -> str:
    """A stranger's words for a report: `; it said: “…”`, capped, each number replaced by #. Empty if there are none."""
    marked = "".join("#" if c.isnumeric() else c for c in text)
    bare = re.sub(r"[+-]?#+(?:[.,eE+-]{1,2}#+)*", "#", marked)
    words = plain(bare, SAID_LIMIT).replace("“", '"').replace("”", '"').strip()
    return f"; it said: “{words}”" if words else ""


def ending(code: int) -> tuple[str, str]:
    """How a process ended, in words, and the signal that ended it, if one did. code: negative for a signal."""
    if code >= 0:
        return f"ended its process (exit code {code})", ""
    known = -code in set(signal.Signals)
    by = signal.Signals(-code).name if known else f"signal {-code}"
    return f"was killed by {by}{CAUSES.get(by, '')}", by
