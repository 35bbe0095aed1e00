"""Whether MLflow answers at an address; where not, why, and the way out, in one sentence."""

import os
import re
import shlex
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

from sqlalchemy import create_engine, inspect
from sqlalchemy import text as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from sweeps.addresses import has_secrets, link, without_secrets
from sweeps.terminal import word_after

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_OF_MLFLOW = ("http", "https", *_DATABASES, "databricks", "uc")
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}
# Tables of MLflow's: those that it makes first, one by one, and those that it has had ever since.
_FIRST_TABLES = {"experiments", "runs", "tags", "metrics", "params", "alembic_version"}
_ALL_VERSIONS = {"experiments", "runs", "alembic_version"}
_SECONDS, _PATIENCE = 10.0, 30.0
_UNSET = "unset MLFLOW_TRACKING_URI to log to a database in the results folder"


def require_answer(address: str) -> None:
    """Raise ValueError where MLflow cannot work with the address, or nothing answers there."""
    scheme = _scheme(address)
    with word_after(f"MLflow at {link(address)}"):
        if scheme in ("http", "https"):
            _require_server(address)
        elif scheme in _DATABASES:
            _require_database(address)


def no_answer(address: str, error: BaseException) -> str:
    """Why something is refused that needs MLflow."""
    text = str(error)
    if "out-of-date database schema" in text:
        return _other_schema(address, text)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"the certificate of {link(address)} must be one that this machine trusts, it is not: "
            "name its authority by MLFLOW_TRACKING_SERVER_CERT_PATH"
        )
    first = without_secrets((text.splitlines() or [""])[0])[:300]
    return (
        f"the MLflow tracking server must answer, {link(address)} does not "
        f"({type(error).__name__}: {first}); {_UNSET}"
    )


def database_path(address: str) -> Path | None:
    """The file of a database of SQLite."""
    if not address.startswith(("sqlite:", "sqlite+")):
        return None
    name = make_url(address).database
    return Path(name) if name else None


def names_in_database(address: str) -> set[str] | None:
    """The experiments in a database, which MLflow's client would make tables in; None where the
    address is a server's."""
    if _scheme(address) not in _DATABASES:
        return None
    with create_engine(make_url(address), poolclass=NullPool).connect() as database:
        if not inspect(database).has_table("experiments"):
            return set()
        return {name for (name,) in database.execute(sql("SELECT name FROM experiments"))}


def sqlite_address(path: Path) -> str:
    """The address of a database of SQLite, whatever characters its path has."""
    plain = os.fsencode(path).decode("utf-8", "surrogateescape")
    quoted = plain.replace("%", "%25").replace("?", "%3F")
    # With the driver's name MLflow does not take the quoted path for a folder that is to be made.
    return f"sqlite:///{plain}" if quoted == plain else f"sqlite+pysqlite:///{quoted}"


def _scheme(address: str) -> str:
    """Of an address that MLflow keeps runs at, without a driver's name. Raises ValueError."""
    shown, (scheme, _, rest) = link(address), address.partition(":")
    base = scheme.partition("+")[0]
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", address) or (base == address and base == "localhost"):
        raise ValueError(
            f"MLFLOW_TRACKING_URI must begin with http:// or https://, got {shown!r}: "
            f"http://{shown}?"
        )
    if base in _OF_MLFLOW and (rest or base == "databricks"):
        return base
    if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
        return "file"
    if base == "file" or "://" not in address:
        raise ValueError(
            f"MLFLOW_TRACKING_URI must be a server or a database, got the folder {shown!r}, to "
            f"which MLflow no longer writes (`mlflow migrate-filestore` moves what it holds); "
            f"{_UNSET}"
        )
    raise ValueError(
        f"MLFLOW_TRACKING_URI must begin with http://, https:// or a database's name "
        f"({', '.join(f'{name}://' for name in _DATABASES)}), got {shown!r}; an object store takes "
        "the artifacts of a server (mlflow server --artifacts-destination), and no runs"
    )


