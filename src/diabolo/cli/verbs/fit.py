"""`diabolo fit`: from a table to a model file."""

from __future__ import annotations

import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from diabolo.cli.console import TABLE, check_apart, parse_slots, say, share, share_option
from diabolo.cli.promise import columns_of_split, condition, promised
from diabolo.cli.verb import verb
from diabolo.config import DEFAULT_METHOD, METHODS, Config
from diabolo.errors import CalibrationError, ConfigError

if TYPE_CHECKING:
    from diabolo.data.formats import Data
    from diabolo.detect.calibrated import Calibrated
    from diabolo.detect.calibrating import Choice
    from diabolo.estimators.autoencoder import Autoencoder
    from diabolo.fitted.record import Fitted

__all__ = ["fit"]

#: Training rows below which the summary warns.
FEW = 50

#: A value of --set that is a share.
PERCENTAGE = re.compile(r"\s*[\d.]+(?:e[+-]?\d+)?\s*%\s*", re.IGNORECASE)

#: What a fit with and without `robust` says of rows that look out of place.
ROBUST = "such rows were left out, of the rows that are compared with and calibrated on too"
NOT_ROBUST = "--set robust=trim fits without such rows, and diabolo score ranks all"

HIDDEN = typer.Option(None, help="Widths from input to latent, like 64,32.", show_default="two layers, by the columns")
EPOCHS = typer.Option(None, help="Passes over the training rows.", show_default="50, more for small tables")
FOR = typer.Option(None, "--for", help="Allowed: compression, which learns a codec section and fits no detector.")
MAX_ERROR = typer.Option(
    None, help="With --for compression: bound of all floats, like 1e-3 or 0.1%.", show_default="lossless"
)
EXCLUDE = typer.Option([], help="Columns to leave out, or unusable for those no fit can take; repeatable.")
EXCLUDE_ROWS = typer.Option(
    None, metavar="FILE", help="List of rows to leave out, as explore saves it.", show_default="no row"
)
SLOTS = typer.Option([], help="Zero-padded objects, like e:4,mu:4,j:10, or none; repeatable.", show_default="found")
ENGINE = typer.Option(
    None, metavar="torchrun[:N]", help="Fit by N processes (diabolo docs distributed).", show_default="this one"
)
QUANTIZE = typer.Option(
    None, help="Bits, for a trigger: weights=6,activations=10 (diabolo docs trigger).", show_default="floats"
)
DEVICE = typer.Option(
    None,
    help="cpu or cuda, which calibrates there too; not run on a card so far (diabolo docs gpu).",
    show_default="cuda where it is, and calibration on the cpu",
)
SET = typer.Option([], "--set", help="One setting, like learning_rate=1e-3, corruption.std=0.2 or contamination=1%.")
FALSE_ALARM_RATE = share_option(
    None, help="Default rate of the detector, like 0.01 or 1%.", show_default="0.01, more if its rows are fewer"
)


