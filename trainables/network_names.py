"""Names of networks: which there are, and what a wrong one may have meant."""

import difflib
import importlib.util
from functools import cache
from importlib.metadata import version

TIMM = "timm:"
# Their auxiliary heads, which are there in training alone.
HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
_TRANSFORMERS = ("vit_", "swin_", "maxvit_")
_WITHOUT_NORMS = ("alexnet", "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg13", "vgg16", "vgg19")
_LEGAL = (
    "a convolutional classification network of torchvision, timm:NAME, or package.module:function, "
    "a function of your own"
)


def is_own(name: str) -> bool:
    """Whether it names a user's own function, "package.module:function"."""
    return ":" in name and not name.startswith(TIMM)


def has_no_norm(name: str) -> bool:
    """Whether it is a network of torchvision that has no BatchNorm; of others it is not known."""
    return name in _WITHOUT_NORMS or name.startswith("convnext_")


@cache
def torchvision_names() -> tuple[str, ...]:
    """torchvision's classification networks but its transformers."""
    import torchvision.models

    every = torchvision.models.list_models(module=torchvision.models)
    return tuple(name for name in every if not name.startswith(_TRANSFORMERS))


@cache
def require_name(name: str) -> None:
    """Raise ValueError, in one sentence, unless a network can be called so.

    Whether a function of one's own is there is not looked at: see `own_code`.
    """
    if name == "googlenet" or name in torchvision_names():  # torchvision takes seconds to import
        return
    if name.startswith(TIMM):
        _require_timm(name.removeprefix(TIMM))
    elif is_own(name):
        module, _, function = name.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), function)):
            raise ValueError(
                f"network.name must be package.module:function, names with dots between, got "
                f"{name!r}"
            )
    else:
        raise ValueError(f"network.name must be {_LEGAL}, got {name!r}{_instead(name)}")


def _instead(name: str) -> str:
    """What to take in its place, or why it is none."""
    from torchvision.models import list_models

    if name in list_models():
        if name.startswith(_TRANSFORMERS):
            return ", a transformer: what is pruned here are convolutions"
        return ", a network of torchvision for another task than the classification of images"
    return _close(name, torchvision_names())


def _close(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name.lower(), known, 3, 0.5)
    return f"; close to it: {', '.join(close)}" if close else f"; such as {', '.join(known[:3])}"


def _require_timm(name: str) -> None:
    if importlib.util.find_spec("timm") is None:
        raise ValueError(
            f"network.name='timm:{name}' needs the package timm, which is not installed: make timm"
        )
    import timm

    if not timm.is_model(name):
        close = _close(name.partition(".")[0], tuple(timm.list_models()))
        raise ValueError(
            f"timm:NAME must be one of the {len(timm.list_models()):,} networks of timm "
            f"{version('timm')}, got {name!r}{close}"
        )
    own, dot, _ = name.partition(".")
    if dot and name not in (tagged := timm.list_pretrained(f"{own}.*")):
        raise ValueError(
            f"the tag of timm:{name} must be one that weights of {own} have: "
            f"{', '.join(tagged) or 'there are none'}"
        )
