"""Write the atlas of a sweep's units beside its report."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.plan.atlas import Atlas
from sweeps.report.atlas.chosen import (
    Units,
    candidates,
    lacking,
    made_of,
    same_units,
    units_of,
)
from sweeps.report.atlas.columns import STATES, Score, columns_of, concepts_of, scores_of
from sweeps.report.atlas.examples import examples_of
from sweeps.report.atlas.history import history_of
from sweeps.report.atlas.images import Probe, find_probe, used_images
from sweeps.report.atlas.maps import MOST_IMAGES, mapped, maps_of
from sweeps.report.atlas.one_file import Part, most_bytes
from sweeps.report.atlas.scripts import smallest, write_script
from sweeps.report.atlas.thumbnails import (
    ACROSS,
    Sizes,
    write_sheets,
    write_thumbnails,
)
from sweeps.report.atlas.trials import about_trials, start
from sweeps.report.read.artifacts import Source, read_of_each
from sweeps.report.read.frames import SweepFrames
from sweeps.report.read.values import flag
from sweeps.tracking.tracker import Tracker
from trainables.artifacts import SHOWN
from trainables.scores.shown import N_SHOWN, Shown, read_shown

PAGE, FOLDER = "atlas.html", "atlas"
_OWN = Path(__file__).with_name("page")
_SUFFIXES = {".html", ".css", ".js"}
_FEWER = (N_SHOWN, 6, 4)  # images at each end, as many as have room


@dataclass(frozen=True)
class Made:
    """An atlas that was written, or why there is none. keys: of the trials in it; said: a sentence
    for the report; pages: run id -> what a page of its network needs, () where there are none;
    about: what the atlas says of all."""

    keys: frozenset[str] = frozenset()
    said: str = ""
    pages: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def write_atlas(frames: SweepFrames, tracker: Tracker, folder: Path, atlas: Atlas) -> Made:
    """The page, and a folder with its data, in `folder`; nothing where it cannot be.

    Never raises for what the trials lack or this machine has not.
    """
    if atlas.trials == 0:
        return Made()
    try:
        return _write(frames, tracker, folder, atlas)
    except Exception as error:  # a report is worth more than its atlas
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        (folder / PAGE).unlink(missing_ok=True)
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        first = (str(error).splitlines() or [""])[0][:300]
        return Made(said=f"There is no atlas of units: {kind}{first}.")


def _write(frames: SweepFrames, tracker: Tracker, folder: Path, atlas: Atlas) -> Made:
    keys, said = candidates(frames.trials, atlas)
    labels = dict(zip(frames.trials["key"], frames.trials["label"], strict=True))
    source_of = {source.key: source for source in frames.sources}
    sources = [source_of[key] for key in keys if key in source_of]
    found = read_of_each(tracker, sources, SHOWN, read_shown)
    said += [sentence for sentence in [lacking(keys, found, labels)] if sentence]
    shown, others = same_units(found, labels)
    said += others
    if not shown:
        raise ValueError(
            "no trial kept which images its units answer to (shown.parquet); those that run from "
            "now on do"
        )
    first = next(iter(shown))
    probe = find_probe(tracker, source_of[first], shown[first].probe)
    units = units_of(shown[first], atlas)
    book = _Book(frames, tracker, source_of, probe, units, atlas, folder / FOLDER)
    said += book.write(shown)
    for path in (p for p in _OWN.iterdir() if p.suffix in _SUFFIXES):
        target = folder if path.name == PAGE else folder / FOLDER
        shutil.copyfile(path, target / path.name)
    pages, why_none = _pages(book)
    said += why_none
    text = " ".join(f"{sentence}." for sentence in said)
    return Made(frozenset(book.keys), text, pages, book.about)


def _pages(book: "_Book") -> tuple[dict[str, Sequence[Part]], list[str]]:
    """Run id -> the parts of its page, beside the dense network's that it was made of, if that is
    in the book; or why there are none."""
    most = book.atlas.trial_megabytes
    if not most:
        return {}, []
    part_of = dict(zip(book.keys, book.parts, strict=True))
    dense_of = made_of(book.frames.trials, book.keys)
    pages: dict[str, Sequence[Part]] = {
        book.sources[key].run_id: [part_of[each] for each in dict.fromkeys((dense_of[key], key))]
        for key in book.keys
    }
    megabytes = max(most_bytes(book.folder, parts) for parts in pages.values()) / 1e6
    if megabytes <= most:
        return pages, []
    return {}, [
        f"No trial has an atlas of its own in MLflow: its page would take {megabytes:.0f} MB, "
        "Sweep(atlas=Atlas(trial_megabytes=…)) says how many it may"
    ]


class _Book:
    """The data of one atlas, on its way to a folder."""

    def __init__(
        self,
        frames: SweepFrames,
        tracker: Tracker,
        sources: Mapping[str, Source],
        probe: Probe,
        units: Units,
        atlas: Atlas,
        folder: Path,
    ) -> None:
        self.frames, self.probe, self.units, self.atlas = frames, probe, units, atlas
        self.tracker, self.sources = tracker, sources
        self.folder, self.cache = folder, tracker.results / "cache"
        self.scores: list[Score] = scores_of(frames)
        self.keys: list[str] = []
        self.concepts: list[frozenset[int]] = []  # of each network, that its units go with
        self.parts: list[Part] = []
        self.about: dict[str, Any] = {}
        self.n_bytes, self.most = 0, atlas.megabytes * 1_000_000

    def write(self, shown: Mapping[str, Shown]) -> list[str]:
        """All files; sentences about what had no room or is not there."""
        self.folder.mkdir(parents=True)
        concepts = concepts_of(self.frames, list(shown))
        said = self._write_scores(shown, concepts)
        n_found = len(self.keys)
        ids, side, n_ends = self._room(shown)
        if len(self.keys) < n_found:
            gone = n_found - len(self.keys)
            said.append(f"{gone} networks have no room in atlas.megabytes={self.atlas.megabytes}")
        self._write_images([shown[key] for key in self.keys], ids, n_ends)
        args = (self.probe.images, ids, side, self.cache)
        sheets = write_thumbnails(self.folder, "images", *args)
        examples, example_sheets, why = self._examples(concepts, side)
        self.n_bytes += sum(path.stat().st_size for path in self.folder.glob("*.jpg"))
        histories = self._write_histories(shown)
        with_maps, why_not = self._write_maps(shown, n_ends)
        said += [*why, *why_not]
        self.about = {
            "study": self.frames.study,
            "caption": self.frames.caption,
            "states": list(STATES),
            "layers": [{"name": name, "n": n} for name, n in self.units.layers.items()],
            "trials": about_trials(self.frames, self.keys, maps=with_maps, history=histories),
            "start": start(self.frames, self.keys),
            "scores": [asdict(score) for score in self.scores],
            "classes": list(self.probe.classes),
            "labels": self.probe.images.labels[ids].numpy().astype("<u2"),
            "ids": ids.numpy().astype("<u4"),
            "sheets": {"across": ACROSS, "side": side, "images": sheets, "lit": example_sheets},
            "concepts": [
                {"category": category, "name": name, "lit": places}
                for (category, name), places in zip(concepts, examples, strict=True)
            ],
            "said": said,
        }
        write_script(self.folder / "about.js", "about", self.about)
        return said

    def _write_scores(
        self, shown: Mapping[str, Shown], concepts: Sequence[tuple[str, str]]
    ) -> list[str]:
        """A script per trial; sentences about those whose tables do not fit."""
        numbers = {f"{category}/{name}": n for n, (category, name) in enumerate(concepts)}
        said = []
        for key, its in shown.items():
            try:
                columns = columns_of(self.frames, key, self.units, its.layers, self.scores, numbers)
            except ValueError as error:
                said.append(f"The network {key} is not shown: {error}")
                continue
            self._part("scores", columns)
            self.keys.append(key)
            there = columns.get("concept", np.zeros(0, np.int16))
            self.concepts.append(frozenset(there[there >= 0].tolist()))
        if not self.keys:
            raise ValueError("no trial has a table of the units that its images are of")
        return said

    def _part(self, kind: str, value: Mapping[str, Any], place: int | None = None) -> None:
        name = f"{kind}-{len(self.keys) if place is None else place:03}"
        self.n_bytes += write_script(self.folder / f"{name}.js", name, value)

    def _room(self, shown: Mapping[str, Shown]) -> tuple[torch.Tensor, int, int]:
        """Which images are shown, the side of their pictures, and how many at each end; where there
        is no room for all networks, those of the first half, and so on."""
        sizes = Sizes(self.probe.images)
        while True:
            for n_ends in _FEWER:
                ends = [shown[key].both(self.units.rows, n_ends) for key in self.keys]
                ids = used_images(self.probe.images, *ends)
                width = smallest(np.array([len(ids)])).itemsize
                numbers = int(4 / 3 * width * sum(each.size for each in ends))
                side = sizes.largest(len(ids), 0.9 * (self.most - self.n_bytes - numbers))
                if side is not None:
                    return ids, side, n_ends
            if len(self.keys) <= 2:
                raise ValueError(
                    f"its files must have room in atlas.megabytes={self.atlas.megabytes}, those of "
                    "two networks have not: Sweep(atlas=Atlas(…)) allows more, or fewer layers"
                )
            self._drop(len(self.keys) // 2)

    def _drop(self, n: int) -> None:
        """The last n networks."""
        for place in range(len(self.keys) - n, len(self.keys)):
            path = self.folder / f"scores-{place:03}.js"
            self.n_bytes -= path.stat().st_size
            path.unlink()
        self.keys = self.keys[:-n]

    def _write_images(self, shown: Sequence[Shown], ids: torch.Tensor, n_ends: int) -> None:
        place_of = np.zeros(len(self.probe.images), np.int64)
        place_of[ids.numpy()] = np.arange(len(ids))
        for place, its in enumerate(shown):
            rows = {n: getattr(its, n)[self.units.rows, :n_ends] for n in ("top", "bottom")}
            images = {n: smallest(place_of[each]) for n, each in rows.items()}
            self._part("images", {"n": rows["top"].shape[1], **images}, place)
            used = np.unique(np.concatenate([each.ravel() for each in images.values()]))
            self.parts.append(Part(place, frozenset(used.tolist()), self.concepts[place]))

    def _write_histories(self, shown: Mapping[str, Shown]) -> set[str]:
        """Keys of the networks whose units have a history."""
        trials = self.frames.trials.set_index("key", drop=False).loc[self.keys]
        done: set[str] = set()
        for key in trials["key"][flag(trials, "score_every_round")]:
            found = history_of(
                self.tracker, self.sources[key], self.units, shown[key].layers, self.scores
            )
            if found is not None:
                self._part("history", found, self.keys.index(key))
                done.add(key)
        return done

    def _write_maps(self, shown: Mapping[str, Shown], n: int) -> tuple[set[str], list[str]]:
        """Keys of the networks with maps, while there is room; sentences about others."""
        wanted = mapped(self.frames, self.keys, self.atlas.maps)
        if wanted and len(self.probe.images) > MOST_IMAGES:
            return set(), [f"Maps are of at most {MOST_IMAGES:,} images, which a report looks at"]
        done: set[str] = set()
        said: list[str] = []
        failures: list[str] = []
        for key in wanted:
            try:
                run_id = self.sources[key].run_id
                found = maps_of(self.tracker, run_id, self.probe, self.units, shown[key], n)
            except (OSError, ValueError) as error:
                failures.append((str(error).splitlines() or [""])[0][:300])
                continue
            if self.n_bytes + 1.4 * found["cells"].nbytes > self.most:
                said.append(f"Maps of {len(wanted) - len(done)} networks had no room")
                break
            self._part("maps", found, self.keys.index(key))
            done.add(key)
        if failures:
            said.append(f"{len(failures)} networks have no maps, the first: {failures[0]}")
        return done, said

    def _examples(
        self, concepts: Sequence[tuple[str, str]], side: int
    ) -> tuple[list[list[int]], list[str], list[str]]:
        """Of each concept the numbers of its pictures; their sheets; why there are none."""
        nothing: list[list[int]] = [[] for _ in concepts]
        if not concepts or self.probe.config.dissection is None:
            return nothing, [], []
        try:
            places, pictures = examples_of(self.probe.concepts(self.cache), concepts, side)
        except (OSError, ValueError) as error:
            first = (str(error).splitlines() or [""])[0][:300]
            return nothing, [], [f"Concepts are shown by their names alone: {first}"]
        return places, write_sheets(self.folder, "lit", iter(pictures), len(pictures)), []
