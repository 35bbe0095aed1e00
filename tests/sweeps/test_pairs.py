"""A sweep of several networks: each is shown as if it stood alone."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_frames import (
    answered,
    in_rounds,
    log_sweep,
    of_network,
    synthetic,
    together,
    with_twins,
)

from sweeps.plan.section import Section
from sweeps.registry import model_name
from sweeps.report import load_frames
from sweeps.report.findings import findings, statistics_table
from sweeps.report.read.best import best_trials, optimism
from sweeps.report.read.pairs import pairs, stems
from sweeps.report.read.same_units import with_dense
from sweeps.report.read.split import split
from sweeps.report.sections.all import SECTIONS
from sweeps.report.side_by_side import answers_of, methods_of
from sweeps.report.statistics.margin import gaps
from sweeps.report.statistics.sentences import sentence
from sweeps.report.write import PAGE, write_files

KINDS = {
    "trials": lambda: answered(with_twins(synthetic(seeds=(0, 1)))),
    "rounds": lambda: in_rounds(rounds=4),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_network_is_shown_as_if_it_stood_alone(kind):
    alone = {n: of_network(KINDS[kind](), n, worse=w) for n, w in (("vgg16", 0), ("alexnet", 0.2))}
    apart, n_drawn = split(together(*alone.values())), 0
    assert list(apart) == list(alone)
    for section in SECTIONS:
        for name, frames in alone.items():
            expected, found = section.data(frames), section.data(apart[name])
            if isinstance(expected, str):
                assert found == expected, section.name
            else:
                n_drawn += 1
                pd.testing.assert_frame_equal(found, expected)
    assert n_drawn > 12


@pytest.mark.slow
def test_units_that_lie_in_files_are_told_apart_too(tmp_path):
    both = together(*(of_network(synthetic(channels=2), name) for name in ("vgg16", "alexnet")))
    results = tmp_path / "results"
    tracker = log_sweep(both, results, tmp_path / "files")
    kept = load_frames(tracker, tracker.sweeps()[0], tmp_path)
    for name, frames in split(kept).items():
        mine = split(both)[name]
        assert set(frames.of_units) == set(mine.of_units) == set(mine.trials["key"])
        assert {source.key for source in frames.sources} == set(mine.trials["key"])
        assert len(frames.of_units) == len(mine.trials) < len(kept.of_units)
        others = set(both.trials["key"]) - set(mine.trials["key"])
        assert frames.of_units.read(others).empty and not others & set(frames.of_units)
        assert len(frames.of_units.read(both.trials["key"])) == len(mine.units)


def test_the_best_are_chosen_within_a_network(tmp_path):
    """Of two networks the better one would win everywhere, and the other be in no table."""
    alone = {n: of_network(synthetic(), n, worse=w) for n, w in (("vgg16", 0), ("alexnet", 0.2))}
    trials = together(*alone.values()).trials
    expected = pd.concat([best_trials(frames.trials) for frames in alone.values()])
    assert set(best_trials(trials)["key"]) == set(expected["key"])
    each = [optimism(frames.trials) for frames in alone.values()]
    assert optimism(trials) == pytest.approx(sum(each) / 2)
    names = {
        model_name(stem, row)
        for stem, rows in zip(stems("transfer", alone), pairs(trials).values(), strict=True)
        for row in best_trials(trials[rows]).to_dict("records")
    }
    assert len(names) == len(expected) and "transfer-alexnet-structured-0.5" in names
    beside = methods_of("transfer", trials)
    assert set(beside["pair"]) == {"vgg16 on concepts", "alexnet on concepts"}
    for pair, rows in beside.groupby("pair"):
        own = methods_of("transfer", alone[pair.partition(" ")[0]].trials)
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), own)
    asked = answers_of("transfer", trials, "")
    assert {"vgg16 on concepts", "alexnet on concepts"} <= set(asked["pair"])


def size(answer):
    """Without the names of the trainings: of one network alone their seeds tell them apart."""
    slope = answer.slope
    return slope and (slope.over, slope.n, slope.n_arms, slope.found, [*slope.changes.values()])


def test_answers_say_which_network_they_are_of():
    """Three trainings of each: what is said of one is what its own report would say."""
    made = synthetic(seeds=(0, 1, 2), channels=1, dissected=False, epochs=False)
    alone = {n: of_network(made, n, worse=w) for n, w in (("vgg16", 0), ("alexnet", 0.2))}
    found = findings(together(*alone.values()))
    for name, frames in alone.items():
        own = findings(frames)
        asked = [each for each in found.answers if each.population.pair == name]
        assert [size(each) for each in asked] == [size(each) for each in own.answers]
        assert all(f" of {name} (" in sentence(each) for each in asked)
        assert [f"{name}: {said}" for said in own.matched] == [
            said for said in found.matched if said.startswith(name)
        ]
    assert len(found.answers) == 2 * len(own.answers) and len(own.matched) > 1
    table = statistics_table(found.answers)
    assert set(table["pair"]) == set(alone) and "pair" not in statistics_table(own.answers)


def trial(method="structured", **fields):
    known = {"network.name": "vgg16", "data.name": "image_folder", "data.pixels": "64"}
    known |= {"network.weights": "train", "network.recipe.lr": "0.1", "seed": "0"}
    known |= {name.replace("__", "."): value for name, value in fields.items()}
    return {"method": method, **known}


def called(*trials):
    found = pairs(pd.DataFrame(list(trials)))
    return {name: list(rows[rows].index) for name, rows in found.items()}


def test_trainings_and_draws_are_one_pair_and_networks_and_images_are_not():
    assert called(trial(), trial(seed="1"), trial(data__seed="3")) == {"": [0, 1, 2]}
    assert called(trial("untrained", network__weights="random")) == {"": [0]}
    assert called(trial(), trial(network__name="b")) == {"vgg16": [0], "b": [1]}
    assert called(trial(), trial(data__pixels="224")) == {"pixels 64": [0], "pixels 224": [1]}
    assert called(trial(), trial(data__val_images="7")) == {"": [0, 1]}
    both = called(trial(), trial(network__name="b", network__recipe__lr="0.2"))
    assert both == {"vgg16": [0], "b": [1]}  # what tells them apart already is enough
    three = called(trial(), trial(network__name="b"), trial(network__recipe__lr="0.2"))
    assert three == {
        "vgg16, recipe lr 0.1": [0],
        "b, recipe lr 0.1": [1],
        "vgg16, recipe lr 0.2": [2],
    }


def test_an_untrained_network_is_the_control_of_all_that_share_what_it_depends_on():
    untrained = trial("untrained", network__weights="random", network__recipe="None")
    del untrained["network.recipe.lr"]
    by_recipe = [trial(), trial(network__recipe__lr="0.2"), untrained]
    assert called(*by_recipe) == {"recipe lr 0.1": [0, 2], "recipe lr 0.2": [1, 2]}
    assert called(trial(), trial(network__name="b"), untrained) == {"vgg16": [0, 2], "b": [1]}


def test_a_sweep_that_is_not_done_mixes_no_networks():
    """Dense networks run first: of the second there is nothing pruned yet."""
    alone = {n: of_network(synthetic(), n, worse=w) for n, w in (("vgg16", 0), ("alexnet", 0.3))}
    trials = together(*alone.values()).trials
    left = trials[(trials["network.name"] == "vgg16") | (trials["rate"] == 0)]
    found = {name: set(left.loc[rows, "key"]) for name, rows in pairs(left).items()}
    assert found["vgg16"] == set(alone["vgg16"].trials["key"])
    assert set(pairs(left[left["rate"] == 0])) == {"vgg16", "alexnet"}
    # Where what is pruned has no dense network of its own, another stands in its place.
    wrong = left[(left["network.name"] == "alexnet") | (left["rate"] > 0)]
    assert set(pairs(wrong)) == {""}


def test_each_network_has_a_leading_criterion_of_its_own():
    """All trials of the second counted as pruned by another criterion, and had no answer."""
    made = synthetic(channels=1, dissected=False, epochs=False)
    first, other = of_network(made, "vgg16"), of_network(made, "alexnet")
    by = other.trials["criterion"].replace({"l1": "taylor"})
    other = dataclasses.replace(other, trials=other.trials.assign(criterion=by))
    few = other.trials["rate"].isin([0.0, 0.25, 0.5, 0.75])
    other = dataclasses.replace(other, trials=other.trials[few])
    both = together(first, other)
    found = findings(both)
    own = findings(other)
    asked = [each for each in found.answers if each.population.pair == "alexnet"]
    assert [size(each) for each in asked] == [size(each) for each in own.answers]


def test_margins_and_changes_are_against_the_dense_network_of_the_same_pair():
    made = synthetic(channels=1, dissected=False, epochs=False)
    made = without_dense_scores(made)
    small, large = (
        of_network(made, "vgg16"),
        of_network(made, "zfnet"),  # whose keys are others
    )
    shifted = {"units": large.units.assign(mis=large.units["mis"] + 0.1)}
    dense = large.trials["method"] == "dense"
    mis = large.trials["mis/mean"] + dense * 0.1
    large = dataclasses.replace(large, trials=large.trials.assign(**{"mis/mean": mis}), **shifted)
    pixels = [
        frames.trials.assign(**{"network.name": "vgg16", "data.pixels": p})
        for frames, p in ((small, "64"), (large, "224"))
    ]
    whole = pd.concat(pixels, ignore_index=True)
    known = [gaps(each) for each in pixels]
    assert sorted(gap.value for gap in gaps(whole).values()) == pytest.approx(
        sorted(next(iter(each.values())).value for each in known)
    )
    units = with_dense(pd.concat([small.units, large.units], ignore_index=True), whole)
    for frames, trials in zip((small, large), pixels, strict=True):
        own = with_dense(frames.units, trials)["dense_mis"].to_numpy()
        here = units[units["key"].isin(set(frames.trials["key"]))]["dense_mis"].to_numpy()
        assert np.allclose(here, own, equal_nan=True)


def without_dense_scores(frames):
    return dataclasses.replace(frames, units=frames.units.drop(columns="dense_mis"))


def test_a_network_that_comes_with_its_head_has_no_recipe():
    given = {"network__weights": "imagenet", "network__head": "kept"}
    assert called(trial(**given), trial(network__recipe__lr="5", **given)) == {"": [0, 1]}
    new = given | {"network__head": "new"}
    assert len(called(trial(**new), trial(network__recipe__lr="5", **new))) == 2


def test_a_section_of_ones_own_may_have_any_table(tmp_path):
    """Its numbers were written where nothing was caught, and there was no report at all."""
    frames = synthetic()

    def section(name, table):
        return Section(name, name, "Which?", "None.", lambda _: table, lambda _: Figure())

    odd = pd.DataFrame({"pair": [1.0], "value": [2.0]})
    nested = pd.DataFrame({("a", "b"): [1.0]}, index=pd.MultiIndex.from_tuples([(1, 2)]))
    sections = (section("odd", odd), section("nested", nested))
    write_files(frames, tmp_path, sections)
    assert pd.read_csv(tmp_path / "odd.csv")["pair"].tolist() == [1.0]
    write_files(together(of_network(frames, "a"), of_network(frames, "b")), tmp_path, sections)
    page = (tmp_path / PAGE).read_text()
    assert "could not be drawn: ValueError: cannot insert pair" in page
    assert not list(tmp_path.glob("odd*")) and (tmp_path / "nested.csv").exists()


def test_pictures_have_names_of_their_own():
    assert stems("cost", [""]) == ["cost"]
    assert stems("cost", ["VGG 16", "mine:net/2"]) == ["cost-vgg_16", "cost-mine_net_2"]
    assert stems("cost", ["a b", "a_b"]) == ["cost-a_b", "cost-a_b_2"]
    odd = ["a_b_2", "a b", "a_b", "ж", "щ", f"{'x' * 70}a", f"{'x' * 70}b"]
    assert len(set(stems("cost", odd))) == len(odd)


def test_a_page_shows_the_networks_below_one_another(tmp_path):
    both = together(*(of_network(synthetic(), name) for name in ("vgg16", "alexnet")))
    by_name = {section.name: section for section in SECTIONS}
    over = dataclasses.replace(by_name["mis_by_layer"], name="over", over_pairs=True)

    def data(frames):
        only = set(frames.trials["network.name"]) == {"vgg16"}
        return "Not of this one." if only else by_name["cost"].data(frames)

    some = Section("some", "Some", "Which?", "None.", data, by_name["cost"].draw)
    write_files(both, tmp_path, (by_name["cost"], over, some))
    page = (tmp_path / PAGE).read_text()
    assert page.count("<h4>vgg16</h4>") == page.count("<h4>alexnet</h4>") == 2
    assert page.count("Not of this one.") == 1
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert pictures == {"cost-vgg16", "cost-alexnet", "over", "some-alexnet"}
    table = pd.read_csv(tmp_path / "cost.csv")
    assert list(table)[0] == "pair" and set(table["pair"]) == {"vgg16", "alexnet"}
    assert "pair" not in pd.read_csv(tmp_path / "over.csv")
    write_files(split(both)["vgg16"], tmp_path, (by_name["cost"],))  # another sweep of the study
    assert {path.stem for path in tmp_path.glob("*.png")} == {"cost"}
    assert "<h4>" not in (tmp_path / PAGE).read_text()
