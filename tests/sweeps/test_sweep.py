import dataclasses
from collections import defaultdict

import pytest
from small_studies import small_base, small_sweep

from mis import PROTOCOLS
from pruning import CRITERIA, GRANULARITIES, SCHEDULES
from sweeps.plan.controls import DRAWS, setting
from sweeps.plan.names import Names, unique_labels
from sweeps.plan.planner import make_plan
from sweeps.plan.preview import axes_summary, plan_summary
from sweeps.plan.settings import with_settings
from sweeps.plan.sweep import Grid, Sweep, axis, methods
from sweeps.studies import load_study, study_names
from sweeps.studies.demo import HARDEST, IN_ROUNDS, LEARNING_RATES
from trainables.config import DissectionConfig, NetworkConfig
from trainables.methods import METHODS
from trainables.networks import build_network
from trainables.rounds.pruned import PrunedNetwork


def kinds(configs):
    return [(c.method, c.rate, c.schedule, c.retraining, c.seed) for c in configs]


def test_a_sweep_is_its_grid_and_the_baselines():
    configs = small_sweep().expand()
    assert kinds(configs)[:4] == [
        ("dense", 0, "none", "none", 0),
        ("dense", 0, "none", "finetune", 0),
        ("untrained", 0, "none", "recalibrate", 0),
        ("rotated", 0, "none", "none", 0),
    ]
    assert len(configs) == 4 + 4 + 2 + 2 * 3 + DRAWS  # over all layers: of unstructured alone
    assert len({c.key for c in configs}) == len(configs)
    assert len({c.label for c in configs}) == len(configs)


def test_chance_and_the_most_important_first_are_controls_at_the_least_cost():
    configs = small_sweep().expand()
    chance = [c for c in configs if c.prune and is_uniform(c)]
    worst = [c for c in configs if c.prune and c.prune.most_important_first]
    for controls in (chance, worst):
        assert {(c.method, c.rate, c.retraining) for c in controls} == {
            ("structured", 0.5, "finetune"),
            ("connection", 0.5, "finetune"),
            ("unstructured", 0.5, "recalibrate"),
        }
        assert {c.schedule for c in controls} == {"one_shot"}
    demo = load_study("demo").expand()
    at = {(c.method, c.rate) for c in demo if c.prune and is_uniform(c)}
    assert at == {(c.method, c.rate) for c in demo if c.prune}
    meant = [c for c in demo if c.prune and c.prune.criterion != "random"]
    smallest = {}
    for c in sorted(meant, key=lambda c: -c.rate):
        smallest[c.method, c.prune.criterion] = c.rate
    worst = [c for c in demo if c.prune and c.prune.most_important_first]
    assert {(c.method, c.prune.criterion): c.rate for c in worst} == smallest
    assert len(worst) == len(smallest) > 4


def is_uniform(config):
    return config.prune.criterion == "random" and config.prune.counts_of is None


def numbers_of(configs):
    """What each control within layers is beside: criterion, its choices, rate; and its draws."""
    found = defaultdict(list)
    for c in configs:
        if c.prune and c.prune.counts_of:
            p = c.prune
            what = (p.counts_of, p.change_of, p.norm, p.method, p.rate, setting(c))
            found[what].append(p.draw)
    return found


def test_over_all_layers_every_criterion_has_chance_with_its_own_numbers_per_layer():
    criteria = {
        "l1": {"prune.criterion": "l1"},
        "taylor": {"prune.criterion": "taylor"},
        "of the logit": {"prune.criterion": "taylor", "prune.change_of": "logit"},
        "raw": {"prune.criterion": "taylor", "prune.normalise": "none"},
    }
    axes = {
        "method": methods("structured_global", "structured", "unstructured"),
        "criterion": criteria,
        "rate": axis("prune.rate", (0.2, 0.6)),
    }
    grid = Grid(axes, set={"finetune": None})
    found = numbers_of(Sweep("x", "", small_base(), (grid,)).expand())
    assert len(found) == 2 * 4 * 2 and all(sorted(d) == [0, 1, 2] for d in found.values())
    trained = Sweep("x", "", small_base(), (dataclasses.replace(grid, set={}),)).expand()
    assert all(draws == [0] for draws in numbers_of(trained).values())
    assert sum(c.prune.most_important_first for c in trained if c.prune) == 3 * 2


