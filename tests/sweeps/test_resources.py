"""What a trial asks of Ray, and how many Ray runs at once."""

import dataclasses
import time

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from small_studies import small_sweep

from sweeps.plan.machine import (
    OBJECT_STORE_BYTES,
    TRIAL_BYTES,
    at_once,
    this_machine,
    trial_resources,
)

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
    with pytest.raises(ValueError, match="a share of one, or a whole number of them, got 1.5"):
        wanting(1.5)
    with pytest.raises(ValueError, match="a trial needs 8 GPUs, the cluster has 4"):
        trial_resources(wanting(8.0), CLUSTER)
    with pytest.raises(ValueError, match="compute.device='cuda' needs a GPU"):
        trial_resources(wanting(1.0, "cuda"), {**CLUSTER, "GPU": 0.0})


@pytest.mark.ray
@pytest.mark.slow
def test_a_plan_runs_as_many_trials_at_once_as_ray_does(monkeypatch):
    """A Ray that believes to have them: actors that ask for what trials do, until none starts."""
    for name in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    ray.init(
        address="local", num_cpus=16, num_gpus=4, _memory=12_000_000_000, include_dashboard=False
    )
    try:
        cluster = ray.cluster_resources()
        for cpus, gpus in ((8.0, 1.0), (1.0, 0.25), (1.0, 0.4), (0.5, 2.0), (4.0, 1 / 3), (16, 4)):
            sweep = dataclasses.replace(wanting(gpus), cpus_per_trial=cpus)
            wanted = trial_resources(sweep, cluster)
            n = at_once(wanted, cluster)
            bundle = {name: there for name, there in named(wanted).items() if there}
            group = [placement_group([bundle]) for _ in range(n + 2)]
            assert [each.wait(60) for each in group[:n]] == [True] * n, (cpus, gpus)
            assert [each.wait(1) for each in group[n:]] == [False, False], (cpus, gpus)
            for each in group:
                remove_placement_group(each)
            while ray.available_resources().get("CPU") != cluster["CPU"]:
                time.sleep(0.1)
    finally:
        ray.shutdown()


def named(resources):
    return {"CPU": resources["cpu"], "GPU": resources["gpu"], "memory": resources["memory"]}


@pytest.mark.ray
@pytest.mark.slow
def test_the_memory_of_a_plan_is_what_ray_finds(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = this_machine().memory
    ray.init(address="local", num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
    try:
        found, after = ray.cluster_resources()["memory"], this_machine().memory
    finally:
        ray.shutdown()
    low, high = sorted((before, after))  # others use memory meanwhile, and Ray itself
    assert low - TRIAL_BYTES / 2 < found < high + TRIAL_BYTES / 2
