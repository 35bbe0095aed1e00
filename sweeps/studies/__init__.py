"""One file per question. A study's docstring says its purpose, source, expectation and cost."""

import dataclasses
import importlib
import pkgutil
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a list of names is there at once
    from sweeps.plan.sweep import Sweep


def study_names() -> list[str]:
    """The studies there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def is_file(name: str) -> bool:
    """Whether it is a path of a study of the user's, and not the name of one of these."""
    return name.endswith(".py") or "/" in name


def name_of(name: str) -> str:
    """What a study is called: its experiment in MLflow, its report."""
    return PurePath(name).stem if is_file(name) else name


def load_study(name: str) -> "Sweep":
    """The sweep of a study, which is called as its file is; or of a Python file of the user's.

    Raises ValueError for a name that is none, listing those that are, and for a file that is no
    study.
    """
    if is_file(name):
        from sweeps.plan.study_file import load_study_file

        return load_study_file(name, study_names())
    if name not in study_names():
        raise ValueError(
            f"STUDY must be one of {', '.join(study_names())}, or a Python file of your own "
            f"(make new FILE=mine.py writes one), got {name!r}"
        )
    study: Sweep = importlib.import_module(f"{__name__}.{name}").STUDY
    return dataclasses.replace(study, name=name)
