"""The local page as a browser meets it: what it shows, against plain Python over the same rows, and what it refuses."""

import csv
import html
import io
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from kdpipe import phases, recipe, warehouse
from kdpipe.errors import UserError
from kdpipe.explore import app
from kdpipe.job import Job
from kdpipe.predictor import Predictor
from kdpipe.store import Store
from kdpipe.tasks.load import load
from tests.report.test_report import Walk
from tests.warehouse.small import LABELS, LOVELY, NOT_GOOD, add_run, classified, fill, row_id, scored

TOKEN = "a-token"
HOSTILE = "<script>alert('x')</script> & \"it's\" $run \\ -- ü"
NEGATED = re.compile(r"\b(not|no|never|nobody|nothing|none|nowhere|neither|nor|cannot|without)\b|n['’]t\b", re.ASCII)


def browser(store, **how) -> TestClient:
    return TestClient(app(str(store), TOKEN), base_url="http://127.0.0.1:8000", follow_redirects=False, **how)


def drawn() -> dict[tuple[str, str], list[tuple]]:
    """(text, label, answer, confidence, unknown words) of two students and a teacher, on dev and test."""
    draw = np.random.default_rng(0)
    words = np.array(["film", "not", "Never", "Ünder", "story", "can't", "lovely", "nothing's", "knot"])
    found = {}
    for split, n in (("dev", 130), ("test", 40)):
        texts = [f"{split} {i} {' '.join(draw.choice(words, draw.integers(1, 45)))}" for i in range(n)]
        texts[3] = HOSTILE if split == "dev" else texts[3]
        labels = draw.choice(LABELS, n)
        for run in ("one", "two", "teacher"):
            answers, sure = draw.choice(LABELS, n), draw.integers(501, 999, n) / 1000
            unknown = draw.integers(0, 4, n)
            found[run, split] = [(t, str(b), str(a), float(c), int(u))
                                 for t, b, a, c, u in zip(texts, labels, answers, sure, unknown, strict=True)]
    return found


