"""The import graph of lib against the module map of CONTRIBUTING.md, which is its single statement."""

import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import line_budget
from tools.articles import lib_imports, modules

ROOT = Path(__file__).parents[1]
MODULES = {name: path for name, path in modules(ROOT).items() if path.name != "__init__.py"}
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "sympy",
    "matplotlib",
    "pandas",
    "sklearn",
    "transformers",
    "captum",
    "huggingface_hub",
)
LATE = ("transformers", "captum", "sklearn", "huggingface_hub", "pandas", "pyarrow", "datasets")


def layer_table(text):
    """{module: number of its layer} from the table `| 1 ground | `config` | ... |`; an empty first cell repeats."""
    layers, number = {}, 0
    for row in re.finditer(r"^\| *(?:(\d+) \w+)? *\| *`([\w.]+)` *\|", text, re.MULTILINE):
        number = int(row[1]) if row[1] else number
        assert row[2] not in layers, f"{row[2]} stands twice in the module map"
        layers[row[2]] = number
    return layers


LAYERS = layer_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def graph(files):
    """{module: the modules of lib it imports}, packages left out."""
    return {name: lib_imports(path.read_text(encoding="utf-8"), files) - {name} for name, path in files.items()}


def upward(edges, layers):
    """The imports that point from a layer to a higher one."""
    at = {f"lib.{name}": number for name, number in layers.items()}
    return [f"{a} -> {b}" for a, targets in edges.items() for b in targets if a in at and b in at and at[a] < at[b]]


def loads(code, names):
    """Which of these packages are loaded after running `code` in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*sorted(set({names!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.split()


def test_the_table_is_read():
    assert LAYERS["config"] == 1 and LAYERS["ledger"] == 1 and max(LAYERS.values()) == 5
    assert layer_table("| 1 ground | `a` | x |\n| | `b.c` | y |\n| 2 up | `d` | z |") == {"a": 1, "b.c": 1, "d": 2}


def test_every_module_is_in_the_map_and_every_entry_exists():
    assert {name.removeprefix("lib.") for name in MODULES} == set(LAYERS)


def test_no_import_points_upwards():
    assert upward(graph(MODULES), LAYERS) == []


def test_there_are_no_circles():
    list(graphlib.TopologicalSorter(graph(MODULES)).static_order())  # raises CycleError with the circle


def test_planted_faults_are_caught(tmp_path):
    for name, text in (("a", "def f():\n    from lib import b"), ("b", "import lib.c"), ("c", "from lib.a import f")):
        path = tmp_path / "lib" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    edges = graph(modules(tmp_path))
    assert edges == {"lib.a": {"lib.b"}, "lib.b": {"lib.c"}, "lib.c": {"lib.a"}}
    assert upward(edges, {"a": 1, "b": 1, "c": 2}) == ["lib.b -> lib.c"]
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter(edges).static_order())


@pytest.mark.slow
def test_import_lib_loads_nothing():
    assert loads("import lib, lib.data", HEAVY) == []


@pytest.mark.slow
def test_configuration_and_ledger_load_no_numerics():
    assert loads("import lib.config, lib.ledger", HEAVY) == []


@pytest.mark.slow
def test_no_module_loads_at_import_what_a_function_may_need():
    assert loads("\n".join(f"import {name}" for name in MODULES), LATE) == []


def test_modules_without_torch_code_do_not_load_it():
    loading = {
        name for name, path in MODULES.items() if re.search(r"^(import|from) torch", path.read_text(), re.MULTILINE)
    }
    assert not loading & {"lib.config", "lib.ledger", "lib.figures"}


def test_the_line_budget_lists_every_module_and_flags_the_long_ones(tmp_path, capsys):
    (tmp_path / "lib").mkdir()
    for name, count in (("short", 250), ("long", 251)):
        (tmp_path / "lib" / f"{name}.py").write_text("x = 1\n" * count)
    assert line_budget.lines(tmp_path) == {"lib.short": 250, "lib.long": 251}
    assert line_budget.main(tmp_path) == 0
    total, long, short = sorted(capsys.readouterr().out.splitlines())
    assert "over the budget" in long and "over the budget" not in short and total == "2 modules, 501 lines"
