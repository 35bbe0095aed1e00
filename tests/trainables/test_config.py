"""What a trial is: its key, its checks, its names."""

import dataclasses
import itertools
import math
from dataclasses import fields, is_dataclass
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from mis.score.protocols import PROTOCOLS
from pruning import (
    GRANULARITIES,
    NORMS,
    SCOPES,
    TARGETS,
    LrpRules,
)
from trainables.config import (
    ComputeConfig,
    DataConfig,
    DissectionConfig,
    GivenConfig,
    NetworkConfig,
    PruneConfig,
    ScoreConfig,
    SensitivityConfig,
    TrainConfig,
    TrialConfig,
    flat_params,
)
from trainables.config.effects import has_effect, with_room
from trainables.fields import UNSAID, Checked, identity
from trainables.methods import METHODS

BASE = TrialConfig(prune=PruneConfig(schedule="iterative", rounds=3), finetune=TrainConfig())
FOLDER = DataConfig(name="image_folder", pixels=224, train_images=None, val_images=None)

PRETRAINED = NetworkConfig(weights="imagenet", recipe=TrainConfig(epochs=90))

# A changed key orphans finished work: a launched sweep runs all of its trials again, and the
# report shows old and new side by side. Change one only with KEY_VERSION, and say why.
GOLDEN = {  # read after the ReLU, as everything was before it could be chosen
    "750de58e8d7b": TrialConfig(),
    "804630380244": BASE.replace({"prune.granularity": "filter", "prune.scope": "layer"}),
    "8bbe80ac60b9": TrialConfig(finetune=TrainConfig(epochs=3), seed=2),
    "67b192f8ce12": TrialConfig(
        data=FOLDER,
        network=NetworkConfig(weights="imagenet", aux_heads=True),
        prune=PruneConfig(rate=0.8, exclude=("conv2", "conv3")),
        finetune=TrainConfig(epochs=50, optimizer="sgd", lr=0.01, lr_schedule="exponential"),
        score=ScoreConfig(similarity="dreamsim"),
    ),
}


AFTER = {"score.read_at": "relu"}


@pytest.mark.parametrize("key", GOLDEN)
def test_keys_stay_what_they_are(key):
    assert GOLDEN[key].replace(AFTER).key == key
    assert GOLDEN[key].key != key


def test_units_are_read_as_every_paper_reads_them():
    assert {protocol.read_at for protocol in PROTOCOLS.values()} == {ScoreConfig().read_at}
    assert set(PROTOCOLS) == set(get_args(get_type_hints(ScoreConfig)["protocol"]))


def test_a_default_that_changed_changes_the_keys_that_relied_on_it():
    """What is read, or dissected, as it was before has the key that it had before."""
    dissected = TrialConfig(dissection=DissectionConfig())
    assert dissected.replace({**AFTER, "dissection.aligned": False}).key == "d362b4c2cf1b"
    keys = {dissected.replace({**AFTER, "dissection.aligned": a}).key for a in (True, False)}
    assert len(keys) == 2
    assert TrialConfig().key != TrialConfig(score=ScoreConfig(read_at="relu")).key
    for old in ("conv", "batchnorm"):
        with pytest.raises(ValueError, match=f"one of before_relu, relu, got {old!r}"):
            ScoreConfig(read_at=old)


def leaves(config, prefix=""):
    """(dotted name, is a place, type, value) of every field that is no dataclass."""
    hints = get_type_hints(type(config))
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
        else:
            place = item.metadata.get("place", False)
            yield f"{prefix}{item.name}", place, hints[item.name], value


def another(hint, value):
    """A legal value besides `value`."""
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if choice not in (value, "one_shot")][-1]
    if get_origin(hint) is tuple:
        return ("conv2",)
    kind = next(kind for kind in (*get_args(hint), hint) if kind is not type(None))
    return {
        bool: lambda: not value,
        int: lambda: (value or 0) + 1,
        float: lambda: (value or 0.2) / 2,
        str: lambda: "x",
    }[kind]()


