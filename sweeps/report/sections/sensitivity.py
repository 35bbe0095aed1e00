"""How much accuracy each layer costs when it alone is pruned."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sweeps.plan.section import Section
from sweeps.report.read.frames import SweepFrames
from sweeps.report.sections.layers import name_blocks
from sweeps.report.sections.series import tidy
from sweeps.report.sections.style import INK, PAPER, named, new_figure
from trainables.rates_file import KEEPS, tolerable_rates

_KIND = ["granularity", "criterion"]


def _sensitivity(frames: SweepFrames) -> pd.DataFrame | str:
    """A row per layer and rate: the means over trials of one kind; and the rate that each layer
    bears."""
    measured = frames.sensitivity
    if measured.empty:
        return "No trial of this sweep measured its layers one by one (`sensitivity`)."
    rows = []
    for (granularity, criterion), alike in measured.groupby(_KIND, sort=False, observed=True):
        said = {"granularity": granularity, "criterion": criterion}
        keys = ",".join(dict.fromkeys(alike["key"].astype(str)))
        dense = float(alike.groupby("key", observed=True)["dense"].first().mean())
        curves = {}
        of_layers = alike.groupby("layer", sort=False, observed=True)
        for place, (layer, of_layer) in enumerate(of_layers):
            means = of_layer.groupby("rate")["top1"].mean()
            curves[str(layer)] = [
                (float(r), float(t)) for r, t in zip(means.index, means, strict=True)
            ]
            rows += [
                {
                    **{"kind": "layer", **said, "layer": layer, "place": place, "rate": rate},
                    **{"dense": dense, "metric": "val/top1", "value": top1, "keys": keys},
                }
                for rate, top1 in curves[str(layer)]
            ]
        for place, (layer, rate) in enumerate(tolerable_rates(curves, dense, KEEPS).items()):
            bears = {"kind": "bears", **said, "layer": layer, "place": place}
            rows.append({**bears, "metric": "rate", "value": rate, "keys": keys})
    return tidy(rows)


def _draw(table: pd.DataFrame) -> Figure:
    """A column per layer, a row per rate; the darker, the less is left of the accuracy."""
    kinds = list(table.groupby(_KIND, sort=False))
    figure, panels = new_figure(1, 0.9 + 2.2 * len(kinds), rows=len(kinds))
    picture = None
    for axes, ((granularity, criterion), rows) in zip(panels, kinds, strict=True):
        curves = rows[rows["kind"] == "layer"]
        left = curves.assign(left=curves["value"] / curves["dense"])
        grid = left.pivot(index="rate", columns="place", values="left").sort_index()
        edges = _edges(grid.index.to_numpy(dtype=float))
        places = np.arange(len(grid.columns) + 1) - 0.5
        picture = axes.pcolormesh(
            places, edges, grid.to_numpy(), cmap="viridis", vmin=0, vmax=1, rasterized=True
        )
        bears = rows[rows["kind"] == "bears"]
        look: dict[str, Any] = {"ms": 4.5, "mfc": PAPER, "mec": INK, "mew": 0.8}
        axes.plot(bears["place"], bears["value"], "o", **look, clip_on=False, zorder=3)
        layers = list(dict.fromkeys(curves["layer"]))
        is_last = axes is panels[len(kinds) - 1]
        name_blocks(
            axes, layers, 30, "the layer that is pruned, in the order of the network", is_last
        )
        axes.set_ylabel("its rate")
        axes.set_ylim(min(0.0, float(edges[0])), float(edges[-1]))
        axes.set_title(f"{named(str(granularity))} by {named(str(criterion))}", loc="left")
    if picture is not None:
        figure.colorbar(picture, ax=panels, label="accuracy, of the dense network's", shrink=0.8)
    return figure


def _edges(rates: np.ndarray) -> np.ndarray:
    """Between the rates, and as far beyond the first and the last."""
    if len(rates) == 1:
        return np.array([rates[0] - 0.05, rates[0] + 0.05])
    between = (rates[1:] + rates[:-1]) / 2
    return np.array([2 * rates[0] - between[0], *between, 2 * rates[-1] - between[-1]])


SENSITIVITY = Section(
    "sensitivity",
    "Each layer pruned alone",
    "How much does accuracy owe to each layer?",
    "Nothing is trained again, and one layer is pruned at a time. A circle is the rate up to which "
    f"a layer keeps {KEEPS:g} of the dense network's accuracy: sensitivity.csv, from which "
    "`prune.rates` reads such rates, has the curves.",
    _sensitivity,
    _draw,
)
