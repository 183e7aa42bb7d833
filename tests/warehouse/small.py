"""A small store made by hand, whose marts a reader can redo, and the pieces that it is made of."""

import math

import pyarrow as pa

from kdpipe.types import LEAKS, NEIGHBOURS, PERTURBED, PREDICTIONS, TRANSFER, row_ids

NOT_GOOD, FAMILY, NEVER, LOVELY = "not a good film", "a fine day out with all of the family", "never again", "lovely"
AWFUL, FINE = "an awful film", "what a fine film"
BAD_FILM, GOOD_FILM = "a bad film", "a good film"
LABELS = ("bad", "good")


def row_id(text, text_b=None):
    return row_ids(pa.array([text]), pa.array([text_b], pa.string()))[0].as_py()


def logits(answer, confidence):
    """Two logits whose softmax gives `answer` this probability: 0 and ln(p / (1 - p))."""
    edge = math.log(confidence / (1 - confidence))
    return [edge, 0.0] if answer == "bad" else [0.0, edge]


def classified(*answers):
    """(text, label, answer, confidence, unknown words) -> PREDICTIONS."""
    return pa.Table.from_pylist(
        [
            {
                "id": row_id(text),
                "text_a": text,
                "label": label,
                "target": float(LABELS.index(label)),
                "prediction": answer,
                "score": float(LABELS.index(answer)),
                "confidence": confidence,
                "logits": logits(answer, confidence),
                "n_words": len(text.split()),
                "n_unknown": unknown,
            }
            for text, label, answer, confidence, unknown in answers
        ],
        schema=PREDICTIONS,
    )


def scored(*answers):
    """(text, second text, target, score) -> PREDICTIONS of a regression."""
    return pa.Table.from_pylist(
        [
            {
                "id": row_id(a, b),
                "text_a": a,
                "text_b": b,
                "target": target,
                "score": score,
                "logits": [score],
                "n_words": 2,
                "n_unknown": 0,
            }
            for a, b, target, score in answers
        ],
        schema=PREDICTIONS,
    )


def learned(*rows):
    """(text, label, source, operator, copy) -> TRANSFER."""
    return pa.Table.from_pylist(
        [
            {
                "id": row_id(text),
                "text_a": text,
                "label": label,
                "source": row_id(source),
                "operator": operator,
                "copy": copy,
                "round": 0,
            }
            for text, label, source, operator, copy in rows
        ],
        schema=TRANSFER,
    )


def said(*answers):
    """(text, answer, confidence) -> a part of the logits of a teacher."""
    values = pa.array([x for _, answer, confidence in answers for x in logits(answer, confidence)], pa.float32())
    ids = row_ids(pa.array([text for text, _, _ in answers]))
    return pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(values, 2)})


def record(run, **changes):
    """A student's run record, with the keys of kdpipe.runs."""
    plain = {
        "run": run,
        "task": "mood",
        "task_key": "k1",
        "kind": "classification",
        "labels": list(LABELS),
        "recipe": "tang2019",
        "phase": "student",
        "role": "student",
        "student": "bilstm",
        "seed": 0,
        "metric": "accuracy",
        "model": "m1",
        "dev_score": 0.5,
        "test_score": 0.5,
        "stages": [],
        "teacher_run": "teacher",
        "teacher": "fp",
        "transfer": "set1",
        "teacher_rows_asked": 6,
        "operators": ["mask", "pos_swap", "ngram"],
        "transfer_counts": [{"operator": "gold", "rows": 2}],
        "parameters": {"total": 30, "embedding": 20, "non_embedding": 10},
        "curve": [
            {"epoch": 1, "loss": 0.9, "dev": 0.4, "seconds": 2.0},
            {"epoch": 2, "loss": 0.5, "dev": 0.5, "seconds": 3.0},
        ],
        "best_epoch": 2,
        "speed": [{"batch": 1, "rows_per_second": 100.0}, {"batch": 64, "rows_per_second": 900.0}],
        "settings": {"phases": [{"name": "student", "lr": 0.1}]},
        "temperature": 2.0,
        "device": "cpu",
        "started": "2026-01-02T10:00:00+00:00",
        "seconds": 15.0,
        "versions": {"python": "3.11"},
        "git": {"commit": None, "dirty": None},
        "machine": {"cores": 2},
    } | changes
    scores = {"dev": plain["dev_score"], "test": plain["test_score"]}
    kept = [{"split": s, "metric": plain["metric"], "value": v} for s, v in scores.items() if v is not None]
    return {"scores": kept} | plain


def stages(reused, train):
    shared = [("augment", 4.0, reused), ("teach", 8.0, reused), ("train", train, False)]
    return [{"stage": s, "seconds": t, "rows": 6, "reused": r} for s, t, r in shared]


