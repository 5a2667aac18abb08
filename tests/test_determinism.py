"""The same fit twice is the same bits: on one thread, on two, and resumed in between (docs/reproducibility.md)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Prints one line per fit: its name, and a hash of weights, buffers, calibration and scores.
FITS = """
import hashlib, os, sys, tempfile
import numpy as np
import torch
torch.set_num_threads(int(sys.argv[1]))
from diabolo import AnomalyDetector, DenoisingAutoencoder, SparseAutoencoder, VariationalAutoencoder
from diabolo.data.sources import Rows
from diabolo.threads import PARALLEL
from diabolo.train import checkpoint, loop

rng = np.random.default_rng(0)
X = rng.normal(size=(1500, 4)) @ rng.normal(size=(4, 24)) + 0.3 * rng.normal(size=(1500, 24))
gaps = np.where(rng.random(X.shape) < 0.1, np.nan, X)
weights = rng.uniform(0.5, 2, size=len(X))
large = dict(hidden=(512, 512), epochs=2, batch_size=1024)

def told(name, ae, X, **more):
    detector = AnomalyDetector(ae).fit(X, **more)
    model = detector.autoencoder_.model_
    assert 3 * 500 * model.store.flat.numel() > PARALLEL, "too small to be shared by two threads"
    digest = hashlib.sha256(model.store.flat.numpy())
    for part in (*model.buffers.values(), *(c.scores for c in detector.calibrated_.calibrations.values())):
        digest.update(np.ascontiguousarray(part))
    digest.update(detector.anomaly_score(X))
    print(name, digest.hexdigest())

told("vae", VariationalAutoencoder(**large), X)
told("gaps", VariationalAutoencoder(**large), gaps)
told("mask", DenoisingAutoencoder(corruption="mask", **large), X, sample_weight=weights)
told("sparse", SparseAutoencoder(latent_dim=40, **large), X)
told("seed", VariationalAutoencoder(random_state=1, **large), X)

class Stop(BaseException):
    pass

def offer(self, state, offer=checkpoint.Checkpoint.offer):
    offer(self, state)
    if state.epoch == 1:
        raise Stop

os.environ["DIABOLO_CHECKPOINT_SECONDS"] = "0"
with tempfile.TemporaryDirectory() as folder:
    whole, checkpoint.Checkpoint.offer = checkpoint.Checkpoint.offer, offer
    try:
        AnomalyDetector(VariationalAutoencoder(**large)).fit(X, checkpoint=folder + "/c")
        raise SystemExit("not stopped")
    except Stop:
        checkpoint.Checkpoint.offer = whole
    told("vae", VariationalAutoencoder(**large), X, checkpoint=folder + "/c", resume=True)
"""


def fits(threads):
    # Threads that wait asleep: on a busy machine those that spin take many times as long, to the same result.
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    words = [sys.executable, "-c", FITS, str(threads)]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("threads", [1, 2])
def test_two_processes_fit_the_same_bits(threads):
    first = fits(threads)
    assert len({line.split()[1] for line in first}) == 5, "another method, table or seed is another fit"
    assert first[-1] == first[0], "resumed midway, it is another fit"
    assert fits(threads) == first