LRP = {"prune.criterion": "lrp"}
STEP = {"lr_schedule": "step", "lr_milestones": (1,)}
GIVEN = {"network.weights": "imagenet"}
ALONE = {  # what cannot change alone, or has one value only
    "network.weights": {"network.weights": "random", "network.recipe": None},
    "network.checkpoint": None,
    "network.head": {**GIVEN, "network.head": "new"},
    "network.kept_classes": {
        **{"data.name": "image_folder", "data.path": "/a"},
        **{**GIVEN, "network.head": "kept", "network.kept_classes": (3,)},
    },
    "network.entry": {
        **{"network.weights": "file", "network.checkpoint": "/a.pt", "network.entry": "ema"}
    },
    "network.recipe.head_epochs": {
        **GIVEN,
        "network.recipe.head_epochs": 1,
        "network.recipe.epochs": 2,
    },
    "network.recipe.body_lr": {**GIVEN, "network.recipe.body_lr": 1e-5},
    "network.recipe.frozen_batchnorm": {**GIVEN, "network.recipe.frozen_batchnorm": True},
    "finetune.head_epochs": None,
    "finetune.body_lr": None,
    "network.recipe.distill": None,
    "network.recipe.distill_temperature": None,
    "network.recipe.last_epochs": None,
    "finetune.distill_temperature": {"finetune.distill": 0.5, "finetune.distill_temperature": 2.0},
    "finetune.last_epochs": {
        "prune.schedule": "linear",
        "prune.rounds": 2,
        "finetune.last_epochs": 1,
    },
    "data.packed": {"data.name": "image_folder", "data.path": "/a", "data.packed": 73},
    "prune.criterion": {"prune.criterion": "l2"},
    "prune.granularity": {"prune.granularity": "filter"},
    "prune.samples_per_class": {"prune.criterion": "taylor", "prune.samples_per_class": 3},
    "prune.change_of": {"prune.criterion": "taylor", "prune.change_of": "logit"},
    "prune.target": {"prune.granularity": "filter", "prune.rate": None, "prune.target": "macs=0.5"},
    "prune.round_to": {"prune.granularity": "filter", "prune.round_to": 8},
    "prune.rates": {"prune.scope": "layer", "prune.rate": None, "prune.rates": ("a=0.5",)},
    "prune.rates_factor": {
        **{"prune.scope": "layer", "prune.rate": None, "prune.rates": ("a=0.5",)},
        "prune.rates_factor": 0.5,
    },
    "prune.normalise": {"prune.normalise": "l2"},
    "prune.counts_of": {"prune.criterion": "random", "prune.counts_of": "l1"},
    "prune.draw": {"prune.criterion": "random", "prune.draw": 1},
    "prune.lrp.rule": {**LRP, "prune.lrp.rule": "alpha2beta1"},
    "prune.lrp.head": {**LRP, "prune.lrp.head": "zplus"},
    "prune.lrp.bias": {**LRP, "prune.lrp.bias": "keep"},
    "prune.lrp.target": {**LRP, "prune.lrp.target": "argmax"},
    "prune.lrp.reduce": {**LRP, "prune.lrp.reduce": "signed"},
    "prune.lrp.stabilizer": {**LRP, "prune.lrp.stabilizer": 1e-4},
    "rewind": {"finetune": None, "rewind": "weights"},
    "rewind_epoch": {
        "finetune": None,
        "rewind": "weights",
        "network.recipe.epochs": 3,
        "rewind_epoch": 2,
    },
    "recalibrate_images": {"finetune": None, "recalibrate_images": 7},
    "dissection": {"dissection": DissectionConfig()},
    "sensitivity": {"prune": None, "finetune": None, "sensitivity": SensitivityConfig()},
    "given": {"prune": None, "finetune": None, "given": GivenConfig(path="/a.pt", digest="x")},
    "network.name": {"network.name": "resnet18"},
    "network.code": {"network.name": "my.nets:small", "network.code": "x"},
    "network.aux_heads": {"network.aux_heads": True},
    "network.digest": None,
    "data.name": {"data": FOLDER},
    "data.code": {"data.name": "my.data:load", "data.code": "x"},
    "prune.code": None,  # looks at the class: test_own_criterion.py
    "prune.schedule": {"prune.schedule": "cubic"},
    "prune.schedule_code": None,  # looks at the function: test_own_functions.py
    "scores": {"scores": ("mis", "locality")},
    "scores_code": None,  # looks at the class: test_beside.py
    "score.rotated": {"prune": None, "finetune": None, "score.rotated": True},
    "score.similarity": {"score.similarity": "pixels"},
    "score.code": {"score.similarity": "my.spaces:mine", "score.code": "x"},
    "data.val_share": {"data": dataclasses.replace(FOLDER, val_share=0.3)},
    "data.digest": {"data": dataclasses.replace(FOLDER, digest="x")},
    "data.broken_images": {"data": dataclasses.replace(FOLDER, broken_images="skip")},
    "score_every_round": {"score_every_round": True},
    **{
        f"{recipe}.{name}": {f"{recipe}.optimizer": "sgd", f"{recipe}.{name}": value}
        for recipe in ("network.recipe", "finetune")
        for name, value in (("momentum", 0.5), ("nesterov", True))
    },
    **{
        f"{recipe}.lr_gamma": {f"{recipe}.lr_schedule": "exponential", f"{recipe}.lr_gamma": 0.5}
        for recipe in ("network.recipe", "finetune")
    },
    **{
        f"{recipe}.aux_weight": {"network.aux_heads": True, f"{recipe}.aux_weight": 0.1}
        for recipe in ("network.recipe", "finetune")
    },
    **{f"{recipe}.lr_milestones": None for recipe in ("network.recipe", "finetune")},
    **{
        f"{recipe}.lr_schedule": {f"{recipe}.{name}": value for name, value in STEP.items()}
        for recipe in ("network.recipe", "finetune")
    },
}


