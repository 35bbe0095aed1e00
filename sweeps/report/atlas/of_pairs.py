"""The atlases beside a report: one for each pair of network and data that a sweep compares, since
units of different networks are not the same."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sweeps.plan.atlas import Atlas
from sweeps.report.atlas.of_trials import leave_pages
from sweeps.report.atlas.write import FOLDER, PAGE, Made, write_atlas
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.pairs import stems
from sweeps.report.read.split import split
from sweeps.tracking.tracker import Tracker


@dataclass(frozen=True)
class Atlases:
    """made: page, as the report leads to it -> the pair that it is of, "" for a sweep's only one,
    and what was made of it."""

    made: Mapping[str, tuple[str, Made]]

    @cached_property
    def pages(self) -> dict[str, str]:
        """Page -> its pair, of those that are there."""
        return {page: pair for page, (pair, made) in self.made.items() if made.keys}

    @cached_property
    def page_of(self) -> dict[str, str]:
        """Trial key -> the page that shows its units."""
        last_first = reversed(self.pages)  # a control of several pairs is shown by the first
        return {key: page for page in last_first for key in self.made[page][1].keys}

    @property
    def said(self) -> str:
        """Why units are not shown."""
        parts = [(pair, made.said) for pair, made in self.made.values() if made.said]
        return " ".join(f"{pair}: {said}" if pair else said for pair, said in parts)

    def leave(self, tracker: Tracker, folder: Path) -> str:
        """Log to the run of each trial a page of its own, one; see `leave_pages`. folder: of the
        report."""
        done: set[str] = set()
        for page, (_, made) in self.made.items():
            pages = {run: parts for run, parts in made.pages.items() if run not in done}
            if why_not := leave_pages(tracker, replace(made, pages=pages), (folder / page).parent):
                return why_not
            done |= set(pages)
        return ""


def write_atlases(frames: SweepFrames, tracker: Tracker, folder: Path, atlas: Atlas) -> Atlases:
    """An atlas for each pair, in `folder`; of several each has a folder of its own, and they share
    what the limits allow. Never raises for what the trials lack or this machine has not."""
    apart = split(frames)
    if len(apart) == 1:
        return Atlases({PAGE: ("", write_atlas(frames, tracker, folder, atlas))})
    made, share = {}, _share(atlas, len(apart))
    for (pair, own), name in zip(apart.items(), stems(FOLDER, apart), strict=True):
        (folder / name).mkdir()
        made[f"{name}/{PAGE}"] = (pair, write_atlas(own, tracker, folder / name, share))
        _lead_back(folder / name / PAGE)
        with suppress(OSError):  # there is one
            (folder / name).rmdir()
    return Atlases(made)


def _lead_back(page: Path) -> None:
    """To the report, which lies a folder higher."""
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace('"report.html"', '"../report.html"'), encoding="utf-8")


def _share(atlas: Atlas, n: int) -> Atlas:
    trials, megabytes, maps = (
        -(-total // n) for total in (atlas.trials, atlas.megabytes, atlas.maps)
    )
    return replace(atlas, trials=trials, megabytes=megabytes, maps=maps)