SETTINGS = {
    "network.name": ("googlenet", "vgg16_bn"),
    "data.seed": (0, 1),
    "data.probe_images": (60, 61),
    "score.similarity": ("efficientnet_lite0", "pixels"),
    "score.n_tasks": (5, 6),
    "dissection": (None, DissectionConfig(), DissectionConfig(iou=0.1)),
    "seed": (0, 1),
    "compute.precision": ("fp32", "bf16"),
    "prune.exclude": ((), ("conv2",)),
    "prune.batchnorm_follows": (True, False),
}


@pytest.mark.parametrize("field", SETTINGS)
def test_every_setting_has_its_own_controls(field):
    """An axis over what is not pruning: not the controls of its first value for all."""
    grid = Grid({"x": axis(field, SETTINGS[field])}, set={"prune.rate": 0.3, "finetune": None})
    configs = Sweep("x", "", small_base(), (grid,)).expand()
    kinds_of = {
        "chance": lambda c: c.prune and is_uniform(c),
        "within layers": lambda c: c.prune and c.prune.counts_of and c.prune.draw == 0,
        "reversed": lambda c: c.prune and c.prune.most_important_first,
    }
    for name, is_kind in kinds_of.items():
        assert sum(map(bool, map(is_kind, configs))) == len(SETTINGS[field]), name


def test_every_setting_has_its_own_retrained_network():
    """Also where one network is pruned in rounds alone and another at once."""
    rounds = {"prune.schedule": "iterative", "prune.rounds": 2}
    points = {"once": {}, "rounds": {"network.name": "vgg16_bn", **rounds}}
    configs = Sweep("x", "", small_base(), (Grid({"how": points}),), controls=False).expand()
    retrained = {c.network.name: c.n_epochs for c in configs if c.label == "dense retrained"}
    assert retrained == {"googlenet": 1, "vgg16_bn": 2}


def test_labels_that_repeat_say_what_tells_them_apart():
    labels = unique_labels(load_study("paper").expand())
    assert "structured 0.2 one_shot, epochs 10, lr 0.001, optimizer adam" in labels.values()
    assert set(unique_labels(small_sweep().expand()).values()) == {
        c.label for c in small_sweep().expand()
    }


def test_what_a_search_proposes_is_told_apart_by_what_it_searches():
    first, *alike = [small_base(**{"finetune.lr": lr}) for lr in (1e-3, 2e-3, 0.0020001)]
    names = Names([first], alike[:1], {"finetune.lr", "prune.rate"})
    assert names.of(first) == "unstructured 0.5 one_shot"
    assert names.by_key[alike[0].key] == "unstructured 0.5 one_shot, lr 0.002"
    assert names.of(alike[1]) == f"unstructured 0.5 one_shot, lr 0.002, {alike[1].key[:6]}"
    assert [names.of(config) for config in (first, *alike)] == list(names.by_key.values())


def test_every_seed_has_its_own_baselines():
    sweep = small_sweep()
    grid = dataclasses.replace(
        sweep.grids[0], axes={**sweep.grids[0].axes, "seed": axis("seed", (0, 1))}
    )
    configs = dataclasses.replace(sweep, grids=(grid,), controls=False).expand()
    assert sum(c.method == "dense" and c.retraining == "none" for c in configs) == 2
    assert sum(c.method == "untrained" for c in configs) == 2
    assert len(configs) == 2 * (3 + 4)


def test_the_control_trains_as_long_as_the_trials_do():
    control = next(c for c in small_sweep().expand() if c.label == "dense retrained")
    assert control.finetune == small_base().finetune
    iterative = dataclasses.replace(
        small_sweep(), grids=(Grid({}, set={"prune.schedule": "iterative", "prune.rounds": 4}),)
    )
    control = next(c for c in iterative.expand() if c.label == "dense retrained")
    assert control.n_epochs == 4


def test_the_longest_trials_start_first():
    epochs = [c.n_epochs for c in small_sweep().expand()[4:10]]
    assert epochs == sorted(epochs, reverse=True)


def criteria_of(granularity):
    kind = GRANULARITIES[granularity].kind
    return [name for name, criterion in CRITERIA.items() if kind in criterion.knows]


