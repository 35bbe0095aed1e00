"""Optuna beside the grid: real Optuna throughout."""

import json
import math

import matplotlib.pyplot as plt
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState
from small_studies import small_base

from sweeps.plan.space import Choice, Search, point_of_config
from sweeps.plan.sweep import methods
from sweeps.searching.figures import search_figures
from sweeps.searching.proposals import Proposals
from trainables.config import TrainConfig, flat_params

TOP1 = {"val/top1": "max"}
SPACE = {
    "method": Choice(methods("structured", "unstructured")),
    "prune.rate": FloatDistribution(0.3, 0.9),
    "finetune.lr": FloatDistribution(1e-4, 1e-1, log=True),
}


def search(space=SPACE, objectives=TOP1, n_trials=8, **more):
    return Search(space, objectives, n_trials, **more)


def measured(config):
    """What such a trial could end with: best for structured, a rate of 0.5 and an lr of 0.01."""
    top1 = 0.9 - (config.rate - 0.5) ** 2 - 0.1 * abs(math.log10(config.finetune.lr) + 2)
    top1 -= 0.1 * (config.method != "structured")
    return {"val/top1": top1, "prune/sparsity": config.rate, "mis/mean": 0.6 + 0.1 * config.rate}


def run_all(proposals):
    """Propose and end until nothing more comes."""
    configs = []
    while (config := proposals.next()) is not None:
        configs.append(config)
        proposals.ended(config.key, measured(config))
    return configs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "search" / "proposals.jsonl"


def test_a_point_is_found_again_in_its_config_and_in_its_params():
    base = small_base()
    space = {
        **SPACE,
        "finetune.epochs": IntDistribution(1, 5),
        "schedule": Choice({"a": {}, "b": {"prune.schedule": "linear", "prune.rounds": 2}}),
        "retrain": Choice({"same": {}, "sgd": {"finetune": TrainConfig(optimizer="sgd", lr=0.5)}}),
    }
    found = Search(space, TOP1, 1)
    point = {"method": "structured", "prune.rate": 0.1 + 0.7 / 3, "finetune.lr": 1e-3 / 3}
    point |= {"finetune.epochs": 3, "schedule": "b", "retrain": "sgd"}
    config = found.config(base, point)
    assert (config.method, config.rounds, config.finetune.epochs) == ("structured", 2, 3)
    assert found.point_of(base, config.key, flat_params(config)) == point
    assert point_of_config(found, base, config) == point


@pytest.mark.parametrize(
    "change",
    [
        {"prune.rate": 0.95},  # out of range
        {"prune.granularity": "input_channel", "prune.scope": "layer"},  # no option
        {"seed": 1},  # differs in what is not searched
        {"finetune": None},
    ],
)
def test_what_is_no_point_of_the_space_is_none(change):
    base = small_base()
    assert point_of_config(search(), base, base) is not None
    assert point_of_config(search(), base, base.replace(change)) is None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Choice(()), "needs options to choose from"),
        (lambda: Choice("l1"), "needs options to choose from, got 'l1'"),
        (lambda: Choice((TrainConfig(),)), "takes values or labels with fields"),
        (lambda: search({}), "needs a space and at least one objective"),
        (lambda: search(objectives={}), "needs a space and at least one objective"),
        (lambda: search(n_trials=0), "n_trials must be a positive integer, got 0"),
        (lambda: search(objectives={"val/top1": "up"}), "must be 'max' or 'min', got 'up'"),
        (lambda: search(objectives={"val/acc": "max"}), "such as val/top1.*got 'val/acc'"),
        (lambda: search(constraints={"mis/mean": (None, None)}), "must hold something"),
        (lambda: search(constraints={"mis/mean": (0.8, 0.7)}), "must hold something"),
    ],
)
def test_nonsense_is_refused_where_it_is_written(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("searched", "sentence"),
    [
        (search({"finetune.rate": FloatDistribution(0, 1)}), "it has no 'finetune.rate'"),
        (search({"prune.lr": FloatDistribution(0, 1)}), "it has no 'prune.lr'"),
        (search({"m": Choice({"a": {"prune.scop": "layer"}})}), "it has no 'prune.scop'"),
        (search({"data.pixels": IntDistribution(32, 64)}), "data.pixels cannot be searched"),
        (search(objectives={"dissection/unique": "max"}), "needs a study that dissects"),
    ],
)
def test_a_search_that_does_not_fit_the_study_is_refused(searched, sentence):
    search().check(small_base())
    with pytest.raises(ValueError, match=sentence):
        searched.check(small_base())


