"""The answer of a sweep: a page, tables and figures, and tidy frames, from MLflow alone."""

from typing import Any

from sweeps.report.files import up_to_date
from sweeps.report.read.frames import SweepFrames, load, load_frames
from sweeps.report.read.runs import NothingFinished

_DRAWN = ("report_published", "report_study", "write_report")
_SIDE_BY_SIDE = "report_studies"

__all__ = [
    "NothingFinished",
    "SweepFrames",
    "load",
    "load_frames",
    "report_published",
    "report_studies",
    "report_study",
    "up_to_date",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """What draws comes when it is asked for: it brings its own style of figures."""
    if name in _DRAWN:
        from sweeps.report import write

        return getattr(write, name)
    if name == _SIDE_BY_SIDE:
        from sweeps.report import side_by_side

        return side_by_side.report_studies
    raise AttributeError(name)
