"""Is MIS related to rate, to accuracy? Against scipy and statsmodels, and on simulated sweeps."""

import math
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

from benchmarks.simulated import Truth, draw, layout, stopped
from benchmarks.statistics import CASES, CORRELATED, count, coverage, pages
from sweeps.plan.power import power, power_of_none, power_sentence
from sweeps.plan.primary import Primary
from sweeps.report.read.best import optimism
from sweeps.report.sections.dissection import within_layers
from sweeps.report.statistics.correlation import correlations
from sweeps.report.statistics.margin import FRACTION, Gap, equivalence, gaps
from sweeps.report.statistics.matched import fit_matched, matched_subset
from sweeps.report.statistics.population import choose, prepared
from sweeps.report.statistics.questions import Question, answers, decide, holm, questions
from sweeps.report.statistics.sentences import matched_sentence, sentence, survivorship_sentence
from sweeps.report.statistics.slope import fit_slope
from sweeps.report.statistics.survivors import survivorship
from sweeps.studies import load_study, study_names

CHANGE = Question(
    "prune/sparsity", "mis/change", "measured sparsity", "change of MIS of the same units"
)
RATE = "prune/sparsity"


def simulated(truth=None, seed=0, **shape):
    trials = layout(**shape)
    return draw(np.random.default_rng(seed), trials, truth or Truth()).on(trials)


def ask(trials, question=CHANGE, stratum="all"):
    population = choose(trials, question.x, question.y, stratum)
    return decide(question, population, gaps(trials))


@pytest.fixture
def trials():
    return simulated(Truth(effect=0.03), seed=5)


# Of simulated sweeps, whose truth is known ------------------------------------------------------

N = 80
TOO_MANY = 0.05 + 3 * math.sqrt(0.05 * 0.95 / N)  # of 80 of 5 %: once in a thousand


counted = cache(count)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name}, {c.trainings}")
def test_what_is_said_is_wrong_no_more_often_than_is_stated(case):
    found = counted(case, N)
    for what in case.wrong:
        assert found.rate(what) <= TOO_MANY, what


def test_what_is_so_is_found():
    rates = {
        (case.name, case.trainings): counted(case, N)
        for case in CASES
        if "effect" in case.name or "selection" in case.name or "hidden" in case.name
    }
    assert rates["no effect", 1].rate("none") > 0.6
    assert rates["an effect of .02", 1].rate("related") > 0.7
    # As `sweeps.plan.power` says: 36 % and 83 %, and 42 % and 87 %, less what the noise of trials
    # takes.
    assert 0.15 < rates["an effect of .02, trainings differ", 3].rate("related") < 0.6
    assert rates["an effect of .02, trainings differ", 5].rate("related") > 0.6
    assert rates["no effect, trainings differ", 5].rate("none") > 0.6
    assert rates["on accuracy, and an effect of -.03", 5].rate("related") > 0.7
    # What the report warns of is real.
    assert rates["selection alone, of MIS", 5].rate("related") > 0.9
    assert rates["something hidden moves both", 5].rate("related") > 0.3


def test_of_pages_on_which_nothing_is_so_few_say_anything():
    """Twelve questions: one by one, a page in four would have something to say."""
    found = pages(N)
    assert found.rate("related") <= TOO_MANY
    assert found.rate("misses") > 0.1  # had nothing been corrected


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("shape", CORRELATED)
def test_intervals_of_correlations_hold_what_is_so(shape, kind):
    assert coverage(CORRELATED[shape], kind, 60) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 60)


def test_two_trainings_are_never_pooled_and_each_says_within_this_training():
    trials = simulated(Truth(of_trainings=0.05, noise=0.002), n_trainings=2)
    found = ask(trials)
    assert [each.population.trainings for each in found] == [["seed 0"], ["seed 1"]]
    assert fit_slope(choose(trials, RATE, "mis/change")) is None
    for each in found:
        assert "within this training" in sentence(each)
        assert "How another training would come out is not known." in sentence(each)
    primary = [a for a in answers(trials, primary=Primary(networks="all")) if a.primary]
    assert len(primary) == 2


