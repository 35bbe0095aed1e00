"""What `make plan` says a sweep would cost."""

import dataclasses
import io
from contextlib import redirect_stdout

import pytest
from optuna.distributions import FloatDistribution
from small_studies import small_base, small_sweep

import sweeps.__main__ as cli
from sweeps.plan import cost
from sweeps.plan.cost import Speed, disk, duration, estimate, gpus_here, measure_speed
from sweeps.plan.machine import Machine, slots
from sweeps.plan.planner import make_plan
from sweeps.plan.preview import (
    cost_table,
    disk_sentence,
    idle_sentence,
    machines_of,
    plan_summary,
    trained_for,
)
from sweeps.plan.space import Search
from sweeps.searching.resume import to_come
from trainables.config import NetworkConfig, PruneConfig, SensitivityConfig, TrainConfig

SPEED = Speed(train=10.0, evaluate=20.0)
SCORED = 2 * 60 + 2 * 60  # passes in which units are read: over the probe images, and the twins'
REPORT = 1  # second a trial


def said(*arguments):
    """Exit code and output of `python -m sweeps`."""
    text = io.StringIO()
    with redirect_stdout(text):
        code = cli.main(list(arguments))
    return code, text.getvalue()


def test_a_trial_costs_its_epochs_its_evaluations_and_its_score():
    """Images counted by hand: 96 to train on, 60 to validate, 60 that are scored, twice as long."""
    rounds = {"prune.schedule": "iterative", "prune.rounds": 3, "finetune.epochs": 2}
    config = small_base(**rounds)
    alone = estimate([config], SPEED, 1)
    trial = 6 * 96 / 10 + (6 * 60 + SCORED) / 20
    dense = 2 * (96 / 10 + 60 / 20)
    assert alone.seconds == pytest.approx(trial + dense)
    each_round = estimate([config.replace({"score_every_round": True})], SPEED, 1)
    assert each_round.seconds - alone.seconds == pytest.approx(2 * SCORED / 20)
    as_pruned = estimate([small_base(finetune=None)], SPEED, 1)
    assert as_pruned.seconds == pytest.approx((60 + SCORED) / 20 + dense)


def test_a_dense_network_is_trained_once_a_seed_and_before_its_trials():
    two = [small_base(), small_base(**{"prune.rate": 0.7})]
    other = [*two, small_base(seed=1)]
    dense = 2 * (96 / 10 + 60 / 20)
    trial = 96 / 10 + (60 + SCORED) / 20
    assert estimate(two, SPEED, 2).seconds == pytest.approx(2 * trial + dense)
    assert estimate(two, SPEED, 2).finish == pytest.approx(trial + dense + 2 * REPORT)
    assert estimate(two, SPEED, 8).finish == pytest.approx(trial + dense + 2 * REPORT)
    assert estimate(other, SPEED, 3).seconds == pytest.approx(3 * trial + 2 * dense)


def test_a_dense_network_that_finished_trials_have_left_costs_nothing_more():
    plan = make_plan(small_sweep())
    dense = next(c for c in plan.configs if c.method == "dense" and c.retrain is None)
    trained = trained_for(plan, {dense.key})
    left = plan.remaining({dense.key})
    whole, rest = estimate(left, SPEED, 1), estimate(left, SPEED, 1, trained)
    assert whole.seconds - rest.seconds == pytest.approx(2 * (96 / 10 + 60 / 20))
    assert "of the dense network" in plan_summary(plan, set())
    assert "of the dense network" not in plan_summary(plan, {dense.key})
    untrained = next(c for c in plan.configs if c.method == "untrained")
    assert trained_for(plan, {untrained.key}) == set()


def test_rankings_are_counted_where_each_round_has_its_own():
    """Nineteen of them and nothing trained were planned as if they took no time."""
    one_shot = {"prune.criterion": "taylor", "prune.samples_per_class": 2}
    rounds = {"prune.schedule": "linear", "prune.rounds": 4}
    seconds = {
        name: estimate([small_base(finetune=None).replace(fields)], SPEED, 1, (), lambda _: 10)
        for name, fields in {
            "magnitude": rounds,
            "taylor": one_shot | rounds,
            "at once": one_shot,
            "of few": one_shot | rounds | {"prune.samples_per_class": 90},
        }.items()
    }
    more = {name: each.seconds - seconds["magnitude"].seconds for name, each in seconds.items()}
    assert more["taylor"] == pytest.approx(3 * 2 * 10 / 10)
    assert more["of few"] == pytest.approx(3 * 96 / 10)  # of all training images, no more
    assert seconds["at once"].seconds < seconds["magnitude"].seconds


