"""Arrow schemas in the words of Spark."""

from __future__ import annotations

import pyarrow as pa

from diabolo.errors import ConfigError

__all__ = ["ddl"]

#: Spark's words for Arrow's types.
WORDS = {
    "bool": "boolean",
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "binary",
    "date32[day]": "date",
}


def ddl(schema: pa.Schema) -> str:
    """A schema as Spark's `mapInArrow` wants it.

    Raises:
        ConfigError: a type that Spark has not.

    >>> ddl(pa.schema([("run", pa.int64()), ("a b", pa.string()), ("at", pa.timestamp("us", "UTC"))]))
    '`run` bigint, `a b` string, `at` timestamp'
    """
    return ", ".join(f"`{field.name.replace('`', '``')}` {_word(field)}" for field in schema)


def _word(field: pa.Field) -> str:
    kind = field.type
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        return "timestamp_ntz" if kind.tz is None else "timestamp"
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if str(kind) not in WORDS:
        raise ConfigError(
            f"column {field.name!r} holds {kind}; Spark has {', '.join(WORDS)}, timestamps in us, decimal128"
        )
    return WORDS[str(kind)]
