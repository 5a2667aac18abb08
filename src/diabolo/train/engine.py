"""How a step ends: gradients in one buffer, and the fused optimiser."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.config import Config
from diabolo.memory import Memory
from diabolo.model.autoencoder import Model
from diabolo.world import ALONE, World

__all__ = ["Engine"]


class Engine:
    """Holds training's leaves over the model's flat parameters and steps them, member by member.

    A member whose loss or gradient is not finite keeps its weights and its optimiser state for that step;
    gradient clipping and skipping happen inside the fused kernel, so a step never waits for the device.
    """

    def __init__(self, model: Model, config: Config, world: World = ALONE) -> None:
        self.model, self.clip_norm, self.decay = model, config.clip_norm, config.weight_decay
        self.world = world
        flat = model.store.flat
        self.gradient = torch.zeros_like(flat)
        targets = model.store.split(self.gradient)
        leaves = {}
        for name, view in model.store.views.items():
            leaves[name] = view.detach().requires_grad_()
        model.use(leaves)
        self.leaves = [(leaf, targets[name], name.partition(".")[0]) for name, leaf in leaves.items()]
        parts = ("encoder", "decoder")
        self.memory = Memory({p: [t for k, t in targets.items() if k.startswith(f"{p}.")] for p in parts})
        width = flat.shape[-1]
        self.steps = torch.zeros(model.lead, device=flat.device).reshape(-1)
        #: Running means of the gradient and of its square (Kingma, Ba 2015, arXiv:1412.6980).
        self.first, self.second = torch.zeros_like(flat), torch.zeros_like(flat)
        self.members = list(
            zip(
                flat.view(-1, width),
                self.gradient.view(-1, width),
                self.first.view(-1, width),
                self.second.view(-1, width),
                self.steps,
                strict=True,
            )
        )

    def step(self, loss: Tensor, learning_rate: float | Tensor, *terms: Tensor) -> Tensor:
        """Back-propagate loss [*lead] and step; returns which members stepped, [*lead] bool.

        Where processes share a batch, each has the loss of its rows. Gradients, losses and `terms`, which are changed
        in place, are added up over the processes before the step, which all of them take.
        """
        written = self.memory.written
        written.clear()
        (loss if loss.dim() == 0 else loss.sum()).backward()  # type: ignore[no-untyped-call]
        for leaf, target, network in self.leaves:
            # A fused network has written into its target itself.
            if network not in written:
                target.zero_()
            if leaf.grad is not None:
                target.add_(leaf.grad)
                leaf.grad = None
        value = loss.detach().clone() if self.world.size > 1 else loss.detach()
        self.world.add_(self.gradient, value, *terms)
        norm = torch.linalg.vector_norm(self.gradient, dim=-1)
        # The loss counts too: a term of it that is not finite may have a finite gradient.
        stepped = torch.isfinite(norm + value)
        self.steps += stepped.reshape(-1)
        skip = (~stepped).to(norm.dtype).reshape(-1)
        shorten = (norm / self.clip_norm).clamp_min(1.0).reshape(-1)
        for m, (weights, gradient, first, second, count) in enumerate(self.members):
            # The kernel of torch.optim.AdamW(fused=True), without that class's 0.1 ms of bookkeeping per step. It
            # divides the gradient by grad_scale and does nothing where found_inf is 1, like under a GradScaler.
            torch._fused_adamw_(
                *([weights], [gradient], [first], [second], [], [count]),
                lr=learning_rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=self.decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
                grad_scale=shorten[m],
                found_inf=skip[m],
            )
        return stepped

    def release(self) -> None:
        """Hand the parameters back to the model, without gradients."""
        self.model.use(self.model.store.views)