ROWS = drawn()


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Enough rows for several pages."""
    store = Store(tmp_path_factory.mktemp("explore") / "it's a store")
    for run in ("one", "two", "teacher"):
        add_run(store, run, classified(*ROWS[run, "dev"]), classified(*ROWS[run, "test"]), transfer=None,
                **({"role": "teacher", "teacher_run": None, "teacher": None} if run == "teacher" else {}))
    return Path(store.root)


@pytest.fixture(scope="module")
def page(many) -> TestClient:
    return browser(many)


@pytest.fixture
def own(tmp_path, many) -> Path:
    """A store to write into."""
    return Path(shutil.copytree(many, tmp_path / "store"))


def shown(text: str) -> list[tuple[str, str]]:
    """(split, id) of the rows of a page, in order."""
    return re.findall(r'href="/row\?run=[^"&]+&amp;split=(\w+)&amp;id=([0-9a-f]{32})"', text)


def all_shown(page: TestClient, path: str) -> list[tuple[str, str]]:
    """The rows of all pages, by way of their links."""
    found = []
    while path:
        text = page.get(path).raise_for_status().text
        assert len(shown(text)) <= 50
        found += shown(text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = html.unescape(following[1]) if following else None
    return found


def behind(text: str, name: str = "sql") -> str:
    """The SQL that a page says."""
    return html.unescape(re.search(rf'<pre id="{name}"[^>]*>(.*?)</pre>', text, re.DOTALL)[1])


def length(text: str) -> str:
    words = len(text.split())
    names = ((5, "00-05 words"), (10, "06-10 words"), (20, "11-20 words"), (40, "21-40 words"))
    return next((name for most, name in names if words <= most), "41 words or more")


FILTERS = {
    "run=one": lambda run, split, text, label, answer, sure, unknown: run == "one",
    "run=one&split=test": lambda run, split, *_: run == "one" and split == "test",
    "split=dev": lambda run, split, *_: split == "dev",
    "task=mood&run=two": lambda run, *_: run == "two",
    "label=good": lambda run, split, text, label, *_: label == "good",
    "answer=bad&run=two": lambda run, split, text, label, answer, *_: answer == "bad" and run == "two",
    "outcome=wrong&run=one": lambda run, split, text, label, answer, *_: label != answer and run == "one",
    "outcome=right": lambda run, split, text, label, answer, *_: label == answer,
    "low=0.9": lambda run, split, text, label, answer, sure, unknown: sure >= 0.9,
    "low=0.6&high=0.7": lambda run, split, text, label, answer, sure, unknown: 0.6 <= sure <= 0.7,
    "length=21-40+words": lambda run, split, text, *_: length(text) == "21-40 words",
    "length=00-05+words": lambda run, split, text, *_: length(text) == "00-05 words",
    "negation=yes": lambda run, split, text, *_: bool(NEGATED.search(text.lower())),
    "negation=no": lambda run, split, text, *_: not NEGATED.search(text.lower()),
    "unknown_words=2+or+more": lambda *row: row[-1] >= 2,
    "text=FILM+n": lambda run, split, text, *_: "film n" in text.lower(),
    "text=%C3%BCnder": lambda run, split, text, *_: "ünder" in text.lower(),
    "text=%25": lambda *_: False,
    "text=%3Cscript%3Ealert%28%27X%27%29": lambda run, split, text, *_: text == HOSTILE,
}


@pytest.mark.parametrize("asked", FILTERS)
def test_a_filter_lets_through_what_plain_python_lets_through(page, asked):
    wanted = [(split, row_id(row[0]).hex()) for (run, split), rows in ROWS.items() for row in rows
              if FILTERS[asked](run, split, *row)]
    assert sorted(all_shown(page, f"/predictions?{asked}")) == sorted(wanted)
    assert f'<h2 id="found">{len(wanted)} row' in page.get(f"/predictions?{asked}").text


ORDERS = {"surest": lambda row: -row[3], "unsure": lambda row: row[3], "text": lambda row: row[0].encode()}


@pytest.mark.parametrize("order", ORDERS)
def test_rows_come_in_the_order_that_is_asked_for(page, order):
    rows = [(split, row) for split in ("dev", "test") for row in ROWS["one", split]]
    keys = {(split, row_id(row[0]).hex()): ORDERS[order](row) for split, row in rows}
    found = [keys[row] for row in all_shown(page, f"/predictions?run=one&order={order}")]
    assert found == sorted(keys.values())


@pytest.mark.parametrize("path", [
    *(f"/predictions?{asked}" for asked in FILTERS), "/predictions?order=text&page=3",
    "/compare?run=one&second=two", "/compare?run=one&second=teacher&side=second&text=%24run+%5C&split=dev",
])
def test_the_sql_that_is_shown_answers_with_the_rows_that_are_shown(page, many, path):
    text = page.get(path).text
    found = warehouse.query(many, behind(text)).to_pylist()
    assert [(row["split"], row["id"].hex()) for row in found] == shown(text)
    assert html.unescape(re.search(r'<pre id="sql-command"[^>]*>(.*?)</pre>', text, re.DOTALL)[1]).startswith(
        "kdpipe sql --store '")


def test_the_command_that_is_shown_can_be_pasted_into_a_shell(page):
    text = page.get("/predictions?text=it%27s&run=one").text
    command = html.unescape(re.search(r'<pre id="sql-command"[^>]*>(.*?)</pre>', text, re.DOTALL)[1])
    said = command.replace("kdpipe sql", f"{sys.executable} -m kdpipe.cli sql --format csv", 1)
    done = subprocess.run(["sh", "-c", said], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [row["text_a"] for row in csv.DictReader(io.StringIO(done.stdout))] == [HOSTILE]


# ---- side by side


SIDES = {
    "": lambda one, two, label: True,
    "differ": lambda one, two, label: one != two,
    "first": lambda one, two, label: one == label != two,
    "second": lambda one, two, label: two == label != one,
    "neither": lambda one, two, label: label not in (one, two),
    "both": lambda one, two, label: one == two == label,
}


@pytest.mark.parametrize("side", SIDES)
def test_two_runs_stand_side_by_side(page, side):
    wanted = [(split, row_id(first[0]).hex()) for split in ("dev", "test")
              for first, second in zip(ROWS["one", split], ROWS["two", split], strict=True)
              if SIDES[side](first[2], second[2], first[1])]
    path = f"/compare?run=one&second=two&side={side}"
    assert sorted(all_shown(page, path)) == sorted(wanted)
    text = page.get(path).text
    if side:
        assert re.search(rf'side={side}">[^<]+</a></dt><dd>{len(wanted)}</dd>', text)
    else:
        assert f"{len(wanted)} rows that both answered" in text


def test_a_text_that_a_split_holds_twice_stands_side_by_side_once_with_each_label(tmp_path):
    """Three rows, two texts with their labels, as many as run_pairs counts; scores have no label but a target."""
    store = Store(tmp_path)
    for run, answer in (("one", "good"), ("two", "bad")):
        add_run(store, run, classified(*[(NOT_GOOD, label, answer, 0.9, 0) for label in ("bad", "bad", "good")]))
        rows = scored(*[("a dog", "a cat", target, 1.0) for target in (1.0, 1.0, 4.0)])
        add_run(store, f"close-{run}", rows, task="close", task_key="k2", kind="regression", labels=[])
    page = browser(store.root)
    text = page.get("/compare?run=one&second=two").text
    assert "2 rows that both answered" in text and len(shown(text)) == 2
    assert [int(n) for n in re.findall(r"<dd>(\d+)</dd>", text)] == [2, 1, 1, 0, 0]
    assert warehouse.query(store, "select n from run_pairs where run_1 = 'one'")["n"].to_pylist() == [2]
    assert [row[1] for row in cells(text)[1:]] == ["bad", "good"]
    assert "2 rows that both answered" in page.get("/compare?run=close-one&second=close-two").text


# ---- one row


@pytest.fixture(scope="module")
def small_store(tmp_path_factory) -> Path:
    return Path(fill(Store(tmp_path_factory.mktemp("small") / "a [new] store")).root)


@pytest.fixture(scope="module")
def small(small_store) -> TestClient:
    return browser(small_store)


def row(run: str, text: str, split: str = "dev") -> str:
    return f"/row?run={run}&split={split}&id={row_id(text).hex()}"


def cells(text: str) -> list[list[str]]:
    """The cells of all tables, without tags."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    plain = [[html.unescape(re.sub(r"<[^>]+>|\s+", " ", cell)).split()
              for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", each, re.DOTALL)] for each in rows]
    return [[" ".join(cell) for cell in each] for each in plain]


