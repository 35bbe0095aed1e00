"""Tables of units of thousands of trials: read a few at a time, and as if they were one frame."""

import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from report_frames import log_sweep, synthetic
from rich.console import Console

from sweeps.report import load, load_frames, report_study
from sweeps.report.files import partial_folder
from sweeps.report.read.same_units import with_dense
from sweeps.report.read.unit_tables import FileTables, FrameTables
from sweeps.report.sections.alive_units import at_highest_rate, ends_of_mis, layer_means, layers_of
from sweeps.report.sections.series import main_series
from sweeps.report.statistics.population import compared, training_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A store, what it holds, its frames in memory, and those whose units lie in a folder."""
    frames = synthetic(methods=("structured", "unstructured"), seeds=(0, 1), channels=2)
    results = tmp_path_factory.mktemp("results")
    tracker = log_sweep(frames, results, tmp_path_factory.mktemp("files"))
    kept = load_frames(tracker, tracker.sweeps()[0], tmp_path_factory.mktemp("kept"))
    return results, tracker, load("synthetic", results), kept


def sorted_units(frame):
    columns = ["key", "layer", "channel", "state", "mis", "dense_mis", "counted", "label"]
    texts = {name: str for name in ("key", "layer", "state", "label")}
    table = frame[columns].astype(texts)
    return table.sort_values(["key", "layer", "channel"]).reset_index(drop=True)


def test_units_that_lie_in_a_folder_are_those_of_a_frame(logged, tmp_path):
    _, _, held, kept = logged
    assert kept.units.empty and kept.dissected.empty and len(held.units) > 1_000
    assert set(kept.of_units) == set(held.of_units) == set(held.trials["key"])
    whole = pd.concat(kept.of_units.batches())
    pd.testing.assert_frame_equal(sorted_units(whole), sorted_units(held.units))
    kept.of_units.write(tmp_path / "units.parquet")
    written = pd.read_parquet(tmp_path / "units.parquet")
    pd.testing.assert_frame_equal(sorted_units(written), sorted_units(held.units))
    assert set(written.columns) == set(held.units.columns)
    found = pd.concat(kept.of_dissected.batches())
    assert len(found) == len(held.dissected)
    pd.testing.assert_frame_equal(kept.trials, held.trials)


def test_figures_of_units_are_of_the_same_numbers_wherever_they_lie(logged):
    _, _, held, kept = logged
    layers = layers_of(held)
    assert layers == layers_of(kept) and len(layers) > 20
    assert ends_of_mis(held) == ends_of_mis(kept)
    trained = training_of(held.trials)
    low, high = held.units.loc[held.units["state"] == "alive", "mis"].quantile([0.001, 0.999])
    assert ends_of_mis(held) == pytest.approx((low, high), abs=0.001)
    for series in main_series(compared(held.trials)):
        keys = set(series.rows["key"])
        mine = held.units[held.units["key"].isin(keys) & held.units["counted"]]
        mine = mine[mine["state"] == "alive"]
        expected = mine.groupby(mine["layer"].astype(str))["mis"].agg(["mean", "count"])
        for frames in (held, kept):
            found = layer_means(frames, keys, layers)
            assert [layer for layer, _, _ in found] == [n for n in layers if n in expected.index]
            for layer, mean, n in found:
                assert (mean, n) == pytest.approx(tuple(expected.loc[layer]))
        ends = [at_highest_rate(frames, series, trained) for frames in (held, kept)]
        assert len(ends[0]) == len(ends[1]) > 0


def test_a_report_reads_the_units_of_a_few_trials_at_a_time(logged, monkeypatch):
    """All of them at once were 2.9 MB per trial: 7 GB for two thousand."""
    results, _, held, _ = logged
    read, at_once = FileTables.read, []

    def counted(self, keys, columns=()):
        at_once.append(len(set(keys) & set(self)))
        return read(self, keys, columns)

    monkeypatch.setattr(FileTables, "read", counted)
    report_study("synthetic", results, None, Console(file=io.StringIO()))
    per_rate = held.trials.groupby(["method", "rate"]).size().max()
    assert max(at_once) <= max(16, per_rate) < len(held.trials)
    folder = results / "report" / "synthetic"
    assert len(pd.read_parquet(folder / "units.parquet")) == len(held.units)
    assert not [path for path in folder.iterdir() if path.is_dir()]


def table(**columns):
    return pa.table({"layer": ["a", "b"], "channel": [0, 1], "state": ["alive"] * 2, **columns})


def test_tables_of_other_versions_lie_beside_one_another(tmp_path):
    tables = FileTables(tmp_path)
    tables.add("../../odd/key", "first", table(mis=[0.5, 0.6]))
    tables.add("second", "second", table(mis=[0.7, 0.8], dense_mis=[1.0, 2.0]))
    tables.add("third", "third", table(mis=pa.array([1, 0], pa.int64())))
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*.parquet"))
    whole = tables.read(list(tables))
    assert whole["dense_mis"].isna().tolist() == [True, True, False, False, True, True]
    assert whole["mis"].tolist() == [0.5, 0.6, 0.7, 0.8, 1.0, 0.0]
    assert list(tables["second"]["mis"]) == [0.7, 0.8]
    assert tables.read(["none"]).empty and "none" not in tables
    with pytest.raises(KeyError):
        tables["none"]
    tables.write(tmp_path / "all.parquet")
    assert pd.read_parquet(tmp_path / "all.parquet")["mis"].tolist() == whole["mis"].tolist()
    same = FrameTables(whole)
    for keys in (["second"], ["third", "../../odd/key"], []):
        assert same.read(keys, ["mis"])["mis"].tolist() == (
            tables.read(keys, ["mis"])["mis"].tolist() if keys else []
        )


def test_old_tables_find_their_dense_network_one_by_one(tmp_path):
    frames = synthetic(methods=("structured",), rates=(0.5,), seeds=(0, 1), channels=2)
    old = frames.units.drop(columns="dense_mis")
    expected = with_dense(old, frames.trials).set_index(["key", "layer", "channel"])
    expected = expected["dense_mis"].sort_index()
    tracker = log_sweep(dataclasses.replace(frames, units=old), tmp_path, tmp_path / "files")
    (tmp_path / "kept").mkdir()
    kept = load_frames(tracker, tracker.sweeps()[0], tmp_path / "kept")
    found = pd.concat(kept.of_units.batches()).astype({"key": str, "layer": str})
    found = found.set_index(["key", "layer", "channel"])["dense_mis"].sort_index()
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), nan_ok=True)
    assert np.isfinite(found).any()


HOLDS = """
import sys, time
from pathlib import Path
from sweeps.report.files import partial_folder
with partial_folder(Path(sys.argv[1])) as folder:
    (folder / "units").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_report_left_goes_and_what_a_running_one_has_stays(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        for _ in range(2)
    ]
    dead, alive = (Path(each.stdout.readline().strip()) for each in started)
    other = tmp_path / ".notes"
    other.mkdir()
    os.kill(started[0].pid, signal.SIGKILL)
    started[0].wait()
    with partial_folder(tmp_path) as mine:
        assert mine.is_dir() and not dead.exists()
        assert (alive / "units").exists() and other.is_dir()
    assert not mine.exists()
    started[1].kill()
    started[1].wait()
    shutil.rmtree(alive)
    link = tmp_path / f".{'0' * 32}"
    link.symlink_to(other)
    with partial_folder(tmp_path):
        assert link.is_symlink() and other.is_dir()
