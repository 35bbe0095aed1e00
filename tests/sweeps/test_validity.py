"""Every check: green on a sweep as it should be, red or grey for its own reason alone."""

import math
import warnings
from zlib import crc32

import numpy as np
import pandas as pd
import pytest

from pruning.selection import n_pruned
from sweeps.report.checks.all import checks
from sweeps.report.checks.design import check_masks
from sweeps.report.paper.published import published_trials
from sweeps.report.read.values import baseline

N_PRUNABLE = 100_003


def row(method, rate=0.0, **values):
    pruned = method not in ("dense", "untrained")
    name = " ".join([method, f"{rate:g}", *map(str, values.values())])
    late = 0.6 if method == "untrained" else 0.8
    return {
        "method": method,
        "rate": rate,
        "schedule": "one_shot" if pruned else "none",
        "criterion": "l1" if pruned else "none",
        "retraining": "finetune" if pruned else "none",
        "seed": 0,
        "outcome": "completed",
        "label": name,
        "key": name,
        "most_important_first": False,
        "prune.held": "True" if pruned else None,
        "network.name": "googlenet",
        "network.weights": "random" if method == "untrained" else "train",
        "data.probe_images": "10000",
        "score.n_tasks": "20",
        "score.n_explanations": "9",
        "prune/n_prunable": float(N_PRUNABLE),
        "prune/sparsity": n_pruned(rate, N_PRUNABLE) / N_PRUNABLE,
        "val/top1": 0.7,
        "val/top1_error": 0.005,
        "mis/mean": late + 1e-9 * crc32(name.encode()) / 100,
        "mis/n_units": 900.0,
        "mis/n_dead": 100.0 * rate,
        "mis/n_constant": 0.0,
        "mis/error_images": 0.004,
        "mis/shuffled_mean": 0.501,
        "mis/shuffled_error": 0.001,
        "mis/layer2/mean": 0.7,
        "mis/layer9/mean": 0.7,
        "mis/layer10/mean": late,
        "mis/layer10/error": 0.01,
        "mis/error": 0.003,
        **{"device": "a GPU", "precision": "bf16", "torch": "2.15", "code": "0123456789ab"},
        **{
            "data.name": "concepts",
            "data.train_images": "1200",
            "data.val_images": "800",
            "compute.precision": "auto",
        },
        **values,
    }


def good():
    rows = []
    for seed in (0, 1, 2):
        rows += [row("dense", seed=seed), row("untrained", retraining="recalibrate", seed=seed)]
        rows.append(row("dense", retraining="finetune", seed=seed))
        for method in ("unstructured", "structured"):
            for rate in (0.5, 0.75):
                rows.append(row(method, rate, seed=seed))
                rows.append(row(method, rate, criterion="random", seed=seed))
                if method == "unstructured":  # ranks all layers at once
                    within = {"prune.counts_of": "l1"}
                    rows.append(row(method, rate, criterion="random", seed=seed, **within))
            rows.append(row(method, 0.5, most_important_first=True, seed=seed))
    return pd.DataFrame(rows)


