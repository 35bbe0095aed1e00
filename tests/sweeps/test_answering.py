"""What MLflow's address may be, and what is said where nothing good answers there."""

import http.server
import os
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from servers import free_port

from sweeps.addresses import has_secrets, link, take_login, without_secrets
from sweeps.plan.planner import make_plan
from sweeps.report.read.frames import open_tracker
from sweeps.studies import load_study
from sweeps.tracking import tracker as tracking
from sweeps.tracking.answering import database_path, no_answer, require_answer, sqlite_address
from sweeps.tracking.tracker import Tracker, experiments, has_store


@pytest.fixture(autouse=True)
def no_mlflow_from_outside(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database of MLflow's, closed."""
    folder = tmp_path_factory.mktemp("made")
    Tracker("made", folder)
    return folder / "mlflow.db"


@pytest.fixture
def server(request):
    """A server that answers every question by one status and body; what it was asked."""
    status, body = request.param
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    here = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=here.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{here.server_port}", asked
    here.shutdown()
    here.server_close()


SECRETS = {
    "http://ada:love@host:5000/x": "http://***@host:5000/x",
    "https://ada@host": "https://***@host",
    "https://:love@host/": "https://***@host/",
    "http://ada:lo/ve@host/x": "http://***@host/x",
    "http://ada:l@ve@host/x": "http://***@host/x",
    "http://ada:l#v?e@host/x": "http://***@host/x",
    "postgresql+psycopg2://ada:love@host/db?sslmode=require": (
        "postgresql+psycopg2://***@host/db?sslmode=require"
    ),
    "postgresql://host/db?user=ada&password=love": "postgresql://host/db?user=ada&password=***",
    "s3://key:love@bucket/x": "s3://***@bucket/x",
    "s3://bucket/x?access_key=love&secret_key=love&region=eu": (
        "s3://bucket/x?access_key=***&secret_key=***&region=eu"
    ),
    "https://h/x?X-Amz-Signature=love&X-Amz-Date=1": "https://h/x?X-Amz-Signature=***&X-Amz-Date=1",
    "https://h/x?sv=1&AccountKey=love;EndpointSuffix=x": (
        "https://h/x?sv=1&AccountKey=***;EndpointSuffix=x"
    ),
    "ray://ada:love@head:10001": "ray://***@head:10001",
    "redis://:love@head:6379 and http://b:love@c": "redis://***@head:6379 and http://***@c",
}


@pytest.mark.parametrize(("text", "shown"), SECRETS.items(), ids=SECRETS)
def test_no_password_is_shown(text, shown):
    assert without_secrets(text) == shown and has_secrets(text)
    assert "love" not in link(text) and "ada" not in link(text.replace("user=ada", ""))


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/?workflowType=machine_learning#/x?viewStateShareKey=secateur",
        "http://host:5000/a@b",
        "sqlite:////tmp/a@b/mlflow.db",
        "a sentence: with @ and key=value",
        "s3://bucket/imagenet?region=eu&endpoint_override=http://x:9000",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text):
    assert without_secrets(text) == text


def test_the_login_of_a_server_moves_to_where_mlflow_reads_it(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "before")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "before")
    for kept in ("http://host:1/x", "sqlite:////x/y.db", "postgresql://a:b@h/d", "http://ada@host"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", kept)
        take_login()
        assert os.environ["MLFLOW_TRACKING_URI"] == kept
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "before"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://a%40b:l%2Fve@host:1/x?y=1")
    take_login()
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://host:1/x?y=1"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "a@b"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "l/ve"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:love@host:1/x")
    assert tracking.tracking_uri(Path()) == "https://host:1/x"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("localhost:5000", r"must begin with http:// .*: http://localhost:5000\?"),
        ("mlflow.example.org:80/x", "must begin with http://"),
        ("127.0.0.1:5000", "must begin with http://"),
        ("localhost", "must begin with http://"),
        ("file:///tmp/mlruns", "got the folder 'file:///tmp/mlruns', to which MLflow no longer"),
        ("./mlruns", "got the folder './mlruns'"),
        ("/tmp/mlruns", "migrate-filestore"),
        ("s3://bucket/x", "an object store takes the artifacts of a server"),
        ("gs://bucket", "an object store"),
        ("s3://key:love@bucket", "an object store"),
        ("htp://host", "must begin with http://"),
        ("http://", "MLFLOW_TRACKING_URI must name a host"),
        ("http://:5000", "MLFLOW_TRACKING_URI must name a host"),
        ("http://[::1", "MLFLOW_TRACKING_URI must be an address, got 'http://.::1': Invalid IPv6"),
        ("sqlite://", "must name a file of SQLite, 'sqlite://' is a database in memory, with"),
        ("sqlite:///", "a database in memory"),
        ("sqlite:///:memory:", "a database in memory"),
        ("sqlite:///file::memory:?uri=true", "a database in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "a database in memory"),
        ("sqlite://mlflow.db/x:y:z", "a path after sqlite:// begins with a third slash"),
        ("mysql://ada:love@host/db", r"driver of mysql must be installed, MySQLdb .*mysqlclient"),
        ("mssql+pyodbc:///db", "driver of mssql.pyodbc must be installed, pyodbc is not"),
        ("postgresql+asyncpgg://ada:love@127.0.0.1:9/db", "must answer"),
        ("postgresql+psycopg2://ada:love@127.0.0.1:9/db", r"//127.0.0.1:9/db does not .*refused"),
        ("http://ada:love@127.0.0.1:9", r"http://127.0.0.1:9 does not \(.*unset MLFLOW_TRACKING"),
    ],
)
def test_addresses_that_cannot_work_are_refused_at_once(monkeypatch, tmp_path, address, sentence):
    monkeypatch.setattr("socket.create_connection", _no_connection)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    if address.startswith("mysql:"):
        monkeypatch.setattr("socket.create_connection", lambda *_: socket.socket())
    started = time.monotonic()
    with pytest.raises(ValueError, match=sentence) as refused:
        Tracker("x", tmp_path / "results")
    said = str(refused.value)
    assert "love" not in said and "\n" not in said and len(said) < 600
    if not address.startswith("sqlite:"):  # which is looked for on disk first
        with pytest.raises(ValueError, match=sentence):
            open_tracker("x", tmp_path)
    assert time.monotonic() - started < 60 and not (tmp_path / "results").exists()


