"""The one training loop: of the dense network, and of every fine-tuning."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from pruning import Held
from trainables.compute import autocast
from trainables.config import TrainConfig
from trainables.datasets.images import ImageSet, Progress, normalise, split_batches
from trainables.networks import logits_of


def build_optimizer(network: nn.Module, recipe: TrainConfig, precision: str) -> Optimizer:
    """A fresh optimizer: old momentum would push pruned weights away from zero."""
    # torch's fused SGD keeps the overflow of a step that the loss scaler of fp16 has it skip.
    fused = precision != "fp16"
    parameters = [p for p in network.parameters() if p.requires_grad]
    if recipe.optimizer == "sgd":
        return SGD(
            parameters,
            recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=fused,
        )
    kind = {"adam": Adam, "adamw": AdamW}[recipe.optimizer]
    return kind(parameters, recipe.lr, weight_decay=recipe.weight_decay, fused=fused)


def learning_rate(recipe: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of optimizer step `step` (from 0) of a round."""
    total = recipe.epochs * steps_per_epoch
    warmup_steps = recipe.warmup * total
    if step < warmup_steps:
        return recipe.lr * (step + 1) / (warmup_steps + 1)
    if recipe.lr_schedule == "exponential":
        return recipe.lr * recipe.lr_gamma ** (step // steps_per_epoch)
    if recipe.lr_schedule == "cosine":
        done = (step - warmup_steps) / max(1, total - warmup_steps)
        return recipe.lr * (1 + math.cos(math.pi * done)) / 2
    return recipe.lr


class Training:
    """A network in training: its optimizer, its recipe, and the masks it is held to.

    held: applied after every optimizer step; None trains all weights.
    """

    def __init__(
        self,
        network: nn.Module,
        images: ImageSet,
        recipe: TrainConfig,
        *,
        precision: str,
        held: Held | None = None,
    ) -> None:
        self.network, self.images, self.recipe = network, images, recipe
        self.precision, self.held = precision, held
        self.device = next(network.parameters()).device
        self.optimizer = build_optimizer(network, recipe, precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        everything = torch.arange(len(images))
        self.steps_per_epoch = len(split_batches(everything, recipe.batch_size))
        self.step = 0

    def epoch(self, generator: Generator, progress: Progress | None = None) -> dict[str, float]:
        """One pass over the images: train/loss (mean over images) and train/lr (of its start).

        generator: CPU; the data order and the augmentation come from it alone.
        Raises FloatingPointError when the loss is not finite.
        """
        self.network.train()
        lr_at_start = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        order = torch.randperm(len(self.images), generator=generator)
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        batches = self.images.batches(order, self.recipe.batch_size, augment=generator)
        for _, pixels, labels in batches:
            loss = self._step(pixels, labels)
            total += loss * len(labels)  # summed on the device: no wait for each step
            if progress is not None:
                progress(self.step, self.recipe.epochs * self.steps_per_epoch)
        mean = total.item() / len(self.images)
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss must be finite, it is {mean} after step {self.step} at "
                f"learning rate {lr_at_start:g}"
            )
        return {"train/loss": mean, "train/lr": lr_at_start}

    def _step(self, pixels: Tensor, labels: Tensor) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        inputs = normalise(pixels.to(self.device, non_blocking=True))
        labels = labels.to(self.device, non_blocking=True)
        with autocast(self.precision, self.device):
            logits, heads = logits_of(self.network(inputs))
        loss = self._loss(logits, labels)
        for head in heads:
            loss = loss + self.recipe.aux_weight * self._loss(head, labels)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.recipe.clip_norm is not None:
            if self.held is not None:  # only a norm can tell: the weights are held after the step
                self.held.mask_gradients()
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.held is not None:
            self.held.apply()
        self.step += 1
        return loss.detach()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def state_dict(self) -> dict[str, object]:
        """All that the next epoch depends on, besides the network."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]


@torch.no_grad()
def recalibrate(
    network: nn.Module, images: ImageSet, n_images: int, generator: Generator, batch_size: int = 64
) -> None:
    """Re-estimate the BatchNorm statistics of a pruned network on n_images training images.

    Stale statistics, not lost capacity, are most of what pruning without fine-tuning costs. The
    images are drawn at random (a class-ordered draw ruins the statistics); they are not
    augmented, and a statistic is the plain mean over batches. Weights are left as they are.
    Raises ValueError when there are fewer images.
    """
    if n_images > len(images):
        raise ValueError(
            f"recalibrate_images must be at most the {len(images)} training images, got {n_images}"
        )
    device = next(network.parameters()).device
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's spelling of the cumulative mean
    network.train()
    order = torch.randperm(len(images), generator=generator)[:n_images]
    for _, pixels, _ in images.batches(order, batch_size):
        network(normalise(pixels.to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
