"""The page of a small store: what it says, that it needs nothing else, and that a screen reader can walk it."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.errors import UserError
from kdpipe.report import build, pictures
from kdpipe.report.chapters import _confusion, _rungs
from kdpipe.store import Store
from tests.warehouse.small import LOVELY, NOT_GOOD, add_run, add_share, classified

VOID = {"meta", "br", "link", "img", "hr"}


class Walk(HTMLParser):
    """Every element with its attributes, and that each is closed in turn."""

    def __init__(self, page: str):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_every_task_is_a_chapter_with_its_leaderboard(page):
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["close", "few", "mood"]
    mood = page[page.index(">mood</h2>"):]
    names = re.findall(r'<th scope="row">(.*?)</th>', mood)
    assert sorted(names) == ["labels_only", "tang2019", "teacher"]
    assert "cannot be told apart from it" in mood and "cannot tell apart" in mood


def test_it_needs_nothing_but_itself(page):
    walk = Walk(page)
    assert not walk.of("script") and not walk.of("link") and not walk.of("img")
    assert not re.search(r"url\((?!#)|@import", page)
    assert all(a["href"].startswith("#") for a in walk.of("a"))


def test_it_can_be_walked_without_eyes_and_without_a_mouse(page):
    walk = Walk(page)
    [html] = walk.of("html")
    assert html["lang"] == "en" and len(walk.of("main")) == len(walk.of("h1")) == 1
    drawn = [a for a in walk.of("div") if a.get("role") == "img"]
    assert len(drawn) == len(walk.of("figure")) == len(walk.of("details")) >= 8
    assert all(len(a["aria-label"]) > 10 for a in drawn)
    assert all(a.get("scope") in ("col", "row") for a in walk.of("th"))
    scrolled = [a for a in walk.of("div") if a.get("class") == "wide"]
    assert scrolled and all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolled)
    targets = [a.get("id") for _, a in walk.found]
    assert all(a["aria-labelledby"] in targets for a in walk.of("section"))


def test_pictures_are_svg_in_the_pages_ink(page):
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) >= 8
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("viewBox") and root.get("width") is None and root.get("height") is None
        assert "currentColor" in svg and pictures._INK not in svg


def test_the_best_students_errors_come_with_what_the_teacher_said(store):
    """Of the first seed: what the teacher has right comes first."""
    page = build(store, ["tang2019"], "mood")
    errors = re.findall(r'<td class="text">(.*?)</td>', page[page.index("most telling errors"):])
    assert errors == [NOT_GOOD, LOVELY]
    assert re.search(r"<td>good \(0\.99\)</td>\s*<td>bad \(0\.90\)</td>", page)


def test_errors_of_a_student_without_a_teacher_stand_beside_one_of_its_task(store, tmp_path):
    """labels_only makes one mistake, and asked nobody: "not asked" would be true and of no use."""
    alone = build(store, ["labels_only"], "mood")
    part = alone[alone.index("most telling errors"):]
    assert "those that a teacher of this task, not its own (teacher), has right first" in part
    assert re.search(r"<td>bad \(0\.90\)</td>\s*<td>bad \(0\.75\)</td>", part) and "not asked" not in part
    assert "<td>a teacher, not its own</td>" in alone and "not the student&#39;s own (teacher)" in alone
    assert "not its own" not in build(store, ["tang2019"], "mood")
    none = Store(tmp_path)
    add_run(none, "alone", classified((NOT_GOOD, "bad", "good", 0.9, 0)), recipe="labels_only", teacher_run=None)
    assert "not asked" in build(none) and "not its own" not in build(none)


def test_what_layers_know_is_a_heat_map_where_they_were_probed(page):
    """84 of 100 right, 20 more than the untrained network; nothing of the task whose runs nobody probed."""
    mood, close = page[page.index(">mood</h2>"):], page[page.index(">close</h2>"):page.index(">mood</h2>")]
    assert re.findall(r"<h3>(.*?)</h3>", mood)[-1] == "Probing" and "Probing" not in close
    part = mood[mood.index("<h3>Probing"):]
    words = re.findall(r">([^<>]+)</text>|>([^<>]+)</tspan>", part)
    said = {text.strip() for pair in words for text in pair}
    assert {"84", "+20", "70", "-2", "layer 1", "tense (60)"} <= said
    cells = re.findall(r"<td>(.*?)</td>", part)
    assert cells[:7] == ["embeddings", "tense", "0.7", "0.6", "0.72", "-0.02", "100"]


def test_texts_are_shown_and_not_run(tmp_path):
    store, text = Store(tmp_path), "<script>alert('x')</script> & <b>more</b>"
    add_run(store, "teacher", classified((text, "good", "good", 0.9, 0), (LOVELY, "bad", "bad", 0.9, 0)),
            role="teacher", teacher_run=None, teacher=None, transfer=None)
    add_run(store, "student", classified((text, "good", "bad", 0.9, 0), (LOVELY, "bad", "bad", 0.9, 0)))
    page = build(store)
    assert "&lt;script&gt;" in page and "<script" not in page and "<b>" not in page


def test_the_same_store_gives_the_same_page(store, page):
    assert build(store) == page


def test_some_runs_and_nothing(store, tmp_path):
    one = build(store, ["labels_only"])
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", one) == ["mood"] and "tang2019" not in one
    with pytest.raises(UserError, match="no recipe or run 'tang2018'; did you mean 'tang2019'"):
        build(store, ["tang2018"])
    with pytest.raises(UserError, match="the store has no runs; `kdpipe run RECIPE` makes one"):
        build(Store(tmp_path))


def test_names_of_several_tasks_and_kinds(tmp_path):
    """A name may stand for runs of one task alone, and say which of several kinds of students it means."""
    store = Store(tmp_path)
    for run, changes in {"small": {"student": "bilstm 10"}, "large": {"student": "bilstm 20"},
                         "other": {"task": "other", "task_key": "k9", "recipe": "pkd"}}.items():
        add_run(store, run, classified((NOT_GOOD, "bad", "good", 0.9, 0), (LOVELY, "good", "good", 0.9, 0)),
                teacher_run=None, **changes)
    both = build(store, ["tang2019 (bilstm 10)", "pkd"])
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", both) == ["mood", "other"] and "bilstm 20" not in both
    with pytest.raises(UserError, match="of 'tang2019' there are several kinds; say which: 'tang2019 .bilstm 10.'"):
        build(store, ["tang2019", "pkd"])


def test_the_command_writes_the_file(here, store, tmp_path):
    done = here("report", "--store", store.root, "-o", tmp_path / "page.html")
    assert done.returncode == 0 and (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    for folder in (".", tmp_path):
        assert "a folder; name the file to write" in here("report", "--store", store.root, "-o", folder).stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "page.html"]
    refused = here("report", "--store", store.root, "-o", tmp_path / "no" / "page.html")
    assert refused.returncode == 2 and "cannot be written" in refused.stderr


@pytest.mark.parametrize("costs, ticks", [
    ([963_002, 5_522_306, 10_845_698], {"1,000,000", "2,000,000", "5,000,000", "10,000,000"}),
    ([0.7, 1.4, 40.0], {"1", "2", "5", "10", "20"}),
    ([0.02, 900.0], {"0.1", "1", "10", "100"}),
])
def test_costs_stand_under_the_axis_as_plain_numbers(costs, ticks):
    svg = pictures.against_cost(costs, range(len(costs)), ["x"] * len(costs), "cost", "accuracy")
    said = re.findall(r">([^<>]+)</text>", svg)
    assert ticks <= set(said) and not any("$" in text for text in said)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_the_front_holds_whom_no_cheaper_one_beats(points):
    costs, values = np.array(points, float).T
    front = pictures.front(costs, values)
    beaten = {i for i, (c, v) in enumerate(points)
              if any(d <= c and w >= v and (d, w) != (c, v) for d, w in points)}
    assert {points[i] for i in front} == {points[i] for i in range(len(points)) if i not in beaten}


def test_names_in_a_picture_lie_on_nothing():
    """Points that are close together: no name over another one or over a point."""
    costs, values = np.array([3.0, 3.3, 3.6, 4.0, 20, 21]), np.array([0.18, 0.185, 0.20, 0.201, 0.29, 0.295])
    with mpl.rc_context(pictures._STYLE):
        figure = pictures.against_cost.__wrapped__(costs, values, [f"a_recipe_{i}" for i in range(6)], "ms", "f1")
        figure.draw_without_rendering()
    [axes] = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert sum(box.count_overlaps(boxes) for box in boxes) == 6  # each with itself alone
    assert not any(box.count_contains(axes.transData.transform(np.column_stack([costs, values]))) for box in boxes)


def test_the_ladder_stands_on_one_budget(tmp_path):
    """24 rows seen on two rungs; a newer student of 240, and one of another shape, are none of them."""
    store = Store(tmp_path)
    add_share(store, "labels_only", 1.0, 3, 0.5)
    add_share(store, "soft_labels", 1.0, 3, 0.75)
    newer = {"started": "2026-02-01T10:00:00+00:00"}
    add_share(store, "soft_labels", 1.0, 30, 0.9, run="longer", **newer)
    add_share(store, "soft_labels", 1.0, 3, 0.9, run="wider", student="bilstm hidden=600", **newer)
    assert _rungs(store, "k3", None) == {"rung labels_only": ["labels_only"], "rung soft_labels": ["soft_labels"]}
    assert _rungs(store, "k3", ["longer", "labels_only"]) == {"rung soft_labels": ["longer"]}
    page = build(store, task="few")
    assert re.search(r"<td>soft_labels over labels_only</td>(\s*<td>[^<]*</td>){4}\s*<td>cannot tell apart</td>", page)


def test_a_run_alone_is_held_against_nothing(tmp_path):
    store = Store(tmp_path)
    add_share(store, "soft_labels", 1.0, 3, 0.75)
    page = build(store)
    assert "soft_labels alone is here" in page and "ahead" not in page and ">the best<" not in page


def test_many_classes_are_shown_by_their_confusions(tmp_path):
    """Of 50 classes each row of one is taken for the next, of the first three times."""
    names = [f"class {i:02}" for i in range(50)]
    labels, answers = [*names, *names[:1] * 2], [*names[1:], names[0], *names[1:2] * 2]
    rows = classified(*((f"text {i}", "good", "bad", 0.9, 0) for i in range(52)))
    for column, said in (("label", labels), ("prediction", answers)):
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, rows.field(at), pa.array(said, rows.field(at).type))
    store = Store(tmp_path)
    add_run(store, "student", rows, labels=names)
    picture = _confusion(store, "student", "dev")
    assert picture.rows[0] == ("class 00", "class 01", 3) and len(picture.rows) == 20


def test_errors_of_scores_are_said_by_their_size(page):
    close = page[page.index(">close</h2>"):page.index(">few</h2>")]
    assert "largest errors" in close and "has right first" not in close
    sizes = [float(size) for size in re.findall(r"\(off by ([0-9.]+)\)", close)]
    assert sizes and sizes == sorted(sizes, reverse=True)