def test_seeds_of_given_weights_are_one_training():
    """Of imagenet's weights all seeds start from one network: seeds are draws, and told as such."""
    params = {"network.weights": "imagenet", "network.name": "googlenet"}
    shape = layout(n_trainings=5).drop(columns=["arm", "training"]).assign(**params)
    trials = draw(np.random.default_rng(0), shape, Truth()).on(shape)
    (found,) = ask(trials)
    assert len(found.population.trainings) == 1
    assert found.slope.over == "draws" and found.slope.df == 4
    said = sentence(found)
    assert "within this training" in said and "googlenet, 5 draws" in said
    assert "How another training would come out is not known." in said
    two = ask(trials[trials["seed"].isin([0, 1])])
    assert [each.slope.over for each in two] == ["trials", "trials"]
    assert [f"seed {seed}" in sentence(each) for seed, each in enumerate(two)] == [True, True]
    trained = trials.assign(**{"network.weights": "train"})
    (found,) = ask(trained)
    assert found.slope.over == "trainings" and found.slope.df == 4
    recipes = np.where(trials["seed"] % 2, "10", "20")
    both = trials.assign(**{"network.weights": "train", "network.recipe.epochs": recipes}, seed=0)
    assert len(choose(both, RATE, "mis/change").trainings) == 2


@pytest.mark.parametrize("n_draws", [3, 5])
def test_draws_of_one_given_network_that_differ_are_no_more_than_draws(n_draws):
    """Each draw (of images, of a new head) sets all its trials apart: they are not independent."""
    params = {"network.weights": "imagenet", "network.name": "googlenet"}
    shape = layout(n_trainings=n_draws).drop(columns=["arm", "training"]).assign(**params)
    called = 0
    for seed in range(N):
        truth = Truth(of_trainings=0.05, noise=0.004)
        trials = draw(np.random.default_rng(seed), shape, truth).on(shape)
        (found,) = ask(trials)
        called += found.slope.p < 0.05
    assert called / N <= TOO_MANY


def test_networks_and_training_sets_that_are_compared_are_no_trainings_of_each_other():
    params = {"network.weights": "imagenet"}
    shape = layout(n_trainings=4).drop(columns=["arm", "training"]).assign(**params)
    trials = draw(np.random.default_rng(0), shape, Truth()).on(shape)
    bodies = np.array(["resnet18", "vgg16", "alexnet", "resnet50"])
    networks = trials.assign(**{"network.name": bodies[trials["seed"]]}, seed=0)
    found = ask(networks)
    assert {each.population.trainings[0] for each in found} == set(bodies) and len(found) == 4
    assert all(each.slope.over == "trials" for each in found)
    assert fit_slope(choose(networks, RATE, "mis/change")) is None
    sets = trials.assign(
        **{"network.weights": "train", "data.train_images": trials["seed"].astype(str)}, seed=0
    )
    assert len(ask(sets)) == 4
    seeds = trials.assign(**{"network.weights": "train", "data.seed": trials["seed"].astype(str)})
    (together,) = ask(seeds)
    assert together.slope.over == "trainings"


def test_stopped_and_collapsed_trials_are_asked_both_ways():
    truth = Truth(hidden=0.05, noise=0.003, of_trainings=0.002)
    answers_differ = 0
    for seed in range(8):
        trials = simulated(truth, seed, n_arms=12)
        trials = stopped(trials, below=0.62)
        (found,) = survivorship(trials, CHANGE)
        assert found.n == (trials["outcome"] == "stopped").sum() > 0
        answers_differ += found.changes
        said = survivorship_sentence([found])
        assert ("do not leave them out" in said) == found.changes
    assert answers_differ > 0
    pruned = trials.index[trials["place"].notna()]
    trials.loc[pruned[:3], "outcome"] = "collapsed"
    assert [each.outcome for each in survivorship(trials, CHANGE)] == ["stopped", "collapsed"]
    everyone = choose(trials, RATE, "mis/change")
    assert len(everyone.points) == len(pruned)  # both are counted
    assert "3 trials were collapsed (a layer was pruned whole), and counted" in sentence(
        ask(trials)[0]
    )
    assert survivorship(simulated(), CHANGE) == ()


