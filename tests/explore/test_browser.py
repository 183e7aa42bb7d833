"""The local page as it is met in a real browser."""

import re
import subprocess
import sys

import pytest

from kdpipe.store import Store
from tests import chromium
from tests.explore.test_explore import HOSTILE, many, row  # noqa: F401  (many: a fixture)

pytestmark = chromium.needed
PLACES = ["", "predictions", "predictions?run=one&outcome=wrong", "compare?run=one&second=two",
          row("one", HOSTILE).lstrip("/")]


@pytest.fixture(scope="module")
def address(many):  # noqa: F811
    command = [sys.executable, "-m", "kdpipe.cli", "explore", "--store", Store(many).root, "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            yield running.stdout.readline().split()[0]
        finally:
            running.terminate()


@pytest.mark.parametrize("scheme", chromium.SCHEMES)
@pytest.mark.parametrize("size", chromium.SIZES)
def test_pages_fit_the_window_are_legible_and_fetch_nothing_from_elsewhere(tab, address, size, scheme):
    for place in PLACES:
        tab.open(address + place, size, scheme)
        tab.js("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert tab.overflow() == 0, place
        seen = tab.contrast()
        assert len(seen) > 10 and [text for ratio, text in seen if ratio < 4.5] == [], place
        assert tab.logged == [] and all(url.startswith(address) for url in tab.asked), place


@pytest.mark.parametrize("place", PLACES)
def test_tab_reaches_everything_in_order_and_shows_where_it_is(tab, address, place):
    tab.open(address + place)
    things = tab.reachable()
    assert len(things) > 3
    assert tab.tabbed(len(things) + 5) == [(place, True) for place in range(len(things))]


@pytest.mark.parametrize("place", PLACES)
def test_a_screen_reader_is_told_what_there_is(tab, address, place):
    tab.open(address + place)
    spoken = tab.spoken()
    assert [role for role, *_ in spoken].count("main") == 1
    named = {"image", "link", "region", "button", "textbox", "searchbox", "spinbutton", "combobox", "checkbox", "radio"}
    assert [(role, name) for role, name, _ in spoken if role in named and not name.strip()] == []
    levels = [about["level"] for role, _, about in spoken if role == "heading"]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_a_filter_is_set_by_the_keyboard_alone(tab, address):
    tab.open(address + "predictions")
    tab.js("document.querySelector('[name=text]').focus()")
    tab.call("Input.insertText", text="film")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    tab.loaded()
    assert "text=film" in tab.js("location.search")
    shown = tab.js("[...document.querySelectorAll('tbody tr')].map(e => e.innerText)")
    assert shown and all(re.search("film", text, re.IGNORECASE) for text in shown)