def test_a_plain_grid_takes_every_way_to_prune_and_to_retrain():
    schedules = {"one_shot": {"prune.schedule": "one_shot"}}
    for name in set(SCHEDULES) - set(schedules):
        schedules[name] = {"prune.schedule": name, "prune.rounds": 3}
    rewound = {"finetune": None, "rewind_epoch": 1}
    retraining = {
        "finetune": {},
        "none": {"finetune": None},
        "rewind_weights": {**rewound, "rewind": "weights"},
        "rewind_learning_rate": {**rewound, "rewind": "learning_rate"},
    }
    grids = [
        Grid(
            {
                "method": methods(name),
                "criterion": axis("prune.criterion", criteria_of(method["granularity"])),
                "schedule": schedules,
                "retraining": retraining,
            }
        )
        for name, method in METHODS.items()
    ]
    configs = Sweep("x", "", small_base(), grids, controls=False).expand()
    pruned = [c for c in configs if c.prune]
    assert len(pruned) == len({c.key for c in pruned}) == sum(len(grid.points()) for grid in grids)
    assert {c.retraining for c in pruned} == set(retraining)


def test_an_empty_axis_is_refused():
    sweep = Sweep("x", "", small_base(), (Grid({"rate": axis("prune.rate", ())}),))
    with pytest.raises(ValueError, match="study x expands to no trial"):
        sweep.expand()


def test_settings_reach_every_trial_that_has_the_field():
    configs = small_sweep().expand({"finetune.epochs": 3, "seed": 7})
    assert {c.finetune.epochs for c in configs if c.finetune} == {3}
    assert {c.seed for c in configs} == {7}
    assert len(configs) == 16 + DRAWS
    configs = small_sweep().expand({"recalibrate_images": 32})
    assert {c.recalibrate_images for c in configs} == {0, 32}
    assert sum(c.recalibrate_images == 32 for c in configs) == 4 + DRAWS
    configs = small_sweep().expand({"network.recipe.epochs": 9})
    assert {c.network.recipe.epochs for c in configs if c.network.recipe} == {9}


