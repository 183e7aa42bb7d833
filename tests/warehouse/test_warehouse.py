"""Views over any store, what may be asked and what is refused."""

import re
import shutil
from pathlib import Path

import duckdb
import pytest

from kdpipe import warehouse
from kdpipe.errors import UserError
from kdpipe.resources import folder
from kdpipe.store import Store
from kdpipe.warehouse import build, connect, named, query, run_checks
from tests.warehouse.small import add_run, classified, fill

SQL = sorted(folder("warehouse").glob("*/*.sql"))
VIEWS = [p.stem for p in SQL if p.parent.name != "checks"]


def listing(store):
    return sorted((str(p), p.stat().st_mtime_ns) for p in store.rglob("*"))


# ---- contract of every SQL file


@pytest.mark.parametrize("file", SQL, ids=lambda p: p.stem)
def test_a_file_says_its_grain_and_keeps_to_its_room(file):
    text = file.read_text()
    assert text.startswith("-- ") and text.endswith("\n")
    code = re.sub(r"--.*|'[^']*'", "", text)
    assert code == code.lower() and ";" not in code
    ctes = set(re.findall(r"\b(\w+) as \(", code))
    read = set(re.findall(r"(?<!distinct )\b(?:from|join)\s+([a-z_.]+)", code)) - ctes
    assert all(name.startswith("raw." if file.parent.name == "staging" else "stg_") for name in read)


def test_every_file_runs_on_an_empty_and_on_a_small_store(empty_store, small_store):
    with connect(empty_store) as empty, connect(small_store) as small:
        for view in VIEWS:
            nothing, something = (c.sql(f'from "{view}"').to_arrow_table() for c in (empty, small))
            assert len(nothing) == 0, view
            assert len(something) > 0, view
            assert [str(f.type) for f in nothing.schema] == [str(f.type) for f in something.schema], view
    assert run_checks(empty_store) == []


def test_names_are_those_of_the_files_marts_first():
    names = [name for name, _ in named()]
    assert sorted(names) == sorted(VIEWS)
    assert names[0] == "agreement" and names[-1].startswith("stg_")
    assert all(grain.startswith("One row per") for _, grain in named())


# ---- asking


def test_a_view_can_be_asked_by_name_alone(small_store):
    assert query(small_store, " Leaderboard ").equals(query(small_store, "select * from leaderboard"))


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "  select run from stg_runs;  ",
        "-- a note\nselect 1",
        "with a as (select 1 as x) select x from a",
        "from stg_runs select run",
        "values (1)",
        "select 1 union all select 2",
        "describe leaderboard",
        "summarize leaderboard",
        "show tables",
        "explain select * from leaderboard",
        "/* why */ explain analyze select * from leaderboard",
        "select unnest([1, 2])",
        "select * from range(3)",
        "with recursive n(x) as (select 1 union all select x + 1 from n where x < 3) select * from n",
    ],
)
def test_reading_is_allowed(small_store, sql):
    assert len(query(small_store, sql)) > 0


def test_parameters_are_bound(small_store):
    sql = "select run from stg_runs where student = $student and run = $run"
    assert query(small_store, sql, {"student": "bilstm", "run": "tang-s0"}).to_pylist() == [{"run": "tang-s0"}]
    assert len(query(small_store, "select run from stg_runs where run = ?", ["' or true --"])) == 0


def test_asking_writes_nothing(small_store):
    before = listing(small_store)
    query(small_store, "leaderboard")
    run_checks(small_store)
    assert listing(small_store) == before


# ---- refusing


