"""A model file in plain words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.text import Text

from diabolo.describe.columns import print_schema
from diabolo.describe.jobs import jobs_of
from diabolo.detect.choice import applicable
from diabolo.detect.reference import Reference
from diabolo.file.model_file import ModelFile
from diabolo.registry import spec_of
from diabolo.screen import console, visible

__all__ = ["describe_model"]

#: Relations that are listed at most.
MOST_RELATIONS = 40
#: Sections that hold rows of the training table, and their use of them.
USES = {"detector": "that the detector compares new rows with", "generator": "that new rows are drawn from"}


def describe_model(path: Path, own_network: bool = False) -> None:
    """Print sections, parts, columns, training and calibration of a model file."""
    file = ModelFile(path, own_network)
    screen = console(soft_wrap=True)
    rest = f": {file.saved}, {file.size:,} bytes, sections {', '.join(file.names)}"
    screen.print(Text.assemble((str(path), "bold"), rest))
    screen.print(f"  bytes         {_said_of_bytes(file)}")
    if "main" in file:
        for line in [*_said_of_main(file), *_said_of_jobs(file)]:
            screen.print(line)
    if "codec" in file:
        screen.print(f"  codec         {_said_of_codec(file)}")
    screen.print("  jobs, and what serves each")
    for served in jobs_of(file):
        screen.print(f"    {served.job:<11} {served.by}")
    if "main" in file:
        print_schema(screen, file.schema)
        for line in _said_of_relations(file):
            screen.print(line)


def _said_of_main(file: ModelFile) -> list[str]:
    fitted = file.autoencoder
    model, config, history, training = fitted.model, fitted.model.config, fitted.history, fitted.training
    widths = " → ".join(str(w) for w in (model.encoding.width, *(config.hidden or ()), config.latent_dim))
    lines = [f"  network       {widths}, mirrored; {model.store.flat.shape[-1]:,} parameters"]
    parts = ("network", "latent", "prior", "corruption", "regularizer")
    lines += [f"  {part:<13} {_spec(getattr(config, part))}" for part in parts]
    described = dict.fromkeys(_spec(spec_of(h.likelihood)) for h in model.heads if h.block.kind != "missing")
    lines += [f"  likelihood    {', '.join(described)}", f"  beta          {config.beta:g}"]
    if config.bound != "elbo":
        lines.append(f"  bound         {config.bound}, {config.draws} draw{'s' * (config.draws > 1)}")
    counts = ", ".join(f"{n:,} {role}" for role, n in fitted.roles.counts.items() if n)
    best = min((e["validation"] for e in history if e["validation"] is not None), default=float("nan"))
    linear = history[-1].get("linear") if history else None
    lines += [
        f"  fitted by     {file.estimator.type}",
        f"  rows          {counts} (split by {fitted.roles.split}, seed {fitted.roles.seed})",
        f"  training      {len(history)} epochs, best loss {best:.4f} nats, {training.seconds:.1f} s",
        *([] if linear is None else [f"  linear part   {_said_of_linear(linear, best)}"]),
        f"  written by    {', '.join(f'{k} {v}' for k, v in training.versions.items())}",
        f"  data          fingerprint {fitted.roles.fingerprint}",
    ]
    return lines


def _said_of_linear(linear: float, best: float) -> str:
    if best < linear:
        return (
            f"loss {linear:.4f} nats by itself, as principal components predict; the network gains {linear - best:.4f}"
        )
    return f"loss {linear:.4f} nats, which no epoch was better than: the network adds nothing"


def _said_of_jobs(file: ModelFile) -> list[str]:
    d = file.detector if "detector" in file else None
    reference = Reference(file.autoencoder.model) if d is None else d.reference
    lines = [f"  scores        {', '.join(applicable(reference))}"]
    if d is not None:
        lines.append(
            f"  detector      {d.score_name} above {d.threshold:.6g}: false-alarm rate {100 * d.rate:.3g} %, "
            f"{d.calibration.said} (smallest rate {100 / (d.calibration.units + 1):.2g} %)"
        )
    if file.rows:
        why = ", ".join(f"{n:,} {use}" for section, use in USES.items() if (n := file.rows_of(section)))
        lines.append(f"  rows kept     {file.rows:,} rows of the training table are in the file: {why}")
    if "clusters" in file:
        c = file.clusterer
        sure = "" if np.isnan(c.stability) else f", stability {c.stability:.2f}"
        sizes = ", ".join(f"{n:,}" for n in c.sizes[:12]) + (", ..." if len(c.sizes) > 12 else "")
        lines.append(f"  clusters      {c.n_clusters} by {c.method}{sure}; rows {sizes}")
    return lines


def _said_of_bytes(file: ModelFile) -> str:
    apart = dict(file.sizes)
    rows = apart.pop("rows", 0)
    kept = f"{rows:,} of rows of the training table" if rows else "none of rows of the training table"
    return f"{', '.join(f'{name} {size:,}' for name, size in apart.items())}; apart from these {kept}"


def _said_of_relations(file: ModelFile) -> list[str]:
    """Relations between columns that drawn rows keep, a line each."""
    if "generator" not in file:
        return []
    names = [visible(name) for name in file.schema.names]
    found = file.generator.relations
    lines = [f"  relation      {r.describe(names)}" for r in found[:MOST_RELATIONS]]
    if len(found) > MOST_RELATIONS:
        lines.append(f"  relation      and {len(found) - MOST_RELATIONS} more")
    return lines


def _said_of_codec(file: ModelFile) -> str:
    codec = file.codec
    outside = ", which files written with --external-model need" if codec.outside else ""
    return f"{len(codec.data):,} bytes, for {len(codec.plan.schema)} columns{outside}"


def _spec(part: object) -> str:
    if isinstance(part, dict):
        settings = ", ".join(f"{k} = {v}" for k, v in part.items() if k != "name")
        return f"{part['name']} ({settings})" if settings else str(part["name"])
    return str(part)
