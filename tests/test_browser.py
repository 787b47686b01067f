"""The page in a real browser: filters, order, comparison, no network requests, no messages.

Skipped where the extra `browser` or a Chromium is not installed: make test-browser.
"""

import contextlib
import io

import pytest
from PIL import Image
from test_report import HOSTILE, LOSSES, rewrite, save_run

from nst_cli.views import report

pytestmark = pytest.mark.browser

# A phone's width.
NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page of five runs, one of them with a hostile name."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, gamma, method in (
        ("a10.png", 1, 10, "poly"),
        ("a9.png", 2, 9, "poly"),
        ("b.png", 3, 0.05, "bn"),
        ("c.png", 4, 100, "linear"),
        (HOSTILE, 5, 0.5, "poly"),
    ):
        save_run(folder, name, log=(3, 5), gamma=gamma, method=method, seed=0)
        # Each has its own colour, which a screenshot can show.
        Image.new("RGB", (64, 48), (40 * seed, 0, 0)).save(folder / name)
        rewrite(folder / f"{name}.json", losses={**LOSSES, "total": 1000.0 * seed})
    for name, steps in (("b.png", 2), ("c.png", 4), ("a9.png", 9), ("a10.png", 10)):
        rewrite(folder / f"{name}.json", steps=steps)
    rewrite(folder / f"{HOSTILE}.json", steps=0, losses={}, stop_reason="non-finite")
    return folder.joinpath(report.make(folder)[0])


@pytest.fixture
def page(browser, path):
    """The loaded page; afterwards, checks that it made no request and logged no error."""
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        asked, complaints = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(path.as_uri())
        yield page
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        assert complaints == []


def shown(page):
    return page.locator(".run:visible h2").all_text_contents()


def choice(page, label):
    """Return the drop-down that a screen reader calls by this name."""
    return page.get_by_role("combobox", name=label, exact=True)


def test_every_picture_is_drawn_even_if_it_occurs_twice(page):
    images = page.locator("main img").all()
    assert len(images) == 15
    assert all(image.evaluate("image => image.naturalWidth") > 0 for image in images)


def test_the_names_are_in_their_natural_order_at_first(page):
    assert shown(page) == [HOSTILE, "a9.png", "a10.png", "b.png", "c.png"]
    assert page.locator("#status").text_content() == "5 of 5 shown"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("A9", ["a9.png"]),
        ("gamma=9", ["a9.png"]),
        ("poly a9", ["a9.png"]),
        ("onerror", [HOSTILE]),
        ("no such thing", []),
        ("  ", [HOSTILE, "a9.png", "a10.png", "b.png", "c.png"]),
    ],
)
def test_a_search_keeps_the_runs_that_contain_all_its_words(page, words, left):
    page.get_by_label("Search").fill(words)
    assert shown(page) == left
    assert page.locator("#status").text_content() == f"{len(left)} of 5 shown"


def test_filters_narrow_together_and_reset_undoes_them(page):
    choice(page, "method").select_option("poly")
    assert shown(page) == [HOSTILE, "a9.png", "a10.png"]
    choice(page, "gamma").select_option("9")
    assert shown(page) == ["a9.png"]
    assert page.locator("#filters summary").text_content() == "Filters: method poly, gamma 9"
    page.get_by_role("button", name="Reset").click()
    page.locator("#status", has_text="5 of 5 shown").wait_for()
    assert len(shown(page)) == 5


def test_a_filter_offers_the_existing_values_in_order(page):
    options = choice(page, "gamma").locator("option").all_text_contents()
    assert options == ["any", "0.05", "0.5", "9", "10", "100"]


@pytest.mark.parametrize(
    ("key", "order", "last"),
    [
        ("gamma", ["b.png", HOSTILE, "a9.png", "a10.png", "c.png"], []),
        ("steps", [HOSTILE, "b.png", "c.png", "a9.png", "a10.png"], []),
        # The run that became non-finite has no loss, and comes last in either order.
        ("loss", ["a10.png", "a9.png", "b.png", "c.png"], [HOSTILE]),
        ("method", ["b.png", "c.png"], []),
    ],
)
def test_runs_are_sorted_by_numbers_as_numbers_and_by_words(page, key, order, last):
    choice(page, "Sort by").select_option(key)
    assert shown(page)[: len(order)] == order
    assert shown(page)[-len(last) :] == last or not last
    page.get_by_label("descending").check()
    assert [name for name in shown(page) if name in order] == order[::-1]
    assert shown(page)[-len(last) :] == last or not last


def test_all_curves_are_opened_and_closed_at_once(page):
    charts = page.locator("svg.chart:visible")
    assert charts.count() == 0
    page.get_by_label("all curves").check()
    assert charts.count() == 10
    page.get_by_label("all curves").uncheck()
    assert charts.count() == 0


