"""deploy/mlflow: the compose file is read, and what it runs is run here, without Docker."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import requests
import yaml
from mlflow import MlflowClient
from servers import Postgres, free_port, stop, why_no_postgres

FOLDER = Path(__file__).parents[2] / "deploy" / "mlflow"
PASSWORD = "s3cr3t with 'quotes' $HOME %40@:/"


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def images():
    """Every image that deploy/ names, and whose it is."""
    found = {}
    for path in FOLDER.parent.rglob("*"):
        if path.is_file() and path.name != "README.md":
            named = re.findall(r"^\s*(?:-\s+)?(?:image:|FROM)\s+(\S+)", path.read_text(), re.M)
            found |= {image: path for image in named}
    return found


def test_every_image_has_a_version_of_three_numbers_or_is_the_users_own():
    for image, path in images().items():
        name, _, tag = image.partition(":")
        own = image == "REGISTRY/secateur:TAG"
        assert own or re.match(r"\d+\.\d+", tag), f"{path}: {image}"
        assert name != "minio/minio" and tag != "latest"
    assert len(images()) >= 3


def test_nobody_is_root_and_no_password_is_in_a_string(compose):
    for name, service in compose["services"].items():
        user = service["user"].partition(":")[0]
        assert user.isdigit() and int(user) > 0, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["secrets"] == ["postgres_password"]
        text = yaml.safe_dump(service)
        assert "${" not in text and "/bin/sh" not in text and "CMD-SHELL" not in text
        assert not re.search(r"://[^@/\s]*:[^@/\s]*@", text), "a password in an address"
        passwords = {n: v for n, v in service["environment"].items() if "PASSWORD" in n}
        assert all(
            n.endswith("_FILE") and v.startswith("/run/secrets/") for n, v in passwords.items()
        )
    assert compose["secrets"]["postgres_password"] == {"file": "secrets/postgres_password"}
    assert (FOLDER / ".gitignore").read_text() == "secrets/\n"


def test_volumes_and_images_that_are_named_are_there(compose):
    named = {
        volume.partition(":")[0] for s in compose["services"].values() for volume in s["volumes"]
    }
    assert named == set(compose["volumes"])
    dockerfile = (FOLDER / "Dockerfile").read_text()
    user = compose["services"]["mlflow"]["user"].partition(":")[0]
    assert f"--uid {user} " in dockerfile and "\nUSER mlflow\n" in dockerfile
    assert all((FOLDER / name).is_file() for name in re.findall(r"^COPY (\S+)", dockerfile, re.M))


def test_the_server_is_the_one_that_is_tested():
    """Its schema of a database must be that of the client that a sweep brings."""
    lock = tomllib.loads((FOLDER.parents[1] / "uv.lock").read_text())
    versions = {package["name"]: package.get("version") for package in lock["package"]}
    pinned = re.findall(r"([\w-]+)==([\w.]+)", (FOLDER / "Dockerfile").read_text())
    assert {name for name, _ in pinned} == {"mlflow", "psycopg2-binary"}
    assert all(versions[name] == version for name, version in pinned)


@contextlib.contextmanager
def served(compose, database, folder):
    """MLflow as the compose file starts it, at this machine's addresses; yields its port."""
    port = free_port()
    here = {
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=5000": f"--port={port}",
        "--workers=4": "--workers=1",
        "@database:5432": f"@127.0.0.1:{database.port}",
        "=/artifacts": f"={folder / 'artifacts'}",
        "127.0.0.1:5000": f"127.0.0.1:{port}",
    }
    words = compose["services"]["mlflow"]["command"]
    for old, new in here.items():
        assert any(old in word for word in words), old
        words = [word.replace(old, new) for word in words]
    assert compose["services"]["mlflow"]["build"] == "."
    settings = compose["services"]["mlflow"]["environment"]
    secret = {"POSTGRES_PASSWORD_FILE": str(folder / "secret")}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, str(FOLDER / "serve.py"), *words],
            env={**os.environ, **settings, **secret},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(requests.exceptions.RequestException):
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok:
                    break
            time.sleep(0.2)
        assert server.poll() is None, (folder / "log").read_text()[-2_000:]
        yield port
    finally:
        stop(server)


@pytest.fixture
def database(compose, tmp_path):
    """A PostgreSQL that asks for the password of the secret's file, as the image makes it."""
    if why := why_no_postgres():
        pytest.skip(why)
    (tmp_path / "secret").write_text(f"{PASSWORD}\n")
    database = Postgres(tmp_path / "postgres")
    environment = compose["services"]["database"]["environment"]
    user, name = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
    try:
        quoted = PASSWORD.replace("'", "''")
        for words in (
            f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{quoted}'",
            f"CREATE DATABASE {name} OWNER {user}",
        ):
            database.tell(words)
        (database.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        database.stop()
        database.start()
        yield database
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            database.stop()


@pytest.mark.slow
def test_what_the_file_runs_takes_runs_and_their_files(compose, database, tmp_path):
    psycopg2 = pytest.importorskip("psycopg2")
    address = f"host=127.0.0.1 port={database.port} user=mlflow dbname=mlflow"
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(address, password="another")
    with served(compose, database, tmp_path) as port:
        client = MlflowClient(f"http://127.0.0.1:{port}")
        run = client.create_run(client.create_experiment("tried"))
        client.log_metric(run.info.run_id, "mis/mean", 0.7)
        client.log_text(run.info.run_id, "what a trial leaves", "units.txt")
        assert client.get_run(run.info.run_id).data.metrics == {"mis/mean": 0.7}
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        path = client.download_artifacts(run.info.run_id, "units.txt", str(tmp_path))
        assert Path(path).read_text() == "what a trial leaves"
        (kept,) = (tmp_path / "artifacts").rglob("units.txt")
        assert kept.read_text() == "what a trial leaves"
        stranger = requests.get(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=1",
            headers={"Host": "evil.example"},
            timeout=10,
        )
        assert stranger.status_code == 403
        # The healthcheck, as Docker would run it.
        command = compose["services"]["mlflow"]["healthcheck"]["test"][2:]
        check = [word.replace("5000", str(port)) for word in command]
        assert subprocess.run([sys.executable, *check]).returncode == 0
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # no command line has the password
                assert PASSWORD.encode() not in (entry / "cmdline").read_bytes()
    assert PASSWORD not in (tmp_path / "log").read_text()
    ready = [w.replace("5432", "") for w in compose["services"]["database"]["healthcheck"]["test"]]
    program = shutil.which("pg_isready") or str(database.bin / "pg_isready")
    checked = [program, *ready[2:], "-p", str(database.port)]
    assert subprocess.run(checked, stdout=subprocess.DEVNULL).returncode == 0
