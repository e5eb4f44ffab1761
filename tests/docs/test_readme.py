"""What README and docs point at exists."""

import re
from pathlib import Path

import pytest

from byol.recipes import RECIPES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_links_and_paths_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / link).exists(), link
    source = ROOT / "src" / "byol"
    for path in re.findall(
        r"`((?:views|nets|methods|optim|engine|data|recipes|diagnostics|evaluate|export|runtime|commands)/[\w./]+\.py)`",
        text,
    ):
        assert (source / path).exists(), path


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


def test_readme_has_its_two_commands_and_every_page_is_in_the_site() -> None:
    text = (ROOT / "README.md").read_text()
    for command in ("    make demo ", "    make test ", "    byol pretrain --data ", "    byol embed "):
        assert f"\n{command}" in text
    index = (ROOT / "docs" / "index.md").read_text()
    assert {page.stem for page in PAGES[1:] if f"\n{page.stem}\n" not in index} == {"index"}
