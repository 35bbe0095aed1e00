"""Accuracy and calibration, against loops over the images."""

import math

import numpy as np
import pytest
import torch
from networks_for_tests import tiny_inception

from trainables.datasets.ahead import network_inputs
from trainables.datasets.images import ArrayImages, normalise
from trainables.training import evaluate
from trainables.training.evaluate import accuracy_metrics, halves, predict

CPU = torch.device("cpu")


def image_set(n=11, pixels=16, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (n, pixels, pixels, 3), dtype=np.uint8)
    return ArrayImages(images, torch.arange(n) % 4, digest="d")


def random_case(n=200, n_classes=8, seed=0, scale=2.0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_classes, generator=draw) * scale
    return logits, torch.randint(n_classes, (n,), generator=draw)


def slow_metrics(logits, labels):
    """From the definitions, an image at a time, in Python's floats."""
    n, top1, top5, loss = len(logits), 0, 0, 0.0
    bins = [[] for _ in range(15)]
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        largest = max(row)
        exps = [math.exp(x - largest) for x in row]
        chances = [e / sum(exps) for e in exps]
        ranked = sorted(range(len(row)), key=lambda c: -row[c])
        top1 += ranked[0] == label
        top5 += label in ranked[:5]
        loss -= math.log(chances[label])
        confidence = chances[ranked[0]]
        m = next(m for m in range(15) if m / 15 < confidence <= (m + 1) / 15)
        bins[m].append((ranked[0] == label, confidence))
    right = [max(row) == row[label] for row, label in zip(logits.tolist(), labels, strict=True)]
    turn = {}
    parts: dict[int, list[bool]] = {0: [], 1: []}
    for label in sorted(set(labels.tolist())):
        for i in range(n):
            if labels[i] == label:  # the images of all classes, one class after the other, in turn
                parts[len(turn) % 2].append(right[i])
                turn[i] = label
    ece = 0.0
    for members in (b for b in bins if b):
        accuracy = sum(right for right, _ in members) / len(members)
        mean = sum(confidence for _, confidence in members) / len(members)
        ece += len(members) / n * abs(accuracy - mean)
    return {
        "val/top1": top1 / n,
        "val/top1_error": math.sqrt(top1 / n * (1 - top1 / n) / n),
        "val/top1_a": sum(parts[0]) / len(parts[0]),
        "val/top1_b": sum(parts[1]) / len(parts[1]),
        "val/top5": top5 / n,
        "val/loss": loss / n,
        "val/ece": ece,
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_classes", [6, 8, 40])
def test_metrics_equal_the_definitions(seed, n_classes):
    logits, labels = random_case(n_classes=n_classes, seed=seed)
    assert accuracy_metrics(logits, labels) == pytest.approx(slow_metrics(logits, labels), abs=1e-9)


def test_a_sure_network_has_known_metrics():
    logits, labels = torch.full((4, 6), -1000.0), torch.tensor([0, 1, 2, 3])
    logits[torch.arange(4), torch.tensor([0, 1, 2, 5])] = 1000
    metrics = accuracy_metrics(logits, labels)
    assert metrics["val/top1"] == 0.75 and metrics["val/ece"] == 0.25
    assert metrics["val/loss"] == 2000 / 4


def test_halves_share_no_image_and_have_their_share_of_every_class():
    labels = torch.arange(803) % 20  # as generated images and folders have them: in turn, sorted
    for given in (labels, labels.sort().values):
        first, second = halves(given)
        assert sorted([*first.tolist(), *second.tolist()]) == list(range(803))
        counts = [given[half].bincount(minlength=20) for half in (first, second)]
        assert (counts[0] - counts[1]).abs().max() <= 1
        assert abs(len(first) - len(second)) <= 1
    one = accuracy_metrics(torch.eye(6)[:1], torch.tensor([0]))
    assert "val/top1_a" not in one and "val/top1_b" not in one


def test_top5_is_left_out_where_it_says_nothing():
    for n_classes in (2, 5):
        logits, labels = random_case(n_classes=n_classes)
        found = accuracy_metrics(logits, labels)
        expected = slow_metrics(logits, labels)
        assert expected.pop("val/top5") == 1
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    logits, labels = random_case()
    logits[3, :4] = bad
    logits[7, 1] = bad
    with pytest.raises(FloatingPointError, match="must be finite, those of 2 of 200 images are n"):
        accuracy_metrics(logits, labels)


@torch.no_grad()
def test_predict_gives_the_logits_in_order_and_leaves_evaluation_mode():
    network, images = tiny_inception().train(), image_set()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    logits = predict(network, images, CPU, "fp32", 4)
    assert not network.training and logits.dtype == torch.float32 and logits.shape == (11, 4)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    for i in range(11):
        pixels = torch.from_numpy(images.images[i : i + 1]).permute(0, 3, 1, 2)
        assert torch.allclose(logits[i], network(normalise(pixels))[0], atol=1e-5)


def test_predict_in_bf16_gives_float32_near_the_truth():
    network, images = tiny_inception(), image_set()
    exact = predict(network, images, CPU, "fp32", 4)
    rough = predict(network, images, CPU, "bf16", 4)
    assert rough.dtype == torch.float32 and not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.1 * exact.abs().max().item())


def test_network_inputs_follow_the_order():
    images, order = image_set(), torch.tensor([3, 0, 10, 5, 2])
    found = list(network_inputs(images, order, 2, CPU))
    assert torch.cat([ids for ids, _, _ in found]).equal(order)
    assert torch.cat([labels for _, _, labels in found]).equal(images.labels[order])
    pixels = torch.from_numpy(images.images[order.numpy()]).permute(0, 3, 1, 2)
    assert torch.equal(torch.cat([x for _, x, _ in found]), normalise(pixels))


def test_metrics_do_not_depend_on_how_many_images_are_looked_at_at_once(monkeypatch):
    logits, labels = random_case(n_classes=8)
    whole = accuracy_metrics(logits, labels)
    monkeypatch.setattr(evaluate, "_AT_ONCE", 64)
    assert accuracy_metrics(logits, labels) == pytest.approx(whole, rel=1e-12)
