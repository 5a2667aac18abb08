"""The package's shape: layers that import downwards only, small pieces, and what must not occur anywhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import diabolo
from diabolo.estimators.named import CLASSES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "diabolo"
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 70
#: Longer modules, and the reason why each is one concept all the same.
LONGER = {
    "data.dtypes": "types and cells of columns: to numbers and back, each kind in both directions",
    "data.formats.ragged": "structs, arrays and lists to flat columns: names, types and cells by the same walk",
    "model.autoencoder": "the model: parts, parameters and every quantity that is computed of them",
    "data.encoding": "a table to inputs and back, block by block: each kind of column stands in both directions",
    "data.schema": "the kinds of columns, and the looks at one column that tell its kind",
    "compress.chunk": "a chunk to bytes and back: what one direction writes the other reads",
    "compress.container": "a file to bytes and back, with the checks of each field beside its place",
    "compress.grid": "grids of floats: the choice, the way there and back, and their card",
}
#: The only names of others that begin with an underscore: PyTorch has no public ones for its two, and Python's own
#: documentation has the third.
PRIVATE = {
    "train.engine": {"torch._fused_adamw_"},  # AdamW's kernel, without 0.1 ms of bookkeeping per step
    "model.networks.module": {"func._schema"},  # whether an operator takes a generator
    "cli.rank": {"os._exit"},  # leaves at once, before a launcher takes a slow end for a failure
}

#: Names of top-level modules by layer: one may import its own layer and those above it in this list, never one below.
LAYERS = [layer["holds"] for layer in tomllib.loads((ROOT / "docs" / "layers.toml").read_text())["layer"]]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def name_of(path):
    """`data.formats` for src/diabolo/data/formats.py."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


MODULES = {name_of(path): path for path in FILES}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in MODULES.items()}


def imported(tree):
    """Every module that is imported anywhere in the file, inside functions too, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}", node.lineno
            if node.module == "diabolo":
                yield from ((f"diabolo.{a.name}", node.lineno) for a in node.names)


def test_the_layers_name_every_module_once():
    tops = {name.split(".")[0] for name in MODULES} - {""}
    assert tops == set(LEVEL), "give a new module its layer in docs/layers.toml"
    assert len(LEVEL) == sum(len(names) for names in LAYERS)


def dependencies(tree, whole=True, types=False):
    """Modules of ours that are imported, with the line.

    Args:
        whole: also those that its functions import.
        types: also those that only a type checker imports.
    """
    checked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree) if whole else tree.body:
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("diabolo")
            and (types or id(node) not in checked)
        ):
            base = node.module.removeprefix("diabolo").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                yield inner if inner in MODULES else base, alias.name, node.lineno


def circles(graph):
    """Groups of modules that import each other, directly or through others."""
    reach = {}

    def reached(start):
        found, waiting = set(), list(graph[start])
        while waiting:
            module = waiting.pop()
            if module not in found:
                found.add(module)
                waiting += graph[module]
        return found

    for module in graph:
        reach[module] = reached(module)
    return sorted({frozenset(o for o in reach[m] if m in reach[o]) for m in graph if m in reach[m]}, key=sorted)


def test_no_two_modules_import_each_other():
    """Nor need each other's types; the package itself names its public classes for a type checker."""
    graph = {m: {d for d, _, _ in dependencies(tree, types=bool(m)) if d != m} for m, tree in TREES.items()}
    assert circles(graph) == []
    # A negative control: one import back.
    graph["data.roles"].add("fitted.table")
    assert any({"data.roles", "fitted.table"} <= circle for circle in circles(graph))


@pytest.mark.parametrize("name", MODULES)
def test_nothing_private_of_others_is_used(name):
    wrong = [f"line {at}: {n}" for _, n, at in dependencies(TREES[name]) if n.startswith("_") and not n.endswith("__")]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            used = dotted(node)
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and used not in PRIVATE.get(name, ()) and isinstance(node.value, ast.Name):
                wrong.append(f"line {node.lineno}: {used}")
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_imports_stand_at_the_top(name):
    """Only verbs import when they run: `diabolo --help` would else wait for PyTorch."""
    tops = {(module, what) for module, what, _ in dependencies(TREES[name], whole=False)}
    late = [f"line {at}: {m}.{what}" for m, what, at in dependencies(TREES[name]) if (m, what) not in tops]
    assert late == [] or name.startswith("cli.")


@pytest.mark.parametrize("name", [n for n in MODULES if n])
def test_imports_point_down(name):
    level, wrong = LEVEL[name.split(".")[0]], []
    for target, line in imported(TREES[name]):
        if name.split(".")[0] == "runtime" and target.startswith("."):
            continue  # it is a distribution of its own too, under another name
        assert not target.startswith("."), f"line {line}: relative imports hide the layer"
        top = target.removeprefix("diabolo.").split(".")[0]
        if target.startswith("diabolo.") and top in LEVEL and LEVEL[top] > level:
            wrong.append(f"line {line}: {target}")
    assert wrong == []


@pytest.mark.parametrize("job", ["detect", "compress", "cluster", "generate"])
def test_jobs_import_no_other_job(job):
    others = {"detect", "compress", "cluster", "generate"} - {job}
    for name, tree in TREES.items():
        if name.split(".")[0] == job:
            assert not {d.split(".")[0] for d, _, _ in dependencies(tree)} & others, name


