"""A trial in several processes: what they train is what one process trains."""

import dataclasses

import pytest
import torch
from networks_for_tests import choose, tiny_inception
from small_studies import small_base
from torch import nn

from pruning import Held
from trainables.config import ComputeConfig, TrainConfig
from trainables.datasets.images import split_batches
from trainables.datasets.loading import load_data
from trainables.training.crew import Crew
from trainables.training.dense import train_dense
from trainables.training.finetune import Training
from trainables.training.member import Member
from trainables.trial import Trial
from trainables.workspace import Workspace

pytestmark = pytest.mark.slow

COMPUTE = ComputeConfig(device="cpu", precision="fp32", threads=1, processes=2)
# 21 images: batches of 8, 8 and 5, of which a share has 3 and the other 2.
DATA = small_base(**{"data.train_images": 21, "data.val_images": 4, "data.probe_images": 4}).data
RECIPE = TrainConfig(epochs=2, batch_size=8, optimizer="sgd", lr=0.05, clip_norm=1.0, distill=0.3)


def without_batchnorm(seed=0):
    """Each process has statistics of its own on a CPU: without them all is the same."""
    network = tiny_inception(seed)
    for module in network.modules():
        if hasattr(module, "bn"):
            module.bn = nn.Identity()
    network.fc = nn.Linear(12, 20)
    return network


def trained(images, member=None, crew=None):
    torch.manual_seed(0)
    network = without_batchnorm()
    held = Held(network, choose(network, 0.5, granularity="weight", scope="layer", criterion="l1"))
    held.apply()
    teacher = without_batchnorm(seed=1)
    training = Training(
        *(network, images, RECIPE), precision="fp32", held=held, member=member, teacher=teacher
    )
    losses = []
    for epoch in range(2):
        draw = torch.Generator().manual_seed(epoch)
        if crew is not None:
            crew.start_epoch(training, draw)
        losses.append(training.epoch(draw)["train/loss"])
    return network, held, losses


def test_two_processes_train_what_one_does(tmp_path):
    """The same batches, augmentations, clipped norms and learning rates; sums in another order."""
    images = load_data(DATA, tmp_path).train
    alone, _, wanted = trained(images)
    crew = Crew(DATA, COMPUTE, tmp_path)
    try:
        together, held, losses = trained(images, crew.member, crew)
        again, _, same = trained(images, crew.member, crew)  # as in the next round of a trial
    finally:
        crew.close()
    assert losses == pytest.approx(wanted, rel=1e-5) and held.revived() == []
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert same == losses
    assert all(map(torch.equal, again.state_dict().values(), together.state_dict().values()))


def test_a_trial_of_two_processes_prunes_holds_and_ends(tmp_path):
    workspace = Workspace(tmp_path)
    config = small_base(
        **{"prune.granularity": "filter", "prune.scope": "layer", "compute.processes": 2}
    )
    alone = config.replace({"compute.processes": 1})
    assert config.key == alone.key
    train_dense(alone, load_data(config.data, workspace.cache), workspace.cache)
    trial = Trial(config, workspace)
    while not trial.trained:
        metrics = trial.epoch()
    (follower,) = trial.crew._processes
    assert follower.is_alive()
    trial.close()
    assert not follower.is_alive()
    assert metrics["prune/sparsity"] == pytest.approx(0.5, abs=0.02)


def test_shares_make_up_the_whole(tmp_path):
    images = dataclasses.replace(load_data(DATA, tmp_path).train, shift=4)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(1))

    def read(share):
        draw = torch.Generator().manual_seed(2)
        return list(images.batches(order, 8, augment=draw, share=share))

    for whole, left, right in zip(read((0, 1)), read((0, 2)), read((1, 2)), strict=True):
        for all_, even, odd in zip(whole, left, right, strict=True):
            assert torch.equal(all_[::2], even) and torch.equal(all_[1::2], odd)


def test_no_share_of_a_batch_has_a_single_image():
    for n_images in range(8, 40):
        for n_shares in (1, 2, 3):
            batches = split_batches(torch.arange(n_images), 8, n_shares)
            assert torch.equal(torch.cat(batches), torch.arange(n_images))
            assert min(len(batch) // n_shares for batch in batches) >= 2


def test_one_process_alone_sums_nothing():
    tensor = torch.ones(3)
    Member().add_up([tensor])
    assert torch.equal(tensor, torch.ones(3))
