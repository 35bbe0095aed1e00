"""The trials of a plan on Ray Tune: on this machine, or on the cluster of RAY_ADDRESS."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.tune.ready import own_python, own_token

# Before Ray is imported, which reads them.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its header prints even when silent
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # files that nobody reads
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
# Whoever reaches Ray runs code. A cluster is joined with a token; a Ray of our own gets one, and
# listens on loopback alone by the switch that makes it do so on systems which are no cluster's.
if os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_AUTH_MODE", "token")
elif "ray" not in sys.modules:
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    own_token()

import ray
from ray.exceptions import AuthenticationError
from rich.console import Console

import mis
import pruning
import sweeps
import trainables
from sweeps.addresses import host_shown, without_secrets
from sweeps.plan.machine import OBJECT_STORE_BYTES, trial_resources
from sweeps.plan.names import Names
from sweeps.plan.sweep import Sweep
from sweeps.searching.proposals import Proposals
from sweeps.terminal import word_after
from sweeps.tracking.outbox import Outbox
from sweeps.tune.events import DEATHS, SweepCallback
from sweeps.tune.fit import fit
from sweeps.tune.leftovers import forget_ray
from sweeps.tune.progress import SweepProgress
from sweeps.tune.scheduler import StratifiedStopping
from sweeps.tune.searcher import PlannedSearch
from trainables.config import TrialConfig
from trainables.workspace import Workspace, open_own


@dataclass(frozen=True)
class Launched:
    """How it went: sentences about failed trials, and whether it was broken off."""

    failures: tuple[str, ...]
    problems: tuple[str, ...]  # of our own bookkeeping
    interrupted: bool


def connect() -> dict[str, float]:
    """Start Ray here, or join the cluster of RAY_ADDRESS; what it has, by resource.

    Raises ValueError when Ray does not start, or the cluster does not know this machine's token.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            with word_after("Ray to start"):
                ray.init(
                    address=address or "local",  # not what another user happens to run here
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=None if address else OBJECT_STORE_BYTES,
                    runtime_env=_program() if address else own_python(),
                )
        except AuthenticationError as error:
            raise ValueError(
                "the token of this machine must be that of the cluster of RAY_ADDRESS: copy its "
                "~/.ray/auth_token here, or name a copy by RAY_AUTH_TOKEN_PATH"
            ) from error
        except SystemExit as error:  # what Ray's handler makes of SIGTERM, put in place by now
            raise KeyboardInterrupt from error
        except Exception as error:  # Ray raises this very class, too
            what = f"join {host_shown(address)}" if address else "start on this machine"
            first = without_secrets((str(error).splitlines() or [""])[0])[:300]
            raise ValueError(f"Ray must {what}, it does not: {first}") from error
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray put one of its own in its place
    return ray.cluster_resources()


def _program() -> dict[str, list[str]]:
    """Ray's runtime environment: every node runs this program's packages as they are here."""
    folders = [str(Path(package.__path__[0])) for package in (mis, pruning, sweeps, trainables)]
    return {"py_modules": folders, "excludes": ["__pycache__"]}


def _log_to(path: Path) -> None:
    """Have Tune write there, and not to the terminal, what it says of workers and nodes that died:
    a hundred lines each. What it means for a trial is said by the callback."""
    log = logging.getLogger("ray.tune")
    for handler in list(log.handlers):
        log.removeHandler(handler)
    log.addHandler(logging.StreamHandler(os.fdopen(open_own(path, append=True), "a")))
    log.propagate = False


def _stopping(sweep: Sweep, results: Path, names: Names) -> StratifiedStopping | None:
    if sweep.stopping is None:
        return None
    return StratifiedStopping(
        sweep.stopping,
        sweep.strata(best=sweep.stopping.best),
        results / "stopping" / f"{sweep.name}-{sweep.stopped_by}.jsonl",
        rule=sweep.stopped_by,
        names=names,
    )


def launch(
    sweep: Sweep,
    configs: Sequence[TrialConfig],
    *,
    n_done: int,
    results: Path,
    outbox: Outbox,
    console: Console,
    proposals: Proposals | None = None,
    names: Names | None = None,
) -> Launched:
    """Run the trials, then those of the search; returns when all have ended, or the user breaks it
    off. names: of all trials of the sweep, those that are done included.
    """
    n_wanted = len(configs) + (proposals.wanted if proposals else 0)
    names = names or Names(configs)
    progress = SweepProgress(console, n_done + n_wanted, n_done, names)
    callback = SweepCallback(outbox, progress, Workspace(results, sweep.name), sweep.search)
    search = PlannedSearch(configs, proposals) if proposals else None
    resources = trial_resources(sweep, connect(), may_grow=bool(os.environ.get("RAY_ADDRESS")))
    forget_ray(results, sweep.name)  # what trials printed the last time
    _log_to(results / "ray" / "tune.log")

    def run(left: Sequence[TrialConfig], search: PlannedSearch | None) -> str:
        try:
            connect()  # anew, where Tune gave up
        except ValueError as error:
            return str(error)
        callback.stopping = _stopping(sweep, results, names)
        return fit(sweep, left, search, resources, callback, results)

    with progress:
        problems, interrupted = _run_all(run, configs, search, callback)
    progress.tell_stopped()
    if callback.unwritten:
        n = len(callback.unwritten)
        problems.append(f"{n} trials ended and could not be written down: make sweep ends them")
    failures = tuple(progress.failures)
    if not failures and not interrupted:
        forget_ray(results, sweep.name)
    return Launched(failures, (*callback.problems, *problems), interrupted)


def _run_all(
    run: Callable[[Sequence[TrialConfig], PlannedSearch | None], str],
    configs: Sequence[TrialConfig],
    search: PlannedSearch | None,
    callback: SweepCallback,
) -> tuple[list[str], bool]:
    """Run Tune until nothing is left; what was no trial's fault, and whether it was broken off.

    It is run again for trials that it has dropped, and where it gave up, for all that had not
    ended: three times in a row without news of any.
    """
    problems: list[str] = []
    left, n_broken = list(configs), 0
    while left or search:
        n_news = callback.n_news
        gave_up = run(left, search)
        parts = [part for part in (callback.stopping, search) if part is not None]
        problems += [problem for part in parts for problem in part.problems]
        dropped = callback.take_dropped()
        over = callback.ended | callback.unwritten | {config.key for config in dropped}
        begun = search.started.values() if search else left
        unended = [config for config in begun if config.key not in over]
        if not gave_up:
            if unended or (search and search.n_to_come):
                return problems, True
            left, search = dropped, None
            continue
        n_broken = 1 if callback.n_news > n_news else n_broken + 1
        if n_broken > DEATHS:
            return [*problems, f"Ray Tune gave up ({gave_up}): make sweep goes on"], False
        callback.progress.note(
            f"Ray Tune gave up ({gave_up}): what has not ended is launched again"
        )
        left = [*dropped, *unended]
        if search is not None:
            search.again(left)
    return problems, False
