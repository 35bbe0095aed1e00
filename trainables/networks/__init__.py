"""Networks: how they are called, built and kept, what they cost, and which units they have."""

from trainables.networks.build import build_network, logits_of, network_arguments, rebuild
from trainables.networks.centres import Centres, cell_centres
from trainables.networks.checkpoints import file_digest, load_checkpoint, require_fit
from trainables.networks.compacted import (
    Compacted,
    load_compacted,
    read_compacted,
    safetensors_bytes,
    save_compacted,
    save_safetensors,
)
from trainables.networks.cost import (
    Cost,
    Latency,
    count_cost,
    measure_latencies,
    measure_latency,
    positions_of,
)
from trainables.networks.for_classes import for_classes, head_said
from trainables.networks.given import given_network, given_said
from trainables.networks.graphs import (
    as_graph,
    require_onnx,
    run_graph,
    run_onnx,
    save_graph,
    save_onnx,
)
from trainables.networks.heads import auxiliary_layers, head_parameters
from trainables.networks.outline import (
    forward_of_shapes,
    n_parameters,
    outline,
    outline_with,
    require_logits,
    require_pixels,
)
from trainables.networks.own_checks import require_again, require_trainable
from trainables.networks.shapes import load_by_shapes
from trainables.networks.units import (
    ReadAt,
    UnitLayer,
    through,
    unit_layers,
    unread_units,
    zero_filters,
)
from trainables.own_code import find_code
from trainables.own_import import hold_code, offer_code

__all__ = [
    "Centres",
    "Compacted",
    "Cost",
    "Latency",
    "ReadAt",
    "UnitLayer",
    "as_graph",
    "auxiliary_layers",
    "build_network",
    "cell_centres",
    "count_cost",
    "forward_of_shapes",
    "file_digest",
    "find_code",
    "for_classes",
    "given_network",
    "given_said",
    "head_parameters",
    "head_said",
    "hold_code",
    "load_by_shapes",
    "load_checkpoint",
    "load_compacted",
    "logits_of",
    "measure_latencies",
    "measure_latency",
    "n_parameters",
    "network_arguments",
    "offer_code",
    "outline",
    "outline_with",
    "positions_of",
    "read_compacted",
    "rebuild",
    "require_again",
    "require_fit",
    "require_logits",
    "require_onnx",
    "require_pixels",
    "require_trainable",
    "run_graph",
    "run_onnx",
    "safetensors_bytes",
    "save_compacted",
    "save_graph",
    "save_onnx",
    "save_safetensors",
    "through",
    "unit_layers",
    "unread_units",
    "zero_filters",
]
