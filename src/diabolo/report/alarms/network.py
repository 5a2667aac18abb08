"""Checks of the network: its code, its units, its training."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from diabolo.model.active import active_units
from diabolo.model.networks import Rectify, parameter_shapes
from diabolo.report.alarms.base import Alarm, Finding, alarms
from diabolo.report.evidence import Evidence, share, spaced
from diabolo.report.html import percent
from diabolo.report.space import explained_variance, pass_rows


@alarms.register("collapse")
class Collapse(Alarm):
    """Posterior collapse: q(z|x) is the prior whatever x is, and the decoder does without the code.

    A unit is active if Var_x(E_q[z_i]) > 0.01 (Burda et al. 2016, arXiv:1509.00519). An alarm if no unit is, or if
    the code carries less than 0.1 nats per row, KL(q ‖ π) on average; a note if some units are not.
    """

    place = 10
    title = "Posterior collapse"

    def __call__(self, e: Evidence) -> Finding:
        kl = e.passed.kl
        if kl is None:
            return self.found("skipped", "a point latent has no posterior that could collapse")
        k = e.passed.codes.shape[1]
        active = int(active_units(e.passed.codes / np.sqrt(e.model.prior.variance)).sum())
        nats = float(kl.sum(axis=1).mean())
        said = f"{active} of {k} latent units active; the code carries {nats / np.log(2):.2f} bits per row"
        if active == 0 or nats < 0.1:
            return self.found(
                "alarm",
                said,
                f"The decoder ignores the code. Lower beta (now {e.config.beta:g}), raise it slowly from 0 with "
                "warmup, leave each unit some free bits (regularizer = {name = 'kl', free_bits = 0.1}), or make the "
                "decoder smaller.",
            )
        if active < k:
            return self.found(
                "note",
                said,
                f"{k - active} unused: no harm, the model chose its own size. A latent of {active} gives the same "
                "with fewer numbers.",
            )
        return self.found("sound", said)


@alarms.register("identity")
class Identity(Alarm):
    """Identity copying: rows whose columns have nothing to do with each other are reconstructed just as well.

    Each column of the rows (each object, where there are slots) is shuffled by itself. An alarm if reconstruction
    explains more than 95 % of the variance of such rows: the network copies, and finds no row unusual.
    """

    place = 20
    title = "Identity copying"
    limit = 0.95

    def __call__(self, e: Evidence) -> Finding:
        if len(e.units) < 2:
            return self.found("skipped", "a single column has no other to be compared with")
        p = pass_rows(e.model, e.shuffled)
        shuffled = share(explained_variance(p.x, p.x_hat, p.there, e.space.column, len(e.schema.names)))
        said = f"{percent(e.overall)} of the variance of rows explained, {percent(shuffled)} of shuffled rows"
        if shuffled > self.limit:
            return self.found(
                "alarm",
                said,
                f"The network can copy any input ({e.model.latent_dim} latent numbers for {len(e.units)} free "
                "columns): anomalies are reconstructed too. Make the latent smaller, or limit it otherwise: corruption "
                "(method denoising), a penalty (method sparse), or a Gaussian latent (method vae).",
            )
        return self.found("sound", said)


@alarms.register("dead")
class Dead(Alarm):
    """Dead units: rectified units that are 0 for every row, and numbers of a point latent that never move.

    An alarm if more than half of a layer is dead, a note if more than a quarter is; an alarm if a number of a point
    latent varies by less than 10⁻⁶ of the largest.
    """

    place = 30
    title = "Dead units"
    noted, limit = 0.25, 0.5

    def __call__(self, e: Evidence) -> Finding:
        layers = _dead_by_layer(e)
        still = 0
        if e.passed.kl is None:
            spread = e.passed.codes.var(axis=0)
            still = int((spread <= 1e-6 * max(float(spread.max()), 1e-30)).sum())
        dead, size = sum(d for _, d, _ in layers), sum(s for _, _, s in layers)
        if not layers and e.passed.kl is not None:
            return self.found("skipped", "the network has no rectified layers of plain units")
        said = f"{dead} of {size} rectified units never fire" if layers else "no rectified layers"
        if e.passed.kl is None:
            said += f"; {still} of {e.passed.codes.shape[1]} latent numbers never move"
        worst = max(layers, key=lambda found: found[1] / found[2], default=None)
        share = worst[1] / worst[2] if worst is not None else 0.0
        where = f" Worst: {worst[0]}, {worst[1]} of {worst[2]}." if worst is not None and worst[1] else ""
        if share > self.noted and not still and share <= self.limit:
            return self.found("note", said, f"{where.strip()} A narrower layer would do, at less cost.")
        if still or share > self.limit:
            return self.found(
                "alarm",
                said,
                f"Part of the network does nothing.{where} Lower the learning rate, choose narrower layers, or look "
                "for inputs far out of scale (clip); a smaller latent if its numbers do not move.",
            )
        return self.found("sound", said)


def _dead_by_layer(e: Evidence) -> list[tuple[str, int, int]]:
    """(layer, dead units, units) of every plain rectified layer, over at most 4,000 rows."""
    values = np.ascontiguousarray(e.rows.values[e.looked[spaced(len(e.looked), 4_000)]])
    out = []
    with torch.inference_mode():
        rows = e.encoding.encode(torch.from_numpy(values)).clipped(e.encoding.clip)
        entering = e.model.entering(dataclasses.replace(rows, memory=None))
        for side, operations, h in zip(
            ("encoder", "decoder"), (e.model.encoder, e.model.decoder), entering, strict=True
        ):
            names = list(parameter_shapes(side, operations))
            given = [e.model.store.views[n] for n in names]
            used = 0
            for i, operation in enumerate(operations):
                own = len(operation.shapes())
                h = operation(h.clone(), iter(given[used : used + own]))
                used += own
                plain = isinstance(operation, Rectify) and operation.slope == 0 and h.dim() == 2
                if plain and not e.model.lead:
                    out.append((f"{side} layer {(i + 1) // 2}", int((h.amax(dim=0) <= 0).sum()), h.shape[1]))
    return out


@alarms.register("unfinished")
class Unfinished(Alarm):
    """Training that was cut short: the loss on the stop rows was still falling.

    A note if the last two epochs brought more than 5 % of all that was gained.
    """

    place = 60
    title = "Training cut short"

    def __call__(self, e: Evidence) -> Finding:
        losses = [h["validation"] for h in e.fitted.history if h.get("validation") is not None]
        if len(losses) < 6:
            return self.found("skipped", f"{len(losses)} epochs are too few to tell")
        best = [i for i, h in enumerate(e.fitted.history) if h["best"]]
        last, before = min(losses[-2:]), min(losses[:-2][-3:])
        span = max(losses) - min(losses)
        gained = (before - last) / span if span > 0 else 0.0
        said = (
            f"best epoch {best[-1] + 1 if best else len(losses)} of {len(losses)}; the last two brought "
            f"{percent(gained)} of all that was gained"
        )
        if gained > 0.05:
            return self.found(
                "note", said, f"More epochs would still help (now {len(losses)}): --epochs {2 * len(losses)}."
            )
        return self.found("sound", said)
