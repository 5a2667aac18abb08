import awkward as ak
import numpy as np
import uproot
from pyod.models.iforest import IForest


def read(path):
    tree = uproot.open(path)["events"]
    events = tree.arrays()
    met = np.stack([events["met_pt"], events["met_phi"]], axis=1)
    jets = [ak.fill_none(ak.pad_none(events["jet", q], 6, clip=True), 0.0) for q in ("pt", "eta", "phi")]
    return np.concatenate([met, *(ak.to_numpy(j) for j in jets)], axis=1), events


X, _ = read("events.root")
X_new, events = read("later.root")
clf = IForest(contamination=0.01, random_state=0).fit(X)
with uproot.recreate("scores.root") as out:
    out["events"] = {
        "event": ak.to_numpy(events["event"]),
        "truth": ak.to_numpy(events["truth"]),
        "score": clf.decision_function(X_new),
        "is_anomaly": clf.predict(X_new),
    }
