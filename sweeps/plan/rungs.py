"""Early stopping: a trial is compared with its peers (`strata.py`) at the same epoch.

Successive halving with rungs of its own for every stratum (asynchronous, after Li et al. 2020,
arXiv 1810.05934). One ladder for a whole grid would stop every high rate, since those start lower.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeps.plan.metrics import METRICS
from trainables.fields import digest_of
from trainables.workspace import add_line, read_own

_METRICS: Mapping[str, int] = {each.name: each.better for each in METRICS if each.stops}
"""What every epoch reports and rungs may compare -> 1 where more is better, -1 where less is."""

_WITHDRAWN = 0  # in place of an epoch: the trial has failed


@dataclass(frozen=True)
class Stopping:
    """How hopeless trials are found out; a field of a Sweep.

    Rungs stand at epochs warmup · reduction^k. At each the best 1/reduction of a stratum go on,
    rounded up; a rung decides only when min_peers results of its stratum are there. Where trials
    have several rounds, epochs of the first are less sparse than those of the last and tell less of
    them: warm up for a round or more. best: not only what the study does not ask about competes,
    but all trials of a rate, methods, too: for who only wants the best network of each rate.
    """

    metric: str = "val/top1"
    reduction: int = 3
    warmup: int = 1  # epochs that every trial gets
    min_peers: int = 3
    best: bool = False

    def __post_init__(self) -> None:
        if self.metric not in _METRICS:
            known = ", ".join(_METRICS)
            raise ValueError(f"Stopping.metric must be one of {known}, got {self.metric!r}")
        for name, least in {"reduction": 2, "warmup": 1, "min_peers": 2}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Stopping.{name} must be an integer >= {least}, got {value!r}")

    @property
    def key(self) -> str:
        """8 hex digits: what was recorded under other settings is not for these."""
        return digest_of(asdict(self))[:8]

    def rung(self, epoch: int) -> int | None:
        """The epoch of the highest rung that a trial after `epoch` epochs stands on."""
        if epoch < self.warmup:
            return None
        rung = self.warmup
        while rung * self.reduction <= epoch:
            rung *= self.reduction
        return rung


@dataclass(frozen=True)
class Decision:
    """What a trial is told after an epoch, and against whom it was measured."""

    go_on: bool
    epoch: int  # after which it was told so
    rung: int = 0  # epoch at which results are compared; 0: there was no rung yet
    value: float = math.nan  # its own there
    cutoff: float = math.nan  # of the last that goes on
    n_results: int = 0  # at this rung, its own among them
    n_kept: int = 0  # so many of them go on
    best: str = ""  # key of the best
    stratum: str = ""


class Rungs:
    """The results of all strata at their rungs; knows nothing of Ray.

    A trial is measured at the highest rung that it stands on, after every epoch anew: those who
    arrive first pass a rung that is still empty, and are found out when their peers are there. The
    best on the highest rung of a stratum can never be stopped, so no stratum loses all its trials;
    where the best fails, the others are measured without it from then on.
    """

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.stopped: dict[str, Decision] = {}
        self.epochs: dict[str, int] = {}  # trial key -> how many of its epochs were seen
        self._results: dict[tuple[str, int], dict[str, float]] = {}

    def decide(self, stratum: str, key: str, epoch: int, value: float) -> Decision:
        """Record the value (NaN: the worst) of trial `key` after `epoch`; whether it goes on.

        A rung keeps the first value at or after its epoch. A stopped trial stays stopped, and an
        epoch that is reported again, by a trial that goes on after a crash, decides nothing.
        """
        if key in self.stopped:
            return self.stopped[key]
        if epoch == _WITHDRAWN:
            self.withdraw(key)
        rung = self.stopping.rung(epoch)
        if rung is None or epoch <= self.epochs.get(key, 0):
            return Decision(True, epoch)
        self.epochs[key] = epoch
        sign = _METRICS[self.stopping.metric]
        results = self._results.setdefault((stratum, rung), {})
        results.setdefault(key, -math.inf if math.isnan(value) else sign * value)
        ranked = sorted(results, key=lambda each: -results[each])
        n_kept = math.ceil(len(ranked) / self.stopping.reduction)
        cutoff = results[ranked[n_kept - 1]]
        decision = Decision(
            go_on=len(ranked) < self.stopping.min_peers or results[key] >= cutoff,
            epoch=epoch,
            rung=rung,
            value=sign * results[key],
            cutoff=sign * cutoff,
            n_results=len(ranked),
            n_kept=n_kept,
            best=ranked[0],
            stratum=stratum,
        )
        if not decision.go_on:
            self.stopped[key] = decision
        return decision

    def withdraw(self, key: str) -> None:
        """A trial that has failed is nobody's peer; where it runs again it begins anew."""
        self.epochs.pop(key, None)
        for results in self._results.values():
            results.pop(key, None)


def stop_tags(
    decision: Decision, metric: str, labels: Mapping[str, str], n_epochs: int
) -> dict[str, str]:
    """Tags of a stopped trial's run: when it was stopped, against whom, and what that saved.

    labels: trial key -> name for people, as far as known. n_epochs: that it would have had.
    """
    best = labels.get(decision.best, decision.best)
    value, cutoff = told_apart(decision.value, decision.cutoff)
    sentence = (
        f"stopped after epoch {decision.epoch} of {n_epochs}: {metric} {value} at epoch "
        f"{decision.rung} is not among the best {decision.n_kept} of {decision.n_results} "
        f"(from {cutoff} on; the best is {best})"
    )
    return {
        "stopped": sentence,
        "stopped_epoch": str(decision.epoch),
        "stopped_rung": str(decision.rung),
        "stopped_metric": metric,
        "stopped_value": repr(decision.value),
        "stopped_cutoff": repr(decision.cutoff),
        "stopped_peers": str(decision.n_results - 1),
        "stopped_best": best,
        "stopped_best_key": decision.best,
        "stopped_arm": decision.stratum,
        "stopped_saved": f"{n_epochs - decision.epoch} of {n_epochs} epochs",
    }


def told_apart(value: float, other: float) -> tuple[str, str]:
    """Two different numbers for people: four digits behind the point, or what tells them apart."""
    for digits in range(4, 17):
        texts = f"{value:.{digits}f}", f"{other:.{digits}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(value), repr(other)


def remember(path: Path, stratum: str, key: str, epoch: int, value: float) -> None:
    """Append to the record that `recall` reads. Raises OSError on a full disk."""
    add_line(path, json.dumps([stratum, key, epoch, value]))


def remember_failure(path: Path, key: str) -> None:
    """Append that a trial has failed: `recall` withdraws it at this place in the order."""
    remember(path, "", key, _WITHDRAWN, math.nan)


def recall(stopping: Stopping, path: Path) -> Rungs:
    """The rungs as they were: all that was recorded is decided again, in the same order."""
    rungs = Rungs(stopping)
    for line in read_own(path).decode(errors="replace").splitlines():
        try:
            stratum, key, epoch, value = json.loads(line)
            rungs.decide(str(stratum), str(key), int(epoch), float(value))
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue  # the first, or one that was being written when the machine went down
    return rungs
