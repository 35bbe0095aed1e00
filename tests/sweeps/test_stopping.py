"""Rungs against the definition written out, on drawn and on recorded learning curves."""

import dataclasses
import math
import random
import re
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_studies import small_base, small_sweep

from benchmarks.stopping import arms_of, by_ray, compare, read_curves, table
from sweeps.plan.forecast import Curve, by_rungs, savings, simulate, stopping_sentences
from sweeps.plan.rungs import (
    Rungs,
    Stopping,
    recall,
    remember,
    remember_failure,
    stop_tags,
)
from sweeps.plan.strata import QUESTION, Strata, fields_of
from sweeps.plan.sweep import Grid, methods
from trainables.config import TrainConfig


def slow_decision(stopping, events, key, epoch):
    """Whether `key` goes on, from all that was reported so far: (key, epoch, value)."""
    rungs = [stopping.warmup * stopping.reduction**k for k in range(20)]
    rungs = [rung for rung in rungs if rung <= epoch]
    if not rungs:
        return True
    low, high = rungs[-1], rungs[-1] * stopping.reduction
    first = {}
    for other, at, value in events:
        # Who reports only beyond the next rung never stood on this one.
        if low <= at < high and other not in first:
            first[other] = -math.inf if math.isnan(value) else value
    if len(first) < stopping.min_peers:
        return True
    better = sum(value > first[key] for value in first.values())
    return better < math.ceil(len(first) / stopping.reduction)


values = st.floats(0, 1) | st.just(math.nan) | st.sampled_from([0.05, 0.5])
stoppings = st.builds(
    Stopping,
    reduction=st.integers(2, 4),
    warmup=st.integers(1, 3),
    min_peers=st.integers(2, 5),
)
curve_sets = st.lists(st.lists(values, min_size=10, max_size=10), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(stoppings, st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), values), max_size=60))
def test_decisions_are_those_of_the_definition(stopping, reports):
    rungs, events, out, seen = Rungs(stopping), [], set(), {}
    for number, epoch, value in reports:
        if number in out:
            assert not rungs.decide("s", str(number), epoch, value).go_on
            continue
        if epoch <= seen.get(number, 0):  # reported again
            assert rungs.decide("s", str(number), epoch, value).go_on
            continue
        seen[number] = epoch
        events.append((number, epoch, value))
        expected = slow_decision(stopping, events, number, epoch)
        assert rungs.decide("s", str(number), epoch, value).go_on == expected
        if not expected:
            out.add(number)
    assert set(rungs.stopped) == {str(number) for number in out}


@settings(max_examples=100, deadline=None)
@given(stoppings, curve_sets, st.integers(1, 5), st.integers(1, 3))
def test_no_stratum_loses_all_its_trials(stopping, drawn, slots, n_strata):
    curves = [Curve(f"t{i}", f"s{i % n_strata}", v) for i, v in enumerate(drawn)]
    rungs = Rungs(stopping)
    epochs = simulate(curves, by_rungs(rungs), slots)
    for stratum in {curve.stratum for curve in curves}:
        through = [c for c in curves if c.stratum == stratum and epochs[c.key] == 10]
        assert through
        # The best on the highest rung is among them.
        top = max(k for s, k in rungs._results if s == stratum)
        results = rungs._results[stratum, top]
        assert epochs[max(results, key=results.get)] == 10
    for key, decision in rungs.stopped.items():
        assert epochs[key] == decision.epoch >= stopping.warmup
        assert decision.n_results >= stopping.min_peers


def test_strata_know_nothing_of_each_other():
    rungs = Rungs(Stopping())
    for key, value in {"a": 0.9, "b": 0.8, "c": 0.7}.items():
        rungs.decide("rate 0.5", key, 1, value)
    told = [rungs.decide("rate 0.9", key, 1, 0.1).go_on for key in ("x", "y")]
    assert told == [True, True] and set(rungs.stopped) == {"c"}
    assert not rungs.decide("rate 0.9", "z", 1, 0.05).go_on
    # The first two passed an empty rung; now their peers are there.
    assert not rungs.decide("rate 0.5", "b", 2, 0.99).go_on
    assert rungs.decide("rate 0.5", "a", 2, 0.0).go_on


