"""LHC events with nothing named: AUROC of the default score by `slots=None` and by `slots="auto"`, in one run.

The events of `bench/lhc.py`, 30,000 of them to train on and 5,000 of each kind to judge, 8 epochs.
"""

from __future__ import annotations

import sys
import warnings

import common  # pins threads, so it comes first
import lhc
import numpy as np
import pandas as pd

from diabolo import AnomalyDetector, VariationalAutoencoder
from diabolo.data.slots import found_slots
from diabolo.metrics import auroc

TRAINED, JUDGED, EPOCHS = 30_000, 5_000, 8


def main() -> None:
    options = common.parser(__doc__).parse_args()
    warnings.simplefilter("ignore")
    names, train, judged = lhc.read(options.quick, 0)
    groups = {name: len(slots) for name, slots in found_slots(train, names).items()}
    print(common.machine_line())
    print(f"found: {groups}, as `bench/lhc.py` names them: {groups == lhc.SLOTS}")
    results = {}
    for slots in (None, "auto"):
        ae = VariationalAutoencoder(slots=slots, random_state=0, epochs=2 if options.quick else EPOCHS)
        detector = AnomalyDetector(ae, random_state=0).fit(pd.DataFrame(train[:TRAINED], columns=names))
        scores = {k: detector.anomaly_score(pd.DataFrame(v[:JUDGED], columns=names)) for k, v in judged.items()}
        normal = scores.pop("background")
        results[str(slots)] = {
            k: 100 * auroc(np.repeat([0, 1], [len(normal), len(s)]), np.concatenate([normal, s]))
            for k, s in scores.items()
        }
        said = ", ".join(f"{k} {v:.2f}" for k, v in results[str(slots)].items())
        print(f"slots = {slots!r}, score {detector.score_}: {said}", flush=True)
    common.write_json(options.json, "lhc_slots", options, results)


if __name__ == "__main__":
    sys.exit(main())