# Against scipy and statsmodels -------------------------------------------------------------------


def test_coefficients_are_those_of_scipy_within_arms(trials):
    population = choose(trials, "val/top1", "mis/mean")
    points = population.points
    inside = points[["x", "y"]] - points.groupby("arm")[["x", "y"]].transform("mean")
    found = {(c.kind, c.over): c for c in correlations(population)}
    for kind, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        pooled = found[kind, "pooled"]
        assert pooled.value == pytest.approx(function(points["x"], points["y"]).statistic)
        assert math.isnan(pooled.low) and math.isnan(pooled.high)
        within = found[kind, "within arms"]
        assert within.value == pytest.approx(function(inside["x"], inside["y"]).statistic)
        for method, own in inside.groupby(points["method"]):
            assert found[kind, method].value == pytest.approx(
                function(own["x"], own["y"]).statistic
            )
    n_left = len(points) - (population.n_arms - 1)
    within = found["pearson", "within arms"]
    z = np.arctanh(within.value) + np.array([-1, 1]) * stats.norm.ppf(0.975) / np.sqrt(n_left - 3)
    assert (within.low, within.high) == pytest.approx(tuple(np.tanh(z)))
    assert not hasattr(within, "p")


def test_arms_of_one_trial_have_no_correlation_and_no_slope():
    """GRID="rate=0.5": once r = +.661 with the interval +.661 … +.661."""
    trials = simulated(rates=(0.5,))
    population = choose(trials, "val/top1", "mis/mean")
    assert {c.over for c in correlations(population)} == {"pooled"}
    (found,) = ask(trials, Question("val/top1", "mis/mean", "top-1 accuracy", "MIS"))
    assert found.verdict == "unknown" and "no arm has two values of top-1" in sentence(found)


def test_a_slope_is_that_of_statsmodels_with_an_intercept_for_each_arm(trials):
    population = choose(trials, RATE, "mis/change")
    slope = fit_slope(population)
    fitted = smf.ols("y ~ x + arm", population.points).fit()
    robust = fitted.get_robustcov_results("HC2")
    place = fitted.model.exog_names.index("x")
    width = slope.x_high - slope.x_low
    assert slope.change == pytest.approx(fitted.params["x"] * width)
    assert slope.error == pytest.approx(robust.bse[place] * width)
    half = stats.t.ppf(0.975, slope.df) * slope.error
    assert (slope.low, slope.high) == pytest.approx((slope.change - half, slope.change + half))
    assert slope.p == pytest.approx(2 * stats.t.sf(abs(slope.change) / slope.error, slope.df))
    # Satterthwaite's degrees of freedom of equal noise, by drawing it.
    design = sm.add_constant(fitted.model.exog[:, 1:])
    pinv = np.linalg.pinv(design)
    left = np.eye(len(design)) - design @ pinv
    noise = np.random.default_rng(0).standard_normal((20_000, len(design)))
    weight = pinv[list(fitted.model.exog_names).index("x")] ** 2 / np.diag(left)
    drawn = ((noise @ left) ** 2) @ weight
    assert slope.df == pytest.approx(2 * drawn.mean() ** 2 / drawn.var(), rel=0.06)
    separate = smf.ols("y ~ x * arm", population.points).fit()
    assert slope.p_arms == pytest.approx(sm.stats.anova_lm(fitted, separate)["Pr(>F)"].iloc[1])


