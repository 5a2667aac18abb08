"""The columns of a table of scores, the same whether PyTorch or an exported graph computes them."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["NUMBER", "ROW", "TOLD"]

#: Scores are all different: a dictionary of them costs time and gains nothing.
NUMBER = {"encoding": "BYTE_STREAM_SPLIT"}
#: The facts of each row.
TOLD = [
    pa.field("score", pa.float64(), metadata=NUMBER),
    pa.field("p_value", pa.float64()),
    pa.field("is_anomaly", pa.bool_()),
    pa.field("flag", pa.string()),
]
ROW = pa.field("row", pa.int64(), metadata={"encoding": "DELTA_BINARY_PACKED"})
