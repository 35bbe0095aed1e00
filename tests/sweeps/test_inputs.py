"""What a plan says of the images that it is given, and what a study adapts to them."""

import dataclasses
import importlib.util
import io
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from small_studies import small_base, small_sweep

import sweeps.__main__ as cli
from sweeps.plan.check import check
from sweeps.plan.cost import Speed, estimate
from sweeps.plan.planner import make_plan
from sweeps.plan.preview import plan_summary
from sweeps.studies import load_study
from trainables.config import NetworkConfig, TrainConfig
from trainables.datasets.listing import list_folder
from trainables.networks import build_network

FEW_TASKS = {"score.n_tasks": 1, "score.n_explanations": 1}


@pytest.fixture
def folder(tmp_path):
    """Two classes, of which there are 12 pictures each to train, and 6 to validate."""
    root = tmp_path / "pictures"
    draw = np.random.default_rng(0)
    for split, n in (("train", 12), ("val", 6)):
        for name in ("owl", "newt"):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "owl" / "x.gif").touch()
    return root


def of_folder(folder, **changes):
    """A small study of a folder, which asks for more than there is."""
    base = small_base()
    data = dataclasses.replace(
        base.data, name="image_folder", path=str(folder), train_images=None, val_images=None
    )
    base = base.replace({"data": data, **FEW_TASKS, **changes})
    return dataclasses.replace(small_sweep(), base=base)


def test_a_plan_counts_the_folder_that_was_just_listed(folder):
    """Bug report F12, attack A12: 24 pictures were counted as 1,281,167."""
    plan = make_plan(of_folder(folder))
    (sentence,) = [s for s in plan.inputs.sentences if s.startswith("images:")]
    assert sentence.startswith("images: 2 classes, 24 images in train/ and 12 in val/; left out: ")
    assert "1 hidden or of the system, 1 .gif" in sentence and str(folder) in sentence
    trained = next(c for c in plan.configs if c.retrain is not None and c.prune is None)
    counted = plan.inputs.counted(trained)
    assert (counted.data.train_images, counted.data.val_images) == (24, 12)
    cost = estimate([counted], Speed(train=10.0, evaluate=20.0), 1)
    scored = 2 * 24 + 2 * 12  # units are read in the probe images, and their twins
    expected = 24 / 10 + (12 + scored) / 20 + 2 * (24 / 10 + 12 / 20)
    assert cost.seconds == pytest.approx(expected)
    assert "epochs of 24 images in all" in plan_summary(plan, [])


def test_make_plan_says_it(folder, tmp_path, capsys):
    arguments = [
        *("plan", "--study", "paper", "--data", str(folder), "--results", str(tmp_path / "r")),
        *("--speed", "10,20", "--gpus", "1"),
        *("--set", "score.n_tasks=1", "--set", "score.n_explanations=1"),
        *("--set", "network.recipe.epochs=4", "--set", "network.recipe.head_epochs=1"),
    ]
    code, text = cli.main(arguments), capsys.readouterr().out
    assert code == 0 and "images: 2 classes, 24 images in train/ and 12 in val/" in text
    missing = "a sweep from here would be refused: dreamsim is not installed: make dreamsim"
    assert (missing in text) == (importlib.util.find_spec("dreamsim") is None)
    assert "data.probe_images takes all that there are, the study asks for 50,000" in text
    assert "recalibrate_images takes 24 that there are, the study asks for 2,048" in text
    assert (
        "of the head of ImageNet weights (1,000 classes) nothing is taken: a new one of 2 classes "
        "(fc, aux1.fc2, aux2.fc2) is trained by network.recipe: 4 epochs, the first 1 of it alone"
    ) in text
    assert "after 4 of the dense network" in text
    assert "epochs of 24 images" in text and not (tmp_path / "r").exists()


