"""What a trial asks of Ray; no Ray is started."""

import dataclasses

import pytest
from small_studies import small_sweep

from sweeps.tune.launch import trial_resources

CLUSTER = {"CPU": 4.0, "GPU": 4.0, "memory": 8e9}


def wanting(gpus, device="auto"):
    sweep = small_sweep(**{"compute.device": device})
    return dataclasses.replace(sweep, gpus_per_trial=gpus, cpus_per_trial=8.0)


@pytest.mark.parametrize("gpus", [0.25, 1.0, 2.0])
def test_a_share_of_a_gpu_or_whole_ones(gpus):
    found = trial_resources(wanting(gpus), CLUSTER)
    assert (found["cpu"], found["gpu"]) == (4.0, gpus)
    assert trial_resources(wanting(gpus), {**CLUSTER, "GPU": 0.0})["gpu"] == 0
    assert trial_resources(wanting(gpus, "cpu"), CLUSTER)["gpu"] == 0


def test_what_never_fits_is_refused():
    with pytest.raises(ValueError, match="a share of one GPU or whole GPUs, got 1.5"):
        trial_resources(wanting(1.5), CLUSTER)
    with pytest.raises(ValueError, match="a trial needs 8 GPUs, the cluster has 4"):
        trial_resources(wanting(8.0), CLUSTER)
    with pytest.raises(ValueError, match="compute.device='cuda' needs a GPU"):
        trial_resources(wanting(1.0, "cuda"), {**CLUSTER, "GPU": 0.0})