def test_settings_that_make_trials_equal_merge_them():
    configs = small_sweep().expand({"prune.granularity": "weight", "prune.scope": "layer"})
    assert len(configs) == 4 + 2 + 2 + 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"finetune.epoch": 3}, "TrainConfig has no field 'epoch'; it has aux_weight, batch_size"),
        ({"finetun.epochs": 3}, "TrialConfig has no field 'finetun'"),
        ({"prune.rate": 1.0}, r"rate must lie in \(0, 1\), got 1.0"),
        ({"prune.rate": "high"}, "PruneConfig.rate must be a float or None, got 'high'"),
        ({"network.checkpoint": "x"}, "NetworkConfig.checkpoint must fit weights='train'"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        small_sweep().expand(settings)


TOGETHER = [
    {"network.weights": "file", "network.checkpoint": "x.pt"},
    {"finetune.lr_schedule": "step", "finetune.lr_milestones": (1,), "finetune.epochs": 2},
    {"prune.schedule": "linear", "prune.rounds": 3},
    {"prune.criterion": "lrp", "prune.samples_per_class": 5, "prune.lrp.target": "argmax"},
    {"finetune": None, "rewind": "weights", "rewind_epoch": 1},
    {"finetune.momentum": 0.0, "finetune.nesterov": False, "finetune.optimizer": "sgd"},
    {"data.pixels": 48, "data.name": "image_folder", "data.packed": 64},
    {"network.name": "resnet50", "network.weights": "file", "network.checkpoint": "r.pt"},
]


@pytest.mark.parametrize("settings", TOGETHER, ids=lambda s: next(iter(s)))
def test_settings_are_set_together_in_any_order(settings):
    keys = {
        frozenset(c.key for c in small_sweep().expand(dict(order)))
        for order in (list(settings.items()), list(settings.items())[::-1])
    }
    assert len(keys) == 1
    pruned = [
        c for c in small_sweep().expand(settings) if c.prune and c.prune.criterion != "random"
    ]
    name, value = next(iter(settings.items()))
    found = {getattr(c, name.split(".")[0]) for c in pruned if not isinstance(c, str)}
    if "." in name:
        found = {getattr(part, name.split(".")[1]) for part in found if part is not None}
    assert found == {value}


def test_a_study_with_ready_weights_can_train_its_own_by_a_recipe():
    recipe = {"network.recipe.epochs": 3, "network.weights": "train"}
    configs = load_study("paper").with_data("/x").expand(recipe)
    assert {c.network.recipe.epochs for c in configs if c.network.weights == "train"} == {3}
    assert {c.network.weights for c in configs} == {"train", "random"}


def test_controls_stay_what_they_are_whatever_is_set():
    settings = {"network.weights": "file", "network.checkpoint": "x.pt", "finetune.epochs": 3}
    dense, retrained, untrained = small_sweep().expand(settings)[:3]
    assert (dense.label, retrained.label) == ("dense", "dense retrained")
    assert dense.network == retrained.network and dense.network.checkpoint == "x.pt"
    assert untrained.network.weights == "random" and untrained.network.checkpoint is None
    assert untrained.label == "untrained" and untrained.recalibrate_images == 64
    iterative = dataclasses.replace(
        small_sweep(), grids=(Grid({}, set={"prune.schedule": "iterative", "prune.rounds": 4}),)
    )
    control = next(c for c in iterative.expand({"finetune.epochs": 2}) if c.label.endswith("ined"))
    assert control.n_epochs == 8  # as long as the pruned ones
    rewound = small_sweep().expand({"finetune": None, "rewind": "learning_rate", "rewind_epoch": 1})
    assert {c.rewind for c in rewound if c.label in ("dense", "untrained")} == {"none"}
    assert {c.rewind for c in rewound if "as pruned" in c.label} == {"none"}


def test_a_criterion_without_images_leaves_the_settings_of_images_behind():
    scarce = load_study("scarce")
    assert {c.prune.criterion for c in scarce.expand({"prune.criterion": "l2"}) if c.prune} == {
        "l2",
        "random",
    }


def test_an_axis_takes_other_values():
    plan = make_plan(small_sweep(), grid={"rate": [0.3, 0.6], "schedule": ["one_shot"]})
    assert {c.rate for c in plan.configs if c.finetune and c.prune} == {0.3, 0.6}
    assert {c.schedule for c in plan.configs if c.prune} == {"one_shot"}
    with pytest.raises(
        ValueError, match="axes method, rate, recalibrate_images, schedule, seed, got 'x'"
    ):
        make_plan(small_sweep(), grid={"x": [1]})
    with pytest.raises(ValueError, match="schedule must be one of one_shot, iterative, got 'once'"):
        make_plan(small_sweep(), grid={"schedule": ["once"]})
    with pytest.raises(ValueError, match="method must be one of unstructured, .* got 'random'"):
        make_plan(small_sweep(), grid={"method": ["random"]})


def test_every_study_has_more_trainings_for_the_asking():
    one, two = make_plan(small_sweep()), make_plan(small_sweep(), grid={"seed": [0, 4]})
    of = {seed: [c for c in two.configs if c.seed == seed] for seed in (0, 4)}
    assert {c.key for c in of[0]} == set(one.keys)  # what is done stays done
    again = {c.replace({"seed": 0}).key for c in of[4]}
    assert again == set(one.keys) and len(two.configs) == 2 * len(one.configs)
    # Where some grids of a study have the axis, the others are left as they are.
    some = load_study("scarce")
    assert {c.seed for c in make_plan(some, grid={"seed": [5, 6]}).configs} == {5, 6}
    with pytest.raises(ValueError, match="an axis is empty"):
        make_plan(small_sweep(), grid={"seed": []})
    with pytest.raises(ValueError, match="seed must be an int, got 'x'"):
        make_plan(small_sweep(), grid={"seed": ["x"]})
    with pytest.raises(ValueError, match="seed must not be an axis of a study that searches"):
        make_plan(load_study("search"), grid={"seed": [0, 1]})


def test_data_goes_with_folders_only(tmp_path):
    with pytest.raises(ValueError, match="small generates its images"):
        make_plan(small_sweep(), data=str(tmp_path))
    with pytest.raises(ValueError, match="data folder must exist"):
        make_plan(load_study("paper"), data=str(tmp_path / "nowhere"))


def test_unknown_methods_and_studies_list_the_known():
    with pytest.raises(ValueError, match="got 'lottery'"):
        methods("lottery")
    with pytest.raises(ValueError, match="STUDY must be one of demo, .*paper.*, got 'nope'"):
        load_study("nope")


@pytest.mark.parametrize("name", study_names())
def test_every_study_expands_and_says_what_it_is_for(name):
    study = load_study(name)
    assert study.name == name
    for word in ("Purpose", "Source", "Expected", "Cost", "Command"):
        assert f"\n{word}" in study.purpose
    configs = study.expand()
    labels = unique_labels(configs)
    assert len(set(labels.values())) == len(configs)


def test_the_demo_is_the_grid_it_promises():
    configs = load_study("demo").expand()
    found = kinds(configs)
    for method, n in {"unstructured": 1, "structured": 5, "connection": 1}.items():
        pruned = {"none": method == "unstructured"}
        for retraining, n_rates in ({"finetune": n, "recalibrate": n} | pruned).items():
            rates = {r for m, r, *_, how, _ in found if (m, how) == (method, retraining)}
            assert len(rates) == n_rates
    for schedule in ("iterative", "one_shot"):  # as many epochs as at once
        assert ("structured", IN_ROUNDS, schedule, "finetune", 0) in found
    trained = [c for c in configs if c.retrain is not None]
    assert {c.n_epochs for c in trained} == {3}
    assert {c.recalibrate_images for c in trained} == {512}


def test_the_demo_stops_recipes_of_one_arm_and_nothing_else():
    study = load_study("demo")
    arms = defaultdict(list)
    for config in study.expand():
        if config.n_epochs and config.prune is not None:
            arms[study.strata().of(config)].append(config)
    (compete,) = [arm for arm in arms.values() if len(arm) > 1]
    assert {(c.method, c.rate) for c in compete} == {("structured", HARDEST)}
    assert {c.finetune.lr for c in compete} == set(LEARNING_RATES)
    assert len(compete) >= study.stopping.min_peers


def test_the_paper_has_its_recipe():
    base = load_study("paper").base
    recipe = base.finetune
    assert (recipe.epochs, recipe.batch_size, recipe.optimizer) == (50, 128, "sgd")
    assert (recipe.lr, recipe.momentum, recipe.weight_decay, recipe.lr_gamma) == (
        0.01,
        0.9,
        1e-4,
        0.9,
    )
    assert recipe.aux_weight == 0.3 and base.network.aux_heads and base.prune.held
    assert base.score.similarity == "dreamsim"


def test_another_criterion_is_compared_with_chance_as_the_first_was():
    def labelled(configs, word):
        return [c for c in configs if c.prune and word in c.label]

    before, after = (small_sweep().expand(s) for s in ({}, {"prune.criterion": "l2"}))
    assert {c.prune.criterion for c in after if c.prune} == {"l2", "random"}
    for word in ("random", "most important first"):
        assert len(labelled(after, word)) == len(labelled(before, word)) > 0


def test_units_are_read_before_their_relu_as_the_papers_read_them():
    for name in ("paper", "released"):
        sweep = load_study(name)
        for base in filter(None, (sweep.base, sweep.on_folder)):
            assert base.score.read_at == PROTOCOLS[base.score.protocol].read_at == "before_relu"


def test_scarce_on_a_folder_is_of_a_pretrained_network_and_of_draws_of_its_images():
    """Yeom et al.'s second scenario: every criterion beside chance of its very own numbers."""
    sweep = load_study("scarce").with_data("/ten/classes")
    assert sweep.name == "scarce" and sweep.base.data.path == "/ten/classes"
    configs = sweep.expand()
    assert {c.network.weights for c in configs} == {"imagenet", "random"}
    assert all(c.network.recipe is None and c.retrain is None for c in configs)
    filters = [c for c in configs if c.prune and c.method == "structured_global"]
    keys = {c.key for c in filters}
    own = [c for c in filters if c.prune.by.looks_at_images and not c.prune.most_important_first]
    own = [c for c in own if c.prune.counts_of is None]
    assert {c.prune.samples_per_class for c in own} == {1, 2, 5, 10, 20, 50, 100, 200}
    assert {c.seed for c in own} == set(range(5))
    for config in own:
        chance = {"prune.criterion": "random", "prune.counts_of": config.prune.criterion}
        assert config.replace(chance).key in keys


def test_the_released_scores_stand_beside_scores_that_differ_by_their_faults_alone():
    configs = load_study("released").expand()
    faulty = [c for c in configs if c.score.protocol == "von_rad2024_released"]
    assert {c.method for c in faulty} == {"structured", "dense", "untrained", "rotated"}
    assert {c.finetune.optimizer for c in faulty if c.prune} == {"sgd", "adam"}
    others = {c.key for c in configs}
    for config in faulty:
        assert config.replace({"score.protocol": "von_rad2024"}).key in others


def test_what_the_papers_ran_is_in_a_study():
    """Connection sparsity in rounds, retrained after each; and relevance of single weights."""
    for name in ("paper", "released"):
        rounds = {
            (c.prune.held, c.prune.criterion)
            for c in load_study(name).expand()
            if c.method == "connection" and c.prune.schedule == "iterative" and c.finetune
        }
        assert (True, "l1") in rounds, name
    assert (False, "l1") in rounds  # released: as it was, and held
    scarce = [c.prune for c in load_study("scarce").expand() if c.prune]
    of_weights = {p.criterion for p in scarce if p.granularity == "weight"}
    assert {"lrp", "l1", "random"} <= of_weights


def test_first_order_criteria_stand_in_the_demo_as_published_and_of_the_logit():
    shown = [c.prune for c in load_study("demo").expand() if c.prune and c.method == "structured"]
    shown = {
        (p.criterion, p.change_of) for p in shown if p.rate == 0.2 and not p.most_important_first
    }
    assert {("taylor", "loss"), ("taylor", "logit")} <= shown
    assert {"l1", "lrp", "random"} <= {criterion for criterion, _ in shown}


def test_too_few_images_are_refused_when_the_study_is_planned():
    with pytest.raises(ValueError, match="needs at least 400 probe images, there are 300"):
        make_plan(load_study("demo"), settings={"data.probe_images": 300})
    few = {"data.train_images": 200}
    with pytest.raises(ValueError, match="recalibrate_images must be at most the 200 training"):
        make_plan(load_study("demo"), settings={**few, "recalibrate_images": 201})
    adapted, given = (
        make_plan(load_study("demo"), settings=settings)
        for settings in (few, {**few, "recalibrate_images": 200})
    )
    assert adapted.keys == given.keys  # the study's own number is at most what there is


def test_a_setting_is_of_the_trials_that_have_its_stage():
    """That of SGD ended in a KeyError where some trials are not trained again."""
    configs = load_study("transfer").expand()
    changed = with_settings(configs, {"finetune.momentum": 0.8})
    assert {c.finetune.momentum for c in changed if c.finetune is not None} == {0.8}
    assert len(changed) == len(configs) and any(c.finetune is None for c in changed)
    with pytest.raises(ValueError, match="no trial of this study has a finetune.momentum to set"):
        with_settings([c for c in configs if c.finetune is None], {"finetune.momentum": 0.8})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("finetune.epochs", "nope"), ("network.recipe.epochs", None), ("prune.rounds", "nope")),
        *(("prune.schedule", 0), ("prune.criterion", None), ("prune.counts_of", True)),
        *(("network.name", 3), ("data.name", 3), ("scores", 3), ("score.similarity", None)),
        *(("finetune.head_epochs", "x"), ("finetune.distill", "nope")),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_one_sentence(name, value):
    """It ended in a TypeError where it was asked whether the setting does anything."""
    last = name.rpartition(".")[2]
    with pytest.raises(ValueError, match=rf"Config\.{last} must be "):
        with_settings(load_study("demo").expand(), {name: value})


