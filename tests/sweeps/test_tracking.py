import dataclasses
import io
import json
import os
import resource
import signal
import time
from contextlib import contextmanager
from types import SimpleNamespace

import forked
import pytest
from rich.console import Console
from servers import free_port, log_much, start_mlflow, stop
from small_studies import small_base, small_sweep

from sweeps.afterwards import sigterm_like_ctrl_c
from sweeps.plan.inputs import Inputs
from sweeps.plan.names import Names
from sweeps.plan.planner import make_plan
from sweeps.run import news
from sweeps.tracking.drivers import only_driver
from sweeps.tracking.outbox import Outbox, parsed
from sweeps.tracking.parents import order_of
from sweeps.tracking.server import page_links, serve_command
from sweeps.tracking.sync import deliver_leftovers, outbox_path, sync
from sweeps.tracking.tracker import Tracker, has_store
from sweeps.tune.events import SweepCallback
from sweeps.tune.progress import SweepProgress
from trainables.workspace import Workspace


@pytest.fixture(autouse=True)
def no_server_from_outside(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A results folder with a database: making one takes seconds."""
    folder = tmp_path_factory.mktemp("results")
    Tracker("made", folder)
    return folder


def points(tracker, run, name):
    return [(m.step, m.value) for m in tracker.client.get_metric_history(run.info.run_id, name)]


def send_a_trial(outbox, key, status="FINISHED"):
    outbox.start(key, f"trial {key}", "trial", {"prune.rate": 0.5})
    for step in (1, 2):
        outbox.metrics(key, step, {"val/top1": step / 10, "mis/mean": float("nan")})
    outbox.end(key, status, "completed", {"note": "x"})


def waiting_until_delivered(outbox):
    while outbox._n_waiting():
        time.sleep(0.05)


def test_what_is_sent_arrives_once_and_in_order(store, tmp_path):
    tracker = Tracker("order", store)
    parent = tracker.sweep_run(make_plan(small_sweep()))
    workspace = Workspace(store, "order")
    folder, state = workspace.trial("k1"), workspace.state("k1")
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    state.parent.mkdir(parents=True)
    state.write_text("x")
    outbox = Outbox(tmp_path / "box.jsonl", tracker, parent)
    outbox.start("k1", "trial one", "trial", {"prune.rate": 0.5})
    outbox.metrics("k1", 1, {"val/top1": 0.1})
    outbox.metrics("k1", 2, {"val/top1": 0.2})
    assert state.exists()
    last = {"step": 2, "values": {"mis/mean": 0.6}, "folder": folder, "holds": ["a.txt"]}
    outbox.end("k1", "FINISHED", "completed", {}, **last, forget=[state])
    outbox.end_sweep("FINISHED")
    assert outbox.close(60) == 0 and outbox.refused == []
    run = tracker.finished()["k1"]
    assert points(tracker, run, "val/top1") == [(1, 0.1), (2, 0.2)]
    assert points(tracker, run, "mis/mean") == [(2, 0.6)]
    assert run.data.params == {"prune.rate": "0.5"}
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.tags["outcome"] == "completed"
    assert [a.path for a in tracker.client.list_artifacts(run.info.run_id)] == ["a.txt"]
    assert tracker.client.get_run(parent).info.status == "FINISHED"
    assert list(tmp_path.iterdir()) == []  # nothing is left of the outbox, the folder, the state
    assert not folder.parent.exists() and not state.parent.exists()


@pytest.mark.parametrize("delivered", ["0", "", "99999999", "7", None])
def test_sending_all_again_after_a_crash_changes_nothing(store, tmp_path, delivered):
    """As if the process, or the machine, had died before it noted what was delivered."""
    tracker = Tracker(f"again {delivered}", store)
    box = tmp_path / "box.jsonl"
    outbox = Outbox(box, tracker, None)
    outbox.start("k1", "t", "trial", {"seed": 0})
    for step in (1, 2):
        outbox.metrics("k1", step, {"epoch": step, "val/top1": step / 10})
    outbox.end("k1", "FINISHED", "completed", {}, step=2, values={"mis/mean": 0.7})
    waiting_until_delivered(outbox)
    events = box.read_bytes()
    assert outbox.close(60) == 0
    # Its successor has done the second epoch once more, and all of the end, somewhat later.
    repeated = [{**json.loads(line), "time_ms": 1_800_000_000_000} for line in events.splitlines()]
    box.write_bytes(events + "".join(json.dumps(e) + "\n" for e in repeated[2:]).encode())
    if delivered is not None:
        box.with_suffix(".delivered").write_text(delivered)
    second = Outbox(box, Tracker(f"again {delivered}", store), None)
    assert second.close(60) == 0 and second.refused == []
    assert len(tracker.runs("trial")) == 1
    run = tracker.finished()["k1"]
    assert points(tracker, run, "val/top1") == [(1, 0.1), (2, 0.2)]
    assert points(tracker, run, "mis/mean") == [(2, 0.7)]


def test_the_outbox_of_a_killed_sweep_closes_its_runs_and_the_next_opens_them(store, tmp_path):
    tracker = Tracker("killed", store)
    first = tracker.sweep_run(make_plan(small_sweep()))
    path = outbox_path(tmp_path, "killed")
    outbox = Outbox(path, tracker, first)
    send_a_trial(outbox, "done")
    outbox.start("half", "t", "trial", {"compute.device": "cpu"})
    outbox.metrics("half", 1, {"epoch": 1, "val/top1": 0.1})
    waiting_until_delivered(outbox)
    events = path.read_bytes()
    assert outbox.close(60) == 0
    path.write_bytes(events + b'{"event": "metrics", "key": "half", "time_')  # cut off
    deliver_leftovers("killed", tmp_path, tracker, Console())
    status = {run.data.tags["trial_key"]: run.info.status for run in tracker.runs("trial")}
    assert status == {"done": "FINISHED", "half": "KILLED"}
    assert tracker.client.get_run(first).info.status == "KILLED"
    second = tracker.sweep_run(make_plan(small_sweep(), grid={"rate": [0.3]}))
    outbox = Outbox(path, tracker, second)
    outbox.start("half", "t", "trial", {"compute.device": "cuda", "seed": 1})
    for step in (1, 2):
        outbox.metrics("half", step, {"epoch": step, "val/top1": step / 10})
    outbox.end("half", "FINISHED", "completed", {})
    outbox.end_sweep("FINISHED")
    assert outbox.close(60) == 0 and outbox.refused == []
    assert len(tracker.runs("trial")) == 2
    run = tracker.finished()["half"]
    assert points(tracker, run, "val/top1") == [(1, 0.1), (2, 0.2)]
    assert run.data.params == {"compute.device": "cpu", "seed": "1"}
    assert run.data.tags["mlflow.parentRunId"] == second


def test_a_finished_trial_that_waits_in_the_outbox_is_delivered_and_not_run_again(store):
    tracker = Tracker("leftovers", store)
    plan = make_plan(small_sweep("leftovers"))
    key = plan.keys[0]
    path = outbox_path(store, "leftovers")
    path.parent.mkdir(exist_ok=True)
    events = [
        {"event": "start", "name": "t", "run_kind": "trial", "params": {}, "tags": {}},
        {"event": "metrics", "step": 1, "values": {"val/top1": 0.1}},
        {"event": "end", "status": "FINISHED", "tags": {"outcome": "completed"}},
    ]
    same = {"key": key, "time_ms": 1_700_000_000_000, "parent": None}
    path.write_text("".join(json.dumps({**event, **same}) + "\n" for event in events))
    n_trials = len(plan.configs)
    assert len(plan.remaining(tracker.finished())) == n_trials
    deliver_leftovers("leftovers", store, tracker, Console())
    assert len(plan.remaining(tracker.finished())) == n_trials - 1
    assert not path.exists()


def test_a_failed_run_is_opened_again_and_ends_as_if_it_had_not_failed(store, tmp_path):
    tracker = Tracker("twice", store)
    for attempt, status in enumerate(("FAILED", "FINISHED")):
        outbox = Outbox(tmp_path / f"{attempt}.jsonl", tracker, None)
        outbox.start("k1", "t", "trial", {})
        tags = {"error": "OSError: full"} if status == "FAILED" else {"note": "x"}
        outbox.end("k1", status, "failed" if status == "FAILED" else "completed", tags)
        assert outbox.close(60) == 0
    (run,) = tracker.runs("trial")
    assert run.info.status == "FINISHED"
    assert run.data.tags["outcome"] == "completed" and "error" not in run.data.tags


def test_an_attempt_with_half_the_batch_gets_a_run_of_its_own_and_keeps_it(store, tmp_path):
    tracker = Tracker("halved", store)
    outbox = Outbox(tmp_path / "box.jsonl", tracker, None)
    outbox.start("k1", "t", "trial", {"finetune.batch_size": 32})
    outbox.metrics("k1", 1, {"epoch": 1, "val/top1": 0.1})
    for values in ({"epoch": 1, "val/top1": 0.3}, {"epoch": 1, "val/top1": 0.4}):
        outbox.start("k1", "t", "trial", {"finetune.batch_size": 16}, {"smaller_batch": "yes"})
        outbox.metrics("k1", 1, values)
    outbox.start("k1", "t", "trial", {"finetune.batch_size": 32})  # the next sweep's first word
    outbox.end("k1", "FINISHED", "completed", {})
    assert outbox.close(60) == 0 and outbox.refused == []
    (run,) = tracker.runs("trial")
    assert points(tracker, run, "val/top1") == [(1, 0.3)]
    assert run.data.params["finetune.batch_size"] == "16"
    assert run.data.tags["smaller_batch"] == "yes"


@contextmanager
def full_disk(path):
    """A limit on the size of files, ten bytes above that of `path`, stands for the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python leaves SIGXFSZ ignored, so that a write beyond the limit is an error and no death.
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_too_full_for_a_line_leaves_no_half_line(store, tmp_path):
    tracker, box = Tracker("full", store), tmp_path / "box.jsonl"
    outbox = Outbox(box, tracker, None)
    outbox.start("k1", "t", "trial", {})
    size = box.stat().st_size
    with full_disk(box), pytest.raises(OSError):
        outbox.metrics("k1", 1, {"val/top1": 0.1})
    assert box.stat().st_size == size
    outbox.metrics("k1", 2, {"val/top1": 0.2})
    outbox.end("k1", "FINISHED", "completed", {})
    assert outbox.close(60) == 0 and outbox.refused == []
    assert points(tracker, tracker.finished()["k1"], "val/top1") == [(2, 0.2)]


def test_what_a_full_disk_refused_is_told_with_the_next_report(store, tmp_path):
    config, box = small_base(), tmp_path / "box.jsonl"
    tracker = Tracker("late", store)
    outbox = Outbox(box, tracker, None)
    progress = SweepProgress(Console(file=io.StringIO()), 1, 0, Names([config]))
    workspace = Workspace(store, "late")
    callback = SweepCallback(outbox, progress, workspace)
    metadata = SimpleNamespace(num_failures=0)
    trial = SimpleNamespace(config={"trial": config}, run_metadata=metadata)

    def report(epoch, **more):
        epochs = [{"epoch": epoch, "val/top1": epoch / 10}] if epoch < 4 else []
        about = {"epoch": epoch, "key": config.key, "metrics": {}, "epochs": epochs}
        callback.on_trial_result(0, [trial], trial, about | more)

    end = {"outcome": "completed", "made_on": {}, "final": {"mis/mean": 0.7}, "done": True}
    end["files"] = ["config.json"]
    workspace.trial(config.key).mkdir(parents=True)
    (workspace.trial(config.key) / "config.json").touch()
    with full_disk(box):
        callback.on_trial_start(0, [trial], trial)
        report(1)
    report(2)
    with full_disk(box):
        report(3)
        report(4, **end)
    assert callback.ended == set() and callback.unwritten == {config.key}
    (problem,) = callback.problems  # in one sentence, once
    assert "could not be written" in problem and "Traceback" not in problem
    report(4, **end)
    assert callback.ended == {config.key} and callback.unwritten == set()
    assert outbox.close(60) == 0 and outbox.refused == []
    run = tracker.finished()[config.key]
    assert points(tracker, run, "val/top1") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert points(tracker, run, "mis/mean") == [(4, 0.7)]


def test_a_study_has_one_driver_at_a_time(tmp_path):
    with only_driver(tmp_path, "one"):
        with (
            pytest.raises(ValueError, match=f"one is run in {tmp_path} by process {os.getpid()}"),
            only_driver(tmp_path, "one"),
        ):
            pass
        with only_driver(tmp_path, "another"):
            pass
    with only_driver(tmp_path, "one"):
        pass


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler])
def test_sigterm_breaks_a_sweep_off_in_a_background_job_too(handler):
    """Of a script: there Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), sigterm_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_changed_study_says_what_is_new_and_what_is_gone(store, tmp_path):
    tracker = Tracker("changed", store)
    first = make_plan(small_sweep("changed"))
    n = len(first.keys)
    assert news(first, [], tmp_path, tracker) == f"study changed: {n} trials, 0 done, {n} to run"
    tracker.sweep_run(first)
    state = tmp_path / "states" / f"{first.keys[5]}.pt"
    state.parent.mkdir()
    state.touch()
    assert news(first, first.keys[:3], tmp_path, tracker) == (
        f"study changed: {n} trials, 3 done, {n - 3} to run; 1 of them go on where they stopped"
    )
    second = make_plan(small_sweep("changed"), grid={"rate": [0.5, 0.25]})
    new, gone = set(second.keys) - set(first.keys), set(first.keys) - set(second.keys)
    assert news(second, first.keys[:3], tmp_path, tracker).endswith(
        f"; {len(new)} are new, {len(gone)} of the last sweep are no longer in the study"
    )
    tracker.sweep_run(second)
    back = news(first, first.keys, tmp_path, tracker)
    assert back.endswith(f"; 0 are new, {len(new)} of the last sweep are no longer in the study")


def test_one_refused_event_does_not_hold_up_the_others(store, tmp_path):
    tracker = Tracker("poison", store)
    outbox = Outbox(tmp_path / "box.jsonl", tracker, None)
    outbox.start("k1", "t", "trial", {})
    outbox.metrics("k1", 1, {"no such ( name )": 0.1})
    outbox.metrics("k1", 1, {"val/top1": 0.3})
    outbox.end("k1", "FINISHED", "completed", {})
    assert outbox.close(60) == 0
    assert len(outbox.refused) == 1 and "metrics of k1" in outbox.refused[0]
    assert points(tracker, tracker.finished()["k1"], "val/top1") == [(1, 0.3)]


def test_refused_metrics_are_kept_and_sync_tries_them_again(store, tmp_path, monkeypatch):
    """Their run was deleted in MLflow's pages, and restored."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", Tracker("restored", store).uri)
    tracker, path = Tracker("restored", tmp_path), outbox_path(tmp_path, "restored")
    run = tracker.start_run("t", kind="trial", key="k1")
    tracker.client.delete_run(run)
    outbox = Outbox(path, tracker, None)
    outbox.metrics("k1", 1, {"epoch": 1, "val/top1": 0.3})
    assert outbox.close(60) == 0 and len(outbox.refused) == 1 and not path.exists()
    code, line = said(sync, tmp_path)
    assert (code, line) == (1, "restored: the rest is in MLflow")
    tracker.client.restore_run(run)
    assert said(sync, tmp_path) == (0, "restored: all is in MLflow")
    assert said(sync, tmp_path) == (0, "nothing waits")
    assert points(tracker, tracker.runs("trial")[0], "val/top1") == [(1, 0.3)]


