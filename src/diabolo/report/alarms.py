"""What may be wrong with a fitted autoencoder or with the rows it is shown, each check with what to do about it.

A check has one measured number, the limit that it is held against, and advice; it says nothing of quality: that is for
the reader to judge. Adding a check is one class here.
"""

from __future__ import annotations

import abc
import dataclasses
import re
from typing import ClassVar, Literal

import numpy as np
import torch

from diabolo.data.hashing import hash_rows
from diabolo.model.networks import Rectify
from diabolo.registry import Entry, Registry
from diabolo.report.bottleneck import active_units
from diabolo.report.evidence import Evidence, share, spaced
from diabolo.report.html import number, percent
from diabolo.report.space import explained
from diabolo.report.space import run as passed

__all__ = ["Alarm", "Finding", "alarms", "findings"]

Status = Literal["alarm", "note", "sound", "skipped"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one check came to."""

    title: str
    status: Status
    measured: str
    advice: str = ""


class Alarm(Entry, abc.ABC):
    """One check; `place` is its position on the page."""

    title: ClassVar[str]

    @abc.abstractmethod
    def __call__(self, e: Evidence) -> Finding: ...

    def found(self, status: Status, measured: str, advice: str = "") -> Finding:
        return Finding(self.title, status, measured, advice)


alarms: Registry[Alarm] = Registry("alarm", __package__)


def findings(e: Evidence) -> dict[str, Finding]:
    """Every check's finding by name, in the order of the registry."""
    return {name: alarms.create(name)(e) for name in alarms}


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
                "warmup, "
                "leave each unit some free bits (regularizer = {name = 'kl', free_bits = 0.1}), or make the decoder "
                "smaller.",
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
        p = passed(e.model, e.shuffled)
        shuffled = share(explained(p.x, p.x_hat, p.there, e.space.column, len(e.schema.names)))
        said = f"{percent(e.overall)} of the variance of rows explained, {percent(shuffled)} of shuffled rows"
        if shuffled > self.limit:
            return self.found(
                "alarm",
                said,
                f"The network can copy any input ({e.model.latent_dim} latent numbers for {len(e.units)} free "
                "columns): "
                "anomalies are reconstructed too. Make the latent smaller, or limit it otherwise: corruption (method "
                "denoising), a penalty (method sparse), or a Gaussian latent (method vae).",
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
                "for "
                "inputs far out of scale (clip); a smaller latent if its numbers do not move.",
            )
        return self.found("sound", said)


def _dead_by_layer(e: Evidence) -> list[tuple[str, int, int]]:
    """(layer, dead units, units) of every plain rectified layer, over at most 4,000 rows."""
    from diabolo.model.networks import parameter_shapes

    values = np.ascontiguousarray(e.rows.values[e.looked[spaced(len(e.looked), 4_000)]])
    out = []
    with torch.inference_mode():
        rows = e.encoding.encode(torch.from_numpy(values)).clipped(e.encoding.clip)
        h = rows.x
        for side, operations in (("encoder", e.model.encoder), ("decoder", e.model.decoder)):
            if side == "decoder":
                h = e.model.posterior(dataclasses.replace(rows, memory=None)).mean
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


@alarms.register("seen")
class Seen(Alarm):
    """Leakage of rows: a table that is taken for new holds rows that the model was trained on.

    An alarm if more than 0.1 % of the rows of another table were trained or stopped on, by their 64-bit hashes.
    """

    place = 40
    title = "Leakage of rows"
    limit = 0.001

    def __call__(self, e: Evidence) -> Finding:
        if e.same_table:
            hashes = hash_rows(e.rows.values)
            fresh = hashes[~np.asarray(e.seen)]
            again = float(np.isin(fresh, hashes[np.asarray(e.seen)]).mean()) if len(fresh) else 0.0
            said = f"the training table itself; {percent(again)} of the rows kept apart equal a training row"
            if again > self.limit and not _few_patterns(e):
                return self.found(
                    "alarm",
                    said,
                    "Rows occur more than once, so scores of rows kept apart look better than those of new ones will. "
                    "Remove duplicates before the fit.",
                )
            return self.found("sound", said + "; numbers below are of rows kept apart")
        if e.seen is None:
            return self.found(
                "skipped", "the file keeps no hashes of so many training rows, so it cannot tell (fits to 200,000 rows)"
            )
        known = float(e.seen.mean())
        said = f"{percent(known)} of the rows were trained on"
        if known > self.limit and not _few_patterns(e):
            return self.found(
                "alarm",
                said,
                f"{number(int(e.seen.sum()))} rows of this table were trained on: whatever is measured on them looks "
                "better than it is. They are left out of the rates and errors on this page; evaluate on rows that the "
                "model has not seen.",
            )
        return self.found("sound", said)


def _few_patterns(e: Evidence) -> bool:
    """Whether equal rows are to be expected: fewer different rows than half of them."""
    hashes = hash_rows(e.rows.values[spaced(len(e.rows.values), 20_000)])
    return len(np.unique(hashes)) < 0.5 * len(hashes)


#: Names of columns that say what a row is.
LABEL = re.compile(
    r"(^|[_\W])(label|labels|target|class|truth|ground_?truth|y|y_true|outcome|is_(anomaly|outlier|fraud|signal)|anomaly|"
    r"outlier|fraud|process)$",
    re.IGNORECASE,
)


@alarms.register("columns")
class Columns(Alarm):
    """Leakage of columns: one that is named like a label, one that numbers the rows, one that copies another.

    An alarm for a column of at most 20 values with a label's name; for one whose rank correlation with the row number
    exceeds 0.99; and for two whose standardised values differ by less than 10⁻⁴ everywhere, up to sign.
    """

    place = 50
    title = "Leakage of columns"

    def __call__(self, e: Evidence) -> Finding:
        if e.is_image:
            return self.found("skipped", "pixels have no names, and neighbours may be alike")
        labels, numbers, copies = _labels(e), _numbering(e), _copies(e)
        parts, advice = [], []
        if labels:
            parts.append(f"named like a label: {', '.join(labels)}")
            advice.append(f"Leave labels out of the fit (--label {labels[0]}).")
        if numbers:
            parts.append(f"numbers the rows: {', '.join(numbers)}")
            advice.append(f"A row number or clock says nothing of new rows: leave it out (--exclude {numbers[0]}).")
        if copies:
            parts.append(f"the same column twice: {', '.join(f'{a} and {b}' for a, b in copies[:3])}")
            advice.append(f"A copied column counts twice in every score: leave one out (--exclude {copies[0][1]}).")
        if parts:
            return self.found("alarm", "; ".join(parts), " ".join(advice))
        return self.found("sound", f"none of {len(e.schema.names)} columns is a label, a row number or another's copy")


def _labels(e: Evidence) -> list[str]:
    values = e.rows.values[spaced(len(e.rows.values), 20_000)]
    out = []
    for i, name in enumerate(e.schema.names):
        if LABEL.search(name):
            v = values[:, i]
            if len(np.unique(v[np.isfinite(v)])) <= 20:
                out.append(name)
    return out


def _numbering(e: Evidence) -> list[str]:
    at = spaced(len(e.rows.values), 5_000)
    if len(at) < 50:
        return []
    values = e.rows.values[at]
    place = np.arange(len(at), dtype=float)
    out = []
    for i, column in enumerate(e.schema.columns):
        v = values[:, i]
        if column.kind in ("constant", "categorical", "boolean", "angle") or not np.isfinite(v).all():
            continue
        rank = np.argsort(np.argsort(v, kind="stable"), kind="stable")
        if len(np.unique(v)) > 0.9 * len(v) and abs(np.corrcoef(rank, place)[0, 1]) > 0.99:
            out.append(column.name)
    return out


def _copies(e: Evidence) -> list[tuple[str, str]]:
    """Pairs of columns that are the same numbers, up to scale, where they are there: at least 50 rows, three values."""
    some = e.rows.values[spaced(len(e.rows.values), 4_000)]
    there = e.present(some)
    kinds = ("real", "date", "integer", "count", "ordinal", "angle")
    able = [i for i, c in enumerate(e.schema.columns) if c.kind in kinds and there[:, i].sum() >= 50]
    able = [i for i in able if len(np.unique(some[there[:, i], i])) > 2][:1_000]
    v = np.zeros((len(some), len(able)))
    for k, i in enumerate(able):
        cells = some[there[:, i], i].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            v[there[:, i], k] = (cells - cells.mean()) / (cells.std() or 1.0)
    close = np.abs(v.T @ v)
    size = np.diag(close)
    out = []
    for a, b in np.argwhere(np.triu(close > 0.9999 * np.sqrt(np.outer(size, size)), 1)):
        sign = np.sign(v[:, a] @ v[:, b])
        if np.abs(v[:, a] - sign * v[:, b]).max() < 1e-4 * max(1.0, float(np.abs(v[:, a]).max())):
            out.append((e.schema.names[able[a]], e.schema.names[able[b]]))
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
