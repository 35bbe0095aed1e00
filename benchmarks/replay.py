"""Early stopping replayed on the learning curves of a study that ran to its end.

What each rule would have saved, which comparisons it would have taken away, and whether the
study's answers would have been others. Scores are of the ends of the trials: of one that would have
been stopped the score at that moment is not known, so that answers are asked without it.
"""

import dataclasses
import itertools
import json
import tempfile
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pandas as pd
from rich.table import Table

from sweeps.plan.forecast import Curve, by_rungs, simulate
from sweeps.plan.primary import Primary
from sweeps.plan.rungs import Rungs, Stopping
from sweeps.plan.strata import QUESTION, Strata, fields_of
from sweeps.report import load
from sweeps.report.read.frames import SweepFrames, open_tracker
from sweeps.report.statistics.questions import Answer, answers, rate_column
from sweeps.studies import load_study
from trainables.config import TrialConfig


@dataclass(frozen=True)
class Recorded:
    """A sweep as it ran: its frames, and of each trial that trained the config and the curve."""

    frames: SweepFrames
    configs: Mapping[str, TrialConfig]
    values: Mapping[str, Sequence[float]]  # key -> top-1 after each epoch
    question: Sequence[str]


@dataclass(frozen=True)
class Replayed:
    """What a rule would have done. pairs: comparisons of final accuracies between arms that the
    study asks about, at one rate and training: how many of them are left."""

    saved: float
    n_stopped: int
    pairs_left: int
    pairs: int
    changed: Sequence[str]  # answers whose verdict would be another
    primary_same: bool
    given_away: float  # top-1 of the best of each rate, the mean over rates


def read_recorded(study: str, results: Path) -> Recorded:
    """Raises ValueError where MLflow holds no such sweep, or one that has stopped trials itself."""
    frames = load(study, results)
    if (frames.trials["outcome"] == "stopped").any():
        raise ValueError(f"{study} must have run to its end (STOP=0), trials of it were stopped")
    client, configs = open_tracker(study, results).client, {}
    with tempfile.TemporaryDirectory() as folder:
        for key, run in zip(frames.trials["key"], frames.trials["run_id"], strict=True):
            path = client.download_artifacts(run, "config.json", folder)
            said = json.loads(Path(path).read_text())
            if said.get("prune.target") in ("loss", "logit"):  # of before that had another name
                said["prune.change_of"] = said.pop("prune.target")
            configs[key] = config_of(said)
    curves = frames.epochs.sort_values("epoch").groupby("key", observed=True)["val/top1"]
    values = {str(key): tuple(curve) for key, curve in curves}
    try:
        question = load_study(study).question
    except ValueError:  # a file of the user's that is not here
        question = QUESTION
    return Recorded(frames, configs, values, question)


def config_of(said: Mapping[str, Any], kind: type = TrialConfig) -> Any:
    """The config whose flat fields these are, as a trial's config.json has them."""
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        kinds = [k for k in (hint, *get_args(hint)) if dataclasses.is_dataclass(k)]
        inner = {n.partition(".")[2]: v for n, v in said.items() if n.startswith(f"{name}.")}
        if kinds and inner:
            fields[name] = config_of(inner, kinds[0])
        elif name in said and not kinds:
            fields[name] = tuple(said[name]) if isinstance(said[name], list) else said[name]
        elif types.NoneType in get_args(hint):
            fields[name] = None
    return kind(**fields)


