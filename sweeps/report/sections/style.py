"""How the figures look: one palette, one size, one way to name things."""

import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from sweeps.plan.metrics import label

matplotlib.rcParams.update(
    {
        "axes.facecolor": "none",
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "font.size": 9,
        "svg.fonttype": "none",  # text stays text: it can be read out, searched and restyled
    }
)


class _Looks(dict[str, str]):
    """What each method and criterion looks like; one that was added since gets a spare look."""

    def __init__(self, known: dict[str, str], spare: tuple[str, ...]) -> None:
        super().__init__(known)
        self.spare = spare

    def __missing__(self, name: str) -> str:
        return self.spare[zlib.crc32(name.encode()) % len(self.spare)]  # the same everywhere


# Okabe & Ito's palette, then Tol's muted one, which colour-blind readers can tell apart; and each
# has a marker of its own, so that nothing is said by colour alone.
COLOURS = _Looks(
    {
        "unstructured": "#0072b2",
        "unstructured_layerwise": "#56b4e9",
        "structured": "#d55e00",
        "structured_global": "#e69f00",
        "connection": "#009e73",
        "connection_global": "#cc79a7",
        "nm_2_4": "#332288",
        "l1": "#0072b2",
        "l2": "#56b4e9",
        "lrp": "#d55e00",
        "taylor": "#e69f00",
        "gradient": "#009e73",
        "random": "#cc79a7",
        "bn_scale": "#882255",
        "outgoing_l1": "#999933",
        "fpgm": "#117733",
        "lamp": "#332288",
        "fisher": "#44aa99",
    },
    spare=("#8a5a2b", "#6a3d9a"),
)
MARKERS = _Looks(
    {
        "unstructured": "o",
        "unstructured_layerwise": "P",
        "structured": "s",
        "structured_global": "D",
        "connection": "^",
        "connection_global": "v",
        "nm_2_4": "X",
        "l1": "o",
        "l2": "P",
        "lrp": "s",
        "taylor": "D",
        "gradient": "^",
        "random": "v",
        "bn_scale": "X",
        "outgoing_l1": "<",
        "fpgm": ">",
        "lamp": "*",
        "fisher": "d",
    },
    spare=("h", "p"),
)
PALETTE = (*dict.fromkeys(COLOURS.values()), *COLOURS.spare)


def in_order(name: str) -> tuple[int, str]:
    """A key to sort methods and criteria by: as they stand above, then those added since."""
    known = list(COLOURS)
    return (known.index(name) if name in COLOURS else len(known), name)


STYLES = {"one_shot": "-", "iterative": "--", "linear": "-.", "cubic": (0, (4, 1, 1, 1, 1, 1))}
WITHOUT = {"none": (0, (1, 1.6)), "recalibrate": (0, (5, 1.5, 1, 1.5))}
"""Retraining that is none -> its line."""
RETRAINING = {
    "none": "as pruned",
    "recalibrate": "BatchNorm recalibrated",
    "finetune": "fine-tuned",
    "rewind_weights": "weights rewound",
    "rewind_learning_rate": "learning rate rewound",
}
# Black and white as they are written are what the page replaces by its own ink and paper.
INK, PAPER, GREY = "#000000", "#ffffff", "#808080"
RELEASED = "released"
"""Group of what is drawn of other people's points: the page can hide it."""
UNIT = "unit?"
"""How the address of a point that is a unit begins; what follows is an address in the atlas."""
WIDTH = 6.6  # inches: with 9 points of type readable at a column of 3.4 inches