def test_a_lower_loss_is_better():
    rungs = Rungs(Stopping(metric="val/loss"))
    told = {k: rungs.decide("s", k, 1, v) for k, v in {"a": 2.0, "b": 1.0, "c": 3.0}.items()}
    assert not told["c"].go_on and told["c"].best == "b" and told["c"].cutoff == 1.0
    assert not rungs.decide("s", "a", 2, 0.1).go_on and rungs.decide("s", "b", 2, 9.0).go_on


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metric": "mis/mean"}, "must be one of val/top1, val/top5, val/loss, got 'mis/mean'"),
        ({"reduction": 1}, "Stopping.reduction must be an integer >= 2, got 1"),
        ({"warmup": 0}, "Stopping.warmup must be an integer >= 1, got 0"),
        ({"min_peers": 1}, "Stopping.min_peers must be an integer >= 2, got 1"),
    ],
)
def test_settings_are_refused_with_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Stopping(**changes)


BEST, ASKED = Strata(best=True), Strata(fields_of(QUESTION, {}))


@pytest.mark.parametrize("strata", [BEST, ASKED], ids=["best", "question"])
def test_what_others_are_measured_against_is_in_no_stratum(strata):
    base = small_base()
    assert strata.of(base) is not None
    for settings_ in (
        {"prune": None},
        {"prune.criterion": "random"},
        {"prune.most_important_first": True},
        {"finetune": None},  # it has no epochs to save
    ):
        assert strata.of(base.replace(settings_)) is None


METHOD = {"prune.granularity": "filter", "prune.scope": "layer"}
ITERATIVE = {"prune.schedule": "iterative", "prune.rounds": 2}


def test_a_stratum_is_what_makes_epochs_comparable():
    base = small_base(finetune=TrainConfig(epochs=4))
    same = [METHOD, {"finetune.lr": 0.1}, {"seed": 3}, {"prune.criterion": "l2"}]
    assert {BEST.of(base.replace(each)) for each in same} == {BEST.of(base)}
    others = [{"prune.rate": 0.51}, {"finetune.epochs": 5}, ITERATIVE, {"data.pixels": 64}]
    others += [{"prune.schedule": "linear", "prune.rounds": 2}, {"network.recipe.epochs": 9}]
    budget = METHOD | {"prune.rate": None}  # of both the nominal rate is 0.5
    others += [budget | {"prune.target": f"{of}=0.5"} for of in ("macs", "params")]
    for strata in (BEST, ASKED):
        found = {strata.of(base.replace(each)) for each in [{}, *others]}
        assert len(found) == len(others) + 1


def test_no_trial_competes_with_one_that_the_study_compares_it_with():
    base = small_base(finetune=TrainConfig(epochs=4))
    recipes = [{"finetune.lr": 0.1}, {"finetune.optimizer": "sgd"}, {"finetune.batch_size": 8}]
    assert {ASKED.of(base.replace(each)) for each in recipes} == {ASKED.of(base)}
    asked = [METHOD, {"prune.criterion": "l2"}, {"prune.scope": "layer"}, {"prune.rate": 0.6}]
    asked += [{"prune.criterion": "taylor"}, {"prune.exclude": ("conv2",)}, {"prune.held": False}]
    asked += [{"prune.criterion": "taylor", "prune.change_of": "logit"}, ITERATIVE]
    replicates = [{"seed": 1}, {"data.seed": 1}, {"score.n_tasks": 7}, {"data.val_images": 40}]
    found = [ASKED.of(base.replace(each)) for each in [{}, *asked, *replicates]]
    assert len(set(found)) == len(found)


