"""Links, paths and names of README and docs exist; pages have their kind and their length."""

import re
from pathlib import Path

import pytest

from byol.recipes import RECIPES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = [
    path
    for folder in ("src", "benchmarks", "tools", "examples", "runs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".sh", ".sbatch"} and "docs/" in path.read_text()
]
FOLDERS = {path.name for parent in (ROOT, ROOT / "src" / "byol") for path in parent.iterdir() if path.is_dir()} - {
    "runs"
}
"""Paths that begin with another name are a reader's own."""
KINDS = {
    "Guides": "adapt alternatives choosing-a-recipe classify curate evaluation export faq getting-started maps other-tools own-images scaling studies tutorial",
    "Reference": "commands design paper-map python",
    "Ledger": "decisions results speed study-results trials why-it-works",
}
LINES = {"README.md": 98, "docs/design.md": 120}
"""Largest number of lines."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_links_and_paths_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    for path in re.findall(r"`([\w.]+/(?:[\w.-]+/)*(?:[\w-]+\.(?:py|cpp|jsonl?|sh|txt))?)`", text):
        if path.partition("/")[0] in FOLDERS:
            assert (ROOT / "src" / "byol" / path).exists() or (ROOT / path).exists(), path


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.relative_to(ROOT)))
def test_source_names_pages_that_exist(source: Path) -> None:
    for page in re.findall(r"\bdocs/([\w-]+\.(?:md|png|ipynb))", source.read_text()):
        assert page in {path.name for path in (ROOT / "docs").iterdir()}, page


def test_map_names_functions_that_exist() -> None:
    for path, names in re.findall(
        r"`((?:[a-z_]+/)?[a-z_0-9]+\.py)`((?:,? `[A-Za-z_](?:(?!\.py)[\w.])*`)+)",
        (ROOT / "docs/paper-map.md").read_text(),
    ):
        code = (ROOT / "src/byol" / path).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            leaf = name.split(".")[-1]
            assert re.search(rf"(def|class) {leaf}\b|^{leaf} =", code, re.MULTILINE), (path, name)


def test_map_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/paper-map.md").read_text()))
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert {name for name in named if f"def {name}(" not in written} == set()


def test_every_recipe_is_in_the_table() -> None:
    text = (ROOT / "docs" / "choosing-a-recipe.md").read_text()
    assert {name for name in RECIPES if f"`{name}`" not in text} == set()


def test_readme_has_its_commands() -> None:
    text = (ROOT / "README.md").read_text()
    for command in ("    make demo ", "    make test ", "    byol pretrain --data ", "    byol embed "):
        assert f"\n{command}" in text


@pytest.mark.parametrize("page", LINES)
def test_page_is_short(page: str) -> None:
    assert len((ROOT / page).read_text().splitlines()) <= LINES[page]


def test_site_lists_every_page_by_its_kind() -> None:
    blocks = re.findall(
        r"```{toctree}\n:caption: (\w+)\n:maxdepth: 1\n\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL
    )
    assert {caption: " ".join(sorted(names.split())) for caption, names in blocks} == KINDS
    assert {page.stem for page in PAGES[1:]} - {name for _, names in blocks for name in names.split()} == {"index"}
