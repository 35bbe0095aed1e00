"""Write a report: to the terminal, to files, to the sweep's parent run."""

from pathlib import Path

import matplotlib.pyplot as plt
from mlflow.entities import Run
from rich.console import Console

from sweeps.report.figures import figures
from sweeps.report.frames import latest_sweep, load_frames
from sweeps.report.table import summary, terminal_table
from sweeps.studies import load_study
from sweeps.tracking import Tracker, has_store


def write_report(tracker: Tracker, sweep_run: Run, results: Path, console: Console) -> Path:
    """Tables and figures of a sweep; returns their folder, which is logged to the parent run."""
    frames = load_frames(tracker, sweep_run)
    folder = results / "report" / tracker.study
    folder.mkdir(parents=True, exist_ok=True)
    table = summary(frames.trials)
    table.to_csv(folder / "trials.csv", index=False)
    frames.trials.to_parquet(folder / "trials.parquet", index=False)
    for name, figure in figures(frames.trials, frames.caption).items():
        for suffix in ("png", "svg"):
            figure.savefig(folder / f"{name}.{suffix}", dpi=160)
        plt.close(figure)
    tracker.log_folder(sweep_run.info.run_id, folder, "report")
    title = f"{tracker.study}: {len(table)} trials"
    if frames.missing:
        title += f", {frames.missing} more are not finished"
    console.print(terminal_table(table, title))
    console.print(frames.caption, soft_wrap=True)
    console.print(
        "change: of MIS, against the same units of the dense network. Figures and tables: "
        f"{folder}, and in MLflow with the sweep's run",
        soft_wrap=True,
    )
    return folder


def report_study(study: str, results: Path, sweep: str | None, console: Console) -> int:
    """`make report`: the latest sweep of a study, or the one of a key, from MLflow alone."""
    load_study(study)  # an unknown name is refused before an experiment is made for it
    if not has_store(results):
        raise ValueError(f"{results} must hold what a sweep logged, it holds no mlflow.db")
    tracker = Tracker(study, results.resolve())
    write_report(tracker, latest_sweep(tracker, sweep), results.resolve(), console)
    return 0
