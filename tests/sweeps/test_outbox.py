"""What an outbox uploads, removes and keeps: its own, and whatever the server says to it."""

import hashlib
import io
import json
import os
import shutil
import time

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from rich.console import Console

import sweeps.tracking.outbox
from sweeps.run import news
from sweeps.tracking.outbox import Outbox, refused_path
from sweeps.tracking.refusals import Verdict, verdict
from sweeps.tracking.sync import deliver, deliver_leftovers, outbox_path, sync
from sweeps.tracking.tracker import Tracker
from trainables.workspace import Workspace


@pytest.fixture
def results(database, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def study(request):
    """Of the test alone, since its artifacts lie in its folder."""
    return hashlib.sha256(request.node.name.encode()).hexdigest()[:8]


def trial_folder(results, study, key, **files):
    """What a trial has left, with its state."""
    workspace = Workspace(results, study)
    folder, state = workspace.trial(key), workspace.state(key)
    for path in (folder / "units.parquet", state):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder, state


def plant(results, study, *, folder, forget=(), key="abc", **more):
    """An outbox with a trial that has ended, told as somebody else might."""
    same = {"key": key, "time_ms": 1_700_000_000_000, "parent": None}
    events = [
        {"event": "start", "name": "t", "run_kind": "trial", "params": {}, "tags": {}},
        {"event": "end", "status": "FINISHED", "tags": {}, "folder": str(folder)},
    ]
    events[1] |= {"forget": [str(path) for path in forget], **more}
    path = outbox_path(results, study)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({**event, **same}) + "\n" for event in events))
    return path


def run_of(tracker, key="abc"):
    (run,) = [run for run in tracker.runs("trial") if run.data.tags["trial_key"] == key]
    return run


def artifacts(tracker, key="abc"):
    run = run_of(tracker, key).info.run_id
    return {file.path for file in tracker.client.list_artifacts(run)}


def elsewhere(tmp_path):
    folder = tmp_path / "home" / "trials" / "abc"
    folder.mkdir(parents=True)
    (folder / "secret").write_text("s")
    (tmp_path / "home" / "states").mkdir()
    (tmp_path / "home" / "states" / "abc.pt").write_text("s")
    return tmp_path / "home"