def add_run(store, run, dev=None, test=None, **changes):
    for split, rows in (("dev", dev), ("test", test)):
        if rows is not None:
            store.write_part(store.predictions(run, split), rows)
    store.write_json(store.run(run), record(run, **changes))


def add_share(store, recipe, share, epochs, score, **changes):
    """A student of a share of eight rows."""
    changes = {
        "run": recipe, "task": "few", "task_key": "k3", "recipe": recipe, "transfer": None, "teacher": None,
        "teacher_run": None, "operators": [], "dev_score": score, "test_score": None,
        "stages": [{"stage": "train", "seconds": 1.0, "rows": int(8 * share), "reused": False}],
        "settings": {"phases": [{"share": 1.0}, {"share": share, "train": {"epochs": epochs}}]},
    } | changes  # fmt: skip
    add_run(store, changes.pop("run"), classified((NEVER, "bad", "bad", 0.9, 0)), **changes)


def again(text, other, answer, confidence):
    """(text, what it became, answer, confidence) -> a row of PERTURBED."""
    return {
        "id": row_id(text), "perturbed_id": row_id(other), "text_a": other, "prediction": answer,
        "score": float(LABELS.index(answer)), "confidence": confidence, "logits": logits(answer, confidence),
    }  # fmt: skip


def add_perturbed(store, run, answers, clean, perturbed, low=-0.75, high=0.25):
    """Answers by perturbation to changed dev texts, and a score of the only one that keeps labels."""
    for name, rows in answers.items():
        folder = store.perturbed(run, "dev", name)
        store.write_part(folder, pa.Table.from_pylist([again(*row) for row in rows], schema=PERTURBED))
    score = {"metric": "accuracy", "clean": clean, "perturbed": perturbed, "low": low, "high": high, "p_holm": 1.0,
             "verdict": "cannot tell apart"}
    scores = [{"perturbation": name, "says": name, "keeps_label": name == "upper", **(score if name == "upper" else {})}
              for name in answers]
    store.write_json(store.robustness(run, "dev"), {"run": run, "split": "dev", "scores": scores})


def add_set(store, key, rows):
    folder = store.transfer(key)
    store.finish(folder, [store.write_part(folder, rows)], {})


def add_probe(store, weights, task, scores, **changes):
    """What probes found on 100 dev rows of two classes, 60 of one. scores: layer -> accuracy."""
    layers = [
        {"layer": layer, "place": place, "width": 4, "hidden": 50, "dropout": 0.0, "l2": 0.01, "epochs": 8,
         "chosen_accuracy": 0.9, "scores": [{"split": "dev", "accuracy": accuracy}]}
        for place, (layer, accuracy) in enumerate(scores.items())
    ]  # fmt: skip
    plain = {
        "weights": weights, "task": task, "task_key": f"key-{task}", "protocol": "p1", "grid": "quick", "classes": 2,
        "chosen_on": "train", "rows_learned": 900, "rows_chosen_on": 90, "layers": layers,
        "splits": [{"split": "dev", "rows": 100, "majority": 0.6}], "texts_asked": 7, "state_seconds": 0.5,
        "seconds": 1.5, "started": "2026-01-03T10:00:00+00:00",
    } | changes  # fmt: skip
    store.write_json(store.probe(weights, plain["task_key"], plain["protocol"]), plain)


def add_probed(store, name, run, weights, untrained, started="2026-01-03T10:00:00+00:00"):
    store.write_json(store.probed(name, weights), {
        "name": name, "run": run, "weights": weights, "untrained": untrained, "model": "bilstm",
        "started": started,
    })  # fmt: skip


