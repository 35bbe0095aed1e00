"""A trial in a notebook, without a planner, is known by what its files hold."""

import pytest
import torch
from small_studies import small_base

from trainables.contents import with_contents
from trainables.datasets.loading import load_data
from trainables.networks import build_network, file_digest
from trainables.training.dense import dense_key
from trainables.trial import Trial
from trainables.workspace import Workspace


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two checkpoints of one shape."""
    folder = tmp_path_factory.mktemp("files")
    config = small_base().network
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        path = folder / f"{seed}.pt"
        torch.save(build_network(config, 20).state_dict(), path)
        paths.append(path)
    return paths


def from_file(path, **changes):
    network = {"network.weights": "file", "network.recipe": None, "network.checkpoint": str(path)}
    return small_base(**network, finetune=None, **changes)


def test_two_checkpoints_are_two_trials(files, tmp_path):
    one, two = (from_file(path) for path in files)
    assert one.key == two.key  # as long as nobody looks
    trials = [Trial(config, Workspace(tmp_path)) for config in (one, two)]
    assert len({trial.config.key for trial in trials}) == 2
    assert [t.config.network.digest for t in trials] == [file_digest(path) for path in files]
    data = load_data(one.data, tmp_path / "cache")
    assert len({dense_key(config, data) for config in (one, two)}) == 2
    # As with a planner.
    assert dense_key(one, data) == dense_key(trials[0].config, data)


def test_what_a_planner_said_stays(files):
    config = from_file(files[0], **{"network.digest": "as planned"})
    assert with_contents(config) == config
    assert with_contents(small_base()) == small_base()