def test_the_package_itself_imports_nothing_before_it_is_asked():
    tree = TREES[""]
    at_import = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert {a.name for n in at_import for a in n.names} == {"annotations", "TYPE_CHECKING", "Any"}


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_are_small(name):
    lines = len(MODULES[name].read_text().splitlines())
    assert lines <= MOST_LINES or (LONGER.get(name))
    assert lines > MOST_LINES or name not in LONGER, "it is short now: take its reason out"
    for node in ast.walk(TREES[name]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


def dotted(node):
    """`np.random.seed` of an expression, as far as it is plain names."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


#: Never called: what runs code of a file, and what changes random numbers or settings that are the caller's.
CALLS = re.compile(
    r"(print|eval|exec|compile|breakpoint|input"
    r"|torch\.(load|save|manual_seed|seed|random\..*|set_default_dtype|set_default_device|use_deterministic_algorithms)"
    r"|torch\.cuda\.manual_seed(_all)?"
    r"|(np|numpy)\.random\.(?!default_rng|Generator|RandomState)\w+"
    r"|random\.\w+|(np|numpy)\.seterr|warnings\.(simplefilter|filterwarnings)"
    r"|os\.system|subprocess\..*)"
)
FOREIGN = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "random", "yaml", "subprocess"}


@pytest.mark.parametrize("name", MODULES)
def test_what_occurs_nowhere(name):
    wrong = [f"line {line}: import {m}" for m, line in imported(TREES[name]) if m.split(".")[0] in FOREIGN]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Assert):
            wrong.append(f"line {node.lineno}: assert vanishes under -O; raise an error of diabolo.errors")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            wrong.append(f"line {node.lineno}: a bare except swallows Ctrl-C")
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            if CALLS.fullmatch(called):
                wrong.append(f"line {node.lineno}: {called}")
            if any(k.arg == "allow_pickle" and getattr(k.value, "value", None) is not False for k in node.keywords):
                wrong.append(f"line {node.lineno}: allow_pickle")
            if called.endswith(".backward") and name != "train.engine":
                wrong.append(f"line {node.lineno}: only the engine steps")
    assert wrong == []


def test_the_engine_steps():
    calls = [dotted(n.func) for n in ast.walk(TREES["train.engine"]) if isinstance(n, ast.Call)]
    assert sum(c.endswith(".backward") for c in calls) == 1


# ── names and words ───────────────────────────────────────────────────────────────────────────────


def test_exported_names():
    assert set(diabolo.__all__) == {
        "AnomalyDetector",
        "Autoencoder",
        "Compressor",
        "DenoisingAutoencoder",
        "LatentClusterer",
        "LinearAutoencoder",
        "MaskedAutoencoder",
        "SparseAutoencoder",
        "VariationalAutoencoder",
        "__version__",
        "decompress",
        "information",
        "load",
        "plots",
        "report",
    }
    assert len(diabolo.__all__) == len(set(diabolo.__all__))
    for name in diabolo.__all__:
        assert getattr(diabolo, name) is not None
    assert set(dir(diabolo)) == set(diabolo.__all__)
    with pytest.raises(AttributeError, match="module 'diabolo' has no attribute 'nonsense'"):
        _ = diabolo.nonsense


@pytest.mark.parametrize("name", [n for n in MODULES if n and n != "__main__"])
def test_a_module_says_what_it_is_and_has_what_it_lists(name):
    module = importlib.import_module(f"diabolo.{name}")
    assert module.__doc__
    for listed in getattr(module, "__all__", []):
        assert hasattr(module, listed), listed


def test_the_changelog_tells_of_this_version():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased", "changes that no release has yet stand first"
    dated = [re.fullmatch(r"v(\d+\.\d+\.\d+), \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:]]
    assert all(dated), "a release's heading is like: v0.1.0, 2026-11-29"
    versions = [match[1] for match in dated]
    assert versions, "CHANGELOG.md has no release"
    assert versions[0] == diabolo.__version__
    assert versions == sorted(versions, key=lambda v: [int(n) for n in v.split(".")], reverse=True)


@pytest.mark.parametrize(
    "cls",
    [*CLASSES.values(), diabolo.AnomalyDetector, diabolo.Compressor, diabolo.LatentClusterer],
    ids=lambda c: c.__name__,
)
def test_public_docstrings(cls):
    assert inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    assert ">>> " in cls.__doc__, "a class shows how it is used"
    for name, member in inspect.getmembers(cls):
        ours = inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", member))
        if name.startswith("_") or not (getattr(ours, "__module__", None) or "").startswith("diabolo"):
            continue
        assert inspect.getdoc(ours), f"{cls.__name__}.{name} has no docstring"


def test_load_says_what_it_raises():
    assert "ModelFileError" in inspect.getdoc(diabolo.load)


def test_the_oldest_versions_that_are_tested_are_the_floors():
    """`make test-oldest` runs what pyproject.toml promises."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    promised = [*project["dependencies"]]
    for name in re.search(r"EXTRAS := (.*)", (ROOT / "Makefile").read_text())[1].split(","):
        promised += extras[name]
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    for requirement in promised:
        name, floor = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)(?:; .*)?", requirement).groups()
        assert re.fullmatch(rf"{re.escape(floor)}(\.0)*", tested[name]), requirement
