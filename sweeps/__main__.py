"""secateur VERB, or python -m sweeps VERB: what the Makefile calls, through sweeps.make."""

import argparse
import os
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING

from rich.markup import escape

# What takes seconds to import is imported where it is needed: a wrong word is answered at once.
from sweeps.addresses import without_secrets
from sweeps.arguments import parser
from sweeps.results_folder import require_folder, require_study_folder
from sweeps.terminal import Terminal, plain_warnings, printable, refuse, terminal, word_after
from sweeps.tracking.quiet import settled
from sweeps.values import unique, value_of, values_of

if TYPE_CHECKING:
    from sweeps.plan.planner import Plan

FAILED, REFUSED, BROKEN_OFF = 1, 2, 130
_PLAN_SECONDS = 30  # after which it is said that one is still made


def _study(arguments: argparse.Namespace) -> str:
    """Its name or file: of one's own images without a name it is the study of any folder."""
    if arguments.study is not None:
        return str(arguments.study)
    return "demo" if getattr(arguments, "data", None) is None else "folder"


def _studies(arguments: argparse.Namespace) -> list[str]:
    """Those that a report is asked of; one that is named as an option becomes the study's."""
    from sweeps.studies import is_file

    named = list(arguments.studies)
    if named and arguments.study is not None:
        raise ValueError(
            "studies must be named by --study or after it, not both: report A B, report --study A"
        )
    if not named and arguments.study is not None and not is_file(arguments.study):
        named = arguments.study.split()  # STUDY="A B" of make
    if len(named) > 1 and arguments.sweep is not None:
        raise ValueError("--sweep must go with one study: side by side are the latest of each")
    if len(named) == 1:
        arguments.study = named[0]
    return named


def _plan(arguments: argparse.Namespace) -> "Plan":
    from sweeps.plan.planner import make_plan
    from sweeps.studies import load_study

    if arguments.data is not None and not arguments.data.strip():
        raise ValueError(
            "--data must name a folder of images, its URI, or a data set, got an empty value"
        )
    study, what = load_study(_study(arguments)), "a plan: its images and networks are looked at"
    grid = {name: values_of(text) for name, text in unique(arguments.grid, "GRID").items()}
    settings = {name: value_of(text) for name, text in unique(arguments.set, "SET").items()}
    with word_after(what, _PLAN_SECONDS):  # a folder may be large; a user's own code may hang
        return make_plan(
            study, data=arguments.data, grid=grid, settings=settings, stop=arguments.stop
        )


def _show_plan(arguments: argparse.Namespace, console: Terminal) -> int:
    from sweeps.plan.cost import Speed, gpus_here, measured_here
    from sweeps.plan.machine import slots, this_machine
    from sweeps.plan.power import power_sentence
    from sweeps.plan.preview import (
        axes_summary,
        cost_table,
        disk_sentence,
        idle_sentence,
        machines_of,
        plan_summary,
        plan_table,
        stopping_summary,
        trained_for,
    )
    from sweeps.searching.resume import to_come
    from sweeps.tracking.tracker import Tracker, has_study

    plan, results = _plan(arguments), arguments.results
    require_study_folder(results, plan.sweep.name, written=True)
    tracker, done = None, set()
    if has_study(plan.sweep.name, results):  # a plan makes nothing, not even a database
        tracker = Tracker(plan.sweep.name, results)
        done = tracker.done(plan)
    for sentence in plan.inputs.sentences:
        console.print(escape(sentence), soft_wrap=True)
    console.print(plan_table(plan, done))
    console.print(axes_summary(plan.sweep, unique(arguments.set, "SET")), soft_wrap=True)
    console.print(plan_summary(plan, done), soft_wrap=True)
    asked = plan.sweep.primary or "nothing, all that is found is exploratory"
    console.print(f"asked beforehand: {asked}", soft_wrap=True)
    console.print(
        power_sentence(plan.configs, searches=plan.sweep.search is not None), soft_wrap=True
    )
    given, here = arguments.speed, this_machine(gpus_here(plan.sweep))
    machines = machines_of(here, arguments.gpus, arguments.cpus, given is not None)
    for sentence in stopping_summary(plan, done, machines[0], chosen=arguments.stop is not None):
        console.print(escape(sentence), soft_wrap=True)
    if left := to_come(plan, results, tracker, done):
        speed = Speed(*given) if given else measured_here(plan.sweep, left, machines[0].gpus)
        left = [plan.inputs.counted(config) for config in left]
        known = trained_for(plan, done), plan.inputs.n_classes
        console.print(cost_table(plan.sweep, left, speed, machines, *known))
        n_at_once = slots(plan.sweep, machines[0])
        for said in (idle_sentence(plan.sweep, machines[0]), disk_sentence(left, n_at_once)):
            if said:
                console.print(said, soft_wrap=True)
    return 0