def test_an_error_comes_with_its_lineage(small, small_store):
    text = small.get(row("tang-s0", NOT_GOOD)).text
    table = cells(text[text.index('id="lineage"'):text.index('id="all"')])
    assert [each[1:] for each in table[1:]] == [
        [],
        ["gold", "a good film", "good", "good 0.90"],
        ["ngram copy 1", "good", "", "bad 0.75"],
        ["pos_swap copy 0", "a good day", "", "good 0.75"],
        [],
        ["gold", "a bad film", "bad", "bad 0.90"],
        ["mask copy 0", "a [MASK] film", "", "good 0.75"],
    ]
    assert "Neighbour 1, similarity 0.80" in text
    again = warehouse.query(small_store, behind(text, "origin"))
    assert again["operator"].to_pylist() == ["gold", "ngram", "pos_swap", "gold", "mask"]
    everyone = cells(text[text.index('id="all"'):])
    assert [each[0] for each in everyone[1:]] == ["teacher", "tang2019", "tang2019"]
    assert "good 0.99 (wrong)" in " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_a_row_without_lineage_says_why(small, page):
    assert "No row of its transfer set is near this one" in small.get(row("tang-s0", LOVELY)).text
    assert "The record of this run names no transfer set" in page.get(row("one", HOSTILE)).text


def test_regression_is_shown_as_scores(small):
    text = small.get("/predictions?task=close&run=close-s0").text
    assert [each[1:5] for each in cells(text)[1:]] == [
        ["a dog the dog", "4.00", "2.00", ""], ["a dog a cat", "1.00", "1.50", ""]]
    assert "Mean absolute error 1.250" in text
    link = html.unescape(re.search(r'href="(/row[^"]+)"', text)[1])
    assert "its teacher" in small.get(link).text
    assert small.get("/compare?run=close-s0&second=close-teacher").status_code == 200


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_recipe, tiny_task) -> Path:
    """A store with a real teacher and a real student."""
    store = tmp_path_factory.mktemp("trained") / "store"
    phases.run(Job(recipe.load(tiny_recipe, tiny_task, [0]), str(store), "cpu"))
    return store


