"""What a sweep could not tell MLflow: delivered by the next one, or by `make sync`."""

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sweeps.tracking.drivers import only_driver
from sweeps.tracking.outbox import Outbox, refused_path
from sweeps.tracking.tracker import Tracker
from trainables.workspace import open_own, read_own, whole_file

_DELIVERY_SECONDS = 600  # for a server that takes it, however slowly


def outbox_path(results: Path, study: str) -> Path:
    """What the sweeps of a study have to tell MLflow."""
    return results / "outbox" / f"{study}.jsonl"


def deliver(
    path: Path, tracker: Tracker, say: Callable[[str], None] = lambda _: None
) -> tuple[int, list[str]]:
    """Empty the outbox of a sweep that is over: how many events still wait, what was refused, and
    why the rest is not taken.

    Runs that a killed sweep left open are marked as KILLED; the next one opens them again. What
    was refused before is tried once more. say: told what is waited for. Ctrl-C ends it.
    """
    aside = refused_path(path)
    if aside.is_file() and not aside.is_symlink():
        os.close(open_own(path))  # a link or a pipe is refused before it is read
        # The end of the first may have been cut off by a full disk: that event alone is lost.
        lines = aside.read_bytes().rstrip(b"\n") + b"\n" + path.read_bytes()
        path.with_suffix(".delivered").unlink(missing_ok=True)  # it is of the old file
        with whole_file(path) as partial:
            partial.write_bytes(lines)
        aside.unlink()
    if not path.exists():
        return 0, []
    outbox = Outbox(path, tracker, None, say)
    outbox.end_sweep("KILLED")
    n_waiting = outbox.close(_DELIVERY_SECONDS)
    if outbox.broken_off:
        raise KeyboardInterrupt
    waits = [f"{n_waiting} events still wait: {outbox.reason}"] if outbox.reason else []
    return n_waiting, outbox.refused + waits


def teller(console: Console) -> Callable[[str], None]:
    """What an outbox tells is shown like this."""
    return lambda sentence: console.print(escape(sentence), style="yellow", soft_wrap=True)


def deliver_leftovers(study: str, results: Path, tracker: Tracker, console: Console) -> None:
    """Send what an earlier sweep of the study could not: its finished trials are done.

    Raises ValueError when MLflow does not take it: those trials would run a second time.
    """
    path = outbox_path(results, study)
    n_waiting, refused = deliver(path, tracker, teller(console))
    for sentence in refused:
        console.print(f"[red]not in MLflow:[/] {escape(sentence)}", soft_wrap=True)
    if n_waiting:
        raise ValueError(
            f"MLflow must take what the last sweep left in {path}, {n_waiting} events still wait"
        )


def waiting(results: Path, study: str) -> tuple[int, int]:
    """How many events wait for MLflow, and how many it has refused; nothing is written."""
    path = outbox_path(results, study)
    saved = read_own(path.with_suffix(".delivered"))
    done, there = int(saved) if saved.isdigit() and len(saved) < 19 else 0, read_own(path)
    if there[done - 1 : done] != b"\n":  # of another file, as the outbox has it
        done = 0
    return there[done:].count(b"\n"), read_own(refused_path(path)).count(b"\n")


def _that_wait(folder: Path) -> list[str]:
    """Studies with an outbox, or with what was refused."""
    return sorted({f.stem for suffix in ("jsonl", "refused") for f in folder.glob(f"*.{suffix}")})


def sync(results: Path, console: Console) -> int:
    """Deliver all that waits in a results folder; exit code 1 if something still does."""
    if not results.is_dir():
        raise ValueError(f"RESULTS must be a folder that sweeps wrote to, {results} is none")
    studies, waiting = _that_wait(results / "outbox"), 0
    for study in studies:
        path = outbox_path(results, study)
        try:
            with only_driver(results, study):
                n_waiting, refused = deliver(path, Tracker(study, results), teller(console))
        except (ValueError, OSError) as error:
            n_waiting, refused = 1, [str(error)]
        for sentence in refused:
            console.print(f"[red]{study}:[/] {escape(sentence)}", soft_wrap=True)
        rest = "the rest" if refused else "all"
        what = f"something still waits in {path}" if n_waiting else f"{rest} is in MLflow"
        console.print(escape(f"{study}: {what}"), soft_wrap=True)
        waiting += n_waiting + len(refused)
    if not studies:
        console.print("nothing waits")
    return int(waiting > 0)
