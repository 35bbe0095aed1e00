"""Names of data sets: which there are, and what a wrong one may have meant."""

import difflib
from collections.abc import Mapping

TORCHVISION = "torchvision:"
Arguments = Mapping[str, object]

# Data sets of torchvision that give a picture and a label -> the arguments for train and for val;
# None: it has no split, one is drawn. What a set calls val is taken before what it calls test.
_TRAIN, _TEST, _VAL = {"split": "train"}, {"split": "test"}, {"split": "val"}
_BY_FLAG = ({"train": True}, {"train": False})
TORCHVISION_SETS: dict[str, tuple[Arguments, Arguments | None]] = {
    "CIFAR10": _BY_FLAG,
    "CIFAR100": _BY_FLAG,
    "Caltech101": ({}, None),
    "Caltech256": ({}, None),
    "Country211": ({"split": "train"}, {"split": "valid"}),
    "DTD": (_TRAIN, _VAL),
    "EuroSAT": ({}, None),
    "FER2013": (_TRAIN, _TEST),
    "FGVCAircraft": (_TRAIN, _VAL),
    "FashionMNIST": _BY_FLAG,
    "Flowers102": (_TRAIN, _VAL),
    "Food101": (_TRAIN, _TEST),
    "GTSRB": (_TRAIN, _TEST),
    "Imagenette": (_TRAIN, _VAL),
    "KMNIST": _BY_FLAG,
    "MNIST": _BY_FLAG,
    "OxfordIIITPet": ({"split": "trainval"}, _TEST),
    "PCAM": (_TRAIN, _VAL),
    "RenderedSST2": (_TRAIN, _VAL),
    "SEMEION": ({}, None),
    "STL10": (_TRAIN, _TEST),
    "SUN397": ({}, None),
    "SVHN": (_TRAIN, _TEST),
    "StanfordCars": (_TRAIN, _TEST),
    "USPS": _BY_FLAG,
}


def is_set(name: str) -> bool:
    """Whether it names a data set that is no folder, and not drawn by us."""
    return ":" in name


def names_set(text: str) -> bool:
    """Whether what may be a folder's path as well is the name of a data set."""
    parts = text.partition(":")[0].split("."), text.partition(":")[2].split(".")
    return is_set(text) and all(part.isidentifier() for each in parts for part in each)


def is_torchvision(name: str) -> bool:
    """Whether it is "torchvision:NAME"."""
    return name.startswith(TORCHVISION)


def is_own_data(name: str) -> bool:
    """Whether it names a user's own function, "package.module:function"."""
    return ":" in name and not is_torchvision(name)


def require_data_name(name: str) -> None:
    """Raise ValueError, in one sentence, unless a data set can be called so."""
    if name in ("concepts", "image_folder"):
        return
    if is_torchvision(name):
        known, one = tuple(TORCHVISION_SETS), name.removeprefix(TORCHVISION)
        if one not in known:
            lower = {each.lower(): each for each in known}
            close = difflib.get_close_matches(one.lower(), lower, 3, 0.5)
            others = [lower[each] for each in close] or known
            raise ValueError(
                f"torchvision:NAME must be a data set of torchvision that gives a picture and a "
                f"label, got {name!r}; {'close to it' if close else 'there are'}: "
                f"{', '.join(others)}"
            )
        return
    module, colon, function = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), function)):
        raise ValueError(
            "data.name must be concepts, image_folder, torchvision:NAME, or "
            f"package.module:function, a function of your own, got {name!r}"
        )