def test_a_study_says_what_it_asks():
    heat = {"cool": {"finetune.lr": 1e-4}, "hot": {"finetune.lr": 1e-2, "finetune.warmup": 0.5}}
    grid = Grid({"heat": heat, "method": methods("structured")})
    sweep = dataclasses.replace(small_sweep(), grids=(grid,), question=("rate", "heat"))
    base = small_base()
    hot = base.replace({"finetune.lr": 0.1})
    strata = sweep.strata()
    assert {"finetune.lr", "finetune.warmup", "prune.rate"} <= set(strata.question)
    assert not any(name.startswith("prune.granularity") for name in strata.question)
    assert strata.of(base) != strata.of(hot)
    assert strata.of(base) == strata.of(base.replace(METHOD))  # it does not ask about methods
    assert sweep.strata(best=True).of(hot) == sweep.strata(best=True).of(base)
    with pytest.raises(ValueError, match="must name method, rate, schedule, criterion, heat, or a"):
        dataclasses.replace(sweep, question=("rate", "heta"))
    # What was stopped for one question is not stopped for another.
    on = sweep.stopped_as("1")
    other = dataclasses.replace(on, question=QUESTION)
    assert len({each.stopped_by for each in (sweep, on, other, sweep.stopped_as("best"))}) == 4
    assert sweep.stopped_by == "" == on.stopped_as("0").stopped_by
    assert on.stopped_as(None) is on
    with pytest.raises(ValueError, match="STOP must be one of 1, best, 0, got 'worst'"):
        sweep.stopped_as("worst")


def compete(strata, seeds, gap=0.04, noise=0.005):
    """Three methods and three trainings whose best method is known: key -> epochs that it ran."""
    drawn = random.Random(seeds)
    base = small_base(finetune=TrainConfig(epochs=9))
    curves = []
    for place, method in enumerate(("unstructured", "structured", "connection")):
        for seed in range(3):
            config = base.replace({**methods(method)[method], "seed": seed})
            values = [0.7 - gap * place + drawn.gauss(0, noise) for _ in range(9)]
            curves.append(Curve(f"{method} {seed}", strata.of(config), values))
    return simulate(curves, by_rungs(Rungs(Stopping())), 9)


@pytest.mark.parametrize("seeds", range(20))
def test_all_methods_are_left_where_methods_are_the_question(seeds):
    assert set(compete(ASKED, seeds).values()) == {9}
    best = compete(BEST, seeds)
    assert {key.split()[0] for key, epochs in best.items() if epochs == 9} == {"unstructured"}
    assert max(best[f"structured {seed}"] for seed in range(3)) <= 3


def test_recipes_of_one_arm_compete_within_each_training_and_leave_one_of_each():
    base = small_base(finetune=TrainConfig(epochs=9))
    curves = [
        Curve(
            f"{method} {seed} {lr}",
            ASKED.of(base.replace({**points, "seed": seed, "finetune.lr": lr})),
            [lr - 0.3 * (method == "structured")] * 9,
        )
        for method, points in methods("unstructured", "structured").items()
        for seed in range(2)
        for lr in (0.1, 0.2, 0.3, 0.4)
    ]
    epochs = simulate(curves, by_rungs(Rungs(Stopping())), len(curves))
    # Two of four pass the first rung, which keeps the better half, and one of them the next.
    left = [key for key, n in epochs.items() if n == 9]
    arms = {f"{method} {seed}" for method in ("structured", "unstructured") for seed in (0, 1)}
    assert {key.rsplit(" ", 1)[0] for key in left} == arms
    assert {f"{arm} 0.4" for arm in arms} <= set(left) and len(left) < len(curves)


def test_nobody_is_stopped_for_being_worse_than_one_that_failed(tmp_path):
    path, stopping = tmp_path / "s.jsonl", Stopping()
    rungs = Rungs(stopping)

    def report(key, epoch, value):
        remember(path, "s", key, epoch, value)
        return rungs.decide("s", key, epoch, value).go_on

    assert report("a", 1, 0.9) and report("b", 1, 0.8)
    rungs.withdraw("a")
    remember_failure(path, "a")
    assert report("c", 1, 0.7)  # of two that are left a rung decides nothing
    assert not report("d", 1, 0.1) and report("b", 2, 0.8)
    again = recall(stopping, path)
    assert again.stopped == rungs.stopped and again.epochs == rungs.epochs
    assert report("a", 1, 0.95)  # it runs again, from its beginning
    assert not report("c", 2, 0.7)


