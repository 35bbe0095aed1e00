"""One network beside the dense one, all in a single file: for the run of its trial in MLflow."""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.report.atlas.scripts import renamed, script
from sweeps.report.atlas.thumbnails import PER_SHEET

_KINDS = ("scores", "images", "maps", "history")
_SCRIPT = re.compile(r'<script src="atlas/(\w+)\.js"></script>')
_BACK = re.compile(r'<a href="[./]*report\.html">The report</a>')
_POLICY = re.compile(r"default-src 'none'[^\"]*")
_ALLOWED = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Part:
    """What of an atlas one network needs. place: its number among the networks; images: the places
    of its pictures in their sheets; concepts: the numbers of those that its units go with."""

    place: int
    images: Collection[int]
    concepts: Collection[int]


def one_file(page: Path, about: Mapping[str, Any], parts: Sequence[Part]) -> str:
    """The text of a page that asks for no other file.

    page: of an atlas that is written, its files beside it. about: what that says of all. parts: the
    networks of the page, in their order; it opens with the first and the last.
    """
    folder = page.with_suffix("")
    lit = {place for part in parts for n in part.concepts for place in about["concepts"][n]["lit"]}
    shown = {place for part in parts for place in part.images}
    sheets = {
        name: _held(folder, about["sheets"][name], places)
        for name, places in (("images", shown), ("lit", lit))
    }
    here = {
        **about,
        "trials": [about["trials"][part.place] for part in parts],
        "start": [0, len(parts) - 1],
        "sheets": about["sheets"] | sheets,
    }
    data = [script("about", here), *_data(folder, parts)]

    def inline(found: re.Match[str]) -> str:
        name = found[1]
        text = "".join(data) if name == "about" else (folder / f"{name}.js").read_text()
        return f"<script>{text}</script>"

    text = _SCRIPT.sub(inline, page.read_text())
    style = f"<style>{(folder / 'atlas.css').read_text()}</style>"
    text = text.replace('<link rel="stylesheet" href="atlas/atlas.css">', style)
    return _BACK.sub("", _POLICY.sub(_ALLOWED, text))


def most_bytes(folder: Path, parts: Sequence[Part]) -> float:
    """Of such a page, all sheets taken. folder: with the files of the atlas."""
    data = sum(path.stat().st_size for part in parts for path in _files(folder, part))
    return data + 4 / 3 * sum(path.stat().st_size for path in folder.glob("*.jpg"))


def _files(folder: Path, part: Part) -> list[Path]:
    paths = [folder / f"{kind}-{part.place:03}.js" for kind in _KINDS]
    return [path for path in paths if path.exists()]


def _data(folder: Path, parts: Sequence[Part]) -> list[str]:
    return [
        renamed(path.read_text(), path.stem, f"{path.stem.partition('-')[0]}-{number:03}")
        for number, part in enumerate(parts)
        for path in _files(folder, part)
    ]


def _held(folder: Path, names: Sequence[str], places: Collection[int]) -> list[str]:
    """The sheets in which these places are, as addresses that hold them; "" for the others."""
    wanted = {place // PER_SHEET for place in places}
    return [
        f"data:image/jpeg;base64,{base64.b64encode((folder / name).read_bytes()).decode()}"
        if number in wanted
        else ""
        for number, name in enumerate(names)
    ]
