"""The house, read from its source: which package may import which, and how long things may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Package -> the packages of ours that it may import.
ARROWS = {
    "pruning": set(),
    "mis": set(),
    "trainables": {"pruning", "mis"},
    "sweeps": {"trainables", "pruning", "mis"},
}
# Part of sweeps/report -> the parts of it that it may import: a figure knows numbers, and no number
# knows a figure.
REPORT = {
    "read": set(),
    "files": set(),
    "section": {"read"},
    "statistics": {"read"},
    "checks": {"read", "statistics"},
    "paper": {"read"},
    "findings": {"read", "statistics", "checks"},
    "sections": {"read", "section", "statistics", "paper"},
    "page": {"read", "section", "statistics", "checks", "findings", "sections"},
    "write": {"read", "files", "section", "checks", "paper", "findings", "sections", "page"},
    "__init__": {"read", "files", "write"},
}
# Library -> the files that may import it: the rim.
RIM = {
    "ray": {
        "sweeps/tune/launch.py",
        "sweeps/tune/prepare_remotely.py",
        "sweeps/tune/worker.py",
        "sweeps/tune/events.py",
        "sweeps/tune/scheduler.py",
        "sweeps/tune/searcher.py",
    },
    "mlflow": {
        "sweeps/tracking/answering.py",
        "sweeps/tracking/tracker.py",
        "sweeps/tracking/refusals.py",
        "sweeps/tracking/parents.py",
        "sweeps/tracking/lease.py",
        "sweeps/report/read/runs.py",
        "sweeps/run.py",
        "sweeps/searching/resume.py",
        "sweeps/tracking/delivery.py",
        "sweeps/tracking/uploads.py",
        "sweeps/report/read/frames.py",
        "sweeps/report/write.py",
        "sweeps/registry.py",
    },
    "pandas": {
        "trainables/scores/dissection.py",
        "trainables/scores/scoring.py",
        "trainables/results.py",
        "trainables/trial.py",
    },
}
SOURCES = sorted(p for package in ARROWS for p in (ROOT / package).rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 300, 50


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def length(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    body = function.body
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        body = body[1:]
    return 0 if not body else function.end_lineno - body[0].lineno + 1


def test_there_are_sources():
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_one_way_and_the_rim_stays_a_rim(path):
    name = str(path.relative_to(ROOT))
    package = name.partition("/")[0]
    found = set(imports(path))
    assert not (found & set(ARROWS)) - ARROWS[package] - {package}
    for library, files in RIM.items():
        if library in found and not (library == "pandas" and package == "sweeps"):
            assert name in files, f"{name} imports {library}"


def test_the_parts_of_the_report_know_each_other_one_way():
    report, found = ROOT / "sweeps" / "report", {}
    for path in report.rglob("*.py"):
        part = path.relative_to(report).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sweeps.report"):
                below = node.module.split(".")[2:3] or [alias.name for alias in node.names]
                found.setdefault(part, set()).update(set(below) - {part})
    assert {part for part in found if found[part] - REPORT[part]} == set(), found
    done: set[str] = set()
    while left := [part for part in REPORT if part not in done]:
        free = {part for part in left if REPORT[part] <= done}
        assert free, f"a circle: {left}"
        done |= free


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_idea_and_a_function_fits_on_a_screen(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert length(node) <= MAX_FUNCTION, f"{path}: {node.name} is too long"


def test_nothing_needs_the_shared_folder():
    for path in SOURCES:
        assert "shared/" not in path.read_text(), path
