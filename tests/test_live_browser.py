"""The page of a run in a real browser: it follows the run, stops it, and asks nobody else."""

import contextlib

import pytest
from test_live import endless_run, page, record
from test_report import HOSTILE

pytestmark = pytest.mark.browser

# A phone's width.
NARROW = {"width": 390, "height": 844}


@contextlib.contextmanager
def opened(browser, url, **options):
    """Open a page; check that it asked only the server of its run, and logged no error."""
    with contextlib.closing(browser.new_context(**options)) as context:
        tab = context.new_page()
        asked, complaints = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.goto(url)
        yield tab
        start = url.rpartition("/")[0]
        assert {u for u in asked if not u.startswith((start, "data:"))} == set()
        # The server is gone after the run.
        assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text] == []


def test_the_page_follows_a_run_and_the_button_ends_it(browser, tmp_path):
    with endless_run(tmp_path) as (process, url), opened(browser, url) as tab:
        picture = tab.locator("#picture")
        picture.wait_for()
        tab.wait_for_function("document.getElementById('picture').naturalWidth === 32")
        tab.locator("svg.chart path.line").first.wait_for(state="attached")
        first, source = tab.locator("#text").text_content(), picture.get_attribute("src")
        assert first.startswith("Step ")
        tab.wait_for_function(
            "text => document.getElementById('text').textContent !== text", arg=first
        )
        tab.wait_for_function(
            "src => !document.getElementById('picture').src.endsWith(src)", arg=source
        )
        tab.get_by_role("button", name="Stop and save").click()
        tab.get_by_text("Saved out.png after ").wait_for()
        assert not tab.get_by_role("button", name="Stop and save").is_visible()
        tab.wait_for_function("document.getElementById('picture').naturalWidth === 32")
        output, errors = process.communicate()
        assert (process.returncode, output) == (0, "out.png\n"), errors


def test_hostile_names_are_text(browser):
    with page(title=HOSTILE) as view:
        view(record(1))
        with opened(browser, view.url) as tab:
            tab.locator("svg.chart").first.wait_for()
            assert tab.locator("h1").text_content() == HOSTILE
            assert tab.title() == HOSTILE
            assert tab.locator("img").count() == 1


def test_curves_have_their_hues_and_nothing_is_wider_than_a_phone(browser):
    with page() as view:
        view(record(1))
        view(record(2))
        with opened(browser, view.url, viewport=NARROW) as tab:
            line = tab.locator("svg.chart path.line[style]").first
            line.wait_for(state="attached")
            hue = line.evaluate("line => getComputedStyle(line).getPropertyValue('--hue')")
            assert hue == "40"
            assert tab.evaluate("document.documentElement.scrollWidth") == NARROW["width"]


def test_without_javascript_the_button_works(browser):
    with page() as view, opened(browser, view.url, java_script_enabled=False) as tab:
        assert tab.locator("noscript").is_visible()
        with tab.expect_response("**/stop") as answer:
            tab.get_by_role("button", name="Stop and save").click()
        assert answer.value.status == 204


def test_the_page_says_so_if_nst_ends_without_a_word(browser):
    with page() as view:
        view(record(1))
        context = opened(browser, view.url)
        tab = context.__enter__()
        tab.locator("svg.chart").first.wait_for()
    tab.get_by_text("nst has ended").wait_for()
    assert not tab.get_by_role("button", name="Stop and save").is_visible()
    context.__exit__(None, None, None)
