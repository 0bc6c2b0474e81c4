"""Weights of models that others published, under the names that this course gives them."""

from collections.abc import Mapping

import torch
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


BERT_NAMES = {
    "bert.": "", "embeddings.word_embeddings": "tokens", "embeddings.position_embeddings": "positions", "embeddings.LayerNorm": "norm",
    "encoder.layer.": "blocks.", "attention.output.dense": "attention.out", "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.0", "output.dense": "mlp.2", "output.LayerNorm": "norm2", "pooler.dense": "pooler",
    "cls.predictions.transform.dense": "guess.0", "cls.predictions.transform.LayerNorm": "guess.2", "cls.predictions.bias": "bias",
}  # fmt: skip


def bert_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `BertModel` or `BertForMaskedLM` under the names of the BERT of this course.

    Its maps to queries, keys and values are put together in this order; the embedding of segment 0 is added to each position.
    """
    weights: dict[str, Tensor] = {}
    segment: Tensor | int = 0
    for theirs, value in state_dict.items():
        if theirs.endswith("token_type_embeddings.weight"):
            segment = value[0]
        elif not theirs.endswith(
            ("position_ids", "decoder.weight", "decoder.bias", "seq_relationship.weight", "seq_relationship.bias")
        ):
            ours = theirs
            for old, new in BERT_NAMES.items():
                ours = ours.replace(old, new)
            weights[ours] = value
    for name in [name for name in weights if ".self.query." in name]:
        parts = [weights.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        weights[name.replace("self.query", "qkv")] = torch.cat(parts)
    weights["positions.weight"] = weights["positions.weight"] + segment
    return weights
