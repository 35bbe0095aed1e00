"""MLflow's web pages on what a results folder holds."""

from pathlib import Path

from sweeps.tracking import Tracker, experiments, has_store, tracking_uri
from sweeps.views import charts_path, metric_names, publish_views


def page_links(results: Path, port: int) -> dict[str, str]:
    """Study -> address of its trials in MLflow's pages, side by side as charts, best first.

    The charts are stored with each study's experiment, so that they are there also while its
    first sweep runs.
    """
    links = {}
    for study, experiment in experiments(results).items():
        tracker = Tracker(study, results)
        publish_views(tracker, metric_names(tracker))
        links[study] = (
            f"http://127.0.0.1:{port}/?workflowType=machine_learning#{charts_path(experiment)}"
        )
    return links


def serve_command(results: Path, port: int) -> list[str]:
    """Arguments for Python that serve MLflow's pages on this machine only.

    Raises ValueError when there is nothing to show.
    """
    uri = tracking_uri(results)
    if not uri.startswith("sqlite:"):
        raise ValueError(f"MLFLOW_TRACKING_URI is set: its own server shows the pages, {uri}")
    if not has_store(results):
        raise ValueError(f"{results} must hold what a sweep logged, it holds no mlflow.db")
    options = {
        "--backend-store-uri": uri,
        "--artifacts-destination": str(results.resolve() / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    return ["-m", "mlflow", "server", *(word for option in options.items() for word in option)]
