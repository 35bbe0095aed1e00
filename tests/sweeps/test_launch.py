"""What a trial asks of Ray, on machines and clusters that are here only by their numbers."""

import dataclasses

import pytest
from small_studies import small_sweep

from sweeps.launch import trial_resources

MACHINE = {"CPU": 8.0, "memory": 16e9}
GPUS = {**MACHINE, "GPU": 2.0}
HEAD = {"memory": 8e9}  # of a cluster whose workers come when trials wait


def asked(cluster, device="auto", may_grow=False, **changes):
    """(CPUs, GPUs) of a trial of the small study."""
    sweep = small_sweep(**{"compute.device": device})
    sweep = dataclasses.replace(sweep, cpus_per_trial=2.0, **changes)
    resources = trial_resources(sweep, cluster, may_grow=may_grow)
    assert resources["memory"] == 1.5e9
    return resources["cpu"], resources["gpu"]


def test_a_trial_takes_its_share_of_what_is_there():
    assert asked(MACHINE) == asked(GPUS, "cpu") == (2, 0)
    assert asked(GPUS) == asked(GPUS, "cuda") == (2, 0.25)
    assert asked({**MACHINE, "CPU": 1.0}) == (1, 0)
    assert asked(GPUS, gpus_per_trial=2.0) == (2, 2)


def test_a_cluster_that_grows_from_nothing_is_asked_for_all_that_the_study_says():
    assert asked(HEAD, may_grow=True) == asked(HEAD, "cuda", may_grow=True) == (2, 0.25)
    assert asked(HEAD, "cpu", may_grow=True) == (2, 0)
    assert asked(MACHINE, may_grow=True) == (2, 0)
    assert asked(MACHINE, "cuda", may_grow=True) == (2, 0.25)


@pytest.mark.parametrize(
    ("cluster", "changes", "sentence"),
    [
        (MACHINE, {"device": "cuda"}, "needs a GPU and this Ray has none; use 'auto'"),
        (GPUS, {"gpus_per_trial": 4.0}, "a trial needs 4 GPUs, the cluster has 2"),
        ({"CPU": 8.0, "memory": 1e9}, {}, "needs 1.5 GB of memory, Ray has 1.0 GB to give"),
    ],
)
def test_what_would_wait_for_ever_is_refused(cluster, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        asked(cluster, **changes)