def _score(arguments: argparse.Namespace, console: Terminal) -> int:
    from sweeps.run import run_sweep
    from sweeps.score import score_plan

    plan = score_plan(
        arguments.pruned,
        arguments.network,
        arguments.against,
        arguments.data,
        {name: value_of(text) for name, text in unique(arguments.set, "SET").items()},
    )
    return run_sweep(plan, arguments.results.resolve(), console)


def _ui(arguments: argparse.Namespace) -> int:
    from sweeps.tracking.server import HOST, PORT, free_port, page_links, serve_command

    port = free_port(arguments.port)
    command = serve_command(arguments.results, port)
    links = page_links(arguments.results, port)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # 13 processes that serve nobody
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "false"
    if arguments.port is None and port != PORT:
        print(f"the port {PORT} is taken by another program: here is the next that is free")
    print(f"MLflow: http://{HOST}:{port}  (Ctrl-C ends it)")
    for study, address in links.items():
        print(printable(f"the trials of {study}: {address}"))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *command])


def _report(arguments: argparse.Namespace, console: Terminal) -> int:
    from sweeps.report import report_published, report_studies, report_study

    studies = _studies(arguments)
    if len(studies) > 1:
        return report_studies(studies, arguments.results, console)
    if arguments.study == "published":
        return report_published(arguments.results, console)
    return report_study(_study(arguments), arguments.results, arguments.sweep, console)


def _run(arguments: argparse.Namespace, console: Terminal) -> int:
    if arguments.verb == "new":
        from sweeps.new_study import write_new

        return write_new(arguments.file, console)
    writes = ("plan", "sweep", "score", "export")
    require_folder(arguments.results, written=arguments.verb in writes)
    if arguments.verb == "plan":
        return _show_plan(arguments, console)
    if arguments.verb == "score":
        return _score(arguments, console)
    if arguments.verb == "ui":
        return _ui(arguments)
    if arguments.verb == "sync":
        from sweeps.tracking.sync import sync

        return sync(arguments.results.resolve(), console)
    if arguments.verb == "export":
        from sweeps.export import export_trial
        from sweeps.studies import name_of

        study = arguments.study if arguments.study is None else name_of(arguments.study)
        folder = None if arguments.to is None else arguments.to.resolve()
        return export_trial(arguments.trial, arguments.results.resolve(), study, folder, console)
    if arguments.verb == "status":
        from sweeps.housekeeping.status import status

        return status(arguments.results, console)
    if arguments.verb == "clean":
        from sweeps.housekeeping.clean import clean
        from sweeps.housekeeping.removable import Wanted

        wanted = Wanted(arguments.caches, arguments.older_than, arguments.larger_than)
        return clean(arguments.results.resolve(), console, wanted, remove=arguments.remove)
    if arguments.verb == "report":
        return _report(arguments, console)
    if arguments.verb == "register":
        from sweeps.registry import register_study
        from sweeps.studies import name_of

        return register_study(
            name_of(_study(arguments)), arguments.results, arguments.sweep, console
        )
    from sweeps.run import run_sweep

    return run_sweep(_plan(arguments), arguments.results.resolve(), console)


def refused(error: BaseException) -> int:
    """Say why; the exit code."""
    said = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        # Python's own, of a file that no part of ours has looked at before.
        what = f"{error.filename} must be there for this user to read and write"
        said = f"{what}, it is not ({error.strerror})"
    refuse(said)
    return REFUSED


def _failed(error: BaseException) -> int:
    """Say what no part of ours has a sentence for, and keep where it came from; the exit code."""
    first = next((line for line in str(error).splitlines() if line.strip()), "no more is said")
    where = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="secateur-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(without_secrets("".join(traceback.format_exception(error))))
            where = f"; where it came from is in {file.name}"
    except OSError:
        pass
    refuse(f"{type(error).__name__}: {first.strip()}{where}", "failed")
    return FAILED


def main(argv: list[str] | None = None) -> int:
    """The exit code; docs/exit_codes.md has them all."""
    environment = dict(os.environ)  # as the user has it
    arguments = parser().parse_args(argv)
    if not hasattr(arguments, "then"):
        return _code_of(arguments)
    from sweeps.afterwards import run_then, sigterm_like_ctrl_c

    with sigterm_like_ctrl_c():  # also while it is planned, which of many images takes minutes
        code = _code_of(arguments)
    if then := arguments.then:
        from sweeps.studies import name_of

        run_then(then, code, name_of(_study(arguments)), arguments.results, environment)
    return code


def _code_of(arguments: argparse.Namespace) -> int:
    # Before torch is there. Threads that long wait for each other in a loop take the time that they
    # need, as soon as the machine does anything else (when_something_goes_wrong.md has numbers).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")
    try:
        console = terminal()
        with settled(), plain_warnings():
            return _run(arguments, console)
    except (ValueError, OSError, FloatingPointError) as error:
        return refused(error)
    except KeyboardInterrupt:
        return BROKEN_OFF
    except SystemExit as error:
        return _failed(error)  # of a user's network: its 0 would say that all is done
    except Exception as error:
        return _failed(error)


def command() -> None:
    """The command `secateur`."""
    sys.exit(main())


if __name__ == "__main__":
    command()
