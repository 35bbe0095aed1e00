"""Data sets by name: torchvision's, from folders of their shape, and a user's own function."""

import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from trainables.config import DataConfig, NetworkConfig, TrialConfig
from trainables.contents import with_contents
from trainables.data_names import TORCHVISION_SETS
from trainables.datasets import sets as sets_module
from trainables.datasets.folders import look_at_data
from trainables.datasets.loading import load_data
from trainables.own_import import hold_code

OWN = """
import torch
from PIL import Image

class Shades:
    classes = ("dark", "grey", "light")

    def __init__(self, n, first=0):
        self.targets = [(first + i) % 3 for i in range(n)]
        self.first = first

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        label = self.targets[i]
        return Image.new("RGB", (8, 6), (60 * label + 20, self.first, i)), label

def shades(split):
    return Shades(9) if split == "train" else Shades(6, first=1)

def pool(split):
    return Shades(15) if split == "train" else None

class Asked(Shades):
    def __init__(self, n):
        super().__init__(n)
        self.known, self.targets = self.targets, None

    def __len__(self):
        return len(self.known)

    def __getitem__(self, i):
        picture = torch.full((3, 6, 8), 60 * self.known[i] + 20, dtype=torch.uint8)
        return picture, torch.tensor(self.known[i])

def asked(split):
    return Asked(9)

class Broken(Shades):
    def __getitem__(self, i):
        if i == 4:
            raise KeyError("a picture is gone")
        return super().__getitem__(i)

def broken(split):
    return Broken(9)

def raises(split):
    raise RuntimeError("no database\\nat this address")

def leaves(split):
    raise SystemExit(3)

def stream(split):
    return iter([])

class Nameless(Shades):
    classes = None

def nameless(split):
    return Nameless(9)

class Floats(Shades):
    def __getitem__(self, i):
        return torch.rand(3, 6, 8), 0

def floats(split):
    return Floats(9)

class Dicts(Shades):
    targets = property(lambda self: None, lambda self, value: None)

    def __len__(self):
        return 9

    def __getitem__(self, i):
        return {"image": None, "label": 0}

def dicts(split):
    return Dicts(9)

class Named(Dicts):
    def __getitem__(self, i):
        return Image.new("RGB", (8, 6)), "dark"

def named(split):
    return Named(9)

def empty(split):
    return Shades(0)

def two_of_three(split):
    return Shades(9 if split == "train" else 2)

def one_each(split):
    return Shades(4) if split == "train" else None

class Beyond(Shades):
    classes = ("dark", "grey")

def beyond(split):
    return Beyond(9)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The user's module in the folder where the user stands."""
    known, paths = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "own_shades.py").write_text(OWN)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("own_shades"):
            del sys.modules[name]
    sys.path[:] = paths


def examples():
    """The modules that docs/images.md shows, by the name of their class."""
    text = (Path(__file__).parents[3] / "docs" / "images.md").read_text()
    blocks = re.findall(r"```python\n(# mine.py: .*?)```", text, re.S)
    return {re.search(r"mine:(\w+)", block).group(1): block for block in blocks}


def test_the_example_of_hugging_face_works(here, monkeypatch):
    """With what their package gives for an image data set: rows, columns, features."""

    class Rows(list):
        features = {"labels": SimpleNamespace(names=["dark", "grey"])}

        def __getitem__(self, key):
            return (
                [row[key] for row in self] if isinstance(key, str) else list.__getitem__(self, key)
            )

    def load_dataset(name, split):
        asked.append(split)
        shade = [Image.new("RGB", (8, 6), (60 * i + 20, 0, 0)) for i in range(2)]
        return Rows({"image": shade[i % 2], "labels": i % 2} for i in range(6))

    asked = []
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    (here / "own_shades.py").write_text(examples()["Beans"])
    data = load_data(own("Beans"), here / "cache")
    assert data.class_names == ("dark", "grey") and len(pixels_of(data.train)) == 6
    assert set(asked) == {"train", "validation"}