PLANTED = {
    "absolute": lambda home, _: (home / "trials" / "abc", home / "states" / "abc.pt"),
    "absolute, of no place of ours": lambda home, _: (home, home / "states" / "abc.pt"),
    "climbing": lambda home, _: ("../home/trials/abc", "../home/states/abc.pt"),
    "climbing from within": lambda home, _: ("trials/../../home/trials/abc", "states/../x.pt"),
    "of another study": lambda home, _: ("trials/other/abc", "states/other/abc.pt"),
    "all trials": lambda home, _: ("trials", "states"),
    "the results folder": lambda home, _: (".", "mlflow.db"),
    "the cache": lambda home, _: ("cache/dense", "cache/dense/x.pt"),
    "hidden": lambda home, own: (f"trials/{own}/.git", f"states/{own}/.x"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_event_moves_nothing_that_is_not_a_trial_of_its_study(
    what, results, tmp_path, study
):
    home = elsewhere(tmp_path)
    for name in ("other", study):
        trial_folder(results, name, "abc" if name == "other" else ".git")
    (results / "cache" / "dense").mkdir(parents=True)
    (results / "cache" / "dense" / "x.pt").touch()
    before = {path for path in tmp_path.rglob("*") if "artifacts" not in path.parts}
    folder, forget = PLANTED[what](home, study)
    plant(results, study, folder=folder, forget=[forget])
    sync(results, Console(quiet=True))
    gone = {path for path in before if not path.exists()} - {outbox_path(results, study)}
    assert not gone
    uploaded = [path.name for path in (results / "artifacts").rglob("*") if path.is_file()]
    assert uploaded == []


@pytest.mark.parametrize("level", ["folder", "study", "place"])
def test_links_are_neither_uploaded_nor_followed_to_be_removed(level, results, tmp_path, study):
    home = elsewhere(tmp_path)
    target, link = {
        "folder": (home / "trials" / "abc", results / "trials" / study / "abc"),
        "study": (home / "trials", results / "trials" / study),
        "place": (home, results / "trials"),
    }[level]
    if level == "place":
        (home / study).symlink_to(home / "trials")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    plant(results, study, folder=f"trials/{study}/abc", holds=["secret"])
    sync(results, Console(quiet=True))
    assert (home / "trials" / "abc" / "secret").exists()
    assert not list((results / "artifacts").rglob("secret"))
    if level != "folder":
        with pytest.raises(ValueError, match="must be a file or folder of its own"):
            Workspace(results, study).begin()


@pytest.mark.parametrize("at", ["abc", "abc/gallery"])
def test_a_trial_is_not_written_into_a_linked_folder(at, results, tmp_path, study):
    """What it leaves would take the places of another's files."""
    folder, _ = trial_folder(results, study, "other")
    mine = tmp_path / "mine"
    mine.mkdir()
    link = folder.parent / at
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(mine)
    with pytest.raises(
        ValueError, match=f"{at} must be a file or folder of its own, it is or lies"
    ):
        Workspace(results, study).begin()


def test_links_and_half_written_files_among_a_trials_own_are_left_out(results, tmp_path, study):
    home = elsewhere(tmp_path)
    folder, _ = trial_folder(results, study, "abc", **{".best.png.0123": "half"})
    (folder / "checkpoint.pt").symlink_to(home / "trials" / "abc" / "secret")
    (folder / "all").symlink_to(home)
    plant(results, study, folder=f"trials/{study}/abc", holds=["units.parquet"])
    assert sync(results, Console(quiet=True)) == 0
    assert artifacts(Tracker(study, results)) == {"units.parquet"}
    assert (home / "trials" / "abc" / "secret").exists() and not folder.exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_an_outbox_that_is_another_file_is_not_read_beside_what_was_refused(
    kind, results, tmp_path, study
):
    box, mine, said = results / "outbox", tmp_path / "thesis.tex", io.StringIO()
    box.mkdir()
    mine.write_text("years of work\n")
    (box / f"{study}.refused").write_text("{}\n")
    (box / f"{study}.jsonl").symlink_to(mine) if kind == "link" else os.mkfifo(
        box / f"{study}.jsonl"
    )
    assert sync(results, Console(file=said, width=400)) == 1
    assert "must be a file of its own" in said.getvalue() and "years" not in said.getvalue()
    assert (box / f"{study}.refused").read_text() == "{}\n"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jsonl", "lock", "refused", "delivered"])
@pytest.mark.parametrize("kind", ["link", "hard link", "to a folder"])
def test_links_where_the_outbox_keeps_its_files_harm_nobody(suffix, kind, results, tmp_path, study):
    mine = tmp_path / "thesis.tex"
    mine.write_text("years")
    box = results / "outbox"
    box.mkdir()
    if kind == "hard link":
        os.link(mine, box / f"{study}.{suffix}")
    else:
        (box / f"{study}.{suffix}").symlink_to(mine if kind == "link" else tmp_path)
    tracker = Tracker(study, results)
    try:
        outbox = Outbox(outbox_path(results, study), tracker, None)
        outbox.metrics("nobody", 1, {"x": 1.0})
        outbox.close(10)
    except OSError as error:
        assert "must be a file of its own" in str(error)
    sync(results, Console(quiet=True))
    assert mine.read_text() == "years"


def test_a_copied_folder_leaves_the_original_alone_and_delivers_its_own(results, tmp_path, study):
    """As versions told it that wrote absolute paths."""
    old = results / "trials" / "abc"
    old.mkdir(parents=True)
    (old / "units.parquet").write_text("x")
    (results / "states").mkdir()
    (results / "states" / "abc.pt").write_text("x")
    plant(results, study, folder=old, forget=[results / "states" / "abc.pt"])
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    assert sync(copy, Console(quiet=True)) == 0
    assert old.exists() and (results / "states" / "abc.pt").exists()
    assert not (copy / "trials" / "abc").exists() and not (copy / "states" / "abc.pt").exists()
    assert artifacts(Tracker(study, copy)) == {"units.parquet"}
    assert not list((results / "artifacts").rglob("units.parquet"))


def test_an_end_without_its_files_is_none_and_keeps_the_state(results, study):
    folder, state = trial_folder(results, study, "abc")
    holds = ["checkpoint.pt", "units.parquet"]
    plant(
        results, study, folder=f"trials/{study}/abc", forget=[f"states/{study}/abc.pt"], holds=holds
    )
    tracker = Tracker(study, results)
    n_waiting, refused = deliver(outbox_path(results, study), tracker)
    assert n_waiting == 0 and "checkpoint.pt" in refused[0] and "runs it again" in refused[0]
    assert tracker.finished() == {} and run_of(tracker).info.status == "FAILED"
    assert state.exists() and folder.exists()


@pytest.mark.parametrize("holds", [["units.parquet", "gallery/best.png"], None])
def test_an_end_that_is_delivered_twice_is_one(holds, results, study):
    """Its folder is gone the second time, and what it held is in MLflow."""
    folder, _ = trial_folder(results, study, "abc")
    (folder / "gallery").mkdir()
    (folder / "gallery" / "best.png").write_text("x")
    told = {"folder": f"trials/{study}/abc"} | ({"holds": holds} if holds else {})
    tracker = Tracker(study, results)
    for _ in range(2):
        plant(results, study, **told)
        assert deliver(outbox_path(results, study), tracker) == (0, [])
    assert run_of(tracker).info.status == "FINISHED"
    assert not folder.exists()


def test_a_late_end_of_a_driver_that_was_killed_leaves_what_another_finished(results, study):
    folder, _ = trial_folder(results, study, "abc")
    tracker = Tracker(study, results)
    path = plant(results, study, folder=f"trials/{study}/abc")
    assert deliver(path, tracker) == (0, [])
    late = {"event": "end", "key": "abc", "status": "KILLED", "tags": {}, "parent": None}
    path.write_text(json.dumps({**late, "time_ms": 1_700_000_000_001}) + "\n")
    assert deliver(path, tracker) == (0, [])
    assert run_of(tracker).info.status == "FINISHED" and set(tracker.finished()) == {"abc"}


def test_what_was_cut_off_by_a_full_disk_takes_no_event_behind_it_along(results, study):
    folder, _ = trial_folder(results, study, "abc")
    path = plant(results, study, folder=f"trials/{study}/abc")
    path.with_suffix(".refused").write_text('{"event": "metrics", "key": "a')
    tracker = Tracker(study, results)
    n_waiting, refused = deliver(path, tracker)
    assert n_waiting == 0 and len(refused) == 1 and set(tracker.finished()) == {"abc"}


def http_error(status):
    response = requests.Response()
    response.status_code, response.reason = status, "as it is"
    return requests.exceptions.HTTPError(f"{status} of a proxy", response=response)


def api_error(status):
    """As MLflow words an answer that is not MLflow's."""
    text = f"API request to endpoint /api failed with error code {status} != 200. Response body: ''"
    return MlflowException(text)


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        *((make(code), Verdict.NEVER) for code in (400, 413, 414, 422) for make in
          (http_error, api_error)),
        *((make(code), Verdict.AWAY) for code in (502, 503, 504, 429, 408, 401, 403) for make in
          (http_error, api_error)),
        *((make(500), Verdict.UNCLEAR) for make in (http_error, api_error)),
        (requests.exceptions.ConnectTimeout(study), Verdict.AWAY),
        (requests.exceptions.ReadTimeout(study), Verdict.AWAY),
        (ConnectionResetError(), Verdict.AWAY),
        (MlflowException("API request to x failed with exception Max retries exceeded (Caused by "
                         "ResponseError('too many 503 error responses'))"), Verdict.AWAY),
        (MlflowException("API request to x failed with exception Max retries exceeded (Caused by "
                         "NewConnectionError)"), Verdict.AWAY),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), Verdict.NEVER),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}), Verdict.NEVER),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no"}), Verdict.AWAY),
        (RestException({"error_code": "INTERNAL_ERROR", "message": "no"}), Verdict.UNCLEAR),
        (OSError(28, "No space left on device"), Verdict.UNCLEAR),
        (KeyError("step"), Verdict.NEVER),
    ],
)  # fmt: skip
def test_what_an_answer_means_is_decided_by_its_status(error, meant):
    assert verdict(error) is meant


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(sweeps.tracking.outbox, "_RETRY_SECONDS", (0.02,))


