"""The sections of a report: of each its numbers in one table, and its pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sweeps.plan.section import Section
from sweeps.report.page.render import Drawing, Shown
from sweeps.report.page.svg import inline_svg
from sweeps.report.page.words import beside_released
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.pairs import stems
from sweeps.report.read.split import split
from sweeps.report.sections.style import save_titled


def write_sections(
    frames: SweepFrames,
    sections: Sequence[Section],
    folder: Path,
    told: Mapping[str, str],
    atlas: Mapping[str, str],
) -> list[Shown]:
    """The table and the pictures of each section, into `folder`. told: trial key -> what a pointer
    over its marker is told. atlas: trial key -> the page that shows its units."""
    apart, pen = split(frames), _Pen(folder, told, atlas)
    return [pen.section(each, {"": frames} if each.over_pairs else apart) for each in sections]


@dataclass(frozen=True)
class _Pen:
    """Where sections are written to, what their points tell, and where units are shown."""

    folder: Path
    told: Mapping[str, str]
    atlas: Mapping[str, str]

    def section(self, section: Section, pairs: Mapping[str, SweepFrames]) -> Shown:
        """Its one table, and a picture for each pair of network and data."""
        tables: dict[str, pd.DataFrame] = {}
        drawn = []
        for (name, frames), stem in zip(pairs.items(), stems(section.name, pairs), strict=True):
            drawing, table = self._draw(section, frames, name, stem)
            drawn.append(drawing)
            if table is not None:
                tables[name] = table
        try:
            if tables:
                _together(tables).to_csv(self.folder / f"{section.name}.csv", index=False)
        except Exception as error:  # of a study's own section: no picture is without its numbers
            drawn = [Drawing(name, absent=_not_drawn(error)) for name in pairs]
            self._forget(section.name)
        return Shown(section, tuple(drawn))

    def _forget(self, stem: str) -> None:
        for path in [*self.folder.glob(f"{stem}.*"), *self.folder.glob(f"{stem}-*")]:
            path.unlink()

    def _draw(
        self, section: Section, frames: SweepFrames, name: str, stem: str
    ) -> tuple[Drawing, pd.DataFrame | None]:
        """What it cannot draw is said, and the others are drawn."""
        try:
            table = section.data(frames)
            if isinstance(table, str):
                return Drawing(name, absent=table), None
            if table.empty:
                return Drawing(name, absent="There is nothing to draw."), None
            figure, title = section.draw(table), section.title + (f": {name}" if name else "")
            svg = inline_svg(figure, stem, title, self.told, self.atlas)
            released = table["released"] if "released" in table else pd.Series(False, table.index)
            if released.any() and not beside_released(frames):
                # Drawn anew: axes that reach to points of another scale would be half empty.
                figure = section.draw(table[~released])
                figure.draw_without_rendering()
            save_titled(figure, self.folder / stem, title, frames.caption)
        except Exception as error:  # of a sweep unlike any that was tried, or a study's own section
            self._forget(stem)
            return Drawing(name, absent=_not_drawn(error)), None
        return Drawing(name, svg), table


def _not_drawn(error: Exception) -> str:
    return f"This figure could not be drawn: {type(error).__name__}: {error}."


def _together(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of all pairs, each with its pair in front; that of a sweep's only one as it is."""
    if "" in tables:
        return tables[""]
    parts = [table.reset_index(drop=True) for table in tables.values()]
    for name, part in zip(tables, parts, strict=True):
        part.insert(0, "pair", name)
    return pd.concat(parts, ignore_index=True)
