"""The card of an exported network: where it comes from, what it does, and what it takes."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sweeps.addresses import without_secrets
from sweeps.export.measured import Measured
from sweeps.plan.metrics import find
from sweeps.tracking.tracker import OUTCOME, TRIAL_KEY
from trainables.methods import GIVEN

if TYPE_CHECKING:
    from mlflow.entities import Run

    from trainables.networks import Compacted

_PACKAGES = ("secateur", "torch", "torchvision", "safetensors", "onnx", "onnxruntime", "onnxscript")
_SOURCES = {
    "weights": "network.weights",
    "checkpoint": "network.checkpoint",
    "checkpoint_digest": "network.digest",
    "network_code_digest": "network.code",
    "criterion_code_digest": "prune.code",
    "pruned_elsewhere": "given.path",
    "pruned_elsewhere_digest": "given.digest",
    "data": "data.name",
    "data_path": "data.path",
    "data_digest": "data.digest",
    "data_code_digest": "data.code",
}
_PRUNING = ("method", "rate", "schedule", "criterion", "retraining", "seed")


def card_of(
    study: str, run: "Run", left: "Compacted", measured: Measured, files: Mapping[str, Any]
) -> dict[str, Any]:
    """All that is known of the network; what is not is None or left out.

    files: name -> what is said of it.
    """
    params, tags = run.data.params, run.data.tags
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "trial": {
            "name": run.info.run_name,
            "key": tags[TRIAL_KEY],
            "study": study,
            "run_id": run.info.run_id,
            "outcome": tags.get(OUTCOME),
        },
        "network": left.arguments,
        "sources": {
            name: params[of]
            for name, of in _SOURCES.items()
            if params.get(of) not in (None, "", "None")
        },
        "pruning": {name: params.get(name) for name in _PRUNING},
        "metrics": {name: value for name, value in run.data.metrics.items() if _is_told(name)},
        "measured_on": {name: tags.get(name) for name in ("images", "device", "precision", "code")},
        "input": {
            "shape": ["batch", 3, int(params["data.pixels"]), int(params["data.pixels"])],
            "dtype": "float32",
            "colours": "RGB",
            "scaled": "to 0..1, then less the mean and divided by std",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "output": {"shape": ["batch", left.arguments["num_classes"]], "what": "logits"},
        "removed": _removed(left, params, measured),
        "cost": {
            which: {**asdict(cost), "bytes": measured.n_bytes[which]}
            for which, cost in measured.cost.items()
        },
        "latency": {
            "unit": "ms per image",
            "of": "a forward pass in torch, eager, float32, channels last, the networks by turns, "
            "after two batches to warm up; median and quartiles of n batches",
            "on": measured.device,
            **{which: list(map(asdict, each)) for which, each in measured.latencies.items()},
        },
        "files": dict(files),
        "versions": versions(),
        "config": dict(sorted(params.items())),
        "channels": channels(left, params.get("method", "")),
    }


def channels(left: "Compacted", method: str) -> dict[str, Any] | None:
    """Layer -> which channels of the dense network those of the exported one are, in order.

    `filters` and `inputs` of a convolution or Linear layer (`inputs` of each filter where groups
    read different ones), `channels` of a normalisation. Layers that are not named keep all; None
    where a network came with fewer channels, and which ones is not known.
    """
    if left.survivors is None:
        return {}
    if method == GIVEN:
        return None
    found: dict[str, Any] = {}
    for name, indices in left.survivors.items():
        layer, _, part = name.rpartition(".")
        if part != "weight":
            continue
        whole = [index.tolist() for index in indices]
        found[layer] = dict(zip(("filters", "inputs"), whole, strict=False))
        if len(whole) == 1:
            found[layer] = {"channels": whole[0]}
    return found


def _removed(left: "Compacted", params: Mapping[str, str], measured: Measured) -> str:
    here, dense = (measured.cost[which] for which in ("exported", "dense"))
    n_zero = here.params - here.nonzero_params
    zeros = f"; {n_zero:,} of its parameters are zero, and are stored as such" if n_zero else ""
    if here.params == dense.params:
        return f"no channel was removed: the network has the dense one's shapes and size{zeros}"
    share = 1 - here.params / dense.params
    unknown = params.get("method") == GIVEN
    which = "; which channels these were is not known" if unknown else ""
    return f"{share:.1%} of the dense network's parameters are gone for good{zeros}{which}"


def _is_told(name: str) -> bool:
    """Numbers of the network; not of each layer, and not what is measured here anew."""
    metric = find(name)
    anew = name.startswith(("cost/", "export/"))
    return metric is not None and "<layer>" not in metric.name and not anew


def versions() -> dict[str, str]:
    """Package -> its version, of those that are installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def card_text(card: Mapping[str, Any]) -> str:
    """JSON with a list of numbers on one line, no password, and null for what is no number."""
    text = json.dumps(_finite(card), indent=1, ensure_ascii=False)
    lines = re.sub(r"\[\s+([-\d.,e\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    return without_secrets(lines) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