def test_every_field_that_says_what_is_computed_changes_the_key():
    keys = {"base": BASE.key, "as pruned": BASE.replace({"finetune": None}).key}
    for name, place, hint, value in leaves(BASE):
        overrides = ALONE.get(name, {name: None})
        if overrides is None or place:
            continue
        if name not in ALONE:
            overrides = {name: another(hint, value)}
        keys[name] = BASE.replace(overrides).key
    assert len(keys) > 45
    same = [(a, b) for a, b in itertools.combinations(keys, 2) if keys[a] == keys[b]]
    assert same == []


MAPS = {"prune.granularity": "filter", "prune.criterion": "taylor"}
ALIKE = [  # (criterion, scope, how a layer's scores are normalised unless told otherwise)
    ("taylor", "global", "l2"),
    ("gradient", "global", "l2"),
    ("taylor", "layer", "none"),
    ("lrp", "global", "none"),
    ("l1", "global", "none"),
]


@pytest.mark.parametrize(("criterion", "scope", "norm"), ALIKE)
def test_to_name_the_usual_norm_makes_no_other_trial(criterion, scope, norm):
    pruned = BASE.replace({**MAPS, "prune.criterion": criterion, "prune.scope": scope})
    assert pruned.prune.norm == norm
    assert pruned.replace({"prune.normalise": norm}).key == pruned.key


def test_keys_change_where_means_over_positions_became_sums():
    """The first two keys are those of trials that ranked layers by means, without a norm."""
    in_all_layers = BASE.replace({**AFTER, **MAPS, "prune.scope": "global"})
    usual, raw = in_all_layers, in_all_layers.replace({"prune.normalise": "none"})
    assert "bd7d34cd4fd0" not in (usual.key, raw.key) and usual.key != raw.key
    # A norm of the layer hides the factor, and so does a ranking within a layer.
    assert usual.key == "64858ab025fe"
    within = BASE.replace({**AFTER, **MAPS, "prune.scope": "layer"})
    assert within.key == "9cbd20cbb1ad"


