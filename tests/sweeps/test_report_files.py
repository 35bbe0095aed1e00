"""What a report is made of and where it goes: odd runs are named, files of others stay."""

import os
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.report.files import (
    PAGE,
    made_of,
    note_made_of,
    replaced,
    report_folder,
    up_to_date,
    written,
)
from sweeps.report.page.words import beside_released
from sweeps.report.read.absurd import sound
from sweeps.report.read.artifacts import Source, read_tables
from sweeps.report.read.runs import _seen
from sweeps.tracking.notes import NOTE, note_tags
from sweeps.tracking.parents import order_of
from trainables.artifacts import EPOCHS, UNITS


def write(folder, *names):
    with replaced(folder, {"report", "old_figure"}) as partial:
        for name in names:
            (partial / name).write_text(name)


def test_a_report_carries_no_figure_of_an_older_one_and_leaves_what_is_not_its_own(tmp_path):
    folder = report_folder(tmp_path, "demo")
    folder.mkdir(parents=True)
    for name in ("old_figure.png", "my_notes.txt", "old_figure.tex"):
        (folder / name).write_text("x")
    write(folder, PAGE, "a.png", "b.png")
    assert {path.name for path in folder.iterdir()} - {".report.json"} == {
        *(PAGE, "a.png", "b.png", "my_notes.txt", "old_figure.tex")
    }
    write(folder, PAGE, "a.png")
    assert written(folder) == ["a.png", PAGE]
    assert not (folder / "b.png").exists() and (folder / "my_notes.txt").exists()


def test_a_report_that_fails_half_way_leaves_the_old_one_whole(tmp_path):
    folder = report_folder(tmp_path, "demo")
    write(folder, PAGE, "a.png")
    with pytest.raises(RuntimeError), replaced(folder, ()) as partial:
        (partial / PAGE).write_text("half")
        raise RuntimeError
    assert (folder / PAGE).read_text() == PAGE
    assert written(folder) == ["a.png", PAGE] and len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("kind", ["file", "folder", "report", "noted"])
def test_links_planted_in_a_reports_folder_harm_nobody(kind, tmp_path):
    mine = tmp_path / "home" / PAGE
    mine.parent.mkdir()
    mine.write_text("years")
    folder = tmp_path / "report" / "demo"
    if kind in ("file", "noted"):
        folder.mkdir(parents=True)
        name = PAGE if kind == "file" else ".report.json"
        (folder / name).symlink_to(mine)
        write(report_folder(tmp_path, "demo"), PAGE)
        assert (folder / PAGE).read_text() == PAGE
    else:
        link = folder if kind == "folder" else folder.parent
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(mine.parent)
        with pytest.raises(ValueError, match="must be a file or folder of its own"):
            report_folder(tmp_path, "demo")
    assert mine.read_text() == "years"


@pytest.mark.parametrize(
    "noted", ['{"files": ["../../thesis"]}', "[1]", "nonsense", '{"files": 3}']
)
def test_a_planted_list_of_files_removes_nothing_elsewhere(noted, tmp_path):
    (tmp_path / "thesis").write_text("years")
    folder = report_folder(tmp_path, "demo")
    folder.mkdir(parents=True)
    (folder / ".report.json").write_text(noted)
    write(folder, PAGE)
    assert (tmp_path / "thesis").exists() and written(folder) == [PAGE]


def test_a_report_is_made_anew_when_a_run_is_new_or_gone(tmp_path):
    folder, runs = report_folder(tmp_path, "demo"), {"a": "1", "b": "2"}
    assert up_to_date(tmp_path, "demo", "key", runs) is None
    write(folder, PAGE)
    assert up_to_date(tmp_path, "demo", "key", runs) is None  # not in MLflow yet
    note_made_of(folder, "key", runs)
    assert up_to_date(tmp_path, "demo", "key", dict(reversed(runs.items()))) == folder / PAGE
    for other in ({"a": "1"}, {**runs, "c": "3"}, {**runs, "b": "4"}):
        assert made_of("key", other) != made_of("key", runs)
        assert up_to_date(tmp_path, "demo", "key", other) is None
    assert up_to_date(tmp_path, "demo", "another sweep", runs) is None
    (folder / PAGE).unlink()
    assert up_to_date(tmp_path, "demo", "key", runs) is None