@verb(
    10,
    "diabolo fit DATA.parquet -o my.diabolo",
    "diabolo fit DATA.csv -o my.diabolo --exclude id --false-alarm-rate 1%",
    "diabolo fit DATA.parquet -o ae.diabolo --method ae --latent 2 --set robust=trim",
    "diabolo fit DATA.parquet -o my.diabolo --engine torchrun:2",
)
def fit(
    data: str = typer.Argument(..., help=TABLE),
    out: Path = typer.Option(..., "-o", "--out", help="Model file to write, *.diabolo."),
    method: str = typer.Option(DEFAULT_METHOD, help=f"One of {', '.join(METHODS)} (diabolo docs settings)."),
    latent: int | None = typer.Option(None, help="Latent dimensions K.", show_default="√C of C columns"),
    hidden: str | None = HIDDEN,
    beta: float | None = typer.Option(None, help="Weight of the regularizer; 1, the default, is the ELBO."),
    epochs: int | None = EPOCHS,
    only: str | None = typer.Option(None, help="Allowed: main, which fits no detector.", show_default="a detector too"),
    for_: str | None = FOR,
    max_error: str | None = MAX_ERROR,
    column_error: list[str] = typer.Option([], help="With --for compression: bound of one column, like pt=0.1%."),
    columns: list[str] = typer.Option([], help="Columns to use, like pt,eta,phi; repeatable.", show_default="all"),
    exclude: list[str] = EXCLUDE,
    exclude_rows: Path | None = EXCLUDE_ROWS,
    label: str | None = typer.Option(None, help="Truth column: never used in a fit."),
    weight: str | None = typer.Option(None, help="Column of row weights.", show_default="1 each"),
    group: str | None = typer.Option(None, help="Column of groups that belong together; 'content': equal rows."),
    time: str | None = typer.Option(None, help="Column of time: the last rows calibrate."),
    slots: list[str] = SLOTS,
    take: list[str] = typer.Option([], help="Objects of jagged columns to take, like jets:10 of jets_pt; repeatable."),
    quantize: str | None = QUANTIZE,
    config: Path | None = typer.Option(None, help="TOML file of settings (diabolo docs settings)."),
    set_: list[str] = SET,
    false_alarm_rate: float | None = FALSE_ALARM_RATE,
    seed: int = typer.Option(0, help="Seed of everything random."),
    device: str | None = DEVICE,
    resume: bool = typer.Option(False, "--resume", help="Go on from OUT.ckpt, which a fit that was ended left."),
    memory: str = typer.Option("1GiB", help="Larger tables are fitted from a cache on disk, in bounded memory."),
    cache: Path | None = typer.Option(None, help="Folder for that cache, as large as the table.", show_default="OUT's"),
    engine: str | None = ENGINE,
    quiet: bool = typer.Option(False, "-q", "--quiet", help="No progress lines."),
) -> None:
    """Fit an autoencoder and its calibrated detector on unlabelled rows."""
    from diabolo.cli.checkpoint import kept
    from diabolo.cli.ranks import in_ranks
    from diabolo.cli.training import Fit, byte_count, naming, train
    from diabolo.cli.verbs.compress import add_codec, compression_errors
    from diabolo.config import build_config
    from diabolo.data.choosing import choose_columns
    from diabolo.data.formats import check_writable, taken
    from diabolo.data.look import look_lines
    from diabolo.data.row_list import left_out_of
    from diabolo.estimators.named import CLASSES

    method, settings = _settings(config, set_, method)
    flags = {"latent_dim": latent, "beta": beta, "epochs": epochs, "random_state": seed, "device": device}
    settings |= _of_flags(settings, flags, hidden) | _slots(settings, slots, take) | _bits(quantize)
    _check_choices(method, only, false_alarm_rate)
    errors = compression_errors(for_, max_error, column_error, false_alarm_rate, bool(take))
    most = byte_count(memory, "--memory")
    chosen = build_config(settings, method)  # every wrong setting is named before the table is read
    check_apart(out, data)
    check_writable(out)
    source = left_out_of(taken(data, parse_slots(take, "--take")), exclude_rows)
    apart = [label, weight, *columns_of_split(group, time)]
    names, unfit = choose_columns(source, columns, exclude, apart, chosen.kinds)
    ae = CLASSES[method](**settings)
    if (world := in_ranks(engine, out)) is None:
        return  # its ranks have done all
    wanted = partial(Fit, chosen, _choice(only or errors, false_alarm_rate, seed), quiet, group, time)
    with kept(out, resume, world) as keep:
        with naming(source):
            fitted, detector, rows = train(source, out, names, weight, wanted(keep, world), most, cache)
        if not world.leads:
            return
        _save(out, ae.from_fitted(fitted, ae.get_params(deep=False)), detector)
    if errors is not None:
        add_codec(out, source, *errors, seed)
    say("\n".join([summary(out, fitted, detector, rows, source), *look_lines(source, names, unfit)]))


def _choice(without: object, rate: float | None, seed: int) -> Choice | None:
    """What a detector is asked for; None without one."""
    from diabolo.detect.calibrating import Choice

    return None if without else Choice("auto", rate, seed, seed)


def _save(out: Path, ae: Autoencoder, detector: Calibrated | None) -> None:
    from diabolo.file.detector import detector_section
    from diabolo.file.model_file import save_sections

    sections = ae.sections()
    if detector is not None:
        sections["detector"] = detector_section(detector)
    save_sections(out, type(ae).__name__ if detector is None else "AnomalyDetector", sections)


def _kept(history: list[dict[str, Any]]) -> str:
    """Which weights of a fit are kept, and their loss."""
    best = [e["epoch"] for e in history if e["best"]]
    if not best:
        return f"none of {len(history)} epochs was better than the linear part, loss {history[-1]['linear']:.4f}"
    return f"epoch {max(best)} of {len(history)}, loss {min(e['validation'] for e in history if e['best']):.4f}"


def _of_integers(detector: Calibrated) -> list[str]:
    """Why a network in whole numbers will not be exported, as the export would say."""
    from diabolo.export.trigger.integers import check_scores

    if detector.reference.model.whole is None:
        return []
    try:
        check_scores(detector)
    except CalibrationError as error:
        return [f"  diabolo export will refuse it: {error}"]
    return []