def fill(store):
    """A teacher, two students on labels alone, two distilled ones, an older try; a regression of its own."""
    labels_alone = {
        "recipe": "labels_only", "teacher_run": None, "teacher": None, "transfer": None, "operators": []
    }  # fmt: skip
    add_run(
        store, "teacher",
        classified((NOT_GOOD, "bad", "bad", 0.9, 0), (FAMILY, "good", "good", 0.9, 0), (NEVER, "bad", "bad", 0.75, 0),
                   (LOVELY, "good", "bad", 0.75, 0)),
        classified((AWFUL, "bad", "bad", 0.9, 0), (FINE, "good", "good", 0.9, 0)),
        **labels_alone | {"recipe": "teacher"}, phase="teacher", role="teacher", student="bert", dev_score=0.75,
        test_score=1.0,
    )  # fmt: skip
    add_run(store, "labels-s0", **labels_alone, seed=0, dev_score=0.25, test_score=0.5)
    add_run(store, "labels-s1", **labels_alone, seed=1, dev_score=0.5, test_score=0.5)
    add_run(store, "tang-old", settings={"phases": [{"name": "student", "lr": 9}]}, dev_score=0.0, test_score=0.0,
            started="2026-01-01T10:00:00+00:00")  # fmt: skip
    add_run(
        store, "tang-s0",
        classified((NOT_GOOD, "bad", "good", 0.99, 0), (FAMILY, "good", "good", 0.9, 0), (NEVER, "bad", "bad", 0.75, 2),
                   (LOVELY, "good", "bad", 0.75, 1)),
        classified((AWFUL, "bad", "good", 0.75, 0), (FINE, "good", "good", 0.9, 0)),
        stages=stages(False, 3.0),
    )  # fmt: skip
    add_run(
        store, "tang-s1",
        classified((NOT_GOOD, "bad", "bad", 0.75, 0), (FAMILY, "good", "good", 0.9, 0), (NEVER, "bad", "bad", 0.9, 2),
                   (LOVELY, "good", "bad", 0.9, 1)),
        classified((AWFUL, "bad", "bad", 0.75, 0), (FINE, "good", "good", 0.9, 0)),
        stages=stages(True, 5.0), seed=1, dev_score=0.75, test_score=1.0, teacher_rows_asked=0,
        speed=[{"batch": 1, "rows_per_second": 200.0}, {"batch": 64, "rows_per_second": 1100.0}],
    )  # fmt: skip
    add_set(store, "set1", learned(
        (BAD_FILM, 0.0, BAD_FILM, "gold", 0), (GOOD_FILM, 1.0, GOOD_FILM, "gold", 0),
        ("a [MASK] film", None, BAD_FILM, "mask", 0), ("a good day", None, GOOD_FILM, "pos_swap", 0),
        ("good", None, GOOD_FILM, "ngram", 1), ("some film", None, "some film", "unlabelled", 0),
    ))  # fmt: skip
    store.write_part(store.signals("fp", "logits"), said(
        (BAD_FILM, "bad", 0.9), (GOOD_FILM, "good", 0.9), ("a [MASK] film", "good", 0.75), ("a good day", "good", 0.75),
        ("good", "bad", 0.75), ("some film", "good", 0.9),
    ))  # fmt: skip
    neighbours = [
        {"id": row_id(NOT_GOOD), "rank": rank, "neighbour": row_id(text), "similarity": similarity}
        for rank, text, similarity in ((1, GOOD_FILM, 0.8), (2, BAD_FILM, 0.5))
    ]
    store.write_part(store.neighbours("k1"), pa.Table.from_pylist(neighbours, schema=NEIGHBOURS))
    leaked = [
        {"id": row_id(text), "text_a": text, "operator": operator, "split": "dev", "held_out": row_id(held_out),
         "held_out_a": held_out, "similarity": similarity, "dropped": True}
        for text, operator, held_out, similarity in (
            (LOVELY, "mask", LOVELY, 1.0), ("Not a good film, Joe", "pos_swap", NOT_GOOD, 0.875))
    ]  # fmt: skip
    store.write_part(store.leaks("ts"), pa.Table.from_pylist(leaked, schema=LEAKS))

    add_probed(store, "tang-s0", "tang-s0", "w1", "u1")
    add_probe(store, "w1", "tense", {"embeddings": 0.7, "layer_1": 0.84})
    add_probe(store, "u1", "tense", {"embeddings": 0.72, "layer_1": 0.64})

    add_perturbed(store, "teacher", {
        "upper": [(NOT_GOOD, NOT_GOOD.upper(), "bad", 0.9), (NEVER, "NEVER AGAIN", "bad", 0.75)],
        "negation": [(NOT_GOOD, "a good film", "good", 0.9)],
    }, 1.0, 1.0)  # fmt: skip
    add_perturbed(store, "tang-s0", {
        "upper": [(NOT_GOOD, NOT_GOOD.upper(), "good", 0.9), (NEVER, "NEVER AGAIN", "good", 0.75)],
        "negation": [(NOT_GOOD, "a good film", "good", 0.9)],
    }, 0.5, 0.0)  # fmt: skip

    add_share(store, "soft_labels", 1.0, 3, 0.75)
    add_share(store, "soft_labels-0.25", 0.25, 12, 0.5)

    close = {
        "task": "close", "task_key": "k2", "kind": "regression", "labels": [], "metric": "pearson", "transfer": None,
        "operators": [], "dev_score": 1.0, "test_score": None,
    }  # fmt: skip
    add_run(store, "close-teacher", scored(("a dog", "a cat", 1.0, 1.0), ("a dog", "the dog", 4.0, 4.5)),
            **close, role="teacher", teacher_run=None, teacher=None)  # fmt: skip
    add_run(store, "close-s0", scored(("a dog", "a cat", 1.0, 1.5), ("a dog", "the dog", 4.0, 2.0)),
            **close, teacher_run="close-teacher")  # fmt: skip
    return store
