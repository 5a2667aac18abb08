"""A trigger as one header of C99 and C++: integers alone, no library but stdint.h, no allocation.

Rows of weights are padded with zeros to whole vectors, so that compilers multiply eight or sixteen numbers at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from diabolo.export.trigger.integers import IntegerLayer, Trigger
from diabolo.version import __version__

__all__ = ["header"]

#: Numbers of 16 bits that a vector register holds; rows of weights are padded to a multiple of it.
VECTOR = 16
WIDTH = 120
INT16 = (1 << 15) - 1

HEAD = """\
/* An anomaly trigger in whole numbers, written by diabolo {version}.
 *
 * int64_t diabolo_score(const int16_t *x)    score of an event of {inputs} integers: {formula} in steps of 2^-{steps}
 * int diabolo_is_anomaly(const int16_t *x)   1 if the score is above DIABOLO_THRESHOLD: false-alarm rate {rate:g}
 *
 * C99 and C++11; integers alone, no allocation, no state. {multiplications} multiplications an event.
 * x[j] = value / unit, rounded to the nearest integer and held within 16 bits:
 *
{columns} */

#ifndef DIABOLO_TRIGGER_H
#define DIABOLO_TRIGGER_H

#include <stdint.h>

#define DIABOLO_INPUTS {inputs}
#define DIABOLO_THRESHOLD {threshold}

/* What is taken for granted, and the proof that no sum overflows, by the compiler: largest input times the sum of a
 * row's |weights|, plus its |bias|, for the worst row. */