def test_places_do_not_change_the_key():
    places = [(name, hint, value) for name, place, hint, value in leaves(BASE) if place]
    assert [name for name, _, _ in places] == [
        "network.checkpoint",
        "data.path",
        "data.workers",
        "compute.device",
        "compute.threads",
        "compute.eval_batch_size",
        "compute.compile",
        "compute.processes",
    ]
    for name, hint, value in places:
        if name != "network.checkpoint":
            assert BASE.replace({name: another(hint, value)}).key == BASE.key, name
    file = {"network.weights": "file", "network.recipe": None, "network.digest": "abc"}
    here, there = (BASE.replace({**file, "network.checkpoint": path}) for path in ("a", "b"))
    assert here.key == there.key != here.replace({"network.digest": "abd"}).key


def test_ints_for_floats_make_the_same_key():
    for name, one in (("finetune.lr", 1), ("finetune.clip_norm", 1), ("finetune.weight_decay", 0)):
        changed = BASE.replace({name: one})
        assert changed.key == BASE.replace({name: float(one)}).key != BASE.key
        assert type(getattr(changed.finetune, name.split(".")[1])) is float


def test_no_recipe_is_not_the_default_recipe():
    assert TrialConfig(finetune=TrainConfig()).key != TrialConfig().key
    assert TrialConfig(prune=PruneConfig()).key != TrialConfig().key