@pytest.mark.parametrize(
    "sql",
    [
        "copy (select 1) to '{store}/x.csv'",
        "copy stg_runs to '{store}/x.parquet'",
        "with x as (copy (select 1) to '{store}/x.csv') select 1",
        "explain analyze copy (select 1) to '{store}/x.csv'",
        "explain analyze with x as (copy (select 1) to '{store}/x.csv') select 1",
        "explain (analyze) copy (select 1) to '{store}/x.csv'",
        "select * from query('with x as (copy (select 1) to ''{store}/x.csv'') select 1')",
        "select * from json_execute_serialized_sql(json_serialize_sql("
        "'with x as (copy (select 1) to ''{store}/x.csv'') select 1'))",
        "select (select count(*) from json_execute_serialized_sql('{{}}'))",
        "with x as (insert into stg_runs values (1) returning 1) select * from x",
        "insert into stg_runs values (1)",
        "update stg_runs set run = 'x'",
        "delete from stg_runs",
        "drop view leaderboard",
        "create table t (x int)",
        "create temp table t as select 1",
        "attach '{store}/x.db'",
        "set threads = 1",
        "reset threads",
        "pragma database_list",
        "call pragma_version()",
        "install httpfs",
        "load httpfs",
        "export database '{store}/x'",
        "checkpoint;",
        "begin;",
        "prepare p as select 1",
        "select 1; select 2",
        "select 1; drop view leaderboard",
        "",
        "-- nothing",
    ],
)
def test_whatever_could_write_is_refused(small_store, sql):
    before = listing(small_store)
    with pytest.raises(UserError, match="kdpipe sql only reads"):
        query(small_store, sql.format(store=str(small_store).replace("'", "''")))
    assert listing(small_store) == before


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "select * from read_blob('/proc/self/environ')",
        "select * from glob('/etc/*')",
        "select * from read_text('{store}/../secret.txt')",
        "select * from read_json('https://example.com/x.json')",
        "select * from read_parquet('{store}/*/*/part-*.parquet')",
        "from '{store}/signals/teacher=fp/signal=logits/*.parquet'",
        "select (select max(content) from read_text('/etc/passwd'))",
        "with x as (from '/etc/passwd') select * from leaderboard, x",
        """select * from "{store}/signals/teacher=fp/signal=logits/x".parquet""",
        """from "{store}/signals/*/*/*".parquet""",
        "from part.parquet",
        """describe "{store}/x".parquet""",
        """summarize "{store}/x".parquet""",
    ],
)
def test_files_are_read_through_the_views_alone(small_store, sql):
    (small_store.parent / "secret.txt").write_text("secret")
    with pytest.raises(UserError, match="ask the views"):
        query(small_store, sql.format(store=str(small_store).replace("'", "''")))


def test_the_connection_itself_is_locked(small_store):
    with connect(small_store) as con:
        for sql in ("set enable_external_access = true", "copy (select 1) to '/tmp/kdpipe-escape.csv'", "load httpfs"):
            with pytest.raises(duckdb.Error):
                con.execute(sql)


def test_a_connection_cannot_write_into_the_store(small_store):
    """Neither by its path nor by the name under which the connection reads it, by SQL or without."""
    before = listing(small_store)
    with connect(small_store) as con:
        for base in (str(small_store), f"kdpipe://{small_store}"):
            quoted = base.replace("'", "''")
            for sql in (f"copy (select 1) to '{quoted}/x.csv'", f"copy stg_runs to '{quoted}/x.parquet'",
                        f"attach '{quoted}/x.db'", f"export database '{quoted}/x'"):
                with pytest.raises((duckdb.Error, PermissionError, NotImplementedError)):
                    con.execute(sql)
            with pytest.raises((duckdb.Error, PermissionError)):
                con.sql("from stg_runs select run").write_csv(f"{base}/y.csv")
    assert listing(small_store) == before


def test_a_connection_reads_what_a_question_does(small_store):
    with connect(small_store) as con:
        for name in ("leaderboard", "stg_transfer", "robustness"):
            assert con.sql(f"from {name} order by all").to_arrow_table().equals(
                query(small_store, f"from {name} order by all"))


def test_a_connection_takes_the_store_of_the_command(small_store, monkeypatch, tmp_path):
    monkeypatch.setenv("KDPIPE_STORE", str(small_store))
    with connect() as con:
        assert con.sql("select max(seeds) from leaderboard").fetchall() == [(2,)]
    monkeypatch.delenv("KDPIPE_STORE")
    shutil.copytree(small_store, tmp_path / "warehouse" / "store")
    monkeypatch.chdir(tmp_path)
    with connect() as con:
        assert con.sql("select max(seeds) from leaderboard").fetchall() == [(2,)]


