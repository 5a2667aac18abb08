"""Which scored rows `diabolo score` calls anomalies: at a false-alarm rate, or at a false discovery rate."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diabolo.cli.console import percent
from diabolo.errors import ConfigError, OutputError
from diabolo.screen import at_most_percent

if TYPE_CHECKING:
    import numpy as np

    from diabolo.detect.calibrated import Calibrated
    from diabolo.detect.fdr import Discoveries
    from diabolo.detect.rates import AcceptRate

__all__ = ["AtRate", "Rule", "check_one", "rule_of"]


class Rule(Protocol):
    """Decides batch by batch, or once all batches are known."""

    anomalies: int  #: so far

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """[b] bool; what a rule that must see all rows says here is not yet valid."""
        ...

    def settled(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Record batches with the final column is_anomaly."""
        ...

    def said(self, rows: int) -> list[str]:
        """Lines for the person, of a run over so many rows."""
        ...


def check_one(
    false_alarm_rate: float | None, fdr: float | None, accept_rate: str | None, explain: bool
) -> AcceptRate | None:
    """Refuse two rules at once; read the accept rate if that is the one.

    Raises:
        ConfigError: more than one is given, the accept rate is none, or columns are to be explained before anomalies
            are known.
    """
    from diabolo.detect.rates import accept_rate as read

    flags = {"--false-alarm-rate": false_alarm_rate, "--fdr": fdr, "--accept-rate": accept_rate}
    given = [name for name, value in flags.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are different rules; give one of {', '.join(flags)}")
    if explain and fdr is not None:
        raise ConfigError(
            "--explain names columns as rows come, --fdr knows its anomalies at the end; drop one of them"
        )
    if accept_rate is None:
        return None
    try:
        return read(accept_rate)
    except ConfigError as error:
        raise ConfigError(f"--accept-rate: {error}") from None


def rule_of(detector: Calibrated, fdr: float | None, accept: AcceptRate | None, out: str) -> Rule:
    """The rule of a detector with its score and rate.

    Args:
        detector: with the score and the rate to use.
        fdr: false discovery rate, if that is the rule.
        accept: what the false-alarm rate was said as.
        out: where the scores go; a rule that must see all rows first keeps them in that folder.

    Raises:
        CalibrationError: a rate that the calibration rows cannot guarantee.
    """
    if fdr is None:
        return AtRate(detector, accept)
    from diabolo.detect.fdr import Discoveries

    return AtFdr(Discoveries(detector.calibration, fdr), out)


@dataclasses.dataclass
class AtRate:
    """p ≤ α, row by row."""

    detector: Calibrated
    accept: AcceptRate | None
    anomalies: int = 0
    unscored: int = 0

    def decide(self, scores: np.ndarray) -> np.ndarray:
        import numpy as np

        found = self.detector.anomalies(scores)
        self.anomalies += int(found.sum())
        self.unscored += int((~np.isfinite(scores)).sum())
        return found

    def settled(self, batches: Iterable[Any]) -> Iterator[Any]:
        return iter(batches)

    def said(self, rows: int) -> list[str]:
        d = self.detector
        rate = d.rate
        share = f", {percent(self.anomalies / rows)} of the rows" if rows else ""
        share += f" ({self.unscored:,} of them could not be scored)" if self.unscored else ""
        those = "rows that can be scored and are exchangeable" if self.unscored else "rows exchangeable"
        lines = [
            f"  {self.anomalies:,} anomalies{share}; of {those} with the {d.calibration.said} at most "
            f"{at_most_percent(rate)} are flagged, on average over calibrations"
        ]
        found, scored = self.anomalies - self.unscored, rows - self.unscored
        if scored and found / scored > (most := d.calibration.most_flagged(rate, scored)):
            lines.append(
                f"  of so many exchangeable rows at most {at_most_percent(most)} are flagged (99 %): these hold "
                "anomalies, or are not exchangeable; diabolo health MODEL DATA tells how they differ"
            )
        if self.accept is not None:
            low, high = d.calibration.realised(rate)
            a = self.accept
            lines.append(
                f"  {a.said(rate)} of exchangeable rows is a false-alarm rate of {percent(rate)}, on average over "
                f"calibrations; by these calibration rows it is {a.said(low)} to {a.said(high)} (95 %)"
            )
        return lines


@dataclasses.dataclass
class AtFdr:
    """Benjamini-Hochberg over all rows: their scores wait in a file of no name until the last one is known."""

    found: Discoveries
    out: str
    anomalies: int = 0
    unscored: int = 0

    def decide(self, scores: np.ndarray) -> np.ndarray:
        import numpy as np

        self.found.add(scores)
        self.unscored += int((~np.isfinite(scores)).sum())
        return np.zeros(len(scores), bool)

    def settled(self, batches: Iterable[Any]) -> Iterator[Any]:
        import numpy as np
        import pyarrow as pa

        folder = Path(self.out).parent
        try:
            with tempfile.TemporaryFile(dir=folder if folder.is_dir() else None) as spool:
                writer = None
                for batch in batches:
                    writer = writer or pa.ipc.new_stream(spool, batch.schema)
                    writer.write_batch(batch)
                if writer is None:
                    return
                writer.close()
                spool.seek(0)
                threshold = self.found.threshold
                for batch in pa.ipc.open_stream(spool):
                    scores = batch.column("score").to_numpy()
                    anomaly, none = scores > threshold, ~np.isfinite(scores)
                    self.anomalies += int((anomaly & ~none).sum())
                    at = batch.schema.get_field_index("is_anomaly")
                    yield batch.set_column(at, batch.schema.field(at), pa.array(anomaly, mask=none))
        except OSError as error:
            if isinstance(error, OutputError) or not error.errno:
                raise
            raise OutputError(f"{self.out}: its scores cannot be kept on the way: {error.strerror or error}") from None

    def said(self, rows: int) -> list[str]:
        lines = [f"  {line}" for line in self.found.sentences()]
        if self.unscored:
            lines.append(
                f"  {self.unscored:,} rows that cannot be scored are no discoveries: is_anomaly is empty there"
            )
        return lines