def test_student_and_teacher_answer_an_edited_sentence(trained):
    page = browser(trained)
    [student] = [r for r in warehouse.query(trained, "stg_runs").to_pylist() if r["role"] == "student"]
    [teacher] = [r for r in warehouse.query(trained, "stg_runs").to_pylist() if r["role"] == "teacher"]
    text = page.get(f"/predictions?run={student['run']}").text
    split, id = shown(text)[0]
    edited = "the story was superb & <b>warm</b>"
    form = {"token": TOKEN, "run": student["run"], "split": split, "id": id, "text_a": edited}
    said = page.post("/answer", data=form).text
    rows = {each[0]: each[1:] for each in cells(said[said.index('id="edit"'):said.index('id="lineage"')])}
    for run in (student, teacher):
        [answer] = Predictor.load(trained / "models" / run["model_key"])([edited])
        assert rows[run["role"]][1] == f"{answer.label} {answer.confidence:.2f}"
        other = next(label for label in run["labels"] if label != answer.label)
        assert rows[run["role"]][2] == f"{answer.label} {answer.confidence:.2f}, {other} {1 - answer.confidence:.2f}"
    assert "<b>" not in said and html.escape(edited, quote=False) in said
    again = page.post("/answer", data=form | {"text_a": re.search(r'class="sentence">(.*?)</p>', said)[1]}).text
    before, now = cells(again[again.index('id="edit"'):again.index('id="lineage"')])[1][1:3]
    assert before == now
    rows = list(csv.DictReader(io.StringIO(page.post("/gold", data=form | {"id_of": id, "id": "edited"}).text)))
    assert rows == [{"text": edited, "label": "", "known_label": "", "origin": "edited"}]


def test_a_model_that_is_gone_is_said_beside_the_one_that_is_there(trained, tmp_path):
    store = shutil.copytree(trained, tmp_path / "store")
    [teacher] = [r for r in warehouse.query(store, "stg_runs").to_pylist() if r["role"] == "teacher"]
    shutil.rmtree(store / "models" / teacher["model_key"])
    page = browser(store)
    run = next(r["run"] for r in warehouse.query(store, "stg_runs").to_pylist() if r["role"] == "student")
    split, id = shown(page.get(f"/predictions?run={run}").text)[0]
    said = page.post("/answer", data={"token": TOKEN, "run": run, "split": split, "id": id, "text_a": "a warm film"})
    rows = {each[0]: each[1:] for each in cells(said.text[:said.text.index('id="lineage"')])}
    assert said.status_code == 200 and "is not in the store any more" in rows["teacher"][1] and rows["student"][1]


# ---- keeping rows


def kept(page, **form) -> object:
    return page.post("/slice", data={"token": TOKEN, "query": "run=one&outcome=wrong", "which": "all"} | form)


def test_the_rows_of_a_filter_become_a_slice(own):
    page = browser(own)
    wrong = {row_id(row[0]).hex() for split in ("dev", "test") for row in ROWS["one", split] if row[1] != row[2]}
    saved = kept(page, name="my-errors")
    assert saved.status_code == 303
    assert f"Saved {len(wrong)} rows as slice my-errors" in page.get(saved.headers["location"]).text
    for asked in (page, browser(own)):  # the page that saved it, and one that finds it
        assert {id for _, id in all_shown(asked, "/predictions?saved=my-errors&run=two")} == wrong
    mart = warehouse.query(own, "select run, sum(n) as n, sum(n * accuracy) as hits from slices "
                                "where slice = 'my-errors' and value = 'yes' group by run order by run").to_pylist()
    assert [(each["run"], each["n"]) for each in mart] == [(run, len(wrong)) for run in ("one", "teacher", "two")]
    assert mart[0]["hits"] == 0
    assert warehouse.run_checks(own) == []


def test_ticked_rows_become_a_slice(own):
    page = browser(own)
    ids = [row_id(ROWS["one", "dev"][i][0]).hex() for i in (3, 5)]
    assert kept(page, name="two.rows", query="", which="ticked", id=ids).status_code == 303
    assert {id for _, id in all_shown(page, "/predictions?saved=two.rows")} == set(ids)


