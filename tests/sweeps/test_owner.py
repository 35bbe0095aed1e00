"""A results folder knows its own runs on a shared server: moved, or on another machine."""

import json
import multiprocessing
import platform
import shutil

import pytest

from sweeps.tracking.owner import Owner
from sweeps.tracking.tracker import Tracker

NOTED = ".folder.json"


def id_of(folder):
    return Owner(folder, is_shared=True).id


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "results"
    path.mkdir()
    return path


def test_a_folder_that_moves_keeps_its_id_and_a_copy_has_its_own(folder, tmp_path):
    own = id_of(folder)
    assert own and id_of(folder) == own
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert id_of(copy) not in ("", own)
    assert id_of(copy) == id_of(copy) and id_of(folder) == own
    moved = folder.rename(tmp_path / "elsewhere")
    assert id_of(moved) == own and json.loads((moved / NOTED).read_text())["path"] == str(moved)
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert id_of(link) == own


def test_processes_that_begin_at_once_have_one_id(folder):
    with multiprocessing.get_context("spawn").Pool(6) as pool:
        assert len(set(pool.map(id_of, [folder] * 24))) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "", "path": "/"}', '{"id": 7}'])
def test_a_note_that_cannot_be_read_is_written_anew(folder, text):
    (folder / NOTED).write_text(text)
    own = id_of(folder)
    assert own and id_of(folder) == own


def test_a_database_of_its_own_needs_no_id(folder):
    owner = Owner(folder, is_shared=False)
    assert owner.id == "" and owner.owns({"host": "other", "folder": "/there"})
    assert set(owner.tags) == {"host", "folder"} and not list(folder.iterdir())


def test_runs_of_before_are_told_by_where_they_were_made(folder):
    owner = Owner(folder, is_shared=True)
    here = {"host": platform.node(), "folder": str(folder)}
    assert owner.owns({}) and owner.owns(here) and owner.owns(owner.tags)
    assert not owner.owns(here | {"host": "other"}) and not owner.owns(here | {"folder": "/there"})
    assert not owner.owns(owner.tags | {"results_id": "another"})
    assert owner.owns({"results_id": owner.id, "host": "other", "folder": "/there"})


def test_a_trial_that_was_broken_off_goes_on_in_its_run_on_another_machine(
    folder, tmp_path, monkeypatch
):
    """Else its run is RUNNING for ever, and the trial has a second one."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'shared.db'}")
    first = Tracker("s", folder).start_run("a trial", kind="trial", key="key")
    copy = shutil.copytree(folder, tmp_path / "copy")
    other = Tracker("s", copy).start_run("a trial", kind="trial", key="key")
    monkeypatch.setattr(platform, "node", lambda: "node7")
    moved = folder.rename(tmp_path / "elsewhere")
    tracker = Tracker("s", moved)
    assert tracker.start_run("a trial", kind="trial", key="key") == first != other
    tags = tracker.client.get_run(first).data.tags
    assert (tags["host"], tags["folder"]) == ("node7", str(moved))
    assert len(tracker.runs("trial", "RUNNING")) == 2