def test_replace():
    changed = BASE.replace(
        {"prune.rate": 0.9, "prune.exclude": ("conv2",), "seed": 3, "network.recipe.lr": 0.5}
    )
    assert changed.prune == PruneConfig(
        schedule="iterative", rounds=3, rate=0.9, exclude=("conv2",)
    )
    assert changed.seed == 3 and changed.network.recipe == TrainConfig(lr=0.5)
    assert changed.replace({"prune.rate": 0.5, "prune.exclude": (), "seed": 0}).network.recipe.lr
    # A part that is given and changed at once, in either order.
    for overrides in (
        {"finetune": TrainConfig(epochs=4), "finetune.lr": 0.1},
        {"finetune.lr": 0.1, "finetune": TrainConfig(epochs=4)},
    ):
        assert TrialConfig().replace(overrides).finetune == TrainConfig(epochs=4, lr=0.1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"prune.sparcity": 0.5},
            "PruneConfig has no field 'sparcity'; it has batchnorm_follows, ",
        ),
        ({"prunes": None}, "TrialConfig has no field 'prunes'; it has compute, data, dissection, "),
        ({"network.recipe.lrs": 1}, "TrainConfig has no field 'lrs'; it has aux_weight, batch_s"),
        ({"prune": None, "prune.rate": 0.2}, "prune is None here: it has no field rate"),
        ({"network.recipe": None, "network.recipe.lr": 1}, "network.recipe is None here: it has"),
        ({"seed.x": 1}, "seed is 0 here: it has no field x"),
        ({"prune.": PruneConfig()}, "PruneConfig has no field ''"),
        ({"prune.rate": "0.5"}, "PruneConfig.rate must be a float or None, got '0.5'"),
    ],
)
def test_replace_refuses(overrides, message):
    with pytest.raises(ValueError, match=message):
        BASE.replace(overrides)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PruneConfig(rate=0), r"rate must lie in \(0, 1\), got 0"),
        (lambda: PruneConfig(rate=1.0), r"rate must lie in \(0, 1\), got 1"),
        (lambda: PruneConfig(rate=float("nan")), "rate must be finite, got nan"),
        (lambda: PruneConfig(rate=True), "PruneConfig.rate must be a float or None, got True"),
        (
            lambda: PruneConfig(scope="network"),
            "PruneConfig.scope must be one of global, layer, got 'network'",
        ),
        (lambda: PruneConfig(rounds=2), "one_shot schedule has exactly 1 round, got 2"),
        (lambda: PruneConfig(rounds=0), "rounds must be at least 1, got 0"),
        (lambda: PruneConfig(schedule="cubic"), "cubic must have at least 2 rounds, got 1"),
        (lambda: PruneConfig(rounds=1.0), "PruneConfig.rounds must be an int, got 1.0"),
        (lambda: PruneConfig(exclude=["conv2"]), r"must be a tuple of str, got \['conv2'\]"),
        (lambda: PruneConfig(exclude=(2,)), r"must be a tuple of str, got \(2,\)"),
        (lambda: PruneConfig(held=1), "PruneConfig.held must be a bool, got 1"),
        (lambda: TrainConfig(lr=0), "TrainConfig.lr must be positive, got 0.0"),
        (lambda: TrainConfig(epochs=0), "TrainConfig.epochs must be positive, got 0"),
        (lambda: TrainConfig(batch_size=-1), "TrainConfig.batch_size must be positive, got -1"),
        (lambda: TrainConfig(clip_norm=0), "TrainConfig.clip_norm must be positive, got 0.0"),
        (lambda: TrainConfig(clip_norm="1"), "clip_norm must be a float or None, got '1'"),
        (lambda: TrainConfig(warmup=1), r"TrainConfig.warmup must lie in \[0, 1\), got 1.0"),
        (lambda: TrainConfig(weight_decay=-1), "weight_decay must be at least 0, got -1.0"),
        (lambda: TrainConfig(momentum=1), r"TrainConfig.momentum must lie in \[0, 1\), got 1.0"),
        (lambda: TrainConfig(momentum=0, nesterov=True), "must be positive if nesterov, got 0.0"),
        (lambda: TrainConfig(aux_weight=-0.1), "aux_weight must be at least 0, got -0.1"),
        (lambda: TrainConfig(label_smoothing=1), r"label_smoothing must lie in \[0, 1\), got 1.0"),
        (lambda: TrainConfig(optimizer="lion"), "one of sgd, adam, adamw, got 'lion'"),
        (lambda: NetworkConfig(), "NetworkConfig.recipe must fit weights='train', got None"),
        (
            lambda: NetworkConfig(weights="random", recipe=TrainConfig()),
            r"NetworkConfig.recipe must fit weights='random', got TrainConfig\(",
        ),
        (
            lambda: NetworkConfig(weights="file"),
            "NetworkConfig.checkpoint must fit weights='file', got None",
        ),
        (
            lambda: NetworkConfig(weights="random", checkpoint="a.pt"),
            "NetworkConfig.checkpoint must fit weights='random', got 'a.pt'",
        ),
        (lambda: DataConfig(train_images=None), "train_images must be a number for concepts"),
        (lambda: DataConfig(val_images=0), "DataConfig.val_images must be positive, got 0"),
        (lambda: DataConfig(workers=-1), "DataConfig.workers must be at least 0, got -1"),
        (
            lambda: DataConfig(name="imagenet"),
            "be concepts, image_folder, torchvision:NAME, .* got 'imagenet'",
        ),
        (lambda: ScoreConfig(n_tasks=0), "ScoreConfig.n_tasks must be positive, got 0"),
        (lambda: ScoreConfig(similarity="ssim"), "one of efficientnet_lite0, dreamsim, lpips, pi"),
        (lambda: ComputeConfig(threads=0), "ComputeConfig.threads must be positive, got 0"),
        (lambda: ComputeConfig(device="tpu"), "one of auto, cpu, cuda, got 'tpu'"),
        (
            lambda: TrialConfig(network=NetworkConfig(weights="imagenet")),
            "ImageNet weights need an ImageNet folder",
        ),
        (
            lambda: TrialConfig(finetune=TrainConfig(frozen_batchnorm=True), recalibrate_images=64),
            "TrialConfig.recalibrate_images must be 0 with frozen_batchnorm, which .*, got 64",
        ),
        (lambda: TrainConfig(lr_schedule="step"), "lr_milestones must go with 'step' alone, got"),
        (lambda: TrainConfig(lr_milestones=(3,)), "lr_milestones must go with 'step' alone, got"),
        (
            lambda: TrainConfig(lr_schedule="step", lr_milestones=(5, 3)),
            r"lr_milestones must rise, got \(5, 3\)",
        ),
        (
            lambda: TrainConfig(lr_schedule="step", lr_milestones=(0, 3)),
            r"lr_milestones must lie above 0, got \(0, 3\)",
        ),
        (lambda: NetworkConfig(name="alexnt"), "got 'alexnt'; close to it: alexnet"),
        (
            lambda: TrialConfig(
                network=NetworkConfig(name="vgg16", weights="random", aux_heads=True)
            ),
            r"aux_heads must be left alone \(at False\): only googlenet and inception_v3 have it; ",
        ),
        (
            lambda: NetworkConfig(name="my.nets:small", weights="imagenet"),
            "weights must be 'train', 'random' or 'file': ImageNet weights are torchvision's and ",
        ),
        (
            lambda: TrialConfig(network=NetworkConfig(weights="random", code="a")),
            r"network.code must be left alone \(at ''\): only a function of one's own",
        ),
        (
            lambda: PruneConfig(granularity="2:4", scope="layer", rate=0.75),
            "PruneConfig.rate must be 0.5 with granularity='2:4', 1 - N/M, got 0.75",
        ),
        (
            lambda: PruneConfig(granularity="2:4"),
            "PruneConfig.scope must be 'layer' with granularity='2:4', .*, got 'global'",
        ),
        (lambda: PruneConfig(granularity="3:7"), "granularity must be one of .*, got '3:7'"),
        (
            lambda: PruneConfig(granularity="filter", criterion="lamp"),
            "criterion 'lamp' must go with granularity weight, got 'filter'",
        ),
        (
            lambda: PruneConfig(granularity="weight", criterion="random", counts_of="fisher"),
            "'fisher' must go with granularity filter or input_channel, got 'weight'",
        ),
        (lambda: PruneConfig(counts_of="random"), "counts_of must be None or one of l1, l2,"),
        (
            lambda: TrialConfig(prune=PruneConfig(criterion="random", normalise="l2")),
            "prune.normalise must be left alone .*: of the criteria only l1, .*; got 'l2'",
        ),
        (lambda: PruneConfig(criterion="snip"), "criterion must be one of l1, l2, .*, got 'snip'"),
        (
            lambda: TrialConfig(prune=PruneConfig(samples_per_class=5)),
            r"samples_per_class must be left alone \(at 10\): of the criteria only gradient, "
            "taylor, lrp, fisher have it; got 5",
        ),
        (
            lambda: TrialConfig(prune=PruneConfig(counts_of="l2")),
            "counts_of must be left alone .at None.: it is of criterion='random' over all layers",
        ),
        (
            lambda: TrialConfig(
                prune=PruneConfig(criterion="random", counts_of="l2", scope="layer")
            ),
            "in a layer all keep as many groups; got 'l2'",
        ),
        (
            lambda: PruneConfig(criterion="random", counts_of="l1", most_important_first=True),
            "counts_of must be None with most_important_first",
        ),
        (
            lambda: TrialConfig(prune=PruneConfig(draw=1)),
            "prune.draw must be left alone .at 0.: only criterion='random' draws; got 1",
        ),
        (lambda: PruneConfig(criterion="random", draw=-1), "draw must be at least 0, got -1"),
        (
            lambda: TrialConfig(prune=PruneConfig(criterion="lrp", change_of="logit")),
            "prune.change_of must be left alone .*: .* only gradient, taylor have it; got 'logit'",
        ),
        (
            lambda: TrialConfig(prune=PruneConfig(criterion="taylor", lrp=LrpRules(head="zplus"))),
            "prune.lrp.head must be left alone .*: .* only lrp has it; got 'zplus'",
        ),
        (lambda: LrpRules(stabilizer=0), "LrpRules.stabilizer must be positive, got 0"),
        (
            lambda: TrialConfig(rewind="weights", network=NetworkConfig(weights="random")),
            "network.recipe must say how it was trained, got None",
        ),
        (
            lambda: TrialConfig(rewind="weights", network=PRETRAINED, data=FOLDER),
            "needs an early checkpoint of the dense network, which only network.weights='train'",
        ),
        (
            lambda: BASE.replace({"finetune": None, "rewind": "weights", "rewind_epoch": 1}),
            r"rewind_epoch must lie in 0 … 0, within the dense network's 1 epochs, got 1",
        ),
        (
            lambda: BASE.replace({"rewind": "learning_rate"}),
            "finetune must be None with rewind='learning_rate', got TrainConfig",
        ),
        (lambda: BASE.replace({"rewind_epoch": 1}), "rewind_epoch must be 0 without rewind, got 1"),
        (
            lambda: TrialConfig(
                data=FOLDER,
                network=NetworkConfig(weights="imagenet", aux_heads=True),
                prune=PruneConfig(criterion="taylor", exclude=("conv2", "aux1.conv")),
            ),
            r"criterion='taylor' looks at .*exclude must name aux2, got \('conv2', 'aux1.conv'\)",
        ),
        (lambda: DissectionConfig(quantile=0), r"quantile must lie in \(0, 1\), got 0.0"),
        (lambda: DissectionConfig(iou=1), r"iou must lie in \(0, 1\), got 1.0"),
        (
            lambda: DissectionConfig(concepts="broden"),
            "path must be given with concepts='broden', and only with it, got None",
        ),
        (lambda: DissectionConfig(path="/broden"), "with it, got '/broden'"),
        (lambda: TrialConfig(recalibrate_images=-1), "recalibrate_images must be at least 0"),
        (lambda: TrialConfig(prune={"rate": 0.5}), "prune must be a PruneConfig or None, got {"),
    ],
)
def test_refuses_when_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_methods_name_every_granularity_and_scope_once():
    choices = [(method["granularity"], method["scope"]) for method in METHODS.values()]
    of_layers = [name for name, each in GRANULARITIES.items() if each.m is None]
    in_blocks = [(name, "layer") for name, each in GRANULARITIES.items() if each.m is not None]
    assert sorted(choices) == sorted([*itertools.product(of_layers, SCOPES), *in_blocks])
    for name, method in METHODS.items():
        rate = GRANULARITIES[method["granularity"]].rate or 0.3
        assert PruneConfig(**method, rate=rate).method == name


