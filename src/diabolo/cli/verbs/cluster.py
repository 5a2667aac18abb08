"""`diabolo cluster`: clusters of a table's rows by a model's codes; labels out, a section into the model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError

if TYPE_CHECKING:
    from diabolo.cluster.clusters import Clusters


@verb(
    80,
    "diabolo cluster my.diabolo DATA.parquet -o labels.parquet",
    "diabolo cluster my.diabolo DATA.csv -o labels.csv --clusters 3 --method kmeans",
)
def cluster(
    model: Path = typer.Argument(..., help="Model file; gets the section clusters."),
    data: str = typer.Argument(..., help=f"Columns in any order. {TABLE}"),
    out: str = typer.Option(
        ..., "-o", "--out", help="Labels to write: .parquet, .csv, .arrow, .root, .h5, .npz; a URL; a folder of parts."
    ),
    keep: list[str] = typer.Option([], help="Columns to carry beside them, like run,event; repeat for more."),
    clusters: str = typer.Option("auto", help="Number of clusters, or auto."),
    method: str = typer.Option("mixture", help="How codes fall into clusters: mixture, kmeans, density, prior."),
    embedding: str = typer.Option("none", help="Ahead of it: none, or neighbours, for images; takes minutes."),
    set_: list[str] = typer.Option([], "--set", help="A setting of the method, like min_cluster_size=50."),
    no_fit: bool = typer.Option(False, "--no-fit", help="Use the clusters that MODEL has; nothing is fitted."),
    memory: str = typer.Option("1GiB", help="Clusters of a larger table are found in a uniform sample of this size."),
    seed: int = typer.Option(0, min=0, max=1 << 62, help="Seed of everything random."),
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
    own_network: bool = OWN_NETWORK,
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No progress and no summary."),
) -> None:
    """Find clusters of rows by their codes, and keep them in MODEL; writes row, cluster (−1: none) and confidence."""
    import pyarrow as pa

    from diabolo.cli.console import Progress, check_apart, say
    from diabolo.cluster.clusters import ClusterSettings
    from diabolo.cluster.dataset import LABELS, clustered, labelled
    from diabolo.data.formats import check_table, check_writable, schema_of, write_batches
    from diabolo.data.keeping import kept_names, with_kept
    from diabolo.data.reading import as_fitted
    from diabolo.distributed import ClusterBatches
    from diabolo.file.clusters import clusters_section
    from diabolo.file.model_file import ModelFile

    pieces = Pieces(out, engine, address, resume) if in_pieces(out, engine, address, resume) else None
    if pieces is None:
        check_apart(out, model, data)
        check_table(out)
    settings = ClusterSettings(_number(clusters), _method(method, set_), embedding, random_state=seed)
    file = ModelFile(model, own_network)
    net = file.autoencoder.model
    source = as_fitted(data, net.encoding.schema)
    kept = kept_names(source, keep, LABELS.names)
    jobs = [] if pieces is None else pieces.jobs(source)
    if no_fit:
        found = file.clusterer
    else:
        check_writable(model)
        progress = Progress("reading", schema_of(source)[1])
        found = clustered(net, source, settings, _bytes(memory), progress.add)
        progress.end()
        file.update({"clusters": clusters_section(found)})
    if pieces is not None:
        types = {field.name: field.type for field in with_kept(pa.schema([]), source, kept, 0)}
        done = pieces.run("labeling", ClusterBatches(model, types, own_network), jobs, quiet)
        sizes = [sum(o.counts["sizes"][j] for o in done) for j in range(found.n_clusters + 1)]
        for line in [] if quiet else [*said_of(out, found, sizes, no_fit), *pieces.said(len(done))]:
            say(line)
        pieces.finish(len(done))
        return
    progress, sizes = Progress("labeling", schema_of(source)[1]), [0] * (found.n_clusters + 1)
    schema, batches = labelled(found, net, source, sizes, progress.add, kept)
    write_batches(out, schema, batches)
    progress.end()
    if not quiet:
        for line in said_of(out, found, sizes, no_fit):
            say(line)


def said_of(out: str, found: Clusters, sizes: list[int], kept: bool) -> list[str]:
    """The summary: what was found, how sure it is, and how many rows each cluster has."""
    k, none, rows = found.n_clusters, sizes[-1], sum(sizes)
    word = "cluster" if k == 1 else "clusters"
    lines = [f"{out}: {rows:,} rows in {k} {word}, by {found.method}" + (", as MODEL has them" if kept else "")]
    if k == 1 and found.settings.n_clusters == "auto":
        lines.append("  no cluster structure was found: no two groups of codes have a valley of density between them")
    elif found.stability == found.stability:
        lines.append(f"  stability {found.stability:.2f} (adjusted Rand index over resamples; 1 is the same clusters)")
    most = 20
    lines += [f"  {j}: {sizes[j]:,} rows ({sizes[j] / max(rows, 1):.1%})" for j in range(min(k, most))]
    if k > most:
        lines.append(f"  ... and {k - most} smaller ones")
    if none:
        lines.append(f"  {none:,} rows belong to none (−1)")
    return lines


def _number(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--clusters {text}: allowed are auto and whole numbers from 1 up")
    return int(text)


def _method(name: str, settings: list[str]) -> dict[str, Any]:
    import json

    out: dict[str, Any] = {"name": name}
    for said in settings:
        key, equals, value = said.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {said}: expected NAME=VALUE, like min_cluster_size=50")
        try:
            out[key] = json.loads(value)
        except ValueError:
            out[key] = value
    return out


def _bytes(text: str) -> int:
    from diabolo.cli.training import byte_count

    return byte_count(text, "--memory")
