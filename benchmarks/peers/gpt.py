"""text/gpt beside GPT-2 of `transformers`, of the same size, from random weights."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.peers import validation
from benchmarks.peers.contest import Contest, Figure, Package, Peer, Reference, count
from reference_impl.data import python_docs
from reference_impl.runtime import seed_everything, track
from reference_impl.text import gpt

BATCH = 32
WARM_UP = 1000  # steps
DECAY = 0.1


def judged(model: gpt.GPT, data: python_docs.Documentation) -> dict[str, float]:
    """Bits per character of a text, by the unit's own measure: each byte from at least half a context."""
    ids = data.ids
    nats = -gpt.log_probabilities(model, ids).gather(1, ids[:, None])[:, 0].double()
    return {"bits_per_character": gpt.bits_per_character(nats, data)}


@dataclass(frozen=True)
class GPT2(Peer):
    """`GPT2LMHeadModel` with the layers, width, heads, context and bytes of ours; all else (dropout, initialisation) is its default."""

    rate: float = 5e-4

    def new(self) -> Any:
        """A model with random weights."""
        from transformers import GPT2Config, GPT2LMHeadModel

        ours = gpt.Config()
        config = GPT2Config(
            vocab_size=ours.symbols, n_positions=ours.context, n_embd=ours.width, n_layer=ours.layers, n_head=ours.heads,
            bos_token_id=None, eos_token_id=None, use_cache=False,
        )  # fmt: skip
        return GPT2LMHeadModel(config)

    def optimizer(self, model: nn.Module) -> torch.optim.AdamW:
        """AdamW; biases are not decayed, nor are the gains of the norms."""
        bare: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        for name, weight in model.named_parameters():
            (bare if name.endswith("bias") or ".ln_" in name else decayed).append(weight)
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": bare, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.rate)

    def train(self, steps: int, *, seed: int, show: bool = False) -> Any:
        from transformers import get_linear_schedule_with_warmup

        generator, context = seed_everything(seed), gpt.Config().context
        ids = (validation.topics(False) if self.validating else python_docs.load("train")).ids
        model = self.new().train()
        optimizer = self.optimizer(model)
        schedule = get_linear_schedule_with_warmup(optimizer, min(WARM_UP, steps // 10), steps)
        window = torch.arange(context + 1)
        for _ in track(range(steps), total=steps, description="GPT-2 of transformers", show=show):
            batch = ids[torch.randint(len(ids) - context, (BATCH, 1), generator=generator) + window]
            logits = model(input_ids=batch[:, :-1]).logits  # (B, T, V)
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return model.eval()

    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        same = gpt.from_huggingface(model.state_dict(), gpt.Config().heads)
        return judged(same, validation.topics(True) if self.validating else python_docs.load("test"))

    def parameters(self) -> int:
        return count(self.new())


BITS = Figure("bits_per_character", more=False)
CONTEST = Contest(
    unit="text/gpt",
    title="GPT-2 of transformers",
    ours=Reference(gpt, lambda model, seed: judged(model, python_docs.load("test")), lambda: count(gpt.GPT())),
    peer=GPT2(),
    figures=(BITS,),
    chosen_by=BITS,
    packages=(Package("transformers", "transformers"),),
    about=(
        "`GPT2LMHeadModel` from random weights with our layers, width, heads, context and bytes, and its own defaults for the rest (dropout 0.1). "
        "Settings: *Training a causal language model from scratch* in the course of Hugging Face (chapter 7, its loop with Accelerate): AdamW, rate 5e-4, "
        f"weight decay 0.1 but for biases and norms, gradients clipped at 1, batches of {BATCH}, a linear schedule after {WARM_UP:,} steps of warm-up."
    ),
    apart=(
        "Warm-up takes at most a tenth of the steps, and no gradients are accumulated (there over 8 batches): either would leave the peer too few "
        "updates. Its weights are judged as a model of ours, which gives the same logits."
    ),
)  # fmt: skip
