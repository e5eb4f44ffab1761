"""The page of `byol explore` in a real Chromium, headless: `make test-browser`."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from byol.data.image_folder import ImageFolder
from byol.explore.labels import Labels
from byol.explore.library import open_library
from byol.explore.server import make_server
from tests.browser.test_report_page import NASTY, browser  # noqa: F401  (a fixture)
from tests.conftest import encoded, picture
from tests.unit.explore.coloured_library import CPU, make_subject

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
def page(
    browser: Browser,  # noqa: F811
    folder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Page]:
    """The page, loaded, with the parameter as images to label first. At the end: no error and no dialog was seen."""
    source, first = ImageFolder(folder, cache=None), getattr(request, "param", ())
    library, _ = open_library(make_subject(tmp_path / "run"), source, CPU, tmp_path / "out", first=first)
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


def wait_until(page: Page, condition: str) -> None:
    """Waits until a JavaScript expression is true. (The page's policy forbids `wait_for_function`, which evaluates text there.)"""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def test_search_by_example_shows_the_image_first(page: Page, folder: Path) -> None:
    page.set_input_files("#file", folder / f"12{NASTY}.jpg")
    page.wait_for_selector("#thumbs .thumb")
    assert page.locator("#thumbs .thumb").first.get_attribute("title") == f"12{NASTY}.jpg"
    page.locator("#thumbs .thumb").first.click()
    page.click("#more-like-this")
    wait_until(page, "document.getElementById('title').textContent.includes('12')")
    assert page.locator("#thumbs .thumb").count() == 24


def test_duplicates_are_counted_shown_and_listed_for_export(page: Page, tmp_path: Path) -> None:
    page.click("#tab-duplicates")
    page.click("#find-duplicates button[type=submit]")
    page.wait_for_selector(".group")
    words = page.locator(".group", has_text="copy.jpg").inner_text()
    assert words.startswith("2 images") and f"07{NASTY}.jpg" in words and words.count("same pixels") == 2
    groups, repeated = re.match(r"(\d+) groups?: (\d+) images? repeats?", page.inner_text("#group-count")).groups()  # pyright: ignore[reportOptionalMemberAccess]
    assert page.locator(".group").count() == int(groups)
    page.click("#repeated")
    assert page.locator("#thumbs .thumb").count() == int(repeated)
    page.click("#export button")
    page.wait_for_selector("#message:not([hidden])")
    assert "copy.jpg" in (tmp_path / "out" / "duplicates.txt").read_text()


def test_groups_come_in_portions(page: Page) -> None:
    page.evaluate("""() => {
        duplicates = { images: new Int32Array(246).map((_, i) => i % 61), cosine: new Float32Array(246).fill(1), equal: new Uint8Array(246), count: 0 };
        duplicates.groups = [...Array(82).keys()].map((i) => [3 * i, 3 * i + 3]);
        tab("duplicates");
        moreGroups();
    }""")
    for count in (40, 80, 82):
        assert page.locator(".group").count() == count
        if count < 82:
            page.click("#more-groups")
    assert page.locator("#more-groups").is_hidden()


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
    drawn = "document.querySelector('#map').getBoundingClientRect().bottom"
    below = "document.querySelector('.hint').getBoundingClientRect().top"
    page.evaluate("say('something was written')")
    wait_until(page, f"{drawn} <= {below} + 1")


def place_of(page: Page, image: int) -> tuple[float, float]:
    """Place of the point of an image on the screen, as the map draws it."""
    left, top = page.evaluate(
        """(image) => {
            const [across, down] = scales();
            const box = map.canvas.getBoundingClientRect();
            return [box.left + map.canvas.clientWidth / 2 + (map.points[2 * image] - map.x) * across,
                    box.top + map.canvas.clientHeight / 2 - (map.points[2 * image + 1] - map.y) * down];
        }""",
        image,
    )
    return left, top


def colour_at(page: Page, place: tuple[float, float]) -> list[int]:
    """Red, green and blue of the canvas at a place of the screen."""
    return page.evaluate(
        """([left, top]) => new Promise((tell) => requestAnimationFrame(() => requestAnimationFrame(() => {
            const box = map.canvas.getBoundingClientRect();
            tell([...map.pen.getImageData(Math.round(left - box.left), Math.round(top - box.top), 1, 1).data.slice(0, 3)]);
        })))""",
        list(place),
    )


def test_map_draws_points_moves_zooms_and_hits_them(page: Page) -> None:
    background = [0xF6, 0xF7, 0xF9]
    edge = page.evaluate(
        "[...map.points].findIndex((value, at) => at % 2 === 0 && value === Math.min(...[...map.points].filter((_, i) => i % 2 === 0))) / 2"
    )
    first = place_of(page, edge)
    assert colour_at(page, first) != background and colour_at(page, (first[0] - 15, first[1])) == background
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(first[0] + 90, first[1] - 40, steps=4)
    page.mouse.up()
    moved = place_of(page, edge)
    assert moved == pytest.approx((first[0] + 90, first[1] - 40), abs=1)
    assert colour_at(page, moved) != background
    assert page.inner_text("#title") == "Nothing chosen yet"  # to move is no click
    page.mouse.move(*moved)
    page.wait_for_selector("#tip:not([hidden])")
    name = page.evaluate(f"library.names[{edge}]")
    assert name in page.inner_text("#tip")
    other = (edge + 1) % 61
    apart = [abs(a - b) for a, b in zip(moved, place_of(page, other), strict=True)]
    page.mouse.wheel(0, -400)
    wait_until(page, "map.zoom > 1.5")
    assert place_of(page, edge) == pytest.approx(moved, abs=1)  # what is under the pointer stays there
    assert [abs(a - b) for a, b in zip(moved, place_of(page, other), strict=True)] > apart
    page.mouse.click(*moved)
    wait_until(page, "document.getElementById('title').textContent.startsWith('Most similar to')")
    assert page.locator("#query .thumb").get_attribute("title") == name
    page.mouse.dblclick(*place_of(page, edge))
    wait_until(page, "map.zoom === 1 && map.x === 0")


def test_hidden_groups_are_neither_drawn_nor_hit_nor_selected(page: Page) -> None:
    image = int(page.evaluate("map.groups[0].images[0]"))
    place, size = place_of(page, image), int(page.evaluate("map.groups[0].images.length"))
    page.locator("#legend .entry").first.click()
    assert page.locator("#legend .entry").first.get_attribute("aria-pressed") == "false"
    assert (
        page.evaluate(
            "([x, y]) => pointAt([x - map.canvas.getBoundingClientRect().left, y - map.canvas.getBoundingClientRect().top])",
            list(place),
        )
        != image
    )
    everywhere = "[[-9, -9], [9999, -9], [9999, 9999], [-9, 9999]]"
    assert page.evaluate(f"pointsInside({everywhere}).length") == 61 - size
    page.locator("#legend .entry").first.click()
    assert page.evaluate(f"pointsInside({everywhere}).length") == 61


def test_page_fits_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 850})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wait_until(page, "document.getElementById('map').clientHeight === 420")
    assert page.evaluate("document.querySelector('header').getBoundingClientRect().height") < 120


