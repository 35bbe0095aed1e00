"""What only a GPU can show; waits here for a machine that has one."""

import pytest
import torch
from small_studies import small_base

from trainables.datasets.loading import load_data
from trainables.dense import load_dense, train_dense
from trainables.evaluate import predict
from trainables.trial import run_trial
from trainables.workspace import Workspace

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("results"))
    config = small_base()
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    return workspace


def test_the_gpu_predicts_what_the_cpu_does(workspace):
    config = small_base()
    data = load_data(config.data, workspace.cache)
    network = load_dense(config, data, workspace.cache)
    cpu = predict(network, data.val, torch.device("cpu"), "fp32", 64)
    gpu = predict(network.cuda(), data.val, torch.device("cuda"), "fp32", 64)
    torch.testing.assert_close(gpu, cpu, rtol=1e-2, atol=1e-2)  # TF32 in the convolutions


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_trial_runs_on_the_gpu_and_its_zeros_hold(workspace, precision):
    changes = {"compute.device": "cuda", "prune.granularity": "filter", "prune.scope": "layer"}
    config = small_base(**changes, **{"compute.precision": precision})
    train_dense(config, load_data(config.data, workspace.cache), workspace.cache)
    result = run_trial(config, workspace)
    assert result.outcome == "completed"
    assert 0.45 < result.metrics["prune/sparsity"] < 0.55
    assert 0 < result.metrics["mis/mean"] < 1