def test_it_proposes_so_many_different_legal_trials_and_learns(path):
    proposals = Proposals(search(n_trials=25), small_base(), path)
    configs = run_all(proposals)
    assert len({config.key for config in configs}) == 25 and proposals.shortfall is None
    assert all(0.3 <= config.rate <= 0.9 for config in configs)
    top1 = [measured(config)["val/top1"] for config in configs]
    assert max(top1[10:]) > max(top1[:10])
    assert sum(top1[10:]) / 15 > sum(top1[:10]) / 10 + 0.02
    again = Proposals(search(n_trials=25), small_base(), path.with_name("other"))
    assert [config.key for config in run_all(again)] == [config.key for config in configs]


def test_refused_combinations_are_told_and_asked_again(path):
    # One shot has one round: of 2 x 3 combinations 1 + 2 are legal.
    space = {
        "prune.schedule": Choice(("one_shot", "iterative")),
        "prune.rounds": IntDistribution(1, 3),
    }
    proposals = Proposals(search(space, n_trials=6), small_base(), path)
    configs = run_all(proposals)
    legal = {(c.schedule, c.rounds) for c in configs}
    assert ("one_shot", 1) in legal and ("one_shot", 2) not in legal
    assert len(configs) == len(legal) < 6
    assert f"proposed {len(configs)} of 6 trials" in proposals.shortfall
    failed = proposals.study.get_trials(states=(TrialState.FAIL,))
    assert len(failed) >= 100


def test_what_could_not_run_is_not_proposed(path):
    def refuse(config):
        if config.rate > 0.5:
            raise ValueError("it would leave nothing")

    proposals = Proposals(search(n_trials=5), small_base(), path)
    proposals.refuse = refuse
    configs = run_all(proposals)
    assert len(configs) == 5 and all(config.rate <= 0.5 for config in configs)


def test_a_space_is_used_to_the_last_point_and_none_is_run_twice(path):
    space = {
        "method": Choice(methods("structured", "unstructured", "connection")),
        "prune.rate": FloatDistribution(0.3, 0.7, step=0.1),
    }
    proposals = Proposals(search(space, n_trials=40), small_base(), path)
    grid = [small_base().replace({"prune.rate": rate}) for rate in (0.3, 0.5)]
    for config in grid:
        proposals.expect(config)
    proposals.ended(grid[0].key, measured(grid[0]))
    configs = run_all(proposals)
    keys = {config.key for config in (*grid, *configs)}
    assert len(keys) == len(configs) + 2 == 15
    assert "proposed 13 of 40 trials" in proposals.shortfall


def test_it_learns_from_earlier_sweeps_and_from_nothing_else(path):
    base = small_base()
    proposals = Proposals(search(), base, path)
    known = base.replace({"finetune.lr": 0.03})
    other = base.replace({"seed": 1})
    assert proposals.learn(known.key, flat_params(known), measured(known))
    assert not proposals.learn(other.key, flat_params(other), measured(other))
    broken = base.replace({"finetune.lr": 0.05})
    nothing = {**measured(broken), "val/top1": math.nan}
    assert not proposals.learn(broken.key, flat_params(broken), nothing)
    (learned,) = proposals.finished()
    assert learned.params == {"method": "unstructured", "prune.rate": 0.5, "finetune.lr": 0.03}
    assert learned.values == [measured(known)["val/top1"]]


def test_it_goes_on_where_it_was_broken_off(path):
    base = small_base()
    first = Proposals(search(n_trials=6), base, path)
    done, unfinished = first.next(), first.next()
    with path.open("a") as file:
        file.write('\n{"key": "ab')  # the machine went down
    second = Proposals(search(n_trials=6), base, path)
    assert [config.key for config in second.configs] == [done.key, unfinished.key]
    second.learn(done.key, flat_params(done), measured(done))
    second.expect(unfinished)
    new = run_all(second)
    assert len(new) == 4 and not {done.key, unfinished.key} & {config.key for config in new}
    second.ended(unfinished.key, measured(unfinished))
    assert len(second.finished()) == 6
    assert run_all(Proposals(search(n_trials=6), base, path)) == []
    assert len(run_all(Proposals(search(n_trials=8), base, path))) == 2
    # Of another base all are other trials.
    assert Proposals(search(n_trials=6), small_base(seed=1), path).configs == []
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert len(lines) == 8


