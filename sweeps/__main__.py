"""python -m sweeps VERB: what the Makefile calls."""

import argparse
import ast
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeps.plan import Plan, make_plan, plan_summary, plan_table
from sweeps.studies import load_study, study_names


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweeps",
        description="Prune networks, and see whether they become easier to understand.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    studies = ", ".join(study_names())
    for verb, help_ in {
        "sweep": "run what is not done yet of a study, then report",
        "plan": "list what would run; starts nothing",
        "report": "rebuild tables and figures from MLflow alone",
        "ui": "open MLflow's web pages on what the results folder holds",
    }.items():
        sub = verbs.add_parser(verb, help=help_, description=help_)
        sub.add_argument(
            "--results",
            type=Path,
            default=Path("results"),
            help="folder of everything that is written (default: results)",
        )
        if verb == "ui":
            sub.add_argument("--port", type=int, default=5000)
            continue
        sub.add_argument("--study", default="demo", help=f"one of {studies} (default: demo)")
        if verb == "report":
            sub.add_argument("--sweep", help="key of a sweep (default: the study's latest)")
            continue
        sub.add_argument("--data", help="an image folder with train/ and val/")
        sub.add_argument(
            "--grid",
            type=_pair,
            action="append",
            default=[],
            metavar="AXIS=V,V,…",
            help="other values for an axis of the study, e.g. rate=0.5,0.8",
        )
        sub.add_argument(
            "--set",
            type=_pair,
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help="a field of every trial that has it, e.g. finetune.epochs=1",
        )
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    return make_plan(
        load_study(arguments.study),
        data=arguments.data or None,
        grid={name: [_value(v) for v in values.split(",")] for name, values in arguments.grid},
        settings={name: _value(value) for name, value in arguments.set},
    )


def _show_plan(arguments: argparse.Namespace, console: Console) -> int:
    from sweeps.tracking import Tracker, has_store

    plan = _plan(arguments)
    done: set[str] = set()
    if has_store(arguments.results):  # a plan starts nothing, not even a database
        done = set(Tracker(plan.sweep.name, arguments.results).finished())
    console.print(plan_table(plan, done))
    console.print(plan_summary(plan, done), soft_wrap=True)
    return 0


def _ui(arguments: argparse.Namespace) -> int:
    from sweeps.tracking import page_links, serve_command

    command = serve_command(arguments.results, arguments.port)
    links = page_links(arguments.results, arguments.port)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # 13 processes that serve nobody
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    print(f"MLflow: http://127.0.0.1:{arguments.port}  (Ctrl-C ends it)")
    for study, link in links.items():
        print(f"the trials of {study}: {link}")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *command])


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 some trials failed or are not in MLflow, 2 refused, 130 broken off."""
    arguments = _parser().parse_args(argv)
    # On a pipe there is no width to adapt to.
    console = Console() if sys.stdout.isatty() else Console(width=110)
    try:
        if arguments.verb == "plan":
            return _show_plan(arguments, console)
        if arguments.verb == "ui":
            return _ui(arguments)
        if arguments.verb == "report":
            from sweeps.report import report_study

            return report_study(arguments.study, arguments.results, arguments.sweep, console)
        from sweeps.run import run_sweep

        return run_sweep(_plan(arguments), arguments.results.resolve(), console)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]refused:[/] {error}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