def test_a_slice_is_never_written_over(own):
    page = browser(own)
    assert kept(page, name="mine").status_code == 303
    before = {path: path.read_bytes() for path in (own / "slices").rglob("*.parquet")}
    for name in ("mine", "MINE"):
        again = kept(page, name=name, query="run=two")
        assert again.status_code == 400 and "is there already and stays as it is" in again.text
    assert {path: path.read_bytes() for path in (own / "slices").rglob("*.parquet")} == before


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".hidden", "", "a b", "x" * 201, "a\0b", "label",
                                  "Length", "a\nb", "ä"])
def test_a_name_that_is_none_makes_nothing(own, name):
    page, before = browser(own), sorted(own.parent.rglob("*"))
    refused = kept(page, name=name)
    assert refused.status_code == 400 and refused.text.count('role="alert"') == 1
    assert sorted(own.parent.rglob("*")) == before


def test_rows_to_label_are_a_file_that_a_task_reads(page, tmp_path):
    done = page.post("/gold", data={"token": TOKEN, "query": "run=one&split=dev", "which": "all"})
    assert done.headers["content-disposition"] == 'attachment; filename="to-label.csv"'
    rows = list(csv.DictReader(io.StringIO(done.text)))
    assert {(row["text"], row["known_label"]) for row in rows} == {row[:2] for row in ROWS["one", "dev"]}
    assert {(row["label"], row["origin"]) for row in rows} == {("", "dev")}
    filled = tmp_path / "mine.csv"
    with filled.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"label": row["known_label"]} for row in rows)
    splits = load(filled).splits
    assert {text for table in splits.values() for text in table["text_a"].to_pylist()} == {row["text"] for row in rows}


def test_made_rows_near_an_error_can_be_labelled(small):
    form = {"token": TOKEN, "run": "tang-s0", "id_of": row_id(NOT_GOOD).hex(),
            "id": [row_id("good").hex(), row_id("a bad film").hex()]}
    rows = list(csv.DictReader(io.StringIO(small.post("/gold", data=form).text)))
    assert [(row["text"], row["known_label"], row["origin"]) for row in rows] == [
        ("good", "", "ngram"), ("a bad film", "bad", "gold")]


def test_rows_of_several_tasks_do_not_go_into_one_file(small):
    """Some have a second text, some have not."""
    done = small.post("/gold", data={"token": TOKEN, "query": "split=dev", "which": "all"})
    assert done.status_code == 400 and "do not go into one file to label; choose a task" in done.text


def test_a_rows_page_is_there_however_many_runs_answered_it(tmp_path):
    store = Store(tmp_path)
    for i in range(103):
        add_run(store, f"run{i:03}", classified((NOT_GOOD, "bad", "good", 0.9, 0)), seed=i, teacher_run="run101")
    page = browser(tmp_path)
    for run in ("run000", "run102"):
        done = page.get(row(run, NOT_GOOD))
        assert done.status_code == 200 and "its teacher" in done.text


def test_a_run_that_was_dropped_meanwhile_is_said(small_store, tmp_path):
    page = browser(shutil.copytree(small_store, tmp_path / "store"))
    (tmp_path / "store" / "runs" / "tang-s0.json").unlink()
    form = {"token": TOKEN, "run": "tang-s0", "split": "dev", "id": row_id(NOT_GOOD).hex(), "text_a": "fine"}
    assert "its record is not in the store any more" in page.post("/answer", data=form).text


# ---- refusing


HEX = "0" * 32


