"""MLflow's own pages of a sweep, in a real browser: the charts, the comparison, the summary."""

import io
import time

import pytest
import requests
from browser import Page, needs_browser
from report_frames import log_sweep, synthetic
from rich.console import Console
from servers import free_port, start_mlflow, stop

from sweeps.report import report_study
from sweeps.tracking.charts import compare_path
from sweeps.tracking.server import page_links
from sweeps.tune.pictures import LAYERS, draw_trial
from trainables.artifacts import UNITS

pytestmark = [pytest.mark.slow, pytest.mark.browser, needs_browser]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A small sweep with its report on a real server: (port, link of `make ui`, tracker)."""
    folder = tmp_path_factory.mktemp("pages")
    results = folder / "results"
    frames = synthetic(methods=("structured", "unstructured"), rates=(0.5, 0.9), channels=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("sweeps.report.write.write_sections", lambda *_: [])  # elsewhere
        tracker = log_sweep(frames, results, folder / "files")
        report_study("synthetic", results, None, Console(file=io.StringIO()))
        port = free_port()
        link = page_links(results, port)["synthetic"]
    server = start_mlflow(results, port)
    yield port, link, tracker
    stop(server)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with Page(tmp_path_factory.mktemp("profile"), width=1500, height=1000) as page:
        yield page


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Where screenshots stay: pytest keeps the folders of its last runs."""
    folder = tmp_path_factory.getbasetemp() / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder


def wait_for(page, script, seconds=40):
    """Until the expression is true on the page; what it is in the end."""
    until = time.monotonic() + seconds
    while not (found := page.run(script)) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def has_text(*texts):
    every = " && ".join(f"document.body.innerText.includes({text!r})" for text in texts)
    return f"document.body !== null && {every}"


# What MLflow's pages say by themselves: no accounts on this server; a table's advice; parallel
# coordinates while they are laid out; on a slow machine, that a size changed twice in a frame.
_OF_MLFLOW = (
    *("/mlflow/users/current", "AG Grid: since", "attribute transform: Expected number"),
    "ResizeObserver loop completed",
)


def complaints(page, port):
    """Errors, and what was asked of another machine, since this was asked last."""
    here = (f"http://127.0.0.1:{port}/", "data:", "blob:", "about:")
    errors = [line for line in page.log if not any(known in line for known in _OF_MLFLOW)]
    found = errors + [url for url in page.requests if not url.startswith(here)]
    page.log.clear()
    page.requests.clear()
    return found


def test_the_link_of_make_ui_opens_the_chosen_charts(served, page, shots):
    port, link, tracker = served
    page.open(link)
    charts = "document.querySelectorAll('.js-plotly-plot').length"
    assert wait_for(page, f"{charts} >= 4")
    # The chosen charts come first; MLflow's own, one a metric, follow folded.
    n_trials = len(tracker.runs("trial", "FINISHED"))
    assert wait_for(
        page, has_text("The sweep", "(6)", "structured 0.5 one_shot", f"{n_trials} matching runs")
    )
    axes = "[...document.querySelectorAll('.js-plotly-plot .xtitle')].map(e => e.textContent)"
    assert wait_for(page, f"{axes}.includes('prune/sparsity') && {axes}.includes('val/top1')")
    assert page.run(has_text("fraction of the prunable weights that are zero"))
    page.screenshot(shots / "mlflow_charts.png", whole=False)
    assert complaints(page, port) == []


def test_the_comparison_shows_the_trials_of_the_sweep(served, page, shots):
    port, _, tracker = served
    runs = [run.info.run_id for run in tracker.runs("trial", "FINISHED")][:12]
    page.open("about:blank")
    page.open(f"http://127.0.0.1:{port}/#{compare_path(tracker.experiment_id, runs)}")
    assert wait_for(page, has_text(f"Comparing {len(runs)} Runs", "Parallel Coordinates"))
    assert wait_for(page, "document.querySelectorAll('.js-plotly-plot').length >= 1")
    page.screenshot(shots / "mlflow_compare.png", whole=False)
    assert complaints(page, port) == []


def test_the_sweep_s_run_shows_the_summary_and_leads_to_the_report(served, page, shots):
    port, _, tracker = served
    run = tracker.runs("sweep")[0].info.run_id
    page.open("about:blank")
    page.open(f"http://127.0.0.1:{port}/#/experiments/{tracker.experiment_id}/runs/{run}")
    assert wait_for(page, has_text("best of its method and rate", "The dense network has a top-1"))
    links = page.run("[...document.querySelectorAll('a')].map(a => a.href)")
    report = next(link for link in links if link.endswith("artifacts/report/report.html"))
    page.screenshot(shots / "mlflow_sweep.png", whole=False)
    assert complaints(page, port) == []
    page.open("about:blank")
    page.open(report)
    assert wait_for(page, "document.querySelector('iframe') !== null")
    page.screenshot(shots / "mlflow_report.png", whole=False)


def test_a_trial_s_run_shows_its_pictures(served, page, shots, tmp_path):
    port, _, tracker = served
    run = tracker.runs("trial", "FINISHED")[0]
    tracker.client.download_artifacts(run.info.run_id, UNITS, str(tmp_path))
    draw_trial(tmp_path, run.info.run_name)
    tracker.log_folder(run.info.run_id, tmp_path)
    page.open("about:blank")
    here = f"http://127.0.0.1:{port}/#/experiments/{tracker.experiment_id}/runs/{run.info.run_id}"
    page.open(f"{here}/artifacts/{LAYERS}")
    drawn = "[...document.images].some(i => i.naturalWidth > 500 && i.clientWidth > 200)"
    assert wait_for(page, drawn)
    page.screenshot(shots / "mlflow_trial.png", whole=False)
    assert complaints(page, port) == []


def test_the_experiment_says_what_its_names_mean(served):
    port, _, tracker = served
    asked = requests.get(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get",
        params={"experiment_id": tracker.experiment_id},
        timeout=20,
    ).json()
    tags = {tag["key"]: tag["value"] for tag in asked["experiment"]["tags"]}
    assert "fraction of the prunable weights that are zero" in tags["mlflow.note.content"]
    assert len(tags["mlflow.sharedViewState.secateur"]) < 5_000
