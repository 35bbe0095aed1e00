"""What `make plan` says a sweep would cost."""

import dataclasses
import io
from contextlib import redirect_stdout

import pytest
from optuna.distributions import FloatDistribution
from small_studies import small_base, small_sweep

import sweeps.__main__ as cli
from sweeps.plan.cost import Speed, duration, estimate, gpus_here, measure_speed, slots_here
from sweeps.plan.planner import make_plan
from sweeps.plan.preview import cost_summary
from sweeps.plan.space import Search
from sweeps.searching.resume import to_come
from trainables.config import TrainConfig

SPEED = Speed(train=10.0, evaluate=20.0)


def said(*arguments):
    """Exit code and output of `python -m sweeps`."""
    text = io.StringIO()
    with redirect_stdout(text):
        code = cli.main(list(arguments))
    return code, text.getvalue()


def test_a_trial_costs_its_epochs_its_evaluations_and_its_score():
    """Images counted by hand: 96 to train on, 60 to validate, 60 that are scored."""
    rounds = {"prune.schedule": "iterative", "prune.rounds": 3, "finetune.epochs": 2}
    config = small_base(**rounds)
    alone = estimate([config], SPEED, 1)
    trial = 6 * 96 / 10 + (6 * 60 + 60) / 20
    dense = 2 * (96 / 10 + 60 / 20)
    assert alone.seconds == pytest.approx(trial + dense)
    each_round = estimate([config.replace({"score_every_round": True})], SPEED, 1)
    assert each_round.seconds - alone.seconds == pytest.approx(2 * 60 / 20)
    as_pruned = estimate([small_base(finetune=None)], SPEED, 1)
    assert as_pruned.seconds == pytest.approx((60 + 60) / 20 + dense)


def test_a_dense_network_is_trained_once_a_seed_and_before_its_trials():
    two = [small_base(), small_base(**{"prune.rate": 0.7})]
    other = [*two, small_base(seed=1)]
    dense = 2 * (96 / 10 + 60 / 20)
    trial = 96 / 10 + (60 + 60) / 20
    assert estimate(two, SPEED, 2).seconds == pytest.approx(2 * trial + dense)
    assert estimate(two, SPEED, 2).finish == pytest.approx(trial + dense)
    assert estimate(two, SPEED, 8).finish == pytest.approx(trial + dense)
    assert estimate(other, SPEED, 3).seconds == pytest.approx(3 * trial + 2 * dense)


def test_a_folder_of_unknown_size_counts_as_imagenet():
    data = dataclasses.replace(
        small_base().data, name="image_folder", path="/d", train_images=None, val_images=None
    )
    network = dataclasses.replace(small_base().network, weights="imagenet", recipe=None)
    config = small_base(data=data, network=network)
    expected = 1_281_167 / 10 + (50_000 + 60) / 20
    assert estimate([config], SPEED, 1).seconds == pytest.approx(expected)


def test_slots_are_shares_of_gpus_or_of_cpus():
    sweep = small_sweep()
    assert slots_here(sweep, 2, 4) == 8 and slots_here(sweep, None, 4) == 4
    wide = dataclasses.replace(sweep, cpus_per_trial=8.0, gpus_per_trial=2.0)
    assert slots_here(wide, 7, 4) == 3 and slots_here(wide, None, 4) == 1


def test_measured_speed_is_of_this_machine():
    speed = measure_speed(small_sweep(), small_base())
    assert 1 < speed.train < speed.evaluate < 1e6
    assert gpus_here(small_sweep()) is None  # its trials are told to stay on the CPU


def test_the_sentence_and_its_gpu_hours():
    sweep = small_sweep()
    recipe = TrainConfig(epochs=1_000, batch_size=32)
    configs = [small_base(finetune=recipe, **{"prune.rate": r / 10}) for r in range(1, 9)]
    cost = estimate(configs, SPEED, 8)
    text = cost_summary(sweep, configs, SPEED, 2)
    assert f"{cost.seconds * 0.25 / 3600:,.1f} GPU-hours, {duration(cost.finish)} with 8" in text
    assert "at 10 images/s in training and 20 in evaluation" in text and "on 2 GPUs" in text
    assert f"{cost.bytes / 1e6:.1f} MB" in text
    assert [duration(s) for s in (5, 600, 7_200, 864_000)] == ["1 min", "10 min", "2.0 h", "10 d"]


def test_the_plan_of_a_search_counts_what_it_may_propose(tmp_path):
    search = Search({"prune.rate": FloatDistribution(0.3, 0.8)}, {"val/top1": "max"}, 5)
    plan = make_plan(dataclasses.replace(small_sweep(), search=search))
    assert len(to_come(plan, tmp_path, None, set())) == len(plan.configs) + 5
    assert to_come(make_plan(small_sweep()), tmp_path, None, set(plan.keys)) == []


def test_make_plan_measures_or_takes_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    results = str(tmp_path / "none")
    given = ("plan", "--results", results, "--speed", "5000,9000", "--gpus", "8")
    code, text = said(*given)
    assert code == 0 and "at 5,000 images/s in training and 9,000 in evaluation a trial" in text
    assert "with 32 trials at a time on 8 GPUs" in text
    code, text = said("plan", "--results", results, "--set", "compute.device=cpu")
    assert code == 0 and "CPU-hours" in text and "images/s" in text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("--speed", "5"), "must be TRAIN,EVALUATE in images per second, got '5'"),
        (("--speed", "5,-1"), "must be a number from 0.001 to 1,000,000,000, got '-1'"),
        (("--gpus", "0"), "must be a number from 0.01 to 100,000, got '0'"),
        (("--results", "s3://b/r"), "must be a folder that all nodes see, got 's3://b/r'"),
    ],
)
def test_numbers_that_are_none_are_refused(wrong, sentence, capsys):
    with pytest.raises(SystemExit) as refused:
        cli.main(["plan", *wrong])
    assert refused.value.code == 2 and sentence in capsys.readouterr().err


def test_the_speed_of_gpus_that_are_not_here_must_be_given(tmp_path, capsys):
    arguments = ["plan", "--results", str(tmp_path / "none"), "--gpus", "8"]
    assert cli.main([*arguments, "--set", "compute.device=cpu"]) == 2
    assert "give --speed TRAIN,EVALUATE" in " ".join(capsys.readouterr().err.split())
