"""Small task folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

TASK = """
name = "films"
kind = "classification"
format = "tsv"
train = "train.tsv"
dev = "dev.tsv"
"""


@pytest.fixture
def task_folder(tmp_path) -> Callable[..., Path]:
    """task_folder("a.toml text", train=..., dev=...) -> the folder; a split may be text or bytes."""

    def make(toml: str = TASK, **splits: str | bytes) -> Path:
        (tmp_path / "task.toml").write_text(toml, encoding="utf-8")
        rows = {"train": "text\tlabel\ngood\t1\nbad\t0\n", "dev": "text\tlabel\nfine\t1\n", **splits}
        for split, content in rows.items():
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / f"{split}.tsv").write_bytes(data)
        return tmp_path

    return make
