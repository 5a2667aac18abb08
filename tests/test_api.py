"""Every public name is documented: a sentence, shapes where arrays come or go, errors where it raises, an example."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest

import diabolo

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import api  # noqa: E402

#: Parameters and results that are arrays or tables.
ARRAYS = re.compile(r"TableLike|TableOut|RowsOut|ArrayLike|ndarray")
SHAPE = re.compile(r"\[[a-zKC\d, ]+\]|any shape|one shape|shape of p|like X|table|bytes")


def public():
    """(name, what it is) of every public class, function and method."""
    for name in api.functions():
        yield name, api.called(name)
    for module in api.MODULES:
        for name in getattr(diabolo, module).__all__:
            yield f"{module}.{name}", getattr(getattr(diabolo, module), name)
    for name in api.classes():
        yield name, getattr(diabolo, name)
        for each, value in api.members(name).items():
            found = value.__func__ if isinstance(value, classmethod) else value
            if name == api.BASE or api.members(api.BASE).get(each) is not value:
                yield f"{name}.{each}", found


PUBLIC = dict(public())


def text_of(found):
    return inspect.getdoc(found) or ""


def test_the_list_is_what_a_user_sees():
    assert {"AnomalyDetector.fit", "Autoencoder.sample", "information.entropy", "load", "plots.RocDisplay"} <= set(
        PUBLIC
    )
    assert "Autoencoder.set_params" not in PUBLIC, "scikit-learn documents its own"
    assert not [name for name in PUBLIC if name.rpartition(".")[2] in api.INNER]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_a_sentence(name):
    first = text_of(PUBLIC[name]).partition("\n\n")[0]
    assert len(first.split()) >= 4
    assert first.rstrip().endswith((".", ":")), first


def takes_arrays(found):
    function = found.fget if isinstance(found, property) else found
    if not inspect.isfunction(function):
        return False
    told = {k: v for k, v in inspect.get_annotations(function).items() if k not in ("y",)}
    return bool(ARRAYS.search(" ".join(map(str, told.values()))))


@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if takes_arrays(f)])
def test_arrays_have_their_shapes(name):
    assert SHAPE.search(text_of(PUBLIC[name])), text_of(PUBLIC[name])


def raises(found):
    """Whether a function's own lines raise."""
    function = found.fget if isinstance(found, property) else found
    if not inspect.isfunction(function):
        return False
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if raises(f)])
def test_what_raises_says_so(name):
    assert re.search(r"^Raises:|is refused|raises", text_of(PUBLIC[name]), re.M), text_of(PUBLIC[name])


def examples(name):
    """Lines of examples where a name may be shown: its own, those of its class, and of the class's other methods."""
    home = name.partition(".")[0] if name.partition(".")[0] in api.classes() else None
    texts = [text_of(PUBLIC[name])]
    if home:
        texts += [text_of(f) for n, f in PUBLIC.items() if n.partition(".")[0] == home]
        texts += [inspect.getdoc(each) or "" for each in getattr(diabolo, home).__mro__ if "diabolo" in each.__module__]
    return [line for text in texts for line in text.splitlines() if line.lstrip().startswith((">>>", "..."))]


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_shown_in_an_example_that_runs(name):
    own = [line for line in text_of(PUBLIC[name]).splitlines() if line.lstrip().startswith(">>>")]
    method = name.rpartition(".")[2]
    if not own and name not in api.classes():
        assert any(re.search(rf"\.{method}\b", line) for line in examples(name)), "no example calls it"
    else:
        assert own