def test_all_parameters_can_be_unfolded(page):
    run = page.locator(".run", has_text="a9.png")
    assert not run.get_by_text("stop_eps").is_visible()
    run.get_by_text("All parameters").click()
    assert run.get_by_text("stop_eps").is_visible()


# Comparing


def compare(page, name):
    page.get_by_role("button", name=f"Compare {name}", exact=True).click()
    return page.locator("#stage")


def halves(stage):
    """Return the colours a quarter from the left and a quarter from the right."""
    with Image.open(io.BytesIO(stage.screenshot())) as picture:
        width, height = picture.size
        places = ((width // 4, height // 2), (3 * width // 4, height // 2))
        return [picture.convert("RGB").getpixel(place) for place in places]


def is_about(colour, red):
    """Return whether a colour is the red of a run; JPEG and scaling change it slightly."""
    return abs(colour[0] - red) < 6 and max(colour[1:]) < 6


def cut(page):
    return int(page.locator("#wipe").input_value())


def test_a_picture_is_compared_with_its_content_by_default(page):
    compare(page, "a9.png")
    assert page.locator("#left option:checked").text_content() == "content.png"
    assert page.locator("#right option:checked").text_content() == "a9.png"
    assert page.locator("#over").get_attribute("alt") == "left: content.png"


def test_any_two_pictures_can_be_compared(page):
    stage = compare(page, "a9.png")
    choice(page, "Left").select_option(label="b.png")
    left, right = halves(stage)
    assert is_about(left, 120) and is_about(right, 80)
    choice(page, "Right").select_option(label=HOSTILE)
    assert is_about(halves(stage)[1], 200)


def test_the_keyboard_moves_the_divider_to_either_end(page):
    stage = compare(page, "a9.png")
    choice(page, "Left").select_option(label="b.png")
    page.get_by_label("Left picture shown").press("Home")
    assert cut(page) == 0
    assert all(is_about(colour, 80) for colour in halves(stage))
    page.keyboard.press("End")
    assert cut(page) == 100
    assert all(is_about(colour, 120) for colour in halves(stage))
    page.keyboard.press("ArrowLeft")
    assert cut(page) == 99


def test_the_comparison_has_the_focus_and_escape_closes_it(page):
    compare(page, "a9.png")
    page.keyboard.press("ArrowRight")
    assert cut(page) == 51
    page.keyboard.press("Escape")
    assert not page.locator("#stage").is_visible()


def test_the_mouse_drags_the_divider_across_the_picture(page):
    stage = compare(page, "a9.png")
    box = stage.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    assert cut(page) == 50
    page.mouse.down()
    assert cut(page) == pytest.approx(20, abs=1)
    page.mouse.move(box["x"] + 0.9 * box["width"], y)
    assert cut(page) == pytest.approx(90, abs=1)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.1 * box["width"], y)
    assert cut(page) == pytest.approx(90, abs=1)


def test_touch_moves_the_divider(browser, path):
    with contextlib.closing(browser.new_context(has_touch=True, viewport=NARROW)) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        box = compare(page, "a9.png").bounding_box()
        page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 20)
        assert cut(page) == pytest.approx(75, abs=1)
        finger = context.new_cdp_session(page)
        for kind, share in (("touchStart", 0.7), ("touchMove", 0.5), ("touchMove", 0.3)):
            place = {"x": box["x"] + share * box["width"], "y": box["y"] + 20}
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert cut(page) == pytest.approx(30, abs=1)


# On paper of other sizes and colours


def test_nothing_is_wider_than_a_phone(browser, path):
    with contextlib.closing(browser.new_context(viewport=NARROW)) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        page.get_by_label("all curves").check()
        for fold in page.get_by_text("All parameters").all():
            fold.click()
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        assert not choice(page, "method").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark_mode(browser, path, scheme):
    with contextlib.closing(browser.new_context(color_scheme=scheme)) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        ground = luminance(page, ".run", "backgroundColor")
        assert (ground > 0.5) == (scheme == "light")
        for part in ("h2", "dt", "summary", "figcaption"):
            text = luminance(page, f".run {part}", "color")
            light, dark = max(text, ground), min(text, ground)
            # The least contrast for small text by WCAG 2.2, 1.4.3.
            assert (light + 0.05) / (dark + 0.05) >= 4.5, part


def luminance(page, selector, name):
    """Return the relative luminance of a colour, by WCAG 2.2."""
    style = page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{name}")
    channels = [int(value) / 255 for value in style[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_without_javascript_the_page_shows_the_pictures_and_no_tools(browser, path):
    with contextlib.closing(browser.new_context(java_script_enabled=False)) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator(".made img").count() == 5
        assert page.locator("noscript").is_visible()
        assert not page.get_by_label("Search").is_visible()
