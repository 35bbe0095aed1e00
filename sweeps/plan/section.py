"""A section of a report: a question, the numbers that answer it, and their picture."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a study names its own sections: nothing of figures is needed for that
    import pandas as pd
    from matplotlib.figure import Figure

    from sweeps.report.read.frames import SweepFrames

TABLES = ("trials", "statistics", "validity", "epochs", "layers", "trials_all_metrics", "units")
"""Tables of a report, whose names no section has."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,59}")


@dataclass(frozen=True)
class Section:
    """One question of a report.

    name: of its files, NAME.csv, NAME.png and NAME.svg. title, question, reading: for people: what
    it is called, what it asks, and how to read the picture.
    data: the frames of a sweep -> one tidy table with every number that is drawn, or one sentence
    that says why there is nothing to draw. A column `released` (bool) marks points of other people,
    which the page can hide.
    draw: that table, and nothing else -> the picture. It must also draw the rows that are not
    `released` alone.
    over_pairs: whether it compares networks, or data: its frames are then of the whole sweep. All
    others are made for each pair of network and data by itself, where a sweep has several; NAME.csv
    says in its column `pair` which is meant, and pictures are called NAME-PAIR.png.
    number: of the figure in von Rad & Seuffert 2024 that it redraws, "" for all others.

    Raises ValueError for a name that cannot be a file's, or is that of a table of the report.
    """

    name: str
    title: str
    question: str
    reading: str
    data: Callable[["SweepFrames"], "pd.DataFrame | str"]
    draw: Callable[["pd.DataFrame"], "Figure"]
    number: str = ""
    over_pairs: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in (*TABLES, "report"):
            raise ValueError(
                "the name of a section must be small letters, digits and '_', at most 60, and none "
                f"of {', '.join((*TABLES, 'report'))}; got {self.name!r}"
            )
