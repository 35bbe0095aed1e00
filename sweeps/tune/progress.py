"""What a person sees while a sweep runs: what runs, how far it is, and the best so far."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sweeps.plan.names import Names
from trainables.config import TrialConfig


class SweepProgress:
    """A bar for the sweep and one a running trial; on a pipe, one line a finished trial."""

    def __init__(self, console: Console, n_trials: int, n_done: int, names: Names) -> None:
        self.console, self.n_trials, self.n_ended = console, n_trials, n_done
        self.names = names
        self.n_stopped = self.n_saved = 0  # trials, and the epochs that they did not run
        self.best: dict[float, tuple[float, str]] = {}  # rate -> best top-1 and its trial
        self.failures: list[str] = []
        self._started: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("[bold]{task.description}", justify="left"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("sweep", total=n_trials, completed=n_done, note="")
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "SweepProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @property
    def started_keys(self) -> frozenset[str]:
        return frozenset(self._started)

    def started(self, config: TrialConfig) -> None:
        self._started.setdefault(config.key, time.monotonic())
        if config.key not in self._tasks:
            total = config.n_epochs + 1  # the score is the last step
            name = f"  {self.names.of(config)}"
            self._tasks[config.key] = self._bars.add_task(name, total=total, note="")

    def stepped(self, config: TrialConfig, epoch: int, metrics: Mapping[str, float]) -> None:
        if config.key in self._tasks:
            note = f"top-1 {metrics['val/top1']:.3f}" if "val/top1" in metrics else ""
            self._bars.update(self._tasks[config.key], completed=epoch, note=note)

    def ended(
        self,
        config: TrialConfig,
        outcome: str,
        metrics: Mapping[str, float],
        *,
        epoch: int = 0,
        stopped: str = "",
    ) -> None:
        """A trial is over: one line for it, which stays. stopped: when and why it was."""
        self.n_ended += 1
        task = self._tasks.pop(config.key, None)
        if task is not None:
            self._bars.remove_task(task)
        if stopped:
            self.n_stopped += 1
            self.n_saved += config.n_epochs - epoch
        elif "val/top1" in metrics:  # of what was stopped the accuracy is not the final one
            reached = (metrics["val/top1"], self.names.of(config))
            self.best[config.rate] = max(self.best.get(config.rate, reached), reached)
        self._bars.update(self._all, completed=self.n_ended, note=self._best_note())
        seconds = time.monotonic() - self._started.get(config.key, time.monotonic())
        self.console.print(
            f"{self.n_ended:>3}/{self.n_trials}  {escape(self.names.of(config)):<44} "
            f"{self._numbers(metrics)}  {seconds:5.0f} s"
            + ("" if outcome == "completed" else f"  {outcome}"),
            highlight=False,
            soft_wrap=True,
        )
        if stopped:
            self.console.print(f"      {escape(stopped)}", style="yellow", soft_wrap=True)

    def failed(self, config: TrialConfig, sentence: str) -> None:
        self.failures.append(f"{self.names.of(config)} ({config.key}): {sentence}")
        self.ended(config, "failed", {})
        self.console.print(f"      {escape(sentence)}", style="red", soft_wrap=True)

    def said(self, config: TrialConfig, sentence: str) -> None:
        """What a trial has to say while it runs."""
        text = f"{self.names.of(config)} ({config.key}): {sentence}"
        self.console.print(escape(text), style="yellow", soft_wrap=True)

    def note(self, sentence: str) -> None:
        """What is to be said of no one trial."""
        self.console.print(escape(sentence), style="yellow", soft_wrap=True)

    def tell_stopped(self) -> None:
        """Once, at the end: what early stopping saved."""
        if self.n_stopped:
            many = f"{self.n_stopped} trial{'s were' if self.n_stopped > 1 else ' was'}"
            self.console.print(
                f"{many} stopped early, with scores; {self.n_saved} epochs were saved. They are in "
                "no comparison of final accuracies: see What was stopped in the report",
                soft_wrap=True,
            )

    def _best_note(self) -> str:
        pruned = [f"{rate:g}: {top1:.3f}" for rate, (top1, _) in sorted(self.best.items()) if rate]
        return f"best top-1 at {', '.join(pruned)}" if pruned else ""

    @staticmethod
    def _numbers(metrics: Mapping[str, float]) -> str:
        if "val/top1" not in metrics:
            return " " * 38
        return (
            f"top-1 {metrics['val/top1']:.3f}  MIS {metrics.get('mis/mean', float('nan')):.3f}  "
            f"sparsity {metrics['prune/sparsity']:.3f}"
        )
