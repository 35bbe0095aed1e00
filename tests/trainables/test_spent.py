"""What a trial spends: measured with clocks whose truth is known."""

import mmap
import time

import pytest
import torch
from small_studies import small_base

from trainables.artifacts import EPOCHS
from trainables.training.spent import MEASURED, Clock, begin_peaks, peaks
from trainables.trial import Trial

CPU = torch.device("cpu")


def slow(n, seconds):
    for item in range(n):
        time.sleep(seconds)
        yield item


def test_waiting_is_the_time_until_each_is_there_and_no_other():
    clock = Clock()
    for _ in clock.waiting_for(slow(3, 0.05)):
        time.sleep(0.1)
    found = clock.of_training(30)
    assert 0.15 <= clock.waited < 0.15 + (clock.seconds - 0.3)
    assert found["spent/waiting"] == pytest.approx(clock.waited / clock.seconds, rel=0.05)
    assert 0 < found["spent/images_per_second"] <= 30 / 0.45


def test_an_error_of_what_is_waited_for_comes_through():
    def broken():
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(Clock().waiting_for(broken()))


def test_the_peak_of_memory_is_of_this_trial_and_not_of_one_before():
    n = 200_000_000
    begin_peaks(CPU)
    before = peaks(CPU)["spent/memory_host"]
    with mmap.mmap(-1, n) as block:  # pages of its own: malloc may give what others left behind
        for at in range(0, n, 4096):
            block[at] = 1
        high = peaks(CPU)["spent/memory_host"]
    assert 0.9 * n < high - before < 1.5 * n
    assert peaks(CPU)["spent/memory_host"] == pytest.approx(high, rel=0.01)
    begin_peaks(CPU)
    assert peaks(CPU)["spent/memory_host"] < high - 0.8 * n


def test_every_epoch_and_the_end_of_a_trial_say_what_they_took(workspace):
    trial = Trial(small_base(), workspace)
    begun = time.perf_counter()
    epoch = trial.epoch()
    whole = time.perf_counter() - begun
    assert 0 < epoch["spent/epoch_seconds"] <= whole
    assert epoch["spent/images_per_second"] >= 96 / epoch["spent/epoch_seconds"]
    assert 0 <= epoch["spent/waiting"] <= 1
    result = trial.finish()
    told = {name for name in result.metrics if name.startswith("spent/")}
    assert told == {
        *("spent/epoch_seconds", "spent/images_per_second", "spent/waiting"),
        *("spent/score_seconds", "spent/memory_host"),
    }
    assert result.metrics["spent/memory_host"] > 1e8
    assert "spent/memory_host".startswith(MEASURED) and (result.folder / EPOCHS).exists()
    assert "python 3." in result.made_on["versions"] and "numpy" in result.made_on["versions"]
