"""Pictures of what a unit answers to: one of its tasks, for several networks side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mis.score.tasks import Tasks

PLUS, MINUS = (35, 110, 190), (205, 105, 30)  # blue and orange: told apart by all readers
_INK, _FAINT, _PAPER = (35, 38, 45), (115, 120, 130), (255, 255, 255)
_MARGIN, _GAP, _FRAME, _BETWEEN = 24, 3, 4, 18  # pixels
_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One network's side of the picture of a unit."""

    title: str  # e.g. "dense" or "pruned, rate 0.8"
    caption: str  # e.g. "MIS 0.91"
    plus: Tensor  # int64 [k], image ids of the explanations that activate strongly
    minus: Tensor  # int64 [k], weakly
    plus_query: int
    minus_query: int
    answers: bool = True  # False for a dead or constant unit, which no image activates more


def panel_of(
    tasks: Tasks, unit: int, *, title: str, mis: float, state: str = "alive", task: int = 0
) -> Panel:
    """A unit's panel with one of its tasks. mis: of the unit, NaN where it has none."""
    return Panel(
        title,
        f"MIS {mis:.2f}" + ("" if state == "alive" else f", {state}") if mis == mis else state,
        tasks.plus[unit, task],
        tasks.minus[unit, task],
        int(tasks.plus_query[unit, task]),
        int(tasks.minus_query[unit, task]),
        answers=mis == mis,
    )


def draw_unit(images: Any, heading: str, panels: Sequence[Panel], *, tile: int = 72) -> np.ndarray:
    """The panels side by side under a heading: uint8 [height, width, 3].

    images: uint8 [image, h, w, 3], RGB, an array or a tensor on the CPU, indexed by image id.
    heading: e.g. layer and channel. tile: side of an image in the picture, in pixels.

    A panel shows weak explanations, the two queries and strong explanations, from left to right;
    everything of the strong side is blue, of the weak side orange.
    Raises ValueError without panels.
    """
    if not panels:
        raise ValueError("a picture of a unit needs at least one panel, got none")
    parts = [_draw_panel(images, panel, tile) for panel in panels]
    top = _MARGIN + 36
    width = sum(part.width for part in parts) + _MARGIN * (len(parts) + 1)
    picture = Image.new("RGB", (width, top + max(p.height for p in parts) + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN - 6), heading, _INK, _font(21))
    left = _MARGIN
    for part in parts:
        picture.paste(part, (left, top))
        left += part.width + _MARGIN
        if part is not parts[-1]:
            x = left - _MARGIN // 2
            pen.line([(x, top), (x, picture.height - _MARGIN)], (225, 228, 232), 1)
    return np.asarray(picture)


def choose_units(mis: Tensor, dense_mis: Tensor, n: int = 3) -> dict[str, list[int]]:
    """Which units to look at: `n` each, of those with a score in both networks.

    mis, dense_mis: [unit], NaN where a unit has none. Keys: "best", "median", "worst" by mis,
    "clearer" and "less_clear" by mis - dense_mis, the most extreme first; equals in the order of
    their numbers. With fewer units than n a list is shorter; a unit may be in several.
    Raises ValueError unless both score the same units.
    """
    if mis.shape != dense_mis.shape or mis.ndim != 1:
        raise ValueError(
            f"both must score the same units, got {tuple(mis.shape)} and {tuple(dense_mis.shape)}"
        )
    change = mis.double() - dense_mis.double()
    known = (~change.isnan()).nonzero().flatten()
    score, change = mis.double()[known], change[known]
    middle = score.quantile(0.5) if len(known) else score.new_tensor(0.0)
    orders = {
        "best": -score,
        "median": (score - middle).abs(),
        "worst": score,
        "clearer": -change,
        "less_clear": change,
    }
    return {name: known[key.argsort(stable=True)[:n]].tolist() for name, key in orders.items()}


def _draw_panel(images: Any, panel: Panel, tile: int) -> Image.Image:
    rows = -(-len(panel.plus) // _COLUMNS)
    side = _COLUMNS * tile + (_COLUMNS - 1) * _GAP
    height = max(rows * tile + (rows - 1) * _GAP, 2 * (tile + 2 * _FRAME) + _GAP)
    query = tile + 2 * _FRAME
    part = Image.new("RGB", (2 * (side + _BETWEEN) + query, 62 + height + 6), _PAPER)
    pen = ImageDraw.Draw(part)
    pen.text((0, 0), panel.title, _INK, _font(17))
    pen.text((part.width, 0), panel.caption, _INK, _font(17), anchor="ra")
    if not panel.answers:
        pen.rectangle([(0, 34), (part.width - 1, part.height - 1)], (246, 247, 249))
        centre = (part.width // 2, (34 + part.height) // 2)
        pen.text(centre, "no image activates it more than another", _FAINT, _font(15), anchor="mm")
        return part
    middle, right = side + _BETWEEN, side + query + 2 * _BETWEEN
    for left, width, text, colour in (
        (0, side, "activate it least", MINUS),
        (middle, query, "queries", _FAINT),
        (right, side, "activate it most", PLUS),
    ):
        pen.text((left + width / 2, 31), text, colour, _font(14), anchor="ma")
        pen.line([(left, 53), (left + width - 1, 53)], colour, 2)
    for left, ids in ((0, panel.minus), (right, panel.plus)):
        for place, image in enumerate(ids.tolist()):
            row, column = divmod(place, _COLUMNS)
            at = (left + column * (tile + _GAP), 62 + row * (tile + _GAP))
            part.paste(_tile(images, image, tile), at)
    for y, image, colour in (
        (62, panel.plus_query, PLUS),
        (62 + height - query, panel.minus_query, MINUS),
    ):
        pen.rectangle([(middle, y), (middle + query - 1, y + query - 1)], colour)
        part.paste(_tile(images, image, tile), (middle + _FRAME, y + _FRAME))
    return part


def _tile(images: Any, image: int, tile: int) -> Image.Image:
    pixels = np.asarray(images[image])
    # Sharp pixels where a small image is enlarged would look like texture.
    return Image.fromarray(pixels).resize((tile, tile), Image.Resampling.LANCZOS)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
