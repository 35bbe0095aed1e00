"""A network that was pruned elsewhere, scored as a trial is, beside its dense one."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.plan.planner import Plan, make_plan
from sweeps.plan.primary import Primary
from sweeps.plan.sweep import Grid, Sweep
from trainables.config import DataConfig, GivenConfig, NetworkConfig, TrialConfig
from trainables.workspace import at_home

_IMAGENET = "imagenet"
_PROBE = 50_000  # images at the most, of the training images, that scores look at
_PURPOSE = """What pruning did to a network that was pruned elsewhere.

Purpose   {pruned} as it is, beside the dense network that it was made of ({against}) and an
          untrained one.
Source    The file; nothing is pruned or trained here.
Expected  No forecast.
Asked     Does the MIS of its units differ from the dense network's?
"""


def score_plan(
    pruned: str,
    network: str,
    against: str,
    data: str,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """The trials: the dense network, the pruned one, and the untrained one.

    pruned, against: state_dicts in files; the latter may be "imagenet", torchvision's or timm's.
    settings: as of `make_plan`. Raises ValueError, in one sentence, for what is not legal.
    """
    path, weights = _file(pruned), {"weights": _IMAGENET}
    if against != _IMAGENET:
        weights = {"weights": "file", "checkpoint": _file(against)}
    base = TrialConfig(
        network=NetworkConfig(name=network, **weights),  # type: ignore[arg-type]
        data=DataConfig(
            name="image_folder",
            pixels=224,
            train_images=None,
            val_images=None,
            probe_images=_PROBE,
        ),
    )
    sweep = Sweep(
        name=_name(path),
        purpose=_PURPOSE.format(pruned=path, against=weights.get("checkpoint", _IMAGENET)),
        base=base,
        primary=Primary(networks="not retrained"),
        grids=(Grid({"given": {Path(path).name: {"given": GivenConfig(path=path)}}}),),
    )
    return make_plan(sweep, data=data, settings=settings)


def _file(text: str) -> str:
    return str(at_home(text).resolve())


def _name(path: str) -> str:
    """Of the experiment: after the file."""
    return "score-{}".format(re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem))[:100]