def test_a_failed_trial_teaches_nothing_and_an_unknown_one_is_no_matter(path):
    proposals = Proposals(search(), small_base(), path)
    config = proposals.next()
    proposals.ended(config.key, None)
    proposals.ended("0" * 12, {"val/top1": 1.0})
    assert proposals.finished() == []


def test_what_was_stopped_early_is_known_and_never_called_the_best(path):
    """Its accuracy is not final, however good it was; and Optuna goes on with both kinds."""
    both = search(objectives={"val/top1": "max", "prune/sparsity": "max"}, n_trials=30)
    proposals, found = Proposals(both, small_base(), path), []
    early = {"val/top1": 0.99, "prune/sparsity": 0.99, "stopping/epochs_saved": 3.0}
    for at in range(30):
        config = proposals.next()
        assert config is not None and config.key not in found
        found.append(config.key)
        proposals.ended(config.key, early if at == 1 else measured(config))
    best = {trial.user_attrs["key"] for trial in proposals.study.best_trials}
    assert best and found[1] not in best
    again = Proposals(both, small_base(), path)
    for config, key in zip(again.configs, found, strict=True):
        metrics = early if key == found[1] else measured(config)
        assert again.learn(key, flat_params(config), metrics)
    assert {trial.user_attrs["key"] for trial in again.study.best_trials} == best


def test_several_objectives_with_constraints(path):
    objectives = {"val/top1": "max", "prune/sparsity": "max", "mis/mean": "max"}
    constraints = {"val/top1": (0.6, None), "prune/sparsity": (None, 0.8)}
    proposals = Proposals(
        search(objectives=objectives, constraints=constraints, n_trials=20), small_base(), path
    )
    configs = {config.key: config for config in run_all(proposals)}
    for trial in proposals.finished():
        found = measured(configs[trial.user_attrs["key"]])
        assert trial.values == [found[name] for name in objectives]
        legal = found["val/top1"] >= 0.6 and found["prune/sparsity"] <= 0.8
        assert all(value <= 0 for value in trial.constraints.values()) == legal
        assert set(trial.constraints) == {"val/top1 >= 0.6", "prune/sparsity <= 0.8"}
    best = [measured(configs[trial.user_attrs["key"]]) for trial in proposals.study.best_trials]
    assert best and all(b["val/top1"] >= 0.6 and b["prune/sparsity"] <= 0.8 for b in best)


@pytest.mark.parametrize("n_objectives", [1, 2, 3])
def test_optunas_own_plots(path, n_objectives, recwarn):
    names = ["val/top1", "prune/sparsity", "mis/mean"][:n_objectives]
    found = search(objectives=dict.fromkeys(names, "max"), n_trials=6)
    proposals = Proposals(found, small_base(), path)
    assert search_figures(proposals.study) == {}
    run_all(proposals)
    figures = search_figures(proposals.study)
    kinds = ("history", "importances", "slices")
    if n_objectives == 1:
        assert set(figures) == {f"search_{kind}" for kind in kinds}
    else:
        each = {f"search_{k}_{n.replace('/', '_')}" for k in kinds for n in names}
        assert set(figures) == each | {"search_pareto_front"}
    for figure in figures.values():
        figure.canvas.draw()
        plt.close(figure)
    # What other tests left open is closed, and told of, whenever Python gets round to it.
    told = [str(w.message) for w in recwarn if not issubclass(w.category, ResourceWarning)]
    assert told == []


def test_importance_is_of_what_makes_the_objective_good(path):
    """Optuna's measure looks at low values unless it is told otherwise."""
    objectives = {"val/top1": "max", "prune/sparsity": "max"}
    proposals = Proposals(search(objectives=objectives, n_trials=30), small_base(), path)
    while (config := proposals.next()) is not None:
        # High only where the lr is right; low for any other reason.
        good = abs(math.log10(config.finetune.lr) + 2) < 0.5
        value = 0.9 if good else 0.5 - 0.4 * (config.method == "structured")
        proposals.ended(config.key, {"val/top1": value, "prune/sparsity": config.rate})
    figure = search_figures(proposals.study)["search_importances_val_top1"]
    axes = figure.axes[0]
    shares = dict(
        zip(
            [label.get_text() for label in axes.get_yticklabels()],
            [bar.get_width() for bar in axes.patches],
            strict=True,
        )
    )
    assert max(shares, key=shares.get) == "finetune.lr"
    plt.close("all")