def test_a_sweep_has_one_parent_run_that_knows_its_trials(store):
    tracker = Tracker("parent", store)
    plan = make_plan(small_sweep())
    first = tracker.sweep_run(plan)
    tracker.end_run(first, "FINISHED")
    assert tracker.sweep_run(plan) == first
    run = tracker.client.get_run(first)
    assert run.info.status == "RUNNING"
    assert tracker.planned_keys(run) == list(plan.keys)
    other = make_plan(small_sweep(), grid={"rate": [0.3]})
    assert tracker.sweep_run(other) != first


def test_a_missing_artifact_is_said_in_a_sentence(store):
    tracker = Tracker("lost", store)
    tracker.start_run("lonely", kind="trial", key="k")
    with pytest.raises(ValueError, match="run lonely must have the artifact plan/trial_keys.txt"):
        tracker.planned_keys(tracker.runs("trial")[0])


def test_a_server_that_does_not_answer_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"must answer, http://127.0.0.1:9 does not .*unset MLFLOW"
    ):
        Tracker("x", tmp_path)
    assert has_store(tmp_path)
    with pytest.raises(ValueError, match="its own server shows the pages"):
        serve_command(tmp_path, 5000)


def test_every_study_has_a_link_to_its_trials(store):
    tracker = Tracker("linked", store)
    link = page_links(store, 5001)["linked"]
    assert link.startswith("http://127.0.0.1:5001/")
    assert f"/experiments/{tracker.experiment_id}/runs?" in link
    tags = tracker.client.get_experiment(tracker.experiment_id).tags
    assert "viewStateShareKey=secateur" in link and "mlflow.sharedViewState.secateur" in tags
    assert "Default" not in page_links(store, 5001)