def test_a_description_that_a_person_wrote_stays():
    first = note_tags({}, "ours, first")
    assert first[NOTE] == "ours, first"
    second = note_tags(first, "ours, second")
    assert second[NOTE] == "ours, second"
    assert note_tags(first | second, "ours, second") == {}
    for text in ("mine", "ours, first and a word of mine", "One run a trial, I think"):
        assert note_tags({**first, NOTE: text}, "ours, second") == {}
        assert note_tags({NOTE: text}, "ours", earlier="One run a trial (one") == {}
    assert note_tags({**first, NOTE: " "}, "ours, second")[NOTE] == "ours, second"
    old = {NOTE: "One run a trial (one network), as versions wrote it that noted nothing"}
    assert note_tags(old, "ours", earlier="One run a trial (one")[NOTE] == "ours"


def run(name="t", params=None, start_time=1, **metrics):
    params = {"rate": "0.5", "seed": "0", **(params or {})}
    params = {name: value for name, value in params.items() if value is not None}
    data = SimpleNamespace(params=params, metrics=metrics)
    info = SimpleNamespace(run_name=name, run_id=f"id-{name}", start_time=start_time)
    return SimpleNamespace(data=data, info=info)


@pytest.mark.parametrize(
    "odd",
    [
        run("odd", **{"mis/mean": 1e308}),
        run("odd", **{"val/top1": 7.0}),
        run("odd", **{"val/top1": -0.5}),
        run("odd", **{"prune/sparsity": float("inf")}),
        run("odd", **{"cost/macs": 1e300}),
        run("odd", {"rate": "half"}),
        run("odd", {"rate": "nan"}),
        run("odd", {"rate": None, "method": "structured"}),
        run("odd", {"seed": "0.5"}),
        run("odd", {"prune.rounds": "many"}),
        run("odd", start_time=None),
    ],
)
def test_an_absurd_run_is_left_out_and_named_and_the_others_are_shown(odd):
    nan = float("nan")
    good = [
        run("dense", {"rate": None, "method": "none"}, **{"val/top1": 0.5}),
        run("stray", **{"val/loss": 1.8e308, "val/ece": nan}),
    ]
    gaps = []
    assert sound([good[0], odd, good[1]], gaps) == good
    assert len(gaps) == 1 and "the run odd (id-odd) is left out: its" in gaps[0].replace(
        "it d", "its"
    )


@pytest.mark.timeout(60)
def test_a_pipe_where_a_table_should_be_is_none(tmp_path):
    os.mkfifo(tmp_path / "units.parquet")
    source = Source("run", tmp_path.as_uri(), "key", "label")
    assert read_tables(None, [source], "units.parquet")[1] == ["label"]


def tables_of(tmp_path, frames, name):
    sources = []
    for at, frame in enumerate(frames):
        folder = tmp_path / f"run{at}"
        folder.mkdir()
        if frame is not None:
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / name)
        sources.append(Source(f"run{at}", folder.as_uri(), f"key{at}", f"label {at % 2}"))
    return read_tables(None, sources, name)


def units(**columns):
    good = {
        "layer": ["conv1", "fc"],
        "channel": [0, 3],
        "state": ["alive", "dead"],
        "mis": [0.75, float("nan")],
        "replicates": [[1.0], [2.0]],
    }
    return pd.DataFrame({**good, **columns})


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_tables_of_many_columns_are_read_without_a_warning(tmp_path):
    """Seen by the users of dissected sweeps: a metric per concept and epoch."""
    epochs = pd.DataFrame({"epoch": [1.0], **{f"dissection/{i}": [float(i)] for i in range(150)}})
    whole, _ = tables_of(tmp_path, [epochs, epochs], EPOCHS)
    assert whole["key"].tolist() == ["key0", "key1"]
    assert whole["dissection/149"].tolist() == [149.0] * 2


def test_tables_are_read_as_one_with_their_owners(tmp_path):
    first, second = units(), units(layer=["conv2", "fc"], dense_mis=[0.1, 0.2])
    whole, lacking = tables_of(tmp_path, [first, None, second], UNITS)
    assert lacking == ["label 1"] and "replicates" not in whole
    assert whole["key"].tolist() == ["key0", "key0", "key2", "key2"]
    assert whole["label"].tolist() == ["label 0"] * 4
    assert whole["layer"].tolist() == ["conv1", "fc", "conv2", "fc"]
    assert whole["mis"].dtype == "float64" and whole["mis"].tolist()[::2] == [0.75, 0.75]
    assert whole["dense_mis"].isna().tolist() == [True, True, False, False]
    assert all(str(whole[name].dtype) == "category" for name in ("key", "label", "layer", "state"))