def too_large(tracker, limit, error):
    """The client's upload behind a proxy that takes files of so many bytes."""
    real = tracker.client.log_artifact

    def log_artifact(run_id, path, into=None):
        if os.path.getsize(path) > limit:
            raise error
        real(run_id, path, into)

    tracker.client.log_artifact = log_artifact


@pytest.mark.slow
@pytest.mark.parametrize("status", [413, 400, 422])
def test_a_file_that_a_proxy_refuses_is_kept_named_and_in_nobodys_way(
    status, results, no_pauses, study
):
    folder, state = trial_folder(results, study, "abc", **{"checkpoint.pt": "x" * 5_000})
    path = outbox_path(results, study)
    tracker = Tracker(study, results)
    too_large(tracker, 1_000, http_error(status))
    outbox = Outbox(path, tracker, None)
    outbox.start("abc", "t", "trial", {})
    holds = ["checkpoint.pt", "units.parquet"]
    about = {"folder": folder, "holds": holds, "forget": [state]}
    outbox.end("abc", "FINISHED", "completed", {}, step=1, values={"mis/mean": 0.6}, **about)
    outbox.start("next", "t", "trial", {})
    outbox.end("next", "FINISHED", "completed", {})
    assert outbox.close(60) == 0
    assert len(outbox.refused) == 1
    assert all(part in outbox.refused[0] for part in ("checkpoint.pt", str(status), "kept in"))
    assert set(tracker.finished()) == {"abc", "next"}  # nothing is run again
    assert str(status) in run_of(tracker).data.tags["not_uploaded"]
    assert artifacts(tracker) == {"units.parquet"}
    assert [file.name for file in folder.iterdir()] == ["checkpoint.pt"] and not state.exists()

    _, refused = deliver(path, tracker)  # the next sweep tries again, and is not held up
    assert len(refused) == 1 and (folder / "checkpoint.pt").exists()
    assert deliver(path, Tracker(study, results)) == (0, [])  # the proxy was changed
    assert artifacts(tracker) == {"units.parquet", "checkpoint.pt"}
    assert "not_uploaded" not in run_of(tracker).data.tags and not folder.exists()
    assert not refused_path(path).exists()