def test_there_is_nothing_to_show_before_a_sweep(tmp_path):
    assert not has_store(tmp_path)
    with pytest.raises(ValueError, match="holds no mlflow.db"):
        serve_command(tmp_path, 5000)


@pytest.mark.slow
@pytest.mark.ray
def test_a_server_that_goes_away_gets_everything_when_it_is_back(store, tmp_path, monkeypatch):
    port = free_port()
    server = start_mlflow(store, port)
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        tracker = Tracker("away", tmp_path)
        path = outbox_path(tmp_path, "away")
        outbox = Outbox(path, tracker, None)
        outbox.start("k1", "t", "trial", {})
        outbox.metrics("k1", 1, {"val/top1": 0.1})
        waiting_until_delivered(outbox)
        stop(server)
        for step in range(2, 30):
            outbox.metrics("k1", step, {"val/top1": step / 100})
        outbox.end("k1", "FINISHED", "completed", {})
        assert outbox.close(60, patience_seconds=1) == 29 and outbox.refused == []
        assert said(sync, tmp_path) == (1, f"away: something still waits in {path}")
        server = start_mlflow(store, port)
        assert said(sync, tmp_path) == (0, "away: all is in MLflow")
        assert said(sync, tmp_path) == (0, "nothing waits")
        run = tracker.finished()["k1"]
        assert [step for step, _ in points(tracker, run, "val/top1")] == list(range(1, 30))
    finally:
        stop(server)


