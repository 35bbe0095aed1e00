"""Few samples a class are enough for relevance: the toy of Yeom et al. 2021 with one seed and a
short training. benchmarks/toy.py runs it in full.

At full width, because the claim rests on it: about a third of 3,000 units answers to no sample of
the class. Of 600 it is a fifth, and a third cannot go without loss.
"""

import pytest
import torch

from benchmarks.toy import (
    CRITERIA,
    accuracy,
    by_relevance,
    chosen,
    prune,
    run,
    train,
    training_data,
)


@pytest.fixture(scope="module")
def trained():
    return train("circle", 0, width=1000, steps=60, batch=64), training_data("circle", 0)


def relevance_of(trained, per_class):
    network, data = trained
    return by_relevance(network, *chosen(data, per_class, torch.Generator().manual_seed(0)))


def test_five_samples_a_class_keep_the_accuracy_and_one_does_not(trained):
    network, data = trained
    unpruned = accuracy(network, data)
    assert unpruned > 98
    assert accuracy(prune(network, relevance_of(trained, 5)), data) > unpruned - 1
    assert accuracy(prune(network, relevance_of(trained, 1)), data) < unpruned - 10


def test_without_the_most_relevant_units_chance_is_left(trained):
    network, data = trained
    upside_down = {name: -score for name, score in relevance_of(trained, 5).items()}
    assert accuracy(prune(network, upside_down), data) < 60


def test_a_third_of_the_hidden_units_goes(trained):
    network, _ = trained
    pruned = prune(network, relevance_of(trained, 5))
    gone = [(pruned[k].weight == 0).all(1) & (pruned[k].bias == 0) for k in (0, 2, 4)]
    assert sum(int(rows.sum()) for rows in gone) == 1000


def test_the_table_has_every_criterion():
    found = run("mult", 2, width=30, steps=5, per_class=(1, 5, 9))
    assert set(found) == {*CRITERIA, "unpruned"}
    values = torch.tensor(list(found.values()))  # [criterion, per class, seed]
    assert values.shape == (6, 3, 2) and values.min() >= 0 and values.max() <= 100
