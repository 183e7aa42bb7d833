"""What reads files and words from strangers, each as a function of bytes that ends well or in a UserError.

`python -m tests.promises.targets NAME CORPUS [libFuzzer's options]` lets atheris look for bytes that do otherwise.
"""

from __future__ import annotations

import atexit
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from kdpipe import intact, modelfolder, recipe, transfer, warehouse
from kdpipe.errors import UserError
from kdpipe.job import Job
from kdpipe.plan import plan
from kdpipe.predictor import Predictor
from kdpipe.signals.cache import Cache
from kdpipe.store import Store
from kdpipe.tasks.load import load as load_task
from kdpipe.tasks.load import read_unlabelled
from kdpipe.types import TRANSFER, row_ids

ROWS = "text\tlabel\n" + "".join(f"film number {i} was {w}\t{w}\n" for i in range(20) for w in ("good", "bad"))
TASK = ('name = "tiny"\nkind = "classification"\nformat = "tsv"\ntrain = "rows.tsv"\ndev = "rows.tsv"\n'
        'text = "text"\nlabel = "label"\n')
RECIPE = """# A recipe
seeds = [0, 1]

[[phase]]
name  = "teacher"
seed  = 0
model = { name = "bert", layers = 1, width = 8, heads = 2, ffn = 8 }
train = { epochs = 2, batch_size = 8, lr = 1e-3 }

[[phase]]
name       = "student"
teacher    = "teacher"
model      = { name = "bilstm", hidden = 8, fc = 8, width = 16 }
vocab      = { name = "words", size = 100 }
embeddings = { name = "teacher" }
augment    = [{ name = "tang", preset = "tang2019", copies = 3 }]
loss       = [{ name = "logit_mse" }, { name = "hard", weight = 0.5 }]
train      = { epochs = 2, batch_size = 16, lr = 1e-2 }
"""


@cache
def here() -> Path:
    """A folder of this process, with a task in it."""
    folder = Path(tempfile.mkdtemp(prefix="kdpipe-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "rows.tsv").write_text(ROWS)
    (folder / "task.toml").write_text(TASK)
    return folder


def written(name: str, data: bytes) -> Path:
    path = here() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ---- recipes and tasks


def a_recipe(data: bytes) -> None:
    """Read, checked, and planned over an empty store."""
    plan_of(recipe.load(written("recipe.toml", data), here()))


def plan_of(loaded: recipe.Recipe) -> None:
    plan(Job(loaded, str(here() / "no store"), "cpu"))


def a_task_file(data: bytes) -> None:
    load_task(written("tasks/task.toml", data.replace(b"rows.tsv", b"../rows.tsv")))


def a_data_file(suffix: str) -> Callable[[bytes], None]:
    return lambda data: load_task(written(f"data.{suffix}", data)) and None


def unlabelled(data: bytes) -> None:
    read_unlabelled(written("unlabelled.txt", data))


# ---- a store's metadata


def a_record(data: bytes) -> None:
    intact.parse("a record", data)


def sealed(rest: bytes, place: str = "") -> bytes:
    """Bytes under the checksum that a record of them has: what a stranger would send."""
    return intact._HEAD % intact._checksum(rest, place) + rest


def a_sealed_record(data: bytes) -> None:
    intact.parse("a record", sealed(data))


def a_list_of_parts(data: bytes) -> None:
    store = Store(str(here() / "lists"))
    path = written("lists/transfer/set=x/_complete.json", sealed(data, "transfer/set=x/_complete.json"))
    try:
        transfer.facts(store, "x")["counts"]["rows"]
        transfer.read(store, "x")
    finally:
        path.unlink()


def a_part(data: bytes) -> None:
    """Bytes under the name that they ought to have, read as signals and as a transfer set's rows."""
    store = Store(str(here() / "parts"))
    shutil.rmtree(store.path, ignore_errors=True)
    name = f"part-{xxhash.xxh3_128_hexdigest(data)}.parquet"
    written(f"parts/signals/teacher=t/signal=logits/{name}", data)
    written(f"parts/transfer/set=x/{name}", data)
    store.finish(store.transfer("x"), [name], {"counts": {"gold": 1, "rows": 1}})
    found = []
    for read in (lambda: Cache(store, "t", None, 2, {}).read("logits", pa.chunked_array([row_ids(pa.array(["a"]))])),
                 lambda: transfer.read(store, "x", ["id", "text_a"]),
                 lambda: warehouse.query(store, "stg_signals"), lambda: warehouse.query(store, "stg_transfer")):
        try:
            read()
        except UserError as e:
            found += e.faults
    if found:
        raise UserError(found)


# ---- models


@cache
def a_student() -> Path:
    """A student's folder as a stranger would send it: without digests."""
    from kdpipe.models.bilstm import BiLSTM
    from kdpipe.vocab.words import Words

    folder = here() / "student"
    folder.mkdir()
    vocab = Words.build(pa.chunked_array([pa.array(["a good film", "a bad film"])]))
    model = BiLSTM(len(vocab.tokens), 2, width=4, hidden=3, fc=2)
    said = {"name": "bilstm", "width": 4, "hidden": 3, "fc": 2}
    card = modelfolder.Card(said, "classification", ("bad", "good"), 2, len(vocab.tokens), False, 16, "tiny")
    modelfolder.save(folder, model, vocab, card)
    return folder


@cache
def a_teacher() -> Path:
    """The same of a transformer with word pieces."""
    from kdpipe.models.bert import Bert
    from kdpipe.vocab.wordpieces import WordPieces

    folder = here() / "teacher"
    folder.mkdir()
    vocab = WordPieces.build(pa.chunked_array([pa.array(["a good film", "a bad film"])]), size=40, packed=True)
    model = Bert(len(vocab.tokens), 2, layers=1, width=8, heads=2, ffn=8, positions=16)
    said = {"name": "bert"}
    card = modelfolder.Card(said, "classification", ("bad", "good"), 2, len(vocab.tokens), False, 16, "tiny")
    modelfolder.save(folder, model, vocab, card)
    return folder


def a_file_of(folder: Callable[[], Path], name: str) -> Callable[[bytes], None]:
    """The bytes in the place of one file of a model folder: loaded, and asked for a label."""

    def target(data: bytes) -> None:
        path = folder() / name
        before = path.read_bytes()
        path.write_bytes(data)
        try:
            Predictor.load(folder())(["a good film"])
        finally:
            path.write_bytes(before)

    return target


# ---- SQL


@cache
def a_store() -> tuple[Path, str]:
    """A store with a set of rows in it, and beside it a secret."""
    root = here() / "sql"
    store = Store(str(root / "store"))
    ids = row_ids(pa.array(["a", "b"]))
    logits = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4, np.float32)), 2)
    store.write_part(store.signals("t", "logits"), pa.table({"id": ids, "values": logits}))
    (root / "secret.csv").write_text("the word is xyzzy\n")
    return root / "store", "xyzzy"