def test_a_connection_to_a_store_with_a_changed_part_is_refused(small_store, tmp_path):
    store = Store(shutil.copytree(small_store, tmp_path / "copy"))
    [part] = store.parts(store.predictions("tang-s0", "dev"))
    with open(part, "r+b") as file:
        file.seek(40)
        byte = file.read(1)[0]
        file.seek(40)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(UserError, match="broken part"):
        connect(store)


@pytest.mark.parametrize("name", ["leaderbord", "passwd"])
def test_a_name_that_is_no_view(small_store, name):
    with pytest.raises(UserError, match=f"no view '{name}'.*leaderboard"):
        query(small_store, name)
    with pytest.raises(UserError, match=f"no view '{name}'.*leaderboard"):
        query(small_store, f"select * from {name}")


def test_names_cannot_leave_the_folder(small_store):
    with pytest.raises(UserError):
        query(small_store, "../marts/leaderboard")
    with pytest.raises(UserError):
        query(small_store, 'select * from "../../../etc/passwd"')


def test_an_unknown_column_is_answered_with_the_columns_there_are(small_store):
    with pytest.raises(UserError, match="columns of leaderboard: task, recipe, phase"):
        query(small_store, "select accuracy from leaderboard")


def test_a_mistake_in_the_sql_is_said_plainly(small_store):
    with pytest.raises(UserError, match="syntax error"):
        query(small_store, "select from where")


def test_keys_in_the_path_of_the_store_and_runs_that_look_like_numbers(tmp_path):
    store = Store(tmp_path / "env=prod")
    add_run(store, "0012", classified(("lovely", "good", "bad", 0.9, 0)))
    found = query(store, "select run, split from confident_mistakes").to_pylist()
    assert found == [{"run": "0012", "split": "dev"}]
    misleading = Store(tmp_path / "run=other")
    add_run(misleading, "0012")
    with pytest.raises(UserError, match="the folder 'run=other'"):
        query(misleading, "leaderboard")


def test_a_store_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such store"):
        query(tmp_path / "nowhere", "leaderboard")
    assert not (tmp_path / "nowhere").exists()


# ---- the built file, and stores elsewhere


def test_build_writes_views_only_and_can_be_repeated(small_store, tmp_path):
    shutil.copytree(small_store, tmp_path / "s")
    build(tmp_path / "s")
    file = build(Store(tmp_path / "s"))
    assert [p.name for p in (tmp_path / "s").iterdir() if p.is_file()] == [file.name] == ["kdpipe.duckdb"]
    with duckdb.connect(str(file), read_only=True) as con:
        assert con.execute("select count(*) from duckdb_tables()").fetchall() == [(0,)]
        assert con.sql("from leaderboard").to_arrow_table().equals(query(small_store, "leaderboard"))


def test_a_remote_store_can_be_asked():
    """With one look at each file: memory:// gives the same open file to all threads, which S3 and the like do not."""
    remote = fill(Store("memory://asked"))
    assert query(remote, "select max(seeds) as n from leaderboard").to_pylist() == [{"n": 2}]
    assert query(remote, "select sum(n) as n from confusion where run = 'tang-s0'").to_pylist() == [{"n": 6}]
    with pytest.raises(UserError, match="ask the views"):
        query(remote, "select * from read_text('/etc/passwd')")
    with connect(remote) as con:
        assert con.sql("select max(seeds) from leaderboard").fetchall() == [(2,)]
        with pytest.raises((duckdb.Error, PermissionError)):
            con.execute("copy (select 1) to 'memory://asked/x.csv'")
        with pytest.raises((duckdb.Error, PermissionError)):
            con.execute("copy (select 1) to 'kdpipe:///asked/x.csv'")
    with pytest.raises(UserError, match="local stores only"):
        build(remote)


def test_a_question_is_asked_again_where_a_part_went_meanwhile(tmp_path):
    """One listing of a folder may miss the part that went and the one that came, and DuckDB says nothing of it."""
    store = fill(Store(tmp_path / "store"))
    folder, answers = store.signals("fp", "logits"), iter((0, 6))

    def ask():
        seen = next(answers)
        if not seen:
            [old] = store.parts(folder)
            store.write_part(folder, store.read_part(old).slice(0, 5))
            Path(old).unlink()
        return seen

    assert warehouse._as_files_stand(store, {"raw.signals"}, ask) == 6
