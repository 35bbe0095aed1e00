"""GoogLeNet, ResNet-50 and VGG-16 of torchvision, and what is peculiar to them."""

from trainables.networks.build import build_network, logits_of, network_arguments, rebuild
from trainables.networks.centres import Centres, cell_centres
from trainables.networks.checkpoints import file_digest, load_checkpoint, require_fit
from trainables.networks.compacted import load_compacted, save_compacted
from trainables.networks.cost import Cost, count_cost, measure_latency
from trainables.networks.units import (
    ReadAt,
    UnitLayer,
    through,
    unit_layers,
    unread_units,
    zero_filters,
)

__all__ = [
    "Centres",
    "Cost",
    "ReadAt",
    "UnitLayer",
    "build_network",
    "cell_centres",
    "count_cost",
    "file_digest",
    "load_checkpoint",
    "load_compacted",
    "logits_of",
    "measure_latency",
    "network_arguments",
    "rebuild",
    "require_fit",
    "save_compacted",
    "through",
    "unit_layers",
    "unread_units",
    "zero_filters",
]
