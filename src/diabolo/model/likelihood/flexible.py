"""A flexible law of numbers: atoms, a tilted Gaussian in normal scores between them, tails that go on."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from diabolo.data.encoding import SIGMA_FLOOR
from diabolo.device import Constants, on_cpu
from diabolo.memory import Memory
from diabolo.model.knots import FAR, Knots, Place, standard_normal
from diabolo.model.likelihood.base import Likelihood, Own, Units, likelihoods
from diabolo.model.prior import HALF_LOG_2PI

__all__ = ["Flexible"]

#: log s stays within these, and tilts within ± `TILT`: a wild row gives a finite gradient.
LOW, HIGH, TILT = -5.0, 1.5, 8.0
DENSITY = 1 / math.sqrt(2 * math.pi)
#: Width of an atom of a column that is not rounded, in the column's σ: that of a Gaussian of the smallest σ that other
#: likelihoods take.
ATOM = SIGMA_FLOOR / DENSITY
#: The laws of columns for which none were fitted.
PLAIN = Constants()
#: Rows whose mean is taken at once: it looks at every cell.
MEANS = 512
#: Halvings of the range of scores, down to 4e-6.
BISECTIONS = 24
#: Halvings of the range of scores for a quantile of a mixture, down to 3e-12.
HALVED = 44
#: A linear prediction lies within these scores, as all values of a table do.
FARTHEST = 4.5


class _LogTotal(torch.autograd.Function):
    """log Σ_k (Φ(t_{k+1}) − Φ(t_k)) e^{a_k}, with t_k = (edge_k − m) / s: [*, M] for tilts a [*, M, L].

    One node: the gradient needs φ(t) and the sums alone, and autograd would keep six tensors of [*, M, L].
    """

    @staticmethod
    def forward(ctx: Any, m: Tensor, log_s: Tensor, tilts: Tensor, edges: Tensor) -> Tensor:
        inverse = (-log_s).exp()
        # The outermost edges are infinite: their Φ is 0 and 1 whatever m and s are.
        t = (edges[..., 1:-1] - m.unsqueeze(-1)).mul_(inverse.unsqueeze(-1))
        inner = torch.special.ndtr(t)
        mass = torch.empty_like(tilts)
        mass[..., 0], mass[..., -1] = inner[..., 0], 1 - inner[..., -1]
        torch.sub(inner[..., 1:], inner[..., :-1], out=mass[..., 1:-1])
        part = tilts.exp()
        total = torch.linalg.vecdot(mass, part)
        ctx.save_for_backward(t, mass, part, total, inverse)
        log: Tensor = total.log()
        return log

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        t, mass, part, total, inverse = ctx.saved_tensors
        scaled = (outputs[0] / total).unsqueeze(-1)
        # dΣ/dt_k = φ(t_k) (e^{a_{k−1}} − e^{a_k})
        slope = (part[..., :-1] - part[..., 1:]).mul_(_phi(t))
        slope.mul_(scaled)
        to_m = slope.sum(-1).mul_(inverse).neg_()
        to_s = torch.linalg.vecdot(slope, t).neg_()
        return to_m, to_s, mass.mul(part).mul_(scaled), None


def _phi(t: Tensor) -> Tensor:
    phi: Tensor = t.square().mul_(-0.5).exp_().mul_(DENSITY)
    return phi


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    """log (Φ(high) − Φ(low)) for low < high, exact in both tails."""
    # Both ends in the lower half, where Φ has its digits: Φ(b) − Φ(a) = Φ(−a) − Φ(−b).
    flip = low + high > 0
    a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
    upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    gap = (lower - upper).clamp_max(-1e-7)
    log: Tensor = upper + torch.log(-torch.expm1(gap))
    return log


@likelihoods.register("flexible")
class Flexible(Likelihood):
    """e^{a_j(v)} N(v; m, s²) / Z in normal scores v of the column, with a tilt a_j for each of its cells j.

    p(x) = e^{a_j} N(v(x); m, s²) v'(x) / Z inside an interval, and e^{a_j} (Φ(t_{j+1}) − Φ(t_j)) / Z of an atom, with
    t = (edge − m) / s and Z = Σ_j e^{a_j} (Φ(t_{j+1}) − Φ(t_j)): exact density or mass, cdf, quantiles and mean. With
    m = 0, s = 1 and no tilts it is the column's own law, of which a `share` may be mixed in. A value of a rounded
    column has the mass between its halves of a step. Beyond the training values the outer intervals go on, with the
    tails of a Gaussian in x.
    """

    kinds = ("real", "integer")
    in_scores = True
    density = True
    #: Groups of each column's cells, which have a tilt each; the table says how many.
    groups: Annotated[int, Ge(2)] = 8
    #: Share of the column's own law. A value costs at most −log of it more than by that law: a row that a narrow law
    #: misses by far neither throws a step off course nor outweighs all others.
    share: Annotated[float, Ge(0), Lt(1)] = 0.0

    def width(self, columns: int, inputs: int) -> int:
        return columns * (2 + self.groups)

    def positions(self, column: int, columns: int, inputs: int) -> list[int]:
        tilts = 2 * columns + column * self.groups
        return [column, columns + column, *range(tilts, tilts + self.groups)]

    def start(self, mean: Tensor, variance: Tensor, units: Units) -> Tensor:
        tilts = mean.new_zeros(()).expand(*mean.shape[:-1], mean.shape[-1] * self.groups)
        return torch.cat([mean.clamp(-FARTHEST, FARTHEST), 0.5 * variance.log(), tilts], dim=-1)

    def _knots(self, units: Units) -> Knots:
        """The columns' own laws; standard normal ones where none were fitted."""
        columns = len(units.floor)
        if units.knots is not None:
            return units.knots
        return PLAIN((columns, self.groups), units.floor.device, lambda: standard_normal(columns, self.groups))

    def _parts(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m and log s [*, M], tilts [*, M, L]."""
        columns = theta.shape[-1] // (2 + self.groups)
        m, log_s = theta[..., :columns], theta[..., columns : 2 * columns]
        tilts = theta[..., 2 * columns :].reshape(*theta.shape[:-1], columns, self.groups)
        return m, log_s.clamp(LOW, HIGH), TILT * torch.tanh(tilts / TILT)

    def nll(self, theta: Tensor, own: Own, x: Tensor, units: Units, memory: Memory | None = None) -> Tensor:
        knots = self._knots(units)
        place = knots.place(x)
        m, log_s, tilts = self._parts(theta)
        total: Tensor = _LogTotal.apply(m, log_s, tilts, knots.ends)  # type: ignore[no-untyped-call]
        tilt = tilts.gather(-1, place.group.expand(m.shape).unsqueeze(-1)).squeeze(-1)
        inverse = (-log_s).exp()
        t = (place.score - m) * inverse
        cost = total - tilt + (0.5 * t.square() + HALF_LOG_2PI + log_s - place.log_slope)
        if on_cpu(cost) and bool(place.point.all()):
            return self._mixed(cost, _own_cost(place))
        # A mass as a density in x: over a step of a rounded column, else over an atom's width.
        step = torch.where(knots.half > 0, 2 * knots.half, ATOM).log()
        mass = log_mass((place.low - m) * inverse, (place.high - m) * inverse)
        own_cost = torch.where(place.point, _own_cost(place), step - log_mass(place.low, place.high))
        return self._mixed(torch.where(place.point, cost, total - tilt - mass + step), own_cost)

    def _mixed(self, cost: Tensor, own: Tensor) -> Tensor:
        """−log of the mixture of e^−cost and the column's own law, e^−own."""
        if not self.share:
            return cost
        return -torch.logaddexp(math.log1p(-self.share) - cost, math.log(self.share) - own)

    # ── exact functions of the law, in double precision ───────────────────────────────────────────

    def _law(self, theta: Tensor, units: Units) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """m, s [*, M], t at the edges [*, M, L + 1] and the cells' probabilities [*, M, L]."""
        m, log_s, tilts = self._parts(theta.double())
        s = log_s.exp()
        t = (self._knots(units).ends.double() - m.unsqueeze(-1)) / s.unsqueeze(-1)
        below = torch.special.ndtr(t)
        mass = (below[..., 1:] - below[..., :-1]).clamp_min(0) * tilts.exp()
        share: Tensor = mass / mass.sum(-1, keepdim=True)
        return m, s, t, share

    def mean(self, theta: Tensor, units: Units) -> Tensor:
        """Σ over cells of p E[x | cell]; inside an interval x is linear in v, a Gaussian cut at its edges."""
        flat, knots = theta.reshape(-1, theta.shape[-1]), self._knots(units)
        parts = [self._mean(part, knots) for part in torch.split(flat, MEANS)]
        if self.share:
            own = self._mean(torch.zeros_like(flat[:1]), knots)
            parts = [torch.lerp(part, own.expand_as(part), self.share) for part in parts]
        return torch.cat(parts).reshape(*theta.shape[:-1], -1).to(theta.dtype)

    def _mean(self, theta: Tensor, knots: Knots) -> Tensor:
        m, log_s, tilts = self._parts(theta.double())
        s = log_s.exp().unsqueeze(-1)
        edges = knots.edges.double()
        t = (edges - m.unsqueeze(-1)) / s
        below, phi = torch.special.ndtr(t), _phi(t)
        mass = (below[..., 1:] - below[..., :-1]).clamp_min(0)
        share = mass * tilts.exp().gather(-1, knots.group.expand(*m.shape, -1))
        score = m.unsqueeze(-1) - s * (phi[..., 1:] - phi[..., :-1]) / mass.clamp_min(1e-300)
        # Where a cell has no mass, rounding must not throw its mean out of it.
        score = torch.minimum(torch.maximum(score, edges[:, :-1]), edges[:, 1:])
        slope = knots.slope.double()
        inside = (score - knots.anchor_score.double()) / torch.where(slope == 0, 1.0, slope)
        value = knots.anchor.double() + torch.where(slope == 0, 0.0, inside)
        mean: Tensor = torch.where(share > 0, share * value, 0.0).sum(-1) / share.sum(-1)
        return mean

    def pooled(self, theta: Tensor, log_share: Tensor, units: Units) -> Tensor:
        """The mean of the numbers, with m moved to where the law has the mixture's mean: it rises with m."""
        share = log_share.exp()
        wanted = (self.mean(theta, units) * share).sum(0)
        out = (theta * share).sum(0)
        columns = wanted.shape[-1]
        low, high = torch.full_like(wanted, -FAR), torch.full_like(wanted, FAR)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            below = self.mean(torch.cat([middle, out[..., columns:]], dim=-1), units) < wanted
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return torch.cat([0.5 * (low + high), out[..., columns:]], dim=-1)

    def quantile(self, theta: Tensor, own: Own, u: Tensor, units: Units) -> Tensor:
        """x [*, M] of probabilities u [*, M]."""
        law = self._law(theta, units)
        if not self.share:
            return self._values(self._score(law, u), units).to(theta.dtype)
        u = u.double().expand_as(law[0])
        low, high = torch.full_like(u, -FAR), torch.full_like(u, FAR)
        for _ in range(HALVED):
            middle = 0.5 * (low + high)
            group = (self._knots(units).ends[:, 1:-1].double() <= middle.unsqueeze(-1)).sum(-1)
            below = torch.lerp(self._upto(law, group, middle), torch.special.ndtr(middle), self.share) < u
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return self._values(high, units).to(theta.dtype)

    def _score(self, law: tuple[Tensor, Tensor, Tensor, Tensor], u: Tensor) -> Tensor:
        """Normal scores [*, M] of probabilities u [*, M] under a law without the share of the column's own."""
        m, s, t, share = law
        until = share.cumsum(-1)
        cell = (until < u.unsqueeze(-1) * until[..., -1:]).sum(-1).clamp_max(self.groups - 1)
        picked = cell.unsqueeze(-1)
        p = share.gather(-1, picked).squeeze(-1).clamp_min(1e-300)
        inside = ((u - (until.gather(-1, picked).squeeze(-1) - p)) / p).clamp(0, 1)
        low = t.gather(-1, picked).squeeze(-1)
        high = t[..., 1:].gather(-1, picked).squeeze(-1)
        return m + s * _between(low, high, inside)

    def _values(self, v: Tensor, units: Units) -> Tensor:
        """x [*, M] of normal scores, on the grid of a rounded column."""
        knots = self._knots(units)
        x = knots.values(v.float()).double()
        if bool((knots.half > 0).any()):
            x = torch.where(knots.half > 0, units.standardised(_rounded(units, knots, x)), x)
        return x

    def sample(self, theta: Tensor, own: Own, units: Units, generator: torch.Generator) -> Tensor:
        columns = theta.shape[-1] // (2 + self.groups)
        shape, device = (*theta.shape[:-1], columns), theta.device
        u = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        v = self._score(self._law(theta, units), u)
        if self.share:
            own_law = torch.rand(shape, generator=generator, device=device) < self.share
            v = torch.where(own_law, torch.special.ndtri(u.clamp(1e-16, 1 - 1e-16)), v)
        return self._values(v, units).to(theta.dtype)

    def cdf(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> Tensor:
        return self.interval(theta, own, x, units)[1]

    def interval(self, theta: Tensor, own: Own, x: Tensor, units: Units) -> tuple[Tensor, Tensor]:
        """P(X < x) and P(X ≤ x), [*, M] float64; equal where x has a density."""
        knots = self._knots(units)
        place = knots.place(x.to(theta.dtype))
        law = self._law(theta, units)
        out = []
        for end in (place.low, place.high):
            score = torch.where(place.point, place.score, end).double()
            found = self._upto(law, place.group.expand(law[0].shape), score)
            if self.share:
                found = torch.lerp(found, torch.special.ndtr(score).expand_as(found), self.share)
            out.append(found)
        return out[0], out[1]

    def _upto(self, law: tuple[Tensor, Tensor, Tensor, Tensor], group: Tensor, score: Tensor) -> Tensor:
        """P(V ≤ score) [*, M] under a law without the share of the column's own, for scores in their groups."""
        m, s, t, share = law
        picked = group.unsqueeze(-1)
        before = share.cumsum(-1).gather(-1, picked).squeeze(-1) - share.gather(-1, picked).squeeze(-1)
        p = share.gather(-1, picked).squeeze(-1)
        start, stop = t.gather(-1, picked).squeeze(-1), t[..., 1:].gather(-1, picked).squeeze(-1)
        at = (score - m) / s
        part = (log_mass(start, at.clamp_min(start + 1e-12)) - log_mass(start, stop)).exp()
        part = torch.where(at <= start, 0.0, torch.where(at >= stop, 1.0, part))
        return (before + p * part).clamp(0, 1)


def _own_cost(place: Place) -> Tensor:
    """−log of the column's own density at values that have one."""
    return 0.5 * place.score.square() + HALF_LOG_2PI - place.log_slope


def _between(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """The standard normal quantile of Φ(low) + share · (Φ(high) − Φ(low)), from the nearer tail."""
    flip = low + high > 0
    a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
    part = torch.where(flip, 1 - share, share)
    pa, pb = torch.special.ndtr(a), torch.special.ndtr(b)
    found = torch.special.ndtri((pa + part * (pb - pa)).clamp(1e-300, 1 - 1e-16))
    found = torch.minimum(torch.maximum(found, a), b)
    return torch.where(flip, -found, found)


def _rounded(units: Units, knots: Knots, x: Tensor) -> Tensor:
    """Values in their own units, on the grid of a rounded column."""
    step = torch.where(knots.half > 0, 2 * knots.half.double() * units.scale.double(), 1.0)
    return (units.values(x) / step).round() * step
