"""A trigger as one header of C99 and C++: integers alone, no library but stdint.h, no allocation.

Rows of weights are padded with zeros to whole vectors, so that compilers multiply eight or sixteen numbers at once, and
four rows are added up together, which reads an input once for four sums. An input is held within its bounds before it
is shifted, where 16 bits hold it, and shifted by a product with a power of two, which every vector unit has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from diabolo.data.integer_inputs import IntegerInputs
from diabolo.export.trigger.integers import IntegerLayer, Trigger
from diabolo.version import __version__

__all__ = ["header"]

#: Numbers of 16 bits that a vector register holds; rows of weights are padded to a multiple of it.
VECTOR = 16
#: Rows of weights that are added up together.
TOGETHER = 4
WIDTH = 120
INT16, INT32, WORD_BITS = (1 << 15) - 1, (1 << 31) - 1, 16
#: Numbers of 16 bits in the vectors that every processor has.
HALF = 8

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
/* From the integers of an event to the inputs of the network: held within bounds, apart from the offset, times a power
 * of two, and shifted by {right} bits. */
static const int16_t diabolo_least[{n}] = {{{least}}};
static const int16_t diabolo_most[{n}] = {{{most}}};
static const int16_t diabolo_offset[{n}] = {{{offset}}};
static const {factors} diabolo_factor[{n}] = {{{factor}}};
DIABOLO_PROOF(differences, {apart_worst} <= INT{apart}_MAX);
DIABOLO_PROOF(inputs, INT64_C({worst}) <= INT{wide}_MAX);
"""

BEGIN = """
static inline int64_t diabolo_score(const int16_t *x) {{
  {word} v0[{padded}] = {{0}};
{arrays}  int64_t score = 0;
  int i, j;
{copied}  for (j = 0; j < {n}; ++j) {{
    int16_t cell = {cells}[j];
    int{wide}_t a;
    if (cell < diabolo_least[j]) cell = diabolo_least[j];
    if (cell > diabolo_most[j]) cell = diabolo_most[j];
    a = (int{wide}_t)(int{apart}_t)((int{apart}_t)cell - diabolo_offset[j]) * diabolo_factor[j] >> {right};
{held}    v0[j] = ({word})a;
  }}
"""

HELD = """\
    if (a < {low}) a = {low};
    if (a > {high}) a = {high};
"""

COPIED = """\
  int16_t cells[{padded}] = {{0}};
  for (j = 0; j < {n}; ++j) cells[j] = x[j];
"""

