"""What a trained model answers on dev and test: predictions, scores, speed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from kdpipe.modelfolder import Loaded
from kdpipe.types import PREDICTIONS, Encoded, Task

SECONDS = 0.7  # that each batch size is timed for


def predictions(task: Task, rows: pa.Table, logits: np.ndarray, loaded: Loaded, encoded: Encoded) -> pa.Table:
    """Rows of schema ROWS [n] and the model's logits [n, C] in task order -> rows of schema PREDICTIONS."""
    words, unknown = loaded.vocab.unknown(encoded)
    target = rows["label"].combine_chunks()
    columns: dict[str, Any] = {"id": rows["id"], "text_a": rows["text_a"], "text_b": rows["text_b"], "target": target}
    if task.kind == "classification":
        names = pa.array(task.labels)
        answer = logits.argmax(axis=1)
        columns |= {
            "label": names.take(target.cast(pa.int32())),
            "prediction": names.take(pa.array(answer)),
            "score": pa.array(answer.astype(np.float64)),
            "confidence": pa.array(confidence(logits)),
        }
    else:
        nothing = pa.nulls(len(rows))
        columns |= {
            "label": nothing,
            "prediction": nothing,
            "confidence": nothing,
            "score": pa.array(logits[:, 0].astype(np.float64)),
        }
    columns |= {
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
        "n_words": pa.array(words),
        "n_unknown": pa.array(unknown),
    }
    return pa.table(
        [
            pa.chunked_array([columns[f.name].cast(f.type)])
            if isinstance(columns[f.name], pa.Array)
            else columns[f.name].cast(f.type)
            for f in PREDICTIONS
        ],
        schema=PREDICTIONS,
    )


def confidence(logits: np.ndarray) -> np.ndarray:
    """Softmax probability of the predicted class: [n, C] -> float32 [n]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted.max(axis=1) / shifted.sum(axis=1)).astype(np.float32)


def speed(
    loaded: Loaded, rows: pa.Table, batches: tuple[int, ...] = (1, 64), seconds: float | None = None
) -> list[dict[str, Any]]:
    """Rows per second of one core of this CPU from text to answer, tokenising included; the median over batches of one
    size.

    Seconds are those that the processor worked for it: other work on the machine takes none of them.
    """
    seconds = SECONDS if seconds is None else seconds
    return [{"batch": size, "rows_per_second": round(_rate(loaded, rows, size, seconds), 1)} for size in batches]


def _rate(loaded: Loaded, rows: pa.Table, size: int, seconds: float) -> float:
    from kdpipe.train import predict, threads

    taken, end = [], None
    with threads(1):  # several wait for each other busily, which would count as work
        while end is None or (time.perf_counter() < end or len(taken) < 3):
            start = (len(taken) * size) % max(len(rows) - size, 1)
            batch = rows.slice(start, size)
            began = time.process_time()
            predict(loaded.model, loaded.vocab.encode(batch, loaded.max_length))
            taken.append((time.process_time() - began) / len(batch))
            end = end or time.perf_counter() + seconds
    return 1 / float(np.median(taken[1:]))