def replay(recorded: Recorded, stopping: Stopping | None, slots: int) -> Replayed:
    """stopping: None for none. Trials start in the order in which they are listed."""
    keys = [key for key in recorded.configs if key in recorded.values]
    strata = Strata(fields_of(recorded.question, {}), best=bool(stopping and stopping.best))
    curves = [Curve(k, strata.of(recorded.configs[k]), recorded.values[k]) for k in keys]
    decide = by_rungs(Rungs(stopping)) if stopping else lambda *_: True
    ran = simulate(curves, decide, slots)
    gone = {key for key in keys if ran[key] < len(recorded.values[key])}
    total = sum(map(len, recorded.values.values()))
    trials = recorded.frames.trials
    left = trials[~trials["key"].isin(gone)]
    before, after = (_verdicts(recorded.frames, each) for each in (trials, left))
    primary = [name for name in before if name.startswith("asked beforehand")]
    pairs = _pairs(recorded, set())
    return Replayed(
        saved=1 - sum(ran.values()) / total if total else 0.0,
        n_stopped=len(gone),
        pairs_left=len(_pairs(recorded, gone)),
        pairs=len(pairs),
        changed=[name for name in before if before[name] != after.get(name)],
        primary_same=all(before[name] == after.get(name) for name in primary),
        given_away=_given_away(trials, left),
    )


def _verdicts(frames: SweepFrames, trials: pd.DataFrame) -> dict[str, str]:
    found = answers(trials, rate=rate_column(trials), primary=Primary.read(frames.primary))
    return {_name(answer): _said(answer) for answer in found}


def _name(answer: Answer) -> str:
    question, trainings = answer.question, answer.population.trainings
    name = f"{question.y} with {question.x}, {answer.population.stratum}"
    name += ", at equal accuracy" if question.at_accuracy else ""
    name += f", {trainings[0]}" if len(trainings) == 1 else ""
    return f"asked beforehand: {name}" if answer.primary else name


def _said(answer: Answer) -> str:
    """The verdict, and where it is of a relation, which way."""
    if answer.slope is None or not answer.verdict.startswith("related"):
        return answer.verdict
    return f"{answer.verdict} {'up' if answer.slope.change > 0 else 'down'}"


def _pairs(recorded: Recorded, gone: set[str]) -> set[tuple[str, str, str]]:
    """Pairs of arms that differ in what the study asks about but the rate, in one training and at
    one rate, both with a trial that ran to its end."""
    names = fields_of(recorded.question, {})
    arms: dict[str, set[str]] = {}
    for key, config in recorded.configs.items():
        if config.prune is None or not config.n_epochs or key in gone:
            continue
        asked = [(name, _of(config, name)) for name in names if name != "prune.rate"]
        where = f"{config.prune.amount}, seed {config.seed}"
        arms.setdefault(where, set()).add(repr(asked))
    return {
        (w, *pair) for w, each in arms.items() for pair in itertools.combinations(sorted(each), 2)
    }


def _of(config: TrialConfig, name: str) -> Any:
    part: Any = config
    for step in name.split("."):
        part = getattr(part, step, None)
    return part


def _given_away(trials: pd.DataFrame, left: pd.DataFrame) -> float:
    best = [each[each["rate"] > 0].groupby("rate")["val/top1"].max() for each in (trials, left)]
    return float((best[0] - best[1]).mean()) if len(best[0]) else 0.0


def replay_table(recorded: Recorded, slots: int) -> Table:
    """A row per rule."""
    shown = Table(
        title=f"{recorded.frames.study}: {len(recorded.values)} trials that train, {slots} at a "
        f"time; asked: {', '.join(recorded.question)}"
    )
    headings = ("stopping", "stopped", "epochs saved", "comparisons left", "answers that change",
                "asked beforehand", "top-1 given away")  # fmt: skip
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == headings[0] else "right")
    rules: dict[str, Stopping | None] = {"none": None}
    for warmup, best in itertools.product((1, 2), (False, True)):
        name = f"STOP={'best' if best else '1'}, warm-up {warmup}"
        rules[name] = Stopping(warmup=warmup, best=best)
    for name, rule in rules.items():
        found = replay(recorded, rule, slots)
        shown.add_row(
            *(name, str(found.n_stopped), f"{found.saved:.0%}"),
            *(f"{found.pairs_left} of {found.pairs}", str(len(found.changed))),
            *("the same" if found.primary_same else "another", f"{found.given_away:.3f}"),
        )
    return shown
