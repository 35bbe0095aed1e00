"""`secateur status` and `secateur clean` on a results folder with three studies, one running.

The folder is that of tests/data: `finished` and `searched` have ended, `interrupted` was killed.
"""

import io
import os
import re
import shutil
import sqlite3
import time
from pathlib import Path

import kept_results
import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console

import sweeps.__main__ as cli
from sweeps.arguments import parser
from sweeps.housekeeping import disk
from sweeps.housekeeping.clean import clean
from sweeps.housekeeping.removable import Wanted, know, split
from sweeps.housekeeping.status import status
from sweeps.plan.planner import make_plan
from sweeps.report import load, report_study
from sweeps.tracking.drivers import drivers, no_driver, only_driver
from sweeps.tracking.glance import RunSeen, StudySeen, studies_seen
from sweeps.tracking.sync import sync
from sweeps.tracking.tracker import Tracker
from trainables.locks import held_folder

ROOT = Path(__file__).parents[2]
FINISHED, SEARCHED, UNFINISHED = "42a39ce49ce4", "739276e45500", "ad29184c4bb8"
LONG_AGO = time.time() - 100 * 86_400


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "SECATEUR_NODE_CACHE"):
            patch.delenv(name, raising=False)
        yield kept_results.unpack(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def results(unpacked, tmp_path):
    """A copy, and what sweeps and killed processes leave besides."""
    folder = tmp_path / "results"
    shutil.copytree(unpacked, folder, copy_function=os.link)
    for name in ("mlflow.db", "outbox"):  # what is written to
        path, source = folder / name, unpacked / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
    with sqlite3.connect(folder / "mlflow.db") as database:
        old, new = str(unpacked), str(folder)
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
    database.close()
    for study in ("finished", "searched", "interrupted"):
        (folder / "outbox" / f"{study}.lock").touch()
    leave(folder)
    return folder


LEFT = {
    "states/finished/42a39ce49ce4.pt": disk.STATES,
    "states/searched/739276e45500.pt": disk.STATES,
    "states/finished/0123456789ab.pt.broken": disk.ASIDE,
    "ray/finished/PruningTrial_1/log": disk.RAY,
    "code/0123456789abcdef/mine.py": disk.CODE,
    "cache/.vectors.npy.0123456789abcdef0123456789abcdef": disk.PARTIAL,
    "cache/packs/0123456789abcdef01234567.pixels": disk.UNUSED,
    "cache/packs/0123456789abcdef01234567.npz": disk.UNUSED,
}
CACHED = {
    "cache/embeddings-0123456789abcdef/vectors.npy": disk.VECTORS,
    "cache/packs/aaaaaaaaaaaaaaaaaaaaaaaa.pixels": disk.IMAGES,
    "cache/listing-0123456789abcdef.npz": disk.LISTS,
    "cache/pass-0123456789abcdef.pt": disk.PASSES,
    "cache/scores-0123456789abcdef.pt": disk.IMPORTANCE,
}
KEPT = {
    "states/interrupted/ad29184c4bb8.pt": disk.STATES,
    "cache/dense-0123456789abcdef.pt": disk.DENSE,
    "cache/dense-answers-0123456789abcdef.pt": disk.DENSE,
    "cache/dense-0123456789abcdef-state.pt": disk.DENSE,
    "cache/packs/0123456789abcdef.json": disk.NOTES,
    "cache/packs/lock": disk.NOTES,
    "trials/finished/42a39ce49ce4/units.parquet": disk.WAITING,
    "search/searched-0123.jsonl": disk.RESULTS,
    "my notes.txt": disk.OTHER,
    "code/project/thesis.py": disk.OTHER,
    "ray/finished/notes.txt": disk.OTHER,
    "states/finished/weights.npy": disk.OTHER,
    "cache/thesis.pt": disk.OTHER,
}


def leave(folder):
    for name in (*LEFT, *CACHED, *KEPT):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 5_000)
        os.utime(path, (LONG_AGO, LONG_AGO))
    asked = '{"of": {}, "shards": ["aaaaaaaaaaaaaaaaaaaaaaaa"]}'
    (folder / "cache" / "packs" / "0123456789abcdef.json").write_text(asked)