def summary(out: Path, fitted: Fitted, detector: Calibrated | None, rows: int, source: Data) -> str:
    """What was fitted on what, in three lines."""
    from diabolo.data.row_list import rows_left_out

    model, history, counts = fitted.model, fitted.history, fitted.roles.counts
    schema = model.encoding.schema
    widths = "→".join(str(w) for w in (model.encoding.width, *(model.config.hidden or ()), model.latent_dim))
    deciding = f"{counts['stop']:,} decided" if counts["stop"] else "no others decided"
    lines = [
        f"{out}: {rows:,} rows, {len(schema.names)} columns; {widths} latent, mirrored; "
        f"{fitted.training.seconds:.1f} s",
        f"  {counts['train']:,} rows trained, {deciding} when to stop ({_kept(history)})",
    ]
    if schema.groups:
        objects = ", ".join(f"{g.name} ({len(g.slots)} slots of {len(g.slots[0])} columns)" for g in schema.groups)
        lines.append(f"  objects, where their columns are zero together absent: {objects}; off by --slots none")
    if detector is not None:
        lines += [f"  {promised(detector)}", *condition(detector, fitted.roles.split), *_of_integers(detector)]
    if counts["train"] < FEW:
        lines.append(
            f"  {counts['train']:,} training rows are few: with less than {FEW}, a score says little; give more if "
            "there are any"
        )
    without = rows_left_out(source)
    if without is not None:
        lines.append(f"  {len(without):,} rows were left out: {without.shown} lists them")
    suspects = fitted.suspects
    if suspects:
        first = suspects.rows[0] if without is None else without.number(int(suspects.rows[0]))
        lines.append(
            f"  {len(suspects):,} of these rows look out of place, row {first} most; "
            + (ROBUST if fitted.limit is not None else NOT_ROBUST)
        )
    skipped = sum(e["skipped"] for e in history)
    if skipped:
        lines.append(f"  {skipped} steps were skipped because their loss was not finite")
    constant = [col.name for col in schema.columns if col.kind == "constant"]
    if constant:
        lines.append(f"  constant, so only watched for a change: {', '.join(constant[:8])}")
    return "\n".join(lines)


def _of_flags(settings: dict[str, Any], flags: dict[str, Any], hidden: str | None) -> dict[str, Any]:
    """What flags set; a seed of the settings stands."""
    given = {k: v for k, v in flags.items() if v is not None and (k != "random_state" or k not in settings)}
    if hidden is not None:
        given["hidden"] = tuple(_whole(w, "--hidden") for w in re.split(r"[\s,]+", hidden) if w)
    return given


def _bits(text: str | None) -> dict[str, Any]:
    """The setting `quantize` of its flag."""
    if text is None:
        return {}
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise ConfigError(f"--quantize {text}: expected bits like weights=6,activations=10")
    return {"quantize": {k.strip(): int(v) if v.strip().isdigit() else v.strip() for k, _, v in pairs}}


def _check_choices(method: Any, only: str | None, false_alarm_rate: float | None) -> None:
    if not isinstance(method, str) or method not in METHODS:
        from diabolo.errors import nearest

        raise ConfigError(f"unknown method {method!r}: {nearest(method, METHODS)}")
    if only not in (None, "main"):
        raise ConfigError(f"--only {only}: allowed is main")
    if only == "main" and false_alarm_rate is not None:
        raise ConfigError("--false-alarm-rate is the detector's, which --only main leaves out; drop one of the two")


def _slots(settings: dict[str, Any], slots: list[str], take: list[str]) -> dict[str, Any]:
    """What is taken of jagged columns is a slot group; `--slots` and a configuration name more."""
    objects = parse_slots(take, "--take")
    if slots == ["none"]:
        return {"slots": objects or None}
    if slots == ["auto"] or (not slots and settings.get("slots") == "auto"):
        return {"slots": objects or "auto"}
    given = parse_slots(slots) if slots else settings.get("slots")
    return {"slots": {**objects, **(given or {})}} if given or objects else {}


def _whole(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{flag}: {text!r} is not a whole number") from None


def _settings(config: Path | None, pairs: list[str], method: str) -> tuple[str, dict[str, Any]]:
    """The method, and settings of a TOML file with each `--set key=value` (in TOML, or a bare word) over them."""
    import tomllib

    from diabolo.config import read_toml

    settings = read_toml(config) if config else {}
    defaults = {f.name: f.default for f in dataclasses.fields(Config)}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: expected key=value, like learning_rate=1e-3")
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = share(text) if PERCENTAGE.fullmatch(text) else text
        part, dot, inner = key.strip().partition(".")
        if not dot:
            settings[part] = value
        else:
            # A part's setting: keep the part that was named before, or the method's default for it.
            chosen = defaults | METHODS.get(settings.get("method", method), {}) | settings
            before = chosen.get(part) or {}
            before = {"name": before} if isinstance(before, str) else before
            if not isinstance(before, dict):
                raise ConfigError(f"--set {pair}: {part!r} is one value and has no setting {inner!r}")
            settings[part] = {**before, inner: value}
    return settings.pop("method", method), settings