def test_a_folder_of_unknown_size_counts_as_imagenet():
    data = dataclasses.replace(
        small_base().data, name="image_folder", path="/d", train_images=None, val_images=None
    )
    network = dataclasses.replace(small_base().network, weights="imagenet", recipe=None)
    config = small_base(data=data, network=network)
    expected = 1_281_167 / 10 + (50_000 + 2 * 60 + 2 * 500) / 20
    assert estimate([config], SPEED, 1).seconds == pytest.approx(expected)


def on(cpus, gpus=0.0, memory=1e12):
    return Machine(float(cpus), gpus, memory)


def test_as_many_run_at_once_as_cpus_gpus_and_memory_allow():
    sweep = small_sweep(**{"compute.device": "auto"})
    assert slots(sweep, on(4)) == 4 and slots(sweep, on(16, 2)) == 8
    assert slots(sweep, on(4, 2)) == 4  # a CPU each
    wide = dataclasses.replace(sweep, cpus_per_trial=8.0, gpus_per_trial=2.0)
    assert slots(wide, on(4)) == 1 and slots(wide, on(64, 7)) == 3
    # `paper` on 4 GPUs and 16 CPUs, of which each trial takes 8: two, and not four.
    paper = dataclasses.replace(sweep, cpus_per_trial=8.0, gpus_per_trial=1.0)
    assert slots(paper, on(16, 4)) == 2 and slots(paper, Machine(None, 4.0)) == 4
    assert slots(sweep, on(64, 0, 6.1e9)) == 4  # of 1.5 GB each
    # A share lies on one GPU: of 0.4 each takes two.
    shares = dataclasses.replace(sweep, gpus_per_trial=0.4)
    assert slots(shares, on(64, 3)) == 6
    thirds = dataclasses.replace(sweep, gpus_per_trial=1 / 3, cpus_per_trial=0.1)
    assert slots(thirds, on(1, 8)) == 10  # Ray counts ten thousandths


def test_longer_trials_begin_first_and_the_estimate_is_of_that_order():
    """Two slots: 4, 3, 3 and 2 of an epoch end after 6, as Ray would have them."""
    configs = [
        small_base(
            network=small_base().network.untrained,
            finetune=TrainConfig(epochs=n, batch_size=32),
            **{"prune.rate": 0.1 + 0.1 * at},
        )
        for at, n in enumerate((4, 3, 3, 2))
    ]
    ends = [0.0, 0.0]
    for config in configs:
        seen = 60 * config.n_epochs + 2 * 60  # no dense network to be the twin of
        ends[ends.index(min(ends))] += config.n_epochs * 96 / 10 + seen / 20
    assert estimate(configs, SPEED, 2).finish == pytest.approx(max(ends) + 4 * REPORT)


def test_the_disk_holds_images_networks_and_what_trials_leave():
    base, n = small_base(), 6
    configs = [base.replace({"prune.rate": 0.1 * (i + 1)}) for i in range(n)]
    found, size = disk(configs, 2), 5_600_000  # GoogLeNet's parameters, with few classes
    assert found.images == (96 + 60 + 60) * 32 * 32 * 3
    assert found.weights == pytest.approx(4 * size, rel=0.02)
    assert found.trials == pytest.approx(n * (8 * size + 5e6), rel=0.02)
    assert found.running == pytest.approx(2 * 12 * size, rel=0.02)
    assert found.bytes == found.images + found.weights + found.vectors + found.of_trials
    data = dataclasses.replace(
        base.data, name="image_folder", path="/d", train_images=None, val_images=None, packed=256
    )
    given = dataclasses.replace(base.network, weights="imagenet", recipe=None)
    packed = [config.replace({"data": data, "network": given}) for config in configs]
    assert 340e9 < disk(packed, 2).images < 370e9  # ImageNet, decoded once
    as_files = [c.replace({"data.packed": None}) for c in packed]
    assert disk(as_files, 2).images == 0
    said = disk_sentence(packed, 2)
    assert said.startswith("disk: about 349") and "decoded or drawn once" in said


def test_measured_speed_is_of_this_machine():
    speed = measure_speed(small_sweep(), small_base())
    assert 1 < speed.train < speed.evaluate < 1e6
    assert gpus_here(small_sweep()) is None  # its trials are told to stay on the CPU


