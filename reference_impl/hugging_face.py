"""Weights of models that others published, under the names that this course gives them."""

from collections.abc import Mapping

from torch import Tensor

GPT2_NAMES = {
    "transformer.": "", "wte": "tokens", "wpe": "positions", "h.": "blocks.", "ln_f": "norm", "ln_1": "norm1", "ln_2": "norm2",
    "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out", "mlp.c_fc": "mlp.0", "mlp.c_proj": "mlp.2",
}  # fmt: skip


def gpt2_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `GPT2LMHeadModel` under the names of the GPT of this course.

    Its linear maps are `Conv1D`, which store (in, out): the transpose of `nn.Linear`.
    """
    weights = {}
    for theirs, value in state_dict.items():
        if theirs == "lm_head.weight" or theirs.endswith((".attn.bias", ".attn.masked_bias")):
            continue  # tied to wte; masks that older releases stored
        ours = theirs
        for old, new in GPT2_NAMES.items():
            ours = ours.replace(old, new)
        weights[ours] = value.T if "c_" in theirs and theirs.endswith("weight") else value
    return weights
