"""MLflow's web pages on what a results folder holds."""

import errno
import socket
from pathlib import Path

from sweeps.addresses import link
from sweeps.tracking.answering import database_path
from sweeps.tracking.charts import charts_path, metric_names, publish_views
from sweeps.tracking.tracker import Tracker, experiments, has_store, tracking_uri

HOST = "127.0.0.1"
PORT = 5000
_TRIED = 100  # ports


def free_port(wanted: int | None) -> int:
    """The port that is wanted; where none is, 5000 or the first free one above.

    Raises ValueError for one that is taken, naming one that is free.
    """
    first = PORT if wanted is None else wanted
    problem = _problem(first)
    if problem is None:
        return first
    above = range(first + 1, min(first + _TRIED, 65_536))
    free = next((port for port in above if _problem(port) is None), None)
    if wanted is None and free is not None:
        return free
    raise ValueError(f"the port {first} must be free, {problem}: make ui PORT={free or 8_000}")


def _problem(port: int) -> str | None:
    """Why nothing can listen there; None where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just ended is no one
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program listens there"
            return f"it may not be opened ({error.strerror})"
    return None


def page_links(results: Path, port: int) -> dict[str, str]:
    """Study -> address of its trials in MLflow's pages, side by side as charts, best first.

    The charts are stored with each study's experiment, so that they are there also while its
    first sweep runs. Experiments of other projects are left as they are.
    """
    links = {}
    for study, experiment in experiments(results).items():
        tracker = Tracker(study, results)
        if not tracker.is_study():
            continue
        publish_views(tracker, metric_names(tracker))
        links[study] = (
            f"http://{HOST}:{port}/?workflowType=machine_learning#{charts_path(experiment)}"
        )
    return links


def serve_command(results: Path, port: int) -> list[str]:
    """Arguments for Python that serve MLflow's pages on this machine only.

    Raises ValueError when there is nothing to show.
    """
    uri = tracking_uri(results)
    if database_path(uri) is None:
        raise ValueError(f"MLFLOW_TRACKING_URI is set: its own server shows the pages, {link(uri)}")
    if not has_store(results):
        raise ValueError(f"{results} must hold what a sweep logged, it holds no mlflow.db")
    options = {
        "--backend-store-uri": uri,
        "--artifacts-destination": (results.resolve() / "artifacts").as_uri(),
        "--host": HOST,
        # Exactly these: by a name of its own that leads here, a page of others could read ours.
        "--allowed-hosts": f"{HOST}:{port},localhost:{port}",
        "--port": str(port),
        "--workers": "1",
    }
    return ["-m", "mlflow", "server", *(word for option in options.items() for word in option)]
