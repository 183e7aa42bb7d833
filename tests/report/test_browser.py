"""The report as it is met in a real browser."""

import pytest

from tests import chromium

pytestmark = chromium.needed


@pytest.fixture(scope="module")
def address(page, tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(page)
    return file.as_uri()


@pytest.mark.parametrize("scheme", chromium.SCHEMES)
@pytest.mark.parametrize("size", chromium.SIZES)
def test_it_fits_the_window_is_legible_and_fetches_nothing(tab, address, size, scheme):
    tab.open(address, size, scheme)
    tab.js("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert tab.overflow() == 0
    seen = tab.contrast()
    assert len(seen) > 100 and [text for ratio, text in seen if ratio < 4.5] == []
    assert tab.asked == [address] and tab.logged == []


def test_the_two_schemes_differ(tab, address):
    inks = []
    for scheme in chromium.SCHEMES:
        tab.open(address, scheme=scheme)
        inks.append(tab.js("getComputedStyle(document.querySelector('svg')).color"))
    assert len(set(inks)) == 2


def test_tab_reaches_everything_in_order_and_shows_where_it_is(tab, address):
    tab.open(address)
    things = tab.reachable()
    assert len(things) > 10
    assert tab.tabbed(len(things) + 5) == [(place, True) for place in range(len(things))]


def test_a_picture_unfolds_to_its_table_by_the_keyboard(tab, address):
    tab.open(address)
    tab.js("document.querySelector('summary').focus()")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    assert tab.js("document.querySelector('details').open")


def test_a_screen_reader_is_told_what_there_is(tab, address):
    tab.open(address)
    spoken = tab.spoken()
    roles = [role for role, *_ in spoken]
    assert roles.count("main") == 1 and roles.count("image") >= 8
    named = {"image", "link", "region", "button", "DisclosureTriangle"}
    assert [(role, name) for role, name, _ in spoken if role in named and not name.strip()] == []
    levels = [about["level"] for role, _, about in spoken if role == "heading"]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert roles.count("columnheader") > 10 and roles.count("rowheader") > 3


def test_it_can_be_printed(tab, address):
    tab.open(address, scheme="dark")
    assert tab.printed().startswith(b"%PDF-")
