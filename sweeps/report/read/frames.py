"""A sweep as tidy frames: what every table and figure is made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from mlflow.entities import Run

from sweeps.report.read.absurd import finite
from sweeps.report.read.answers import RunTables
from sweeps.report.read.artifacts import Source, kept_tables, read_tables
from sweeps.report.read.recipe import recipes
from sweeps.report.read.runs import Seen, read_runs
from sweeps.report.read.same_units import against_dense, complete, with_dense
from sweeps.report.read.unit_tables import FrameTables, Tables
from sweeps.tracking.parents import PRIMARY, SWEEP_KEY
from sweeps.tracking.tracker import (
    OBJECTIVES,
    OUTCOME,
    OUTSIDE,
    SOURCE,
    TRIAL_KEY,
    Tracker,
    Unavailable,
    experiments,
    has_store,
)
from trainables.artifacts import (
    DISSECTION,
    EPOCHS,
    LAYERS,
    PREDICTIONS,
    ROUNDS,
    SENSITIVITY,
    UNITS,
)

AXES = ("method", "rate", "schedule", "criterion", "retraining", "seed")
_NOTE, _PURPOSE = "mlflow.note.content", "purpose"
MADE_ON = ("device", "precision", "torch", "code")  # tags: what computed a trial
STOPPED = (
    "stopped",
    *(f"stopped_{name}" for name in ("epoch", "rung", "metric", "value")),
    *(f"stopped_{name}" for name in ("cutoff", "peers", "best", "best_key", "arm")),
)
"""Tags of trials that were stopped early: when, and against whom."""
SEARCHED = (SOURCE, OBJECTIVES, OUTSIDE)
_NOTHING: dict[str, list[str]] = {"key": [], "label": []}


@dataclass(frozen=True)
class SweepFrames:
    """trials: a row per finished trial: its axes, `held`, `most_important_first`, `rounds`,
    `recipe` (text that tells apart trials which otherwise share all axes), label, key, outcome,
    run_id, seconds, stopped (when and why it was, "" for others; `stopped_…`: the parts of it);
    where the sweep searches source (`grid`, `start`: of the grid, and known to the search,
    `search`, `again`: a winner on another seed), objectives and the constraints it is outside of;
    every param under its dotted name, as text; every final metric.

    Beside the metrics that were logged: `mis/dense_same_units`, the mean score in the dense network
    of the same seed of the units that are alive and counted here; `mis/change`, the mean difference
    to it. It alone tells change from selection: pruning away the worst units raises a mean, too.
    units: a row per unit of every trial, with its trial's key and label, `dense_mis` (its score in
    the dense network) and what the trial wrote: layer, channel, state, mis, counted, ….
    epochs: a row per epoch of training. dissected: a row per dissected unit. layers: a row per
    layer and round of pruning. sensitivity: a row per layer and rate of trials that measured their
    layers one by one. rounds: a row per round of trials that prune in several: what is left, what
    it costs, how accurate it is. unfinished: a row per trial that failed or was broken off.
    predictions: a row per validation image of every trial: what the network answers.
    kept: where units, dissected units and predictions are read from when these frames are empty,
    since those of thousands of trials would fill the memory; `of_units`, `of_dissected` and
    `of_predictions` read either. sources: where the trials left their files.
    missing: number of planned trials without a finished run. gaps: what could not be read.
    """

    study: str
    trials: pd.DataFrame
    units: pd.DataFrame
    missing: int
    caption: str  # what the numbers were made on: data, sample sizes, seeds, device, versions
    epochs: pd.DataFrame
    dissected: pd.DataFrame
    unfinished: pd.DataFrame
    purpose: str = ""
    sweep_key: str = ""
    gaps: tuple[str, ...] = ()
    primary: str = ""  # the question that the study named beforehand (sweeps.plan.primary)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    sensitivity: pd.DataFrame = field(default_factory=pd.DataFrame)
    rounds: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(_NOTHING))
    address: str = ""  # of MLflow's page of the experiment; "" where no server is known
    kept: Mapping[str, Tables] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()

    @cached_property
    def of_units(self) -> Tables:
        """The tables of the trials' units, a few at a time."""
        return self.kept.get(UNITS) or FrameTables(self.units)

    @cached_property
    def of_dissected(self) -> Tables:
        """The tables of the trials' dissected units, a few at a time."""
        return self.kept.get(DISSECTION) or FrameTables(self.dissected)

    @cached_property
    def of_predictions(self) -> Tables:
        """What the trials' networks answer, read when it is asked for."""
        return self.kept.get(PREDICTIONS) or FrameTables(self.predictions)

    def run_address(self, run_id: str) -> str:
        """Of the run's page, "" where no server is known."""
        return f"{self.address}/runs/{run_id}" if self.address else ""


