"""A results folder knows its own runs on a shared server: moved, or on another machine."""

import json
import multiprocessing
import os
import platform
import shutil
import time
from types import SimpleNamespace

import pytest

from sweeps.tracking.outbox import Outbox
from sweeps.tracking.owner import Owner
from sweeps.tracking.sync import deliver, outbox_path
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


def test_a_copy_has_its_own_wherever_the_original_is_by_then(folder, tmp_path):
    own = id_of(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    linked = shutil.copytree(folder, tmp_path / "linked", copy_function=os.link)
    moved = folder.rename(tmp_path / "elsewhere")
    assert id_of(moved) == own  # not taken for the copy's
    assert len({own, id_of(copy), id_of(linked)}) == 3
    assert id_of(moved) == own


def test_other_machines_see_the_folder_by_its_inode(folder, tmp_path, monkeypatch):
    own = id_of(folder)
    monkeypatch.setattr(platform, "node", lambda: "node7")
    assert id_of(folder) == own
    inside = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    inside.rename(folder)  # what a tar of it would be, unpacked there
    monkeypatch.setattr(platform, "node", lambda: "node8")
    assert id_of(folder) != own


def test_processes_that_begin_at_once_have_one_id(folder):
    with multiprocessing.get_context("spawn").Pool(6) as pool:
        assert len(set(pool.map(id_of, [folder] * 24))) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "[]", '{"id": "", "path": "/"}', '{"id": 7}']
)
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


def test_what_a_copy_was_sent_to_end_is_not_the_sweep_of_the_original(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'shared.db'}")
    tracker = Tracker("s", folder)
    plan = SimpleNamespace(key="k", keys=("a",), purpose="p", primary="", stopped_by="")
    parent = tracker.sweep_run(plan)
    path = outbox_path(folder, "s")
    outbox = Outbox(path, tracker, parent, print)
    outbox.start("a", "a trial", "trial", {})
    while path.stat().st_size < 10 or not tracker.runs("trial"):
        time.sleep(0.05)
    copy = shutil.copytree(folder, tmp_path / "copy")
    deliver(outbox_path(copy, "s"), Tracker("s", copy))
    assert tracker.client.get_run(parent).info.status == "RUNNING"
    outbox.end_sweep("KILLED")
    outbox.close(30)
    assert tracker.client.get_run(parent).info.status == "KILLED"


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