def test_region_is_selected_and_exported(page: Page, tmp_path: Path) -> None:
    page.click("#drag-lasso")
    box = page.locator("#map").bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 4, box["y"] + 4, box["x"] + box["width"] - 4, box["y"] + box["height"] - 4
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=5)
    page.mouse.up()
    wait_until(page, "document.getElementById('title').textContent.includes('region')")
    assert page.inner_text("#title") == "61 images in the region"
    page.fill("#list-name", "everything")
    page.click("#export button")
    page.wait_for_selector("#message:not([hidden])")
    assert len((tmp_path / "out" / "everything.txt").read_text().splitlines()) == 61


def test_images_are_labelled_by_click_and_the_map_shows_guesses(page: Page, tmp_path: Path) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    top = page.locator("#thumbs").bounding_box()
    page.fill("#class", "cat")
    page.press("#class", "Enter")  # chooses the class, and labels nothing
    assert page.locator("#thumbs .thumb.labelled").count() == 0
    for place, name in ((0, "cat"), (1, "dog"), (2, "cat"), (3, "dog")):
        page.fill("#class", name)
        page.locator("#thumbs .thumb").nth(place).click()
        wait_until(page, f"document.querySelectorAll('#thumbs .thumb.labelled').length === {place + 1}")
    assert page.locator("#thumbs .thumb .caption").first.inner_text() == "cat"
    assert page.locator("#thumbs").bounding_box() == top  # messages move nothing
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 5
    page.wait_for_selector("#colours [aria-pressed=true]")
    assert page.inner_text("#colours [aria-pressed=true]") == "guesses"
    page.click("#undo")
    wait_until(page, "document.querySelectorAll('#thumbs .thumb.labelled').length === 3")
    page.click("#accept")
    wait_until(page, "document.querySelectorAll('#thumbs .thumb:not(.labelled)').length === 0")


