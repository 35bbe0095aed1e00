"""What only a GPU can show; waits here for a machine that has one. Needs no Ray and no MLflow.

Tolerances: a GPU's convolutions are in TF32 (a mantissa of 10 bits), bf16 has 8, fp16 10. After
training, which amplifies what is rounded, losses are compared and not weights.
"""

import multiprocessing

import numpy as np
import pytest
import torch
from networks_for_tests import choose
from PIL import Image
from small_studies import small_base

from pruning import Held
from trainables.config import NetworkConfig, TrainConfig
from trainables.datasets.ahead import batches_on
from trainables.datasets.files import files_of
from trainables.datasets.images import ArrayImages
from trainables.datasets.loading import load_data
from trainables.datasets.pack import open_pack
from trainables.datasets.packed_images import PackedImages
from trainables.networks import build_network
from trainables.training.compute import place
from trainables.training.dense import load_dense, train_dense
from trainables.training.evaluate import predict
from trainables.training.finetune import Training
from trainables.trial import run_trial
from trainables.workspace import Workspace

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RECIPE = TrainConfig(epochs=2, batch_size=32, optimizer="sgd", lr=0.01)
LOSS = {"fp32": 0.01, "bf16": 0.03, "fp16": 0.02}  # relative, after an epoch of five steps


@pytest.fixture(scope="module")
def images():
    """Brightness says the class, so that the loss falls."""
    labels = torch.arange(150) % 5
    pixels = np.random.default_rng(0).integers(0, 60, (150, 64, 64, 3), dtype=np.uint8)
    pixels += (40 * labels).byte().numpy()[:, None, None, None]
    return ArrayImages(pixels, labels, digest="d")


def trained(images, device, precision, compile="off", epochs=1):
    """GoogLeNet with half of its weights held at zero; the losses of its epochs."""
    torch.manual_seed(0)
    network = place(build_network(NetworkConfig(weights="random"), 5), device)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # devices, and compiled code, draw other numbers
    held = Held(network, choose(network, 0.5, granularity="weight", scope="global", criterion="l1"))
    held.apply()
    training = Training(network, images, RECIPE, precision=precision, held=held, compile=compile)
    draws = [torch.Generator().manual_seed(epoch) for epoch in range(epochs)]
    losses = [training.epoch(draw)["train/loss"] for draw in draws]
    assert held.revived() == []
    return network, losses


def test_the_gpu_predicts_what_the_cpu_does(workspace):
    config = small_base()
    data = load_data(config.data, workspace.cache)
    network = load_dense(config, data, workspace.cache)
    cpu = predict(network, data.val, CPU, "fp32", 64)
    gpu = predict(network.cuda(), data.val, CUDA, "fp32", 64)
    torch.testing.assert_close(gpu, cpu, rtol=1e-2, atol=1e-2)


@pytest.fixture(scope="module")
def on_cpu(images):
    return trained(images, CPU, "fp32")[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_an_epoch_on_the_gpu_is_one_on_the_cpu(images, on_cpu, precision):
    losses = trained(images, CUDA, precision)[1]
    assert losses == pytest.approx(on_cpu, rel=LOSS[precision])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("mode", ["default", "graphs"])
def test_compiled_it_trains_to_the_same(images, mode, precision, monkeypatch, tmp_path):
    """Two epochs, whose last batches are smaller: two shapes, each seen again."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, wanted = trained(images, CUDA, precision, epochs=2)
    network, losses = trained(images, CUDA, precision, mode, epochs=2)
    assert losses == pytest.approx(wanted, rel=LOSS[precision])
    assert list(network.state_dict()) == list(plain.state_dict())
    left = predict(network, images, CUDA, "fp32", 50)
    right = predict(plain, images, CUDA, "fp32", 50)
    assert (left.argmax(1) == right.argmax(1)).float().mean() > 0.9


@pytest.fixture
def packed(tmp_path):
    paths = []
    for i in range(100):
        noise = np.random.default_rng(i).integers(0, 256, (5, 4, 3), dtype=np.uint8)
        size = [(320, 256), (256, 256), (256, 400)][i % 3]
        paths.append(tmp_path / f"{i:02}.JPEG")
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    pack = open_pack(files_of(paths), 256, tmp_path / "cache")
    return PackedImages(pack, torch.arange(100), "d", 224, workers=2)


@pytest.mark.parametrize("augmented", [False, True])
def test_batches_arrive_whole_while_the_gpu_is_busy(packed, augmented):
    def draw():
        return torch.Generator().manual_seed(0) if augmented else None

    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    busy, found = torch.randn(4096, 4096, device=CUDA), []
    for ids, views, labels in batches_on(CUDA, packed, order, 8, augment=draw()):
        busy = (busy @ busy).tanh()  # the stream that reads is behind the one that copies
        assert views.device.type == "cuda" and ids.device.type == "cpu"
        found.append((ids, views.int() + 0, labels + 0))
    for left, right in zip(found, packed.batches(order, 8, augment=draw()), strict=True):
        assert torch.equal(left[0], right[0]) and torch.equal(left[2].cpu(), right[2])
        assert (left[1].cpu() - right[1].int()).abs().max() <= (2 if augmented else 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_trial_runs_on_the_gpu_and_its_zeros_hold(workspace, precision):
    result = run_trial(gpu_config(workspace, precision), workspace)
    assert result.outcome == "completed"
    assert 0.45 < result.metrics["prune/sparsity"] < 0.55
    assert 0 < result.metrics["mis/mean"] < 1


def gpu_config(workspace, precision, **more):
    changes = {"compute.device": "cuda", "prune.granularity": "filter", "prune.scope": "layer"}
    config = small_base(**changes, **{"compute.precision": precision}, **more)
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    return config


def _run(root, seed, results):
    workspace = Workspace(root)
    result = run_trial(gpu_config(workspace, "bf16", seed=seed), workspace)
    results.put((seed, result.metrics))


def test_trials_that_share_a_gpu_end_as_if_alone(workspace):
    """Three processes on one GPU at once, and each trial again by itself."""
    seeds = (0, 1, 2)
    for seed in seeds:
        gpu_config(workspace, "bf16", seed=seed)  # trains what they start from
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    trials = [context.Process(target=_run, args=(workspace.root, s, results)) for s in seeds]
    for each in trials:
        each.start()
    together = dict(results.get(timeout=600) for _ in seeds)
    for each in trials:
        each.join(60)
        assert each.exitcode == 0
    for seed in seeds:
        alone = run_trial(gpu_config(workspace, "bf16", seed=seed), workspace).metrics
        assert together[seed]["prune/n_zero"] == alone["prune/n_zero"]
        assert together[seed]["val/loss"] == pytest.approx(alone["val/loss"], rel=0.05)
        assert together[seed]["mis/mean"] == pytest.approx(alone["mis/mean"], abs=0.03)
