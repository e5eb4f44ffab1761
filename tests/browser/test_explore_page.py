"""The page of `byol explore` in a real Chromium, headless: `make test-browser`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byol.data.image_folder import ImageFolder
from byol.explore.library import open_library
from byol.explore.server import make_server
from tests.browser.test_report_page import NASTY, browser  # noqa: F401  (a fixture)
from tests.conftest import encoded, picture
from tests.unit.explore.coloured_library import CPU, make_encoder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 pictures with nasty names, and a copy of one."""
    (tmp_path / "photos").mkdir()
    for number in range(60):
        (tmp_path / "photos" / f"{number:02d}{NASTY}.jpg").write_bytes(encoded(picture(number), "JPEG"))
    (tmp_path / "photos" / "copy.jpg").write_bytes(encoded(picture(7), "JPEG"))
    return tmp_path / "photos"


@pytest.fixture
def page(browser: Browser, folder: Path, tmp_path: Path) -> Iterator[Page]:  # noqa: F811
    """The page, loaded. At the end: no error and no dialog was seen."""
    library, _ = open_library(make_encoder(), ImageFolder(folder, cache=None), CPU, tmp_path / "out")
    server = make_server(library)
    threading.Thread(target=server.serve_forever).start()
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    opened, wrong = context.new_page(), []
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    opened.goto(f"http://127.0.0.1:{server.server_port}/?of={server.RequestHandlerClass.token}")  # pyright: ignore
    opened.wait_for_selector("body[data-ready=yes]", timeout=60_000)
    yield opened
    context.close()
    server.shutdown()
    server.server_close()
    assert wrong == []


def test_search_by_example_shows_the_image_first(page: Page, folder: Path) -> None:
    page.set_input_files("#file", folder / f"12{NASTY}.jpg")
    page.wait_for_selector("#thumbs .thumb")
    assert page.locator("#thumbs .thumb").first.get_attribute("title") == f"12{NASTY}.jpg"
    page.locator("#thumbs .thumb").first.click()
    page.click("#more-like-this")
    page.wait_for_function("document.getElementById('title').textContent.includes('12')")
    assert page.locator("#thumbs .thumb").count() == 24


def test_duplicate_is_found(page: Page) -> None:
    page.click("#tab-duplicates")
    page.click("#find-duplicates button")
    page.wait_for_selector(".pair")
    words = page.locator(".pair").first.inner_text()
    assert "the same pixels" in words
    assert "copy.jpg" in words


def test_cluster_is_named_and_exported(page: Page, tmp_path: Path) -> None:
    page.click("#tab-clusters")
    page.locator(".cluster input").first.fill("my <i>birds</i>")
    page.locator(".cluster button[type=submit]").first.click()
    page.wait_for_selector("#message:not([hidden])")
    assert "names written to" in page.inner_text("#message")
    (written,) = (tmp_path / "out").glob("*.txt")
    size = int(page.locator(".cluster b").first.inner_text().rpartition(" ")[2])
    assert len(written.read_text().splitlines()) == size
    assert page.locator(".cluster b").first.inner_text().startswith("my <i>birds</i>")


def test_map_makes_room_for_a_message(page: Page) -> None:
    drawn = "document.querySelector('#map .main-svg').getBoundingClientRect().bottom"
    below = "document.querySelector('.hint').getBoundingClientRect().top"
    page.evaluate("say('something was written')")
    page.wait_for_function(f"{drawn} <= {below} + 1")


def test_page_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 850})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('header').getBoundingClientRect().height") < 120


def test_region_is_selected_and_exported(page: Page, tmp_path: Path) -> None:
    page.click("#drag-lasso")
    box = page.locator("#map").bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 4, box["y"] + 4, box["x"] + box["width"] - 4, box["y"] + box["height"] - 60
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=5)
    page.mouse.up()
    page.wait_for_function("document.getElementById('title').textContent.includes('region')")
    assert page.inner_text("#title") == "61 images in the region"
    page.fill("#list-name", "everything")
    page.click("#export button")
    page.wait_for_selector("#message:not([hidden])")
    assert len((tmp_path / "out" / "everything.txt").read_text().splitlines()) == 61


def test_images_are_labelled_by_click_and_the_map_shows_guesses(page: Page, tmp_path: Path) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    for place, name in ((0, "cat"), (1, "dog"), (2, "cat"), (3, "dog")):
        page.fill("#class", name)
        page.locator("#thumbs .thumb").nth(place).click()
        page.wait_for_function(f"document.querySelectorAll('#thumbs .thumb.labelled').length === {place + 1}")
    assert page.locator("#thumbs .thumb span").first.inner_text() == "cat"
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 5
    page.wait_for_selector("#colours [aria-pressed=true]")
    assert page.inner_text("#colours [aria-pressed=true]") == "guesses"
    page.click("#undo")
    page.wait_for_function("document.querySelectorAll('#thumbs .thumb.labelled').length === 3")
    page.click("#accept")
    page.wait_for_function("document.querySelectorAll('#thumbs .thumb:not(.labelled)').length === 0")
