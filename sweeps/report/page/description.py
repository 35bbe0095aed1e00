"""What MLflow shows as the description of a sweep's run: the summary, with links."""

from collections.abc import Sequence

from sweeps.report.checks.check import Check, listed
from sweeps.report.page.table import COLUMNS, cell
from sweeps.report.page.words import summary_sentences
from sweeps.report.read.best import best_trials
from sweeps.report.read.frames import SweepFrames
from sweeps.tracking.charts import charts_path, compare_path

_SHOWN = ("prune/sparsity", "val/top1", "mis/mean", "mis/change")
_MOST_ROWS = 24  # MLflow's tags hold 8,000 characters


def description(
    frames: SweepFrames, checks: Sequence[Check], experiment_id: str, run_id: str, page: str
) -> str:
    """Markdown. Its links are of MLflow's pages, whatever the server's address is.

    page: the report among the run's artifacts.
    """
    trials = frames.trials
    runs = f"#/experiments/{experiment_id}/runs"
    failed = [check.name for check in checks if check.status == "failed"]
    checked = f"{len(failed)} of {len(checks)} validity checks fail"
    links = [
        f"**[The report]({runs}/{run_id}/artifacts/{page})**",
        f"[the trials as charts](#{charts_path(experiment_id)})",
        f"[side by side]({_compared(frames, experiment_id)})",
    ]
    columns = [c for c in COLUMNS if c.name in _SHOWN and c.name in trials]
    heads = ["best of its method and rate", *(c.heading for c in columns)]
    lines = [f"| {' | '.join(heads)} |", f"|---{'|--:' * len(columns)}|"]
    for row in best_trials(trials).head(_MOST_ROWS).to_dict("records"):
        cells = [cell(column, row.get(column.name)) for column in columns]
        lines.append(f"| [{row['label']}]({runs}/{row['run_id']}) | {' | '.join(cells)} |")
    parts = [
        " · ".join(links),  # first: MLflow folds all but the first lines
        " ".join(summary_sentences(frames)),
        f"{checked}{': ' if failed else ''}{listed(failed, 8)}.",
        "\n".join(lines),
        frames.purpose.strip(),
    ]
    return "\n\n".join(parts)[:7_900]


def _compared(frames: SweepFrames, experiment_id: str) -> str:
    """MLflow's comparison: the best first, then the others in the table's order."""
    best = list(best_trials(frames.trials)["run_id"])
    others = [run for run in frames.trials["run_id"] if run not in set(best)]
    return "#" + compare_path(experiment_id, [*best, *others])
