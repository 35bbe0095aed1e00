"""What a trial is, as frozen dataclasses: its stages, its key, and which settings do something."""

from trainables.config.network import GivenConfig, NetworkConfig, TrainConfig
from trainables.config.sensitivity import SensitivityConfig
from trainables.config.stages import (
    ComputeConfig,
    DataConfig,
    DissectionConfig,
    PruneConfig,
    ScoreConfig,
    evaluation_side,
)
from trainables.config.trial import KEY_VERSION, TrialConfig, flat_params

__all__ = [
    "KEY_VERSION",
    "ComputeConfig",
    "DataConfig",
    "DissectionConfig",
    "GivenConfig",
    "NetworkConfig",
    "PruneConfig",
    "ScoreConfig",
    "SensitivityConfig",
    "TrainConfig",
    "TrialConfig",
    "evaluation_side",
    "flat_params",
]
