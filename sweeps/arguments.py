"""The command line: its verbs and their options."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from sweeps.studies import study_names
from sweeps.values import folder, number, pair, port, shell, size, speed

_VERBS = {
    "new": "write a commented study of your own to begin with",
    "sweep": "run what is not done yet of a study, then report",
    "plan": "list what would run; starts nothing",
    "score": "score a network that was pruned elsewhere, beside its dense one",
    "sync": "deliver to MLflow what sweeps could not, while it was away",
    "status": "say what runs, what is done, what waits, and what it takes on the disk",
    "clean": "say what nobody needs in a results folder; with --remove, remove it",
    "report": "rebuild tables and figures from MLflow alone",
    "register": "put the best network of every method and rate into MLflow's model registry",
    "export": "write a trial's network as safetensors, ONNX and torch.export, with a card",
    "ui": "open MLflow's web pages on what the results folder holds",
}
_MOST_GPUS = 100_000


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence, as all else here does."""

    def error(self, message: str) -> NoReturn:
        from sweeps.terminal import refuse

        refuse(f"{message} ({self.prog} --help lists what there is)")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """Of `python -m sweeps`."""
    top = _Parser(
        prog="secateur" if Path(sys.argv[0]).name == "secateur" else "python -m sweeps",
        description="Prune networks, and see whether they become easier to understand.",
        allow_abbrev=False,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    studies = ", ".join(study_names())
    for verb, help_ in _VERBS.items():
        sub = verbs.add_parser(verb, help=help_, description=help_, allow_abbrev=False)
        if verb == "new":
            sub.add_argument("file", help="a Python file that is not there yet, e.g. mine.py")
            continue
        sub.add_argument(
            "--results",
            type=folder,
            default=Path("results"),
            help="folder of everything that is written (default: results)",
        )
        if verb in _WITHOUT_STUDY:
            _WITHOUT_STUDY[verb](sub)
            continue
        also = ", or published: the points that others released" if verb == "report" else ""
        sub.add_argument(
            "--study",
            help=f"one of {studies}{also}, or a Python file of your own (default: demo, or folder "
            "where --data is given)",
        )
        if verb == "report":
            sub.add_argument(
                "studies",
                nargs="*",
                metavar="STUDY",
                help="two studies or more: one page that asks each the same questions",
            )
        if verb in ("report", "register"):
            sub.add_argument("--sweep", help="key of a sweep (default: the study's latest)")
            continue
        _add_changes(sub)
        if verb == "sweep":
            sub.add_argument(
                "--then",
                type=shell,
                metavar="COMMAND",
                help="run at the end, however it ends, with SECATEUR_EXIT_CODE, SECATEUR_STUDY, "
                "SECATEUR_RESULTS and SECATEUR_REPORT (its page) in the environment",
            )
        if verb == "plan":
            _add_cost(sub)
    return top


def _add_changes(sub: argparse.ArgumentParser) -> None:
    """What may be changed of a study without editing it."""
    sub.add_argument(
        "--data",
        help="an image folder with train/ and val/, or its URI, such as s3://bucket/imagenet",
    )
    sub.add_argument(
        "--grid",
        type=pair,
        action="append",
        default=[],
        metavar="AXIS=V,V,…",
        help="other values for an axis of the study, e.g. rate=0.5,0.8 (seed is one of any study); "
        "none: no such grid",
    )
    _add_settings(sub)
    sub.add_argument(
        "--stop",
        nargs="?",
        const="1",
        metavar="1|best|0",
        help="early stopping of hopeless trials: 1 or alone, beside others that agree on what the "
        "study asks about; best, methods compete for the best network of each rate; 0, none "
        "(default: as the study says)",
    )


def _add_settings(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--set",
        type=pair,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of every trial that has it, e.g. finetune.epochs=1",
    )


def _add_score(sub: argparse.ArgumentParser) -> None:
    """What is scored, and what it is compared with."""
    sub.add_argument("pruned", help="a file with the state_dict of the pruned network")
    sub.add_argument(
        "--network",
        required=True,
        metavar="NAME",
        help="what it is: a network of torchvision, timm:NAME or package.module:function",
    )
    sub.add_argument(
        "--against",
        required=True,
        metavar="FILE",
        help="the state_dict of the dense network it was made of, or imagenet: torchvision's",
    )
    sub.add_argument("--data", required=True, help="an image folder, or its URI")
    _add_settings(sub)


def _add_clean(sub: argparse.ArgumentParser) -> None:
    """What may be removed of a results folder; its results never are."""
    sub.add_argument(
        "--caches",
        action="store_true",
        help="also what is made anew when it is needed: vectors, decoded and drawn images",
    )
    sub.add_argument(
        "--older-than",
        type=number(0, 36_500),
        default=0.0,
        metavar="DAYS",
        help="only what nobody has used for so many days",
    )
    sub.add_argument(
        "--larger-than", type=size, default=0.0, metavar="SIZE", help="only what is, e.g. 500MB"
    )
    sub.add_argument(
        "--remove", action="store_true", help="remove it; without this it is only listed"
    )


def _add_export(sub: argparse.ArgumentParser) -> None:
    """Whose network, and where to."""
    sub.add_argument("trial", help="its name, as the report has it, or its key")
    sub.add_argument("--study", help="where several have such a trial (default: all are looked at)")
    sub.add_argument(
        "--to",
        type=folder,
        metavar="FOLDER",
        help="of the files (default: export/STUDY/KEY in the results folder)",
    )


def _add_cost(sub: argparse.ArgumentParser) -> None:
    """What a plan may be given instead of measuring it."""
    sub.add_argument(
        "--speed",
        type=speed,
        metavar="TRAIN,EVALUATE",
        help="images per second of one trial on its share of a machine, in training and in "
        "evaluation (default: a few steps are measured here)",
    )
    sub.add_argument(
        "--gpus", type=number(0.01, _MOST_GPUS), help="how many there will be (default: here)"
    )
    sub.add_argument(
        "--cpus",
        type=number(1, _MOST_GPUS),
        help="how many there will be beside --gpus (default: as many as the trials need)",
    )


def _add_ui(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--port", type=port, help="of MLflow's pages (default: 5000, or the next free one)"
    )


def _add_nothing(sub: argparse.ArgumentParser) -> None:
    """Of a verb that is of the results folder alone."""


_WITHOUT_STUDY = {
    "score": _add_score,
    "export": _add_export,
    "clean": _add_clean,
    "ui": _add_ui,
    "sync": _add_nothing,
    "status": _add_nothing,
}
