"""A user's own network: found by its name, known by its source, imported from one copy of it."""

import os
import shutil
import sys

import pytest
import torch
from torch import nn

from trainables.config import NetworkConfig
from trainables.networks import (
    build_network,
    find_code,
    hold_code,
    load_compacted,
    n_parameters,
    network_arguments,
    rebuild,
    require_again,
    require_pixels,
    save_compacted,
)

NET = """
from torch import nn
from {helper} import WIDTH

def make(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Conv2d(WIDTH, 5, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, num_classes),
    )

def raises(num_classes):
    raise KeyError("depth")

def other(classes):
    return nn.Identity()

def no_module(num_classes):
    return num_classes

def ten(num_classes):
    return make(10 + num_classes)

def two(num_classes):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make(num_classes)

        def forward(self, x):
            return self.net(x), x

    return Two()

def looks(num_classes):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make(num_classes)

        def forward(self, x):
            return self.net(x) if float(x.sum()) >= 0 else self.net(-x)

    return Looks()

def wide(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 40 * 40, num_classes))

def flat(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))

def leaves(num_classes):
    raise SystemExit(0)

def lazy(num_classes):
    return nn.Sequential(nn.LazyConv2d(4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.LazyLinear(num_classes))

def leaves_later(num_classes):
    class Leaves(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make(num_classes)

        def forward(self, x):
            raise SystemExit(0)

    return Leaves()

kept = {{}}

def same(num_classes):
    return kept.setdefault(num_classes, make(num_classes))

def grows(num_classes):
    kept["width"] = kept.get("width", 1) + 1
    return nn.Sequential(nn.Conv2d(3, kept["width"], 3), make(num_classes))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder where the user stands; modules and paths are as before when it ends."""
    known, paths = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("mine", "own_helper", "own_other", "own_nets"):
            del sys.modules[name]
    sys.path[:] = paths


def write(folder, width=4):
    """A module with a helper beside it, and what does not belong to it."""
    (folder / "mine.py").write_text(NET.format(helper="own_helper"))
    (folder / "own_helper.py").write_text(f"WIDTH = {width}")
    (folder / "unrelated.py").write_text("x = 1")
    (folder / "weights.pt").write_text("large")


def config(name, code="", weights="random"):
    return NetworkConfig(name=name, weights=weights, code=code)


def test_its_source_is_what_it_imports_and_nothing_else(here):
    write(here)
    code = find_code("mine:make")
    assert code.files == ("mine.py", "own_helper.py") and code.root == here.resolve()
    first = code.digest
    (here / "unrelated.py").write_text("x = 2")
    assert find_code("mine:make").digest == first
    (here / "own_helper.py").write_text("WIDTH = 5")
    assert find_code("mine:make").digest != first


def test_of_a_package_it_is_the_package_with_what_this_imports(here, monkeypatch):
    elsewhere = here / "elsewhere"
    package = elsewhere / "own_nets"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "deep" / "net.py").write_text(NET.format(helper="own_helper"))
    (package / "data.csv").touch()
    (elsewhere / "own_helper.py").write_text("import own_other\nWIDTH = 3")
    (elsewhere / "own_other.py").write_text("import torch")
    with pytest.raises(
        ValueError, match=r"own_nets of .* must be a module in .* PYTHONPATH names .*: none is$"
    ):
        find_code("own_nets.deep.net:make")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    code = find_code("own_nets.deep.net:make")
    assert code.files == (
        *("own_helper.py", "own_nets/__init__.py", "own_nets/deep/net.py", "own_other.py"),
    )
    assert build_network(config("own_nets.deep.net:make"), 7)[0].out_channels == 3
    with pytest.raises(
        ValueError, match="must name a module, there is no own_nets.net in .*elsewhere$"
    ):
        find_code("own_nets.net:make")