@pytest.mark.parametrize("error", [http_error(503), http_error(504), requests.ReadTimeout("late")])
def test_what_may_pass_is_waited_for_and_its_reason_is_told(
    error, results, no_pauses, monkeypatch, study
):
    monkeypatch.setattr(sweeps.tracking.outbox, "SAY_AFTER_SECONDS", 0.1)
    folder, _ = trial_folder(results, study, "abc")
    tracker, told = Tracker(study, results), []
    real, tries = tracker.client.log_artifact, []

    def log_artifact(*arguments):
        tries.append(arguments)
        if len(tries) < 40:
            raise error
        real(*arguments)

    tracker.client.log_artifact = log_artifact
    outbox = Outbox(outbox_path(results, study), tracker, None, told.append)
    outbox.start("abc", "t", "trial", {})
    outbox.end("abc", "FINISHED", "completed", {}, folder=folder, holds=["units.parquet"])
    while len(tries) < 40:
        time.sleep(0.01)
    assert outbox.close(60) == 0 and outbox.refused == []
    assert "abc" in tracker.finished()
    assert str(error)[:3] in told[0] and "tried again" in told[0]


def test_an_event_that_gets_500_for_ever_is_not_silent(results, no_pauses, monkeypatch, study):
    monkeypatch.setattr(sweeps.tracking.outbox, "SAY_AFTER_SECONDS", 0.1)
    tracker, told = Tracker(study, results), []
    tracker.set_tags = lambda *_: (_ for _ in ()).throw(api_error(500))
    outbox = Outbox(outbox_path(results, study), tracker, None, told.append)
    outbox.start("abc", "t", "trial", {})
    outbox.end("abc", "FINISHED", "completed", {})
    assert outbox.close(60, patience_seconds=1) == 1  # kept for the next sweep
    assert "error code 500" in told[0] and "error code 500" in outbox.reason
    # After a while it is set aside; what belongs to others goes on.
    monkeypatch.setattr(sweeps.tracking.outbox, "_UNCLEAR_SECONDS", 0.5)
    outbox = Outbox(outbox_path(results, study), tracker, None, told.append)
    outbox.start("next", "t", "trial", {})
    outbox.metrics("next", 1, {"x": 1.0})
    assert outbox.close(60, patience_seconds=60) == 0
    assert "error code 500" in outbox.refused[0]
    assert run_of(tracker, "next").data.metrics == {"x": 1.0}
    assert deliver(outbox_path(results, study), Tracker(study, results)) == (0, [])
    assert "abc" in tracker.finished()