def sql(data: bytes) -> None:
    """Whatever is asked, the secret is not told and nothing appears on the disk."""
    store, secret = a_store()
    before, stood = sorted(store.parent.rglob("*")), Path.cwd()
    os.chdir(store)  # so that "../secret.csv" is the secret
    try:
        rows = warehouse.query(store, data.decode(errors="replace"))
        assert secret not in str(rows.to_pylist())
    except UserError as e:
        assert secret not in str(e)
        raise
    finally:
        os.chdir(stood)
        assert sorted(store.parent.rglob("*")) == before


def parquet(table: pa.Table, folder: str = "") -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"kdpipe.folder": folder}), sink)
    return sink.getvalue()


def signals_part() -> bytes:
    logits = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4, np.float32)), 2)
    return parquet(pa.table({"id": row_ids(pa.array(["a", "b"])), "values": logits}), "signals/teacher=t/signal=logits")


def transfer_part() -> bytes:
    ids = row_ids(pa.array(["a"]))
    zero = pa.array([0], pa.int32())
    return parquet(pa.Table.from_arrays([ids, pa.array(["a"]), pa.array([None], pa.string()), pa.array([1.0]), ids,
                                         pa.array(["gold"]), zero, zero], schema=TRANSFER), "transfer/set=x")


def comma() -> bytes:
    return ROWS.replace("\t", ",").encode()


def objects() -> bytes:
    rows = [line.split("\t") for line in ROWS.splitlines()[1:]]
    return "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in rows).encode()


def columns() -> bytes:
    rows = [line.split("\t") for line in ROWS.splitlines()[1:]]
    return parquet(pa.table({"text": [a for a, _ in rows], "label": [b for _, b in rows]}))


def model_file(folder: Callable[[], Path], name: str) -> tuple:
    return a_file_of(folder, name), (lambda: (folder() / name).read_bytes(),)


STUDENT = ("kdpipe.json", "vocab.json", "model.safetensors")
TEACHER = ("tokenizer.json", "tokenizer_config.json", "config.json")
STATEMENTS = ("select * from stg_signals", "select * from read_csv('../secret.csv')", "copy (select 1) to 'x'",
              "with a as (select 1) select * from a, lateral (select * from stg_signals)", "summarize stg_signals")

TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[Callable[[], bytes], ...]]] = {
    "recipe": (a_recipe, (RECIPE.encode,)),
    "task_file": (a_task_file, (TASK.encode,)),
    "tsv": (a_data_file("tsv"), (ROWS.encode,)),
    "csv": (a_data_file("csv"), (comma,)),
    "jsonl": (a_data_file("jsonl"), (objects,)),
    "parquet": (a_data_file("parquet"), (columns,)),
    "gzip": (a_data_file("tsv.gz"), (lambda: gzip.compress(ROWS.encode(), mtime=0),)),
    "unlabelled": (unlabelled, (lambda: b"a line\nanother\n",)),
    "record": (a_record, (lambda: intact.record({"run": "a", "seed": 0}),)),
    "sealed_record": (a_sealed_record, (lambda: b' "run": "a",\n "seed": 0\n}\n',)),
    "list_of_parts": (a_list_of_parts, (lambda: b' "parts": [], "counts": {"rows": 0, "gold": 0}}',)),
    "part": (a_part, (signals_part, transfer_part)),
    **{f"student {name}": model_file(a_student, name) for name in STUDENT},
    **{f"teacher {name}": model_file(a_teacher, name) for name in (*STUDENT, *TEACHER)},
    "sql": (sql, tuple(statement.encode for statement in STATEMENTS)),
}


def ends_well(target: Callable[[bytes], None], data: bytes) -> bool:
    """Whether the bytes were read, True, or refused in words for a user, False. Everything else is raised."""
    try:
        target(data)
    except UserError as e:
        assert e.faults and all(e.faults)
        return False
    return True


def main() -> None:
    import atheris

    name, corpus = sys.argv[1], Path(sys.argv[2])
    target, seeds = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds):
        (corpus / f"seed-{i}").write_bytes(seed())
    for module in [m for n, m in sys.modules.items() if n.startswith(("kdpipe", "tomllib", "json.", "csv"))]:
        for key, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                setattr(module, key, atheris.instrument_func(value))
    for seed in seeds:  # what is imported and built at the first use is no part of the time that an input may take
        ends_well(target, seed())
    atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], lambda data: ends_well(target, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
