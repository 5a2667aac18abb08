"""Every public name tells what a person needs: a sentence, shapes, units, errors, a source and an example.

The names are those of docs/api.py, which writes docs/api.md and the site's pages. An example may be a name's own, its
class's, or that of the figure which a plotting method names; a source may be that of its class or module.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import diabolo
from diabolo.errors import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import api

#: Arguments that are arrays, whose shape is told.
ARRAYS = {"X", "x", "y", "a", "b", "p", "q", "cov", "cov0", "mean0", "joint", "codes"}
#: Arguments of functions that take any shape, and methods that name no shape because they have no array of their own.
ANY_SHAPE = re.compile(r"any shape|one shape|of counts|like X")
#: What a result is measured in.
UNITS = {
    "Autoencoder.score": "nats",
    "Autoencoder.nll": "nats",
    "Autoencoder.reconstruct": "original units",
    "Autoencoder.inverse_transform": "original units",
    "Autoencoder.sample": "original units",
    "Autoencoder.posterior_std": "unit of z",
    "Compressor": "original units",
    "LatentClusterer.prototypes_": "original units",
    "plots.ReconstructionDisplay.errors": "standardised units",
}
#: A year, a preprint, a page that has them, or the module that does.
SOURCE = re.compile(r"\b(19|20)\d\d\b|arXiv|docs/[\w/]+\.md|see `diabolo\.")


def function(found):
    return found.__func__ if isinstance(found, classmethod) else found.fget if isinstance(found, property) else found


def public():
    """(dotted name, object, the class or module that holds it or None)."""
    shared = api.members(api.BASE)
    for name in api.classes():
        cls = getattr(diabolo, name)
        yield name, cls, None
        for each, found in api.members(name).items():
            if name == api.BASE or shared.get(each) is not found:
                yield f"{name}.{each}", found, cls
    yield from ((name, api.called(name), None) for name in api.functions())
    for name in api.MODULES:
        module = getattr(diabolo, name)
        for each in module.__all__:
            found = getattr(module, each)
            yield f"{name}.{each}", found, module
            for inner, value in vars(found).items() if inspect.isclass(found) else ():
                if not inner.startswith("_") and isinstance(value, property | classmethod | type(public)):
                    yield f"{name}.{each}.{inner}", value, found


PUBLIC = {name: (found, home) for name, found, home in public()}
SHOWN = {name: inspect.getdoc(function(found)) or "" for name, (found, _) in PUBLIC.items()}
CALLED = [name for name, (found, _) in PUBLIC.items() if not inspect.isclass(found) and not isinstance(found, property)]


def of_home(home):
    """The docstrings of a class and of those it derives from, or of a module."""
    kinds = inspect.getmro(home) if inspect.isclass(home) else [home]
    return "\n".join(inspect.getdoc(k) or "" for k in kinds if k is not None and k is not object)


def arguments(name):
    return set(inspect.signature(inspect.unwrap(function(PUBLIC[name][0]))).parameters) - {"self", "cls"}


def test_the_names_are_those_of_the_package():
    assert len(PUBLIC) > 90
    assert {name for name in PUBLIC if "." not in name} == set(diabolo.__all__) - {"__version__", *api.MODULES}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_name_begins_with_a_sentence(name):
    first = SHOWN[name].partition("\n\n")[0]
    assert re.match(r"[\w−στ|x̂].*[.:]$", first, re.DOTALL), first
    assert all(len(line) <= 120 for line in SHOWN[name].splitlines())


@pytest.mark.parametrize("name", [n for n in CALLED if arguments(n) & ARRAYS])
def test_arrays_have_shapes(name):
    text = SHOWN[name] if not name.endswith("from_estimator") else SHOWN[name] + SHOWN[name.rpartition(".")[0]]
    assert re.search(r"\[[a-zA-Z0-9_, ]+\]", text) or ANY_SHAPE.search(text), text


@pytest.mark.parametrize("name", UNITS)
def test_numbers_have_units(name):
    assert UNITS[name] in " ".join(SHOWN[name].split())


@pytest.mark.parametrize("name", [n for n in CALLED if "base" in arguments(n)])
def test_entropies_say_their_base(name):
    assert "None for nats, 2 for bits" in SHOWN[name]


@pytest.mark.parametrize("name", [n for n, (found, _) in PUBLIC.items() if inspect.isclass(found)])
def test_a_class_has_a_source_or_is_a_figure(name):
    assert name.startswith("plots.") or SOURCE.search(" ".join(SHOWN[name].split()))


@pytest.mark.parametrize("name", diabolo.information.__all__)
def test_a_formula_has_a_source(name):
    assert SOURCE.search(SHOWN[f"information.{name}"]) or "Cover & Thomas" in diabolo.information.__doc__


@pytest.mark.parametrize("name", CALLED)
def test_what_reads_rows_or_files_says_its_errors(name):
    home, figure = PUBLIC[name][1], re.search(r"see `diabolo\.plots\.(\w+)`", SHOWN[name])
    if figure:
        text = SHOWN[f"plots.{figure[1]}.from_estimator"]
    else:
        text = SHOWN[name] + (of_home(home) if inspect.isclass(home) else "")
    if arguments(name) & (ARRAYS | {"path", "data", "model", "estimator", "counts"}):
        assert re.search(r"Raises:|raise DataError", text), text


@pytest.mark.parametrize("name", PUBLIC)
def test_an_example_runs(name):
    home, figure = PUBLIC[name][1], re.search(r"see `diabolo\.plots\.(\w+)`", SHOWN[name])
    shown = SHOWN[name]
    if figure:
        shown += SHOWN[f"plots.{figure[1]}"]
    elif ">>> " not in shown and inspect.isclass(home):
        # The class's own example, or another of its methods', shows it.
        beside = [text for n, text in SHOWN.items() if inspect.isclass(home) and PUBLIC[n][1] is home]
        word = name.rpartition(".")[2]
        shown = "\n".join(line for text in (of_home(home), *beside) for line in text.splitlines() if f".{word}" in line)
    assert ">>> " in shown or "... " in shown, name


ROWS = np.random.default_rng(0).normal(size=(300, 3))
MADE = {
    "Autoencoder": lambda: diabolo.MaskedAutoencoder(epochs=1),
    "AnomalyDetector": lambda: diabolo.AnomalyDetector(diabolo.LinearAutoencoder(latent_dim=1)),
    "LatentClusterer": lambda: diabolo.LatentClusterer(
        diabolo.LinearAutoencoder(latent_dim=1), n_clusters=2, n_resamples=0
    ),
}
#: Methods whose X is no rows of the fit's columns: codes, or any rows that a fit takes.
OTHER = {"Autoencoder.inverse_transform", *(f"{n}.{m}" for n in MADE for m in ("fit", "partial_fit"))}


@pytest.fixture(scope="module")
def fitted():
    return {name: make().fit(ROWS) for name, make in MADE.items()}


@pytest.mark.parametrize(
    "name", [n for n in CALLED if n.partition(".")[0] in MADE and {"X", "a"} & arguments(n) and n not in OTHER]
)
def test_methods_on_rows_raise_what_their_class_says(name, fitted):
    made, _, method = name.partition(".")
    more = {"steps": 3} if method == "interpolate" else {"fdr": 0.2} if method == "discoveries" else {}
    given = [ROWS, ROWS] if method == "interpolate" else [ROWS, np.arange(300) % 2] if method == "plot_roc" else [ROWS]
    with pytest.raises(NotFittedError):
        getattr(MADE[made](), method)(*given, **more)
    narrow = [g[:, :2] if g.ndim == 2 else g for g in given]
    with pytest.raises(DataError):
        getattr(fitted[made], method)(*narrow, **more)
