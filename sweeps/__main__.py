"""python -m sweeps VERB: what the Makefile calls."""

import argparse
import ast
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sweeps.estimate import Speed, gpus_here, measured_here
from sweeps.plan import (
    Plan,
    axes_summary,
    cost_summary,
    make_plan,
    plan_summary,
    plan_table,
    stopping_summary,
)
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


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return value


def _speed(text: str) -> tuple[float, float]:
    numbers = [_positive(number) for number in text.split(",")]
    if len(numbers) != 2:
        raise argparse.ArgumentTypeError(f"must be TRAIN,EVALUATE in images a second, got {text!r}")
    return numbers[0], numbers[1]


def _folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"must be a folder that all nodes see, got {text!r}; what trials end with goes to an "
            "object store through MLflow's server"
        )
    return Path(text)


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
        "sync": "deliver to MLflow what sweeps could not, while it was away",
        "report": "rebuild tables and figures from MLflow alone",
        "register": "put the best network of every method and rate into MLflow's model registry",
        "ui": "open MLflow's web pages on what the results folder holds",
    }.items():
        sub = verbs.add_parser(verb, help=help_, description=help_)
        sub.add_argument(
            "--results",
            type=_folder,
            default=Path("results"),
            help="folder of everything that is written (default: results)",
        )
        if verb == "ui":
            sub.add_argument("--port", type=int, default=5000)
        if verb in ("ui", "sync"):
            continue
        also = ", or published: the points that others released" if verb == "report" else ""
        sub.add_argument("--study", default="demo", help=f"one of {studies}{also} (default: demo)")
        if verb in ("report", "register"):
            sub.add_argument("--sweep", help="key of a sweep (default: the study's latest)")
            continue
        _add_changes(sub)
        if verb == "plan":
            _add_cost(sub)
    return parser


def _add_changes(sub: argparse.ArgumentParser) -> None:
    """What may be changed of a study without editing it."""
    sub.add_argument(
        "--data",
        help="an image folder with train/ and val/, or its URI, such as s3://bucket/imagenet",
    )
    sub.add_argument(
        "--grid",
        type=_pair,
        action="append",
        default=[],
        metavar="AXIS=V,V,…",
        help="other values for an axis of the study, e.g. rate=0.5,0.8; none: no such grid",
    )
    sub.add_argument(
        "--set",
        type=_pair,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of every trial that has it, e.g. finetune.epochs=1",
    )


def _add_cost(sub: argparse.ArgumentParser) -> None:
    """What a plan may be given instead of measuring it."""
    sub.add_argument(
        "--speed",
        type=_speed,
        metavar="TRAIN,EVALUATE",
        help="images a second of one trial on its share of a machine, in training and in "
        "evaluation (default: a few steps are measured here)",
    )
    sub.add_argument("--gpus", type=_positive, help="how many there will be (default: here)")


def _plan(arguments: argparse.Namespace) -> Plan:
    return make_plan(
        load_study(arguments.study),
        data=arguments.data or None,
        grid={name: [_value(v) for v in values.split(",") if v] for name, values in arguments.grid},
        settings={name: _value(value) for name, value in arguments.set},
    )


def _show_plan(arguments: argparse.Namespace, console: Console) -> int:
    from sweeps.searched import to_come
    from sweeps.tracking import Tracker, has_store

    plan, results = _plan(arguments), arguments.results
    tracker, done = None, set()
    if has_store(results):  # a plan starts nothing, not even a database
        tracker = Tracker(plan.sweep.name, results)
        done = tracker.done(plan)
    console.print(plan_table(plan, done))
    console.print(axes_summary(plan.sweep), soft_wrap=True)
    console.print(plan_summary(plan, done), soft_wrap=True)
    gpus = arguments.gpus or gpus_here(plan.sweep)
    if saved := stopping_summary(plan, done, gpus):
        console.print(saved, soft_wrap=True)
    if left := to_come(plan, results, tracker, done):
        given = arguments.speed
        speed = Speed(*given) if given else measured_here(plan.sweep, gpus)
        console.print(cost_summary(plan.sweep, left, speed, gpus), soft_wrap=True)
    return 0


def _ui(arguments: argparse.Namespace) -> int:
    from sweeps.pages import page_links, serve_command

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
        if arguments.verb == "sync":
            from sweeps.sync import sync

            return sync(arguments.results.resolve(), console)
        if arguments.verb == "report":
            from sweeps.report import report_published, report_study

            if arguments.study == "published":
                return report_published(arguments.results, console)
            return report_study(arguments.study, arguments.results, arguments.sweep, console)
        if arguments.verb == "register":
            from sweeps.registry import register_study

            return register_study(arguments.study, arguments.results, arguments.sweep, console)
        from sweeps.run import run_sweep

        return run_sweep(_plan(arguments), arguments.results.resolve(), console)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[bold red]refused:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
