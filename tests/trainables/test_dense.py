"""Training the dense network: its early checkpoints, going on, and going back to it."""

import pytest
import torch
from small_studies import small_base

from pruning import prunable_weights
from trainables.datasets.loading import load_data
from trainables.training.dense import dense_path, load_dense, missing_dense, train_dense
from trainables.training.optimizer import learning_rate
from trainables.trial import Trial
from trainables.workspace import Workspace

EPOCHS = 3
RECIPE = {"network.recipe.epochs": EPOCHS, "network.recipe.warmup": 0.2}


def config_of(**changes):
    return small_base(**RECIPE, **changes)


REWOUND = {"finetune": None, "rewind": "weights"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with the dense network, kept as it was drawn and after two epochs."""
    workspace = Workspace(tmp_path_factory.mktemp("results"))
    config = config_of()
    data = load_data(config.data, workspace.cache)
    train_dense(config, data, workspace.cache, keep_epochs=(0, 2))
    return workspace, data


def state(trained, epoch=None, config=None):
    workspace, data = trained
    path = dense_path(config or config_of(), data, workspace.cache, epoch)
    return torch.load(path, weights_only=True)


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_early_checkpoints_are_of_the_same_training(trained, tmp_path):
    drawn, early, last = state(trained, 0), state(trained, 2), state(trained)
    assert not same(drawn, early) and not same(early, last)
    config, data = config_of(), trained[1]
    torch.manual_seed(config.seed)
    network = load_dense(
        config.replace({"network.weights": "random", "network.recipe": None}), data, tmp_path
    )
    assert same(network.state_dict(), drawn)
    # Asked for later, it is trained again as far as that, and the checkpoint stays what it was.
    changed = dense_path(config, data, trained[0].cache).stat().st_mtime_ns
    train_dense(config, data, trained[0].cache, keep_epochs=(1,))
    assert dense_path(config, data, trained[0].cache, 1).exists()
    assert dense_path(config, data, trained[0].cache).stat().st_mtime_ns == changed


def test_what_is_missing(trained, tmp_path):
    workspace, data = trained
    assert not missing_dense(config_of(), data, workspace.cache)
    assert not missing_dense(config_of(**REWOUND, rewind_epoch=2), data, workspace.cache)
    assert missing_dense(config_of(), data, tmp_path)
    assert missing_dense(config_of(seed=1), data, workspace.cache)


@pytest.mark.slow
def test_an_interrupted_training_ends_like_one_that_was_not(trained, tmp_path):
    class Interrupted(Exception):
        pass

    last_reported = []

    def report(epoch, metrics):
        last_reported.append(epoch)
        raise Interrupted

    config, data = config_of(), trained[1]
    for _ in range(2):
        with pytest.raises(Interrupted):
            train_dense(config, data, tmp_path, keep_epochs=(2,), report=report)
    seen = []
    path = train_dense(
        config, data, tmp_path, keep_epochs=(2,), report=lambda epoch, _: seen.append(epoch)
    )
    # The report comes before the state is written: what was interrupted is trained again.
    assert last_reported == [1, 1] and seen == [1, 2, 3]
    assert same(torch.load(path, weights_only=True), state(trained))
    early = dense_path(config, data, tmp_path, 2)
    assert same(torch.load(early, weights_only=True), state(trained, 2))


def test_rewound_to_its_beginning_and_not_pruned_it_becomes_itself(trained):
    """The same weights, order, dropout and learning rates: the same network, to the bit."""
    trial = Trial(config_of(prune=None, **REWOUND), trained[0])
    while not trial.trained:
        trial.epoch()
    assert trial.config.n_epochs == EPOCHS
    assert same(trial.network.state_dict(), state(trained))


def test_kept_weights_start_a_round_as_they_were_early_on(trained):
    config = config_of(**REWOUND, rewind_epoch=2, **{"prune.rate": 0.5})
    trial = Trial(config, trained[0])
    trial.begin_round()
    early, last = state(trained, 2), state(trained)
    for name, mask in trial.pruned.keep.items():
        now = trial.network.get_parameter(name)
        assert torch.equal(now[mask], early[name][mask]) and (now[~mask] == 0).all()
    # What was pruned was chosen by the weights at the end of training.
    weights = {name: last[name].abs() for name in prunable_weights(trial.network)}
    keep = trial.pruned.keep
    lowest_kept = min(w[keep[n]].min() for n, w in weights.items())
    assert max(w[~keep[n]].max() for n, w in weights.items()) <= lowest_kept


def test_rewinding_the_learning_rate_keeps_the_weights_and_repeats_the_end_of_the_schedule(trained):
    config = config_of(finetune=None, rewind="learning_rate", rewind_epoch=1)
    trial = Trial(config, trained[0])
    trial.begin_round()
    last = state(trained)
    for name, mask in trial.pruned.keep.items():
        assert torch.equal(trial.network.get_parameter(name)[mask], last[name][mask])
    recipe = config.network.recipe
    steps = 3  # 96 images in batches of 32
    assert trial.epoch()["train/lr"] == learning_rate(recipe, steps, steps)
    assert trial.epoch()["train/lr"] == learning_rate(recipe, 2 * steps, steps)
    assert trial.trained
