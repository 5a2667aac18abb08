"""The model: parts chosen by a config, composed over one parameter buffer.

    values ─Encoding─▶ x ─encoder─▶ h ─latent─▶ q(z|x) ─▶ z ─decoder─▶ theta ─heads─▶ −log p(x|z) per column

Every call takes and returns leading axes: members [M], posterior draws [S], or none.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diabolo.config import Config
from diabolo.data.encoding import SCALED, Encoded, Encoding
from diabolo.device import CPU, Constants, on_cpu
from diabolo.errors import ConfigError
from diabolo.memory import Memory
from diabolo.model.checks import check_parts, check_room, check_state
from diabolo.model.corruption import corruptions
from diabolo.model.heads import Head, build_heads
from diabolo.model.latent import Posterior, latents
from diabolo.model.masking import LINEAR, Masking, Start, variables_there
from diabolo.model.networks import ParameterStore, has_paths, networks, parameter_shapes, path_norms, run
from diabolo.model.prior import priors
from diabolo.model.quantize import WholeParts
from diabolo.model.regularizer import regularizers

__all__ = ["Head", "Model"]


class Model:
    """An autoencoder with leading axes; `config` has its widths filled in (see `resolve`)."""

    def __init__(
        self,
        config: Config,
        encoding: Encoding,
        lead: tuple[int, ...] = (),
        state: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Initialise from the config's seed, or take over `state`, the parameters and buffers of a file.

        Raises:
            ConfigError: parts that do not fit together, or a state of other names, shapes or with NaN.
        """
        self.config, self.encoding, self.lead = config, encoding, lead
        self.device, self.fixed = CPU, Constants()  # where it lies, and what scores look up there
        self.latent = latents.create(config.latent)
        self.prior = priors.create(config.prior)
        self.corruption = corruptions.create(config.corruption)
        self.regularizer = regularizers.create(config.regularizer)
        check_parts(self.config, self.latent, self.prior, self.regularizer)
        if config.latent_dim is None or config.hidden is None:
            raise ConfigError("the model needs its widths: call resolve(config, ...) first")
        self.latent_dim: int = config.latent_dim
        self.heads = build_heads(config, encoding, self.latent.stochastic)
        self.network = network = networks.create(config.network)
        k, c, shape = self.latent_dim, len(encoding.schema.output_names), encoding.shape
        if self.corruption.marks and shape is not None:
            raise ConfigError(
                "corruption 'mask' of rate 'any' (method masked) is for tables of columns; the rows are images: take "
                "method ae or vae, with network='conv'"
            )
        #: Where the encoder is told which cells it sees.
        self.masking = Masking(encoding, self.heads, config.code_dim or k, k) if self.corruption.marks else None
        inputs, wide = (encoding.width, k) if self.masking is None else (self.masking.width, self.masking.code_dim)
        self.encoder = network.encoder(inputs, config.hidden, self.latent.width(wide), shape)
        self.decoder = network.decoder(wide, config.hidden[::-1], self.heads[-1].stop, shape)
        if self.regularizer.scaled and config.code_scale == "decoder" and not has_paths(self.decoder):
            raise ConfigError(
                f"regularizer {self.regularizer.name!r} measures codes by the decoder's weights, and of network "
                f"{config.network!r} it does not know them: set code_scale='rms', or take latent='topk'"
            )
        self.whole = WholeParts.of(self.encoder, self.decoder, encoding, config, lead)
        shapes = {**parameter_shapes("encoder", self.encoder), **parameter_shapes("decoder", self.decoder)}
        shapes |= {f"{h.prefix}.{n}": s for h in self.heads for n, s in h.likelihood.own(len(h.block.columns)).items()}
        first = self.prior.own(k)
        shapes |= {f"prior.{name}": tuple(value.shape) for name, value in first.items()}
        kept = {"latent_mean": (k,), "latent_cov": (k, k), "typical_nll": (c,), "typical_squared_error": (c,)}
        kept |= {} if self.masking is None else self.masking.kept(config.factors)
        kept |= {} if self.whole is None else self.whole.kept()
        if state is not None:
            check_state(state, {n: (*lead, *s) for n, s in {**shapes, **kept}.items()})
        else:
            check_room(config, sum(math.prod(s) for s in shapes.values()), math.prod(lead))
        self.store = ParameterStore(shapes, lead)
        #: Moments of the training codes and typical costs of columns; filled in when a fit ends.
        self.buffers: dict[str, Tensor] = {n: torch.zeros(*lead, *s) for n, s in kept.items()}
        if state is None:
            self.store.initialise("encoder", self.encoder, 2 * config.random_state)
            self.store.initialise("decoder", self.decoder, 2 * config.random_state + 1)
            if self.masking is not None:
                self.masking.initialise(self.store.views, self.encoder, self.decoder, config)
            for name, value in first.items():
                self.store.views[f"prior.{name}"].copy_(value)
        else:
            for name, tensor in {**self.store.views, **self.buffers}.items():
                tensor.copy_(torch.from_numpy(np.array(state[name])))
        self.use(self.store.views)
        self._read_kept(state is not None)
        #: Heads of values, and their columns in this order; the others say whether cells are missing.
        self._valued = [h for h in self.heads if h.block.kind != "missing"]
        self._block_order = [column for head in self._valued for column in head.block.columns]

    def use(self, parameters: dict[str, Tensor]) -> None:
        """Compute with these tensors from now on: the store's views, or training's leaves over them."""
        self._encoder = [parameters[k] for k in parameters if k.startswith("encoder.")]
        self._decoder = [parameters[k] for k in parameters if k.startswith("decoder.")]
        learned = {k.removeprefix("prior."): parameters[k] for k in parameters if k.startswith("prior.")}
        self.prior = self.prior.bound(learned) if learned else self.prior
        self.own = [{n: parameters[f"{h.prefix}.{n}"] for n in h.own} for h in self.heads]

    def set_linear(self, loadings: Tensor, noise: Tensor, center: Tensor, scale: Tensor) -> None:
        """Take over the exact linear part, W [D, r] and Ψ, μ, scale [D]; members share it."""
        for name, value in zip(LINEAR, (loadings, noise, center, scale), strict=True):
            buffer = self.buffers[name].zero_()
            buffer[..., : value.shape[-1]] = value.to(buffer.dtype)
        self._read_linear()

    def _read_kept(self, fitted: bool) -> None:
        self._read_linear()
        if self.whole is not None and fitted:
            self.whole.read(self.buffers)

    def _read_linear(self) -> None:
        if self.masking is not None:
            self.masking.read(self.buffers)

    def to(self, device: str) -> Model:
        """Move parameters, buffers and floors; PyTorch's names for devices."""
        self.device = device
        self.store.flat = self.store.flat.to(device)
        self.store.bind()
        self.use(self.store.views)
        self.buffers = {k: v.to(device) for k, v in self.buffers.items()}
        for head in self.heads:
            head.units = head.units.to(device)
        self._read_linear()
        return self

    def on(self, device: str) -> Model:
        """The same model on another device; this one stays where it is.

        Raises:
            ConfigError: a network in whole numbers, whose arithmetic is the processor's.
        """
        if device == self.device:
            return self
        if self.whole is not None:
            raise ConfigError(f"device {device!r}: a network in whole numbers is scored by the processor; take cpu")
        return copy.deepcopy(self, {id(self.encoding): self.encoding, id(self.fixed): self.fixed}).to(device)

    def choose_ranges(self, x: Tensor) -> None:
        """Go over to whole numbers, in ranges that inputs x [n, D] choose."""
        if self.whole is None:
            raise ConfigError("ranges of whole numbers are chosen where quantize is set")
        self.buffers |= self.whole.choose(self._encoder, self._decoder, x)

    @property
    def encoder_parameters(self) -> list[Tensor]:
        """Parameters of the encoder's operations, in order."""
        return self._encoder

    @property
    def decoder_parameters(self) -> list[Tensor]:
        """Parameters of the decoder's operations, in order."""
        return self._decoder

    @property
    def multiply_adds(self) -> int:
        """Multiplications that a row costs on its way through encoder and decoder, of all members."""
        return sum(o.multiply_adds for o in (*self.encoder, *self.decoder)) * math.prod(self.lead)

    # ── the map ───────────────────────────────────────────────────────────────────────────────────

    def posterior(self, rows: Encoded) -> Posterior:
        """q(z|x) of rows, which enter clipped."""
        clipped = rows.clipped(self.encoding.clip)
        if self.masking is None:
            return self.encode(clipped.x, rows.memory)
        return self.encode(clipped.x, rows.memory, variables_there(rows, self.masking.variables))

    def encode(self, x: Tensor, memory: Memory | None = None, seen: Tensor | None = None) -> Posterior:
        """q(z|x) for inputs [*, B, D] that are clipped already.

        An encoder that is told so sees the variables `seen` [*, B, V] alone; None for all.
        """
        if self.whole is not None and self.whole.chosen:
            return self.latent.posterior(self.whole.encoder(self._encoder, x))
        if self.masking is None:
            return self.latent.posterior(run(self.encoder, self._encoder, x, memory, "encoder"))
        if seen is None:
            seen = torch.ones(*x.shape[:-1], self.masking.variables, dtype=torch.bool, device=x.device)
        return self.encode_seen(x, seen, memory)[0].leading(self.latent_dim)

    def decode(self, z: Tensor, memory: Memory | None = None) -> Tensor:
        """theta [*, B, width] for z [*, B, K]; for the k leading axes alone, [*, B, k], of a model that nests them."""
        if self.whole is not None and self.whole.chosen and self.whole.decoder is not None:
            return self.whole.decoder(self._decoder, z)
        if self.masking is None:
            return run(self.decoder, self._decoder, z, memory, "decoder")
        axes = torch.full((1,), z.shape[-1], device=z.device)
        return self.decode_wide(self.masking.padded(z), self.masking.whole(axes), memory)

    def entering(self, rows: Encoded) -> tuple[Tensor, Tensor]:
        """The inputs of the encoder and, at the posterior mean, of the decoder; of clipped rows."""
        code = self.posterior(rows).mean
        if self.masking is None:
            return rows.x, code
        return self.masking.inputs(rows.x, variables_there(rows, self.masking.variables))[0], self.masking.padded(code)

    @property
    def _masking(self) -> Masking:
        if self.masking is None:
            raise ConfigError(
                "the encoder is not told which cells it sees; only corruption 'mask' of rate 'any' tells it"
            )
        return self.masking

    def encode_seen(self, x: Tensor, seen: Tensor, memory: Memory | None = None) -> tuple[Posterior, Start | None]:
        """q of the wide code given the variables `seen` [*, B, V] of x [B, D], and the linear part's word on them."""
        masking = self._masking
        inputs, z, start = masking.inputs(x, seen)
        h = run(self.encoder, self._encoder, inputs, memory, "encoder")
        return self.latent.posterior(masking.lifted(h, z)), start

    def decode_wide(self, z: Tensor, start: Start | None, memory: Memory | None = None) -> Tensor:
        """theta [*, B, width] of wide codes."""
        return self._masking.theta(run(self.decoder, self._decoder, z, memory, "decoder"), z, start)

    def predict(self, rows: Encoded, seen: Tensor) -> Tensor:
        """theta [*, B, width]: the law of every column given the variables `seen` [B, V] of rows, at the mean code."""
        posterior, start = self.encode_seen(rows.clipped(self.encoding.clip).x, seen, rows.memory)
        return self.decode_wide(posterior.mean, start, rows.memory)

    def reach(self) -> Tensor | None:
        """c [*lead, K], by which z̄ = z c; None where Ω has no z̄, or takes z over its root mean square."""
        if not self.regularizer.scaled or self.config.code_scale == "rms":
            return None
        return path_norms(self.decoder, self._decoder, self.latent_dim)

    def nll(self, theta: Tensor, rows: Encoded) -> list[Tensor]:
        """−log p(x|z) per head, [*, B, columns], standardised; cells that are not there cost 0.

        Where rows carry memory, theta belongs to it, and may be overwritten.
        """
        out = []
        for head, own in zip(self.heads, self.own, strict=True):
            part, x = theta[..., head.start : head.stop], head.inputs(rows.x)
            out.append(self._masked(head.likelihood.nll(part, own, x, head.units, rows.memory), head, rows))
        return out

    def observe(self, rows: Encoded, generator: torch.Generator) -> Encoded:
        """Rows as one training step sees them: a cell that a likelihood takes for a probability becomes a draw."""
        x = rows.x
        for head in self.heads:
            drawn = head.likelihood.observe(head.inputs(rows.x), generator)
            if drawn is not None:
                x = x.clone() if x is rows.x else x
                x[..., head.block.start : head.block.stop] = drawn
        return rows if x is rows.x else dataclasses.replace(rows, x=x)

    def mean_nll(self, theta: Tensor, rows: Encoded, share: Tensor | None) -> list[Tensor]:
        """Mean over rows of `nll`, weighted by `share` [B] (sum 1) if given: per head [*, columns]."""
        out = []
        for head, own in zip(self.heads, self.own, strict=True):
            part, x, present = theta[..., head.start : head.stop], head.inputs(rows.x), self._present(head, rows)
            out.append(head.likelihood.mean_nll(part, own, x, head.units, share, present, rows.memory))
        return out

    def _present(self, head: Head, rows: Encoded) -> Tensor | None:
        if rows.present is None or head.block.kind in ("slots", "missing"):
            return None
        return rows.present[..., head.block.cell : head.block.cell + len(head.block.columns)]

    def _masked(self, cell: Tensor, head: Head, rows: Encoded) -> Tensor:
        present = self._present(head, rows)
        return cell if present is None else torch.where(present, cell, 0.0)

    def _by_column(self, cells: list[Tensor]) -> Tensor:
        """Per-head cells → [*, B, C] in the schema's order; missingness is charged to its own column."""
        c = len(self.encoding.schema.output_names)
        if self._block_order == list(range(c)) and len(cells) == len(self._valued):
            return cells[0] if len(cells) == 1 else torch.cat(cells, dim=-1)
        first = next(cell for h, cell in zip(self.heads, cells, strict=True) if h.block.kind != "missing")
        out = torch.zeros(*first.shape[:-1], c, device=first.device)
        for head, cell in zip(self.heads, cells, strict=True):
            out[..., self.encoding.at(list(head.block.columns), out.device)] += cell
        return out

    # ── for scores and reports ────────────────────────────────────────────────────────────────────

    @property
    def _surprise(self) -> float:
        """Price of an event that no training row had, by Laplace's rule, nats."""
        return math.log(self.encoding.n_train + 2)

    def column_nll(self, theta: Tensor, rows: Encoded, missingness: bool = True) -> Tensor:
        """−log p(x|z) per output column, [*, B, C], nats, a density in original units.

        A missing cell costs its column's typical nll plus the surprise of being missing. A constant that changed costs
        log(n + 2), by Laplace's rule, and so does a category that no training row had. A constant that some training
        rows lack costs −log of the share of rows like it, there or missing; without `missingness` all that is free.
        """
        return self.priced(self.nll(theta, rows), rows, missingness)

    def priced(self, cells: list[Tensor], rows: Encoded, missingness: bool = True) -> Tensor:
        """`column_nll` of the cells' costs per head, as `nll` gives them."""
        for i, head in enumerate(self.heads):
            if head.likelihood.density and head.block.kind in SCALED:
                log_scale = self._masked(head.units.scale.log().float(), head, rows)
                cells[i] = cells[i] + log_scale if rows.memory is None else cells[i].add_(log_scale)
            elif head.block.kind == "missing" and not missingness:
                cells[i] = torch.zeros_like(cells[i])
        nll = self._by_column(cells)
        if rows.missing is not None:
            nll = nll + self._missing_cost(rows.missing, self.buffers["typical_nll"], self._surprise)
        if missingness and self.encoding.gappy:
            nll = nll.clone()
            nll[..., self.encoding.at(self.encoding.gappy, nll.device)] += self._gap_cost(rows, nll.device)
        return self._with_changed(nll, rows, self._surprise)

    def row_nll(self, theta: Tensor, rows: Encoded) -> Tensor:
        """−log p(x|z), [*, B], nats: `column_nll` summed over columns, in fewer passes over the cells."""
        sums = []
        for head, own in zip(self.heads, self.own, strict=True):
            part, x, present = theta[..., head.start : head.stop], head.inputs(rows.x), self._present(head, rows)
            scaled = head.likelihood.density and head.block.kind in SCALED
            offset = head.units.scale.log().float() if scaled else torch.zeros((), device=theta.device)
            sums.append(head.likelihood.row_nll(part, own, x, head.units, offset, present, rows.memory))
        total = sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)
        if rows.missing is not None:
            total = total + self._missing_cost(rows.missing, self.buffers["typical_nll"], self._surprise).sum(-1)
        if self.encoding.gappy:
            total = total + self._gap_cost(rows, total.device).sum(-1)
        return total if rows.changed is None else total + self._surprise * rows.changed.sum(-1)

    def column_squared_error(self, theta: Tensor, rows: Encoded) -> Tensor:
        """Squared distance per output column, [*, B, C], standardised; an angle's is periodic."""
        cells = []
        for head in self.heads:
            part = theta[..., head.start : head.stop]
            if head.block.kind == "missing":
                cells.append(torch.zeros(*part.shape[:-1], len(head.block.columns), device=part.device))
            else:
                error = head.likelihood.squared_error(part, head.inputs(rows.x), head.units, rows.memory)
                cells.append(self._masked(error, head, rows))
        error = self._by_column(cells)
        if rows.missing is not None:
            error = error + self._missing_cost(rows.missing, self.buffers["typical_squared_error"], 0.0)
        return self._with_changed(error, rows, 1.0)

    def _missing_cost(self, missing: Tensor, typical: Tensor, surprise: float) -> Tensor:
        """[*, B, C]: the typical cost of a missing cell; `surprise` where no training cell was missing."""
        c = missing.shape[-1]
        nullable = self.encoding.may_lack(c, missing.device)
        cost = typical[..., None, :c] + torch.where(nullable, 0.0, surprise)
        cost = torch.where(missing, cost, 0.0)
        return functional.pad(cost, (0, typical.shape[-1] - c))

    def _gap_cost(self, rows: Encoded, device: torch.device) -> Tensor:
        """Cost of a constant that is there or missing, which the network does not see, [B or 1, gappy]."""
        share, at = self.encoding.gappy_on(device), self.encoding.at(self.encoding.gappy, device)
        # A constant that was never there counts as changed where it is there.
        there = torch.where(share < 1, -torch.log1p(-share), 0.0)[None]
        return there if rows.missing is None else torch.where(rows.missing[:, at], -share.log(), there)

    def _with_changed(self, cost: Tensor, rows: Encoded, price: float) -> Tensor:
        if rows.changed is None or not self.encoding.watched or (on_cpu(cost) and not bool(rows.changed.any())):
            return cost
        cost = cost.clone()
        cost[..., self.encoding.at(self.encoding.watched, cost.device)] += price * rows.changed.to(cost.dtype)
        return cost

    def present_by_column(self, rows: Encoded) -> Tensor:
        """[B, C] float, 1 where a cell counts."""
        n, device = len(rows), rows.x.device
        cells = [self._masked(torch.ones(n, len(h.block.columns), device=device), h, rows) for h in self._valued]
        out = torch.ones(n, len(self.encoding.schema.output_names), device=device)
        out[:, self.encoding.at(self._block_order, device)] = torch.cat(cells, dim=-1)
        return out

    def mean_values(self, theta: Tensor, fill: bool = False) -> Tensor:
        """E[x|z] in original units, [*, B, columns of the table], float64, none missing; `fill`: no slot is empty."""
        parts = [h.likelihood.mean(theta[..., h.start : h.stop], h.units) for h in self.heads]
        return self._decode_heads(parts, there=True, filled=fill)

    def pooled(self, theta: Tensor, log_weights: Tensor) -> Tensor:
        """Numbers [*, B, width] whose `mean_values` are the means of a mixture over theta's leading axis.

        Its shares are proportional to e^log_weights [S, *, B].
        """
        share = log_weights.log_softmax(0).unsqueeze(-1)
        return torch.cat(
            [h.likelihood.pooled(theta[..., h.start : h.stop], share, h.units) for h in self.heads], dim=-1
        )

    def sample_values(self, theta: Tensor, generator: torch.Generator, fill: bool = False) -> Tensor:
        """Draws from p(x|z) in original units, [*, B, columns of the table], float64; `fill`: none missing or empty."""
        heads = zip(self.heads, self.own, strict=True)
        parts = [h.likelihood.sample(theta[..., h.start : h.stop], own, h.units, generator) for h, own in heads]
        return self._decode_heads(parts, there=fill, filled=fill)

    def _decode_heads(self, parts: list[Tensor], there: bool, filled: bool) -> Tensor:
        """Cells of parts per head; `there`: none is missing; `filled`: no slot is empty."""
        by_block: dict[int, Tensor] = {}
        for at, block in enumerate(self.encoding.blocks):
            heads = zip(self.heads, parts, strict=True)
            joined = torch.cat([p.double() for h, p in heads if block.start <= h.block.start < block.stop], dim=-1)
            if there and block.kind == "missing":
                joined = torch.zeros_like(joined)
            elif filled and block.kind == "slots":
                joined = torch.full_like(joined, block.stop - block.start)
            by_block[at] = joined
        return self.encoding.decode(by_block)

    @property
    def held(self) -> bool:
        """Whether Ω held the codes themselves against π."""
        return self.regularizer.matches_prior and self.config.beta > 0

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """z [*lead, n, K]: from π where the codes were held against it, else from a Gaussian fitted to them."""
        if self.held:
            return self.prior.sample((*self.lead, n, self.latent_dim), generator)
        values, vectors = torch.linalg.eigh(self.buffers["latent_cov"].double())
        root = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)).to(torch.float32)
        noise = torch.randn(*self.lead, n, self.latent_dim, generator=generator, device=generator.device)
        return self.buffers["latent_mean"].unsqueeze(-2) + torch.matmul(noise, root.mT)
