"""Parsers under fuzz: no crash, no hang, no memory beyond a bound, and no door out of the folder."""

import os
import resource
import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdpipe import recipe, warehouse
from kdpipe.errors import UserError
from tests.promises import targets
from tests.promises.conftest import LONG
from tests.promises.targets import TARGETS, ends_well

EXAMPLES = 2000 if LONG else 20
SECONDS = int(os.environ.get("KDPIPE_FUZZ_SECONDS", "60"))
MEMORY = 1 << 30  # bytes that a test of one parser may add at most to what the process has ever held

NASTY = st.sampled_from([
    b"", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"', b"'", b"{", b"[" * 3000, b'{"a":' * 3000,
    b"\n" * 99,
    b"1e999", b"-1", b"0", b"99999999999", b"9" * 5000, b"nan", b"null", b"true", b"[]", b"{}", b'""', b"1979-05-27",
    b"../../../../etc/passwd", b"/dev/zero", b"$HOME", b"${", b"~root", b"'; drop table runs; --", "\u2028🙂".encode(),
    b"__class__", b"!!python/object/apply:os.system", b"a" * 100_000,
])
EDIT = st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(NASTY, st.binary(max_size=8)))


@st.composite
def mutated(draw, seeds: tuple[bytes, ...]) -> bytes:
    """Bytes that begin as a good file and have a few places cut out and filled with something else."""
    data = draw(st.sampled_from(seeds))
    for where, cut, new in draw(st.lists(EDIT, max_size=4)):
        at = int(where * len(data))
        data = data[:at] + new + data[at + cut:]
    return draw(st.sampled_from([data] * 8 + [data[: len(data) // 2]]))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


calm = settings(max_examples=EXAMPLES, deadline=20_000, derandomize=not LONG,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                HealthCheck.large_base_example])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_strange_bytes_are_read_or_refused(name):
    target, seeds = TARGETS[name]
    good = tuple(seed() for seed in seeds)
    assert name == "part" or ends_well(target, good[0])
    before = peak()

    @calm
    @given(mutated(good))
    def check(data: bytes) -> None:
        ends_well(target, data)

    check()
    assert peak() - before < MEMORY


FOUND = [  # what ended in something else than words, found by these tests
    ("recipe", targets.RECIPE.replace("hidden = ", "hidden = " + "[" * 3000).encode()),
    ("recipe", targets.RECIPE.replace("seeds = [0", "seeds = [" + "9" * 5000).encode()),
    ("task_file", targets.TASK.replace("rows.", "rows." + "a" * 5000).encode()),
    ("list_of_parts", b' "parts": [], "cnunts": {"rows": 0, "gold": 0}}'),
    ("list_of_parts", b' "parts": [], "counts": {"row\xed\xa0\x80s": 0, "gold": 0}}'),
    ("parquet", TARGETS["parquet"][1][0]().replace(b"text", b"\x8dext")),
    ("teacher kdpipe.json", b'{"model": {"name": "bert"}, "kind": "classification", "labels": ["badgood"], '
                            b'"outputs": 2, "vocab_size": 23, "pair": false, "max_length": 16, "task": "tiny"}'),
]


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[f"{name} {i}" for i, (name, _) in enumerate(FOUND)])
def test_what_was_found_once_is_refused(name, data):
    assert not ends_well(TARGETS[name][0], data)


@pytest.mark.parametrize("said", ["teacher.name=[]", "teacher.model.checkpoint=-1", "student.model.from=7"])
def test_values_that_were_found_once_are_refused(said):
    with pytest.raises(UserError):
        path = targets.written("recipe.toml", targets.RECIPE.encode())
        targets.plan_of(recipe.load(path, targets.here(), overrides=[said, "student.train.epochs=1"]))


KEYS = ["seeds", "task", "phase", "name", "budget", *(f"{phase}.{key}" for phase in ("teacher", "student") for key in (
    "name", "seed", "teacher", "checkpoint", "label_names", "model", "vocab", "embeddings", "augment", "unlabelled",
    "augment_seed", "tagger", "loss", "train", "max_length", "model.name", "model.hidden", "model.width",
    "model.layers", "model.fc", "model.dropout", "model.channels", "model.heads", "model.ffn", "model.positions",
    "model.checkpoint", "model.encoder", "vocab.size", "vocab.min_count", "vocab.lower", "vocab.from",
    "embeddings.from", "embeddings.path", "embeddings.name", "train.epochs", "train.batch_size", "train.lr",
    "train.schedule", "train.patience", "train.clip", "train.evaluate_every", "train.precision", "train.optimizer",
    "train.select", "start", "members", "teachers", "combine", "states", "compute", "model.take", "model.preset",
    "model.from", "model.members"))]
VALUES = st.one_of(
    st.sampled_from([
        "0", "-1", "1", "3", "1000000000", "99999999999999999999", "1e300", "inf", "nan", "true", '""', "[]", "{}",
        "[[]]",
        "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", '"../../x"', '"/etc/passwd"', '"\\u0000"', '["a", "a"]',
        '{name = "bilstm", hidden = 300000}', '{name = "siamese", encoder = {name = "bilstm", layers = 100000}}',
        '{name = "bert", layers = 1000000}', '{name = "bert", width = 1000000, heads = 1}', '{name = 3}', '"bert"',
        '[{name = "mask", p = 2}]', '[{name = "mask", p = nan, copies = 100000000000}]', '[{name = "ngram"}]',
        '[{name = "tang", preset = 1979-05-27}]', '[{name = "hard", weight = {linear = [0, "x"]}}]',
        '[{name = "pkd", layers = [[1, 1]]}]', '[{name = "kd", temperature = {linear = [1, 0]}}]', '["teacher"]',
        '["teacher", "student"]', '{name = "weighted", weights = [1, "x"]}', '{name = "ensemble", members = [3]}',
        '[{name = "hidden_mse", layers = []}, {name = "attention_mse"}]', '[{name = "alp", buckets = [[1e9]]}]',
        '{name = "bert", from = "teacher", take = [0]}', '[0, 99]', '"2 GiB"', '"-1 B"',
        '[{name = "hard", weight = nan}]', '[{name = "hard", weight = []}]', '{linear = [0, 1]}', '"teacher"',
        '"student"',
    ]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'"), max_size=20).map("'{}'".format),
)


@pytest.mark.timeout(3600)
def test_strange_values_of_any_key_of_a_recipe_are_planned_or_refused():
    path = targets.written("recipe.toml", targets.RECIPE.encode())
    before = peak()

    @settings(calm, max_examples=5 * EXAMPLES)
    @given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=2))
    def check(said: list[tuple[str, str]]) -> None:
        try:
            targets.plan_of(recipe.load(path, targets.here(), overrides=[f"{key}={value}" for key, value in said]))
        except UserError as e:
            assert e.faults and all(e.faults)

    check()
    assert peak() - before < MEMORY


READING = [
    "read_csv('{secret}')", "read_text('{secret}')", "read_blob('{secret}')", "read_json('{secret}')", "'{secret}'",
    "read_parquet('{secret}')", "read_csv_auto('../secret.csv')", "sniff_csv('{secret}')", "glob('{outside}/*')",
    "parquet_metadata('{secret}')", "read_csv('{store}/../secret.csv')", "read_csv(['{store}/x', '{secret}'])",
    "read_csv('file://{secret}')", "read_ndjson_objects('{secret}')", "'/etc/passwd'",
    "read_text('/proc/self/environ')",
    "query('select * from read_csv(''{secret}'')')", "query_table('{secret}')", "sqlite_scan('{secret}', 'x')",
    "postgres_scan('host=127.0.0.1', 'a', 'b')", "read_csv('https://127.0.0.1/x')", "read_csv('s3://a/b')",
    "arrow_scan(1, 2, 3)", "python_map_function(1)", "duckdb_secrets()", "which_secret('x', 's3')",
    "pragma_storage_info('x')",
]
DOING = [
    "attach '{outside}/x.db'", "copy (select 1) to '{outside}/x.csv'", "copy stg_runs from '{secret}'",
    "install httpfs",
    "load '{outside}/x.so'", "pragma database_list", "pragma enable_external_access",
    "set enable_external_access = true",
    "set allowed_directories = ['/']", "set allowed_paths = ['{secret}']", "set temp_directory = '{outside}'",
    "set home_directory = '{outside}'", "export database '{outside}'", "import database '{outside}'", "vacuum",
    "checkpoint",
    "create secret (type s3)", "create function f() as table select * from read_csv('{secret}')", "use memory",
    "detach x",
    "with x as (copy (select 1) to '{outside}/x.csv') select 1",
    "explain analyze copy (select 1) to '{outside}/x.csv'",
    "call pragma_version()", "prepare x as select 1", "execute x", "insert into stg_runs select 1",
    "update extensions",
]


FORMS = ["{}", "explain analyze {}", "select 1; {}", "explain {}", "with a as (select 1) {}", "(select * from ({}))",
         "/* */ -- x\n {}"]


@pytest.mark.parametrize("asked", [*(f"select * from {source}" for source in READING), *DOING])
@pytest.mark.parametrize("form", FORMS if LONG else FORMS[:2])
def test_sql_neither_reads_nor_writes_outside_the_store(form, asked):
    store, secret = targets.a_store()
    words = form.format(asked.format(secret=store.parent / "secret.csv", outside=store.parent, store=store))
    before = sorted(p for p in store.parent.rglob("*"))
    try:
        assert secret not in str(warehouse.query(store, words).to_pylist())
    except UserError as e:
        assert secret not in str(e)
    assert sorted(p for p in store.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../../secret.csv", "/etc/passwd", "part-../../x.parquet", "part-" + "0" * 32])
def test_a_list_of_parts_names_nothing_outside_its_folder(name):
    with pytest.raises(UserError, match="no list of parts"):
        targets.a_list_of_parts(b' "parts": ["%b"], "counts": {"rows": 1, "gold": 1}}' % name.encode())


@pytest.mark.timeout(0)
@pytest.mark.skipif(not LONG, reason="the long form alone: KDPIPE_LONG=1")
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: pip install 'kdpipe[fuzz]'")
@pytest.mark.parametrize("name", TARGETS)
def test_a_coverage_guided_fuzzer_finds_nothing(tmp_path, name):
    command = [sys.executable, "-m", "tests.promises.targets", name, str(tmp_path / "corpus"),
               f"-max_total_time={SECONDS}", "-timeout=30", "-rss_limit_mb=4096", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS + 600)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("key", ["hidden", "width", "fc", "layers"])
@pytest.mark.parametrize("size", [10**5, 10**9, 10**18, 1e300])
def test_a_card_that_speaks_of_a_giant_is_refused_before_it_is_built(key, size):
    import json

    card = json.loads((targets.a_student() / "kdpipe.json").read_text())
    card["model"][key] = size
    before = peak()
    with pytest.raises(UserError, match=f"{key} = "):
        targets.a_file_of(targets.a_student, "kdpipe.json")(json.dumps(card).encode())
    assert peak() - before < 1 << 28


@pytest.mark.parametrize("key", ["hidden_size", "vocab_size", "num_hidden_layers", "intermediate_size",
                                 "max_position_embeddings"])
def test_a_configuration_that_speaks_of_a_giant_is_refused_before_it_is_built(key):
    import json

    config = json.loads((targets.a_teacher() / "config.json").read_text())
    config[key] = 10**8
    before = peak()
    with pytest.raises(UserError, match=f"{key} = "):
        targets.a_file_of(targets.a_teacher, "config.json")(json.dumps(config).encode())
    assert peak() - before < 1 << 28


@pytest.mark.parametrize("model", ['{name = "bilstm", hidden = 300000}', '{name = "bilstm", layers = 100000000}',
                                   '{name = "bert", width = 999996}', '{name = "bert", ffn = 10000000000}'])
def test_a_recipe_of_a_giant_takes_no_memory_to_check(model):
    path = targets.written("recipe.toml", targets.RECIPE.encode())
    before = peak()
    try:
        recipe.load(path, targets.here(), overrides=[f"student.model={model}"])
    except UserError as e:
        assert "allowed" in str(e) or "embeddings" in str(e) or "cannot read" in str(e)
    assert peak() - before < 1 << 28
