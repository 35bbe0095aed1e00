"""Write a report: to the terminal, to files, to the sweep's parent run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from mlflow.entities import Run
from rich.console import Console
from rich.markup import escape

from sweeps.plan.atlas import Atlas
from sweeps.plan.section import TABLES, Section
from sweeps.report.atlas.of_pairs import Atlases, write_atlases
from sweeps.report.checks.check import Check
from sweeps.report.files import PAGE, note_made_of, partial_folder, replaced, report_folder, written
from sweeps.report.findings import Findings, findings, statistics_table
from sweeps.report.page.description import description
from sweeps.report.page.render import render
from sweeps.report.page.sections import write_sections
from sweeps.report.page.table import summary, terminal_table
from sweeps.report.page.words import trial_sentence
from sweeps.report.paper.published import published_frames, published_trials
from sweeps.report.read.frames import SweepFrames, latest_sweep, load_frames, open_tracker
from sweeps.report.sections.all import SECTIONS, with_own
from sweeps.studies import is_file, load_study, name_of, study_names
from sweeps.tracking.charts import publish_views
from sweeps.tracking.notes import NOTE, note_tags
from sweeps.tracking.tracker import Tracker, Unavailable
from sweeps.tracking.uploads import upload

_WRITTEN = "**[The report]("  # how descriptions of sweeps begin


def write_report(
    tracker: Tracker,
    sweep_run: Run,
    results: Path,
    console: Console,
    own: Sequence[Section] = (),
    atlas: Atlas | None = None,
) -> Path:
    """Page, tables, figures and atlas of a sweep; returns their folder, which is logged to the run.

    own: the sections of its study, after those of every report. atlas: its limits, of the study.
    """
    folder, limits = report_folder(results, tracker.study), atlas or Atlas()
    made: list[Atlases] = []

    def with_atlas(into: Path) -> Atlases:
        made.append(write_atlases(frames, tracker, into, limits))
        return made[-1]

    with partial_folder(folder) as keep:
        frames = load_frames(tracker, sweep_run, keep)
        found = write_files(frames, folder, with_own(own), with_atlas)
    if _log(tracker, sweep_run, frames, found, folder, console, made[-1]):
        runs = dict(zip(frames.trials["key"], frames.trials["run_id"], strict=True))
        note_made_of(folder, frames.sweep_key, runs)
    _print(frames, found, folder, console)
    return folder


def report_study(study: str, results: Path, sweep: str | None, console: Console) -> int:
    """`make report`: the latest sweep of a study, or the one of a key, from MLflow alone."""
    results = results.resolve()
    tracker = open_tracker(name_of(study), results)
    known = load_study(study) if study in study_names() or is_file(study) else None
    own, atlas = (known.sections, known.atlas) if known else ((), Atlas())
    write_report(tracker, latest_sweep(tracker, sweep), results, console, own, atlas)
    return 0


def report_published(results: Path, console: Console) -> int:
    """`make report STUDY=published`: of the points that the authors released, without MLflow."""
    frames, folder = published_frames(), report_folder(results.resolve(), "published")
    _print(frames, write_files(frames, folder), folder, console)
    return 0


def write_files(
    frames: SweepFrames,
    folder: Path,
    sections: Sequence[Section] = SECTIONS,
    atlas: Callable[[Path], Atlases] = lambda _: Atlases({}),
) -> Findings:
    """The page; beside it what each section draws as PNG, SVG and CSV, the tables, and what `atlas`
    makes of a folder."""
    found = findings(frames)
    with replaced(folder, {PAGE[:-5], *TABLES, *(s.name for s in SECTIONS)}) as partial:
        _write_tables(frames, found, partial)
        made = atlas(partial)
        shown = write_sections(frames, sections, partial, _told(frames), made.page_of)
        page = render(frames, found, shown, made)
        (partial / PAGE).write_text(page, encoding="utf-8")
    return found


def _told(frames: SweepFrames) -> dict[str, str]:
    """Key of a trial, or of a released point -> what a pointer over its marker is told."""
    told = {str(row["key"]): trial_sentence(row) for row in frames.trials.to_dict("records")}
    for row in published_trials().to_dict("records"):
        faults = f" — {row['faults']}" if row["faults"] else ""
        told[str(row["key"])] = trial_sentence(row) + faults
    return told


def _write_tables(frames: SweepFrames, found: Findings, folder: Path) -> None:
    tables = {
        "trials": summary(frames.trials),
        "statistics": statistics_table(found.answers),
        "validity": pd.DataFrame(found.checks, columns=list(Check.__annotations__)),
    }
    tables |= {"epochs": frames.epochs} if len(frames.epochs) else {}
    tables |= {"layers": frames.layers} if len(frames.layers) else {}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        table.to_parquet(folder / f"{name}.parquet", index=False)
    frames.trials.to_parquet(folder / "trials_all_metrics.parquet", index=False)
    if len(frames.of_units):  # a row per unit of every trial: too many for CSV
        frames.of_units.write(folder / "units.parquet")


def _log(
    tracker: Tracker,
    sweep_run: Run,
    frames: SweepFrames,
    found: Findings,
    folder: Path,
    console: Console,
    made: Atlases,
) -> bool:
    """The files and the description of the parent run; a server that refuses stops nothing."""
    run_id, experiment = sweep_run.info.run_id, tracker.experiment_id
    said = description(frames, found.checks, experiment, run_id, f"report/{PAGE}")
    try:
        sent = upload(tracker.client, run_id, folder, written(folder), "report")
        if refused := [why_not for _, why_not in sent if why_not]:
            raise OSError("; ".join(refused))
        if why_not := made.leave(tracker, folder):
            said_why = f"trials have no atlas of their own in MLflow: {escape(why_not)}"
            console.print(said_why, soft_wrap=True)
        tags = dict(sweep_run.data.tags)
        if tags.get(NOTE, "") == tags.get("purpose", frames.purpose):
            tags.pop(NOTE, None)  # as the sweep began with it
        said_tags = note_tags(tags, said, earlier=_WRITTEN)
        tracker.set_tags(run_id, {"purpose": frames.purpose, **said_tags})
        publish_views(tracker, [name for name in map(str, frames.trials) if "/" in name])
    except (*Unavailable, OSError) as error:
        first = (str(error).splitlines() or [""])[0][:200]
        console.print(
            f"[red]problem:[/] the report could not be logged to {escape(tracker.uri)} "
            f"({type(error).__name__}: {escape(first)}); it is in {escape(str(folder))}",
            soft_wrap=True,
        )
        return False
    return True


def _print(frames: SweepFrames, found: Findings, folder: Path, console: Console) -> None:
    table = summary(frames.trials)
    title = f"{frames.study}: {len(table)} trials"
    if frames.missing:
        title += f", {frames.missing} more are not finished"
    console.print(terminal_table(table, title))
    console.print(escape(frames.caption), soft_wrap=True)
    for check in found.checks:
        if check.status == "failed":
            console.print(f"[red]✗ {check.name}:[/] {escape(check.said)}", soft_wrap=True)
    console.print(
        "change: of MIS, against the same units of the dense network. The report: "
        f"{escape(str(folder / PAGE))}, with figures and tables beside it"
        + (", and in MLflow with the sweep's run" if frames.sweep_key else ""),
        soft_wrap=True,
    )