def test_searched_rates_are_binned_by_density_and_never_far_apart():
    base, strata = small_base(), Strata(best=True, rate_is_searched=True)
    rates = [0.3 + 0.003 * i for i in range(230)]
    bins = defaultdict(list)
    for rate in rates:
        config = base.replace({"prune.rate": rate})
        bins[strata.of(config)].append(1 - rate)
    assert 10 < len(bins) < 30
    assert all(max(each) / min(each) <= 2**0.25 + 1e-6 for each in bins.values())
    asked = Strata(ASKED.question, rate_is_searched=True)
    near = [asked.of(base.replace({"prune.rate": rate})) for rate in (0.5, 0.501)]
    assert near[0] == near[1]


def test_a_new_driver_knows_what_the_old_one_knew(tmp_path):
    stopping, path = Stopping(), tmp_path / "stopping" / "s.jsonl"
    live = Rungs(stopping)
    for curve in (Curve(f"t{i}", "s", [0.01 * e - 0.1 * i for e in range(9)]) for i in range(6)):
        for epoch, value in enumerate(curve.values, 1):
            remember(path, "s", curve.key, epoch, value)
            if not live.decide("s", curve.key, epoch, value).go_on:
                break
    with path.open("a") as file:
        file.write('\n["s", "t9", 1,')  # the machine went down
    remember(path, "s", "t7", 1, -5.0)
    assert not live.decide("s", "t7", 1, -5.0).go_on
    again = recall(stopping, path)
    assert live.stopped and again.stopped == live.stopped and again._results == live._results
    assert recall(stopping, tmp_path / "none").stopped == {}


def test_tags_say_when_and_against_whom():
    rungs = Rungs(Stopping())
    for key, value in {"a": 0.9, "b": 0.8, "c": 0.7}.items():
        decision = rungs.decide("s", key, 1, value)
    tags = stop_tags(decision, "val/top1", {"a": "structured 0.5 one_shot"}, 9)
    assert tags["stopped"] == (
        "stopped after epoch 1 of 9: val/top1 0.7000 at epoch 1 is not among the best 1 of 3 "
        "(from 0.9000 on; the best is structured 0.5 one_shot)"
    )
    assert (tags["stopped_epoch"], tags["stopped_peers"]) == ("1", "2")
    assert (tags["stopped_best_key"], tags["stopped_arm"]) == ("a", "s")
    assert tags["stopped_saved"] == "8 of 9 epochs"


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 5e-16])
def test_tags_tell_a_value_from_its_cutoff_however_near(gap):
    """Seen in CI: 2.99724 > 2.99724, of two trials that hardly trained."""
    rungs = Rungs(Stopping(metric="val/loss", reduction=2, min_peers=2))
    rungs.decide("s", "a", 1, 2.99724)
    decision = rungs.decide("s", "b", 1, 2.99724 + gap)
    tags = stop_tags(decision, "val/loss", {}, 9)
    assert not decision.go_on
    assert float(tags["stopped_value"]) == 2.99724 + gap > float(tags["stopped_cutoff"]) == 2.99724
    value, cutoff = re.search(r"val/loss (\S+) at .*from (\S+) on", tags["stopped"]).groups()
    assert value > cutoff


def test_slots_decide_who_meets_whom():
    curves = [Curve(f"t{i}", "s", [i / 10] * 9) for i in range(6)]
    alone = simulate(curves, by_rungs(Rungs(Stopping())), 1)
    together = simulate(curves, by_rungs(Rungs(Stopping())), 6)
    # One after the other, and each better than the last: nobody is ever found out.
    assert set(alone.values()) == {9}
    # All at once: each passed while it was the best, and is measured again when all are there.
    assert together == {"t0": 2, "t1": 2, "t2": 2, "t3": 2, "t4": 9, "t5": 9}
    assert simulate(curves, lambda *_: True, 2) == dict.fromkeys(alone, 9)