def test_the_example_of_webdataset_works(here):
    for split, n in (("train", 5), ("val", 4)):
        for shard in range(2):
            with tarfile.open(here / f"{split}-{shard:06}.tar", "w") as tar:
                for i in range(n):
                    picture = io.BytesIO()
                    Image.new("RGB", (8, 6), (60 * (i % 2) + 20, 0, 0)).save(picture, "PNG")
                    for name, content in (
                        ("jpg", picture.getvalue()),
                        ("cls", f"{i % 2}".encode()),
                    ):
                        member = tarfile.TarInfo(f"{shard}{i:03}.{name}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
    (here / "own_shades.py").write_text(examples()["Shards"].replace("/data/", f"{here}/"))
    data = load_data(own("Shards"), here / "cache")
    assert data.class_names == ("owl", "newt") and len(data.val) == 8
    assert len(pixels_of(data.train)) == 10


def config_of(name, **changes):
    every = {"train_images": None, "val_images": None, "probe_images": None}
    return DataConfig(name=name, pixels=4, **{**every, **changes})


def own(name, **changes):
    return config_of(f"own_shades:{name}", **changes)


def pixels_of(images):
    batches = list(images.batches(torch.arange(len(images)), 4))
    for _, pixels, labels in batches:
        assert torch.equal(pixels[:, 0, 0, 0].long(), 60 * labels + 20)
    return torch.cat([pixels for _, pixels, _ in batches])


@pytest.mark.parametrize("packed", [None, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_own_pictures_are_read_each_time_or_decoded_once(here, packed, workers):
    config = own("shades", packed=packed, workers=workers)
    data = load_data(config, here / "cache")
    assert (len(data.train), len(data.val)) == (9, 6) and data.class_names[1] == "grey"
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert pixels_of(data.train)[:, 2, 0, 0].tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert set(pixels_of(data.val)[:, 1, 0, 0].tolist()) == {1}
    assert data.said == (
        "3 classes, 9 images in train and 6 in val; taken are 9 to train, 6 to validate and 9 to "
        "score"
    )
    drawn = torch.Generator().manual_seed(0)
    seen = [x for _, x, _ in data.train.batches(torch.arange(9), 4, augment=drawn)]
    assert sum(map(len, seen)) == 9


def test_a_split_is_drawn_where_the_function_gives_none(here):
    config = own("pool", seed=3, val_share=0.4)
    looked = look_at_data(config)
    assert looked.per_class == {"train": (3, 3, 3), "val": (2, 2, 2)}
    assert "40% of each class, drawn by data.seed=3" in looked.said
    data = load_data(config, here / "cache")
    seen = [pixels_of(images)[:, 2, 0, 0].tolist() for images in (data.train, data.val)]
    assert sorted(seen[0] + seen[1]) == list(range(15)) and len(seen[1]) == 6


def test_labels_are_asked_for_where_no_list_has_them(here):
    data = load_data(own("asked"), here / "cache")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(pixels_of(data.train)) == 9


def trial(data):
    network = NetworkConfig(weights="random")
    return TrialConfig(network=network, data=data)


def test_its_source_and_its_pictures_are_part_of_the_key(here):
    first = with_contents(trial(own("shades")))
    assert first.data.digest and first.data.code and first.key != trial(own("shades")).key
    assert with_contents(trial(own("shades"))).key == first.key
    path = here / "own_shades.py"
    path.write_text(OWN + "\n# another comment\n")
    commented = with_contents(trial(own("shades")))
    assert commented.data.code != first.data.code and commented.key != first.key
    path.write_text(OWN.replace("self.first, i)", "self.first, i + 1)"))
    assert with_contents(trial(own("shades"))).data.digest != first.data.digest


def test_pictures_that_change_behind_the_function_are_refused(here, monkeypatch):
    path = here / "own_shades.py"
    path.write_text(OWN.replace("self.first, i)", "self.first, i + int(open('n').read()))"))
    (here / "n").write_text("0")
    config = with_contents(trial(own("shades"))).data
    (here / "n").write_text("1")
    with pytest.raises(ValueError, match="must stay as they were .* own_shades:shades have chan"):
        load_data(config, here / "cache")
    assert with_contents(trial(own("shades"))).data.digest != config.digest


def test_what_was_decoded_once_needs_the_function_no_more(here, monkeypatch):
    config = with_contents(trial(own("shades", packed=5))).data
    before = pixels_of(load_data(config, here / "cache").train)
    monkeypatch.setattr(sets_module, "own_function", lambda *_: pytest.fail("asked again"))
    assert torch.equal(pixels_of(load_data(config, here / "cache").train), before)


def test_its_code_is_taken_from_the_copy_of_the_results_folder(here):
    config = with_contents(trial(own("shades")), here / "results").data
    assert (here / "results" / "code" / config.code / "own_shades.py").is_file()
    (here / "own_shades.py").write_text("raise ImportError('edited since')")
    hold_code(*config.own, here / "results")
    assert len(pixels_of(load_data(config, here / "cache").train)) == 9
    with pytest.raises(ValueError, match="the module of data.name='own_shades:shades' cannot be"):
        look_at_data(own("shades"))


@pytest.mark.slow
def test_a_worker_elsewhere_reads_them_from_the_copy(here, tmp_path_factory):
    """As on another node: another process, where the user's module is on no path."""
    config = with_contents(trial(own("shades")), here / "results").data
    (here / "own_shades.py").unlink()
    code = (
        "import sys, torch; from pathlib import Path; from trainables.config import DataConfig;"
        "from trainables.datasets.loading import load_data;"
        "from trainables.own_import import hold_code; results = Path(sys.argv[1]);"
        "config = DataConfig(name='own_shades:shades', pixels=4, train_images=None,"
        " val_images=None, probe_images=None, digest=sys.argv[2], code=sys.argv[3]);"
        "hold_code(*config.own, results); data = load_data(config, results / 'cache');"
        "print(sum(int(x[:, 0].sum()) for _, x, _ in data.val.batches(torch.arange(6), 4)))"
    )
    arguments = [str(here / "results"), config.digest, config.code]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=300,
    )
    assert done.stdout.strip() == str(2 * 16 * (20 + 80 + 140)), done.stderr


@pytest.mark.parametrize("packed", [None, 5])
def test_a_picture_that_is_none_is_refused_by_name_or_skipped(here, packed):
    config = own("broken", packed=packed)
    says = "own_shades:broken/train/4 .KeyError: 'a picture is gone'., .*broken_images='skip'"
    with pytest.raises(ValueError, match=says):
        load_data(config, here / "cache")
    data = load_data(own("broken", packed=packed, broken_images="skip"), here / "cache")
    assert (len(data.train), len(data.val)) == (8, 8) and len(pixels_of(data.train)) == 8


WRONG = {
    "raises": r"raises' must give .*, raises\('train'\) raises RuntimeError: no database .own_sh",
    "leaves": r"leaves\('train'\) raises SystemExit: 3 .own_shades.py, line \d+.$",
    "stream": r"a map-style Dataset, with \[i\] and len\(\), stream\('train'\) gives a list_itera",
    "nameless": "must have classes, the names of its classes by number, Nameless has none$",
    "floats": r"must give pictures, train\[0\] is none: a picture must be a PIL image or of uint8 ",
    "dicts": r"a picture and the number of its class, train\[0\] is a dict$",
    "named": r"a picture and the number of its class, train\[0\] is \(Image, str\)$",
    "empty": "must hold images, train has none$",
    "two_of_three": "every class of .* must have images in val, light have not$",
    "one_each": "must have at least 2 images where a split is drawn, grey, light have not$",
    "beyond": "must lie in 0 … 1, one per name in classes, in train they lie in 0 … 2$",
    "missing": "data.name='own_shades:missing' must name a function, own_shades has none",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_set_is_refused_in_one_sentence(here, name):
    with pytest.raises(ValueError, match=WRONG[name]) as error:
        look_at_data(own(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("torchvision:Flowers101", "close to it: Flowers102, Food101"),
        ("torchvision:cifar10", "close to it: CIFAR10, CIFAR100"),
        ("torchvision:VOCDetection", "that gives a picture and a label, got"),
        ("torchvision:", "there are: CIFAR10, "),
        ("imagefolder", "must be concepts, image_folder, torchvision:NAME, or package.module:fun"),
        ("my-data:load", "must be concepts, image_folder"),
        ("mine:", "must be concepts, image_folder"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_is_close(name, says):
    with pytest.raises(ValueError, match=says):
        DataConfig(name=name)


def test_settings_that_do_nothing_are_refused(here):
    with pytest.raises(ValueError, match="path must be None: your function knows where they are"):
        own("shades", path="/x")
    with pytest.raises(ValueError, match="data.code must be left alone"):
        trial(config_of("torchvision:CIFAR10", code="abc"))


def picture(path, label, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (60 * label + 20 if label < 4 else 9, 0, 0)).save(path, quality=100)


def eurosat(root, monkeypatch):
    for label, name in enumerate(("Forest", "Highway", "River")):
        for i in range(5):
            picture(root / "eurosat" / "2750" / name / f"{name}_{i}.png", label)
    return (3, 12, 3, "20% of each class, drawn by data.seed=0")


def caltech101(root, monkeypatch):
    for label, name in enumerate(("BACKGROUND_Google", "ant", "barrel")):
        for i in range(1, 6):
            picture(root / "caltech101/101_ObjectCategories" / name / f"image_{i:04}.jpg", label)
    return (2, 8, 2, "20% of each class, drawn")


def pets(root, monkeypatch):
    folder = root / "oxford-iiit-pet"
    for split, n in (("trainval", 3), ("test", 2)):
        lines = []
        for label, name in enumerate(("Abyssinian", "beagle", "boxer")):
            for i in range(n):
                picture(folder / "images" / f"{name}_{split}{i}.jpg", label)
                lines.append(f"{name}_{split}{i} {label + 1} 1 1")
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{split}.txt").write_text("\n".join(lines))
    return (3, 9, 6, "9 images in split='trainval' and 6 in split='test'")


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar10(root, monkeypatch):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    lists = []
    for name, n in (("data_batch_1", 20), ("test_batch", 10)):
        labels = [i % 10 for i in range(n)]
        rows = np.zeros((n, 3, 32, 32), np.uint8)
        rows[:, 0] = np.array(labels, np.uint8)[:, None, None] * 25
        (folder / name).write_bytes(pickle.dumps({"data": rows.reshape(n, -1), "labels": labels}))
        lists.append([[name, md5(folder / name)]])
    names = [f"class {i}" for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5(folder / "batches.meta")}
    kind = torchvision.datasets.CIFAR10
    for attribute, value in zip(("train_list", "test_list", "meta"), (*lists, meta), strict=True):
        monkeypatch.setattr(kind, attribute, value)
    return (10, 20, 10, "20 images in train=True and 10 in train=False")


def flowers(root, monkeypatch):
    folder = root / "flowers-102"
    for i in range(1, 307):
        picture(folder / "jpg" / f"image_{i:05}.jpg", (i - 1) % 102, (4, 4))
    savemat(folder / "imagelabels.mat", {"labels": [[i % 102 + 1 for i in range(306)]]})
    ids = {"trnid": range(1, 103), "valid": range(103, 205), "tstid": range(205, 307)}
    savemat(folder / "setid.mat", {name: [list(its)] for name, its in ids.items()})
    files = {
        n: (f, md5(folder / f)) for n, f in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)
    return (102, 102, 102, "102 images in split='train' and 102 in split='val'")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("EuroSAT", eurosat),
        ("Caltech101", caltech101),
        ("OxfordIIITPet", pets),
        ("CIFAR10", cifar10),
        ("Flowers102", flowers),
    ],
)
def test_sets_of_torchvision_are_read_from_their_folder(tmp_path, monkeypatch, name, make):
    n_classes, n_train, n_val, says = make(tmp_path / "sets", monkeypatch)
    config = config_of(f"torchvision:{name}", path=str(tmp_path / "sets"))
    looked = look_at_data(config)
    assert looked.counts == {"train": n_train, "val": n_val} and says in looked.said
    assert len(looked.classes) == n_classes
    planned = with_contents(trial(config)).data
    assert planned.digest == looked.digest and planned.code == ""
    data = load_data(planned, tmp_path / "cache")
    assert (len(data.train), len(data.val), data.n_classes) == (n_train, n_val, n_classes)
    theirs = getattr(torchvision.datasets, name)(
        str(tmp_path / "sets"), **TORCHVISION_SETS[name][0]
    )
    for _, pixels, labels in data.val.batches(torch.arange(n_val), 8):
        if name not in ("CIFAR10", "Flowers102"):
            wanted = 60 * (labels + (name == "Caltech101")) + 20
            assert (pixels[:, 0].amax((1, 2)).long() - wanted).abs().max() <= 2
    n, label = 3, theirs[3][1]
    (at,) = [i for i, each in enumerate(data.train.files.names) if each.endswith(f"/{n}")] or [0]
    if data.train.files.names[at].endswith(f"/{n}"):
        assert int(data.train.labels[at]) == label


def test_without_a_network_the_folder_is_asked_for(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", offline)
    with pytest.raises(
        ValueError, match="torchvision:CIFAR10 must lie in .*/x as torchvision "
    ) as e:
        look_at_data(config_of("torchvision:CIFAR10", path=str(tmp_path / "x")))
    assert "cannot be downloaded: <urlopen error Name or service not known>" in str(e.value)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="torchvision does not download it$"):
        look_at_data(config_of("torchvision:FER2013", path=str(tmp_path / "x")))


def test_where_there_is_a_network_torchvision_downloads(tmp_path, monkeypatch):
    def download(self):
        eurosat(tmp_path / "sets", monkeypatch)

    monkeypatch.setattr(torchvision.datasets.EuroSAT, "download", download)
    assert look_at_data(config_of("torchvision:EuroSAT", path=str(tmp_path / "sets"))).counts
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch").mkdir()
    (tmp_path / "sets").rename(tmp_path / "torch" / "datasets")
    assert look_at_data(config_of("torchvision:EuroSAT")).classes == ("Forest", "Highway", "River")


def test_every_set_that_is_named_is_one_of_torchvision():
    for name in TORCHVISION_SETS:
        assert isinstance(getattr(torchvision.datasets, name), type)