def test_a_plan_counts_the_dense_network_and_tells_the_axes():
    settings = {"data.train_images": 600, "network.recipe.epochs": 7}
    plan = make_plan(load_study("demo"), settings=settings)
    assert "epochs of 600 images in all, after 7 of the dense network" in plan_summary(plan, ())
    axes = axes_summary(plan.sweep)
    assert "method (unstructured, structured, connection)" in axes
    assert "criterion (l1, taylor, lrp)" in axes and "rate (0.9, 0.2, 0.35" in axes
    taken = axes_summary(plan.sweep, {"prune.rate", "prune.granularity"})
    assert "rate (one value, by SET)" in taken and "method (unstructured, str" in taken


def test_unstructured_pruning_has_the_pool_that_von_rad_and_seuffert_had():
    """Every convolution but five and every Linear layer, weights and biases; no other method."""
    configs = [c for c in load_study("paper").expand() if c.prune is not None]
    for config in configs:
        theirs = config.method == "unstructured"
        assert (config.prune.layers == "conv+linear") == config.prune.biases == theirs
    network = build_network(NetworkConfig(weights="random", aux_heads=True), 1_000)
    theirs = next(c for c in configs if c.method == "unstructured")
    weights = PrunedNetwork(network, theirs.prune).weights
    assert len(weights) == 54 + 2 * 5
    assert sum(name.endswith(".bias") for name in weights) == 5