def tree(folder):
    """Every file, link and folder below, with what tells that it was written to; not who looks."""
    found = {}
    for path in Path(folder).rglob("*"):
        stat = path.lstat()
        is_file = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (stat.st_mtime_ns, stat.st_size) if is_file else ""
    return found


def told(verb, results, *rest, code=0, **options):
    text = io.StringIO()
    assert verb(results, Console(file=text, width=160), *rest, **options) == code
    return text.getvalue()


def test_status_tells_what_runs_what_is_done_and_what_waits_and_writes_nothing(results):
    before = tree(results)
    with only_driver(results, "searched"):
        running = tree(results)
        text = told(status, results)
        assert tree(results) == running
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    cells = {name: [c.strip() for c in line.split("│")[2:-1]] for name, line in rows.items()}
    assert cells["finished"][1:] == ["3", "3", "0", "0", "nothing"]
    assert cells["finished"][0].startswith("ended 20")
    assert cells["searched"][0] == f"runs: process {os.getpid()} on {os.uname().nodename}"
    assert cells["searched"][1:4] == ["5", "5", "0"]
    n_events = (results / "outbox" / "interrupted.jsonl").read_bytes().count(b"\n")
    assert cells["interrupted"][-1] == f"{n_events} events" and n_events > 0
    assert cells["interrupted"][0] == "was killed: run it again"
    assert "make sync delivers what waits" in text
    sizes = {name: row for name, row in cells.items() if name in disk.KINDS}
    assert set(sizes) == {*LEFT.values(), *CACHED.values(), *KEPT.values()}
    assert sizes[disk.RESULTS][1] == sizes[disk.DENSE][1] == "never removed"
    assert {*before} <= {*tree(results)}


def test_status_says_where_mlflow_does_not_tell(results, monkeypatch):
    (results / "mlflow.db").write_bytes(b"no database " * 100)
    text = told(status, results)
    assert "MLflow does not tell: " in text and "finished" in text and "?" in text
    goes, _ = split(know(results), Wanted(caches=True))
    assert not {thing.kind for thing in goes} & {disk.STATES, disk.CODE}