def rows(sweep, configs, machines):
    table = cost_table(sweep, configs, SPEED, machines)
    return list(zip(*(column.cells for column in table.columns), strict=True)), table.title


def test_a_row_per_machine_with_what_it_needs_and_its_hours():
    sweep = small_sweep(**{"compute.device": "auto"})
    recipe = TrainConfig(epochs=1_000, batch_size=32)
    configs = [small_base(finetune=recipe, **{"prune.rate": r / 10}) for r in range(1, 9)]
    found, title = rows(sweep, configs, machines_of(on(4), 2.0, None, True))
    assert [(row[0], row[1]) for row in found] == [
        *(("2 GPUs", "8"), ("1 GPU", "4"), ("4 GPUs", "16"), ("8 GPUs", "32")),
    ]
    assert title.startswith("at 10 images/s in training and 20 in evaluation a trial")
    assert found[0][2] == "8 CPUs, 12.0 GB of memory"
    for row in found:
        cost = estimate(configs, SPEED, int(row[1]))
        assert row[3] == f"{cost.seconds * 0.25 / 3600:,.1f} GPU-hours"
        assert row[4] == duration(cost.finish)
    (alone,), _ = rows(sweep, configs, machines_of(on(4), None, None, False))
    assert alone[:2] == ("4 CPUs", "4") and alone[3].endswith("CPU-hours")
    wide = dataclasses.replace(sweep, gpus_per_trial=2.0)
    found, _ = rows(wide, configs, machines_of(on(4), 1.0, 16.0, True))
    assert found[0][:3] == ("1 GPU, 16 CPUs", "0", "a trial needs 2 GPUs, the cluster has 1")
    assert found[1][:2] == ("4 GPUs, 16 CPUs", "2")
    assert [duration(s) for s in (5, 600, 7_200, 864_000)] == ["1 min", "10 min", "2.0 h", "10 d"]


def test_gpus_that_would_stand_idle_are_told_with_what_would_use_them():
    sweep = small_sweep(**{"compute.device": "auto"})
    paper = dataclasses.replace(sweep, cpus_per_trial=8.0, gpus_per_trial=1.0)
    assert idle_sentence(paper, on(16, 4)) == (
        "2 trials at once use 2 of 4 GPUs, a trial takes 8 CPUs: SET=cpus_per_trial=4 uses all"
    )
    assert slots(dataclasses.replace(paper, cpus_per_trial=4), on(16, 4)) == 4
    assert idle_sentence(paper, on(32, 4)) == "" == idle_sentence(paper, Machine(None, 4.0))
    assert idle_sentence(sweep, on(4)) == ""
    assert "4 would need 6.0 GB of memory" in idle_sentence(paper, on(64, 4, 4e9))


def test_what_a_trial_takes_of_a_machine_is_set_as_fields_are():
    plan = make_plan(small_sweep(), settings={"cpus_per_trial": 2, "finetune.epochs": 4})
    assert plan.sweep.cpus_per_trial == 2 and 4 in {c.n_epochs for c in plan.configs}
    assert plan.keys == make_plan(small_sweep(), settings={"finetune.epochs": 4}).keys
    for value in (0, -1, "x", True, 1.5):
        with pytest.raises(ValueError, match=r"cpus_per_trial must be a .*number.*, got"):
            make_plan(small_sweep(), settings={"cpus_per_trial": value})


def test_the_plan_of_a_search_counts_what_it_may_propose(tmp_path):
    search = Search({"prune.rate": FloatDistribution(0.3, 0.8)}, {"val/top1": "max"}, 5)
    plan = make_plan(dataclasses.replace(small_sweep(), search=search))
    assert len(to_come(plan, tmp_path, None, set())) == len(plan.configs) + 5
    assert to_come(make_plan(small_sweep()), tmp_path, None, set(plan.keys)) == []