def _no_connection(*_):
    raise ConnectionRefusedError(111, "Connection refused")


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        ((401, b"who?"), r"must know who asks \(401\): set MLFLOW_TRACKING_USERNAME"),
        ((403, b"no"), r"refuses this machine or its user \(403\)"),
        ((404, b"nothing"), r"something else answers \(404"),
        ((200, b"<html>please log in"), r"something else answers \(200"),
        ((200, b""), "something else answers"),
        ((302, b""), "something else answers"),
        ((502, b"bad gateway"), "must be well, it answers 502"),
        ((429, b""), "it answers 429"),
    ],
    indirect=["server"],
)
def test_a_server_that_refuses_is_told_from_one_that_is_none(
    monkeypatch, tmp_path, server, sentence
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:love@{server[0]}")
    with pytest.raises(ValueError, match=sentence) as refused:
        Tracker("x", tmp_path)
    assert "love" not in str(refused.value)


@pytest.mark.parametrize("server", [(200, b"{}")], indirect=True)
def test_a_server_is_asked_as_mlflow_asks(monkeypatch, server):
    host, asked = server
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token")
    require_answer(f"http://{host}")
    assert asked[-1]["Authorization"] == "Bearer a token"
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "love")
    require_answer(f"http://{host}/")
    assert asked[-1]["Authorization"].startswith("Basic ")


def test_a_certificate_that_nobody_knows_has_a_way_out():
    error = OSError("HTTPSConnectionPool: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in no_answer("https://host", error)


def _changed(database, folder, change):
    """A copy of the database that something was done to; results folder of it."""
    path = folder / "mlflow.db"
    path.write_bytes(database.read_bytes())
    change(path)
    return folder


def _version(number):
    def change(path):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", [number])
        connection.close()

    return change


def _cut(fraction):
    return lambda path: os.truncate(path, int(path.stat().st_size * fraction))


def _a_folder(path):
    path.unlink()
    path.mkdir()


def _zeros(path):
    path.write_bytes(b"\0" * 8192)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_version("cbc13b556ace"), r"of an older one: copy it, then run `.venv/bin/mlflow db upgr"),
        (
            _version("f" * 12),
            "of a newer one: use the Secateur that made it, or take other RESULTS",
        ),
        (_cut(0.3), r"must be a whole one of SQLite, it is not \(database disk image is malformed"),
        (_cut(0.0005), "must be a whole one of SQLite"),
        (_zeros, r"must be a whole one of SQLite, it is not \(file is not a database"),
        (lambda path: path.write_text("version https://git-lfs"), "file is not a database"),
        (_a_folder, "must be a file, it is not: take other RESULTS"),
    ],
    ids=["older", "newer", "cut", "nearly all cut", "zeros", "text", "folder"],
)
def test_databases_that_cannot_be_read_have_a_way_out(database, tmp_path, change, sentence):
    folder = _changed(database, tmp_path, change)
    with pytest.raises(ValueError, match=sentence) as refused:
        Tracker("x", folder)
    assert str(folder / "mlflow.db") in str(refused.value) and "\n" not in str(refused.value)
    for reading in (experiments, lambda results: open_tracker("x", results)):
        with pytest.raises(ValueError, match=sentence):
            reading(folder)