def test_over_trainings_it_is_a_t_test_of_their_slopes():
    trials = simulated(
        Truth(effect=0.02, of_arms=(0.02, -0.02, 0), of_trainings=0.01), n_trainings=4
    )
    population = choose(trials, RATE, "mis/change")
    slope = fit_slope(population)
    table = population.points.groupby(["training", "arm"]).apply(
        lambda own: np.polyfit(own["x"], own["y"], 1)[0] * 0.6, include_groups=False
    )
    by_training = table.groupby("training").mean()
    expected = stats.ttest_1samp(by_training, 0)
    assert slope.change == pytest.approx(by_training.mean())
    assert (slope.p, slope.df) == (pytest.approx(expected.pvalue), 3)
    assert slope.changes == pytest.approx(by_training.to_dict())
    long = table.rename("slope").reset_index()
    fitted = smf.ols("slope ~ C(arm) + C(training)", long).fit()
    assert slope.p_arms == pytest.approx(sm.stats.anova_lm(fitted)["PR(>F)"]["C(arm)"])
    assert "The arms differ in it" in sentence(ask(trials)[0])


def test_arms_weigh_alike_over_one_range_whatever_their_trials():
    """Three rates in one arm, nine in the other; the third covers a tenth and has no say."""
    rows = []
    for arm, rates, change in (
        ("a", (0.1, 0.5, 0.9), 0.1),
        ("b", np.linspace(0.1, 0.9, 9), 0.0),
        ("c", (0.5, 0.55), 5.0),
    ):
        rows += [
            {"method": "structured", "schedule": arm, "criterion": "l1", "retraining": "finetune",
             "seed": 0, "outcome": "completed", RATE: rate, "mis/change": change * rate}
            for rate in rates
        ]  # fmt: skip
    population = choose(pd.DataFrame(rows), RATE, "mis/change")
    slope = fit_slope(population)
    assert (slope.x_low, slope.x_high) == (0.1, 0.9)
    assert slope.change == pytest.approx(0.05 * 0.8)
    assert slope.n_arms == 2
    assert "1 of the arms cover too little of the range" in sentence(ask(pd.DataFrame(rows))[0])
    # Of accuracy an arm weighs by the spread that it has.
    by_spread = fit_slope(population, alike=False)
    points = population.points
    fitted = smf.ols("y ~ x + arm", points).fit()
    assert by_spread.change == pytest.approx(fitted.params["x"] * 0.8)


def test_matched_accuracy_is_two_stage_least_squares():
    trials = simulated(Truth(effect=-0.03, by_accuracy=0.2), n_arms=4)
    population = choose(trials, RATE, "mis/change")
    slope = fit_matched(population)
    points = population.points
    dummies = pd.get_dummies(points["arm"], dtype=float).to_numpy()
    expected = []
    for first, second in (("a", "b"), ("b", "a")):
        stage = np.column_stack([points["x"], points[second], dummies])
        predicted = stage @ np.linalg.lstsq(stage, points[first], rcond=None)[0]
        design = np.column_stack([points["x"], predicted, dummies])
        expected.append(np.linalg.lstsq(design, points["y"], rcond=None)[0][0])
    assert slope.change == pytest.approx(np.mean(expected) * 0.6)
    question = questions()[-1]
    assert question.at_accuracy
    said = sentence(ask(trials, question)[0])
    assert "at equal accuracy" in said.lower()
    assert "if nothing else moves accuracy and MIS together" in said


def test_without_halves_matched_accuracy_is_not_asked():
    old = simulated().drop(columns=["val/top1_a", "val/top1_b"])
    (found,) = ask(old, questions()[-1])
    assert found.verdict == "unknown"
    assert "accuracy on two halves of the validation images was not measured" in sentence(found)
    assert matched_subset(old, "all") is None
    flat = simulated()
    flat["val/top1_a"] = flat["val/top1_b"] = 0.5
    assert "to be told from its own error" in sentence(ask(flat, questions()[-1])[0])


