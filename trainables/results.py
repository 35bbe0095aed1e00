"""The files that a finished trial leaves behind."""

import json
from pathlib import Path

import pandas as pd
import torch
from torchvision.models import GoogLeNet

from pruning import KeepMask
from trainables.config import TrialConfig
from trainables.fields import flat
from trainables.workspace import whole_file

CHECKPOINT = "checkpoint.pt"  # a plain state_dict
MASKS = "keep.pt"  # parameter name -> bool, True = kept
UNITS = "units.parquet"  # one row a unit
NETWORK = "network.json"  # what to build before the checkpoint is loaded


def save_results(
    folder: Path,
    config: TrialConfig,
    network: GoogLeNet,
    keep: KeepMask | None,
    units: pd.DataFrame,
) -> None:
    """Write the files of a trial into `folder`, each whole or not at all.

    The checkpoint loads with `weights_only=True` into
    `torchvision.models.googlenet(weights=None, **network.json)`.
    """
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    with whole_file(folder / CHECKPOINT) as partial:
        torch.save(state, partial)
    if keep is not None:
        with whole_file(folder / MASKS) as partial:
            torch.save({name: mask.cpu() for name, mask in keep.items()}, partial)
    with whole_file(folder / UNITS) as partial:
        units.to_parquet(partial, index=False)
    build = {
        "num_classes": network.fc.out_features,
        "aux_logits": network.aux_logits,
        "transform_input": network.transform_input,
        "init_weights": False,
    }
    with whole_file(folder / NETWORK) as partial:
        partial.write_text(json.dumps(build))
    with whole_file(folder / "config.json") as partial:
        partial.write_text(json.dumps(flat(config), indent=1))