#define DIABOLO_PROOF(name, holds) typedef char diabolo_proof_##name[(holds) ? 1 : -1]
DIABOLO_PROOF(right_shifts_keep_the_sign, (-3 >> 1) == -2);
"""

INPUT = """
/* From the integers of an event to the inputs of the network. */
static const int16_t diabolo_offset[{n}] = {{{offset}}};
static const int8_t diabolo_right[{n}] = {{{right}}};
static const int8_t diabolo_left[{n}] = {{{left}}};
"""

BEGIN = """
static inline int64_t diabolo_score(const int16_t *x) {{
  {word} v0[{padded}] = {{0}};
{arrays}  int64_t score = 0;
  int i, j;
  for (j = 0; j < {n}; ++j) {{
    {wide} a = (({wide})x[j] - diabolo_offset[j]) * (({wide})1 << diabolo_left[j]) >> diabolo_right[j];
    if (a < {low}) a = {low};
    if (a > {high}) a = {high};
    v0[j] = ({word})a;
  }}
"""

LAYER = """\
  for (i = 0; i < {outputs}; ++i) {{
    {acc} a = 0;
    for (j = 0; j < {padded}; ++j) a += ({acc})diabolo_w{k}[i][j] * v{k}[j];
    a = {moved};
    if (a < {low}) a = {low};
    if (a > {high}) a = {high};
    {then}
  }}
"""

END = """\
  return score;
}

static inline int diabolo_is_anomaly(const int16_t *x) { return diabolo_score(x) > DIABOLO_THRESHOLD; }

#endif
"""


def header(trigger: Trigger) -> str:
    """The text of the header."""
    inputs, layers = trigger.inputs, trigger.layers
    n = len(trigger.names)
    parts = [
        HEAD.format(
            version=__version__,
            inputs=n,
            formula="sum of mu^2" if trigger.score == "mu_norm" else "sum of (x - x_hat)^2",
            steps=2 * trigger.fraction,
            rate=trigger.rate,
            multiplications=f"{trigger.multiplications:,}",
            columns="".join(_columns(trigger)),
            threshold=_literal(trigger.threshold),
        )
    ]
    parts += [_proof(k, layer) for k, layer in enumerate(layers)]
    parts += [f"DIABOLO_PROOF(score, {_literal(trigger.most)} <= INT64_MAX / 2);\n"]
    parts += [
        INPUT.format(
            n=n,
            offset=_numbers(inputs.offset),
            right=_numbers(np.maximum(inputs.shift, 0)),
            left=_numbers(np.maximum(-inputs.shift, 0)),
        )
    ]
    parts += [_tables(k, layer) for k, layer in enumerate(layers)]
    words = [_word(inputs.low, inputs.high), *(_word(layer.low, layer.high) for layer in layers[:-1])]
    arrays = [f"  {word} v{k}[{_padded(layers[k].weight.shape[1])}] = {{0}};\n" for k, word in enumerate(words)][1:]
    # Three more bits than the word that comes in hold the difference, and the shift to the left.
    wide = "int32_t" if int(np.maximum(-inputs.shift, 0).max()) <= 13 else "int64_t"
    parts.append(
        BEGIN.format(
            n=n,
            word=words[0],
            padded=_padded(n),
            arrays="".join(arrays),
            wide=wide,
            low=_literal(inputs.low),
            high=inputs.high,
        )
    )
    parts += [_loop(k, layer, trigger, words) for k, layer in enumerate(layers)]
    return "".join([*parts, END])


def _columns(trigger: Trigger) -> Iterable[str]:
    for j, (name, unit) in enumerate(zip(trigger.names, trigger.inputs.unit, strict=True)):
        # A comment ends with what a name may hold.
        shown = re.sub(r"[^A-Za-z0-9_ .\[\]-]", "?", name)[:60]
        yield f" *   {j:4}  {shown:<24} unit {unit:.10g}\n"


def _proof(k: int, layer: IntegerLayer) -> str:
    largest = max(abs(layer.least), abs(layer.most))
    rows = [
        (sum(abs(w) for w in row), abs(b)) for row, b in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    ]
    weights, bias = max(rows, key=lambda row: largest * row[0] + row[1])
    grown = f" * (INT64_C(1) << {-layer.shift})" if layer.shift < 0 else ""
    sums = f"(INT64_C({largest}) * {weights} + {bias}){grown}"
    return f"DIABOLO_PROOF(layer_{k}, {sums} <= INT{layer.bits}_MAX{'' if layer.bits == 32 else ' / 2'});\n"


def _tables(k: int, layer: IntegerLayer) -> str:
    rows, columns = layer.weight.shape
    padded = np.pad(layer.weight, ((0, 0), (0, _padded(columns) - columns)))
    inner = ",\n".join(f"  {{{_numbers(row)}}}" for row in padded)
    kind = f"int{layer.bits}_t"
    return (
        f"\n/* Layer {k}: {columns} inputs, {rows} outputs, weights in steps of 2^{-layer.weight_fraction}. */\n"
        f"static const int16_t diabolo_w{k}[{rows}][{_padded(columns)}] = {{\n{inner}}};\n"
        f"static const {kind} diabolo_b{k}[{rows}] = {{{_numbers(layer.bias, layer.bits)}}};\n"
    )


def _loop(k: int, layer: IntegerLayer, trigger: Trigger, words: Sequence[str]) -> str:
    acc = f"int{layer.bits}_t"
    added = f"(a + diabolo_b{k}[i])"
    if k < len(trigger.layers) - 1:
        then = f"v{k + 1}[i] = ({words[k + 1]})a;"
    elif trigger.score == "mu_norm":
        then = "score += (int64_t)a * a;"
    else:
        then = "score += ((int64_t)v0[i] - a) * ((int64_t)v0[i] - a);"
    return LAYER.format(
        k=k,
        outputs=len(layer.bias),
        padded=_padded(layer.weight.shape[1]),
        acc=acc,
        moved=f"{added} >> {layer.shift}" if layer.shift >= 0 else f"{added} * (({acc})1 << {-layer.shift})",
        low=_literal(layer.low),
        high=layer.high,
        then=then,
    )


def _padded(numbers: int) -> int:
    return -(-numbers // VECTOR) * VECTOR


def _word(low: int, high: int) -> str:
    return "int16_t" if low >= -INT16 - 1 and high <= INT16 else "int32_t"


def _literal(number: int) -> str:
    """A number as C reads it; the least of a type is no literal of its own."""
    return f"({number})" if -(1 << 31) < number < 0 else f"INT64_C({number})" if abs(number) >= 1 << 31 else str(number)


def _numbers(array: np.ndarray, bits: int = 32) -> str:
    """A list of numbers in lines."""
    text = [f"INT64_C({v})" if bits == 64 else str(v) for v in np.asarray(array).tolist()]
    lines, line = [], ""
    for number in text:
        if len(line) + len(number) > WIDTH - 8:
            lines.append(line)
            line = ""
        line += f"{number}, "
    return "\n    ".join(part.rstrip() for part in [*lines, line]).rstrip(",")
