"""Where a step runs: device, gradients in one buffer, the fused optimiser; the only seam to hardware."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.config import Config
from diabolo.errors import ConfigError
from diabolo.model.autoencoder import Model

__all__ = ["Engine", "choose_device"]


def choose_device(wanted: str) -> str:
    """Resolve "auto", and refuse a device that is not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[wanted]:
        raise ConfigError(
            f"device {wanted!r} is not available here; allowed: {', '.join(d for d in there if there[d])}"
        )
    return wanted


class Engine:
    """Holds training's leaves over the model's flat parameters and steps them, member by member.

    A member whose loss or gradient is not finite keeps its weights and its optimiser state for that step;
    gradient clipping and skipping happen inside the fused kernel, so a step never waits for the device.
    """

    def __init__(self, model: Model, config: Config) -> None:
        self.model, self.clip_norm = model, config.clip_norm
        self.flat = model.store.flat
        self.gradient = torch.zeros_like(self.flat)
        self.leaves = {}
        for (name, view), grad in zip(
            model.store.views.items(), model.store.split(self.gradient).values(), strict=True
        ):
            leaf = view.detach().requires_grad_()
            leaf.grad = grad
            self.leaves[name] = leaf
        model.use(self.leaves)
        self.optimizers = []
        members = zip(self.flat.view(-1, self.flat.shape[-1]), self.gradient.view(-1, self.flat.shape[-1]), strict=True)
        for weights, gradient in members:
            weights.grad = gradient
            self.optimizers.append(torch.optim.AdamW([weights], weight_decay=config.weight_decay, fused=True))

    def step(self, loss: Tensor, learning_rate: float) -> Tensor:
        """Back-propagate loss [*lead] and step; returns which members stepped, [*lead] bool."""
        self.gradient.zero_()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        norm = torch.linalg.vector_norm(self.gradient, dim=-1)
        stepped = torch.isfinite(norm) & torch.isfinite(loss.detach())
        skip = (~stepped).to(torch.float32).reshape(-1)
        shorten = (norm / self.clip_norm).clamp_min(1.0).reshape(-1)
        for m, optimizer in enumerate(self.optimizers):
            optimizer.param_groups[0]["lr"] = learning_rate
            # The protocol of torch.amp.GradScaler: the kernel divides by one and skips on the other.
            optimizer.grad_scale = shorten[m]  # type: ignore[attr-defined]
            optimizer.found_inf = skip[m]  # type: ignore[attr-defined]
            optimizer.step()
        return stepped

    def release(self) -> None:
        """Hand the parameters back to the model, without gradients."""
        for optimizer in self.optimizers:
            for weights in optimizer.param_groups[0]["params"]:
                weights.grad = None
        self.model.use(self.model.store.views)