@pytest.mark.parametrize("path, status, words", [
    ("/predictions?run=nobody", 404, "no run 'nobody' with predictions"),
    ("/predictions?run=%27+or+1%3D1", 404, "no run"),
    ("/predictions?low=much", 400, "a confidence is a number from 0 to 1"),
    ("/predictions?low=nan", 400, "a confidence is a number from 0 to 1"),
    ("/predictions?high=1.5", 400, "a confidence is a number from 0 to 1"),
    ("/predictions?page=0", 400, "pages go from 1 to 100"),
    ("/predictions?page=-1", 400, "pages go from 1 to 100"),
    ("/predictions?page=1e3", 400, "pages go from 1 to 100"),
    ("/predictions?page=99999999999999999999", 400, "pages go from 1 to 100"),
    ("/predictions?split=tset", 400, "did you mean 'test'?"),
    ("/predictions?label=ugly", 400, "label: no 'ugly'"),
    ("/predictions?order=text;drop", 400, "order: no 'text;drop'"),
    ("/predictions?saved=..%2Fx", 400, "saved: no '../x'"),
    ("/predictions?text=" + "x" * 1001, 400, "at most 1000 characters"),
    ("/predictions?text=%00", 400, "no null character"),
    ("/predictions?text=%FF", 400, "the form is not UTF-8"),
    ("/compare?run=one&second=nobody", 404, "no run 'nobody'"),
    ("/compare?run=one&second=two&side=left", 400, "side: no 'left'"),
    ("/row", 404, "no run ''"),
    ("/row?run=one&split=dev&id=../../etc/passwd", 400, "a row id is 32 digits"),
    (f"/row?run=one&split=dev&id={HEX}", 404, f"one answered no row {HEX} of dev"),
    ("/nowhere", 404, "there is no such page"),
    ("/../../etc/passwd", 404, "there is no such page"),
    ("/slice", 405, "there is no such page"),
])
def test_what_cannot_be_is_refused_in_one_sentence(page, path, status, words):
    done = page.get(path)
    assert done.status_code == status and words in html.unescape(done.text)
    assert done.text.count('role="alert"') == 1 and "Traceback" not in done.text


def test_runs_of_two_tasks_do_not_stand_side_by_side(small):
    done = small.get("/compare?run=tang-s0&second=close-s0")
    assert done.status_code == 400 and "choose two runs of one task" in done.text


@pytest.mark.parametrize("path, form, words", [
    ("/slice", {"which": "some"}, "allowed: ticked, all"),
    ("/slice", {"which": "ticked"}, "no row was chosen"),
    ("/slice", {"which": "ticked", "id": HEX}, "no row was chosen"),
    ("/slice", {"which": "ticked", "id": "x"}, "a row id is 32 digits"),
    ("/gold", {"which": "ticked", "id": HEX}, "no row was chosen"),
    ("/answer", {"run": "one", "text_a": "  "}, "the text is empty"),
    ("/answer", {"run": "one", "text_a": "x" * 20_001}, "longer than 20,000 characters"),
    ("/answer", {"run": "nobody"}, "no run 'nobody'"),
])
def test_forms_that_cannot_be_are_refused(own, path, form, words):
    done = browser(own).post(path, data={"token": TOKEN, "name": "x"} | form)
    assert done.status_code in (400, 404) and words in html.unescape(done.text)
    assert not (own / "slices").exists()


@pytest.mark.parametrize("headers", [
    {"host": "evil.example"}, {"host": "evil.example:8000"}, {"host": "127.0.0.1:8001"}, {"host": "127.0.0.1"},
    {"host": "127.0.0.1.evil.example:8000"}, {"host": ""},
])
def test_another_name_for_this_machine_is_refused(page, headers):
    for done in (page.get("/", headers=headers), page.post("/refresh", data={"token": TOKEN}, headers=headers)):
        assert done.status_code == 403 and done.text == "this page answers to http://127.0.0.1:8000 alone\n"


@pytest.mark.parametrize("headers, token", [
    ({}, None), ({}, ""), ({}, "another"), ({}, "ü"), ({"origin": "http://evil.example"}, TOKEN),
    ({"origin": "null"}, TOKEN), ({"origin": "http://localhost:8000"}, TOKEN),
    ({"sec-fetch-site": "cross-site"}, TOKEN), ({"sec-fetch-site": "same-site"}, TOKEN),
])
@pytest.mark.parametrize("path", ["/slice", "/gold", "/answer", "/refresh"])
def test_a_form_of_another_page_is_refused(own, path, headers, token):
    form = {"name": "x", "which": "all"} | ({} if token is None else {"token": token})
    assert browser(own).post(path, data=form, headers=headers).status_code == 403
    assert not (own / "slices").exists()


def test_a_form_of_this_page_is_not(own):
    page = browser(own)
    assert f'name="token" value="{TOKEN}"' in page.get("/predictions").text
    headers = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert page.post("/refresh", data={"token": TOKEN}, headers=headers).status_code == 303
    assert page.get("/", headers={"host": "localhost:8000"}).status_code == 200


def test_forms_are_not_read_without_end(page):
    done = page.post("/slice", content=b"a=" + b"x" * (4 << 20))
    assert done.status_code == 400 and "larger than 4 MiB" in done.text