def test_the_matched_subset_is_chosen_on_one_half_and_told_on_the_other():
    trials = prepared(simulated(n_trainings=3))
    control = trials[trials["method"] == "dense"].assign(
        retraining="finetune", **{"val/top1_a": 0.7, "val/top1_b": 0.72, "mis/change": 0.004}
    )
    trials = pd.concat([trials, control], ignore_index=True)
    found = matched_subset(trials, "retrained")
    pruned = trials[trials["place"].notna()]
    close = pruned[(pruned["val/top1_a"] - 0.7).abs() <= 0.05]
    means = close.groupby("training")[["val/top1_b", "mis/change"]].mean()
    assert (found.n, found.n_all) == (len(close), len(pruned))
    assert found.accuracy == pytest.approx((means["val/top1_b"] - 0.72).mean())
    assert found.change == pytest.approx((means["mis/change"] - 0.004).mean())
    assert found.error == pytest.approx(means["mis/change"].sem())
    assert "A description, not a test" in matched_sentence(found, "retrained")


def test_holm_is_that_of_statsmodels():
    p = [0.001, 0.04, np.nan, 0.03, 0.9, 0.004]
    expected = sm.stats.multipletests([x for x in p if x == x], method="holm")[1]
    found = holm(p)
    assert math.isnan(found[2])
    assert [x for x in found if x == x] == pytest.approx(list(expected))
    assert holm([]) == []


def test_equivalence_is_of_change_plus_and_minus_a_fraction_of_each_gap():
    trials = simulated(Truth(of_trainings=0.01), n_trainings=5)
    slope = fit_slope(choose(trials, RATE, "mis/change"))
    known = gaps(trials)
    mis = trials.set_index(["training", "method"])["mis/mean"]
    names = list(slope.changes)
    gap = np.array([mis[n, "dense"].item() - mis[n, "untrained"].item() for n in names])
    assert [known[n].value for n in names] == pytest.approx(list(gap))
    change = np.array(list(slope.changes.values()))
    up = stats.ttest_1samp(change + FRACTION * gap, 0, alternative="greater").pvalue
    down = stats.ttest_1samp(change - FRACTION * gap, 0, alternative="less").pvalue
    tested = equivalence(slope, known)
    assert tested.p == pytest.approx(max(up, down))
    assert tested.margin == pytest.approx(FRACTION * gap.mean())


def test_nothing_is_called_none_where_the_gap_is_not_clear():
    trials = simulated(Truth(noise=0.001))
    slope = fit_slope(choose(trials, RATE, "mis/change"))
    assert equivalence(slope, {"seed 0": Gap(0.1, 0.004)}).p < 0.05
    assert equivalence(slope, {"seed 0": Gap(0.1, 0.051)}) is None
    assert equivalence(slope, {"seed 0": Gap(-0.1, 0.001)}) is None
    assert equivalence(slope, {"seed 0": Gap(0.1, math.nan)}) is None
    assert equivalence(slope, {}) is None
    (found,) = ask(trials[trials["method"] != "untrained"])
    assert found.verdict == "undecided" and "a large one are both possible" in sentence(found)


# What is asked, of which trials ------------------------------------------------------------------


def test_one_question_is_primary_and_all_else_is_corrected():
    trials = simulated(Truth(effect=0.03), n_trainings=5)
    primary = Primary("mis/change", "sparsity", "retrained")
    found = answers(trials, primary=primary)
    (first,) = [each for each in found if each.primary]
    assert (first.question.y, first.population.stratum) == ("mis/change", "retrained")
    assert first.p == first.slope.p and "not corrected" not in sentence(first)
    rest = [each for each in found if not each.primary and each.slope is not None]
    assert all(each.p >= each.slope.p for each in rest)
    tests = [each.slope.p for each in rest] + [each.equivalence.p for each in rest]
    assert {each.n_tests for each in rest} == {len(tests)}
    assert "not corrected" in sentence(rest[0])
    assert not any(each.primary for each in answers(trials))
    assert Primary.read(str(primary)) == primary
    assert Primary.read("") is None and Primary.read("A purpose.") is None
    with pytest.raises(ValueError, match="against of a study's primary question must be one of"):
        Primary(against="rate")