def test_a_locked_database_names_the_way_to_the_one_that_holds_it(database, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.tracking.answering._SECONDS", 0.1)
    folder = _changed(database, tmp_path, lambda _: None)
    holder = sqlite3.connect(folder / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ValueError, match=r"another program holds it locked: end it \(fuser /"):
        Tracker("x", folder)
    holder.close()
    assert Tracker("made", folder).runs("trial") == []


ODD_FOLDERS = ["a?b", "a%20b", "a%zz", "a[x]", "a#b", "a b", "ä&c=1", "a:b@c", "a'b", "a?uri=true"]


@pytest.mark.parametrize("name", [*ODD_FOLDERS, 'a"b', "back\\slash", "$x", "a+b", "100%", ";x"])
def test_a_results_folder_may_have_any_name(tmp_path, name):
    path = tmp_path / name / "mlflow.db"
    assert database_path(sqlite_address(path)) == path
    assert tracking.tracking_uri(path.parent) == sqlite_address(path)
    assert not has_store(path.parent)
    path.parent.mkdir()
    sqlite3.connect(path).close()
    assert has_store(path.parent)
    require_answer(sqlite_address(path))


def test_runs_and_files_of_an_oddly_named_folder_are_in_it(database, tmp_path):
    """Once for real: the engine, the migrations and the artifacts each read the path their way."""
    folder = tmp_path / "a?b#c%20d [x]"
    folder.mkdir()
    _changed(database, folder, lambda _: None)
    tracker = Tracker("odd", folder)
    run = tracker.start_run("t", kind="trial", key="k")
    tracker.client.log_text(run, "hi", "a/b.txt")
    assert [f.read_text() for f in (folder / "artifacts" / "odd").rglob("b.txt")] == ["hi"]
    assert {p.name for p in folder.iterdir()} == {"artifacts", "mlflow.db", "mlflow.lock"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name]


def test_a_study_that_was_deleted_comes_back_only_by_a_sweep_which_says_so(database, tmp_path):
    folder = _changed(database, tmp_path, lambda _: None)
    tracker = Tracker("gone", folder)
    tracker.start_run("t", kind="trial", key="k")
    tracker.client.delete_experiment(tracker.experiment_id)
    with pytest.raises(ValueError, match="gone was deleted in MLflow's pages: make sweep restores"):
        Tracker("gone", folder)
    assert tracker.client.get_experiment(tracker.experiment_id).lifecycle_stage == "deleted"
    back = Tracker("gone", folder, restore=True)
    assert back.was_deleted and len(back.runs("trial")) == 1
    from small_studies import small_sweep

    from sweeps.run import news

    said = news(make_plan(small_sweep("gone")), set(), folder, back)
    assert "had been deleted in MLflow's pages and is restored" in said
    assert not Tracker("gone", folder, restore=True).was_deleted


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:love@bucket/imagenet",
        "s3://bucket/x?secret_key=love",
        "https://ada:love@host/imagenet",
    ],
)
def test_data_is_named_without_its_keys(address):
    """Where a trial's images are is stored with its run."""
    with pytest.raises(ValueError, match="must hold no password or key") as refused:
        make_plan(load_study("paper"), data=address)
    assert "love" not in str(refused.value)
    with pytest.raises(ValueError, match="must hold no password or key"):
        make_plan(load_study("paper"), settings={"data.path": address})


def test_a_port_that_is_taken_is_said_and_the_next_is_named():
    from sweeps.tracking.server import HOST
    from sweeps.tracking.server import free_port as chosen

    port = free_port()
    assert chosen(port) == port
    with socket.socket() as other:
        other.bind((HOST, port))
        other.listen()
        with pytest.raises(ValueError, match=rf"port {port} must be free, another program .*PORT="):
            chosen(port)
    assert chosen(port) == port


def test_pages_of_others_cannot_be_served_under_a_name_of_their_own(database):
    from mlflow.server.security_utils import is_allowed_host_header

    from sweeps.tracking.server import serve_command

    command = serve_command(database.parent, 5001)
    allowed = command[command.index("--allowed-hosts") + 1].split(",")
    for own in ("127.0.0.1:5001", "localhost:5001"):
        assert is_allowed_host_header(allowed, own)
    for name in ("evil.com", "10.evil.com", "192.168.evil.com", "172.16.evil.com", "127.0.0.1.x.y"):
        for port in ("", ":5001", ":80"):
            assert not is_allowed_host_header(allowed, name + port)
    for other in ("localhost.evil.com:5001", "127.0.0.1:5002", "localhost", "fc00:evil", "[::1]:1"):
        assert not is_allowed_host_header(allowed, other)