@pytest.mark.parametrize("page", [[*range(50, 2, -2)]], indirect=True)
def test_page_counts_through_the_list_and_what_is_labelled_of_those_shown(page: Page) -> None:
    """The 24 images of the list, which the page shows by itself, then others."""
    assert page.inner_text("#title") == "1\u201320 of 24 to label first"
    assert page.inner_text("#progress") == "0 of these 20 labelled"
    page.fill("#class", "cat")
    for place in range(3):
        page.locator("#thumbs .thumb").nth(place).click()
        wait_until(page, f"document.getElementById('progress').textContent === '{place + 1} of these 20 labelled'")
    page.click("#next")
    wait_until(page, "document.getElementById('title').textContent === '4\u201323 of 24 to label first'")
    page.click("#label-shown")
    wait_until(page, "document.getElementById('progress').textContent === 'all 20 labelled'")
    page.click("#next")
    wait_until(page, "document.getElementById('title').textContent === '24 of 24 to label first'")
    page.fill("#class", "dog")
    page.click("#label-shown")
    wait_until(page, "document.getElementById('progress').textContent === 'all 1 labelled'")
    page.click("#next")
    wait_until(page, "document.getElementById('title').textContent === '20 to label next, of 37 without a label'")
    assert page.inner_text("#progress") == "All 24 of the list are labelled; of others: 0 of these 20 labelled"
    page.click("#tab-clusters")
    page.locator(".cluster button", has_text="Show all").first.click()
    assert page.locator("#progress").is_hidden()


def test_label_is_taken_away_only_where_that_is_asked_for(page: Page, tmp_path: Path) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    page.fill("#class", "cat")
    first = page.locator("#thumbs .thumb").first
    name = first.get_attribute("title")
    first.click()
    wait_until(page, "document.querySelectorAll('#thumbs .thumb.labelled').length === 1")
    first.click()
    wait_until(page, "document.getElementById('message').textContent.includes('is cat already')")
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 2
    page.click("#remove-by-click")
    assert page.get_attribute("#label-by-click", "aria-pressed") == "false"
    page.locator("#thumbs .thumb").nth(1).click()
    wait_until(page, "document.getElementById('message').textContent.includes('has no label')")
    first.click()
    wait_until(page, "document.querySelectorAll('#thumbs .thumb.labelled').length === 0")
    assert f"took the label cat from {name}" in page.inner_text("#message")
    assert len((tmp_path / "out" / "labels.csv").read_text().splitlines()) == 1
    page.click("#undo")
    wait_until(page, "document.querySelectorAll('#thumbs .thumb.labelled').length === 1")
    page.click("#remove-by-click")
    first.click()
    assert page.locator("#large").is_visible()  # no mode: a click enlarges


def test_guesses_are_read_whole_and_rows_stay_where_they_are(page: Page) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    fifteenth = page.locator("#thumbs .thumb").nth(14)
    before = fifteenth.bounding_box()
    for place, name in ((0, "golden retriever"), (1, "springer spaniel")):
        page.fill("#class", name)
        page.locator("#thumbs .thumb").nth(place).click()
        wait_until(page, f"document.querySelectorAll('#thumbs .thumb.labelled').length === {place + 1}")
    words = page.locator("#thumbs .thumb").nth(4).locator(".caption")
    assert re.fullmatch(r"(golden retriever|springer spaniel)\? [01]\.\d\d", words.inner_text().replace("\n", " "))
    cut_off = "[...document.querySelectorAll('#thumbs .thumb .caption')].filter((e) => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight + 1).length"
    assert page.evaluate(cut_off) == 0
    assert fifteenth.bounding_box() == before


