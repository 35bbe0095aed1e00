"""A sweep as tidy frames: what every table and figure is made of."""

from dataclasses import dataclass

import pandas as pd
from mlflow.entities import Run

from sweeps.tracking import OUTCOME, SWEEP_KEY, TRIAL_KEY, Tracker

AXES = ("method", "rate", "schedule", "criterion", "retraining", "seed")
_UNIT = ["layer", "channel"]


@dataclass(frozen=True)
class SweepFrames:
    """trials: a row a finished trial, its axes, its outcome, its final metrics.

    Beside the metrics of design: `mis/dense_same_units`, the mean score that the units which are
    alive and counted here had in the dense network of the same seed. Only the difference to it
    tells change from selection: pruning away the worst units raises a mean, too.
    missing: labels of planned trials that have no finished run.
    """

    study: str
    trials: pd.DataFrame
    units: dict[str, pd.DataFrame]  # trial key -> a row a unit
    missing: int
    caption: str  # what the numbers were made on: data, sample sizes, seeds, device, versions


def load_frames(tracker: Tracker, sweep_run: Run) -> SweepFrames:
    """The frames of one sweep. Raises ValueError when it has no finished trial."""
    planned = tracker.planned_keys(sweep_run)
    finished = tracker.finished()
    runs = [finished[key] for key in planned if key in finished]
    if not runs:
        raise ValueError(
            f"the sweep must have a finished trial to report on, {tracker.study} has none"
        )
    units = {run.data.tags[TRIAL_KEY]: tracker.read_units(run) for run in runs}
    trials = pd.DataFrame([_row(run) for run in runs])
    trials["mis/dense_same_units"] = _dense_same_units(trials, units)
    return SweepFrames(tracker.study, trials, units, len(planned) - len(runs), _caption(runs))


def _caption(runs: list[Run]) -> str:
    """One line; where trials differ, all that occurs."""

    def every(*values: str | None) -> str:
        return " / ".join(sorted({value for value in values if value}))

    def param(name: str) -> str:
        return every(*(run.data.params.get(name) for run in runs))

    def tag(name: str) -> str:
        return every(*(run.data.tags.get(name) for run in runs))

    return (
        f"{param('network.name')} on {param('data.name')}, {param('data.pixels')} px; images: "
        f"{param('data.train_images')} train, {param('data.val_images')} val, "
        f"{param('data.probe_images')} probe; MIS by {param('score.similarity')}, "
        f"{param('score.n_tasks')} tasks; seed {param('seed')}; {tag('device')}, "
        f"{tag('precision')}, torch {tag('torch')}"
    )


def _row(run: Run) -> dict[str, object]:
    params = run.data.params
    row: dict[str, object] = {name: params[name] for name in AXES}
    row |= {"rate": float(params["rate"]), "seed": int(params["seed"])}
    row |= {
        "label": run.info.run_name,
        "key": run.data.tags[TRIAL_KEY],
        "outcome": run.data.tags.get(OUTCOME, ""),
        "run_id": run.info.run_id,
    }
    return row | run.data.metrics


def _dense_same_units(trials: pd.DataFrame, units: dict[str, pd.DataFrame]) -> list[float]:
    is_dense = (trials["method"] == "dense") & (trials["retraining"] == "none")
    dense_of = dict(zip(trials.loc[is_dense, "seed"], trials.loc[is_dense, "key"], strict=True))
    means = []
    for key, seed in zip(trials["key"], trials["seed"], strict=True):
        dense = units.get(dense_of.get(seed, ""))
        if dense is None:
            means.append(float("nan"))
            continue
        here = units[key]
        alive = here.loc[(here["state"] == "alive") & here["counted"], _UNIT]
        means.append(alive.merge(dense, on=_UNIT)["mis"].mean())
    return means


def latest_sweep(tracker: Tracker, key: str | None) -> Run:
    """The parent run of a sweep by its key, or the newest. Raises ValueError when there is none."""
    sweeps = tracker.runs("sweep")
    if key is not None:
        sweeps = [run for run in sweeps if run.data.tags[SWEEP_KEY] == key]
    if not sweeps:
        which = f"sweep {key}" if key else "sweep"
        raise ValueError(f"MLflow at {tracker.uri} holds no {which} of the study {tracker.study}")
    return sweeps[0]
