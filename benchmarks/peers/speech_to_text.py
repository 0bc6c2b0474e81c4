"""convert/speech_to_text beside torchaudio's own CTC example: Wav2Letter and `torch.nn.CTCLoss`, on our log-mels, at our size."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from benchmarks.peers import validation
from benchmarks.peers.contest import Contest, Figure, Peer, Reference, count
from reference_impl.convert import speech_to_text
from reference_impl.convert.text_to_speech import ALPHABET, MELS, encode, log_mel
from reference_impl.data import digits_in_motion as motion
from reference_impl.runtime import batches, seed_everything, track

BATCH = 16
CHANNELS = 23  # there 250, and eight times as many behind
PATIENCE, THRESHOLD = 10, 1e-3  # epochs without progress, after which the rate falls to a tenth; what counts as progress


class Wav2Letter(nn.Module):
    """The layers of `torchaudio.models.Wav2Letter` for features, narrower; that one's width cannot be chosen."""

    def __init__(self) -> None:
        super().__init__()
        C, W = CHANNELS, 8 * CHANNELS
        middle = [layer for _ in range(7) for layer in (nn.Conv1d(C, C, 7, padding=3), nn.ReLU(True))]
        self.acoustic_model = nn.Sequential(
            nn.Conv1d(MELS, C, 48, stride=2, padding=23), nn.ReLU(True),
            *middle,
            nn.Conv1d(C, W, 32, padding=16), nn.ReLU(True),
            nn.Conv1d(W, W, 1), nn.ReLU(True),
            nn.Conv1d(W, len(ALPHABET), 1), nn.ReLU(True),
        )  # fmt: skip

    def forward(self, mels: Float[Tensor, "B M T"]) -> Float[Tensor, "B H K"]:
        """Log-probabilities of the symbols at H = T / 2 + 1 moments."""
        return F.log_softmax(self.acoustic_model(mels), dim=1).transpose(1, 2)


@dataclass(frozen=True)
class Heard:
    """Utterances as the networks take them: normalised log-mels, how many frames are sound, and what is said."""

    mels: Float[Tensor, "U M T"]
    frames: Int[Tensor, " U"]
    phrases: list[str]

    @classmethod
    def of(cls, split: str, part: Bool[Tensor, " U"] | None = None) -> "Heard":
        """A split of the data set, or some of it."""
        bank = motion.speech(split)
        rows = torch.arange(len(bank)) if part is None else part.nonzero()[:, 0]
        frames = speech_to_text.audible(bank.waveforms[rows])
        return cls(
            speech_to_text.normalise(log_mel(bank.waveforms[rows]), frames), frames, [bank.phrases[i] for i in rows.tolist()]
        )

    @property
    def moments(self) -> Int[Tensor, " U"]:
        """How many moments of the network belong to each, as the example counts them."""
        return self.frames // 2 + 1


def errors(log_probs: Float[Tensor, "N H K"], moments: Int[Tensor, " N"], said: list[str]) -> dict[str, float]:
    """The word error rate, decoded as ours decodes: by the prefix beam search, and greedily."""
    rows = list(zip(log_probs, moments.tolist(), strict=True))
    beam = [speech_to_text.prefix_beam_search(row[:end])[0][0] for row, end in rows]
    greedy = speech_to_text.greedy_decode(log_probs, moments)
    return {
        name: speech_to_text.word_error_rate([speech_to_text.spell(ids) for ids in heard], said)
        for name, heard in (("wer", beam), ("wer_greedy", greedy))
    }


def of_ours(model: speech_to_text.SpeechToText, seed: int) -> dict[str, float]:
    """Our errors on voices never heard, and there on pairs of words never heard together."""
    figures: dict[str, float] = {}
    for split, suffix in (("test", ""), ("compositional", "_compositional")):
        bank = motion.speech(split)
        found = errors(*speech_to_text.predict(model, bank.waveforms), bank.phrases)
        figures |= {name + suffix: value for name, value in found.items()}
    return figures


@torch.no_grad()
def of_theirs(model: Wav2Letter, heard: Heard) -> dict[str, float]:
    """The peer's errors."""
    return errors(model(heard.mels), heard.moments, heard.phrases)


@dataclass(frozen=True)
class Torchaudio(Peer):
    """Adadelta, and a rate that falls where the loss of an epoch no longer does."""

    rate: float = 0.6

    def train(self, steps: int, *, seed: int, show: bool = False) -> Wav2Letter:
        generator = seed_everything(seed)
        data = Heard.of("train", ~validation.utterances() if self.validating else None)
        labels = encode(data.phrases)
        symbols = (labels != speech_to_text.BLANK).sum(1)
        model, criterion = Wav2Letter().train(), nn.CTCLoss(blank=speech_to_text.BLANK)
        optimizer = torch.optim.Adadelta(model.parameters(), lr=self.rate, rho=0.95, eps=1e-8, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=PATIENCE, threshold=THRESHOLD)
        epoch, losses = len(data.mels) // BATCH, []
        for batch in track(batches(len(data.mels), BATCH, steps, generator), total=steps, description="Wav2Letter", show=show):
            log_probs = model(data.mels[batch]).transpose(0, 1)  # (H, B, K)
            loss = criterion(log_probs, labels[batch], data.moments[batch], symbols[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == epoch:
                schedule.step(sum(losses) / epoch)
                losses.clear()
        return model.eval()

    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        if self.validating:
            return of_theirs(model, Heard.of("train", validation.utterances()))
        unseen = of_theirs(model, Heard.of("compositional"))
        return of_theirs(model, Heard.of("test")) | {f"{name}_compositional": value for name, value in unseen.items()}

    def parameters(self) -> int:
        return count(Wav2Letter())


WER = Figure("wer", more=False)
CONTEST = Contest(
    unit="convert/speech_to_text",
    title="torchaudio's Wav2Letter",
    ours=Reference(speech_to_text, of_ours, lambda: count(speech_to_text.SpeechToText())),
    peer=Torchaudio(),
    figures=(WER, Figure("wer_greedy", more=False), Figure("wer_compositional", more=False)),
    chosen_by=WER,
    about=(
        "`torch.nn.CTCLoss` over the layers of `torchaudio.models.Wav2Letter` (its variant for features). Settings: `examples/pipeline_wav2letter` in the repository "
        "of torchaudio (up to release 0.12): Adadelta, rate 0.6, rho 0.95, eps 1e-8, weight decay 1e-5, no clipping, the rate cut to a tenth after "
        f"{PATIENCE} epochs in which the loss fell by less than a thousandth."
    ),
    apart=(
        f"Log-mels normalised as ours are, not 13 cepstral coefficients; {CHANNELS} channels, not 250, which makes it as large as ours; batches of {BATCH}, as ours, not "
        "of 128, which would be three updates an epoch here. Both are decoded by the same beam search."
    ),
)  # fmt: skip
