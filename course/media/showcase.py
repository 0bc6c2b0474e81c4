"""What a converter does once it is finished, shown at the top of its notebook: with the weights that come with the course."""

import base64
import html
from typing import Any

from course.checking.load import reference_module
from course.media import files as media
from course.units.catalogue import find_unit

MIME = {"image": "image/png", "video": "image/gif", "speech": "audio/wav"}
SCALE = 4  # of 24 pixels: as large as they are shown
ITEMS = (30, 15, 46, 21)  # of the held-out ones: different digits and places


def tile(kind: str, thing: Any) -> str:
    """A thing as HTML that needs no other file: a text, a picture, a looping video, a player."""
    if kind == "text":
        return html.escape(str(thing))
    data = base64.b64encode(media.to_bytes(kind, thing, media.KINDS[kind][0], SCALE)).decode()
    source = f"data:{MIME[kind]};base64,{data}"
    if kind == "speech":
        return f'<audio controls preload="metadata" src="{source}" style="width: 220px"></audio>'
    return f'<img src="{source}" width="96" height="96" alt="{kind}">'


def table(unit_id: str) -> str:
    """Some held-out things and what the unit's system makes of them, as an HTML table. Raises WeightsError without weights."""
    import torch

    from course.media.convert import given
    from reference_impl import weights
    from reference_impl.data import digits_in_motion as motion

    unit = find_unit(unit_id)
    source, target = unit.name.split("_to_")
    module: Any = reference_module(unit)
    model = weights.load(unit.id, path=weights.find(unit.id), device="cpu")
    split = motion.load("test").select(torch.tensor(ITEMS))
    things = split.captions if source == "text" and target != "speech" else given(source, split)
    rows = zip(things, module.convert(model, things), strict=True)
    cells = "".join(f"<tr><td>{tile(source, before)}</td><td>→</td><td>{tile(target, after)}</td></tr>" for before, after in rows)
    return f"<table><tr><th>{source}</th><th></th><th>{target}</th></tr>{cells}</table>"


def show(unit_id: str) -> None:
    """Display `table`; where the unit has no weights yet, say how to make them."""
    from IPython.display import HTML, display

    from reference_impl.weights import WeightsError

    try:
        display(HTML(table(unit_id)))
    except WeightsError as error:
        print(error)
