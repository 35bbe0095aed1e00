"""One file a question. The docstring of a study says its purpose, source, expectation and cost."""

import dataclasses
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a list of names is there at once
    from sweeps.plan.sweep import Sweep


def study_names() -> list[str]:
    """The studies there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_study(name: str) -> "Sweep":
    """The sweep of a study, which is called as its file is.

    Raises ValueError for a name that is none, listing those that are.
    """
    if name not in study_names():
        raise ValueError(f"STUDY must be one of {', '.join(study_names())}, got {name!r}")
    study: Sweep = importlib.import_module(f"{__name__}.{name}").STUDY
    return dataclasses.replace(study, name=name)
