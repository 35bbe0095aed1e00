"""Which trial of a results folder a name or a key means."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.tracking.tracker import TRIAL_KEY, Tracker, experiments, has_store

if TYPE_CHECKING:
    from mlflow.entities import Run

_SHOWN = 20  # names in a sentence
_SHORTEST = 6  # characters of a key, as in names


def find_trial(text: str, results: Path, study: str | None = None) -> tuple[Tracker, "Run"]:
    """The finished trial of this name or key (its first six characters will do), and its tracker.

    study: None for all that MLflow holds. Raises ValueError, in one sentence with what is legal,
    where there is none, or more than one.
    """
    found = [(tracker, run) for tracker in _trackers(results, study) for run in _finished(tracker)]
    where = f"in {results}" if study is None else f"of the study {study} in {results}"
    if not found:
        raise ValueError(f"TRIAL must be a finished trial {where}, there is none")
    wanted = text.strip()
    meant = [(t, run) for t, run in found if _is_called(run, wanted)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        several = "; ".join(f"{_key(run)} (study {t.study})" for t, run in meant[:_SHOWN])
        raise ValueError(
            f"TRIAL must mean one trial, {len(meant)} are called {text!r}: name its key, or the "
            f"study besides: {several}"
        )
    names = {str(run.info.run_name): _key(run) for _, run in found}
    raise ValueError(
        f"TRIAL must be the name or the key of a finished trial {where}, got {text!r}; there are: "
        f"{_listed(wanted, names)}"
    )


def _is_called(run: "Run", wanted: str) -> bool:
    key = _key(run)
    is_key = len(wanted) >= _SHORTEST and key.startswith(wanted)
    return bool(run.info.run_name == wanted or is_key)


def _key(run: "Run") -> str:
    return str(run.data.tags[TRIAL_KEY])


def _finished(tracker: Tracker) -> list["Run"]:
    return list(tracker.finished().values())


def _trackers(results: Path, study: str | None) -> list[Tracker]:
    if not has_store(results):
        raise ValueError(f"{results} must hold what a sweep logged, it holds no mlflow.db")
    known = sorted(experiments(results))
    if study is not None and study not in known:
        raise ValueError(
            f"MLflow must hold the study {study!r}, it holds {', '.join(known) or 'none'}"
        )
    trackers = [Tracker(name, results) for name in known if study in (None, name)]
    return [tracker for tracker in trackers if study is not None or tracker.is_study()]


def _listed(wanted: str, names: Mapping[str, str]) -> str:
    """Names with their keys, the most similar first."""

    def unlike(name: str) -> float:
        return -difflib.SequenceMatcher(None, wanted.lower(), name.lower()).ratio()

    ordered: Sequence[str] = sorted(names, key=unlike)
    said = "; ".join(f"{name} ({names[name]})" for name in ordered[:_SHOWN])
    return said + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
