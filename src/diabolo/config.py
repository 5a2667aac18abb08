"""The settings of one autoencoder: every field, its range, its default, and the named methods.

The estimators' parameters, a TOML file, `--set` and the model file all become a `Config`.
A named method is a few defaults of it, and has no loss of its own.
"""

from __future__ import annotations

import dataclasses
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Lt, MaxLen

from diabolo.errors import ConfigError, nearest
from diabolo.files import open_regular
from diabolo.registry import validated

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DEFAULT_METHOD", "METHODS", "Config", "Quantize", "RandomState", "build_config", "read_toml", "seed_of"]

PartSpec = str | dict[str, Any]
#: As in scikit-learn: a seed, a generator, or None for fresh entropy.
RandomState: TypeAlias = "int | np.random.Generator | np.random.RandomState | None"


@dataclasses.dataclass(frozen=True)
class Quantize:
    """How many bits a network in whole numbers has, and which score it is to give."""

    #: A name that is none of these is refused.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Of a weight, its sign among them.
    weights: Annotated[int, Ge(2), Le(16)] = 6
    #: Of an input, of a unit and of a latent number, its sign among them.
    activations: Annotated[int, Ge(4), Le(16)] = 10
    #: "mu_norm" takes the encoder alone, "mse" the decoder too.
    score: Literal["mu_norm", "mse"] = "mu_norm"


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a fit; the same settings, seed and data give the same weights."""

    #: Number K of latent dimensions. None: round(√C), at least 1 and below the C columns.
    latent_dim: Annotated[int, Ge(1), Le(65536)] | None = None
    #: Widths from input to latent, mirrored in the decoder. None: two layers from the data's width.
    hidden: Annotated[tuple[Annotated[int, Ge(1), Le(1 << 20)], ...], MaxLen(256)] | None = None
    #: Encoder and decoder family. "conv" is for images; "package.module:Class" is a network of your own (networks.md).
    network: PartSpec = "mlp"
    #: The encoder's output: a point, or a distribution.
    latent: PartSpec = "point"
    #: π(z), for Ω, for draws and for importance weights.
    prior: PartSpec = "normal"
    #: −log p(x|z) of the columns whose kind it describes; the others keep their kind's own. "auto" under a point latent
    #: is a Gaussian with sigma 1: the squared error. "auto" under a Gaussian latent is a Gaussian with a learned sigma
    #: for reals, and a discretized logistic for integers.
    likelihood: PartSpec = "auto"
    #: A likelihood for single columns by name, over `likelihood`.
    column_likelihood: dict[str, PartSpec] | None = None
    #: Share of rows that hide no cell and are decoded from a random number of leading axes; for rate "any" of mask. The
    #: first k axes are then the code of an autoencoder of K = k.
    nested: Annotated[float, Ge(0), Lt(1)] = 0.0
    #: Axes of the code that conditionals are read from, the K leading ones among them; for rate "any" too. None: as
    #: many as columns and factors of the linear part, from 16 to 160.
    code_dim: Annotated[int, Ge(1), Le(65536)] | None = None
    #: Most factors of the exact linear part, a factor analysis that the fit begins at; 0 for none; for rate "any" too.
    factors: Annotated[int, Ge(0), Le(64)] = 0
    #: Noise on x ahead of the encoder. The distance is always to the clean x. Where columns have gaps, training of a
    #: point latent hides further cells too, so that cells can be filled in (fill.md).
    corruption: PartSpec = "none"
    #: Ω, in nats per row.
    regularizer: PartSpec = "none"
    #: What Ω of `lp` and `prior` measures codes by. "decoder": z_j times the size of all paths from it to the outputs,
    #: ‖W_j‖ for a linear decoder. "rms": z_j over its root mean square over the batch, as before version 0.2. A few
    #: loud rows make that as large as they like.
    code_scale: Literal["decoder", "rms"] = "decoder"
    #: Weight β of Ω; 1 makes the VAE's loss the negative ELBO.
    beta: Annotated[float, Ge(0), Lt(float("inf"))] = 1.0
    #: Epochs over which the weight of Ω rises from 0 to `beta`.
    warmup: Annotated[int, Ge(0), Lt(1 << 31)] = 0
    #: The loss: "elbo", "iwae" or "dreg". "elbo" is distance + β Ω, averaged over draws. "iwae" is −log of the mean
    #: over draws of the importance weights p(x|z) (π/q)^β, closer to −log p(x) with each draw (Burda et al. 2016,
    #: arXiv:1509.00519). "dreg" is the same loss with the doubly reparameterized gradient (Tucker et al. 2019,
    #: arXiv:1810.04152).
    bound: Literal["elbo", "iwae", "dreg"] = "elbo"
    #: Epochs on the ELBO, with one draw, before another `bound` takes over. The dearer bound gains most in late epochs.
    bound_after: Annotated[int, Ge(0), Lt(1 << 31)] = 0
    #: Posterior draws per row and step (Gaussian latent).
    draws: Annotated[int, Ge(1), Le(4096)] = 1
    #: "standard": a robust center and scale per column; "none": the values as they are.
    scaling: Literal["standard", "none"] = "standard"
    #: Largest standardised value that the network sees, and that training pulls towards.
    clip: Annotated[float, Ge(1), Le(1e30)] = 8.0
    #: Columns that are angles in radians; "auto": named like an angle and within one turn.
    angles: Literal["auto"] | tuple[str, ...] = "auto"
    #: A kind for single columns by name, instead of the one that their values suggest. Kinds are real, integer, count,
    #: angle, boolean, categorical and ordinal: a number that takes a few values, each with a probability of its own.
    kinds: dict[str, Literal["real", "integer", "count", "ordinal", "angle", "boolean", "categorical"]] | None = None
    #: Groups of zero-padded objects. {"e": 4} takes e1_*, ..., e4_*; {"e": [["a", "b"], ...]} names columns. "auto":
    #: columns of equal prefixes with running numbers that are zero together. None: no groups.
    slots: Literal["auto"] | dict[str, int | list[list[str]]] | None = "auto"
    #: Weight of training rows of a suspiciously large loss: "none", "trim" or "downweight". "none": they count as all
    #: others. "trim": they are left out. "downweight": they count less. The losses' quartiles decide which rows those
    #: are, anew in every epoch; no share has to be named (robust.md).
    robust: PartSpec = "none"
    #: Known share of anomalies among the training rows; that share is trimmed.
    contamination: Annotated[float, Gt(0), Lt(0.5)] | None = None
    #: Passes over the training rows. None: 50, more for small tables (about 4,000 steps).
    epochs: Annotated[int, Ge(1), Lt(1 << 31)] | None = None
    #: Rows per step. None: a power of two from 32 to 1,024 that gives some 64 steps per epoch.
    batch_size: Annotated[int, Ge(1), Lt(1 << 31)] | None = None
    #: Peak learning rate of AdamW. None: 1e-2, times √(64 / widest layer) for networks wider than 64; 3e-3 where cells
    #: are hidden at rate "any".
    learning_rate: Annotated[float, Gt(0), Lt(float("inf"))] | None = None
    #: "cosine" falls to a hundredth over all epochs; "constant" stays.
    schedule: Literal["cosine", "constant"] = "cosine"
    #: Decoupled weight decay of AdamW.
    weight_decay: Annotated[float, Ge(0), Lt(float("inf"))] = 0.0
    #: Largest gradient norm per row-averaged loss; longer gradients are shortened to it.
    clip_norm: Annotated[float, Gt(0), Le(1e30)] = 10.0
    #: Epochs without improvement on the stop rows before the fit ends.
    patience: Annotated[int, Ge(1), Lt(1 << 31)] = 10
    #: Share of rows that decide when to stop (at most 10,000 rows).
    stop_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    #: "auto" solves a linear Gaussian autoencoder (by EM where cells are missing); "gradient" always trains.
    solver: Literal["auto", "gradient"] = "auto"
    #: Bits of a network in whole numbers, for a trigger: {"weights": 6, "activations": 10, "score": "mu_norm"}. The fit
    #: goes on in that arithmetic after it has trained in single precision. Every column is an input of its own, a plain
    #: number, and the detector's score is the one that the trigger makes (trigger.md).
    quantize: Quantize | None = None
    #: "auto": CUDA where present, else CPU; "mps" on request.
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    #: Whether the model file keeps training rows that new ones are drawn from (methods trees and resampled). None: a
    #: masked autoencoder's does not, for it draws without; all others' do.
    keep_rows: bool | None = None
    #: Seed of roles, initial weights, batches and noise.
    random_state: Annotated[int, Ge(0), Lt(1 << 63)] = 0

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


#: Each named method: the defaults that differ from `Config`'s.
METHODS: dict[str, dict[str, Any]] = {
    "ae": {},
    "linear": {"network": "linear"},
    "denoising": {"corruption": "gaussian"},
    "sparse": {"latent": "topk"},
    "vae": {"latent": "gaussian", "regularizer": "kl"},
    "masked": {
        "corruption": {"name": "mask", "rate": "any"},
        "network": "residual",
        "likelihood": {"name": "flexible", "share": 0.001},
        "nested": 0.2,
        "factors": 32,
    },
}


#: The method of `diabolo fit` where none is named, by which `diabolo info` tells the kinds of a table's columns.
DEFAULT_METHOD = "vae"


def build_config(settings: Mapping[str, Any], method: str | None = None) -> Config:
    """Merge a method's defaults with `settings` and check every field.

    >>> build_config({"beta": 4}, "vae").latent
    'gaussian'
    >>> build_config({"bta": 4})
    Traceback (most recent call last):
    diabolo.errors.ConfigError: the configuration has no setting 'bta' (did you mean 'beta'? ...
    """
    if method is not None and (not isinstance(method, str) or method not in METHODS):
        raise ConfigError(f"unknown method {method!r}: {nearest(method, METHODS)}")
    merged = {**(METHODS[method] if method else {}), **settings}
    hidden, latent = merged.get("hidden"), merged.get("latent")
    if isinstance(hidden, int) and not isinstance(hidden, bool):
        merged["hidden"] = (hidden,)
    if isinstance(latent, int) and not isinstance(latent, bool):
        raise ConfigError(f"latent = {latent}: it is the kind of code, by name; its size is latent_dim = {latent}")
    return validated(Config, merged, "the configuration")


def seed_of(random_state: RandomState) -> int:
    """An integer seed from None (fresh entropy), an integer or a NumPy generator."""
    if random_state is None:
        return secrets.randbits(62)
    # Known by its methods, for importing NumPy takes 0.1 s, which `--help` does not pay.
    if hasattr(random_state, "randint"):
        return int(random_state.randint(0, 2**31 - 1))
    if hasattr(random_state, "integers"):
        return int(random_state.integers(0, 2**62))
    return random_state  # Config checks it


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read settings from a TOML file; `method` may stand among them."""
    try:
        with open_regular(path, ConfigError) as (handle, _):
            return tomllib.load(handle)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: byte {error.start} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
