"""The winners of a search and of its grid: which they are, and what became of them elsewhere."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from report_frames import synthetic
from small_studies import small_base

from sweeps.plan.fronts import hypervolume, on_front
from sweeps.plan.metrics import SAVED
from sweeps.plan.names import Names
from sweeps.plan.planner import Plan
from sweeps.plan.space import Choice, Search
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.report.sections.searched import SEARCHED
from sweeps.searching.proposals import Proposals
from sweeps.searching.resume import winners_to_run
from sweeps.searching.winners import run_again, winners

AIMS = {"val/top1": "max", "cost/macs": "min"}
SPACE = {
    "method": Choice(methods("structured", "connection")),
    "prune.rate": FloatDistribution(0.2, 0.8, step=0.1),
}
SEARCH = Search(SPACE, AIMS, 3, {"mis/change": (-0.03, None)}, winners=2, again=(1, 2))


def slow_front(points):
    def beats(a, b):
        return all(x >= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)

    return [not any(beats(other, point) for other in points) for point in points]


@pytest.mark.parametrize("seed", range(8))
def test_the_front_and_what_it_covers_are_those_of_loops(seed):
    points = np.random.default_rng(seed).integers(0, 8, (12, 2)) / 8
    assert on_front(points).tolist() == slow_front(points.tolist())
    cells = itertools.product(np.arange(0.0625, 1, 0.125), repeat=2)
    covered = [any((point >= cell).all() for point in points) for cell in cells]
    assert hypervolume(points) == pytest.approx(np.mean(covered))
    assert hypervolume(points[on_front(points)]) == pytest.approx(hypervolume(points))
    assert hypervolume(np.empty((0, 2))) == 0 == hypervolume(np.array([[-1.0, 5.0]]))


def study():
    base = small_base(**{"prune.granularity": "filter", "prune.scope": "layer"})
    grid = {"method": methods("structured"), "rate": axis("prune.rate", (0.3, 0.45, 0.6))}
    return Sweep("s", "p", base, (Grid(grid),), controls=False, search=SEARCH)


def ended(config, **change):
    top1 = 0.9 - config.rate / 2 + 0.1 * (config.method == "connection")
    return {"val/top1": top1, "cost/macs": 1 - config.rate, "mis/change": 0.0} | change


def test_winners_lie_along_the_front_and_meet_the_constraints():
    made = study()
    configs = [c for c in made.expand() if c.prune is not None]
    metrics = {config.key: ended(config) for config in configs}
    chosen = winners(SEARCH, configs, metrics, 2)
    assert [config.rate for config in chosen] == [0.6, 0.3]  # both ends
    assert [c.rate for c in winners(SEARCH, configs, metrics, 9)] == [0.6, 0.45, 0.3]
    for spoilt in ({"mis/change": -0.1}, {"val/top1": float("nan")}, {"mis/change": float("nan")}):
        metrics[configs[0].key] = ended(configs[0], **spoilt)
        assert configs[0] not in winners(SEARCH, configs, metrics, 9)
    metrics[configs[0].key] = ended(configs[0])
    assert configs[0] in winners(SEARCH, configs, metrics, 9)
    metrics[configs[0].key] |= {SAVED: 1.0}  # stopped early
    assert configs[0] not in winners(SEARCH, configs, metrics, 9)
    assert winners(SEARCH, configs, {}, 2) == [] == winners(SEARCH, configs, metrics, 0)
    again = run_again(SEARCH, [*chosen, chosen[0]])
    assert [(c.rate, c.seed, c.data.seed) for c in again] == [
        *((0.6, 1, 1), (0.6, 2, 2), (0.3, 1, 1), (0.3, 2, 2))
    ]


def test_winners_are_run_again_when_all_else_is_done_and_have_names_of_their_own(tmp_path):
    made = study()
    plan = Plan(made, tuple(made.expand()), made.base)
    proposals = Proposals(SEARCH, made.base, tmp_path / "p.jsonl")
    for config in plan.configs:
        if proposals.learns_from(config):
            proposals.expect(config)
            proposals.ended(config.key, ended(config))
    assert [c.rate for c in plan.configs if proposals.learns_from(c)] == [0.3, 0.6]
    proposals.keep_journal()
    runs = {c.key: SimpleNamespace(data=SimpleNamespace(metrics=ended(c))) for c in plan.configs}
    assert winners_to_run(plan, proposals, runs, set(runs)) == []  # there are more to propose
    while (config := proposals.next()) is not None:
        assert winners_to_run(plan, proposals, runs, set(runs)) == []
        proposals.ended(config.key, ended(config))
        runs[config.key] = SimpleNamespace(data=SimpleNamespace(metrics=ended(config)))
    again = winners_to_run(plan, proposals, runs, set(runs))
    metrics = {key: run.data.metrics for key, run in runs.items()}
    begun_with = [c for c in plan.configs if proposals.learns_from(c)]
    of_grid = [c for c in plan.configs if c.prune is not None]
    arms = (of_grid, [*begun_with, *proposals.configs])  # each with what it began with
    best = [c for arm in arms for c in winners(SEARCH, arm, metrics, 2)]
    assert {c.key for c in again} == {c.key for c in run_again(SEARCH, best)}
    assert len(again) == len({c.key for c in again}) in (4, 6, 8)  # both arms may have the same
    assert {c.seed for c in again} == {1, 2} and winners_to_run(plan, proposals, runs, set()) == []
    start = [c.key for c in plan.configs if proposals.learns_from(c)]
    names = Names(plan.configs, proposals.configs, SEARCH.fields, again, start)
    assert len({names.of(c) for c in (*plan.configs, *proposals.configs, *again)}) == len(
        {c.key for c in (*plan.configs, *proposals.configs, *again)}
    )
    assert all("seed " in names.of(config) for config in again)
    sources = {c.rate: names.source(c) for c in plan.configs if c.method == "structured"}
    assert sources == {0.3: "start", 0.45: "grid", 0.6: "start"}
    assert {names.source(config) for config in proposals.configs} == {"search"}
    assert {names.source(config) for config in again} == {"again"}
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "p.journal")))
    seen = optuna.load_study(study_name="p", storage=journal)
    assert len(seen.trials) == 5 and seen.metric_names == list(AIMS)


def test_a_search_says_what_its_winners_are_run_again_on():
    for change, sentence in (
        ({"winners": -1}, "winners must be an integer of at least 0, got -1"),
        ({"again": ()}, "again must name a seed"),
    ):
        with pytest.raises(ValueError, match=sentence):
            dataclasses.replace(SEARCH, **change)
    with pytest.raises(ValueError, match="must name other seeds than 0"):
        dataclasses.replace(SEARCH, again=(0, 1)).check(study().base)
    assert SEARCH.key == dataclasses.replace(SEARCH, winners=0, again=(5,)).key


def test_the_section_tells_what_either_found_and_what_was_luck():
    made = synthetic(methods=("unstructured",), rates=(0.5, 0.9), channels=2)
    one = made.trials[made.trials["method"] == "unstructured"].iloc[0]
    points = [  # source, top-1, macs, seed, lr, outside
        *(
            ("start", 0.5, 0.5, 0, 1, ""),
            ("grid", 0.7, 0.8, 0, 2, ""),
            ("grid", 0.4, 0.9, 0, 3, ""),
        ),
        *(("search", 0.8, 0.6, 0, 4, ""), ("search", 0.9, 0.4, 0, 5, "mis/change")),
        *(("again", 0.6, 0.6, 1, 4, ""), ("again", 0.7, 0.6, 2, 4, "")),
    ]
    rows = [
        one.to_dict()
        | {
            **{"source": source, "val/top1": top1, "cost/macs": macs, "seed": seed},
            **{"finetune.lr": str(lr), "outside": outside, "key": f"k{i}", "label": f"n{i}"},
            **{"objectives": "max val/top1, min cost/macs", "outcome": "completed", "epoch": 3.0},
            **{"criterion": "l1", "stopped": ""},
        }
        for i, (source, top1, macs, seed, lr, outside) in enumerate(points)
    ]
    frames = dataclasses.replace(made, trials=pd.DataFrame(rows))
    table = SEARCHED.data(frames)
    front = table[table["kind"] == "front"].groupby("arm")["keys"].agg(list)
    assert front["grid"] == ["k0", "k1"] and front["search"] == ["k0", "k3"]
    (again,) = table[table["kind"] == "again"].to_dict("records")
    assert again["keys"] == "k3" and again["again_y"] == pytest.approx(0.65) and again["n"] == 2
    volume = table[table["kind"] == "hypervolume"].set_index(["arm", "name"])["value"]
    # The box: top-1 from .4 to .9, multiply-adds from .9 to .4.
    assert volume["grid", "as chosen"] == pytest.approx(0.2 * 0.8 + 0.4 * 0.2)
    assert volume["search", "as chosen"] == pytest.approx(0.2 * 0.8 + 0.6 * 0.6)
    assert volume["search", "winners, as chosen"] == pytest.approx(0.8 * 0.6)
    assert volume["search", "winners, run again"] == pytest.approx(0.5 * 0.6)
    assert SEARCHED.draw(table).axes
    nothing = dataclasses.replace(made, trials=made.trials.assign(source="", objectives=""))
    assert SEARCHED.data(nothing) == "Nothing of this sweep was searched."