LAYER = """\
  {{
    {acc} sum[{rows}];
    for (i = 0; i < {rows}; i += {together}) {{
      {acc} {starts};
      for (j = 0; j < {padded}; ++j) {{
{added}      }}
{stored}    }}
    for (i = 0; i < {rows}; ++i) {{
      {acc} a = {moved};
      if (a < {low}) a = {low};
      if (a > {high}) a = {high};
      {then}
    }}
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
    given = _input_map(inputs)
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
    parts.append(INPUT.format(**given))
    parts += [_tables(k, layer) for k, layer in enumerate(layers)]
    words = [_word(inputs.low, inputs.high), *(_word(layer.low, layer.high) for layer in layers[:-1])]
    arrays = [f"  {word} v{k}[{_padded(layers[k].weight.shape[1])}] = {{0}};\n" for k, word in enumerate(words)][1:]
    parts.append(BEGIN.format(**given, word=words[0], padded=_padded(n), arrays="".join(arrays)))
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


def _input_map(inputs: IntegerInputs) -> dict[str, object]:
    """The words of INPUT and BEGIN.

    A cell beyond its bounds gives the same input as one at them. So its difference is small before it is multiplied.
    """
    # Differences of 16-bit integers have 17 bits, so that further shifts give 0 and −1 too.
    shifts = [min(int(s), WORD_BITS + 1) for s in inputs.shift]
    right, offsets = max(0, *shifts), inputs.offset.tolist()
    least, most, reach = [], [], 0
    for offset, shift in zip(offsets, shifts, strict=True):
        if shift >= 0:
            low, high = inputs.low << shift, ((inputs.high + 1) << shift) - 1
        else:  # one further, so that the product is beyond the bound and is held there
            low, high = (inputs.low >> -shift) - 1, (inputs.high >> -shift) + 1
        least.append(max(-INT16 - 1, offset + low))
        most.append(min(INT16, offset + high))
        reach = max(reach, max(offset - least[-1], most[-1] - offset) << (right - shift))
    apart = max(max(o - a, b - o) for o, a, b in zip(offsets, least, most, strict=True))
    factors = [1 << (right - s) for s in shifts]
    tables = {"least": least, "most": most, "offset": offsets, "factor": factors}
    n = len(offsets)
    if n % HALF:  # whole vectors of numbers of a copy
        tables = {name: [*numbers, *[0] * (_padded(n) - n)] for name, numbers in tables.items()}
    return {
        **{name: _numbers(np.array(numbers), 64 if max(numbers) > INT32 else 32) for name, numbers in tables.items()},
        "n": len(tables["factor"]),
        "factors": next(f"int{bits}_t" for bits in (16, 32, 64) if max(factors) < 1 << (bits - 1)),
        "right": right,
        "apart": 16 if apart <= INT16 else 32,
        "apart_worst": apart,
        "wide": 32 if reach <= INT32 else 64,
        "worst": reach,
        "cells": "cells" if n % HALF else "x",
        "copied": COPIED.format(padded=_padded(n), n=n) if n % HALF else "",
        "held": HELD.format(low=_literal(inputs.low), high=inputs.high) if min(shifts) < 0 else "",
    }


def _tables(k: int, layer: IntegerLayer) -> str:
    rows, columns = layer.weight.shape
    more = _together(rows) - rows
    padded = np.pad(layer.weight, ((0, more), (0, _padded(columns) - columns)))
    inner = ",\n".join(f"  {{{_numbers(row)}}}" for row in padded)
    return (
        f"\n/* Layer {k}: {columns} inputs, {rows} outputs, weights in steps of 2^-{layer.weight_fraction}. */\n"
        f"static const int16_t diabolo_w{k}[{rows + more}][{_padded(columns)}] = {{\n{inner}}};\n"
        f"static const int{layer.bits}_t diabolo_b{k}[{rows + more}] = "
        f"{{{_numbers(np.pad(layer.bias, (0, more)), layer.bits)}}};\n"
    )


def _loop(k: int, layer: IntegerLayer, trigger: Trigger, words: Sequence[str]) -> str:
    acc = f"int{layer.bits}_t"
    added = f"(sum[i] + diabolo_b{k}[i])"
    if k < len(trigger.layers) - 1:
        then = f"v{k + 1}[i] = ({words[k + 1]})a;"
    elif trigger.score == "mu_norm":
        then = "score += (int64_t)a * a;"
    else:
        then = "score += ((int64_t)v0[i] - a) * ((int64_t)v0[i] - a);"
    places = range(TOGETHER)
    return LAYER.format(
        k=k,
        rows=_together(len(layer.bias)),
        together=TOGETHER,
        padded=_padded(layer.weight.shape[1]),
        acc=acc,
        starts=", ".join(f"a{r} = 0" for r in places),
        added="".join(f"        a{r} += ({acc})diabolo_w{k}[i + {r}][j] * v{k}[j];\n" for r in places),
        stored="".join(f"      sum[i + {r}] = a{r};\n" for r in places),
        moved=f"{added} >> {layer.shift}" if layer.shift >= 0 else f"{added} * (({acc})1 << {-layer.shift})",
        low=_literal(layer.low),
        high=layer.high,
        then=then,
    )


def _padded(numbers: int) -> int:
    return -(-numbers // VECTOR) * VECTOR


def _together(rows: int) -> int:
    """Rows with those of zeros behind them, whose outputs are 0 and add nothing to a score."""
    return -(-rows // TOGETHER) * TOGETHER


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
