"""`diabolo evaluate`: how well the scores find what a label calls anomalous, beside simple rivals."""

from __future__ import annotations

from pathlib import Path

import typer

from diabolo.cli.console import OWN_NETWORK, TABLE
from diabolo.cli.pieces import ADDRESS, ENGINE, RESUME, Pieces, in_pieces
from diabolo.cli.verb import verb
from diabolo.errors import ConfigError
from diabolo.screen import console, print_table


@verb(
    30,
    "diabolo evaluate my.diabolo LABELLED.parquet --label label",
    "diabolo evaluate my.diabolo LABELLED.csv --label process --normal QCD,W",
)
def evaluate(
    model: Path = typer.Argument(..., help="Model file."),
    data: str = typer.Argument(..., help=f"Labelled. {TABLE}"),
    label: str = typer.Option(..., help="Truth column: 0 or false is normal; for text say --normal."),
    normal: str | None = typer.Option(
        None, help="Values of the label that are normal, like W,QCD,Z.", show_default="0 and false"
    ),
    seed: int = typer.Option(0, min=0, max=(1 << 32) - 1, help="Seed of split, rivals and intervals."),
    out: str | None = typer.Option(
        None, "-o", "--out", help="Folder of the scores of each file, for many files.", show_default="none"
    ),
    engine: str | None = ENGINE,
    address: str | None = ADDRESS,
    resume: bool = RESUME,
    own_network: bool = OWN_NETWORK,
) -> None:
    """AUROC and average precision with 95 % intervals, beside IsolationForest, PCA and KNN.

    The rivals are fitted on a random half of the normal rows (at most 50,000); every score is then judged on
    the other rows. Rows that the model was trained on are left out.
    """
    from diabolo.cli.console import say
    from diabolo.data.reading import as_fitted
    from diabolo.distributed.evaluating import EvaluatePieces, joined_parts
    from diabolo.distributed.parts import part_name
    from diabolo.evaluation import check_label, compare
    from diabolo.file.model_file import ModelFile

    usual, known = normal.split(",") if normal else None, None
    if in_pieces(out, engine, address, resume):
        pieces, work = Pieces(str(out), engine, address, resume), EvaluatePieces(model, label, usual, own_network)
        schema = work.model_file.autoencoder.model.encoding.schema
        check_label(schema, label)
        jobs = pieces.jobs(as_fitted(data, schema, [label]))
        done = pieces.run("scoring", work, jobs)
        pieces.finish(len(done))  # a ranking of some of the rows would be one of other rows
        parts = [Path(str(out)) / part_name(work, job) for job in jobs]
        known = joined_parts(parts, {value for o in done for value in o.counts["values"]})
    elif out is not None:
        raise ConfigError(f"-o {out}: must name a folder, which keeps the scores of each file of DATA")
    result = compare(ModelFile(model, own_network), data, label, usual, seed, known)
    screen = console()
    for anomaly, scores in result.by_class.items():
        rows = [
            (
                r.name,
                f"{r.auroc:.4f}",
                f"{r.auroc_low:.4f}–{r.auroc_high:.4f}",
                f"{r.precision:.4f}",
                f"{r.precision_low:.4f}–{r.precision_high:.4f}",
            )
            for r in scores
        ]
        title = f"{anomaly}: {result.counts[anomaly]:,} anomalies among {result.normal:,} normal rows"
        print_table(screen, ("score", "AUROC", "95 %", "average precision", "95 %"), rows, title)
    for note in result.notes:
        say(note)
