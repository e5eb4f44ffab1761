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
    "encoder": 1.5, "engine": 2, "export": 2, "imports": 2.25, "evaluate": 2.5,
    "assembly": 3, "training": 3.5, "report": 4, "commands": 4.25, "explore": 4.5, "studies": 5,
    "cli": 6, "__init__": 7, "__main__": 7,
}  # fmt: skip
RUNTIME = {f"byol.runtime.{path.stem}" for path in (ROOT / "runtime").glob("*.py")}
MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in ROOT.rglob("*.py")}


def imported_modules(path: Path, *, types: bool = False) -> set[str]:
    """Modules of the package that a file imports, inside functions too; `types`: also those for annotations alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
            and not types
        ):
            node.body = []
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "byol":
            modules |= {
                module if (module := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.split(".")[0] == "byol"}
    return {module if module in MODULES else f"{module}.__init__" for module in modules if module}


def imports(path: Path) -> set[str]:
    """Top-level names of the package that a file imports; `__init__` for a bare `import byol`."""
    return {module.split(".")[1] for module in imported_modules(path)}


def test_every_file_imports_lower_levels_only() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for other in imports(path) - {place}:
            allowed = LEVELS[other] < LEVELS[place] or other == "errors"
            if place == "config":
                allowed = other == "errors" or imported_modules(path) & RUNTIME == {"byol.runtime.view_policy"}
            elif place == "recipes":
                allowed = other in ("errors", "config")
            elif other in ("config", "recipes"):
                allowed = LEVELS[place] >= 3
            if not allowed:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of two or more files that import each other, directly or by way of others."""

    def reachable(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for other in graph[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reach = {module: reachable(module) for module in graph}
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return [set(group) for group in groups]


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: imported_modules(path) & MODULES.keys() for module, path in MODULES.items()}
    graph |= {module: graph[module] - {module} for module in graph}
    assert circles(graph) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [{"b", "c"}]


def test_top_of_the_package_holds_three_files() -> None:
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["__init__.py", "__main__.py", "errors.py"]


def test_leaves_do_not_import_each_other() -> None:
    leaves = {name for name, level in LEVELS.items() if level == 1}
    for leaf in leaves:
        for path in (ROOT / leaf).rglob("*.py"):
            assert not (imports(path) - {leaf}) & leaves, path


def test_import_and_help_do_not_import_torch() -> None:
    code = "import sys, byol, byol.cli.main, byol.recipes; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils.py", "helpers.py", "misc.py", "common.py", "base.py"}
    assert not [path for path in ROOT.rglob("*.py") if path.name in empty]


def test_public_names_all_resolve() -> None:
    assert byol.__all__ == sorted(byol.__all__, key=lambda name: (name[0].islower(), name))
    assert all(getattr(byol, name) is not None for name in byol.__all__)


def lengths(limit: int) -> dict[str, int]:
    """Lines of each file of the package that is longer than `limit`."""
    files = [path for kind in ("*.py", "*.cpp", "*.h") for path in ROOT.rglob(kind)]
    return {path.name: count for path in files if (count := path.read_text().count("\n")) > limit}


def test_no_file_is_long() -> None:
    assert lengths(400) == {}


def test_no_function_is_long() -> None:
    long = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (count := (node.end_lineno or 0) - node.lineno + 1) > 60:
                long[f"{path.relative_to(ROOT)}:{node.name}"] = count
    assert long == {}