def _require_server(address: str) -> None:
    """Ask as MLflow's client asks: with its login, token, certificates and headers."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    if not urlsplit(address).hostname:
        raise ValueError(f"MLFLOW_TRACKING_URI must name a host, got {link(address)!r}")
    try:
        answer = http_request(
            get_default_host_creds(address),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=0,
            raise_on_status=False,
        )
    except (MlflowException, OSError, ValueError) as error:
        raise ValueError(no_answer(address, error.__cause__ or error)) from error
    shown, status = link(address), answer.status_code
    if status in (401, 407):
        raise ValueError(
            f"the MLflow server {shown} must know who asks ({status}): set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to "
            "what it accepts"
        )
    if status == 403:
        raise ValueError(
            f"the MLflow server {shown} refuses this machine or its user (403): start it with "
            "--allowed-hosts, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to "
            "those of a user who may"
        )
    if status >= 500 or status == 429:
        raise ValueError(
            f"the MLflow server {shown} must be well, it answers {status} {answer.reason}: try "
            f"again later, or {_UNSET}"
        )
    if status != 200 or not _is_json_object(answer.text):
        raise ValueError(
            f"MLFLOW_TRACKING_URI must be an MLflow server's, at {shown} something else answers "
            f"({status} {answer.reason})"
        )


def _is_json_object(text: str) -> bool:
    return text.lstrip().startswith("{")


def _require_database(address: str) -> None:
    try:
        url = make_url(address)
        url.get_dialect()().create_connect_args(url)
    except NoSuchModuleError as error:
        raise ValueError(no_answer(address, error)) from error
    except ArgumentError as error:
        raise ValueError(
            f"MLFLOW_TRACKING_URI must be a database's address, {link(address)!r} is not: a path "
            "after sqlite:// begins with a third slash; others are name://user:password@host/name"
        ) from error
    if url.get_backend_name() == "sqlite" and _in_memory(url):
        raise ValueError(
            f"MLFLOW_TRACKING_URI must name a file of SQLite, {link(address)!r} is a database in "
            f"memory, with which all results would be lost; {_UNSET}"
        )
    if path := database_path(address):
        return _require_sqlite(path)
    try:
        if url.host:  # before a driver's own patience, which is minutes
            port = url.port or _PORTS[url.get_backend_name()]
            socket.create_connection((url.host, port), _SECONDS).close()
        _connect_once(url)
    except ImportError as error:
        missing = (error.name or "it").partition(".")[0]
        raise ValueError(
            f"the driver of {url.drivername} must be installed, {missing} is not: "
            f".tools/bin/uv pip install {_PACKAGES.get(missing, missing)}"
        ) from error
    except Exception as error:  # each driver has errors of its own
        raise ValueError(no_answer(address, error)) from error


def _in_memory(url: URL) -> bool:
    names = (None, "", ":memory:", "file::memory:")
    return url.database in names or url.query.get("mode") == "memory"


def _connect_once(url: URL) -> None:
    """MLflow tries for minutes; a driver in C hears no signal while it waits: so in a thread."""
    problems: list[Exception] = []

    def connect() -> None:
        try:
            with create_engine(url, poolclass=NullPool).connect():
                pass
        except Exception as error:
            problems.append(error)

    trying = threading.Thread(target=connect, daemon=True)
    trying.start()
    trying.join(_PATIENCE)
    if trying.is_alive():
        raise TimeoutError(f"it took the connection and said nothing for {_PATIENCE:g} s")
    if problems:
        raise problems[0]


def _require_sqlite(path: Path) -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision as newest_schema

    if not path.exists() and not path.is_symlink():
        return
    if not path.is_file():
        raise ValueError(f"the database {path} must be a file, it is not: take other RESULTS")
    try:
        address = f"file:{quote(os.fsencode(path))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=_SECONDS)) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in found}
            version = _schema(database) if tables >= _ALL_VERSIONS else ""
    except sqlite3.Error as error:
        raise ValueError(_sqlite_sentence(path, str(error))) from error
    if not (tables <= _FIRST_TABLES or tables >= {"experiments", "runs"}):
        raise ValueError(
            f"the database {path} must be MLflow's, it is another program's, with the tables "
            f"{', '.join(sorted(tables)[:4])}: take other RESULTS"
        )
    if version and version != newest_schema():
        # MLflow would bring one that lacks tables up to date, in place and untold.
        raise ValueError(_other_schema(sqlite_address(path), f"found version {version}"))


def _schema(database: sqlite3.Connection) -> str:
    """The version of the tables; "" where they hold no run, as where their making was killed."""
    if database.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None:
        return ""
    return str((database.execute("SELECT version_num FROM alembic_version").fetchone() or [""])[0])


def _sqlite_sentence(path: Path, problem: str) -> str:
    if "locked" in problem:
        return (
            f"the database {path} must be free, another program holds it locked: end it "
            f"(fuser {shlex.quote(str(path))} names it)"
        )
    if "unable to open" in problem or "readonly" in problem:
        return (
            f"the database {path} must be a file that this user reads and writes, "
            f"it is not ({problem})"
        )
    return (
        f"the database {path} must be a whole one of SQLite, it is not ({problem}): put a copy in "
        "its place, or move it away and start anew"
    )


def _other_schema(address: str, text: str) -> str:
    """MLflow's own sentence names no address, and does not know which of the two is the newer."""
    import mlflow

    path = database_path(address)
    found = next(iter(re.findall(r"found version (\w+)", text)), "None")
    here = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
    which = "an older" if any(here.glob(f"{found}_*")) else "a newer"
    sentence = (
        f"the database {path or link(address)} must have the schema of MLflow "
        f"{mlflow.__version__}, it has that of {which} one"
    )
    if which == "a newer":
        return f"{sentence}: use the Secateur that made it, or take other RESULTS"
    where = '"$MLFLOW_TRACKING_URI"' if has_secrets(address) else shlex.quote(address)
    return f"{sentence}: copy it, then run `.venv/bin/mlflow db upgrade {where}`"
