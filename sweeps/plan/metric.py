"""What a metric of a trial is: its name, its meaning, and what it is good for."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric, or all of one form: `<…>` stands for the name of a layer or a category.

    meaning: with unit and range; "" where the meaning of another row says it. label: of an axis.
    heading: of a column, "" where it is in no table. kind: how a number is written. error: the
    metric with its standard error within one trial. better: 1 where more is better, -1 where less
    is, 0 where neither. searched: whether a search may aim at it. stops: whether trials may be
    stopped by it, which needs it after every epoch. terminal: whether it has room in 100 columns.
    """

    name: str
    meaning: str = ""
    label: str = ""
    heading: str = ""
    kind: Literal["number", "change", "count", "amount"] = "number"
    error: str = ""
    better: Literal[1, 0, -1] = 0
    searched: bool = True
    stops: bool = False
    terminal: bool = False

    def is_called(self, name: str) -> bool:
        """Whether a metric of a trial is this one."""
        return bool(_pattern(self.name).fullmatch(name))


@cache
def _pattern(form: str) -> re.Pattern[str]:
    return re.compile("".join(".+" if p[0] == "<" else re.escape(p) for p in _parts(form)))


def _parts(form: str) -> list[str]:
    return [part for part in re.split(r"(<[a-z]+>)", form) if part]
