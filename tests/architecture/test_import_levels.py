"""The tree is the architecture: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import byol

ROOT = Path(byol.__file__).parent
LEVELS = {
    "errors": 0, "config": 0, "recipes": 0, "runtime": 0,
    "data": 1, "views": 1, "nets": 1, "methods": 1, "optim": 1, "diagnostics": 1,
    "engine": 2, "export": 2, "evaluate": 2.5,
    "build_networks": 3, "build": 3.5, "console": 4, "cli_options": 4, "commands": 4, "report": 4,
    "studies": 5, "cli_show": 5, "cli_transfer": 5, "explore": 4.5, "estimator": 5, "cli_explore": 5, "cli_completion": 5.5, "cli_evaluate": 5, "cli": 6, "__main__": 7, "__init__": 7,
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """First-level names below `byol` that a file imports at run time."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "byol":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("byol.")}
    return found


def test_every_file_imports_lower_levels_only() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in imports(path) - {place}:
            allowed = LEVELS[other] < LEVELS[place] or (place == "recipes" and other == "config")
            if place in ("config", "recipes"):
                allowed = other == "errors" or (place == "recipes" and other == "config")
            if other in ("config", "recipes") and place not in ("config", "recipes"):
                allowed = LEVELS[place] >= 3
            if other in ("errors", "__version__"):
                allowed = True
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []


def test_leaves_do_not_import_each_other() -> None:
    leaves = {name for name, level in LEVELS.items() if level == 1}
    for leaf in leaves:
        for path in (ROOT / leaf).rglob("*.py"):
            assert not (imports(path) - {leaf}) & leaves, path


def test_import_and_help_do_not_import_torch() -> None:
    code = "import sys, byol, byol.cli, byol.recipes; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils.py", "helpers.py", "misc.py", "common.py", "base.py"}
    assert not [path for path in ROOT.rglob("*.py") if path.name in empty]


def test_public_names_all_resolve() -> None:
    assert byol.__all__ == sorted(byol.__all__, key=lambda name: (name[0].islower(), name))
    assert all(getattr(byol, name) is not None for name in byol.__all__)


def test_no_file_is_long() -> None:
    assert {p.name: n for p in ROOT.rglob("*.py") if (n := p.read_text().count("\n")) > 400} == {}