def test_literals_are_what_is_implemented():
    hints = get_type_hints(PruneConfig)
    assert set(get_args(hints["change_of"])) == set(TARGETS)
    assert set(get_args(get_args(hints["normalise"])[0])) == set(NORMS)


def test_flat_params_hold_the_axes_and_every_field():
    params = flat_params(BASE)
    axes = {"method", "rate", "schedule", "criterion", "retraining"}
    assert set(params) == axes | {name for name, *_ in leaves(BASE)}
    assert {name: params[name] for name in axes} == {
        "method": "unstructured",
        "rate": "0.5",
        "schedule": "iterative",
        "criterion": "l1",
        "retraining": "finetune",
    }
    assert params["prune.rounds"] == "3" and params["network.recipe.optimizer"] == "adamw"
    assert flat_params(BASE.replace({"prune.exclude": ("a", "b")}))["prune.exclude"] == "a, b"
    dense = flat_params(TrialConfig(recalibrate_images=8))
    assert dense["method"] == "dense" and dense["rate"] == "0.0" and dense["schedule"] == "none"
    assert dense["prune"] == "None" and dense["criterion"] == "none"
    assert dense["retraining"] == "recalibrate"


OF_ANY_RATE = [m for m in METHODS.values() if GRANULARITIES[m["granularity"]].rate is None]