# ---- the pages


PLACES = ["/", "/predictions", "/predictions?run=one&outcome=wrong", "/compare", "/compare?run=one&second=two",
          "/predictions?run=nobody", row("one", HOSTILE)]


@pytest.mark.parametrize("path", PLACES)
def test_pages_can_be_walked_without_eyes_and_without_a_mouse(page, path):
    walk = Walk(re.sub(r"<input([^>]*)>", r"<input\1/>", page.get(path).text))
    assert walk.of("html")[0]["lang"] == "en" and len(walk.of("main")) == len(walk.of("h1")) == 1
    ids = [attributes["id"] for _, attributes in walk.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for attributes in walk.of("label")}
    for tag in ("input", "select", "textarea"):
        for field in walk.of(tag):
            wrapped = field.get("name") == "which" or "data-all" in field
            assert field.get("type") == "hidden" or wrapped or field.get("aria-label") or field["id"] in labelled
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in walk.of("th"))
    scrolled = [a for a in walk.of("div") if a.get("class") == "wide"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" and (a.get("aria-label") or a["aria-labelledby"] in ids)
               for a in scrolled)


@pytest.mark.parametrize("path", PLACES)
def test_pages_need_nothing_from_elsewhere_and_run_no_text(page, path):
    done = page.get(path)
    assert "<script>" not in done.text and "alert('x')" not in done.text
    assert re.findall(r"<script[^>]*>", done.text) == ['<script src="/page.js" defer>']
    assert not re.search(r"https?://|style=|onclick", done.text)
    policy = done.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert done.headers["x-content-type-options"] == "nosniff" and done.headers["cache-control"] == "no-store"


def test_what_is_asked_for_stays_in_the_form(page):
    text = page.get("/predictions?run=one&outcome=wrong&low=0.6&text=%22%3E%3Cb%3E&order=text").text
    assert 'value="&#34;&gt;&lt;b&gt;"' in text and 'min="0" max="1" step="any" value="0.6"' in text
    assert re.findall(r'<option value="([^"]+)" selected>', text) == ["one", "wrong", "text"]


def test_new_runs_are_said_and_read_again(own):
    page = browser(own)
    assert "came or went" not in page.get("/").text
    add_run(Store(own), "three", classified(*ROWS["two", "dev"]), transfer=None)
    assert "Runs or slices came or went since" in page.get("/").text and "three" not in page.get("/").text
    assert page.post("/refresh", data={"token": TOKEN}).status_code == 303
    text = page.get("/").text
    assert "three" in text and "came or went" not in text


def test_a_store_without_predictions_says_what_makes_some(tmp_path):
    text = browser(tmp_path).get("/").text
    assert "The store has no predictions" in text
    assert browser(tmp_path).get("/predictions").status_code == 200
    with pytest.raises(UserError, match="no such store"):
        app(str(tmp_path / "nothing"))


def test_a_changed_part_is_refused_by_name(own):
    [part, *_] = (own / "predictions").rglob("part-*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(UserError, match=f"{part.name}: broken part"):
        app(str(own))


# ---- the command


def test_the_command_serves_this_machine_alone_until_it_is_stopped(many):
    command = [sys.executable, "-m", "kdpipe.cli", "explore", "--store", str(many), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            url = running.stdout.readline().split()[0]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            with urllib.request.urlopen(url) as answer:
                assert answer.status == 200 and "server" not in answer.headers
                assert "510 predictions of 3 runs" in answer.read().decode()
            port = f"{int(url.rstrip('/').rsplit(':', 1)[1]):04X}"
            sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            assert [s[1] for s in sockets if s[1].endswith(f":{port}") and s[3] == "0A"] == [f"0100007F:{port}"]
            taken = subprocess.run([*command, "--port", str(int(port, 16))], capture_output=True, text=True)
            assert taken.returncode == 2 and "name another, or 0 for a free one" in taken.stderr
        finally:
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=20)
    assert running.returncode == 0 and "Traceback" not in errors


def test_the_small_store_of_the_marts_is_shown_whole(small, small_store):
    held = len(warehouse.query(small_store, "stg_predictions"))
    assert f"{held} predictions" in small.get("/").text
    assert len(all_shown(small, "/predictions")) == held
