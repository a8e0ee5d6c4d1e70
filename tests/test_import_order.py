"""Who may import whom: packages of a lower floor only, and no circle; read from the source."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import casme_tf

PACKAGE = Path(casme_tf.__file__).parent

FLOORS = (
    {"layers"},
    {"clips", "models"},
    {"datasets"},
    {"training", "synthetic"},
    {"export"},
    {"evaluation", "recognition"},
    {"cli"},
)
"""The ground modules lie below all of them. Packages of one floor do not import each other."""

ALLOWED = {("recognition", "synthetic")}
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
NO_TENSORFLOW = {"clips"}
"""Packages that answer before TensorFlow has started."""


def module_name(path: Path) -> str:
    parts = ("casme_tf", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Names of everything imported anywhere in a file."""
    base = module_name(path).split(".")
    base = base if path.stem == "__init__" else base[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{module}.{alias.name}" for alias in node.names} & set(MODULES)
            names |= inner or {module}
    return names


def package(name: str) -> str | None:
    """Package of a module of casme_tf; None for the ground modules."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else None


def test_the_packages_are_these():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(FLOOR)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downwards(name):
    here = package(name)
    for imported in imports(MODULES[name]):
        top = imported.split(".")[0]
        assert top not in {"scripts", "tests", "support"}
        there = package(imported) if top == "casme_tf" else None
        if (
            there is None
            or there == here
            or (here, there) in ALLOWED
            or name == "casme_tf.__main__"
        ):
            continue
        assert here is not None, f"the ground module {name} imports {imported}"
        assert FLOOR[there] < FLOOR[here], f"{name} imports {imported}"


@pytest.mark.parametrize("name", MODULES)
def test_tensorflow_and_mediapipe_stay_where_they_belong(name):
    tops = {imported.split(".")[0] for imported in imports(MODULES[name])}
    if package(name) is None or package(name) in NO_TENSORFLOW:
        assert not tops & {"tensorflow", "keras", "tensorflow_datasets"}
    assert name == "casme_tf.clips.mediapipe_face" or "mediapipe" not in tops


def test_no_circle_of_modules():
    graph = {
        name: {each for each in imports(path) if each in MODULES and each != name}
        for name, path in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_importing_the_package_is_cheap():
    code = (
        "import sys, casme_tf, casme_tf.cli.main\n"
        "heavy = {'tensorflow', 'keras', 'mediapipe', 'cv2', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_scripts_are_the_verbs_of_the_chain():
    from casme_tf.cli.main import VERBS

    scripts = {path.stem for path in (PACKAGE.parent / "scripts").glob("*.py")}
    chain = {"prepare_dataset", "train", "crossval", "evaluate", "export", "predict"}
    assert scripts == chain <= {name.replace("-", "_") for name in VERBS}
    assert all(callable(module.run) for module in VERBS.values())