def load(study: str, results: Path = Path("results"), sweep: str | None = None) -> SweepFrames:
    """The frames of a study's latest sweep, or of the one of a key, from MLflow alone.

    From the server of MLFLOW_TRACKING_URI, or the database in `results`. Raises ValueError, in
    one sentence, where there is none, it does not answer, or it holds no such sweep.
    """
    tracker = open_tracker(study, results)
    return load_frames(tracker, latest_sweep(tracker, sweep))


def open_tracker(study: str, results: Path) -> Tracker:
    """The tracker of a study that MLflow has; reading makes no experiment.

    Raises ValueError where there is no such study, or nothing that answers.
    """
    if not has_store(results):
        raise ValueError(f"{results} must hold what a sweep logged, it holds no mlflow.db")
    try:
        known = sorted(experiments(results))
    except Unavailable:
        return Tracker(study, results)  # says in one sentence what is wrong
    if study not in known:
        raise ValueError(
            f"MLflow must hold the study {study!r}, it holds {', '.join(known) or 'none'}"
        )
    return Tracker(study, results)


def load_frames(tracker: Tracker, sweep_run: Run, keep: Path | None = None) -> SweepFrames:
    """The frames of one sweep. Raises ValueError when it has no finished trial.

    keep: a folder for `SweepFrames.kept`, to outlive the frames.
    """
    gaps: list[str] = []
    runs, unfinished, n_planned = read_runs(tracker, sweep_run, gaps)
    trials = _trials(runs)
    sources = [_source(run) for run in runs]
    measured = [_source(run) for run in runs if "sensitivity.granularity" in run.data.params]
    in_rounds = [_source(run) for run in runs if _has_rounds(run)]
    caption = _caption(runs)
    del runs
    kept: dict[str, Tables] = {PREDICTIONS: RunTables(tracker, sources)}
    if keep is None:
        units, without = read_tables(tracker, sources, UNITS)
        units = with_dense(units, trials)
        dissected, batches = read_tables(tracker, sources, DISSECTION)[0], iter([units])
    else:
        units, dissected = pd.DataFrame(_NOTHING), pd.DataFrame(_NOTHING)
        of_units, without = kept_tables(tracker, sources, UNITS, keep)
        complete(of_units, trials)
        kept[UNITS], kept[DISSECTION] = of_units, kept_tables(tracker, sources, DISSECTION, keep)[0]
        batches = of_units.batches(["state", "counted", "mis", "dense_mis"])
    if without:  # the only table that every trial has
        gaps.append(_without_units(without, len(trials)))
    return SweepFrames(
        study=tracker.study,
        trials=trials.assign(**against_dense(trials, batches)),
        units=units,
        missing=n_planned - len(trials),
        caption=caption,
        epochs=read_tables(tracker, sources, EPOCHS)[0],
        dissected=dissected,
        layers=read_tables(tracker, sources, LAYERS)[0],
        sensitivity=read_tables(tracker, measured, SENSITIVITY)[0],
        rounds=read_tables(tracker, in_rounds, ROUNDS)[0],
        unfinished=unfinished,
        purpose=sweep_run.data.tags.get(_PURPOSE, sweep_run.data.tags.get(_NOTE, "")),
        sweep_key=sweep_run.data.tags.get(SWEEP_KEY, ""),
        gaps=tuple(gaps),
        primary=sweep_run.data.tags.get(PRIMARY, ""),
        address=_address(tracker),
        kept=kept,
        sources=tuple(sources),
    )


def read_trials(tracker: Tracker, sweep_run: Run) -> pd.DataFrame:
    """`SweepFrames.trials` of one sweep without what needs its tables of units.

    Raises ValueError when it has no finished trial.
    """
    return _trials(read_runs(tracker, sweep_run, [])[0])


