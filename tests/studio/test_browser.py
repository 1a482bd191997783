"""The page in a real browser: each of its four parts, by keyboard too, at a phone's width, and nothing fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_studio import toy_bench

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
pytest.importorskip("gradio", reason="no gradio: pip install 'evenhand[studio]'")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install -y chromium"),
    # of libraries that the page's server is made of, and of sockets that the browser leaves open
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from evenhand.studio.run import serve_page

    folder = tmp_path_factory.mktemp("studio")
    before = Path.cwd()
    os.chdir(folder)
    address, close = serve_page(toy_bench(unsafe="male"), port=0, folder=folder / "runs" / "studio")
    yield address
    close()
    os.chdir(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        one = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def page(studio: str, browser: Any) -> Iterator[Any]:
    """A tab of its own; it fails where anything is asked of another address."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab, strangers = context.new_page(), []
    tab.set_default_timeout(20_000)
    playwright.expect.set_options(timeout=15_000)
    tab.on("request", lambda one: None if one.url.startswith((studio, "data:", "blob:")) else strangers.append(one.url))
    tab.goto(studio)
    yield tab
    context.close()
    assert strangers == []


def says(page: Any, place: str, text: str) -> None:
    playwright.expect(page.locator(place)).to_contain_text(text)


def make(page: Any, prompt: str = "a nurse") -> None:
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Make images").click()
    says(page, "#said", "You may stop here")


PARTS = ("Look", "Fix", "Check", "Take away")
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


def open_part(page: Any, name: str) -> None:
    """By its tab, which may lie behind a button on a narrow page."""
    tab = page.get_by_role("tab", name=name)
    if not (tab.count() and tab.first.is_visible()):
        page.locator(".overflow-menu button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.first.click()


def fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)  # the row of tabs is laid out anew
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_look_from_the_keyboard(page: Any) -> None:
    page.get_by_label("Prompt").fill("a nurse")
    page.keyboard.press("Enter")
    says(page, "#said", "16 images. You may stop here, or go on.")
    says(page, "#shares", "of 16 images")
    assert page.locator("#pictures li").count() == 16
    shares = page.locator("#shares").inner_text()
    page.get_by_role("button", name="Dispute image 1", exact=True).focus()
    page.keyboard.press("Enter")
    says(page, "#said", "1 disputed image")
    pressed = page.get_by_role("button", name="Dispute image 1", exact=True)
    playwright.expect(pressed).to_have_attribute("aria-pressed", "true")
    playwright.expect(pressed).to_be_focused()
    assert page.locator("#shares").inner_text() == shares


def test_unsafe_images_are_covered_until_they_are_clicked(page: Any) -> None:
    make(page)
    covered = page.locator(".eh-cover").count()
    assert covered == page.locator("#pictures li", has_text="female").count() * -1 + 16
    assert page.locator("#pictures img:not([alt])").count() == 0
    page.locator(".eh-cover").first.click()
    says(page, "#said", "is shown.")
    assert page.locator(".eh-cover").count() == covered - 1


def test_errors_stand_in_the_page_in_plain_words(page: Any) -> None:
    page.get_by_label("Prompt").fill("an elephant")
    page.get_by_role("button", name="Make images").click()
    says(page, "#said [role=alert]", "the toy does not know 'an elephant'")
    assert page.locator("#pictures li").count() == 0
    assert "Traceback" not in page.locator("body").inner_text()


def test_two_tabs_have_their_own_images(page: Any, studio: str) -> None:
    other = page.context.new_page()
    other.goto(studio)
    make(page)
    make(other, "a mechanic")
    assert page.locator("#pictures img[alt*='a nurse']").count() > 0
    assert page.locator("#pictures img[alt*='a mechanic']").count() == 0
    assert other.locator("#pictures img[alt*='a nurse']").count() == 0


