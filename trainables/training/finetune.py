"""The one training loop: of the dense network, and of every fine-tuning."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pruning import Held
from trainables.config import TrainConfig
from trainables.datasets.ahead import batches_on
from trainables.datasets.images import ImageSet, Progress, normalise, split_batches
from trainables.kept import require_state
from trainables.networks import auxiliary_layers, head_parameters, logits_of
from trainables.training.compute import autocast, compiled
from trainables.training.member import Member
from trainables.training.optimizer import build_optimizer, learning_rate, require_moments
from trainables.training.spent import Clock


class Training:
    """A network in training: its optimizer, its recipe, and the masks it is held to.

    held: applied after every optimizer step; None trains all weights.
    first_epoch: of the recipe; what comes before it is left out.
    compile: "off", "default" or "graphs", as `resolve_compile` gives it.
    member: one of several processes that each have this training, and do all its epochs together.
    teacher: a network whose logits are learnt, too, where `recipe.distill` is above 0; it stays in
        evaluation mode and as it is.
    """

    def __init__(
        self,
        network: nn.Module,
        images: ImageSet,
        recipe: TrainConfig,
        *,
        precision: str,
        held: Held | None = None,
        first_epoch: int = 0,
        compile: str = "off",
        member: Member | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        if len(images) < 2:
            raise ValueError(
                f"training needs at least 2 images, over which BatchNorm takes its statistics, "
                f"got {len(images)}"
            )
        if recipe.distill and teacher is None:
            raise ValueError("a recipe that distills needs a teacher, got none")
        self.network, self.images, self.recipe = network, images, recipe
        self.teacher = teacher.eval() if recipe.distill and teacher is not None else None
        self.precision, self.held, self.compile = precision, held, compile
        self.member = member or Member()
        self._running = self.member.normalised_together(network)
        self.device = next(network.parameters()).device
        # torch cannot look into the BatchNorm that several processes share.
        self.loss = compiled(self._loss, compile, whole=self.member.n == 1)
        apart = recipe.head_epochs or recipe.body_lr is not None
        self.head = head_parameters(network) if apart else set()
        self._auxiliary = auxiliary_layers(network) if apart or recipe.frozen_batchnorm else set()
        self.optimizer = build_optimizer(network, recipe, precision, self.head)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        batches = split_batches(torch.arange(len(images)), recipe.batch_size, self.member.n)
        self._batch_sizes = [len(batch) for batch in batches]
        self.steps_per_epoch = len(batches)
        self.step = first_epoch * self.steps_per_epoch
        self.spent: dict[str, float] = {}  # of the last epoch, see `Clock.of_training`

    def epoch(self, generator: Generator, progress: Progress | None = None) -> dict[str, float]:
        """One pass over the images: train/loss (mean over images) and train/lr (of its start).

        generator: CPU; the data order and the augmentation come from it alone.
        Raises FloatingPointError when the loss is not finite.
        """
        with self._still():
            return self._epoch(generator, progress)

    def _epoch(self, generator: Generator, progress: Progress | None) -> dict[str, float]:
        lr_at_start = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        order = torch.randperm(len(self.images), generator=generator)
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        batches = batches_on(
            self.device,
            self.images,
            order,
            self.recipe.batch_size,
            augment=generator,
            share=(self.member.rank, self.member.n),
        )
        clock = Clock()
        waited = clock.waiting_for(batches)
        for size, (_, pixels, labels) in zip(self._batch_sizes, waited, strict=True):
            loss = self._step(pixels, labels, size)
            total += loss * len(labels)  # summed on the device: no wait for each step
            if progress is not None:
                progress(self.step, self.recipe.epochs * self.steps_per_epoch)
        self.member.add_up([total])
        mean = total.item() / len(self.images)  # now the device is done
        self.spent = clock.of_training(len(self.images))
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the training loss must be finite, it is {mean} after step {self.step} at "
                f"learning rate {lr_at_start:g}"
            )
        return {"train/loss": mean, "train/lr": lr_at_start}

    @contextmanager
    def _still(self) -> Iterator[None]:
        """In training mode, but for what does not change in the epoch that begins: all but a head
        that is trained alone, and BatchNorms that are frozen (never those of auxiliary heads)."""
        alone = self.step < self.recipe.head_epochs * self.steps_per_epoch
        norms = {
            name
            for name, module in self.network.named_modules()
            if isinstance(module, _BatchNorm) and (alone or self.recipe.frozen_batchnorm)
        } - self._auxiliary
        still = [
            p
            for name, p in self.network.named_parameters()
            if p.requires_grad
            and ((alone and name not in self.head) or name.rpartition(".")[0] in norms)
        ]
        for network in (self.network, self._running):
            network.train()
            for name in norms:
                network.get_submodule(name).eval()
        for parameter in still:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad_(True)

    def _step(self, pixels: Tensor, labels: Tensor, batch_size: int | None = None) -> Tensor:
        """One optimizer step; the mean loss. batch_size: of all members' images, if not alone."""
        lr = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        # Before the forward pass: a CUDA graph takes the memory of old gradients for its own.
        self.optimizer.zero_grad()
        if self.compile == "graphs":
            torch.compiler.cudagraph_mark_step_begin()
        inputs = normalise(pixels)
        loss = self.loss(inputs, labels, self._taught(inputs))
        if self.member.n == 1:
            self.scaler.scale(loss).backward()
        else:
            share = len(labels) / (batch_size or len(labels))
            self.scaler.scale(loss * share).backward()
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            self.member.add_up(gradients)
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

    @torch.no_grad()
    def _taught(self, inputs: Tensor) -> Tensor | None:
        """What the teacher answers to the same images; None without one."""
        if self.teacher is None:
            return None
        with autocast(self.precision, self.device):
            return logits_of(self.teacher(inputs))[0].float()

    def _loss(self, inputs: Tensor, labels: Tensor, taught: Tensor | None = None) -> Tensor:
        """The mean loss of a batch, and of its auxiliary heads: all of the step that is compiled.

        The masks are outside: they are applied to the weights, after the optimizer.
        """
        with autocast(self.precision, self.device):
            logits, heads = logits_of(self._running(inputs))
        smoothing = self.recipe.label_smoothing
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        if taught is not None:
            share, temperature = self.recipe.distill, self.recipe.distill_temperature
            soft = distillation_loss(logits.float(), taught, temperature)
            loss = (1 - share) * loss + share * soft
        for head in heads:
            loss = loss + self.recipe.aux_weight * F.cross_entropy(
                head.float(), labels, label_smoothing=smoothing
            )
        return loss

    def state_dict(self) -> dict[str, object]:
        """All that the next epoch depends on, besides the network."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; ValueError, and nothing is changed, for a state that
        does not fit the network and its optimizer."""
        require_state(state, {"optimizer": dict, "scaler": dict, "step": int})
        require_state(state["optimizer"], {"state": dict, "param_groups": list})
        moments = state["optimizer"]["state"]
        require_moments(moments, self.optimizer)
        expected = self.scaler.state_dict()
        if state["scaler"].keys() != expected.keys():
            raise ValueError("the state of the loss scaler is of another precision")
        # Hyperparameters are the recipe's; a file has no say in them.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How far a network's answers are from its teacher's, both softened by the temperature.

    Mean over images of T^2 KL(softmax(taught / T) || softmax(logits / T)), in nats (Hinton, Vinyals
    & Dean 2015, arXiv 1503.02531, sec. 2): their cross-entropy less the teacher's own entropy,
    which changes no gradient and makes it 0 where the two agree. T^2 keeps gradients on the scale
    of the labels' loss whatever the temperature is.
    logits, taught: float [image, class]. temperature: positive.
    """
    ours = F.log_softmax(logits / temperature, 1)
    theirs = F.log_softmax(taught / temperature, 1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    images: ImageSet,
    n_images: int,
    generator: Generator,
    batch_size: int = 64,
    precision: str = "fp32",
) -> None:
    """Re-estimate the BatchNorm statistics of a pruned network on n_images training images.

    Stale statistics, not lost capacity, are most of what pruning without fine-tuning costs. The
    images are drawn at random (a class-ordered draw ruins the statistics); they are not
    augmented, and a statistic is the plain mean over batches. Weights are left as they are.
    precision: that the network will compute in, see `autocast`; statistics are float32 in each.
    Raises ValueError when there are fewer images.
    """
    if n_images > len(images):
        raise ValueError(
            f"recalibrate_images must be at most the {len(images)} training images, got {n_images}"
        )
    device = next(network.parameters()).device
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's spelling of the cumulative mean
    network.train()
    order = torch.randperm(len(images), generator=generator)[:n_images]
    for _, pixels, _ in batches_on(device, images, order, batch_size):
        with autocast(precision, device):
            network(normalise(pixels))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
