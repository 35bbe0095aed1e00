"""Data sets of torchvision, from their folder or from the internet."""

import inspect
from pathlib import Path
from typing import Any

import torch

from trainables.config import DataConfig
from trainables.data_names import TORCHVISION, TORCHVISION_SETS
from trainables.datasets.layouts import POOL
from trainables.datasets.names import shown


def torchvision_folder() -> Path:
    """Where torchvision's data sets lie when no data.path says so: beside its weights."""
    return Path(torch.hub.get_dir()).parent / "datasets"


def open_torchvision(config: DataConfig) -> dict[str, Any]:
    """A set of torchvision, from its folder or, where it is not there, from the internet."""
    from torchvision import datasets

    name = config.name.removeprefix(TORCHVISION)
    kind, (of_train, of_val) = getattr(datasets, name), TORCHVISION_SETS[name]
    root = Path(config.path) if config.path else torchvision_folder()
    wanted = {POOL: of_train} if of_val is None else {"train": of_train, "val": of_val}
    found: dict[str, Any] = {}
    for split, arguments in wanted.items():
        can = "download" in inspect.signature(kind.__init__).parameters
        tries: list[dict[str, object]] = [{"download": False}, {"download": True}] if can else [{}]
        faults = []
        for more in tries:
            try:
                found[split] = kind(root=str(root), **arguments, **more)
                break
            except KeyboardInterrupt:
                raise
            except Exception as error:  # each set raises its own
                lines = str(error).strip().splitlines() or [type(error).__name__]
                faults.append(shown(lines[0]))
        else:
            way = "it cannot be downloaded" if can else "torchvision does not download it"
            raise ValueError(
                f"{config.name} must lie in {shown(root)} as torchvision keeps it "
                f"(SET=data.path=FOLDER names another), it does not ({faults[0]}), and {way}"
                + (f": {faults[-1]}" if can else "")
            )
    return found