def test_a_study_adapts_its_own_numbers_and_takes_given_ones_at_their_word(folder):
    """Bug report D05: "recalibrate_images must be at most 120, got 512", which nobody gave."""
    study = of_folder(folder)
    plan = make_plan(study)
    assert {c.recalibrate_images for c in plan.configs} == {0, 24}
    assert {c.data.probe_images for c in plan.configs} == {None}
    assert set(plan.inputs.adapted) == {
        "data.probe_images takes all that there are, the study asks for 60",
        "recalibrate_images takes 24 that there are, the study asks for 64",
    }
    with pytest.raises(ValueError, match="at most the 24 .*, got 30; SET=recalibrate_images=24"):
        make_plan(study, settings={"recalibrate_images": 30})
    with pytest.raises(ValueError, match="at most the 24 training images, got 40; SET="):
        make_plan(study, grid={"recalibrate_images": [0, 40]})
    assert {c.recalibrate_images for c in make_plan(load_study("demo")).configs} == {0, 512}
    fewer = {"data.train_images": 120, "prune.samples_per_class": 6}
    few = make_plan(load_study("demo"), settings=fewer)
    assert {c.recalibrate_images for c in few.configs} == {0, 120}
    few = make_plan(
        load_study("demo"),
        settings=fewer,
        grid={"recalibrate_images": []},  # an axis without values gives none
    )
    assert {c.recalibrate_images for c in few.configs} == {0, 120}


def test_a_number_that_was_given_is_refused_where_it_is_too_large(folder, tmp_path):
    plan = make_plan(of_folder(folder), settings={"data.probe_images": 60})
    assert {c.data.probe_images for c in plan.configs} == {60}
    with pytest.raises(ValueError, match="got 60; SET=data.probe_images=None takes all"):
        check(plan.configs, tmp_path / "results", Console(file=io.StringIO()))


def test_keys_are_of_what_the_folder_holds(folder):
    """Bug report F04: new pictures of old names and sizes; a study of drawn images stays put."""
    assert make_plan(small_sweep()).keys == tuple(c.key for c in small_sweep().expand())
    before = make_plan(of_folder(folder))
    assert {c.data.digest for c in before.configs} == {list_folder(folder).digest}
    path = folder / "train" / "owl" / "3.png"
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    assert not set(make_plan(of_folder(folder)).keys) & set(before.keys)


def test_the_start_says_classes_images_and_what_is_skipped(folder, tmp_path):
    """Bug report F05: nobody was told how many classes there are."""
    (folder / "train" / "newt" / "0.png").write_bytes(b"no image")
    skipping = of_folder(folder, **{"data.broken_images": "skip"})
    plan = make_plan(skipping, settings={"recalibrate_images": 8})
    output = io.StringIO()
    check(plan.configs, tmp_path / "results", Console(file=output, width=1_000))
    text = output.getvalue()
    assert "images: 2 classes, 24 images in train/ and 12 in val/; left out: " in text
    assert "taken are 23 to train, 12 to validate and 23 to score" in text
    assert "skipped, since they cannot be read: " in text and "newt/0.png (of no known" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"network.recipe.batch_size": 1},
        {"finetune.batch_size": 1},
        {"finetune": None, "recalibrate_images": 1},
    ],
)
def test_a_batch_of_one_image_is_refused_in_our_words(changes, tmp_path):
    """It was refused in torch's, in every trial: "Expected more than 1 value per channel"."""
    config = small_base(**{**FEW_TASKS, **changes})
    with pytest.raises(ValueError, match="BatchNorm cannot train on one image of 32 pixels") as e:
        check([config], tmp_path, Console(file=io.StringIO()))
    assert "\n" not in str(e.value) and "value per channel" not in str(e.value)
    with pytest.raises(ValueError, match="train_images must be at least 2: BatchNorm needs more"):
        small_base(**FEW_TASKS, **{"data.train_images": 1})


def test_one_image_of_a_size_that_leaves_more_than_a_pixel_is_let_through(tmp_path):
    config = small_base(**{**FEW_TASKS, "data.pixels": 64, "finetune.batch_size": 1})
    check([config], tmp_path, Console(file=io.StringIO()))


def test_a_checkpoint_that_changes_under_a_planned_sweep_is_refused(tmp_path):
    """The sibling of F04: its key says which weights the trials began with."""
    recipe = TrainConfig()
    torch.save(build_network(NetworkConfig(recipe=recipe), 20).state_dict(), tmp_path / "a.pt")
    network = NetworkConfig(weights="file", checkpoint=str(tmp_path / "a.pt"))
    study = dataclasses.replace(small_sweep(), base=small_base(network=network))
    (config,) = [c for c in make_plan(study).configs if c.method == "dense" and not c.n_epochs]
    build_network(config.network, 20)
    torch.save(build_network(NetworkConfig(recipe=recipe), 20).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="must stay as it was when the sweep was planned, .*/a.pt"):
        build_network(config.network, 20)