def test_status_makes_no_database_where_there_is_none(results, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/typo.db")
    told(status, results)
    assert not (tmp_path / "typo.db").exists()


def test_what_is_seen_is_what_mlflow_says(results, monkeypatch):
    seen = studies_seen(results, [])
    for study in ("finished", "searched", "interrupted"):
        tracker = Tracker(study, results)
        assert seen[study].keys("FINISHED") == set(tracker.finished())
        assert seen[study].planned == set(tracker.planned_keys(tracker.sweeps()[0]))
    # The same through MLflow's client, as of a server.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{results}/mlflow.db")
    asked = studies_seen(results, [*seen, "never run"])
    for study, each in asked.items():
        assert {r.key: (r.kind, r.name, r.status) for r in each.runs} == {
            r.key: (r.kind, r.name, r.status) for r in seen[study].runs
        }
        told = (each.sweep, each.ended_ms, each.planned, each.code, each.count())
        own = seen[study]
        assert told == (own.sweep, own.ended_ms, own.planned, own.code, own.count())
    assert set(asked) == set(seen) == {"finished", "searched", "interrupted"}


def test_all_that_trials_keep_in_the_cache_has_a_kind():
    """By the names in the source, and by what a sweep of an earlier version has left."""
    source = "".join(path.read_text() for path in (ROOT / "trainables").rglob("*.py"))
    memos = re.findall(r'Memo\([\w.]+\)\.(?:of|path)\(\s*"([\w-]+)"', source)
    assert {"embeddings", "dense-mis", "dense-answers", "pass", "scores"} <= set(memos)
    named = re.findall(r'cache / f"([^"]+)"', source)
    assert len(named) >= 5 and source.count("Memo(") == len(memos)
    filled = [re.sub(r"{key}", "42a39ce49ce4", re.sub(r"{round_ \+ 1}", "2", n)) for n in named]
    filled = [n.replace("{early}", "-epoch3") for n in filled]
    filled = [re.sub(r"{.+}", "0123456789abcdef", n) for n in filled]
    kinds = {name: disk.in_cache(name) for name in filled}
    kinds |= {n: disk.in_cache(f"{n}-0123456789abcdef") for n in memos if n == "embeddings"}
    kinds |= {n: disk.in_cache(f"{n}-0123456789abcdef.pt") for n in memos if n != "embeddings"}
    assert disk.OTHER not in kinds.values(), kinds


def test_a_trial_counts_once_by_the_best_that_is_known_of_it():
    runs = [
        *(RunSeen("trial", "a", "", status) for status in ("FAILED", "FINISHED", "RUNNING")),
        *(RunSeen("trial", "b", "", status) for status in ("FAILED", "RUNNING")),
        RunSeen("trial", "c", "", "FAILED"),
        RunSeen("trial", "of another sweep", "", "FINISHED"),
        RunSeen("dense training", "dense-1", "", "RUNNING"),
    ]
    count = StudySeen(runs, planned=frozenset("abcd")).count()
    assert count == {"finished": 1, "running": 1, "failed": 1, "asked": 4, "besides": 1}


def test_clean_lists_and_removes_only_when_told(results):
    before = tree(results)
    text = told(clean, results, Wanted(caches=True), remove=False)
    assert tree(results) == before
    assert "nothing is removed yet: the same with --remove" in text
    for name in (*LEFT, *CACHED):
        assert any(str(p) in text for p in (Path(name), *Path(name).parents[:-1])), name
    assert not any(name in text for name in KEPT)


@pytest.mark.parametrize("caches", [False, True])
def test_clean_removes_what_nobody_needs_and_nothing_else(results, caches):
    sync(results, Console(file=io.StringIO()))  # what waits may name code
    before = tree(results)
    leave(results)
    told(clean, results, Wanted(caches=caches), remove=True)
    after = set(tree(results))
    gone = {name for name in set(before) - after if (results / name).suffix or "log" in name}
    assert set(LEFT) <= gone and not set(KEPT) & gone
    assert set(CACHED) <= gone if caches else not set(CACHED) & gone
    came = {name for name in gone if name not in {**LEFT, **CACHED}}
    assert all(name.startswith(("cache/", "ray/")[not caches :]) for name in came), came
    rest = told(clean, results, Wanted(caches=caches), remove=True)
    assert "nothing to remove" in rest and "removed: 0 bytes" in rest


def test_what_a_running_sweep_may_need_stays(results):
    sync(results, Console(file=io.StringIO()))
    leave(results)
    with only_driver(results, "finished"):
        text = told(clean, results, Wanted(caches=True), remove=True)
        assert f"finished runs (process {os.getpid()}" in text
        for name, kind in {**LEFT, **CACHED, **KEPT}.items():
            free = kind == disk.UNUSED or name.startswith("states/searched/")
            assert (results / name).exists() == (not free), name
    told(clean, results, Wanted(caches=True), remove=True)
    assert not any((results / name).exists() for name in (*LEFT, *CACHED))
    assert all((results / name).exists() for name in KEPT)


def test_no_sweep_begins_while_files_are_removed_and_only_one_process_removes(results):
    with no_driver(results) as alone:
        assert alone and drivers(results) == {}
        with (
            pytest.raises(ValueError, match="one process at a time may remove files"),
            no_driver(results),
        ):
            pass
    with only_driver(results, "finished"):
        assert set(drivers(results)) == {"finished"}
        with no_driver(results) as alone, only_driver(results, "searched"):  # which may begin
            assert not alone


def test_by_age_and_by_size(results):
    sync(results, Console(file=io.StringIO()))
    leave(results)
    new = results / "cache" / "embeddings-aaaaaaaaaaaaaaaa" / "vectors.npy"
    new.parent.mkdir()
    new.write_bytes(b"x" * 300_000)

    def goes(**wanted):
        found, _ = split(know(results), Wanted(caches=True, **wanted))
        return {str(thing.path.relative_to(results)) for thing in found}

    assert "cache/embeddings-aaaaaaaaaaaaaaaa" in goes()
    assert "cache/embeddings-0123456789abcdef" in goes(days=99)
    assert not {"cache/embeddings-aaaaaaaaaaaaaaaa"} & goes(days=99)
    assert goes(days=101) == set()
    assert goes(n_bytes=250_000) >= {"cache/embeddings-aaaaaaaaaaaaaaaa"}
    assert not {"cache/embeddings-0123456789abcdef"} & goes(n_bytes=250_000)


def test_links_are_never_followed(results, tmp_path):
    outside = tmp_path / "outside"
    for name in ("vectors", "cache", "states", "code"):
        (outside / name).mkdir(parents=True)
        (outside / name / f"{FINISHED}.pt").write_text("theirs")
    (outside / "cache" / "pass-0123456789abcdef.pt").write_text("theirs")
    before = tree(outside)
    sync(results, Console(file=io.StringIO()))
    leave(results)
    (results / "cache" / "embeddings-bbbbbbbbbbbbbbbb").symlink_to(outside / "vectors")
    (results / "cache" / "embeddings-0123456789abcdef" / "more").symlink_to(outside / "vectors")
    (results / "states" / "two").symlink_to(outside / "states")
    (results / "code" / "bbbbbbbbbbbbbbbb").symlink_to(outside / "code")
    told(clean, results, Wanted(caches=True), remove=True)
    shutil.rmtree(results / "cache")
    (results / "cache").symlink_to(outside / "cache")
    told(clean, results, Wanted(caches=True), remove=True)
    assert tree(outside) == before
    assert (results / "states" / "two").is_symlink()


@pytest.mark.parametrize("field", ["network.code", "scores_code", "of.a.later.version"])
def test_code_that_a_trial_names_stays_even_of_a_run_that_was_deleted(results, field):
    sync(results, Console(file=io.StringIO()))
    leave(results)
    tracker = Tracker("finished", results)
    run = tracker.finished()[FINISHED].info.run_id
    two = "fedcba9876543210, " if field == "scores_code" else ""  # of two scores of one's own
    tracker.client.log_param(run, field, f"{two}0123456789abcdef")
    tracker.client.delete_run(run)
    told(clean, results, Wanted(), remove=True)
    assert (results / "code" / "0123456789abcdef").is_dir()
    # Its trial has not finished any more: it may go on from there.
    assert (results / "states" / "finished" / f"{FINISHED}.pt").exists()


def test_code_stays_where_another_mlflow_may_name_it(results, monkeypatch, tmp_path):
    """The sweeps had a server, and whoever cleans has not said so; or the other way round."""
    sync(results, Console(file=io.StringIO()))
    leave(results)
    (results / "outbox" / "elsewhere.lock").touch()
    assert "elsewhere ran here" in told(clean, results, Wanted(), remove=True)
    (results / "outbox" / "elsewhere.lock").unlink()
    run = Tracker("finished", results).finished()[FINISHED].info.run_id
    Tracker("finished", results).client.log_param(run, "network.code", "0123456789abcdef")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/theirs.db")
    for study in ("finished", "searched", "interrupted"):
        Tracker(study, results)
    assert "code that trials name" in told(clean, results, Wanted(), remove=True)
    assert (results / "code" / "0123456789abcdef").is_dir()


def test_what_cannot_be_removed_is_said_and_the_rest_goes(results, monkeypatch):
    remove = Path.unlink

    def unlink(path, **options):
        if path.name.startswith("listing"):
            raise PermissionError(13, "Permission denied", str(path))
        remove(path, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    sync(results, Console(file=io.StringIO()))
    leave(results)
    text = told(clean, results, Wanted(caches=True), remove=True, code=1)
    assert "listing-0123456789abcdef.npz (Permission denied)" in text and "removed: " in text
    left = {name for name in CACHED if (results / name).exists()}
    assert left == {"cache/listing-0123456789abcdef.npz"}


def test_a_folder_that_is_drawn_to_stays(results):
    sync(results, Console(file=io.StringIO()))
    leave(results)
    drawn = results / "cache" / "concepts-v1-train-9-seed0-32px.partial-abc" / "complete"
    drawn.mkdir(parents=True)
    for path in (drawn / "images.npy", drawn, drawn.parent):
        path.is_dir() or path.write_bytes(b"x")
        os.utime(path, (LONG_AGO, LONG_AGO))
    with held_folder(drawn.parent):
        assert "not removed" in told(clean, results, Wanted(), remove=True, code=1)
    assert drawn.exists()
    told(clean, results, Wanted(), remove=True)
    assert not drawn.parent.exists()


def test_a_state_from_before_studies_stays_while_one_study_wants_it(results):
    sync(results, Console(file=io.StringIO()))
    leave(results)
    for key in (FINISHED, UNFINISHED):
        (results / "states" / f"{key}.pt").write_bytes(b"x")
    told(clean, results, Wanted(), remove=True)
    assert not (results / "states" / f"{FINISHED}.pt").exists()
    assert (results / "states" / f"{UNFINISHED}.pt").exists()


@pytest.mark.slow
def test_a_report_is_the_same_before_and_after(results):
    """Its tables to the last byte; what others are made of is there, too, and a further sweep has
    nothing to do."""
    sync(results, Console(file=io.StringIO()))
    leave(results)

    def reported():
        report_study("finished", results, None, Console(file=io.StringIO()))
        files = (results / "report" / "finished").glob("*.csv")
        return {path.name: path.read_bytes() for path in files}

    before, frames = reported(), load("searched", results)
    told(clean, results, Wanted(caches=True), remove=True)
    shutil.rmtree(results / "report")
    assert reported() == before and len(before) > 5
    assert_frame_equal(load("searched", results).trials, frames.trials)
    assert_frame_equal(load("searched", results).units, frames.units)
    plan = make_plan(kept_results.finished())
    assert plan.remaining(Tracker("finished", results).done(plan)) == []


def test_the_command_and_what_it_refuses(results, capsys):
    assert cli.main(["status", "--results", str(results)]) == 0
    assert cli.main(["clean", "--results", str(results), "--older-than=30"]) == 0
    assert "would" not in capsys.readouterr().err
    for verb in ("status", "clean"):
        assert cli.main([verb, "--results", str(results / "none")]) == 2
        assert "must be a folder that is there" in capsys.readouterr().err
        assert not (results / "none").exists()
    home = results.parent / "home"
    shutil.copytree(results, home, ignore=shutil.ignore_patterns("outbox", "artifacts"))
    before = tree(home)
    assert cli.main(["clean", "--results", str(home), "--caches", "--remove"]) == 2
    assert "must be a folder of results, no sweep has run in" in capsys.readouterr().err
    assert tree(home) == before
    given = parser().parse_args(["clean", "--larger-than=1.5GB", "--caches"])
    assert (given.larger_than, given.caches, given.remove) == (1.5e9, True, False)
    for wrong in ("--larger-than=5", "--larger-than=1..2GB", "--older-than=-1", "--older-than=x"):
        with pytest.raises(SystemExit):
            parser().parse_args(["clean", wrong])
