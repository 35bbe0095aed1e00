"""`secateur export`: a trial's network into files, measured, with a card, and in MLflow."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from sweeps.export.card import card_of, card_text
from sweeps.export.files import Written, write_files
from sweeps.export.find import find_trial
from sweeps.export.measured import Measured, measure
from sweeps.export.table import cost_table
from sweeps.terminal import word_after
from sweeps.tracking.left import masked_network, trial_network
from sweeps.tracking.tracker import TRIAL_KEY, Tracker, Unavailable
from trainables.own_code import CODE_FOLDER
from trainables.workspace import size_shown, whole_file

if TYPE_CHECKING:
    from mlflow.entities import Run

CARD = "card.json"
_FOLDER = "export"  # below the results folder, and of the run's artifacts


@dataclass(frozen=True)
class Exported:
    """What an export has come to. problems: sentences on what is not as it should be."""

    folder: Path
    files: dict[str, Written]
    measured: Measured
    problems: list[str]


def export_trial(
    text: str, results: Path, study: str | None, folder: Path | None, console: Console
) -> int:
    """Export the trial that `text` names, and tell what it takes.

    folder: None for one below the results folder. The exit code: 1 where a file could not be
    written, or MLflow did not take the numbers. Raises ValueError, in one sentence, for what
    `find_trial` refuses, where the trial left no network, and for a folder that is none.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"TO must be a folder or the name of a new one, {folder} is a file")
    tracker, run = find_trial(text, results, study)
    folder = folder or results / _FOLDER / tracker.study / run.data.tags[TRIAL_KEY]
    done = export_run(tracker, run, folder)
    console.print(cost_table(str(run.info.run_name), done.measured))
    _tell(folder, done.files, console)
    for problem in done.problems:
        console.print(f"[red]problem:[/] {escape(problem)}", soft_wrap=True)
    return int(bool(done.problems))


def export_run(tracker: Tracker, run: "Run", folder: Path) -> Exported:
    """Write the files of a trial's network and their card, measure it, and log what was measured.

    Raises ValueError where the trial left no network, and OSError on a full disk.
    """
    name, pixels = str(run.info.run_name), int(run.data.params["data.pixels"])
    with tempfile.TemporaryDirectory() as temporary:
        left = trial_network(tracker, run.info.run_id, Path(temporary))
        trial = masked_network(tracker, run.info.run_id, Path(temporary))
    folder.mkdir(parents=True, exist_ok=True)
    with word_after(f"the files of {name}, each of which is read back"):
        files = write_files(folder, left, trial, pixels, tracker.results)
    with word_after("latencies in batches of 1 and 64", 2.0):
        measured = measure(left.network, left.arguments, pixels)
    take_code(left.arguments.get("code", ""), tracker.results, folder)
    said = {name: written.said() for name, written in files.items()}
    with whole_file(folder / CARD) as partial:
        text = card_text(card_of(tracker.study, run, left, measured, said))
        partial.write_text(text, encoding="utf-8")
    problems = [
        f"no {name}: {written.why_not}"
        for name, written in files.items()
        if written.why_not and not written.is_optional
    ]
    problems += log_measured(tracker, run, measured, folder / CARD)
    return Exported(folder, files, measured, problems)


def take_code(digest: str, results: Path, folder: Path) -> None:
    """The code of a user's own network goes along, where `load_compacted` looks for it."""
    code = results / CODE_FOLDER / digest
    if digest and code.is_dir():
        shutil.copytree(code, folder / CODE_FOLDER / digest, dirs_exist_ok=True)


def _tell(folder: Path, files: Mapping[str, Written], console: Console) -> None:
    for name, written in files.items():
        if not written.why_not:
            size = size_shown(written.n_bytes)
            console.print(f"{escape(str(folder / name))}  {size}", soft_wrap=True)
        elif written.is_optional:
            console.print(f"no {name}: {escape(written.why_not)}", soft_wrap=True)
    what = "where it comes from, what it takes, and which channels are left"
    console.print(f"{escape(str(folder / CARD))}  {what}", soft_wrap=True)


def log_measured(tracker: Tracker, run: "Run", measured: Measured, card: Path) -> list[str]:
    """The numbers and the card, with the trial's run; sentences about what MLflow did not take."""
    values, run_id = measured.metrics(), run.info.run_id
    try:
        before = tracker.client.get_metric_history(run_id, next(iter(values)))
        tracker.log_metrics(run_id, values, len(before), int(time.time() * 1_000))
        tracker.client.log_artifact(run_id, str(card), _FOLDER)
    except (*Unavailable, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return [f"MLflow at {tracker.uri} did not take what was measured ({first})"]
    return []
