"""The folder of a report: its files appear together, and only those of the last one are there."""

import json
import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.fields import digest_of
from trainables.locks import held_folder
from trainables.workspace import files_of, own_path, whole_file

PAGE = "report.html"
_PARTIAL = re.compile(r"\.[0-9a-f]{32}")
_NOTED = ".report.json"  # what the last report wrote, and of which runs it was made


def report_folder(results: Path, study: str) -> Path:
    """Raises ValueError where it is a link: what lies there is another's."""
    return own_path(results, "report", study)


@contextmanager
def replaced(folder: Path, known: Collection[str]) -> Iterator[Path]:
    """A new folder to write to, whose files take their places in `folder` when all went well.

    Files of an older report that this one has not are removed; whatever else is there stays. They
    may lie in folders. Raises ValueError where a link stands in the place of such a folder.
    known: names without endings that reports of earlier versions may have left.
    """
    with partial_folder(folder) as partial:
        yield partial
        new = files_of(partial)
        for inner in {name.rpartition("/")[0] for name in new} - {""}:
            own_path(folder, *inner.split("/")).mkdir(parents=True, exist_ok=True)
        for name in _old(folder, known) - set(new):
            (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # others are in it
                for parent in Path(name).parents[:-1]:
                    (folder / parent).rmdir()
        for name in new:
            (partial / name).replace(folder / name)
        _note(folder, {"files": new})


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A new folder in `folder` for as long as it is needed; those of killed processes go."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in filter(_PARTIAL.fullmatch, [path.name for path in folder.iterdir()]):
        with suppress(OSError), held_folder(folder / old):
            shutil.rmtree(folder / old)
    partial = folder / f".{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        with held_folder(partial):
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _old(folder: Path, known: Collection[str]) -> set[str]:
    noted = _noted(folder).get("files")
    there = {path.name for path in folder.iterdir() if not path.is_dir() or path.is_symlink()}
    if isinstance(noted, list):
        return (there | set(files_of(folder))) & set(map(str, noted))
    endings = {".png", ".svg", ".csv", ".parquet", ".html"}
    return {n for n in there if Path(n).suffix in endings and Path(n).stem in known}


def written(folder: Path) -> list[str]:
    """Names of the files of the report that is there."""
    noted = _noted(folder).get("files")
    return [n for n in files_of(folder) if n in noted] if isinstance(noted, list) else []


def made_of(sweep_key: str, runs: Mapping[str, str]) -> str:
    """What a report shows. runs: trial key -> id of its finished run."""
    return digest_of([sweep_key, sorted(runs.items())])


def up_to_date(results: Path, study: str, sweep_key: str, runs: Mapping[str, str]) -> Path | None:
    """The page of the report that was made of just these runs; None where there is none."""
    folder = report_folder(results, study)
    same = _noted(folder).get("made_of") == made_of(sweep_key, runs)
    return folder / PAGE if same and (folder / PAGE).is_file() else None


def note_made_of(folder: Path, sweep_key: str, runs: Mapping[str, str]) -> None:
    """The report is there, and in MLflow."""
    _note(folder, {**_noted(folder), "made_of": made_of(sweep_key, runs)})


def _note(folder: Path, what: Mapping[str, object]) -> None:
    with whole_file(folder / _NOTED) as partial:
        partial.write_text(json.dumps(what))


def _noted(folder: Path) -> dict[str, object]:
    path = folder / _NOTED
    try:
        found = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
