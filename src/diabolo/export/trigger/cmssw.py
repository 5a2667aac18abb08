"""A trigger as an emulator of CMSSW: a class of `hls4mlEmulator::Model` around the C header, built as a library."""

from __future__ import annotations

import re

from diabolo.errors import ConfigError
from diabolo.export.trigger.integers import Trigger

__all__ = ["emulator", "makefile"]

SOURCE = """\
// An emulator of an anomaly trigger for CMSSW, written by diabolo beside model.h.
//
//   prepare_input   const std::int16_t * or std::int16_t *, to {inputs} integers of hardware (model.h has their units)
//   read_result     std::pair<std::int64_t, bool> *, for the score and whether it is above the threshold;
//                   std::int64_t * for the score alone

#include <any>
#include <cstdint>
#include <utility>

#include "emulator.h"
#include "model.h"

class {name} : public hls4mlEmulator::Model {{
public:
  void prepare_input(std::any input) override {{
    const std::int16_t *const *given = std::any_cast<const std::int16_t *>(&input);
    const std::int16_t *words = given != nullptr ? *given : std::any_cast<std::int16_t *>(input);
    for (int i = 0; i < DIABOLO_INPUTS; ++i) input_[i] = words[i];
  }}

  void predict() override {{ score_ = diabolo_score(input_); }}

  void read_result(std::any result) override {{
    if (std::int64_t *const *alone = std::any_cast<std::int64_t *>(&result)) {{
      **alone = score_;
      return;
    }}
    *std::any_cast<std::pair<std::int64_t, bool> *>(result) = {{score_, score_ > DIABOLO_THRESHOLD}};
  }}

private:
  std::int16_t input_[DIABOLO_INPUTS] = {{0}};
  std::int64_t score_ = 0;
}};

extern "C" hls4mlEmulator::Model *create_model() {{ return new {name}; }}

extern "C" void destroy_model(hls4mlEmulator::Model *model) {{ delete model; }}
"""

MAKE = """\
# EMULATOR_EXTRAS is the folder of hls4mlEmulatorExtras, which has include/emulator.h or include/hls4ml/emulator.h.
CXXFLAGS += -std=c++17 -O3 -fPIC -I$(EMULATOR_EXTRAS)/include -I$(EMULATOR_EXTRAS)/include/hls4ml

{name}.so: {name}.cc model.h
	$(CXX) $(CXXFLAGS) -shared $< -o $@
"""


def emulator(trigger: Trigger, name: str) -> str:
    """The text of the class.

    Raises:
        ConfigError: a name that C++ does not take.
    """
    return SOURCE.format(inputs=len(trigger.names), name=_checked(name))


def makefile(name: str) -> str:
    """The rule that builds it."""
    return MAKE.format(name=_checked(name))


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigError(f"{name!r}: the folder names a class of C++: letters, digits and _, a letter first")
    return name
