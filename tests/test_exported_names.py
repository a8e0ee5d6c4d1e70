"""What a module exports is in its `__all__`, and only that is documented at length."""

import ast
import re

import pytest
from test_import_order import MODULES

TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
SECTIONS = re.compile(r"^\s*(Args|Returns|Yields|Raises|Attributes|Example|Source):", re.MULTILINE)


def exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def defined(tree: ast.Module) -> set[str]:
    names = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {ast.unparse(target) for target in targets}
    return names


@pytest.mark.parametrize("name", [name for name, tree in TREES.items() if exported(tree)])
def test_exported_names_are_there_and_documented(name):
    tree = TREES[name]
    assert set(exported(tree)) <= defined(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in exported(tree):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("name", TREES)
def test_only_exported_names_have_a_long_docstring(name):
    layers = name.startswith("casme_tf.layers.")  # exported by their package
    command = name.startswith("casme_tf.cli")
    for node in TREES[name].body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or layers or command:
            continue
        long = SECTIONS.search(ast.get_docstring(node) or "")
        assert not long or node.name in exported(TREES[name]), node.name