def test_labels_are_unique_over_a_grid():
    schedules = [{"prune.schedule": "one_shot", "prune.rounds": 1}, {"prune.schedule": "cubic"}]
    treatments = [{}, {"finetune": None}, {"finetune": None, "recalibrate_images": 64}]
    pruned = [
        {f"prune.{field}": choice for field, choice in method.items()}
        | {"prune.rate": rate, "prune.criterion": criterion}
        | schedule
        for method, rate, criterion, schedule in itertools.product(
            OF_ANY_RATE, (0.25, 0.5), ("l1", "random"), schedules
        )
    ]
    untrained = {"prune": None, "network": NetworkConfig(weights="random")}
    labels = [
        BASE.replace({**what, **treatment, "seed": seed}).label
        for what in [*pruned, {"prune": None}, untrained]
        for treatment in treatments
        for seed in (0, 1)
    ]
    assert len(labels) == 50 * 6 and len(set(labels)) == len(labels)
    assert BASE.label == "unstructured 0.5 iterative"
    assert TrialConfig(finetune=TrainConfig(), seed=4).label == "dense retrained seed 4"


IDLE = {
    "finetune.momentum": 0.5,  # BASE has adamw
    "finetune.nesterov": True,
    "finetune.lr_gamma": 0.5,  # and cosine
    "finetune.aux_weight": 0.1,  # and no heads
    "network.recipe.momentum": 0.5,
    "network.recipe.lr_gamma": 0.5,
    "network.recipe.aux_weight": 0.1,
    "network.digest": "abc",
    "data.digest": "abc",
    "data.broken_images": "skip",
    "prune.lrp.bias": "keep",
}