def test_fast_clicks_are_answered_in_their_order(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first label takes the longest; what is to be labelled next waits for all of them."""
    slow, give = [0.9, 0.6, 0.3, 0.0], Labels.give
    monkeypatch.setattr(Labels, "give", lambda *a: (time.sleep(slow.pop(0)), give(*a)))
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    page.fill("#class", "cat")
    page.evaluate("[...document.querySelectorAll('#thumbs .thumb')].slice(0, 4).forEach((thumb) => thumb.click())")
    page.evaluate("document.getElementById('next').click()")
    wait_until(page, "document.getElementById('title').textContent === '20 to label next, of 57 without a label'")
    assert page.evaluate("labels.label.filter((number) => number >= 0).length") == 4
    assert page.inner_text("#progress") == "0 of these 20 labelled"


def test_a_place_that_is_clicked_is_found_in_other_images(page: Page) -> None:
    page.click("#tab-clusters")
    page.locator("#cluster-list .thumb").first.click()
    picture = page.locator("#large img")
    name = picture.evaluate("picture => picture.parentElement.querySelector('p').textContent")
    wait_until(page, "document.querySelector('#large img').naturalWidth > 0")
    frame = picture.bounding_box()
    assert frame is not None
    picture.click(position={"x": frame["width"] * 0.95, "y": frame["height"] * 0.05})
    wait_until(page, "document.querySelectorAll('#thumbs .place-ring').length === 24")
    wait_until(page, "document.querySelector('#note').textContent.includes('Compared with 61 of 61 images')")
    assert page.locator("#thumbs .thumb").first.get_attribute("title") == name
    own, ring = page.locator("#thumbs .place-frame").first.bounding_box(), page.locator("#thumbs .place-ring").first.bounding_box()  # fmt: skip
    shade = page.locator("#thumbs .place-frame canvas").first.bounding_box()
    assert own is not None and ring is not None and shade is not None
    x, y = (ring["x"] + 6 - shade["x"]) / shade["width"], (ring["y"] + 6 - shade["y"]) / shade["height"]
    assert x > 0.7 and y < 0.3
    assert shade["width"] == pytest.approx(own["width"], abs=1) and shade["height"] < own["height"]
    assert page.locator("#export").is_visible()
    note = page.locator("#note").bounding_box()
    assert note is not None and note["width"] > 400  # not in the column of a thumbnail
    page.click("#back")
    assert page.locator("#cluster-list").is_visible() and page.inner_text("#message") == ""


def test_a_newer_list_stops_the_search_for_places(page: Page) -> None:
    page.click("#tab-clusters")
    page.locator("#cluster-list .thumb").first.click()
    wait_until(page, "document.querySelector('#large img').naturalWidth > 0")
    page.click("#large img")
    page.click("#tab-clusters")
    page.locator("#cluster-list button", has_text="Show all").first.click()
    page.wait_for_timeout(1500)
    assert page.locator("#thumbs .place-ring").count() == 0 and "cluster" in page.locator("#title").inner_text()


def label(page: Page, *names: str) -> None:
    """Gives classes to the first thumbnails by clicks."""
    for place, name in enumerate(names):
        page.fill("#class", name)
        page.locator("#thumbs .thumb").nth(place).click()
        wait_until(page, f"document.querySelectorAll('#thumbs .thumb.labelled').length === {place + 1}")


def test_labels_of_all_shown_reach_no_other_image_and_no_label(page: Page, tmp_path: Path) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    label(page, "cat", "dog", "bird")
    assert page.inner_text("#label-shown") == "Label 17 shown" and page.inner_text("#accept") == "Accept 17 guesses"
    page.click("#tab-duplicates")  # empty before the search
    wait_until(page, "document.getElementById('label-shown').textContent === 'Label 0 shown'")
    assert page.is_disabled("#label-shown") and page.is_disabled("#accept")
    page.click("#tab-results")
    page.evaluate("document.getElementById('thumbs').lastElementChild.remove()")
    wait_until(page, "document.getElementById('label-shown').textContent === 'Label 16 shown'")
    page.fill("#class", "cat")
    page.click("#label-shown")
    wait_until(page, "document.getElementById('label-shown').disabled")
    written = [line.rpartition(",")[2] for line in (tmp_path / "out" / "labels.csv").read_text().splitlines()]
    assert sorted(written) == ["bird", *["cat"] * 17, "dog", "label"]


def test_new_class_with_a_near_name_is_asked_about(page: Page) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    label(page, "tulips", "daisy")
    assert page.inner_text("#message").startswith("new class daisy; 2 labelled")
    third = page.locator("#thumbs .thumb").nth(2)
    for slip, near in (("Tulip", "tulips"), ("tulps", "tulips"), ("daisies", "daisy"), ("Daisy", "daisy")):
        page.fill("#class", slip)
        third.click()
        assert page.inner_text("#message").startswith(f"new class {slip}? {near} exists: press Enter")
    assert page.evaluate("labels.classes") == ["daisy", "tulips"]
    page.press("#class", "Enter")
    third.click()
    wait_until(page, "labels.classes.join() === 'Daisy,daisy,tulips'")
    page.click("#undo")
    wait_until(page, "document.getElementById('class').value === 'daisy'")  # as before Daisy
    page.fill("#class", "rose")
    third.click()
    wait_until(page, "labels.classes.join() === 'daisy,rose,tulips'")
    for different in ("[['cat', 'car'], ['plot 1', 'plot 2'], ['rose', 'daisy']]",):
        assert page.evaluate(f"{different}.some(([a, b]) => areNear(a, b))") is False


def test_page_says_what_to_do_first_and_what_comes_after_the_labels(page: Page, tmp_path: Path) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    assert page.inner_text("#how") == "Type a class, then click its photos. Shift+click enlarges a photo."
    page.click("#next")
    wait_until(page, "document.getElementById('message').textContent.startsWith('None of these 20 has a label yet')")
    label(page, "cat", "dog", "cat")
    assert page.locator("#how code").count() == 0
    label_by = page.locator("#thumbs .thumb").nth(3)
    page.fill("#class", "dog")
    label_by.click()
    page.wait_for_selector("#how code")
    words = f"classify fit {tmp_path / 'run'} --data {tmp_path / 'photos'} --labels {tmp_path / 'out' / 'labels.csv'}"
    assert f"{words} --out {tmp_path / 'sorter'}" in page.inner_text("#how code")
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    assert page.inner_text("#title") == "20 to label next, of 57 without a label"
    assert page.inner_text("#colours [aria-pressed=true]") == "guesses"
    assert page.locator("#how code").is_visible()
    page.click("#remove-by-click")
    assert page.inner_text("#how").startswith("Click the photos that shall lose their label.")


def test_image_is_enlarged_while_labelling_and_thumbnails_fill_the_room(page: Page) -> None:
    page.click("#next")
    page.wait_for_selector("#thumbs .thumb")
    page.locator("#thumbs .thumb").nth(3).click(modifiers=["Shift"])
    assert page.locator("#large").is_visible() and page.get_attribute("#label-by-click", "aria-pressed") == "true"
    page.locator("#large button", has_text="Close").click()
    page.set_viewport_size({"width": 1920, "height": 1080})
    wait_until(page, "document.querySelector('#thumbs .thumb').clientWidth > 110")
    first, last = (page.locator("#thumbs .thumb").nth(n).bounding_box() for n in (0, 19))
    assert first is not None and last is not None
    assert first["width"] <= 129 and last["y"] + last["height"] <= 1080
    name = page.locator("#thumbs .thumb").first.get_attribute("title")
    label(page, "cat")
    assert page.locator("#thumbs .thumb .name").first.inner_text() == name  # stays beside the class
