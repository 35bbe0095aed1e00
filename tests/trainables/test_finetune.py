"""The training loop: its schedule, its masks, its resumption, and BatchNorm re-estimated."""

import copy
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks_for_tests import choose, tiny_inception
from torch import nn

from pruning import Held
from trainables.config import NetworkConfig, TrainConfig, TrialConfig
from trainables.datasets.images import ArrayImages, Data, normalise
from trainables.networks import build_network
from trainables.training.dense import dense_key, dense_path, load_dense, train_dense
from trainables.training.finetune import Training, distillation_loss, recalibrate
from trainables.training.optimizer import learning_rate

RECIPES = {
    "sgd": TrainConfig(epochs=2, batch_size=8, optimizer="sgd", lr=0.05, nesterov=True),
    "adam": TrainConfig(epochs=2, batch_size=8, optimizer="adam", lr=0.01),
    "adamw": TrainConfig(epochs=2, batch_size=8, optimizer="adamw", lr=0.01, clip_norm=1.0),
}
PLAIN = TrainConfig(batch_size=8, optimizer="sgd", lr=0.1, momentum=0, weight_decay=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def image_set(n=20, pixels=16, seed=0, n_classes=4):
    images = np.random.default_rng(seed).integers(0, 256, (n, pixels, pixels, 3), dtype=np.uint8)
    return ArrayImages(images, torch.arange(n) % n_classes, digest=f"{n} {seed}")


def half_pruned(network, granularity="weight"):
    keep = choose(
        network,
        0.5,
        granularity=granularity,
        scope="layer",
        criterion="l1",
        generator=generator(),
    )
    held = Held(network, keep)
    held.apply()
    return held


def same_weights(a, b):
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_learning_rate_of_every_step():
    def rates(recipe, steps_per_epoch=5):
        n = recipe.epochs * steps_per_epoch
        return [learning_rate(recipe, step, steps_per_epoch) for step in range(n)]

    base = TrainConfig(epochs=2, lr=0.8, lr_schedule="constant")
    assert rates(base) == [0.8] * 10
    halves = rates(replace(base, lr_schedule="exponential", lr_gamma=0.5))
    assert halves == pytest.approx([0.8] * 5 + [0.4] * 5)
    cosine = rates(replace(base, lr_schedule="cosine"), 50)
    assert cosine[0] == 0.8 and cosine[50] == pytest.approx(0.4) and 0 < cosine[-1] < 1e-3 * 0.8
    assert all(a > b for a, b in zip(cosine, cosine[1:], strict=False))
    warm = rates(replace(base, warmup=0.3, lr_schedule="cosine"))
    assert warm[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert warm[4:] == pytest.approx([0.4 * (1 + math.cos(math.pi * i / 7)) for i in range(1, 7)])


@pytest.mark.parametrize("name", RECIPES)
def test_training_is_the_same_for_the_same_generator(name):
    def trained(seed):
        network = tiny_inception()
        training = Training(network, image_set(), RECIPES[name], precision="fp32")
        return network, training.epoch(generator(seed))

    (first, metrics), (again, same), (other, _) = trained(0), trained(0), trained(1)
    assert same_weights(first, again) and same == metrics
    assert not same_weights(first, other) and not same_weights(first, tiny_inception())


def test_an_epoch_is_plain_gradient_descent():
    """Against a loop with nothing in it; 17 images: the last on its own joins the batch before."""
    network, images = tiny_inception(), image_set(17)
    oracle, steps = copy.deepcopy(network).train(), []
    training = Training(network, images, replace(PLAIN, epochs=3), precision="fp32")
    metrics = training.epoch(generator(), lambda *step: steps.append(step))
    assert steps == [(1, 6), (2, 6)] and metrics["train/lr"] == pytest.approx(0.1)

    draw, total = generator(), 0.0
    order = torch.randperm(17, generator=draw)
    for step, (_, pixels, labels) in enumerate(images.batches(order, 8, augment=draw)):
        loss = F.cross_entropy(oracle(normalise(pixels)), labels)
        oracle.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in oracle.parameters():
                parameter -= learning_rate(training.recipe, step, 2) * parameter.grad
        total += loss.item() * len(labels)
    assert metrics["train/loss"] == pytest.approx(total / 17, rel=1e-5)
    for name, parameter in oracle.named_parameters():
        assert torch.allclose(network.get_parameter(name), parameter, atol=1e-6), name


def test_training_learns():
    noise = image_set()
    brightness = (60 * noise.labels).byte().numpy()[:, None, None, None]
    images = replace(noise, images=noise.images // 4 + brightness)
    recipe = replace(RECIPES["adam"], epochs=20)
    training = Training(tiny_inception(), images, recipe, precision="fp32")
    losses = [training.epoch(generator(epoch))["train/loss"] for epoch in range(20)]
    assert losses[-1] < losses[0] / 2


def test_a_loss_that_is_not_finite_ends_the_training():
    training = Training(tiny_inception(), image_set(), replace(PLAIN, lr=1e30), precision="fp32")
    message = r"training loss must be finite, it is (nan|inf) after step 3 at learning rate 1e\+30$"
    with pytest.raises(FloatingPointError, match=message):
        training.epoch(generator())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("granularity", ["weight", "filter", "input_channel"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_pruned_stay_exactly_zero(name, granularity, precision):
    network = tiny_inception()
    held = half_pruned(network, granularity)
    before = copy.deepcopy(network)
    training = Training(network, image_set(), RECIPES[name], precision=precision, held=held)
    training.epoch(generator())
    assert held.revived() == [] and not same_weights(network, before)
    for stored in training.optimizer.state.values():
        assert all(torch.isfinite(t).all() for t in stored.values() if isinstance(t, torch.Tensor))


@pytest.mark.parametrize("name", RECIPES)
def test_old_momentum_does_not_bring_them_back(name):
    network = tiny_inception()
    training = Training(network, image_set(), RECIPES[name], precision="fp32")
    training.epoch(generator(0))
    training.held = half_pruned(network)
    training.epoch(generator(1))
    assert training.held.revived() == []


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_that_overflows_in_fp16_leaves_no_trace(name):
    """The first step always may: the loss scale starts high. torch's fused SGD fails this."""
    network = tiny_inception()
    training = Training(network, image_set(), RECIPES[name], precision="fp16")
    training.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, growth_interval=1)
    before = [parameter.clone() for parameter in network.parameters()]
    batches = list(training.images.batches(torch.arange(20), 10))
    training._step(*batches[0][1:])
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    training.scaler.update(2.0**8)
    training._step(*batches[1][1:])
    moved = [(a - b).abs().max() for a, b in zip(before, network.parameters(), strict=True)]
    assert 0 < max(moved) < 1


@pytest.mark.parametrize("name", RECIPES)
def test_without_masks_the_pruned_come_back(name):
    network = tiny_inception()
    held = half_pruned(network)
    Training(network, image_set(), RECIPES[name], precision="fp32").epoch(generator())
    assert held.revived() == held.names[:6]


@pytest.mark.parametrize("name", RECIPES)
def test_an_interrupted_round_ends_with_the_same_weights(name):
    def start():
        network = tiny_inception()
        held = half_pruned(network, "filter")
        return network, Training(network, image_set(), RECIPES[name], precision="fp32", held=held)

    network, training = start()
    training.epoch(generator(1))
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "training": training.state_dict()}, file)
    file.seek(0)
    training.epoch(generator(2))

    resumed, resumed_training = start()
    state = torch.load(file, weights_only=True)
    resumed.load_state_dict(state["network"])
    resumed_training.load_state_dict(state["training"])
    metrics = resumed_training.epoch(generator(2))
    assert metrics["train/lr"] == learning_rate(RECIPES[name], 3, 3)
    assert same_weights(resumed, network) and resumed_training.held.revived() == []

    forgetful, forgetful_training = start()
    forgetful.load_state_dict(state["network"])
    forgetful_training.epoch(generator(2))
    assert not same_weights(forgetful, network)


def test_clipping_counts_the_kept_gradients_only():
    """With plain SGD the step is as long as the clipped gradient: if pruned ones count, shorter."""
    network = tiny_inception()
    held = half_pruned(network)
    before = copy.deepcopy(network)
    recipe = replace(PLAIN, lr=1.0, lr_schedule="constant", clip_norm=0.01, batch_size=20)
    Training(network, image_set(), recipe, precision="fp32", held=held).epoch(generator())
    pairs = zip(network.parameters(), before.parameters(), strict=True)
    length = torch.cat([(a - b).detach().flatten() for a, b in pairs]).double().norm().item()
    assert length == pytest.approx(0.01, rel=1e-4)


def test_the_loss_of_the_auxiliary_heads_counts():
    torch.manual_seed(0)
    dense = build_network(NetworkConfig(weights="random", aux_heads=True), 4)
    images = image_set(4, 32)
    order, total = torch.randperm(4, generator=generator()), {}
    for weight in (0.0, 0.3):
        network, recipe = copy.deepcopy(dense), replace(PLAIN, aux_weight=weight)
        training = Training(network, replace(images, shift=0), recipe, precision="fp32")
        torch.manual_seed(1)  # of the dropout
        draw = generator()
        total[weight] = training.epoch(draw)["train/loss"]
        moved = not torch.equal(network.aux1.fc2.weight, dense.aux1.fc2.weight)
        assert moved == (weight > 0)

    draw = generator()
    order = torch.randperm(4, generator=draw)
    ((_, pixels, labels),) = replace(images, shift=0).batches(order, 8, augment=draw)
    torch.manual_seed(1)
    main, *heads = (F.cross_entropy(x, labels).item() for x in dense.train()(normalise(pixels)))
    assert total[0.0] == pytest.approx(main, rel=1e-5)
    assert total[0.3] == pytest.approx(main + 0.3 * sum(heads), rel=1e-5)


def test_googlenet_trains_on_an_odd_number_of_small_images():
    """At 32 px its last maps are one pixel, on which BatchNorm cannot train with one image."""
    network, images = build_network(NetworkConfig(weights="random"), 4), image_set(5, 32)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        network.train()(torch.zeros(1, 3, 32, 32))
    training = Training(network, images, replace(PLAIN, batch_size=2), precision="fp32")
    assert math.isfinite(training.epoch(generator())["train/loss"])
    assert training.step == training.steps_per_epoch == 2
    recalibrate(network, images, 5, generator(), batch_size=2)


def statistics_by_hand(network, batches):
    """BatchNorm name -> mean over the batches of (mean, unbiased variance) of what it is given."""
    seen = {n: [] for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    network = copy.deepcopy(network).double().train()
    for name, kept in seen.items():
        norm = network.get_submodule(name)
        norm.register_forward_pre_hook(
            lambda _, x, kept=kept: kept.append((x[0].mean((0, 2, 3)), x[0].var((0, 2, 3))))
        )
    with torch.no_grad():
        for _, pixels, _ in batches:
            network(normalise(pixels).double())
    return {
        name: [torch.stack(column).mean(0) for column in zip(*kept, strict=True)]
        for name, kept in seen.items()
    }


def test_recalibrate_estimates_the_batchnorms_of_a_head_too():
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network = nn.Sequential(*body, nn.Linear(4, 5), nn.BatchNorm1d(5))
    network[-1].running_mean.fill_(100.0)
    recalibrate(network, image_set(20), 12, generator(), batch_size=4)
    assert network[-1].running_mean.abs().max() < 10


def test_recalibrate_takes_the_mean_of_the_batches_statistics():
    network, images = tiny_inception(), image_set(20)
    half_pruned(network, "filter")
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.num_batches_tracked += 50  # of a long training
    before = copy.deepcopy(network)
    order = torch.randperm(20, generator=generator(3))[:14]
    expected = statistics_by_hand(network, images.batches(order, 4))

    torch.manual_seed(9)
    recalibrate(network.train(), images, 14, generator(3), batch_size=4)
    assert not network.training
    for name, (mean, variance) in expected.items():
        norm = network.get_submodule(name)
        assert torch.allclose(norm.running_mean.double(), mean, atol=1e-5), name
        assert torch.allclose(norm.running_var.double(), variance, atol=1e-5), name
        assert not torch.allclose(norm.running_mean, before.get_submodule(name).running_mean)
        assert norm.momentum == 0.1
    for name, parameter in before.named_parameters():
        assert torch.equal(network.get_parameter(name), parameter)
    with pytest.raises(ValueError, match="must be at most the 20 training images, got 21"):
        recalibrate(network, images, 21, generator())


def dense_case(**changes):
    recipe = TrainConfig(epochs=2, batch_size=4)
    config = TrialConfig(network=NetworkConfig(recipe=recipe)).replace(changes)
    train, val = image_set(8, 32), image_set(6, 32, seed=1)
    return config, Data(train, val, val, ("a", "b", "c", "d"))


def test_the_dense_network_is_trained_once_and_found_again(tmp_path):
    config, data = dense_case()
    with pytest.raises(ValueError, match=r"must be a file, .*/dense-[0-9a-f]{16}.pt is none"):
        load_dense(config, data, tmp_path)
    epochs = []
    path = train_dense(
        config, data, tmp_path, report=lambda n, metrics: epochs.append((n, *metrics))
    )
    assert path == dense_path(config, data, tmp_path) and list(tmp_path.iterdir()) == [path]
    measured = ("train/loss", "train/lr", "val/top1", "val/top1_error", "val/loss", "val/ece")
    measured = (*measured, "val/top1_a", "val/top1_b")
    assert epochs == [(n, *measured) for n in (1, 2)]
    found = load_dense(config, data, tmp_path)
    state = torch.load(path, weights_only=True)
    assert all(torch.equal(state[name], tensor) for name, tensor in found.state_dict().items())
    assert same_weights(found, load_dense(config, data, tmp_path))

    again = train_dense(config, data, tmp_path / "again")
    other = torch.load(again, weights_only=True)
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_the_dense_network_belongs_to_all_that_it_depends_on():
    config, data = dense_case()
    key = dense_key(config, data)
    for changes in (
        {"seed": 1},
        {"network.recipe.epochs": 3},
        {"network.aux_heads": True},
        {"compute.precision": "bf16"},
    ):
        assert dense_key(config.replace(changes), data) != key
    assert dense_key(config, replace(data, train=data.val)) != key
    assert dense_key(config, replace(data, val=data.train, probe=data.train)) == key
    assert dense_key(config.replace({"finetune": TrainConfig(), "compute.threads": 3}), data) == key
    random = config.replace({"network": NetworkConfig(weights="random")})
    with pytest.raises(ValueError, match="only weights='train' and a new head are trained, got"):
        train_dense(random, data, None)


def soft_loss_of_the_paper(logits, taught, temperature):
    """Hinton et al. 2015, sec. 2, image by image: cross-entropy with soft targets, times T^2; less
    the entropy of the targets."""
    total = 0.0
    for z, v in zip(logits.tolist(), taught.tolist(), strict=True):
        q, p = ([math.exp(x / temperature) for x in row] for row in (z, v))
        q, p = [x / sum(q) for x in q], [x / sum(p) for x in p]
        cross = -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
        entropy = -sum(a * math.log(a) for a in p)
        total += temperature**2 * (cross - entropy)
    return total / len(logits)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_the_loss_of_distillation_is_that_of_the_paper(temperature):
    draw = generator(3)
    logits, taught = (3 * torch.randn(6, 5, generator=draw, dtype=torch.float64) for _ in "ab")
    found = distillation_loss(logits, taught, temperature).item()
    assert found == pytest.approx(soft_loss_of_the_paper(logits, taught, temperature), rel=1e-12)
    assert distillation_loss(taught, taught, temperature).item() == pytest.approx(0, abs=1e-12)


def test_at_a_high_temperature_distillation_matches_logits():
    """Their eq. 4: the gradient goes to (z - v) / N of logits whose mean is zero, over images."""
    draw = generator(4)
    logits, taught = (torch.randn(2, 7, generator=draw, dtype=torch.float64) for _ in "ab")
    logits, taught = logits - logits.mean(1, True), taught - taught.mean(1, True)
    logits.requires_grad_()
    distillation_loss(logits, taught, 1e4).backward()
    assert torch.allclose(logits.grad, (logits.detach() - taught) / 7 / 2, atol=1e-4)


def test_a_step_weighs_labels_and_teacher_and_leaves_the_teacher_alone():
    teacher, network = tiny_inception(seed=1), tiny_inception(seed=2)
    before = copy.deepcopy(teacher)
    images, labels = torch.randn(8, 3, 16, 16, generator=generator()), torch.arange(8) % 4
    for share in (0.0, 0.3, 1.0):
        recipe = replace(PLAIN, distill=share, distill_temperature=3.0)
        training = Training(network, image_set(), recipe, precision="fp32", teacher=teacher)
        network.eval()
        logits = network(images)
        hard = F.cross_entropy(logits, labels)
        soft = distillation_loss(logits, teacher(images), 3.0)
        loss = training._loss(images, labels, training._taught(images))
        assert loss.item() == pytest.approx(((1 - share) * hard + share * soft).item(), rel=1e-5)
        training.epoch(generator())
        assert same_weights(teacher, before) and not teacher.training
    with pytest.raises(ValueError, match="a recipe that distills needs a teacher"):
        Training(network, image_set(), recipe, precision="fp32")


def test_a_network_learns_from_its_teacher_what_no_label_says():
    """Labels are all one class: only the teacher tells the images apart."""
    teacher, network = tiny_inception(seed=1), tiny_inception(seed=2)
    with torch.no_grad():
        teacher.fc.weight *= 20
    images = image_set(40)
    blind = ArrayImages(images.images, torch.zeros(40, dtype=torch.int64), digest="blind")
    x = normalise(torch.from_numpy(images.images).permute(0, 3, 1, 2))

    def apart():
        with torch.no_grad():
            return distillation_loss(network.eval()(x), teacher(x), 1.0).item()

    recipe = replace(PLAIN, distill=1.0, distill_temperature=2.0, lr=0.05)
    training = Training(network, blind, recipe, precision="fp32", teacher=teacher)
    start = apart()
    for number in range(12):
        training.epoch(generator(number))
    assert apart() < 0.5 * start