def test_fix_then_take_it_away(page: Any) -> None:
    make(page)
    page.get_by_role("tab", name="Fix").click()
    page.get_by_label("Add an intervention").click()
    page.get_by_role("option", name="prompt-mix:concept=gender", exact=True).click()
    page.get_by_role("button", name="Add to the stack").click()
    says(page, "#fix-said", "Stack: prompt-mix:concept=gender")
    page.get_by_role("button", name="Make the same images").click()
    says(page, "#fix-said", "16 of 16 pairs made.")
    says(page, "#changes", "gender share female")
    fits_a_phone(page)
    page.set_viewport_size({"width": 1200, "height": 900})
    slider = page.locator("#pairs input[type=range]").first
    slider.focus()
    slider.press("End")
    assert slider.evaluate("one => one.parentElement.style.getPropertyValue('--cut')") == "0%"
    page.get_by_role("tab", name="Take away").click()
    page.get_by_role("button", name="Show what reproduces").click()
    says(page, "#taken", "This compares")
    assert page.locator("#command textarea").input_value().startswith("evenhand compare a/toy --concept gender")
    page.get_by_role("button", name="Write a policy").click()
    says(page, "#taken", "evenhand serve a/toy --policy")
    page.get_by_role("button", name="Write the report").click()
    says(page, "#taken", "The run and its report are in")


def test_check_asks_for_labels_and_corrects(page: Any) -> None:
    make(page)
    page.get_by_role("tab", name="Check").click()
    page.get_by_label("Images to label").fill("10")
    page.get_by_role("button", name="Draw a queue").click()
    for number in range(10):
        says(page, "#asked", f"Image {number + 1} of 10")
        page.get_by_role("button", name="female", exact=True).click()
    says(page, "#asked", "Corrected")


def test_a_phone_needs_no_sideways_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    make(page)
    for name in PARTS:
        open_part(page, name)
        fits_a_phone(page)
        # what is pressed is large enough for a finger (WCAG 2.2, 2.5.8)
        heights = "all => all.map(one => one.getBoundingClientRect().height).filter(height => height > 1)"
        assert min(page.locator("button:visible").evaluate_all(heights)) >= 24


def test_every_text_stands_out_and_every_image_has_its_words(page: Any) -> None:
    make(page)
    for name in PARTS:
        open_part(page, name)
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)  # colours fade when a tab is chosen
        assert page.evaluate(CONTRAST) == []
        assert page.locator("img:not([alt])").count() == 0
        unnamed = "all => all.filter(one => !(one.innerText || one.ariaLabel || one.title).trim()).length"
        assert page.locator("button:visible").evaluate_all(unnamed) == 0


def test_groups_are_compared(page: Any) -> None:
    page.get_by_label("Prompt").fill("a nurse")
    page.get_by_role("button", name="How groups are depicted").click()
    page.get_by_label("Groups to name").click()
    page.get_by_role("option", name="gender", exact=True).click()
    page.get_by_label("Attributes: concepts").fill("age, a strong leader")
    page.get_by_role("button", name="Compare the groups").click()
    says(page, "#association", "male over female")
    says(page, "#association", "--association 'gender:age,a strong leader'")
    assert page.locator("#groups img").count() == 16
    fits_a_phone(page)


def suggest(page: Any, images: int) -> None:
    """A trial of that many images; asked for again where it has another number, as one had on a busy machine."""
    for last in (False, False, True):
        page.get_by_label("Images of each").fill(str(images))
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Suggest", exact=True).click()
        try:
            says(page, "#suggestion", f"A trial of {images} images")
            return
        except AssertionError:
            if last:
                raise


def test_a_target_from_a_file_and_a_suggestion_that_is_taken(page: Any, tmp_path: Path) -> None:
    make(page)
    census = tmp_path / "census.csv"
    census.write_text("class,share\nfemale,200\nmale,600\n")
    page.get_by_role("button", name="Target; equal shares").click()
    page.locator("#target-file + input[type=file], input[type=file]").first.set_input_files(census)
    says(page, "#target-said", "The file is read.")
    says(page, "#said", "against the new target")
    assert page.locator("#target textarea").input_value() == "gender=female:1/4,male:3/4"
    open_part(page, "Fix")
    page.get_by_role("button", name="Suggest an intervention").click()
    playwright.expect(page.get_by_label("For the concept")).to_have_value("gender")
    suggest(page, 64)
    says(page, "#suggestion", "Take prompt-mix:concept=gender")
    page.get_by_role("button", name="Take the suggestion").click()
    says(page, "#suggest-said", "Stack: prompt-mix:concept=gender")
    playwright.expect(page.locator("#stack")).to_contain_text("prompt-mix:concept=gender")
    fits_a_phone(page)