def statuses(trials, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {check.name: check.status for check in checks(trials, **arguments)}


def said(trials, name, **arguments):
    return {check.name: check.said for check in checks(trials, **arguments)}[name]


def test_a_control_whose_units_are_rotated_is_made_like_the_others():
    trials = good().assign(**{"score.rotated": "False"})
    rotated = trials.iloc[[0]].assign(method="rotated", **{"score.rotated": "True"})
    found = {check.name: check for check in checks(pd.concat([trials, rotated]))}
    assert found["made alike"].status == "ok"


def test_a_sweep_as_it_should_be_passes_every_check():
    found = statuses(good())
    assert len(found) == 17
    assert set(found.values()) == {"ok"}, found


def change(column, value, rows=None):
    def apply(trials):
        trials = trials.copy()
        trials[column] = trials[column].astype(object)
        trials.loc[trials.index if rows is None else rows(trials), column] = value
        return trials

    return apply


def pruned(trials):
    return ~trials["method"].isin(["dense", "untrained"])


def dense(trials):
    return (trials["method"] == "dense") & (trials["retraining"] == "none")


def of(trials, method):
    return trials["method"] == method


def drop(rows):
    return lambda trials: trials[~rows(trials)]


FAULTY = {
    "masks let go": (change("prune.held", "False", pruned), "masks held", "failed"),
    "zeros grown back": (change("prune/sparsity", 0.02, pruned), "masks held", "failed"),
    "one count off": (
        change("prune/sparsity", 0.52, lambda t: (t["rate"] == 0.5) & of(t, "structured")),
        "masks held",
        "failed",
    ),
    "no sparsity": (
        change("prune/sparsity", np.nan, lambda t: t["rate"] == 0.5),
        "sparsity measured",
        "failed",
    ),
    "other network": (
        change("network.name", "vgg16", dense), "same dense network", "failed"),
    "no dense": (drop(dense), "dense network scored", "failed"),
    "dense not scored": (
        change("mis/mean", np.nan, dense), "dense network scored", "failed"),
    "dense of one seed": (
        drop(lambda t: dense(t) & (t["seed"] == 1)), "dense network scored", "failed"),
    "no control": (
        drop(lambda t: (t["method"] == "dense") & (t["retraining"] == "finetune")),
        "dense network retrained",
        "failed",
    ),
    "no random": (
        drop(lambda t: (t["criterion"] == "random") & t["prune.counts_of"].isna()),
        "pruned by chance",
        "failed",
    ),
    "no random within layers": (
        drop(lambda t: t["prune.counts_of"].notna()),
        "by chance, as many per layer",
        "failed",
    ),
    "no random of one": (
        drop(lambda t: (t["criterion"] == "random") & (t["method"] == "structured")),
        "pruned by chance",
        "failed",
    ),
    "no reversed": (drop(lambda t: t["most_important_first"]), "most important first", "failed"),
    "untrained as good": (
        change("mis/layer10/mean", 0.9, lambda t: t["method"] == "untrained"),
        "untrained below dense",
        "failed",
    ),
    "no untrained": (
        drop(lambda t: t["method"] == "untrained"), "untrained below dense", "unknown"),
    "no unit alive": (
        change("mis/n_units", 0.0, lambda t: t["rate"] == 0.75), "dead units left out", "failed"),
    "units not counted": (
        lambda t: t.drop(columns=["mis/n_dead", "mis/n_constant"]),
        "dead units left out",
        "unknown",
    ),
    "same score": (
        change("mis/mean", 0.7, lambda t: t["rate"] == 0.75), "scores measured", "unknown"),
    "shuffled off": (change("mis/shuffled_mean", 0.504), "chance is 0.5", "failed"),
    "not shuffled": (
        lambda t: t.drop(columns="mis/shuffled_mean"), "chance is 0.5", "unknown"),
    "few probe images": (change("data.probe_images", "1000"), "probe images enough", "unknown"),
    "too few probe images": (change("data.probe_images", "300"), "probe images enough", "failed"),
    "unsure of images": (change("mis/error_images", 0.05), "probe images enough", "failed"),
    "few validation images": (
        change("val/top1_error", 0.03), "validation images enough", "failed"),
    "one seed": (drop(lambda t: t["seed"] > 0), "several trainings", "unknown"),
    "two seeds": (drop(lambda t: t["seed"] > 1), "several trainings", "unknown"),
    "one network": (change("network.weights", "imagenet", lambda t: t["method"] != "untrained"),
        "several trainings", "unknown"),
    "untrained a bit below": (
        change("mis/layer10/error", 0.15, dense), "untrained below dense", "unknown"),
    "two precisions": (
        change("precision", "fp32", lambda t: t["rate"] == 0.75), "made alike", "failed"),
    "two devices": (
        change("device", "a CPU", lambda t: t["rate"] == 0.75), "made alike", "unknown"),
    "two scores": (
        change("score.n_tasks", "10", lambda t: t["rate"] == 0.75), "made alike", "failed"),
    "other images": (
        change("data.val_images", "9", lambda t: t["rate"] == 0.75), "made alike", "failed"),
    "two codes": (change("code", "fedcba987654", dense), "made alike", "unknown"),
    "code not told": (change("code", "", dense), "made alike", "unknown"),
    "failed trial": (
        change("outcome", "failed", lambda t: t.index == 5), "trials complete", "failed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_turns_its_own_check_and_no_other(fault):
    spoil, name, status = FAULTY[fault]
    found = statuses(spoil(good()))
    # A trial without its score is not complete, too; without a dense network none is above another.
    others = {"dense not scored": {"trials complete"}, "no dense": {"untrained below dense"}}
    turned = {other for other, state in found.items() if state != "ok"}
    assert found[name] == status
    assert turned - others.get(fault, set()) == {name}


def test_rotated_units_are_a_control_and_no_fault():
    trials = good().assign(**{"score.rotated": "False"})
    assert dense(trials).any()
    rotated = trials[dense(trials)].assign(**{"score.rotated": "True", "method": "rotated"})
    both = pd.concat([trials, rotated], ignore_index=True)
    assert statuses(both)["made alike"] == "ok"


def test_missing_trials_are_counted_and_stopped_ones_are_no_fault():
    trials = good()
    assert said(trials, "trials complete", missing=3, failed=1).endswith("3 not finished, 1 failed")
    assert statuses(trials, missing=3)["trials complete"] == "failed"
    trials.loc[pruned(trials) & (trials["rate"] == 0.75), "outcome"] = "stopped"
    # Stopped between rounds: sparser it would have become.
    trials.loc[trials["outcome"] == "stopped", "prune/sparsity"] = 0.4
    found = statuses(trials)
    assert found["trials complete"] == "ok" and found["masks held"] == "ok"
    assert "15 stopped early, and scored" in said(trials, "trials complete")


def test_layerwise_counts_are_floored():
    """16 filters at rate 0.7 are 11: a sparsity of 0.6875 is what was asked for."""
    trials = good()
    rows = (trials["method"] == "structured") & (trials["rate"] == 0.75)
    trials.loc[rows, ["rate", "prune/sparsity"]] = [0.7, 11 / 16]
    assert statuses(trials)["masks held"] == "ok"
    trials.loc[rows, "prune/sparsity"] = 10 / 16
    assert statuses(trials)["masks held"] == "failed"


def test_a_mean_must_be_over_the_units_that_are_alive():
    trials = good()
    units = pd.DataFrame(
        {
            "state": ["alive", "alive", "dead", "alive"],
            "counted": [True, True, True, False],
            "mis": [0.6, 0.8, 1.0, 0.1],
        }
    )
    key = trials.loc[3, "key"]
    trials.loc[3, "mis/mean"] = 0.7
    assert statuses(trials, units={key: units})["dead units left out"] == "ok"
    trials.loc[3, "mis/mean"] = 0.8
    assert statuses(trials, units={key: units})["dead units left out"] == "failed"
    assert "not the mean over its alive units" in said(
        trials, "dead units left out", units={key: units}
    )


def test_each_pair_of_network_and_data_is_checked_by_itself():
    both = pd.concat([good(), change("network.name", "vgg16")(good())], ignore_index=True)
    assert set(statuses(both).values()) == {"ok"}
    of_vgg = both["network.name"] == "vgg16"
    lacking = both[~(of_vgg & dense(both))]
    found = {check.name: check for check in checks(lacking)}
    assert found["dense network scored"].status == "failed"
    assert found["dense network scored"].said.startswith("vgg16: the dense network is not among")
    assert [n for n, c in found.items() if c.status == "failed"] == ["dense network scored"]
    told = "googlenet, vgg16: 36 pruned trials have the sparsity that was asked for"
    assert found["masks held"].said == told
    many = [change("network.name", f"net{n}")(drop(dense)(good())) for n in range(6)]
    for n, trials in enumerate(many):
        trials.loc[pruned(trials), "prune/sparsity"] = n / 100
    said = {c.name: c.said for c in checks(pd.concat([*many, good()], ignore_index=True))}
    assert said["dense network scored"].startswith("net0, net1, net2, net3 and 2 more: the dense")
    assert said["masks held"].startswith("net0: 36 of 36 pruned trials have not")
    assert said["masks held"].endswith("; and so for 2 more")


def test_the_released_points_are_red_for_the_right_reasons():
    trials = published_trials()
    found = statuses(trials)
    red = {name for name, status in found.items() if status == "failed"}
    assert red == {
        "trials complete",
        "masks held",
        "sparsity measured",
        "same dense network",
        "dense network scored",
        "dense network retrained",
        "pruned by chance",
        "by chance, as many per layer",
        "most important first",
        "dead units left out",
        "scores measured",
    }
    assert found["several trainings"] == found["made alike"] == "unknown"
    assert found["validation images enough"] == "ok"
    assert "the masks of 8 of 60 pruned trials were not held" in said(trials, "masks held")
    assert "connection" in said(trials, "masks held")
    assert "googlenet, inception_v1" in said(trials, "same dense network")
    assert "no dense network was retrained" in said(trials, "dense network retrained")
    assert "in the mean of 4 trials" in said(trials, "dead units left out")
    assert "3 scores were typed in by hand" in said(trials, "scores measured")
    assert "one dense network" in said(trials, "several trainings")


def moved(change_of, error=0.004):
    """Retrained controls, whose top-1 lies so far from the dense network's, by recipe."""
    rows = [
        row("dense", retraining="finetune", seed=seed, recipe=recipe)
        | {"val/top1_change": value, "val/top1_change_error": error}
        for seed in (0, 1, 2)
        for recipe, value in change_of.items()
    ]
    trials = good()
    control = (trials["method"] == "dense") & (trials["retraining"] == "finetune")
    return pd.concat([trials[~control], pd.DataFrame(rows)], ignore_index=True)


def test_a_recipe_that_moves_the_dense_network_is_told():
    name = "dense network retrained"
    kept, lost = moved({"3 epochs": -0.01}), moved({"3 epochs": -0.036})
    assert statuses(kept)[name] == "ok" and statuses(lost)[name] == "unknown"
    assert "-0.010 from the dense network (95 % over images, paired: -0.018 to" in said(kept, name)
    assert "the recipe itself moves accuracy" in said(lost, name)
    # What better training does to the dense network, retraining does to pruned ones, too.
    assert statuses(moved({"3 epochs": 0.036}))[name] == "unknown"
    assert statuses(moved({"3 epochs": -0.01}, error=0.01))[name] == "unknown"
    # The errors of three trainings on the same images do not average out.
    assert statuses(moved({"3 epochs": 0.0}, error=0.0103))[name] == "unknown"
    several = moved({"3 epochs": -0.04, "6 epochs": -0.005})
    assert statuses(several)[name] == "ok"
    assert "-0.005 from the dense network by the recipe that changes it least" in said(
        several, name
    )


def test_without_a_trial_it_is_said_and_nothing_is_raised():
    for empty in (pd.DataFrame(), good().iloc[:0]):
        found = statuses(empty)
        assert found["trials complete"] == "failed"
        assert said(empty, "trials complete") == "no trial finished"
        assert "ok" not in {
            found["masks held"],
            found["several trainings"],
            found["scores measured"],
        }


def test_text_of_a_tracker_is_read():
    trials = good().astype({"seed": str, "prune/sparsity": str, "most_important_first": str})
    assert set(statuses(trials).values()) == {"ok"}


def test_a_budget_is_checked_by_what_the_network_costs_and_not_by_its_rate():
    budget = {"prune.target": "macs=0.5", "cost/macs_dense": 1000.0, "prune/sparsity": 0.61}
    within = row("structured_global", 0.5, **budget, **{"cost/macs": 499.0})
    above = row("structured_global", 0.5, **budget, **{"cost/macs": 501.0})
    rates = row("structured", 0.2, **{"prune.rates": "a=0.1, b=0.3", "prune/sparsity": 0.4})
    assert check_masks(pd.DataFrame([within, rates])).status == "ok"
    assert check_masks(pd.DataFrame([within, rates, above])).status == "failed"


def test_of_several_recipes_the_level_is_that_of_the_one_most_pruned_networks_have():
    trials = moved({"3 epochs, sgd 0.005": -0.01, "3 epochs, sgd 0.02": -0.1})
    trials["recipe"] = trials["recipe"].fillna("3 epochs, sgd 0.005")
    control = (trials["method"] == "dense") & (trials["retraining"] == "finetune")
    slow = control & (trials["recipe"] == "3 epochs, sgd 0.005")
    trials.loc[control, "val/top1"] = 0.6
    trials.loc[slow, "val/top1"] = 0.69
    assert baseline(trials, "dense", "finetune", "val/top1") == pytest.approx(0.69)
    assert baseline(trials, "dense", "none", "val/top1") == pytest.approx(0.7)
    assert math.isnan(baseline(trials, "given", "none", "val/top1"))
