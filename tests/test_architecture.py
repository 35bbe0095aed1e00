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
# Folder -> its parts, and which parts of the same folder each may import, the lowest first.
# What knows least stands at the bottom: plan knows nothing outside, tracking is MLflow, searching
# is Optuna, tune is Ray, report is figures.
PARTS = {
    "sweeps": {
        "addresses": set(),
        "terminal": {"addresses"},
        "plan": {"addresses"},
        "studies": {"plan"},
        "tracking": {"addresses", "terminal", "plan"},
        "searching": {"plan", "tracking"},
        "tune": {"addresses", "terminal", "plan", "tracking", "searching"},
        "report": {"plan", "studies", "tracking"},
        "new_study": {"plan", "studies"},
        "registry": {"report", "tracking"},
        "housekeeping": {"addresses", "tracking", "tune"},
        "export": {"addresses", "terminal", "plan", "tracking"},
        "score": {"plan"},
        "results_folder": set(),
        "run": {"afterwards", "plan", "tracking", "searching", "tune", "report", "results_folder"},
        "values": set(),
        "afterwards": {"terminal"},
        "arguments": {"studies", "terminal", "values"},
        "__main__": {
            "new_study",
            "addresses",
            "terminal",
            "results_folder",
            "plan",
            "studies",
            "tracking",
            "searching",
            "report",
            "registry",
            "housekeeping",
            "export",
            "score",
            "run",
            "afterwards",
            "values",
            "arguments",
        },
        "make": {"values", "__main__"},
    },
    # A figure knows numbers, and no number knows a figure.
    "sweeps/report": {
        "read": set(),
        "files": set(),
        "statistics": {"read"},
        "checks": {"read", "statistics"},
        "paper": {"read"},
        "findings": {"read", "statistics", "checks"},
        "sections": {"read", "statistics", "paper"},
        "page": {"read", "statistics", "checks", "findings", "sections"},
        "atlas": {"read", "statistics", "page"},
        "write": {"read", "files", "checks", "paper", "findings", "sections", "page", "atlas"},
        "side_by_side": {"read", "files", "statistics", "sections"},
        "__init__": {"read", "files", "write", "side_by_side"},
    },
    "trainables": {
        "fields": set(),
        "network_names": set(),
        "data_names": set(),
        "methods": set(),
        "artifacts": set(),
        "locks": set(),
        "workspace": set(),
        "kept": {"workspace"},
        "memo": {"fields", "kept", "workspace"},
        "randomness": {"fields"},
        "config": {
            "data_names",
            "fields",
            "methods",
            "network_names",
            "own_code",
            "own_import",
            "own_settings",
        },
        "own_settings": set(),
        "own_code": set(),
        "own_import": {"own_code", "own_settings", "workspace"},
        "datasets": {
            "config",
            "data_names",
            "fields",
            "locks",
            "own_code",
            "own_import",
            "own_settings",
            "workspace",
        },
        "networks": {
            "config",
            "datasets",
            "kept",
            "network_names",
            "own_code",
            "own_import",
            "own_settings",
            "workspace",
        },
        "rates_file": set(),
        "contents": {"config", "data_names", "datasets", "networks", "own_code", "rates_file"},
        "training": {
            "config",
            "datasets",
            "fields",
            "kept",
            "memo",
            "networks",
            "randomness",
            "workspace",
        },
        "rounds": {
            "config",
            "datasets",
            "memo",
            "networks",
            "randomness",
            "training",
        },
        "cost": {"networks", "rounds", "training"},
        "scores": {
            "config",
            "datasets",
            "fields",
            "kept",
            "memo",
            "networks",
            "own_import",
            "own_settings",
            "randomness",
            "rounds",
            "training",
            "workspace",
        },
        "results": {"artifacts", "config", "fields", "networks", "rounds", "scores", "workspace"},
        "trial": {
            "artifacts",
            "config",
            "contents",
            "cost",
            "datasets",
            "kept",
            "memo",
            "networks",
            "randomness",
            "results",
            "rounds",
            "scores",
            "training",
            "workspace",
        },
    },
}
# Library -> where it may be imported: the rim.
RIM = {
    "ray": ("sweeps/tune/",),
    "mlflow": (
        "sweeps/tracking/",
        "sweeps/report/read/",
        "sweeps/report/write.py",
        "sweeps/searching/resume.py",
        "sweeps/registry.py",
        "sweeps/run.py",
    ),
    "optuna": ("sweeps/searching/", "sweeps/plan/space.py", "sweeps/studies/search.py"),
    "matplotlib": ("sweeps/report/", "sweeps/searching/", "sweeps/tune/pictures.py"),
    "onnxruntime": ("trainables/networks/graphs.py",),
    "rich": ("sweeps/",),
    "pandas": (
        "sweeps/",
        "trainables/scores/",
        "trainables/training/answers.py",
        "trainables/results.py",
        "trainables/trial.py",
    ),
}
SOURCES = sorted(p for package in ARROWS for p in (ROOT / package).rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 300, 50


def statements(path):
    """All that runs; what stands under TYPE_CHECKING does not."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return ast.walk(tree)


def imports(path):
    for node in statements(path):
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
    for library, places in RIM.items():
        if library in found:
            assert name.startswith(places), f"{name} imports {library}"


@pytest.mark.parametrize("path", ["sweeps/plan/space.py", "sweeps/studies/search.py"])
def test_a_study_takes_distributions_from_optuna_and_nothing_else(path):
    modules = [n.module for n in statements(ROOT / path) if hasattr(n, "module")]
    assert [m for m in modules if m.startswith("optuna")] == ["optuna.distributions"]


@pytest.mark.parametrize("folder", PARTS)
def test_the_parts_of_a_folder_know_each_other_one_way(folder):
    parts, found = PARTS[folder], {}
    dotted = folder.replace("/", ".")
    for path in (ROOT / folder).rglob("*.py"):
        part = path.relative_to(ROOT / folder).parts[0].removesuffix(".py")
        if part == "__init__" and folder != "sweeps/report":
            continue
        found.setdefault(part, set())
        for module in modules_of(path, dotted):
            found[part].add(module.split(".")[dotted.count(".") + 1])
    assert set(found) == set(parts)
    wrong = {part: found[part] - parts[part] - {part} for part in found}
    assert {part: names for part, names in wrong.items() if names} == {}
    done: set[str] = set()
    while left := [part for part in parts if part not in done]:
        free = {part for part in left if parts[part] <= done}
        assert free, f"a circle: {left}"
        done |= free


def modules_of(path, folder):
    """Modules below a folder that a file imports when it runs."""
    for node in statements(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(folder):
            if node.module == folder:
                yield from (f"{folder}.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith(f"{folder}."))


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
