"""One worker without Ray's processes: what it reports after it was killed, stopped, or too big."""

import ctypes
import resource
from pathlib import Path

import forked
import pandas as pd
import pytest
import torch
from small_studies import computed, small_base

from sweeps.tune.worker import PruningTrial, is_out_of_memory, smaller_batch
from trainables.artifacts import PREDICTIONS
from trainables.config import NetworkConfig
from trainables.workspace import Workspace

pytestmark = pytest.mark.slow

TWO_ROUNDS = {"prune.schedule": "iterative", "prune.rounds": 2, "finetune.epochs": 2}


def config(**changes):
    network = {"network": NetworkConfig(weights="random"), "data.train_images": 64}
    return small_base(**network | changes)


def worker(config_, results, **more):
    return PruningTrial({"trial": config_, "results": str(results), **more})


@pytest.fixture
def trained(tmp_path):
    """A trial whose worker died after its second epoch, and the reports of these."""
    first = worker(config(**TWO_ROUNDS), tmp_path)
    return [first.step(), first.step()]


def test_a_new_worker_reports_first_what_an_old_one_may_not_have_delivered(trained, tmp_path):
    assert [[e["epoch"] for e in report["epochs"]] for report in trained] == [[1], [2]]
    second = worker(config(**TWO_ROUNDS), tmp_path)
    reports = [second.step() for _ in range(3)]
    assert [[e["epoch"] for e in r["epochs"]] for r in reports] == [[1, 2, 3], [4], []]
    assert reports[0]["epochs"][:2] == [trained[0]["metrics"], trained[1]["metrics"]]
    end = reports[2]
    assert end["done"] and end["outcome"] == "completed" and end["epoch"] == 4
    assert not end["final"].keys() & reports[1]["metrics"].keys()
    assert end["metrics"] == reports[1]["metrics"] | end["final"]
    assert "mis/mean" in end["final"] and "val/top1" not in end["final"]


def test_a_new_worker_that_is_told_to_stop_scores_what_the_old_one_had(trained, tmp_path):
    second = worker(config(**TWO_ROUNDS), tmp_path)
    second.wind_down(2)
    end = second.step()
    assert end["outcome"] == "stopped" and end["epoch"] == 2
    assert [e["epoch"] for e in end["epochs"]] == [1, 2]


def test_a_stopped_trial_ends_with_its_accuracy_on_all_validation_images(tmp_path):
    """Its last epoch saw a few: that number stood beside those of all images."""
    few = config(**TWO_ROUNDS, **{"data.val_images_per_epoch": 10})
    first = worker(few, tmp_path)
    glance = first.step()["metrics"]
    first.wind_down(1)
    end = first.step()
    assert (
        end["outcome"] == "stopped" and end["final"]["val/top1_error"] != glance["val/top1_error"]
    )
    assert next(iter(end["final"])) not in glance  # by which a server is asked what it has
    answers = pd.read_parquet(Workspace(tmp_path).trial(few.key) / PREDICTIONS)
    right = float((answers["answer_1"] == answers["truth"]).mean())
    assert len(answers) == few.data.val_images and end["final"].get(
        "val/top1", glance["val/top1"]
    ) == pytest.approx(right)


def test_a_stopped_trial_whose_state_is_lost_trains_up_to_there_again(trained, tmp_path):
    Workspace(tmp_path).state(config(**TWO_ROUNDS).key).unlink()
    second = worker(config(**TWO_ROUNDS), tmp_path)
    second.wind_down(2)
    reports = [second.step() for _ in range(3)]
    assert [report.get("outcome") for report in reports] == [None, None, "stopped"]
    assert computed(reports[1]["metrics"]) == computed(trained[1]["metrics"])


@pytest.mark.parametrize("state", [{"key": "another"}, {}, [1]])
def test_a_state_that_does_not_fit_is_removed_and_the_trial_starts_over(state, tmp_path):
    path = Workspace(tmp_path).state(config().key)
    path.parent.mkdir()
    torch.save(state, path)
    report = worker(config(), tmp_path).step()
    assert [e["epoch"] for e in report["epochs"]] == [1]


def test_what_cannot_be_set_up_is_reported_and_not_raised(tmp_path):
    broken = config(network=NetworkConfig(weights="file", checkpoint="/no/such"))
    report = worker(broken, tmp_path).step()
    assert report["outcome"] == "failed" and report["done"] and report["epochs"] == []
    assert "/no/such" in report["error"]


def test_half_the_batch_is_another_trial_of_the_same_network():
    whole = config(**{"finetune.batch_size": 33})
    half = smaller_batch(whole)
    assert half.finetune.batch_size == 16 and half.compute.eval_batch_size == 32
    assert half.network == whole.network and half.key != whole.key
    again = {"network": small_base().network, "finetune": None, "rewind": "learning_rate"}
    assert smaller_batch(config(**again)).network == small_base().network


def test_memory_that_ran_out_is_told_from_other_errors():
    try:
        torch.empty(2**50)
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    assert not is_out_of_memory(ValueError("the loss must be finite"))


def whole_blocks():
    """Large tensors come from the system and go back to it, whatever was freed before.

    Else malloc keeps what was freed in pieces of which some fit and some do not, by chance.
    """
    mmap_threshold, arena_max = -3, -8  # malloc.h
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(mmap_threshold, 2**18) and libc.mallopt(arena_max, 1)):
        raise RuntimeError("mallopt must take a threshold and a number of arenas")


def one_step(results, config_, limit, retry, told):
    """In a process of its own: a step under a limit on memory; its report and the peak."""
    whole_blocks()
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    report = worker(config_, results, retry_smaller_batch=retry).step()
    peak = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmPeak" in x)
    told.put((report, int(peak.split()[1]) * 1024))


def test_a_trial_that_is_too_big_is_tried_with_half_the_batch_if_the_study_says_so(tmp_path):
    big = config(**{"data.pixels": 192, "finetune.batch_size": 64})

    def run(config_, limit=None, retry=False):
        told = forked.context.Queue()
        child = forked.context.Process(
            target=one_step, args=(tmp_path, config_, limit, retry, told)
        )
        child.start()
        report, peak = told.get(timeout=300)
        child.join()
        Workspace(tmp_path).state(report["key"]).unlink(missing_ok=True)
        return report, peak

    half, small_peak = run(smaller_batch(big))
    _, big_peak = run(big)
    limit = (small_peak + big_peak) // 2
    failed, _ = run(big, limit)
    assert failed["outcome"] == "failed" and failed["error"]
    assert failed["key"] == big.key
    retried, _ = run(big, limit, retry=True)
    assert "error" not in retried, retried["error"]
    assert retried["key"] == smaller_batch(big).key and retried["retried"]
    assert computed(retried["metrics"]) == computed(half["metrics"])