def test_make_plan_measures_or_takes_what_it_is_given(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    results = str(tmp_path / "none")
    given = ("plan", "--results", results, "--speed", "5000,9000", "--gpus", "16", "--cpus", "32")
    code, text = said(*given)
    assert code == 0 and "at 5,000 images/s in training and 9,000 in evaluation" in text
    row = next(line for line in text.splitlines() if "16 GPUs, 32 CPUs" in line)
    assert " 32 " in row and "GPU-hours" in row and "disk: about" in text
    assert all(f"{n} GPU" in text for n in (1, 4, 8))
    code, text = said("plan", "--results", results, "--set", "compute.device=cpu")
    assert code == 0 and "CPU-hours" in text and "images/s" in text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("--speed", "5"), "must be TRAIN,EVALUATE in images per second, got '5'"),
        (("--speed", "5,-1"), "must be a number from 0.001 to 1,000,000,000, got '-1'"),
        (("--cpus", "0"), "must be a number from 1 to 100,000, got '0'"),
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


def test_a_plan_measures_the_network_and_the_images_that_its_trials_have(monkeypatch):
    measured = []
    monkeypatch.setattr(cost, "measure_speed", lambda _, config: measured.append(config) or SPEED)
    configs = small_sweep().expand({"network.name": "resnet18", "data.pixels": 48})
    assert cost.measured_here(small_sweep(), configs, None) == SPEED
    assert (measured[0].network.name, measured[0].data.pixels) == ("resnet18", 48)
    assert measured[0].prune is not None


def test_rounds_without_training_are_looked_at_one_by_one():
    once = small_base(finetune=None, network=NetworkConfig(weights="random"))
    rounds = once.replace({"prune.schedule": "linear", "prune.rounds": 5})
    more = estimate([rounds], SPEED, 1).seconds - estimate([once], SPEED, 1).seconds
    assert more == pytest.approx(4 * 60 / SPEED.evaluate)


def test_statistics_other_scores_and_small_images_cost_passes_too():
    def more(changed, base):
        return 20 * (estimate([changed], SPEED, 1).seconds - estimate([base], SPEED, 1).seconds)

    base = small_base(network=small_base().network.untrained)
    again = base.replace({"recalibrate_images": 50, "finetune.epochs": 3})
    thrice = base.replace({"finetune.epochs": 3})
    untouched = base.replace({"finetune": None, "prune": None})
    assert more(again, thrice) == pytest.approx(3 * 50)
    assert more(untouched.replace({"recalibrate_images": 50}), untouched) >= 50
    two = ("mis", "locality", "monosemanticity")
    assert more(base.replace({"scores": two}), base) == pytest.approx(2 * 60)
    large = base.replace({"data.pixels": 256})
    assert more(large.replace({"scores": two}), large) == pytest.approx(2 * 60 / 8)


def test_a_dense_network_that_has_the_machine_alone_trains_as_fast_as_it_does():
    alone = dataclasses.replace(SPEED, alone=25.0)
    whole, left = (estimate([small_base()], each, 1).seconds for each in (SPEED, alone))
    assert whole - left == pytest.approx(2 * (96 / 10 + 60 / 20) * (1 - 1 / 2.5))


def test_a_plan_measures_a_network_that_is_taught_with_its_teacher():
    base = small_base(**{"finetune.distill": 0.5, "compute.eval_batch_size": 4})
    base = base.replace({"finetune.batch_size": 4})
    assert measure_speed(small_sweep(), base).train > 0
    network = NetworkConfig(name="resnet18", weights="imagenet")
    given = base.replace({"network": network, "data.name": "image_folder", "data.path": "/images"})
    assert measure_speed(small_sweep(), given).train > 0  # whose dense network nothing trains


def test_a_plan_measures_batches_of_one_image():
    assert (
        measure_speed(
            small_sweep(), small_base(**{"finetune.batch_size": 1, "data.pixels": 64})
        ).train
        > 0
    )


def test_statistics_that_are_estimated_anew_cost_a_pass_a_round():
    prune = PruneConfig(granularity="filter", schedule="linear", rounds=3, rate=0.6)
    rounds = small_base(prune=prune, finetune=None)
    again = rounds.replace({"recalibrate_images": 40})
    speed = Speed(100.0, 50.0)
    more = estimate([again], speed, 1).seconds - estimate([rounds], speed, 1).seconds
    assert more == pytest.approx(3 * 40 / 50)


def test_a_plan_counts_what_layers_cost_that_are_pruned_one_by_one():
    plain = small_base(prune=None, finetune=None)
    measured = plain.replace({"sensitivity": SensitivityConfig(rates=(0.2, 0.5), n_images=20)})
    speed = Speed(100.0, 50.0)
    more = estimate([measured], speed, 1).seconds - estimate([plain], speed, 1).seconds
    assert more == pytest.approx(56 * 2 * 20 / 2 / 50)
