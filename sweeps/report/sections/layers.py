"""Where a ranking over all layers prunes: the share that it keeps of each."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.criteria import arms
from sweeps.report.sections.sparsity import Points
from sweeps.report.sections.style import (
    COLOURS,
    GREY,
    INK,
    block_starts,
    in_order,
    legend,
    named,
    new_figure,
)
from trainables.config import METHODS

_NAMES = 14  # of blocks along an axis: more would lie over each other
_PANELS = 8
_LINES = ("-", "--", "-.", ":")


def share_kept(frames: SweepFrames, released: Points) -> Figure | str:
    """Of each layer, the share of its groups that is kept in the end: a panel a criterion that
    ranks all layers at once, a line a rate; thin, the share that chance would keep of all alike."""
    if frames.layers.empty:
        return "The trials of this sweep left no table of their layers (layers.parquet)."
    shares = _shares(frames)
    if shares.empty:
        return "No criterion of this sweep ranked all layers at once: each keeps the same share."
    groups = shares.groupby(["method", "scored"], sort=False)
    panels = [((str(key[0]), str(key[1])), rows) for key, rows in groups]
    panels.sort(key=lambda panel: (in_order(panel[0][0]), in_order(panel[0][1])))
    panels, more = panels[:_PANELS], panels[_PANELS:]
    layers = list(dict.fromkeys(shares["layer"].astype(str)))
    figure, axes = new_figure(1, 0.9 + 1.35 * len(panels), rows=len(panels))
    rates = sorted(shares["rate"].unique())[: len(_LINES)]
    for each, ((method, scored), rows) in zip(axes, panels, strict=True):
        colour = COLOURS[scored.partition(" ")[0]]
        for rate, line in zip(rates, _LINES, strict=False):
            of_rate = rows[rows["rate"] == rate].groupby("layer", observed=True)["share"].mean()
            if len(of_rate):
                kept = of_rate.reindex(layers)
                each.plot(range(len(layers)), kept, ls=line, color=colour, lw=1.4)
                each.axhline(1 - rate, color=GREY, lw=0.7, ls=line, zorder=0)
        each.set_ylim(-0.03, 1.03)
        each.set_title(f"{named(method)} by {named(scored)}", color=colour, loc="left")
        each.set_ylabel("share kept")
        _name_blocks(each, layers, last=each is axes[len(panels) - 1])
    handles = [
        Line2D([], [], color=INK, ls=line, label=f"rate {rate:g}")
        for rate, line in zip(rates, _LINES, strict=False)
    ]
    handles.append(Line2D([], [], color=GREY, lw=0.7, label="by chance"))
    if more:
        left = ", ".join(f"{named(m)} by {named(s)}" for (m, s), _ in more)
        handles.append(Line2D([], [], ls="none", label=f"not drawn: {left}"))
    legend(figure, handles)
    return figure


def _shares(frames: SweepFrames) -> pd.DataFrame:
    """A row a layer of each trial that a criterion ranked over all layers, after its last round:
    columns method, scored, rate, layer, share."""
    trials = arms(frames.trials)
    in_all_layers = [m for m, choice in METHODS.items() if choice["scope"] == "global"]
    own = trials[(trials["arm"] == "own") & trials["method"].isin(in_all_layers)]
    own = own.drop_duplicates(["method", "scored", "rate", "seed"])  # with most images, see `arms`
    table = frames.layers.assign(key=frames.layers["key"].astype(str))
    last = table[table["round"] == table.groupby("key")["round"].transform("max")]
    chosen = own[["key", "method", "scored", "rate"]]
    return chosen.merge(last[["key", "layer", "share"]], on="key")


def _name_blocks(axes: Axes, layers: Sequence[str], last: bool) -> None:
    """A tick where a block begins, its name below the last panel."""
    blocks = block_starts(layers, _NAMES)
    axes.set_xticks(list(blocks), list(blocks.values()) if last else [""] * len(blocks))
    axes.set_xlim(-0.5, len(layers) - 0.5)
    if last:
        axes.set_xlabel("layers, in the order of the network")