def test_it_is_copied_once_and_imported_from_there(here):
    write(here)
    results, digest = here / "results", find_code("mine:make").digest
    hold_code(*config("mine:make", digest).own, results)
    folder = results / "code" / digest
    assert sorted(p.name for p in folder.iterdir()) == ["mine.py", "own_helper.py"]
    assert sys.path[-1] == str(folder.resolve())  # it hides nothing
    (here / "own_helper.py").write_text("WIDTH = 9")
    torch.manual_seed(0)
    network = build_network(config("mine:make", digest), 7)
    assert network[0].out_channels == 4  # of the copy
    assert sys.modules["mine"].__file__.startswith(str(folder))
    # Edited, and planned anew, in the same process.
    second = find_code("mine:make").digest
    hold_code(*config("mine:make", second).own, results)
    assert build_network(config("mine:make", second), 7)[0].out_channels == 9
    assert build_network(config("mine:make", digest), 7)[0].out_channels == 4


def test_code_that_has_changed_is_refused(here):
    write(here)
    digest = find_code("mine:make").digest
    (here / "own_helper.py").write_text("WIDTH = 9")
    message = "must stay as it was when the sweep was planned, that in .* is another; plan it anew"
    with pytest.raises(ValueError, match=message):
        hold_code(*config("mine:make", digest).own, here / "results")
    assert not list((here / "results").rglob("*.py"))
    with pytest.raises(ValueError, match=message):
        build_network(config("mine:make", digest), 7)
    write(here)
    hold_code(*config("mine:make", digest).own, here / "results")
    copied = here / "results" / "code" / digest
    (copied / "mine.py").write_text("")
    with pytest.raises(ValueError, match=r"copy .* in .*/code/.* has changed: remove that folder"):
        hold_code(*config("mine:make", digest).own, here / "results")
    shutil.rmtree(copied)
    hold_code(*config("mine:make", digest).own, here / "results")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:make", "nowhere of network.name='nowhere:make' must be a module in "),
        ("mine:mak", "'mine:mak' must name a function, mine has none of that name; it has .*make"),
        (
            "mine:raises",
            r"called as raises\(num_classes=10\) .* KeyError: 'depth' \(mine.py, line \d+\)$",
        ),
        ("mine:other", r"called as other\(num_classes=10\) .*TypeError: .*unexpected keyword"),
        ("mine:no_module", "'mine:no_module' must give an nn.Module, it gives a int$"),
        ("mine:ten", r"give 10 logits per image, of 2 images \(2, 10\), .* gives \(2, 20\)$"),
        ("mine:two", "must give a tensor of logits, in evaluation it gives a tuple$"),
        (
            "mine:wide",
            "images of 32 pixels must go through .*'mine:wide', its forward pass raises ",
        ),
        ("mine:flat", "must have convolutions, it has none$"),
        (
            "mine:leaves",
            r"as leaves\(num_classes=10\) .* SystemExit: 0 \(mine.py, line \d+\)$",
        ),
        ("mine:leaves_later", r"its forward pass raises SystemExit: 0 \(mine.py, line \d+\)$"),
        ("mine:lazy", "must have all its shapes when it is made, 0.weight gets its own with "),
        ("exits:make", r"cannot be imported: SystemExit: 0 \(exits.py, line 1\)$"),
        ("nested:make", "nested.py must be Python: too deeply nested$"),
        ("broken:make", r"broken.py must be Python, line 1: "),
        ("lacks:make", "cannot be imported: it imports own_absent, which is not there$"),
        ("stops:make", r"imported: ZeroDivisionError: division by zero \(stops.py, line 1\)$"),
        ("json:make", "must not be called as one that is installed: rename json "),
        ("numpy:make", "must not be called as one that is installed: rename numpy .*numpy/__init"),
        ("hides:make", "must not be called as one that is installed: rename pandas "),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(here, name, message):
    write(here)
    (here / "broken.py").write_text("def make(:")
    (here / "lacks.py").write_text("import own_absent")
    (here / "stops.py").write_text("1 / 0")
    (here / "exits.py").write_text("raise SystemExit(0)")
    (here / "nested.py").write_text(f"x = {'-' * 200_000}1")
    (here / "hides.py").write_text("import pandas")
    for taken in ("json", "numpy", "pandas"):
        (here / f"{taken}.py").touch()
    with pytest.raises(ValueError, match=message) as refusal:
        require_pixels(config(name), 32)
    assert "\n" not in str(refusal.value)


