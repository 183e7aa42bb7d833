"""The evaluate stage: predictions for dev and test, nearest training rows, and the run record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kdpipe import modelfolder, runs, transfer
from kdpipe.asking import asked
from kdpipe.binding import shape_of
from kdpipe.calibration import temperature
from kdpipe.errors import memory_said_plainly
from kdpipe.job import Job, Report, load_model, model_folder, own_seed, teacher_fingerprint, transfer_key
from kdpipe.modelfolder import Loaded
from kdpipe.predictions import predictions, speed
from kdpipe.schema import Phase
from kdpipe.types import content_key


@memory_said_plainly("evaluate")
def evaluate(job: Job, seed: int, reports: Iterable[Report] = ()) -> str:
    """Predictions for dev and test and the run record of one seed's final model; the run's id.

    reports: what the stages of this execution did, so that the record can say what was paid now and what reused.
    A run that is recorded already is left as it is; of its predictions those that are missing are made again.
    """
    *earlier, (final, role) = models(job)
    for phase, its_role in earlier:
        _evaluate_model(job, phase, seed, its_role, ())
    return _evaluate_model(job, final, seed, role, tuple(reports))


def models(job: Job) -> list[tuple[Phase, str]]:
    """The phases whose models are evaluated, and the role of each, the recipe's own student last."""
    return [*((p, "teacher") for p in job.recipe.phase[:-1] if answers(job, p)), (job.recipe.final, "student")]


def answers(job: Job, phase: Phase) -> bool:
    """Whether a phase's model has a trained classifier: not a brought encoder, nor one that another phase goes on with
    and none asks."""
    later = [p for p in job.recipe.phase if p.start == phase.name]
    asked = any(phase.name in (*p.asks, *p.members) for p in job.recipe.phase)
    return (asked or not later) and "logits" in shape_of(job.recipe, phase).gives


def run_id(job: Job, phase: Phase, seed: int, role: str) -> str:
    """ "support-tang2019-s0-1a2b3c4d"; the teacher's run is shared by all recipes."""
    key = (
        Path(model_folder(job, phase, seed)).name
        if phase.checkpoint is None
        else content_key(teacher_fingerprint(job, phase.name, seed), job.recipe.task.key())
    )
    if role == "teacher":
        return f"{job.recipe.task.name}-{phase.name}-{key[:8]}"
    return f"{job.recipe.task.name}-{job.recipe.name}-s{own_seed(phase, seed)}-{key[:8]}"


def unanswered(job: Job, run: str) -> list[str]:
    """The splits of which a run has no predictions, or whose predictions no run record speaks of yet."""
    recorded, task = job.place.exists(job.place.run(run)), job.recipe.task
    there = [split for split in task.splits if recorded and job.place.parts(job.place.predictions(run, split))]
    return [split for split in ("dev", "test") if split in task.splits and split not in there]


def _evaluate_model(job: Job, phase: Phase, seed: int, role: str, reports: tuple[Report, ...]) -> str:
    """A teacher that is asked in int8 is scored in fp32, like any other model."""
    start, store, task = time.perf_counter(), job.place, job.recipe.task
    run = run_id(job, phase, seed, role)
    _neighbours(job)
    lacking = unanswered(job, run)
    if not lacking:
        return run
    loaded = load_model(job, phase, seed)
    answered = {split: _evaluate_split(job, run, loaded, split) for split in lacking}
    if store.exists(store.run(run)):  # some predictions were taken away: the record stays as it was written
        return run
    scores = [found for split, logits in answered.items() for found in _scores(job, split, logits)]
    record = _record(job, phase, seed, role, run, loaded, scores, reports)
    record.temperature = _temperature(job, answered["dev"])
    record.stages.append(
        {
            "stage": "evaluate",
            "seconds": round(time.perf_counter() - start, 3),
            "rows": sum(len(task.splits[s]) for s in task.splits if s != "train"),
            "reused": False,
        }
    )
    record.seconds = round(sum(s["seconds"] for s in record.stages if not s["reused"]), 3)
    store.write_json(store.run(run), record.to_json())
    return run


def _evaluate_split(job: Job, run: str, loaded: Loaded, split: str) -> np.ndarray:
    """Store what the model answers; its logits [n, C] in task order."""
    from kdpipe.train import predict

    task, rows = job.recipe.task, job.recipe.task.splits[split]
    encoded = loaded.vocab.encode(rows, loaded.max_length)
    logits = predict(loaded.model, encoded)[:, list(loaded.order)]
    place = job.place.predictions(run, split)
    job.place.write_part(place, predictions(task, rows, logits, loaded, encoded), {"run": run})
    job.place.keep_one(place)
    return logits


def _scores(job: Job, split: str, logits: np.ndarray) -> list[dict[str, Any]]:
    from kdpipe.tasks.metrics import score

    task, rows = job.recipe.task, job.recipe.task.splits[split]
    has_label = rows["label"].is_valid().to_numpy()
    if not has_label.any():
        return []
    gold = rows["label"].to_numpy()[has_label]
    found = score(task.kind, task.labels, task.metrics, gold, logits[has_label])
    return [{"split": split, "metric": metric, "value": float(value)} for metric, value in found.items()]


