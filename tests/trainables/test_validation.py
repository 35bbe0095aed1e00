"""How a network's answers differ from the dense network's, against loops over the images."""

import math
import statistics
from types import SimpleNamespace

import pytest
import torch

from trainables.config import DataConfig
from trainables.datasets import loading
from trainables.training.evaluate import ids_per_epoch
from trainables.training.validation import change_of_answers


def slow_change(answers, dense, labels):
    triples = list(zip(answers.tolist(), dense.tolist(), labels.tolist(), strict=True))
    changes = [float(a == y) - float(d == y) for a, d, y in triples]
    n = len(changes)
    metrics = {"val/top1_change": sum(changes) / n}
    metrics["val/agreement"] = sum(a == d for a, d, _ in triples) / n
    metrics["val/top1_change_error"] = statistics.stdev(changes) / math.sqrt(n)
    return metrics


@pytest.mark.parametrize("seed", range(5))
def test_the_change_is_that_of_a_loop(seed):
    draw = torch.Generator().manual_seed(seed)
    answers, dense, labels = (torch.randint(4, (137,), generator=draw) for _ in range(3))
    found = change_of_answers(answers, dense, labels)
    assert found == pytest.approx(slow_change(answers, dense, labels))


def test_equal_answers_have_no_change_and_no_error():
    labels = torch.arange(10) % 3
    found = change_of_answers(labels, labels, labels)
    assert found == {"val/top1_change": 0, "val/agreement": 1, "val/top1_change_error": 0}
    one = change_of_answers(labels[:1], labels[:1], labels[:1])
    assert "val/top1_change_error" not in one


def test_the_interval_holds_the_true_change_as_often_as_it_says():
    """Two networks that err independently of each other on 300 images, whose true accuracies are
    .8 and .77, where both look at an image that half of the time is easy for both."""
    draw, held, n = torch.Generator().manual_seed(0), 0, 2_000
    for _ in range(n):
        easy = torch.rand(300, generator=draw) < 0.5
        right = [easy | (torch.rand(300, generator=draw) < p) for p in (0.54, 0.6)]
        answers, dense = (each.long() for each in right)
        found = change_of_answers(answers, dense, torch.ones(300, dtype=torch.long))
        held += abs(found["val/top1_change"] + 0.03) < 1.96 * found["val/top1_change_error"]
    assert held / n == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("count", [1, 7, 50, 99, 100])
def test_the_images_of_an_epoch_have_each_classs_share(count):
    labels = torch.randint(5, (100,), generator=torch.Generator().manual_seed(1))
    ids = ids_per_epoch(labels, count)
    assert len(set(ids.tolist())) == len(ids) == count
    assert ids.tolist() == sorted(ids.tolist())
    for label in range(5):
        share = count * int((labels == label).sum()) / 100
        assert abs(int((labels[ids] == label).sum()) - share) < 1
    assert ids_per_epoch(labels, None).tolist() == list(range(100))


def test_more_images_per_epoch_than_there_are_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"val_images_per_epoch must be at most data.val_images"):
        DataConfig(val_images=10, val_images_per_epoch=11)
    config = DataConfig(name="image_folder", path="x", val_images=None, val_images_per_epoch=11)
    monkeypatch.setattr(loading, "folder_data", lambda *_: SimpleNamespace(val=range(10)))
    with pytest.raises(ValueError, match="at most the 10 images to validate that are there"):
        loading.load_data(config, tmp_path)
