"""Make images of boosted jets: QCD, W, Z and top, by Pythia and FastJet.

    pip install pythia8mc fastjet
    python bench/jets_make.py qcd --events 12000 --seed 1 -o qcd.npz
    python bench/jets_make.py --join qcd.npz w.npz z.npz top.npz -o docs/data/jets.npz   # also qcd.1.npz qcd.2.npz ...

One proton collision at 13 TeV with the hard process at 800 to 1,000 GeV of transverse momentum; W, Z and top decay to
quarks. Stable particles but neutrinos within |eta| < 3 make anti-kt jets of R = 0.8; of each event its leading jet is
taken, if it has 800 to 1,000 GeV and |eta| < 2. Its particles are moved to their mean direction, turned until the
direction in which they spread most is upright, and mirrored until the upper and the right half have most momentum. A
pixel is 0.04 x 0.04 in (eta, phi) and holds v = round(255 sqrt(share of the jet's transverse momentum)). No detector is
simulated: the pixels stand in for one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

SIDE, RADIUS = 40, 0.8
LOW, HIGH = 800.0, 1000.0

PROCESSES = {
    "qcd": ["HardQCD:all = on"],
    "w": ["WeakDoubleBoson:ffbar2WW = on", "24:onMode = off", "24:onIfAny = 1 2 3 4 5"],
    "z": ["WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2", "23:onMode = off", "23:onIfAny = 1 2 3 4 5"],
    "top": ["Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off", "24:onIfAny = 1 2 3 4 5"],
}


def jets(process: str, events: int, seed: int):
    """Yield the particles [n, 3] (pt, eta, phi) of each leading jet that is taken, with the jet's mass."""
    import fastjet
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for line in [
        "Print:quiet = on",
        "Beams:eCM = 13000",
        f"PhaseSpace:pTHatMin = {LOW - 50}",
        f"PhaseSpace:pTHatMax = {HIGH + 150}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        *PROCESSES[process],
    ]:
        pythia.readString(line)
    pythia.init()
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    for _ in range(events):
        if not pythia.next():
            continue
        particles = [
            fastjet.PseudoJet(p.px(), p.py(), p.pz(), p.e())
            for p in pythia.event
            if p.isFinal() and p.isVisible() and abs(p.eta()) < 3
        ]
        cluster = fastjet.ClusterSequence(particles, definition)
        found = fastjet.sorted_by_pt(cluster.inclusive_jets(LOW))
        if not found or found[0].pt() > HIGH or abs(found[0].eta()) > 2:
            continue
        inside = [(c.pt(), c.eta(), c.phi()) for c in found[0].constituents()]
        yield np.array(inside), found[0].m()


def image(particles: np.ndarray) -> np.ndarray:
    """The jet's picture [40, 40] uint8, row = across, column = up; see the top of this file."""
    pt, eta, phi = particles.T
    share = pt / pt.sum()
    lead = pt.argmax()
    phi = (phi - phi[lead] + np.pi) % (2 * np.pi) - np.pi
    at = np.c_[eta - share @ eta, phi - share @ phi]
    spread = (share[:, None] * at).T @ at
    axis = np.linalg.eigh(spread)[1][:, 1]
    at = np.c_[at @ [axis[1], -axis[0]], at @ axis]
    for side in (0, 1):
        if share[at[:, side] > 0].sum() < 0.5:
            at[:, side] *= -1
    edges = np.linspace(-RADIUS, RADIUS, SIDE + 1)
    pixels = np.histogram2d(at[:, 0], at[:, 1], bins=[edges, edges], weights=share)[0]
    return np.round(255 * np.sqrt(pixels)).astype(np.uint8)


def packed(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Only the pixels that are lit: their number per picture, their places and values."""
    flat = pictures.reshape(len(pictures), -1)
    row, place = np.nonzero(flat)
    return {
        "lit": np.bincount(row, minlength=len(flat)).astype(np.uint16),
        "place": place.astype(np.uint16),
        "value": flat[row, place],
    }


def unpacked(lit: np.ndarray, place: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The pictures [n, 40, 40] of what `packed` made."""
    pictures = np.zeros((len(lit), SIDE * SIDE), np.uint8)
    pictures[np.repeat(np.arange(len(lit)), lit), place] = value
    return pictures.reshape(len(lit), SIDE, SIDE)


def joined(paths: list[Path]) -> dict[str, np.ndarray]:
    """The pieces of each process one after another, as `qcd_lit`, `qcd_place`, ..."""
    pieces: dict[str, list[np.ndarray]] = {}
    for path in paths:
        with np.load(path) as part:
            for key in ("lit", "place", "value", "mass"):
                pieces.setdefault(f"{path.name.split('.')[0]}_{key}", []).append(part[key])
    return {key: np.concatenate(parts) for key, parts in pieces.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("process", nargs="?", choices=list(PROCESSES))
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--join", nargs="+", type=Path, default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    if args.join:
        np.savez_compressed(args.out, **joined(args.join))
        return
    if not args.process:
        parser.error("name a process, or --join files")
    found = list(jets(args.process, args.events, args.seed))
    pictures = np.stack([image(particles) for particles, _ in found])
    mass = np.array([m for _, m in found], np.float16)
    np.savez_compressed(args.out, **packed(pictures), mass=mass)
    print(json.dumps({"process": args.process, "events": args.events, "seed": args.seed, "jets": len(found)}))


if __name__ == "__main__":
    sys.exit(main())