def said(verb, results):
    """Exit code and last line."""
    text = io.StringIO()
    code = verb(results, Console(file=text, width=200))
    return code, text.getvalue().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("by", ["database", "server"])
def test_eight_that_log_at_once_lose_nothing(store, tmp_path, monkeypatch, capfd, by):
    """Eight processes, although a sweep has one: studies may share a database."""
    server = None
    if by == "server":
        port = free_port()
        server = start_mlflow(store, port)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    try:
        results = store if server is None else tmp_path
        tracker = Tracker("eight", results)
        writers = [
            forked.context.Process(target=log_much, args=(results, f"{by}{n}", tracker.uri))
            for n in range(8)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(400)
        assert [writer.exitcode for writer in writers] == [0] * 8
        output = capfd.readouterr()
        assert "locked" not in output.out + output.err
        runs = {key: run for key, run in tracker.finished().items() if by in key}
        assert len(runs) == 8
        for run in runs.values():
            assert points(tracker, run, "m19") == [(step, step * 19) for step in range(1, 11)]
            assert points(tracker, run, "m0") == [(step, 0) for step in range(1, 11)]
    finally:
        if server is not None:
            stop(server)


def test_pages_leave_the_experiments_of_others_as_they_are(store, tmp_path):
    """Also of those that use our words, and of one whose runs have our tags in part."""
    tracker = Tracker("ours", store)
    client = tracker.client
    note = {"mlflow.note.content": "What we wrote by hand.", "team": "vision"}
    for name, tags in {
        "described": note,
        "empty": {},
        "of kinds": {**note, "kind": "sweep"},
        "with shared views": {**note, "mlflow.sharedViewState.mine": "x"},
    }.items():
        experiment = client.create_experiment(name, (tmp_path / name).as_uri(), dict(tags))
        client.create_run(experiment, tags={"kind": "sweep"})
        client.create_run(experiment, tags={"kind": "trial", "trial_key": "abc"})
    before = {e.name: e.tags for e in client.search_experiments() if e.name != "ours"}
    links = page_links(store, 5001)
    after = {e.name: e.tags for e in client.search_experiments() if e.name != "ours"}
    assert "ours" in links and not links.keys() & {"described", "empty", "of kinds"}
    for name in ("described", "empty", "of kinds", "with shared views"):
        assert after[name] == before[name], name


def test_a_study_whose_images_are_others_says_why_all_is_to_run(store, tmp_path):
    """Of results that were made under an old rule of digests, as of pictures that changed."""
    tracker = Tracker("other_images", store)
    plan = make_plan(small_sweep("other_images"))
    n = len(plan.keys)
    folder = SimpleNamespace(digest="new")
    of_folder = dataclasses.replace(plan, inputs=Inputs({"/pictures": folder}, ()))
    earlier = make_plan(small_sweep("other_images"), settings={"seed": 7})
    tracker.sweep_run(earlier)
    assert news(of_folder, [], tmp_path, tracker).endswith(
        f"; {n} are new, {len(earlier.keys)} of the last sweep are no longer in the study: its "
        "images were others, or known by an older rule (docs/images.md)"
    )
    assert "older rule" not in news(plan, [], tmp_path, tracker)  # of no folder
    # Where some trials are the same, the images are.
    few = make_plan(small_sweep("other_images"), grid={"rate": [0.5, 0.25]})
    tracker.sweep_run(few)
    assert "older rule" not in news(of_folder, [], tmp_path, tracker)


@pytest.mark.parametrize("odd", ["²", "9" * 5_000, "-1", " 7", "1e3", "٣", ""])
def test_odd_tags_of_a_sweep_do_not_stop_the_order_of_sweeps(odd):
    info = SimpleNamespace(start_time=5, run_id="a")
    tags = {"launched_turn": odd, "launched_ms": odd}
    assert order_of(SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))) == (0, 5, "a")


@pytest.mark.slow
@pytest.mark.parametrize("noted", [b"\xff\xfe", "²".encode(), b"9" * 5_000, b"-4", b"12.5", b""])
def test_an_odd_note_of_what_was_delivered_only_sends_it_again(store, tmp_path, noted):
    tracker = Tracker("odd notes", store)
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"event": "end", "key": "k", "status": "FINISHED"}) + "\n")
    path.with_suffix(".delivered").write_bytes(noted)
    outbox = Outbox(path, tracker, None)
    assert outbox.close(60, 0.1) == 0 or outbox.refused


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "line", [DEEP, '{"event": "start", "key": ' + DEEP, "\x00", '{"event": []}']
)
def test_lines_of_an_outbox_that_are_too_deep_or_no_json_are_no_events(line):
    assert parsed(line.encode()) is None