def test_what_is_left_out_is_counted_and_said(trials):
    pruned = trials.index[trials["place"].notna()]
    trials = trials.assign(most_important_first=False)
    trials.loc[pruned[0], "outcome"] = "failed"
    trials.loc[pruned[1], "mis/change"] = np.nan
    trials.loc[pruned[2], "most_important_first"] = True
    trials.loc[pruned[3], "criterion"] = "random"
    trials.loc[pruned[4], "criterion"] = "l2"
    (found,) = ask(trials)
    assert found.n == len(pruned) - 5
    assert found.population.left_out == {
        "not pruned": 2,
        "failed": 1,
        "without a finite value": 1,
        "pruned the most important first": 1,
        "pruned by chance": 1,
        "pruned by another criterion": 1,
    }
    assert "Left out: 1 failed, 1 without a finite value." in sentence(found)


def test_retrained_and_not_retrained_are_kept_apart(trials):
    as_pruned = trials.assign(retraining="none").drop(columns=["arm", "training"])
    both = pd.concat([trials.drop(columns=["arm", "training"]), as_pruned[2:14]], ignore_index=True)
    sizes = {a.population.stratum: a.n for a in answers(both)[:3]}
    assert sizes == {"all": 36, "retrained": 24, "not retrained": 12}
    with pytest.raises(ValueError, match="stratum must be one of all, retrained, not retrained"):
        choose(both, "rate", "mis/mean", "pruned")


def test_a_method_that_goes_the_other_way_is_named():
    trials = simulated(Truth(of_arms=(0.08, 0.08, -0.03), noise=0.002), n_arms=3)
    (found,) = ask(trials)
    assert found.other_way == ("connection",)
    assert "The other way round within connection." in sentence(found)


def cut(trials, **changes):
    return trials.assign(**changes)