def _address(tracker: Tracker) -> str:
    if not tracker.uri.startswith(("http:", "https:")):
        return ""
    return f"{tracker.uri.rstrip('/')}/#/experiments/{tracker.experiment_id}"


def _trials(runs: Sequence[Seen]) -> pd.DataFrame:
    said = recipes([run.data.params for run in runs])
    return pd.DataFrame([_row(run, recipe) for run, recipe in zip(runs, said, strict=True)])


def _row(run: Seen, recipe: str) -> dict[str, object]:
    """All params as text; over them the axes and flags as what they are; then the metrics."""
    params, tags, info = run.data.params, run.data.tags, run.info
    row: dict[str, object] = {**params, **{name: params.get(name, "none") for name in AXES}}
    row |= {
        "rate": float(params.get("rate", "nan")),
        "seed": int(params.get("seed", 0)),
        "most_important_first": params.get("prune.most_important_first") == "True",
        "held": params.get("prune.held", "True") == "True",
        "rounds": int(params.get("prune.rounds", 1)),
        "recipe": recipe,
        "label": info.run_name,
        "key": tags[TRIAL_KEY],
        # One that has collapsed as well is told by the number of its layers that have.
        "outcome": "stopped" if tags.get("stopped") else tags.get(OUTCOME, ""),
        "run_id": info.run_id,
        **{name: tags.get(name, "") for name in (*MADE_ON, *STOPPED, *SEARCHED)},
        "seconds": ((info.end_time or info.start_time) - info.start_time) / 1000,
    }
    return row | finite(run.data.metrics)


def _source(run: Seen) -> Source:
    info, key = run.info, run.data.tags[TRIAL_KEY]
    return Source(info.run_id, info.artifact_uri, key, info.run_name)


def _has_rounds(run: Seen) -> bool:
    return run.data.params.get("prune.rounds", "1") != "1"


def _without_units(labels: Sequence[str], n: int) -> str:
    some = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
    return (
        f"{UNITS} could not be read of {len(labels)} of {n} trials ({some}): what is shown of "
        "units is without them"
    )


def _caption(runs: Sequence[Seen]) -> str:
    """One line; where trials differ, all that occurs."""

    def every(values: Iterable[str | None]) -> str:
        return " / ".join(sorted({value for value in values if value}))

    def param(name: str) -> str:
        return every(run.data.params.get(name) for run in runs)

    def tag(name: str) -> str:
        return every(run.data.tags.get(name) for run in runs)

    def known(*parts: tuple[str, str, str]) -> str:
        return ", ".join(f"{left}{value}{right}" for left, value, right in parts if value)

    # Of runs that did not note their classes and images; of a folder's all are meant by None.
    counts = {
        name: param(f"data.{name}_images").replace("None", "all")
        for name in ("train", "val", "probe")
    }
    counted = known(("", known(*(("", n, f" {name}") for name, n in counts.items())), " images"))
    network, data = param("network.name"), param("data.name")
    groups = (
        known(("", f"{network} on {data}", ""), ("", param("data.pixels"), " px")),
        tag("images") or counted,
        known(("MIS by ", param("score.similarity"), ""), ("", param("score.n_tasks"), " tasks")),
        known(("seed ", param("seed"), "")),
        known(("", tag("device"), ""), ("", tag("precision"), ""), ("torch ", tag("torch"), "")),
    )
    return "; ".join(filter(None, groups))


def latest_sweep(tracker: Tracker, key: str | None) -> Run:
    """The parent run of a sweep by its key, or the newest. Raises ValueError when there is none."""
    sweeps = [run for run in tracker.sweeps() if key in (None, run.data.tags[SWEEP_KEY])]
    if not sweeps:
        which = f"sweep {key}" if key else "sweep"
        if any(key in (None, tags.get(SWEEP_KEY)) for tags in tracker.deleted_sweeps()):
            raise ValueError(
                f"the {which} of the study {tracker.study} was deleted in MLflow's pages: make "
                "sweep makes its run anew, of the trials that are there"
            )
        raise ValueError(f"MLflow at {tracker.uri} holds no {which} of the study {tracker.study}")
    return sweeps[0]
