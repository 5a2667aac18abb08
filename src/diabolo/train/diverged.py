"""The error of a fit that has diverged: the epoch, the columns, and settings to try."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.sources import Rows
from diabolo.device import generator
from diabolo.errors import TrainingError
from diabolo.model.autoencoder import Model
from diabolo.model.objective import loss_terms
from diabolo.train.schedule import Schedule
from diabolo.train.state import State

__all__ = ["in_an_epoch", "on_stop_rows"]

#: Columns that are named.
MOST = 3


def in_an_epoch(model: Model, state: State, rows: Rows, steps: Schedule) -> TrainingError:
    """No step of the epoch under way was taken, for one member at least."""
    failed = state.counted <= 0
    cost = state.raw[failed] / steps.steps_per_epoch
    what = "loss" if not bool(torch.isfinite(cost).all()) else "gradient"
    return TrainingError(
        f"the fit diverged in epoch {state.epoch + 1}{_members(failed)}: none of its {steps.steps_per_epoch} steps had "
        f"a finite {what}; {_columns(model, cost, rows)}; {_advice(model, steps)}"
    )


@torch.no_grad()
def on_stop_rows(model: Model, state: State, rows: Rows, what: str, steps: Schedule) -> TrainingError:
    """After all its epochs, some member has no finite loss on these rows to choose its weights by."""
    failed = ~torch.isfinite(state.best)
    noise = generator(model.device, model.config.random_state + 1)
    observed = model.observe(rows.rows, noise)
    _, distance, omega = loss_terms(model, observed, observed.x, rows.weights, 1, model.config.beta, noise)
    where = _columns(model, torch.cat(distance, dim=-1)[failed], rows)
    if omega is not None and not bool(torch.isfinite(omega[failed]).all()):
        where = f"the regularizer is not finite, {where}"
    many = f"any of {len(state.history)} epochs" if len(state.history) > 1 else "epoch 1"
    return TrainingError(
        f"the loss was never finite on the {what} in {many}{_members(failed)}; {where}; {_advice(model, steps)}"
    )


def _columns(model: Model, cost: Tensor, rows: Rows) -> str:
    """The columns whose distance is not finite, those of the largest values first, or else of the largest distances.

    Args:
        cost: [*, columns of the heads].
        rows: have the values; a value that is too large spoils the distances of other columns too.
    """
    names = [model.encoding.schema.output_names[c] for h in model.heads for c in h.block.columns]
    cost = cost.reshape(-1, len(names))
    wrong = (~torch.isfinite(cost)).any(0)
    if not bool(wrong.any()):
        size, said = cost.abs().amax(0), "the largest distances are those of"
    else:
        size, said = torch.where(wrong, _reach(model, rows), -1.0), "not finite in"
    count = int(wrong.sum()) or len(names)
    first = size.argsort(descending=True, stable=True)[: min(MOST, count)].tolist()
    what = "values to " if bool(wrong.any()) else ""
    listed = ", ".join(f"{names[i]} ({what}{float(size[i]):.2g})" for i in first)
    more = f" and {count - MOST} more" if bool(wrong.any()) and count > MOST else ""
    return f"{said} {listed}{more}"


def _reach(model: Model, rows: Rows) -> Tensor:
    """The largest absolute input of each column, standardised; infinite for NaN."""
    found = []
    for head in model.heads:
        largest, count = head.inputs(rows.rows.x).abs().amax(0), len(head.block.columns)
        found.append(largest if len(largest) == count else largest.amax().expand(count))
    return torch.cat(found).nan_to_num(nan=torch.inf, posinf=torch.inf)


def _members(failed: Tensor) -> str:
    return f" in {int(failed.sum())} of {failed.numel()} members" if failed.dim() else ""


def _advice(model: Model, steps: Schedule) -> str:
    scaled = model.config.scaling == "standard"
    other = "look at these columns (diabolo info DATA)" if scaled else "scaling='standard'"
    return f"try learning_rate={steps.peak / 10:.1g}, a tenth of this fit's, or {other}"