DEGENERATE = {
    "nothing": (lambda t: t.iloc[:0], "none of this kind has both values"),
    "no columns": (lambda t: pd.DataFrame(), "none of this kind has both values"),
    "no MIS": (lambda t: t.drop(columns="mis/change"), "none of this kind has both values"),
    "all NaN": (lambda t: cut(t, **{"mis/change": np.nan}), "none of this kind has both values"),
    "all infinite": (lambda t: cut(t, **{"mis/change": np.inf}), "none of this kind has both"),
    "one point": (lambda t: t[2:3], "no arm has two values"),
    "two points": (lambda t: t[2:4], "need 3 trials at least"),
    "one rate": (lambda t: cut(t, **{RATE: 0.5}), "sparsity is 0.5 in all of them"),
    "one MIS": (lambda t: cut(t, **{"mis/change": 0.8}), "is 0.8 in all of them"),
    "all failed": (lambda t: cut(t, outcome="failed"), "none of this kind has both values"),
    "few": (lambda t: t[2:6], "Few points:"),
    "one an arm": (lambda t: t[t["rate"] == 0.4], "in all of them"),
    "text": (lambda t: cut(t, **{"mis/change": "NaN"}), "none of this kind has both values"),
    "no seeds": (lambda t: t.drop(columns=["seed", "arm", "training"]), "MIS"),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_what_is_missing_is_said_in_a_sentence(trials, name):
    change, said = DEGENERATE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = ask(change(trials))
        for other in answers(change(trials)):
            assert sentence(other).endswith(".")
    assert said in sentence(found)
    if found.slope is not None:
        assert np.isfinite([found.slope.low, found.slope.high, found.slope.p]).all()


def test_a_perfect_line_is_related(trials):
    exact = trials.assign(**{"mis/change": 0.8 + 0.1 * trials[RATE]})
    (found,) = ask(exact)
    assert found.verdict == "related" and found.slope.change == pytest.approx(0.06, abs=0.002)


def test_another_column_for_the_rate_is_refused(trials):
    with pytest.raises(ValueError, match="rate must be one of prune/sparsity, rate, got 'n'"):
        answers(trials, rate="n")


# What is chosen, and what is pooled --------------------------------------------------------------


def test_detectors_are_compared_within_network_and_layer():
    """Two layers of two levels, of which the clearer one has more detectors: pooled +.08."""
    rng = np.random.default_rng(0)
    rows = []
    for key, layer, level, share in (
        ("a", "1", 0.6, 0.1),
        ("a", "2", 0.7, 0.9),
        ("b", "1", 0.7, 0.2),
        ("b", "2", 0.8, 0.9),
    ):
        for channel in range(200):
            is_detector = rng.random() < share
            mis = level + rng.normal(0, 0.03) - 0.004 * is_detector
            rows.append((key, layer, channel, is_detector, mis))
    table = pd.DataFrame(rows, columns=["key", "layer", "channel", "detector", "mis"])
    found = within_layers(table.drop(columns="mis"), table.drop(columns="detector"))
    for key, own in table.groupby("key"):
        fitted = smf.ols("mis ~ detector + layer", own.astype({"detector": float})).fit()
        assert found.loc[key, "difference"] == pytest.approx(fitted.params["detector"])
    pooled = table.groupby("detector")["mis"].mean()
    assert pooled[True] - pooled[False] > 0.05 and found["difference"].abs().max() < 0.015


def test_how_much_too_good_the_best_are_is_measured_on_the_other_half():
    rng = np.random.default_rng(0)
    names = [f"recipe {number}" for number in range(30)]
    trials = pd.DataFrame(
        {"method": "structured", "rate": 0.5, "held": True, "most_important_first": False,
         "key": names, "val/top1_a": 0.7 + rng.normal(0, 0.02, 30),
         "val/top1_b": 0.7 + rng.normal(0, 0.02, 30)}
    )  # fmt: skip
    first, second = trials["val/top1_a"], trials["val/top1_b"]
    expected = (first.max() - second[first.idxmax()] + second.max() - first[second.idxmax()]) / 2
    assert optimism(trials) == pytest.approx(expected) and expected > 0.02
    assert math.isnan(optimism(trials.drop(columns="val/top1_a")))
    assert math.isnan(optimism(trials.head(1)))


def test_power_is_that_of_simulated_trainings():
    rng = np.random.default_rng(0)
    for n in (3, 5):
        values = 0.02 + rng.normal(0, 0.01, (20_000, n))
        p = stats.ttest_1samp(values, 0, axis=1).pvalue
        assert power(n) == pytest.approx((p < 0.05).mean(), abs=0.012)
        null = values - 0.02
        up = stats.ttest_1samp(null, -0.02, axis=1, alternative="greater").pvalue
        down = stats.ttest_1samp(null, 0.02, axis=1, alternative="less").pvalue
        assert power_of_none(n) == pytest.approx((np.maximum(up, down) < 0.05).mean(), abs=0.012)
    assert "3 dense networks" in power_sentence(load_study("scarce").expand())
    given = power_sentence(load_study("paper").expand())  # weights that no seed trains again
    assert "of it alone; from 3 trainings on" in given
    demo = load_study("demo").expand()
    assert "of it alone; from 3 trainings (GRID=seed=0,1,2) on" in power_sentence(demo)
    assert "GRID" not in power_sentence(demo, searches=True)
    several = power_sentence(load_study("transfer").expand())
    assert several.startswith(
        "4 pairs of network and data, each asked by itself, of each one dense"
    )
    for name in study_names():
        assert "\nAsked     " in load_study(name).purpose, name
