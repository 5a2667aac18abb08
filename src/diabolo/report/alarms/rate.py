"""The check of the flagged share: whether exchangeable rows would be flagged as often."""

from __future__ import annotations

import numpy as np

from diabolo.report.alarms.base import Alarm, Finding, alarms
from diabolo.report.evidence import Evidence
from diabolo.report.html import percent


@alarms.register("rate")
class Rate(Alarm):
    """The flagged share beside the promised rate.

    An alarm if more of the rows that can be scored are flagged than of so many rows exchangeable with the calibration
    rows in 99 of 100 cases, over calibrations and rows: the beta-binomial law of `Calibration.most_flagged`.
    """

    place = 45
    title = "Flagged share"

    def __call__(self, e: Evidence) -> Finding:
        d = e.detector
        if d is None or e.flagged is None:
            return self.found("skipped", "the file has no detector, so no rate is promised")
        if e.same_table:
            return self.found("skipped", "these rows set the threshold: give a table that the fit has not seen")
        flagged = e.flagged[e.judged & np.isfinite(e.scores)]
        if not len(flagged):
            return self.found("skipped", "no row that the model has not seen can be scored")
        share, most = float(flagged.mean()), d.calibration.most_flagged(d.rate, len(flagged))
        said = (
            f"flagged {percent(share, 2)}, {percent(d.rate, 2)} promised; of so many exchangeable rows up to "
            f"{percent(most, 2)} (99 %)"
        )
        if share <= most:
            return self.found("sound", said)
        return self.found(
            "alarm",
            said,
            "The table holds anomalies, or its rows are not exchangeable with the calibration rows: copies, groups, "
            "another time or place. diabolo health MODEL DATA tells how they differ.",
        )