@pytest.mark.parametrize("name", IDLE)
def test_a_setting_that_does_nothing_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"^{name} must be left alone \(at .*\): .*; got "):
        BASE.replace({name: IDLE[name]})
    assert not has_effect(BASE, name, {name: IDLE[name]})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prune.scope": "layer", "prune.normalise": "l2"}, "prune.normalise"),
        ({"finetune": None, "score_every_round": True}, "score_every_round"),
        (
            {"prune.schedule": "one_shot", "prune.rounds": 1, "score_every_round": True},
            "score_every_round",
        ),
        ({"finetune": None, "prune.held": False}, "prune.held"),
        (
            {"network.name": "vgg16", "finetune": None, "recalibrate_images": 8},
            "recalibrate_images",
        ),
        ({"dissection": DissectionConfig(digest="abc")}, "dissection.digest"),
    ],
)
def test_a_combination_in_which_a_setting_does_nothing_is_refused(changes, field):
    with pytest.raises(ValueError, match=f"^{field} must be left alone"):
        BASE.replace(changes)
    rest = {name: value for name, value in changes.items() if name != field}
    if field != "dissection.digest":
        BASE.replace(rest)


def test_what_does_nothing_any_more_is_at_rest():
    sgd = BASE.replace({"finetune.optimizer": "sgd", "finetune.momentum": 0.5})
    adam = with_room(sgd, {"finetune.optimizer": "adam"})
    assert adam.finetune.momentum == TrainConfig.momentum
    assert adam.key == BASE.replace({"finetune.optimizer": "adam"}).key
    with pytest.raises(ValueError, match=r"finetune\.momentum must be left alone"):
        with_room(sgd, {"finetune.optimizer": "adam", "finetune.momentum": 0.5})
    plain = TrainConfig(lr=0.1)  # a part as a whole is taken as it is
    assert with_room(sgd, {"finetune": plain}).finetune == plain


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**30, -int("9" * 400)])
def test_whole_numbers_beyond_a_machine_word_are_refused_in_every_field(value):
    n_fields = 0
    for name, _, hint, _ in leaves(BASE.replace({"dissection": DissectionConfig()})):
        if hint is int or (int in get_args(hint) and get_origin(hint) is not tuple):
            with pytest.raises(ValueError, match=r"\.\w+ must fit into 64 bits, got"):
                BASE.replace({"dissection": DissectionConfig()}).replace({name: value})
            n_fields += 1
    assert n_fields > 15
    with pytest.raises(ValueError, match="lr_milestones must fit into 64 bits"):
        TrainConfig(lr_schedule="step", lr_milestones=(1, abs(value)))


def test_numbers_that_are_not_finite_are_refused_in_every_field():
    n_fields = 0
    for name, _, hint, _ in leaves(BASE.replace({"dissection": DissectionConfig()})):
        for value in (math.inf, -math.inf, math.nan):
            if hint is float or float in get_args(hint):
                with pytest.raises(ValueError, match="must be finite, got"):
                    BASE.replace({"dissection": DissectionConfig()}).replace({name: value})
                n_fields += 1
    assert n_fields > 30


def test_an_old_default_that_keys_leave_out_can_be_named():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class New(Checked):
        read_at: str = dataclasses.field(default="conv", metadata={UNSAID: "relu"})

    assert identity(New(read_at="relu")) == {}  # as before
    assert identity(New()) == {"read_at": "conv"}