def _temperature(job: Job, logits: np.ndarray) -> float | None:
    if job.recipe.task.kind != "classification":
        return None
    gold = job.recipe.task.splits["dev"]["label"].to_numpy()
    return temperature(logits[~np.isnan(gold)], gold[~np.isnan(gold)])


def _neighbours(job: Job) -> None:
    from kdpipe.neighbours import nearest

    task, store = job.recipe.task, job.place
    folder = store.neighbours(task.key())
    if store.is_complete(folder):
        return
    asked = pa.concat_tables([task.splits[s] for s in ("dev", "test") if s in task.splits])
    store.finish(folder, [store.write_part(folder, nearest(task.splits["train"], asked))], {"task": task.name})


def _record(
    job: Job,
    phase: Phase,
    seed: int,
    role: str,
    run: str,
    loaded: Loaded,
    scores: list[dict[str, Any]],
    reports: tuple[Report, ...],
) -> runs.Record:
    from kdpipe.models import count_parameters

    task, main = job.recipe.task, job.recipe.task.metrics[0]
    training = _training(loaded.folder)
    taught = _taught(job, phase)
    teacher = _logits_of(job, taught, seed) if taught else None
    by_split = {s["split"]: s["value"] for s in scores if s["metric"] == main}
    return runs.Record(
        run=run,
        task=task.name,
        task_key=task.key(),
        kind=task.kind,
        labels=list(task.labels),
        recipe=phase.name if role == "teacher" else job.recipe.name,
        phase=phase.name,
        role=role,
        student=describe(phase, loaded),
        seed=own_seed(phase, seed),
        metric=main,
        model=loaded.folder.name,
        dev_score=by_split["dev"],
        test_score=by_split.get("test"),
        scores=scores,
        stages=_stages(job, phase, seed, training, reports),
        teacher_run=run_id(job, job.recipe.named(teacher), seed, "teacher") if teacher else None,
        teacher=teacher_fingerprint(job, teacher, seed) if teacher else None,
        transfer=transfer_key(job, taught) if taught else None,
        teacher_rows_asked=training.get("teacher_rows_asked", 0)
        + sum(r.detail.get("asked", 0) for r in reports if r.stage == "teach"),
        operators=[part.name for part in taught.augment] if taught else [],
        transfer_counts=_transfer_counts(job, taught) if taught else [],
        parameters=count_parameters(loaded.model),
        curve=training.get("curve", []),
        best_epoch=training.get("best_epoch", 0),
        speed=speed(loaded, task.splits["dev"]),
        settings={"citation": job.recipe.citation, "phases": [p.model_dump(mode="json") for p in job.recipe.phase]},
        device=job.on,
    )


def _taught(job: Job, phase: Phase) -> Phase | None:
    """The last phase in which a model learned from a teacher: itself, or one that it goes on with."""
    while not phase.asks and phase.start:
        phase = job.recipe.named(phase.start)
    return phase if phase.asks else None


def _logits_of(job: Job, phase: Phase, seed: int) -> str | None:
    """The teacher whose logits of the transfer set are kept: of several the first; None where there are none."""
    needs = asked(job, phase, seed)
    return phase.asks[0] if "logits" in (*needs.kept, *needs.besides) else None


def describe(phase: Phase, loaded: Loaded) -> str:
    """A model in words: "bilstm hidden=150, words, teacher vectors". Runs with the same words are compared."""
    if phase.checkpoint is not None:
        return phase.checkpoint
    name, start = loaded.card.model["name"], phase.model.arguments.get("checkpoint")
    shape = [f"{k}={v}" for k, v in sorted(phase.model.arguments.items()) if k != "checkpoint"]
    words = [" ".join([name if name == phase.model.name else f"{name}({phase.model.name})", *shape])]
    words += [str(start)] if start else []
    words += [" ".join(map(str, phase.vocab.settings().values()))] if phase.vocab else []
    words += [f"vectors: {' '.join(map(str, phase.embeddings.settings().values()))}"] if phase.embeddings else []
    return ", ".join(words)


def _training(folder: Path) -> dict[str, Any]:
    path = folder / modelfolder.TRAINING
    return json.loads(path.read_text()) if path.is_file() else {}


def _transfer_counts(job: Job, phase: Phase) -> list[dict[str, Any]]:
    counts = transfer.facts(job.place, transfer_key(job, phase))["counts"]
    made = counts.get("made", {})
    kinds = {"gold": counts["gold"], "unlabelled": counts.get("unlabelled", 0), **made}
    return [{"operator": name, "rows": rows} for name, rows in kinds.items() if rows]


def _stages(
    job: Job, phase: Phase, seed: int, training: dict[str, Any], reports: tuple[Report, ...]
) -> list[dict[str, Any]]:
    """Seconds that each stage took when its work was done; `reused` where this execution found it done."""
    paid = {r.stage for r in reports if not r.reused}
    found = []
    if taught := _taught(job, phase):
        key = transfer_key(job, taught)
        told = [("teach", f"{teacher_fingerprint(job, name, seed)}-{key}") for name in taught.asks]
        found += [
            {"stage": stage, **job.place.read_cost(stage, name), "reused": stage not in paid}
            for stage, name in (("augment", key), *told)
        ]
    return [
        *found,
        {
            "stage": "train",
            "seconds": training.get("seconds", 0.0),
            "rows": training.get("rows", 0),
            "reused": bool(reports) and "train" not in paid,
        },
    ]