def test_old_decoded_images_are_told_of_and_removed(folder, tmp_path, capsys):
    """Bug report F09: 370 GB of the old pack stayed."""
    results = tmp_path / "results"
    data = {"data.packed": 40, "recalibrate_images": 8}
    plan = make_plan(of_folder(folder), settings=data)
    check(plan.configs[:1], results, Console(file=io.StringIO()))
    (results / "outbox").mkdir()
    assert cli.main(["clean", "--results", str(results), "--remove"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    Image.new("RGB", (40, 40)).save(folder / "train" / "owl" / "3.png")
    plan = make_plan(of_folder(folder), settings=data)
    output = io.StringIO()
    check(plan.configs[:1], results, Console(file=output, width=1_000))
    assert "B of decoded images are of pictures that have changed" in output.getvalue()
    n_files = len(list((results / "cache" / "packs").iterdir()))
    assert cli.main(["clean", "--results", str(results), "--remove"]) == 0
    assert "decoded images that nobody asks for" in capsys.readouterr().out
    assert len(list((results / "cache" / "packs").iterdir())) < n_files


def test_what_pruning_cannot_do_in_a_network_is_said_before_anything_runs():
    plan = make_plan(small_sweep(), settings={"network.name": "convnext_tiny"})
    lost, depthwise = plan.inputs.lost
    assert depthwise == (
        "network.name='convnext_tiny': 18 of 22 convolutions (features.1.0.block.0, …) are "
        "depthwise and in no pool: their filters go with the channels that they read"
    )
    assert lost.startswith("network.name='convnext_tiny': channels cannot be followed through ")
    assert lost in plan.inputs.sentences and lost in plan.inputs.notes
    assert make_plan(small_sweep()).inputs.notes == []


def test_layers_without_input_channels_of_their_own_are_said_where_these_go():
    settings = {"network.name": "resnext50_32x4d"}
    assert make_plan(small_sweep(), settings=settings).inputs.lost == (
        "network.name='resnext50_32x4d': 16 of 53 convolutions (layer1.0.conv2, …) are grouped and "
        "in no pool of granularity 'input_channel': no input channel is read by all of their "
        "filters",
    )
    filters = make_plan(small_sweep(), grid={"method": ["structured"]}, settings=settings)
    assert filters.inputs.lost == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {
                "network.name": "mobilenet_v3_small",
                "prune.criterion": "lrp",
                "prune.samples_per_class": 4,
            },
            "every module must have a rule, there is none for Hardsigmoid",
        ),
        ({"prune.layers": "conv+linear", "prune.exclude": ("fc",)}, "it adds none"),
        ({"prune.biases": True}, "none of the layers that may be pruned has one"),
    ],
)
def test_a_plan_refuses_what_the_network_itself_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        make_plan(small_sweep(), settings=settings)


def spoil_empty_file(folder):
    (folder / "train" / "owl" / "0.png").write_bytes(b"")


def spoil_class(folder):
    shutil.rmtree(folder / "val" / "owl")


def spoil_all_but_one(folder):
    for path in [*folder.rglob("*.png")][1:]:
        path.unlink()


@pytest.mark.parametrize("command", ["plan", "sweep"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_empty_file, "1 of 36 are not: .*owl/0.png .an empty file.; data.broken_images='ski"),
        (spoil_class, "both splits must hold the same classes, .*/val lacks owl"),
        (spoil_all_but_one, "every class must have images, "),
    ],
)
def test_a_plan_refuses_what_a_sweep_would(folder, tmp_path, capsys, command, spoil, says):
    spoil(folder)
    arguments = [command, "--study", "paper", "--data", str(folder)]
    code = cli.main([*arguments, "--results", str(tmp_path / "r")])
    said = capsys.readouterr().err
    assert code == 2 and re.search(says, said.replace("\n", " ")), said
    assert len(said.strip().splitlines()) == 1 and not (tmp_path / "r" / "cache").exists()


def test_each_seed_of_a_split_that_is_drawn_is_said(folder):
    study = of_folder(folder / "train", **{"data.val_share": 0.25})
    plan = make_plan(study, grid={}, settings={"data.seed": 3})
    (images,) = [s for s in plan.inputs.sentences if s.startswith("images:")]
    assert "18 images in train and 6 in val, 25% of each class, drawn by data.seed=3" in images
    assert {plan.inputs.counted(c).data.val_images for c in plan.configs} == {6}
