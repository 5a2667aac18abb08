"""Bits against error: files for each bound, and the latent's rate for each k and β.

Rows of a smooth three-dimensional manifold in 12 columns with noise. First, files by `Compressor`: bits per value at
each bound, beside bz2 of the same integers. Then variational autoencoders: the rate is KL(q‖π) per row in bits, the
distortion the RMS error of the reconstruction in units of a column's deviation (Alemi et al. 2018, arXiv:1711.00464).
"""

from __future__ import annotations

import common
import numpy as np
import pyarrow as pa

from diabolo import Compressor, VariationalAutoencoder
from diabolo.compress.rivals import verdict

COLUMNS = 12


def files(train, test, bounds):
    for bound in bounds:
        compressor = Compressor(max_error=bound).fit(train)
        data = compressor.compress(test)
        r = compressor.report_
        batch = pa.table({f"x{i}": test[:, i] for i in range(COLUMNS)}).combine_chunks().to_batches()[0]
        beside = verdict(compressor.plan_, batch, r.bytes_model).rivals["bz2"]
        root = float(np.sqrt(r.tally.squares.sum() / r.tally.values.sum()))
        yield {
            "bound": bound,
            "bits": 8 * len(data) / test.size,
            "without_model": 8 * (len(data) - r.bytes_model) / test.size,
            "bz2": 8 * beside / test.size,
            "worst": float(r.tally.worst.max()),
            "rms": root,
        }


def codes(train, test, latents, betas, epochs):
    for k in latents:
        for beta in betas:
            model = VariationalAutoencoder(latent_dim=k, hidden=(32,), beta=beta, epochs=epochs).fit(train)
            bits = float(model.anomaly_score(test, score="kl").mean() / np.log(2))
            apart = (model.reconstruct(test) - test) / train.std(axis=0)
            yield {"k": k, "beta": beta, "bits": bits, "rms": float(np.sqrt((apart**2).mean()))}


def plot(path, of_files, of_codes):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    bound = [f["bound"] for f in of_files]
    left.semilogx(bound, [f["bits"] for f in of_files], "o-", label="diabolo, model included")
    left.semilogx(bound, [f["bz2"] for f in of_files], "s--", label="bz2 of the same integers")
    left.set(xlabel="bound of every cell", ylabel="bits per value", title="Files")
    for k in sorted({c["k"] for c in of_codes}):
        own = [c for c in of_codes if c["k"] == k]
        right.plot([c["bits"] for c in own], [c["rms"] for c in own], "o-", label=f"k = {k}")
        for c in own:
            right.annotate(f"β {c['beta']:g}", (c["bits"], c["rms"]), fontsize=7)
    right.set(xlabel="KL, bits per row", ylabel="RMS error, deviations", title="Latent rate of the VAE")
    for axes in (left, right):
        axes.legend()
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--plot", metavar="FILE", help="draw both, like rate_distortion.png (needs diabolo[plot])")
    options = parser.parse_args()
    n, epochs = (3_000, 3) if options.quick else (8_000, 15)
    train, test = (common.manifold(n, seed, COLUMNS) for seed in (0, 1))
    bounds = (0.3, 0.03) if options.quick else (0.3, 0.1, 0.03, 0.01, 1e-3)
    print(common.machine_line())
    print("| bound | bits per value | without the codec section | bz2 | largest error | RMS error |")
    print("|---|---|---|---|---|---|")
    of_files = []
    for f in files(train, test, bounds):
        of_files.append(f)
        numbers = " | ".join(f"{f[name]:.3g}" for name in ("bits", "without_model", "bz2", "worst", "rms"))
        print(f"| {f['bound']:g} | {numbers} |", flush=True)
    print("\n| k | β | KL, bits per row | RMS error, deviations |\n|---|---|---|---|")
    of_codes = []
    for c in codes(train, test, (1, 3, 6) if not options.quick else (2,), (0.25, 1.0, 4.0), epochs):
        of_codes.append(c)
        print(f"| {c['k']} | {c['beta']:g} | {c['bits']:.2f} | {c['rms']:.3f} |", flush=True)
    if options.plot:
        plot(options.plot, of_files, of_codes)
    common.write_json(options.json, "rate_distortion", options, {"files": of_files, "codes": of_codes})


if __name__ == "__main__":
    main()
