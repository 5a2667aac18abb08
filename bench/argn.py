"""TabularARGN (Tiwald et al. 2025, arXiv:2501.12012) at its defaults, for `bench/generate.py --argn PYTHON`.

Of the package mostlyai-engine, which has an environment of its own: it brings PyTorch, transformers and more. Reads
training rows of a Parquet file, writes drawn ones to another.

    PYTHON bench/argn.py TRAIN.parquet DRAWN.parquet ROWS SEED EPOCHS
"""

from __future__ import annotations

import sys
import tempfile


def main(train: str, out: str, rows: int, seed: int, epochs: int) -> None:
    import pandas as pd
    from mostlyai.engine import TabularARGN

    with tempfile.TemporaryDirectory() as folder:
        model = TabularARGN(workspace_dir=folder, max_epochs=epochs, random_state=seed, device="cpu")
        model.fit(pd.read_parquet(train))
        drawn = model.sample(n_samples=rows)
    drawn.to_parquet(out)


if __name__ == "__main__":
    given, drawn, *numbers = sys.argv[1:]
    main(given, drawn, *map(int, numbers))
