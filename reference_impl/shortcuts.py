"""Shortcuts through Digits in Motion that would explain a converter's figures: the leak checks of the units are made of them."""

from jaxtyping import Float
from torch import Tensor

from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Leak
from reference_impl.judges import known_utterances


def seen_handwriting() -> float:
    """Share of the handwritings of `test` and `compositional` that training has, of systems and of the judges that look at pictures."""
    seen = {drawn.numpy().tobytes() for drawn in motion.load("train").handwriting}
    asked = [drawn for split in ("test", "compositional") for drawn in motion.load(split).handwriting]
    return sum(drawn.numpy().tobytes() in seen for drawn in asked) / len(asked)


def heard_by_a_judge(waveforms: Float[Tensor, "N S"]) -> float:
    """Share of these utterances that the judges of speech were fitted on."""
    heard = {sound.numpy().tobytes() for sound in motion.speech("train").waveforms[known_utterances()]}
    return sum(sound.numpy().tobytes() in heard for sound in waveforms) / len(waveforms)


def asked_to_say() -> Float[Tensor, "N S"]:
    """The real utterances of what a system that speaks is asked for in its test: those that `motion.withheld` keeps from it."""
    bank = motion.speech("train")
    return bank.waveforms[motion.withheld(bank)]


def words_of_a_known_caption() -> float:
    """Share of the test captions of either language whose words make a training caption in some order: to what sums up words, they are one."""
    train, test = motion.load("train"), motion.load("test")
    known = {tuple(sorted(motion.split_words(text))) for text in {*train.captions, *train.captions_zh}}
    asked = [*test.captions, *test.captions_zh]
    return sum(tuple(sorted(motion.split_words(text))) in known for text in asked) / len(asked)


def digit_by_length() -> float:
    """Share of the utterances of unseen voices that say the digit which is most frequent among the five training utterances nearest in length."""
    train, test = motion.speech("train"), motion.speech("test")
    near = (test.lengths[:, None] - train.lengths).abs().topk(5, dim=1, largest=False).indices  # (U, 5)
    return (train.digits[near].mode(dim=1).values == test.digits).float().mean().item()


SEEN = {"handwriting that training has": Leak(lambda seed, device: seen_handwriting(), chance=0.0, at_most=0.0)}
HEARD = {"what a judge was fitted on": Leak(lambda seed, device: heard_by_a_judge(asked_to_say()), chance=0.0, at_most=0.0)}
KNOWN_WORDS = {"the words of a known caption": Leak(lambda seed, device: words_of_a_known_caption(), chance=0.0, at_most=0.0)}
LENGTH = {"the length of the sound alone": Leak(lambda seed, device: digit_by_length(), chance=1 / motion.DIGITS, at_most=0.3)}