def test_a_trial_that_could_not_begin_is_kept_in_order(results, no_pauses, study):
    tracker = Tracker(study, results)
    tracker.start_run = lambda *_, **__: (_ for _ in ()).throw(http_error(400))
    outbox = Outbox(outbox_path(results, study), tracker, None)
    outbox.start("abc", "t", "trial", {})
    outbox.metrics("abc", 1, {"x": 1.0})
    outbox.end("abc", "FINISHED", "completed", {})
    assert outbox.close(60) == 0 and len(outbox.refused) == 1
    assert deliver(outbox_path(results, study), Tracker(study, results)) == (0, [])
    run = tracker.finished()["abc"]
    assert run.data.metrics == {"x": 1.0}


@pytest.mark.parametrize(
    "line",
    ["null", "[]", "{}", '{"event": "start"}', '{"event": "x", "key": "a"}', '"event"', "\x00",
     '{"event": "start", "key": "x", "name": "t", "run_kind": "trial", "params": [1], "tags": {},'
     ' "parent": null, "time_ms": 1}',
     '{"event": "end", "key": "nobody", "time_ms": 1}', '{"event": "end", "key": ["a"]}'],
)  # fmt: skip
def test_a_line_that_is_no_event_stops_nothing(line, results, no_pauses, study):
    tracker, path = Tracker(study, results), outbox_path(results, study)
    path.parent.mkdir()
    path.write_text(line + "\n")
    outbox = Outbox(path, tracker, None)
    outbox.start("abc", "t", "trial", {})
    outbox.end("abc", "FINISHED", "completed", {})
    assert outbox.close(60) == 0
    assert "abc" in tracker.finished()


def test_two_studies_in_a_folder_keep_their_hands_off_each_other(results):
    """Each ends the trial of a key that they share: both have all of their files."""
    both = {study: trial_folder(results, study, "abc") for study in ("demo", "released")}
    for study, (folder, state) in both.items():
        tracker = Tracker(study, results)
        outbox = Outbox(outbox_path(results, study), tracker, None)
        outbox.start("abc", "t", "trial", {})
        about = {"holds": ["units.parquet"], "forget": [state]}
        outbox.end("abc", "FINISHED", "completed", {}, folder=folder, **about)
        assert outbox.close(60) == 0 and outbox.refused == []
        assert artifacts(tracker) == {"units.parquet"}
    assert len({folder for folder, _ in both.values()}) == 2


def test_a_state_of_before_studies_had_folders_is_taken_over_once(results):
    old = Workspace(results).state("abc")
    old.parent.mkdir()
    old.write_text("epoch 7")
    demo, released = Workspace(results, "demo"), Workspace(results, "released")
    assert demo.has_state("abc") and released.has_state("abc")
    demo.adopt_state("abc")
    released.adopt_state("abc")
    assert demo.state("abc").read_text() == "epoch 7" and not old.exists()
    assert not released.has_state("abc")


def test_a_sweep_counts_states_of_both_layouts_and_only_its_own(results, study):
    from small_studies import small_sweep

    from sweeps.plan.planner import make_plan

    plan = make_plan(small_sweep(study))
    workspaces = (Workspace(results), Workspace(results, study), Workspace(results, "other"))
    for key, workspace in zip(plan.keys, workspaces, strict=False):
        workspace.state(key).parent.mkdir(parents=True, exist_ok=True)
        workspace.state(key).touch()
    said = news(plan, [], results, Tracker(study, results))
    assert said.endswith("2 of them go on where they stopped")
    deliver_leftovers(study, results, Tracker(study, results), Console(quiet=True))