@pytest.mark.timeout(60)
def test_what_is_no_file_of_code_in_its_package_is_left_out(here):
    """An editor's mark of a file that is open, what macOS puts beside it, what has no end."""
    (here / "own_nets").mkdir()
    (here / "own_nets" / "net.py").write_text("def make(num_classes): pass")
    (here / "own_nets" / ".#net.py").symlink_to("somebody@machine.123")
    (here / "own_nets" / "._net.py").write_bytes(b"\0\5\26\7")
    (here / "own_nets" / "endless.py").symlink_to("/dev/zero")
    os.mkfifo(here / "own_nets" / "waits.py")
    assert find_code("own_nets.net:make").files == ("own_nets/net.py",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:same", "must give a new network whenever it is called, it gives weights that it "),
        ("mine:grows", r"must give the same network .*: 0.bias is \(\d,\), and then \(\d,\)$"),
    ],
)
def test_each_trial_has_a_network_of_its_own(here, name, message):
    write(here)
    with pytest.raises(ValueError, match=message):
        require_again(build_network(config(name), 7), config(name), 7)
    require_again(build_network(config("mine:make"), 7), config("mine:make"), 7)


def test_a_module_that_is_found_by_a_made_up_name_is_refused(here):
    """It would be there for the driver, and for no worker."""
    (here / "mine.py").write_text("import importlib\nh = importlib.import_module('own_' + 'other')")
    (here / "own_other.py").touch()
    digest = find_code("mine:make").digest
    hold_code(*config("mine:make", digest).own, here / "results")
    sys.path.insert(0, str(here))
    with pytest.raises(
        ValueError, match="own_other is imported by a name that is made at run time"
    ):
        build_network(config("mine:make", digest), 7)


def test_a_network_of_imagenets_classes_alone_is_looked_at_with_these(here):
    (here / "mine.py").write_text(
        "from torchvision.models import squeezenet1_1\n"
        "def make(num_classes):\n"
        "    if num_classes != 1000:\n"
        "        raise ValueError('knows 1,000 classes')\n"
        "    return squeezenet1_1(num_classes=1000)\n"
    )
    require_pixels(config("mine:make"), 32)
    assert n_parameters(config("mine:make")) == 1_235_496


def test_a_network_that_looks_at_its_numbers_runs(here):
    write(here)
    require_pixels(config("mine:looks"), 32)


def test_a_compacted_network_of_ones_own_loads_from_where_its_results_are(here, monkeypatch):
    write(here)
    described = config("mine:make", find_code("mine:make").digest)
    hold_code(*described.own, here / "results")
    network = build_network(described, 7).eval()
    rows = torch.tensor([0, 2])
    kept = {"0.weight": (rows, torch.arange(3)), "0.bias": (rows,)}
    kept |= {f"1.{part}": (rows,) for part in ("weight", "bias", "running_mean", "running_var")}
    kept["3.weight"] = (torch.arange(5), rows)
    from pruning import compact

    smaller = compact(network, kept)
    path = here / "results" / "trials" / "a" / "compacted.pt"
    path.parent.mkdir(parents=True)
    save_compacted(path, smaller, kept, network_arguments(described, 7))
    (here / "mine.py").unlink()
    sys.path[:] = [p for p in sys.path if "/code/" not in p]
    images = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(load_compacted(path)(images), smaller(images))
    sys.path[:] = [p for p in sys.path if "/code/" not in p]
    path.rename(here / "alone.pt")
    with pytest.raises(ValueError, match="mine of network.name='mine:make' must be a module in"):
        load_compacted(here / "alone.pt")
    assert isinstance(load_compacted(here / "alone.pt", here / "results"), nn.Module)
    assert rebuild(network_arguments(described, 3))[-1].out_features == 3


def test_what_was_edited_is_imported_anew_where_the_user_stands(here):
    """A results folder beside it holds an earlier copy, which this process has imported."""
    write(here)
    first = find_code("mine:make").digest
    hold_code(*config("mine:make", first).own, here / "results")
    assert build_network(config("mine:make", first), 7)[0].out_channels == 4
    for width in (5, 60):
        (here / "own_helper.py").write_text(f"WIDTH = {width}")
        edited = find_code("mine:make").digest
        assert build_network(config("mine:make", edited), 7)[0].out_channels == width
