"""Trained weights of the reference systems: kept as safetensors in half precision, with what made them, and read back.

Those in this folder come with the course, so that nothing has to be trained before it can be seen. What `aigc train` makes on
this machine lies in the user's own folder, and goes before.
"""

import dataclasses
import importlib
import json
import os
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from reference_impl.runtime import resolve_device

FORMAT = "1"
LARGEST = 2**20  # bytes of a file that comes with the course


class WeightsError(ValueError):
    """There are no weights, or none that can be used; the message says why and what to do."""


def shipped(unit: str) -> Path:
    """Where the weights of a unit lie that come with the course."""
    return Path(__file__).parent / f"{unit}.safetensors"


def own(unit: str) -> Path:
    """Where those lie that were trained on this machine: under `AIGC_HOME` if set, else in the user's cache."""
    named = os.environ.get("AIGC_HOME")
    folder = Path(named) if named else platformdirs.user_cache_path("aigc-interview", appauthor=False)
    return folder / "weights" / f"{unit}.safetensors"


def find(unit: str) -> Path | None:
    """The weights that `load` reads, or None if there are none."""
    return next((path for path in (own(unit), shipped(unit)) if path.is_file()), None)


def _settings(config: Any) -> str:
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def _system(unit: str) -> tuple[Any, Any]:
    """The default settings of a unit, and the class of the model that its `train` returns."""
    module: Any = importlib.import_module("reference_impl." + unit.replace("/", "."))
    return module.Config(), get_type_hints(module.train)["return"]


def to_bytes(unit: str, model: nn.Module, config: Any, seed: int) -> bytes:
    """The file of a trained model. Numbers go to half precision, except where they would overflow there."""
    state = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        half = tensor.half()
        keep = not tensor.is_floating_point() or not half.isfinite().all()
        state[name] = (
            (tensor if keep else half).clone().contiguous()
        )  # a copy: tied weights share memory, which the format refuses
    made = {
        "format": FORMAT,
        "unit": unit,
        "command": f"aigc train {unit} --seed {seed}",
        "seed": str(seed),
        "config": _settings(config),
        "torch": torch.__version__.split("+")[0],
    }
    return save(state, made)


def about(path: Path) -> dict[str, str]:
    """What made a file of weights: unit, command, seed, config (JSON) and torch's version. Raises WeightsError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged or no file of weights ({error}); delete it, then train again") from None


def load(unit: str, *, path: Path | None = None, device: str | torch.device = "auto") -> Any:
    """The trained model of a unit such as `convert/text_to_image`, in evaluation mode and float32, on `device`.

    path: another file than the one that `find` gives. Raises WeightsError if there is none, if it is damaged, or if it was
    made for another unit or another version of it.
    """
    chosen = path or find(unit)
    if chosen is None:
        raise WeightsError(f"there are no weights of {unit} yet; make them with `aigc train {unit}`")
    made = about(chosen)
    config, kind = _system(unit)
    again = f"delete it, then `aigc train {unit}` makes new ones"
    if made.get("unit") != unit:
        raise WeightsError(f"{chosen} holds the weights of {made.get('unit', 'no unit')}, not of {unit}; {again}")
    if made.get("format") != FORMAT or made.get("config") != _settings(config):
        raise WeightsError(f"{chosen} was made for another version of {unit}; {again}")
    model = kind(config)
    with safe_open(chosen, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise WeightsError(f"{chosen} was made for another version of {unit} ({first}); {again}") from None
    return model.to(resolve_device(device)).eval()
