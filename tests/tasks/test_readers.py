"""Every reader gives back the texts that were written, whatever is in them."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe import catalog
from kdpipe.errors import UserError
from kdpipe.tasks._bad import BadRows

Row = tuple[str, str, str]  # text_a, text_b, label


@dataclass(frozen=True)
class Format:
    """How a test writes a file that a reader must read."""

    write: Callable[[list[Row]], bytes]
    pair: bool
    arguments: dict[str, str] = field(default_factory=dict)
    line_ends: bool = False  # a text may hold tabs and line ends


def tabs(header: str, row: str, bom: bool = False) -> Callable[[list[Row]], bytes]:
    def write(rows: list[Row]) -> bytes:
        lines = [header] * bool(header) + [row.format(a=a, b=b, y=y) for a, b, y in rows]
        return b"\xef\xbb\xbf" * bom + "".join(f"{line}\n" for line in lines).encode()

    return write


def comma(rows: list[Row]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("a", "b", "y"), *rows])
    return out.getvalue().encode()


def objects(rows: list[Row]) -> bytes:
    return "".join(
        json.dumps({"a": a, "b": b, "y": y}, ensure_ascii=len(a) % 2 == 0) + "\n" for a, b, y in rows
    ).encode()


def parquet(rows: list[Row]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(zip("aby", map(list, zip(*rows, strict=True)), strict=True))), sink)
    return sink.getvalue()


PAIR = {"text_a": "a", "text_b": "b", "label": "y"}
FORMATS = {
    "tsv": Format(tabs("a\tb\ty", "{a}\t{b}\t{y}"), True, PAIR),
    "csv": Format(comma, True, PAIR, line_ends=True),
    "jsonl": Format(objects, True, PAIR, line_ends=True),
    "parquet": Format(parquet, True, PAIR, line_ends=True),
    "cola": Format(tabs("", "gj04\t{y}\t*\t{a}"), False),
    "sst2": Format(tabs("sentence\tlabel", "{a}\t{y}"), False),
    "mrpc": Format(tabs("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{y}\t12\t13\t{a}\t{b}", bom=True), True),
    "senteval": Format(tabs("", "tr\t{y}\t{a}"), False),
    "rte": Format(tabs("index\tsentence1\tsentence2\tlabel", "7\t{a}\t{b}\t{y}"), True),
    "wnli": Format(tabs("index\tsentence1\tsentence2\tlabel", "7\t{a}\t{b}\t{y}"), True),
    "qnli": Format(tabs("index\tquestion\tsentence\tlabel", "7\t{a}\t{b}\t{y}"), True),
    "qqp": Format(tabs("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "7\t8\t9\t{a}\t{b}\t{y}"), True),
    "stsb": Format(
        tabs(
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
            "0\tmain\tMSRvid\t2012\t1\tnone\tnone\t{a}\t{b}\t{y}",
        ),
        True,
    ),
    "mnli": Format(
        tabs(
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
            "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
            "0\t1\t1n\tfiction\t( a )\t( b )\t(ROOT)\t(ROOT)\t{a}\t{b}\tx\t{y}",
        ),
        True,
    ),
}

AWKWARD = [
    'say "hi',
    '"',
    "a\u2028b",
    "a\x85b",
    "a\x0bb\x0cc\x1cd\x1e",
    "nul \x00 inside",
    "a\rb",
    "🙂👩‍👩‍👧",
    "שלום עולם",
    "\ufeffmark",
    " spaces  kept ",
    "word " * 10_000,
    "e\u0301",
    "NA",
    "null",
    "1,5",
    "\\t\\n",
]


def text(line_ends: bool) -> st.SearchStrategy[str]:
    banned = "" if line_ends else "\t\n"
    any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=banned), min_size=1, max_size=30)
    # "\r" before "\n" is a line end, so in a line-based format no text of the last column can end in one
    return (any_text | st.sampled_from(AWKWARD)).filter(lambda t: line_ends or not t.endswith("\r"))


def test_every_reader_is_tested():
    assert set(FORMATS) == set(catalog.names("tasks"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readers")


def read(name, path, labelled=True):
    bad = BadRows(path)
    return catalog.find("tasks", name)(**FORMATS[name].arguments).read(path, bad, labelled), bad


def as_rows(table) -> list[Row]:
    b = table["text_b"].to_pylist() if "text_b" in table.column_names else [""] * len(table)
    return list(zip(table["text_a"].to_pylist(), b, table["label"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", sorted(FORMATS))
@settings(max_examples=15)
@given(data=st.data())
def test_texts_come_through_unharmed(name, folder, data):
    one = text(FORMATS[name].line_ends)
    other = one if FORMATS[name].pair else st.just("")
    rows = data.draw(st.lists(st.tuples(one, other, st.sampled_from(["0", "1"])), min_size=1, max_size=5))
    path = folder / f"{name}.txt"
    path.write_bytes(FORMATS[name].write(rows))
    table, bad = read(name, path)
    assert as_rows(table) == rows
    assert not bad


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"parquet"}))
def test_line_says_where_a_row_stands(name, folder):
    rows = [(a, "b" if FORMATS[name].pair else "", "1") for a in ("one", "two", "three")]
    (folder / "lines.txt").write_bytes(FORMATS[name].write(rows))
    lines = (folder / "lines.txt").read_text(encoding="utf-8-sig").split("\n")
    table, _ = read(name, folder / "lines.txt")
    assert all(a in lines[line - 1] for (a, _, _), line in zip(rows, table["line"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"parquet"}))
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: gzip.compress(data), id="gzip"),
        pytest.param(lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), id="crlf"),
        pytest.param(lambda data: b"\xef\xbb\xbf" + data.removeprefix(b"\xef\xbb\xbf"), id="bom"),
        pytest.param(lambda data: data.rstrip(b"\r\n"), id="no end of line at the end"),
        pytest.param(lambda data: data + b"\n\r\n\n", id="blank lines at the end"),
    ],
)
def test_the_same_rows_however_the_file_is_wrapped(name, change, folder):
    rows = [("a cat", "a dog" if FORMATS[name].pair else "", "0"), ("two cats", "x" if FORMATS[name].pair else "", "1")]
    data = change(FORMATS[name].write(rows))
    path = folder / ("wrapped.txt.gz" if data.startswith(b"\x1f\x8b") else "wrapped.txt")
    path.write_bytes(data)
    table, bad = read(name, path)
    assert as_rows(table) == rows and not bad


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cola", "index\tsentence\n0\tgood\n"),
        ("sst2", "index\tsentence\n0\tgood\n"),
        ("mrpc", "\ufeffindex\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tgood\tfine\n"),
        ("rte", "index\tsentence1\tsentence2\n0\tgood\tfine\n"),
        ("wnli", "index\tsentence1\tsentence2\n0\tgood\tfine\n"),
        ("qnli", "index\tquestion\tsentence\n0\tgood\tfine\n"),
        ("qqp", "id\tquestion1\tquestion2\n0\tgood\tfine\n"),
        ("stsb", "index\tgenre\tsentence1\tsentence2\n0\tnews\tgood\tfine\n"),
        ("mnli", "index\tsentence1\tsentence2\n0\tgood\tfine\n"),
    ],
)
def test_glue_test_files_have_no_labels(name, content, folder):
    (folder / "test.tsv").write_text(content, encoding="utf-8")
    table, _ = read(name, folder / "test.tsv", labelled=False)
    assert "label" not in table.column_names
    assert table["text_a"].to_pylist() == ["good"]
    assert table["line"].to_pylist() == [2]


def test_csv_row_begins_where_its_first_line_is(folder):
    (folder / "lines.csv").write_text('a,b,y\n"one\n\ntwo",x,1\nthree,x,0\n')
    table, _ = read("csv", folder / "lines.csv")
    assert table["text_a"].to_pylist() == ["one\n\ntwo", "three"]
    assert table["line"].to_pylist() == [2, 5]


def test_csv_field_longer_than_pythons_own_limit(folder):
    long = "word " * 100_000
    (folder / "long.csv").write_bytes(comma([(long, "x", "1")]))
    assert read("csv", folder / "long.csv")[0]["text_a"].to_pylist() == [long]


def test_delimiter_and_missing_header_of_csv(folder):
    (folder / "semicolon.csv").write_text('1;"a; b"\n')
    reader = catalog.find("tasks", "csv")(text="t", label="y", delimiter=";", columns=["y", "t"])
    table = reader.read(folder / "semicolon.csv", BadRows(folder))
    assert table.to_pylist() == [{"text_a": "a; b", "label": "1", "line": 1}]


def test_labels_of_json_and_parquet_read_as_in_text_files(folder):
    values = ["a", 1, 2.0, 2.5, True, None]
    (folder / "l.jsonl").write_text("".join(json.dumps({"text": "t", "label": v}) + "\n" for v in values))
    table = catalog.find("tasks", "jsonl")().read(folder / "l.jsonl", BadRows(folder))
    assert table["label"].to_pylist() == ["a", "1", "2", "2.5", "true", None]
    for values, expected in [
        ([1, 2], ["1", "2"]),
        ([True, False], ["true", "false"]),
        ([0.5, 2.0], [0.5, 2.0]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
    ]:
        pq.write_table(pa.table({"text": ["t", "u"], "label": values}), folder / "l.parquet")
        table = catalog.find("tasks", "parquet")().read(folder / "l.parquet", BadRows(folder, "row"))
        assert table["label"].to_pylist() == expected


def refusal(name, path) -> str:
    with pytest.raises(UserError) as caught:
        read(name, path)
    return str(caught.value).replace(f"{path}: ", "")


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"parquet"}))
def test_other_encodings_are_refused_by_line_and_byte(name, folder):
    path = folder / "latin.txt"
    data = FORMATS[name].write([("naïve", "x" if FORMATS[name].pair else "", "1")])
    data = data.replace("ï".encode(), b"\xef").replace(b"\\u00ef", b"\xef")
    path.write_bytes(data)
    at = data.index(b"na\xefve") + 2
    assert refusal(name, path) == (
        f"line {data[:at].count(10) + 1}, byte {at}: 0xEF is not UTF-8; the file looks like WINDOWS-1252: "
        "save it as UTF-8, for example with iconv -f WINDOWS-1252 -t UTF-8"
    )


def test_utf_16_is_named(folder):
    (folder / "wide.tsv").write_bytes("a\tb\ty\n".encode("utf-16"))
    assert "byte 0: 0xFF is not UTF-8; the file looks like UTF-16" in refusal("tsv", folder / "wide.tsv")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_missing_file_and_a_folder(name, folder):
    assert refusal(name, folder / "nothing") == "no such file"
    assert refusal(name, folder) == "a folder, not a file"


@pytest.mark.parametrize("name", ["tsv", "csv", "jsonl", "sst2"])
def test_an_empty_file(name, folder):
    (folder / "empty").write_bytes(b"\xef\xbb\xbf\n\n")
    assert refusal(name, folder / "empty") == "the file is empty"


def test_broken_gzip(folder):
    (folder / "cut.tsv.gz").write_bytes(gzip.compress(b"a\tb\ty\n" * 1000)[:40])
    assert refusal("tsv", folder / "cut.tsv.gz").startswith("broken gzip file (")
    (folder / "no.tsv.gz").write_bytes(b"a\tb\ty\n")
    assert refusal("tsv", folder / "no.tsv.gz").startswith("broken gzip file (Not a gzipped file")


def test_missing_columns_are_named_together_with_those_found(folder):
    (folder / "c.tsv").write_text("a\tbb\tlabel\nx\ty\t1\n")
    hint = "; if the first line is a row, name the columns in a task file: columns = [...]"
    assert refusal("tsv", folder / "c.tsv").splitlines() == [
        f"no column 'b'; did you mean 'bb'?; columns found: 'a', 'bb', 'label'{hint}",
        f"no column 'y'; columns found: 'a', 'bb', 'label'{hint}",
    ]
    (folder / "c.jsonl").write_text('{"a": "x", "y": 1}\n')
    assert refusal("jsonl", folder / "c.jsonl") == "no column 'b'; columns found: 'a', 'y'"
    (folder / "twice.tsv").write_text("a\tb\tb\ty\n")
    assert refusal("tsv", folder / "twice.tsv").startswith("2 columns are named 'b'; columns found: 'a', 'b', 'b', 'y'")


@pytest.mark.parametrize("name", ["tsv", "csv"])
def test_rows_of_a_wrong_width_are_told_by_line(name, folder):
    path, sep = folder / "width", {"tsv": "\t", "csv": ","}[name]
    path.write_text("a|b|y\none|x|1\n\ntwo|1\nthree|x|1|1\nfour|x|0\n".replace("|", sep))
    table, bad = read(name, path)
    blank = {"tsv": "1 field", "csv": "0 fields"}[name]
    assert table["text_a"].to_pylist() == ["one", "four"]
    assert bad.sentences() == [
        f"{path}: 3 rows with a wrong number of fields (3 columns): "
        f"line 3 ({blank}), line 4 (2 fields), line 5 (4 fields)"
    ]


@pytest.mark.parametrize(
    ("content", "begins", "what"),
    [
        ('a,b,y\n"one" x,b,1\n', 2, "',' expected after '\"'"),
        ('a,b,y\none,b,1\n"two,b,1\nthree,b,0\n', 3, "unexpected end of data"),
        ("a,b,y\ntwo\rlines,b,1\n", 2, "new-line character seen in unquoted field"),
    ],
)
def test_broken_quotes_stop_the_reading_of_csv(content, begins, what, folder):
    (folder / "quotes.csv").write_bytes(content.encode())
    assert refusal("csv", folder / "quotes.csv").startswith(
        f"the row that begins on line {begins} is broken CSV ({what}"
    )


def test_broken_json_is_told_by_line(folder):
    path = folder / "broken.jsonl"
    lines = [
        '{"a": "x", "b": "y", "y": 1}',
        '{"a": "x"',
        "[1]",
        '{"a": 3, "b": "y", "y": 1}',
        r'{"a": "\ud83d", "b": "y", "y": 1}',
        '{"a": "x", "b": "y", "y": [1]}',
        "[" * 100_000,
    ]
    path.write_text("\n".join(lines))
    table, bad = read("jsonl", path)
    assert table["line"].to_pylist() == [1]
    assert bad.sentences() == [
        f"{path}: 2 rows with broken JSON: line 2 (Expecting ',' delimiter, column 10), line 7 (too long or too deep)",
        f"{path}: 1 row with something else than a JSON object: line 3 ('[1]')",
        f"{path}: 3 rows with a value that is no text: line 4 (a: '3'), line 5 (a: \"'\\\\ud83d'\"), line 6 (y: '[1]')",
    ]


def test_broken_parquet(folder):
    whole, path = parquet([("x", "y", "1")] * 100), folder / "broken.parquet"
    path.write_bytes(whole[:-20])
    assert refusal("parquet", path).startswith(f"broken Parquet file, {len(whole) - 20} bytes (")
    path.write_bytes(b"text,label\n")
    assert refusal("parquet", path).startswith("broken Parquet file, 11 bytes (")
    pq.write_table(pa.table({"a": [1], "b": ["x"], "y": [[1]]}), path)
    assert refusal("parquet", path).splitlines() == [
        "column 'a' holds int64; a text column must hold strings",
        "column 'y' holds list<element: int64>; a label column must hold strings, numbers or booleans",
    ]


def test_parquet_strings_that_are_not_utf_8(folder):
    latin = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xe9")])
    pq.write_table(pa.table({"a": latin, "b": ["x"], "y": ["1"]}), folder / "latin.parquet")
    assert refusal("parquet", folder / "latin.parquet").startswith("column 'a' is not UTF-8 (")
