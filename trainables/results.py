"""What a finished trial is, and the files that it leaves behind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from trainables.artifacts import (
    CHECKPOINT,
    COMPACTED,
    DISSECTION,
    GALLERY,
    MASKS,
    NETWORK,
    SHOWN,
    UNITS,
    UNITS_BY_ROUND,
)
from trainables.config import TrialConfig
from trainables.fields import flat
from trainables.networks import save_compacted
from trainables.rounds.pruned import PrunedNetwork
from trainables.scores.scoring import Scored
from trainables.scores.shown import write_shown
from trainables.workspace import Workspace, remove_partials, whole_file

Outcome = Literal["completed", "stopped", "collapsed", "failed"]


@dataclass(frozen=True)
class Result:
    """What a trial ends with: metrics by name, one row per unit, and the folder of its files.

    made_on: device, precision, versions, images.
    """

    outcome: Outcome
    metrics: dict[str, float]
    units: pd.DataFrame
    folder: Path
    made_on: dict[str, str]


def save_round(
    workspace: Workspace, config: TrialConfig, round_: int, scored: Scored
) -> dict[str, float]:
    """Write what units score at the end of a round, from 0 on, that is not the last; the metrics.

    Columns: layer, channel, state and every score. A round that is run again, of a trial that went
    on from before it, takes the place of what it left.
    """
    path = workspace.trial(config.key) / UNITS_BY_ROUND / round_file(round_ + 1)
    units = scored.units.drop(columns=["replicates"], errors="ignore")
    found = scored.dissected
    if found is not None and len(found):
        unit = ["layer", "channel"]
        units = units.merge(found[[*unit, "iou", "concept", "category"]], on=unit, how="left")
    with whole_file(path) as partial:
        units.to_parquet(partial, index=False)
    return scored.metrics


def round_file(number: int) -> str:
    """Name of the table of units after so many rounds."""
    return f"round_{number:03}.parquet"


def save_results(
    folder: Path,
    config: TrialConfig,
    arguments: dict[str, Any],
    pruned: PrunedNetwork,
    scored: Scored,
    tables: Mapping[str, Sequence[Mapping[str, Any]] | pd.DataFrame],
) -> None:
    """Write the files of a trial into `folder`, each whole or not at all.

    arguments: of the network, for `networks.rebuild`; they become network.json. tables: name of a
    file -> its rows; of one without rows there is none. The checkpoint
    loads with `weights_only=True` into the network that it names, with its other entries as
    arguments. Raises OSError on a full disk.
    """
    for there in (folder, folder / GALLERY, folder / UNITS_BY_ROUND):
        remove_partials(there)  # of a process that was killed: all that is here is uploaded
    network = pruned.network
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    with whole_file(folder / CHECKPOINT) as partial:
        torch.save(state, partial)
    if pruned.keep is not None:
        with whole_file(folder / MASKS) as partial:
            torch.save({name: mask.cpu() for name, mask in pruned.keep.items()}, partial)
    smaller, survivors = pruned.compacted()
    if survivors is not None:
        with whole_file(folder / COMPACTED) as partial:
            save_compacted(partial, smaller, survivors, arguments)
    with whole_file(folder / UNITS) as partial:
        scored.units.to_parquet(partial, index=False)
    if scored.shown is not None:
        with whole_file(folder / SHOWN) as partial:
            write_shown(partial, scored.shown)
    for name, rows in tables.items():
        if len(rows):
            with whole_file(folder / name) as partial:
                pd.DataFrame(rows).to_parquet(partial, index=False)
    if scored.dissected is not None:
        with whole_file(folder / DISSECTION) as partial:
            scored.dissected.to_parquet(partial, index=False)
    for name, picture in scored.gallery.items():
        with whole_file(folder / GALLERY / f"{name}.png") as partial:
            picture.save(partial, format="png")
    with whole_file(folder / NETWORK) as partial:
        partial.write_text(json.dumps(arguments))
    with whole_file(folder / "config.json") as partial:
        partial.write_text(json.dumps(flat(config), indent=1))