def new_figure(
    panels: int = 1, height: float = 3.9, rows: int = 1, *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a page's column, with its panels side by side, row by row.

    sharey: the panels of a row have one scale, written at the first.
    """
    # Not by pyplot, which would keep every figure and look for a window.
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, panels, squeeze=False, sharey="row" if sharey else False)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["bottom", "left"]].set_color(GREY)
        each.grid(alpha=0.3, linewidth=0.5, color=GREY)
        each.tick_params(labelsize=8, color=GREY)
        each.set_axisbelow(True)
    return figure, list(axes.flat)


def sparsity_axis(axes: Axes, *, small: bool = False) -> None:
    """From 0 to 1; small: of a panel beside others."""
    axes.set_xlim(-0.015, 1)
    axes.set_xlabel("sparsity" if small else label("prune/sparsity"))
    if small:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])


def save_titled(figure: Figure, stem: Path, title: str, caption: str) -> None:
    """PNG and SVG of a figure that was laid out, with a title and what it was made on around it."""
    figure.set_layout_engine("none")  # laying out again takes most of the time
    for each in figure.legends:  # would go to the edge of what is saved
        each.set_bbox_to_anchor((0, 0, 1, 1), transform=figure.transFigure)
    width, height = figure.get_size_inches()
    below = textwrap.fill(caption, 135)
    small, line = 6.5, 0.115  # points, inches
    plain: dict[str, Any] = {"parse_math": False}  # names of other people's networks may hold a $
    figure.text(
        0.01, 1 + 0.08 / height, title, fontsize=11, fontweight="bold", va="bottom", **plain
    )
    figure.text(0.01, -0.06 / height, below, fontsize=small, color=GREY, va="top", **plain)
    under = 0.12 + line * (below.count("\n") + 1)
    whole = Bbox.from_extents(0, -under, width, height + 0.34)
    for suffix in ("png", "svg"):
        figure.savefig(stem.with_suffix(f".{suffix}"), dpi=160, bbox_inches=whole)


def named(name: str) -> str:
    """A method or a criterion, for people."""
    short = {"l1": "L1", "l2": "L2", "lrp": "LRP", "fpgm": "FPGM", "lamp": "LAMP"}
    short |= {"bn_scale": "BatchNorm scale", "outgoing_l1": "outgoing L1", "nm_2_4": "2:4"}
    return short.get(name, name.replace("_", " "))


def legend(axes: Axes | Figure, handles: Sequence[Line2D]) -> None:
    """Below the axes, where it hides nothing; what is of the released points can be hidden."""
    if not handles:
        return
    figure = axes if isinstance(axes, Figure) else axes.figure
    drawn = figure.legend(
        handles=list(handles),
        fontsize=8,
        frameon=False,
        loc="outside lower center",
        ncols=_columns([str(handle.get_label()) for handle in handles]),
        handlelength=2.6,
        columnspacing=1.4,
    )
    for given, handle, text in zip(handles, drawn.legend_handles, drawn.get_texts(), strict=True):
        if given.get_gid() == RELEASED and handle is not None:
            handle.set_gid(RELEASED)
            text.set_gid(RELEASED)


def _columns(names: Sequence[str]) -> int:
    """How many columns of a legend fit the width, if columns are as wide as their widest name."""
    for columns in range(len(names), 1, -1):
        # A legend is filled column by column, the first of them with one more where need be.
        widest = [max(map(len, part)) for part in np.array_split(names, columns)]
        if sum(0.58 + 0.058 * width for width in widest) < WIDTH:
            return columns
    return 1


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names right of the axes at the heights where lines end, moved apart where they would touch.

    ends: (height in data, text, colour).
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    ordered = sorted(ends)
    wanted = [(height - low) / (high - low) for height, _, _ in ordered]
    spec = axes.get_subplotspec()
    rows = spec.get_gridspec().nrows if spec is not None else 1
    height_inches = axes.figure.bbox.height / axes.figure.dpi
    gap = 0.2 * rows / height_inches  # 8 points of type, in axes' heights
    for place, (height, text, colour) in zip(_apart(wanted, gap), ordered, strict=True):
        axes.annotate(
            text,
            xy=(1, (height - low) / (high - low)),
            xycoords="axes fraction",
            xytext=(1.02, place),
            textcoords="axes fraction",
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
        )


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Rising places as near to those wanted as a distance of `gap` allows."""
    # Neighbours that touch become a block, centred on what its members wanted.
    blocks: list[tuple[float, int]] = []  # (sum of wanted places, each less its offset; size)
    for place in wanted:
        total, size = place, 1
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][1] * gap > total / size:
            before_total, before_size = blocks.pop()
            total = before_total + total - size * before_size * gap
            size += before_size
        blocks.append((total, size))
    places: list[float] = []
    for total, size in blocks:
        places += list(total / size + gap * np.arange(size))
    return places


def block_starts(layers: Sequence[str], most: int) -> dict[int, str]:
    """Place along an axis of layers -> name of the block that begins there, for people.

    A block is the name of a layer to its first dot. Only those that have room are named, at most
    `most`; short blocks are the first of a network: of those the last is named.
    """
    blocks = [layer.partition(".")[0] for layer in layers]
    starts = [i for i, block in enumerate(blocks) if i == 0 or block != blocks[i - 1]]
    apart = [starts.pop()]
    for i in reversed(starts):
        if apart[-1] - i >= len(layers) / most:
            apart.append(i)
    return {i: blocks[i].removeprefix("inception") for i in reversed(apart)}
