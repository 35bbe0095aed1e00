"""A bar in the terminal for what takes a while before the trials."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def step_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first step: nothing is shown for what is cached."""
    bars = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bars.add_task(title, total=None)
    started = False

    def progress(done: int, total: int) -> None:
        nonlocal started
        if not started:
            if not console.is_terminal:
                console.print(f"{title} …")
            bars.start()
            started = True
        bars.update(task, completed=done, total=total)

    try:
        yield progress
    finally:
        bars.stop()