@pytest.mark.parametrize(
    "odd",
    [
        units().drop(columns="mis"),
        units().drop(columns=["layer", "channel"]),
        units(mis=["high", "low"]),
        units(mis=[1e308, 0.5]),
        units(channel=["a", "b"]),
        pd.DataFrame({"a": [1]}),
    ],
)
def test_a_table_that_makes_no_sense_is_left_out(odd, tmp_path):
    whole, lacking = tables_of(tmp_path, [units(), odd], UNITS)
    assert lacking == ["label 1"] and set(whole["key"]) == {"key0"}


def test_a_table_of_epochs_keeps_what_each_trial_has(tmp_path):
    frames = [
        pd.DataFrame({"epoch": [1.0, 2.0], "val/top1": [0.1, 0.2]}),
        pd.DataFrame({"epoch": [1.0], "mis/mean": [0.6]}),
        pd.DataFrame({"epoch": ["one"]}),
    ]
    whole, lacking = tables_of(tmp_path, frames, EPOCHS)
    assert lacking == ["label 0"] and len(whole) == 3
    assert whole["mis/mean"].isna().tolist() == [True, True, False]


def launched(run_id, start_time, **tags):
    info = SimpleNamespace(start_time=start_time, run_id=run_id)
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))


def test_the_sweep_launched_last_is_told_by_a_count_and_not_by_the_clock():
    before = launched("a", 5_000, launched_turn="1", launched_ms="5000")
    after = launched("b", 1_000, launched_turn="2", launched_ms="1000")  # set back in between
    old = launched("c", 9_000, launched_ms="9000")  # of versions that had the clock alone
    foreign = launched("d", None, launched_turn="many", launched_ms="x")
    assert sorted([after, before, old, foreign], key=order_of)[-1] is after
    assert order_of(launched("a", 1)) < order_of(launched("b", 1))


FOLDER = "30 classes, 3,000 images in train/ and 1,500 in val/"
TAKEN = "taken are 720 to train, 1,360 to validate and 2,000 to score"
DRAWN = "20 classes, drawn: 720 images to train, 1,360 to validate and 2,000 to score"


@pytest.mark.parametrize("said", [f"{FOLDER}; {TAKEN}", f"{TAKEN}; skipped, …", DRAWN, ""])
def test_all_that_a_folder_holds_is_as_many_images_as_the_trial_noted(said):
    """The check of the probe images said that their number is not known."""
    params = {"data.train_images": "None", "data.probe_images": "None", "data.val_images": "7"}
    found = SimpleNamespace(params=params, metrics={}, tags={"images": said} if said else {})
    seen = _seen(SimpleNamespace(info=None, data=found)).data.params
    wanted = ("720", "2000") if said else ("None", "None")
    assert (seen["data.train_images"], seen["data.probe_images"]) == wanted
    assert seen["data.val_images"] == "7"


@pytest.mark.parametrize(
    ("target", "seen"),
    [("loss", {"prune.change_of": "loss"}), ("macs=0.5", {"prune.target": "macs=0.5"})],
)
def test_runs_of_before_that_call_the_criterions_target_so_are_read_as_todays(target, seen):
    found = SimpleNamespace(params={"prune.target": target}, metrics={}, tags={})
    assert _seen(SimpleNamespace(info=None, data=found)).data.params == seen


@pytest.mark.parametrize(
    ("data", "caption", "shown"),
    [
        ("image_folder", "googlenet on image_folder, 224 px; 1,000 classes, 50,000 images", True),
        ("image_folder", "googlenet on image_folder; 1,000 train, 100 val images", True),
        ("image_folder", f"googlenet on image_folder, 64 px; {FOLDER}", False),
        ("concepts", f"googlenet on concepts, 64 px; {DRAWN}", False),
    ],
)
def test_the_released_points_of_imagenet_are_shown_unasked_beside_a_thousand_classes_alone(
    data, caption, shown
):
    frames = SimpleNamespace(trials=pd.DataFrame({"data.name": [data]}), caption=caption)
    assert beside_released(frames) == shown
