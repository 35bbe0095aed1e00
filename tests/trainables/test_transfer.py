"""Given weights and data of other classes: a new head, or the old one kept for some classes."""

import dataclasses

import pytest
import torch
from small_studies import small_base
from torch import nn
from torch.nn import functional as F

from sweeps.plan.inputs import look_at_inputs
from sweeps.plan.planner import make_plan
from sweeps.plan.sweep import Grid, Sweep, axis
from trainables.config import NetworkConfig, TrainConfig
from trainables.config.replicates import trainings
from trainables.config.trial import flat_params
from trainables.contents import with_contents
from trainables.datasets.images import normalise
from trainables.datasets.loading import load_data
from trainables.networks import build_network, for_classes, head_said, load_checkpoint
from trainables.networks.wnids import imagenet_wnids, places_in_imagenet
from trainables.training.dense import load_dense, missing_dense, train_dense
from trainables.training.finetune import Training
from trainables.trial import run_trial
from trainables.workspace import Workspace

RECIPE = TrainConfig(epochs=2, head_epochs=1, batch_size=32, optimizer="sgd", lr=0.01)
FIVE = ("a", "b", "c", "d", "e")
WNIDS = ("n01498041", "n01440764", "n15075141")  # not in order


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Where torchvision keeps weights, with those of two networks as a download leaves them."""
    folder = tmp_path_factory.mktemp("torch") / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(3)
    names = {"resnet18": "resnet18-f37072fd.pth", "squeezenet1_1": "squeezenet1_1-b8a52dc0.pth"}
    for name, file in names.items():
        network = build_network(NetworkConfig(name=name, weights="random"), 1000)
        torch.save(network.state_dict(), folder / file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder.parents[1]))
        yield folder


@pytest.fixture
def checkpoint(tmp_path):
    """Of a ResNet-18 of seven classes."""
    torch.manual_seed(4)
    network = build_network(NetworkConfig(name="resnet18", weights="random"), 7)
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "7.pt")
    return tmp_path / "7.pt"


def imagenet(name="resnet18", **more):
    return NetworkConfig(name=name, weights="imagenet", **more)


def of_file(path, **more):
    return NetworkConfig(name="resnet18", weights="file", checkpoint=str(path), **more)


def test_the_ids_are_imagenets_in_order():
    assert len(imagenet_wnids()) == 1000 and list(imagenet_wnids()) == sorted(set(imagenet_wnids()))
    assert places_in_imagenet(WNIDS) == (6, 0, 999)
    assert places_in_imagenet(("n01440764", "cat")) is None and places_in_imagenet(()) is None


def test_the_ids_are_those_that_timm_has():
    timm = pytest.importorskip("timm")
    assert timm.data.ImageNetInfo().label_names() == list(imagenet_wnids())


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc"), ("squeezenet1_1", "classifier.1")])
def test_a_new_head_is_drawn_and_all_else_given(hub, name, head):
    config = for_classes(imagenet(name, recipe=RECIPE), FIVE)
    assert config.head == "new"
    torch.manual_seed(5)
    network = build_network(config, 5)
    torch.manual_seed(5)
    drawn = build_network(config.untrained, 5).state_dict()
    given = build_network(imagenet(name), 1000).state_dict()
    for entry, tensor in network.state_dict().items():
        assert torch.equal(tensor, drawn[entry] if entry.startswith(f"{head}.") else given[entry])
    assert network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_a_kept_head_answers_among_the_datas_classes(hub):
    config = for_classes(imagenet(), WNIDS)
    assert (config.head, config.kept_classes) == ("kept", (6, 0, 999))
    images = torch.randn(2, 3, 64, 64)
    whole, kept = build_network(imagenet(), 1000).eval(), build_network(config, 3).eval()
    torch.testing.assert_close(kept(images), whole(images)[:, [6, 0, 999]])
    assert "(1,000 classes) those of the data's 3 classes are kept:" in head_said(config, WNIDS)


def test_a_thousand_classes_of_other_names_are_told_before_they_are_taken_for_imagenets(hub):
    other = tuple(f"class {place}" for place in range(1000))
    config = for_classes(imagenet(), other)
    assert config.head is None and "n01440764 first" in head_said(config, other)
    assert "class 0 first, and are taken to be the same" in head_said(config, other)
    assert head_said(for_classes(imagenet(), imagenet_wnids()), imagenet_wnids()) == ""
    assert head_said(NetworkConfig(recipe=RECIPE), other) == ""


def test_auxiliary_heads_are_new_too():
    config = NetworkConfig(weights="imagenet", aux_heads=True, recipe=RECIPE, head="new")
    said = head_said(config, tuple("abcde"))
    assert "a new one of 5 classes (fc, aux1.fc2, aux2.fc2) is trained by network.recipe" in said


def test_which_head_it_gets(hub, checkpoint):
    thousand = imagenet_wnids()
    assert for_classes(imagenet(recipe=RECIPE), thousand).head is None
    assert for_classes(imagenet(recipe=RECIPE, head="new"), thousand).head == "new"
    assert for_classes(imagenet(head="kept"), thousand).head is None
    assert for_classes(imagenet(recipe=RECIPE), WNIDS).head == "new"
    assert for_classes(imagenet(recipe=RECIPE, head="kept"), WNIDS).kept_classes == (6, 0, 999)
    assert for_classes(of_file(checkpoint), tuple("abcdefg")).head is None
    assert for_classes(of_file(checkpoint, recipe=RECIPE), FIVE).head == "new"
    assert for_classes(NetworkConfig(recipe=RECIPE), FIVE) == NetworkConfig(recipe=RECIPE)


SEVEN = tuple("abcdefg")
REFUSED = {
    "no recipe": (
        lambda _: imagenet(),
        FIVE,
        "ImageNet weights have 1,000 classes, the data has 5: network.recipe must say how a new "
        r"head is trained \(SET=network.recipe.epochs=10\)$",
    ),
    "no recipe for a file": (of_file, FIVE, "7.pt has 7 classes, the data has 5: network.recipe"),
    "names": (lambda _: imagenet(head="kept"), FIVE, "named by WordNet ids .* got 'a'"),
    "seven": (lambda p: of_file(p, head="kept"), FIVE, "needs weights of ImageNet's 1,000 classes"),
    "another network": (
        lambda p: dataclasses.replace(of_file(p, recipe=RECIPE), name="resnet34"),
        FIVE,
        "7.pt is a checkpoint of another network",
    ),
    "of as many classes": (
        lambda p: dataclasses.replace(of_file(p), name="resnet34"),
        SEVEN,
        "7.pt is a checkpoint of another network",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(hub, checkpoint, name):
    make, classes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        for_classes(make(checkpoint), classes)


def test_a_plan_refuses_what_a_trial_in_a_notebook_refuses(checkpoint, tmp_path):
    config = small_base(network=of_file(checkpoint), **{"data.pixels": 32})
    sentences = []
    for ask in (lambda: look_at_inputs([config]), lambda: run_trial(config, Workspace(tmp_path))):
        with pytest.raises(ValueError, match="7.pt has 7 classes, the data has 20") as refused:
            ask()
        sentences.append(str(refused.value))
    assert len(set(sentences)) == 1


def test_a_plan_says_it_and_names_it_in_mlflow(checkpoint):
    base = small_base(network=of_file(checkpoint, recipe=RECIPE))
    grids = (Grid({"rate": axis("prune.rate", (0.5,))}),)
    plan = make_plan(Sweep(name="s", purpose="", base=base, grids=grids))
    (said,) = [note for note in plan.inputs.notes if "new one" in note]
    assert said == (
        f"network.name='resnet18': of the head of {checkpoint} (7 classes) nothing is taken: a new "
        "one of 20 classes (fc) is trained by network.recipe: 2 epochs, the first 1 of it alone"
    )
    params = {flat_params(config)["network.head"] for config in plan.configs}
    assert params == {"new", "None"}  # None: of the untrained network
    seeds = [flat_params(plan.configs[0].replace({"seed": seed})) for seed in (0, 1)]
    assert len(set(trainings(seeds))) == 1  # two heads on one body


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    config = small_base()
    return load_data(config.data, tmp_path_factory.mktemp("cache"))


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 20)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(x))).mean((2, 3)))


def trained(recipe, images, epochs):
    torch.manual_seed(0)
    network = Small()
    nn.init.uniform_(network.bn.running_var, 0.5, 1.5)
    training = Training(network, images.train, recipe, precision="fp32")
    states = [{n: t.clone() for n, t in network.state_dict().items()}]
    for epoch in range(epochs):
        training.epoch(torch.Generator().manual_seed(epoch))
        states.append({n: t.clone() for n, t in network.state_dict().items()})
    assert all(p.requires_grad for p in network.parameters())
    return states


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


STATISTICS = {"bn.running_mean", "bn.running_var", "bn.num_batches_tracked"}
BODY = {"conv.weight", "bn.weight", "bn.bias", *STATISTICS}
HEAD = {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_head_is_trained_first_and_then_all(images, optimizer):
    recipe = dataclasses.replace(RECIPE, epochs=3, optimizer=optimizer)
    first, alone, both, _ = trained(recipe, images, 3)
    assert changed(first, alone) == HEAD
    assert changed(alone, both) == HEAD | BODY


def test_frozen_batchnorms_stay_as_they_are(images):
    recipe = dataclasses.replace(RECIPE, head_epochs=0, frozen_batchnorm=True)
    first, _, last = trained(recipe, images, 2)
    assert changed(first, last) == HEAD | {"conv.weight"}


def test_the_body_has_a_learning_rate_of_its_own(images):
    """Against SGD by hand, with a gradient of the whole batch."""
    recipe = TrainConfig(
        epochs=1, batch_size=96, optimizer="sgd", lr=0.1, body_lr=0.02, momentum=0.0,
        weight_decay=0.0, lr_schedule="constant",
    )  # fmt: skip
    first, last = trained(recipe, images, 1)
    torch.manual_seed(0)
    network = Small().train()
    order = torch.randperm(96, generator=(generator := torch.Generator().manual_seed(0)))
    ((_, pixels, labels),) = images.train.batches(order, 96, augment=generator)
    F.cross_entropy(network(normalise(pixels)), labels).backward()
    for name, parameter in network.named_parameters():
        lr = 0.1 if name.startswith("fc") else 0.02
        expected = first[name] - lr * parameter.grad
        torch.testing.assert_close(last[name], expected, rtol=1e-4, atol=1e-6)


def test_a_trained_head_is_cached_and_needs_the_weights_no_more(checkpoint, tmp_path):
    base = small_base(network=of_file(checkpoint, recipe=RECIPE), finetune=None)
    config = with_contents(base.replace({"prune.rate": 0.5, "recalibrate_images": 32}))
    workspace = Workspace(tmp_path / "results")
    data = load_data(config.data, workspace.cache)
    assert missing_dense(config, data, workspace.cache)
    path = train_dense(config, data, workspace.cache)
    before = build_network(NetworkConfig(name="resnet18", weights="random"), 7)
    load_checkpoint(before, checkpoint)
    checkpoint.unlink()
    assert not missing_dense(config, data, workspace.cache)
    dense = load_dense(config, data, workspace.cache)
    assert path.exists() and dense.fc.out_features == 20
    assert not torch.equal(dense.conv1.weight, before.conv1.weight)
    again = config.replace({"network.recipe.head_epochs": 0})
    assert missing_dense(again, data, workspace.cache)


def test_a_recipe_of_a_head_is_refused_where_no_head_is_new():
    for changes in (
        {"network.recipe.head_epochs": 1},
        {"network.recipe.body_lr": 1e-4},
        {"network.recipe.frozen_batchnorm": True},
        {"finetune.head_epochs": 1},
        {"finetune.body_lr": 1e-4},
        {"network.head": "new"},
        {"network.entry": "ema"},
        {"network.kept_classes": (1,)},
    ):
        with pytest.raises(ValueError, match="must be left alone"):
            small_base(**changes)
    with pytest.raises(ValueError, match="head_epochs must lie in 0 … 1, within the epochs, got 2"):
        TrainConfig(epochs=1, head_epochs=2)
    with pytest.raises(ValueError, match="recipe must be there to train a new head, got None"):
        imagenet(head="new")
    small_base(**{"finetune.frozen_batchnorm": True})