def test_a_plan_says_what_stopping_may_save():
    base = small_base(finetune=TrainConfig(epochs=9))
    configs = [base.replace({"finetune.lr": lr / 100}) for lr in range(1, 7)]
    configs += [base.replace({"prune.rate": 0.8}), base.replace({"prune": None})]
    sweep = small_sweep()
    # Five of six trials stop after the first of nine epochs; one rate has too few, one is dense.
    (said,) = stopping_sentences(configs, sweep.stopped_as("1"), 2)
    assert said.startswith("early stopping by val/top1 may save 0 to 40 of 72 epochs, about ")
    assert 0 < int(said.split("about ")[1].split()[0]) < 40 and "(6 trials compete)" in said
    off, best = stopping_sentences(configs, sweep, 2)
    assert "off; STOP=1 (recipes and other settings compete) could save 0 to 40 of 72" in off
    assert best.startswith("STOP=best (methods, too) could save 0 to 40 of 72 epochs, about ")
    assert stopping_sentences(configs, sweep, 2, chosen=True) == []
    assert stopping_sentences([base.replace({"prune": None})], sweep, 2) == []


def test_a_plan_says_why_nothing_would_be_stopped():
    base = small_base(finetune=TrainConfig(epochs=9))
    sweep = small_sweep()
    by_method = [base.replace(point) for point in methods("structured", "connection").values()]
    by_method += [base, base.replace({"prune.criterion": "l2"})]
    said, best = stopping_sentences(by_method, sweep, 2)
    assert said == (
        "early stopping is off; STOP=1 would stop nothing: of trials that agree on seed, method, "
        "rate, schedule, criterion there is one each, and a trial is only stopped beside 2 or more"
    )
    assert "STOP=best (methods, too) could save 0 to 24 of 36 epochs" in best
    for said in stopping_sentences([base.replace({"finetune.epochs": 1})] * 4, sweep, 2):
        assert said.endswith("they train for no more than the 1 epochs that every trial gets")
    controls = [base.replace({"prune.criterion": "random"})]
    assert (
        "there is no trial that trains and is no control"
        in stopping_sentences(controls, sweep.stopped_as("best"), 2)[0]
    )
    assert savings(by_method, Stopping(), ASKED, 2).most == 0


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
def test_recorded_curves_keep_a_good_trial_of_every_stratum(slots):
    """GoogLeNet, three rates, four methods: real epochs, noise and all."""
    curves = read_curves()
    strata = {curve.stratum for curve in curves}
    assert len(strata) == 6 and len(curves) == 48
    for warmup in (1, 2):
        epochs = simulate(curves, by_rungs(Rungs(Stopping(warmup=warmup))), slots)
        for stratum in strata:
            peers = [c for c in curves if c.stratum == stratum]
            through = [c for c in peers if epochs[c.key] == len(c.values)]
            best = max(c.values[-1] for c in peers)
            # In rounds the first epochs are less sparse than the last, and tell less of them.
            near = 0.08 if stratum.endswith("iterative") else 0.05
            assert max(c.values[-1] for c in through) >= best - near
        saved = 1 - sum(epochs.values()) / sum(len(c.values) for c in curves)
        assert 0.1 < saved < 0.8


def test_plain_asha_saves_more_and_loses_whole_strata():
    curves, stopping = read_curves(), Stopping()
    ours = compare(curves, lambda: by_rungs(Rungs(stopping)), slots=4)
    ashas = compare(curves, lambda: by_ray(stopping, max_epochs=9), slots=4)
    none = compare(curves, lambda: lambda *_: True, slots=4)
    assert none[:2] == (0, 0) and ours[1] == 0 < ashas[1]
    assert 0.2 < ours[0] < ashas[0]
    assert ours[3] < 0.01 < ashas[3]  # top-1 given away
    assert table(curves).row_count == 7


def test_on_recorded_curves_only_the_question_leaves_every_arm():
    """Four methods, three rates, two schedules: 24 arms of two recipes each."""
    curves, arms = read_curves(), arms_of()
    assert len(set(arms.values())) == 24
    pairs = Stopping(reduction=2, min_peers=2)
    asked = compare(curves, lambda: by_rungs(Rungs(pairs)), 4, arms)
    best = compare(curves, lambda: by_rungs(Rungs(Stopping())), 4)
    assert asked[4] == 24 > best[4]
    assert asked[0] > 0.2 and asked[3] < 0.02
