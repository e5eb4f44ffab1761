"""The documentation builds as a site, without a warning and without the network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import byol
from byol.cli.main import COMMANDS
from tests.docs.pages import PAGES, ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / "doctrees")]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "PYTHONPATH": paths}
    ended = subprocess.run(
        [*sphinx, str(ROOT / "docs"), str(folder / "site")],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return folder / "site"


def test_site_has_every_page_and_asks_nothing_of_the_network(site: Path) -> None:
    pages = [page for page in PAGES if page.parent == ROOT / "docs"]
    assert len(pages) > 10
    for page in pages:
        text = (site / f"{page.stem}.html").read_text()
        assert re.findall(r"<(?:script|img|link|iframe|source)[^>]+(?:src|href)=\"(?:https?:)?//[^\"]+", text) == []


def test_site_describes_every_public_name_and_every_command(site: Path) -> None:
    python, commands = (site / "python.html").read_text(), (site / "commands.html").read_text()
    for name in byol.__all__:
        assert name == "__version__" or f'id="byol.{name}"' in python, name
    for name in COMMANDS:
        assert f'<section id="{name}">' in commands, name
        assert f"usage: byol {name} " in re.sub(r"<[^>]+>", "", commands), name
