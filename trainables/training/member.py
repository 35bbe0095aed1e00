"""One of several processes that train a network together, each on its share of every batch."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

_PATIENCE = timedelta(minutes=10)  # after which a process that no longer answers is given up


@dataclass(frozen=True)
class Member:
    """rank: 0 … n - 1, of n processes. A single one needs no other and adds nothing up."""

    rank: int = 0
    n: int = 1

    def join(self, meeting: str, device: torch.device) -> None:
        """Meet the others at `meeting`, a path that all see; returns when all are there."""
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=f"file://{meeting}",
            rank=self.rank,
            world_size=self.n,
            timeout=_PATIENCE,
        )

    def leave(self) -> None:
        dist.destroy_process_group()

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor (of one dtype) by its sum over all processes."""
        mine = list(tensors)
        if self.n == 1:
            return
        # One message: many small ones would each wait for the slowest process.
        flat = torch.cat([tensor.reshape(-1) for tensor in mine])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in mine])
        for tensor, part in zip(mine, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def normalised_together(self, network: nn.Module) -> nn.Module:
        """The network, of the same parameters and buffers, with the BatchNorm statistics of the
        whole batch. torch can do so on GPUs alone: on a CPU they are of each process's share.
        """
        if self.n == 1 or next(network.parameters()).device.type != "cuda":
            return network
        tensors = [*network.parameters(), *network.buffers()]
        shared = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
        return nn.SyncBatchNorm.convert_sync_batchnorm(shared)
