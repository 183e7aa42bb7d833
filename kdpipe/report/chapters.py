"""A task's chapter of the report: its numbers, and the pictures that they make."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdpipe import warehouse
from kdpipe.contrast import RUNGS, groups_of, in_words, panel_of, rung_below
from kdpipe.significance import Difference, Panel, Score
from kdpipe.store import Store

SHOWN = 20  # errors
_CURVES, _CLASSES, _PROBED = 8, 40, 8  # at most in one picture; probed models in a chapter


@dataclass(frozen=True)
class Picture:
    """An SVG, what it shows in a sentence, and the numbers behind it as rows of a table."""

    svg: str
    says: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


def chapter(store: Store | str, names: Sequence[str], task: str, split: str) -> dict[str, Any]:
    """What the page shows of a task, of the runs that are named or of all latest ones."""
    groups, first = groups_of(store, names, task)
    rungs = _rungs(store, first["task_key"], [run for runs in groups.values() for run in runs] if names else None)
    panel = panel_of(store, groups | rungs, split, first["metric"])
    scores = sorted((s for s in panel.scores if s.name in groups), key=lambda s: -s.value)
    differences = panel.differences("best", groups)
    about = _about(store, groups)
    students = [s for s in scores if about[s.name]["role"] == "student"]
    chosen = (students or scores)[0].name
    run = groups[chosen][0]
    teacher = _teacher(store, run)
    return {
        "task": task, "metric": first["metric"], "split": split, "words": in_words(scores, differences),
        "board": _board(scores, differences, about), "chosen": chosen, "run": run,
        "pictures": [picture for picture in (
            _intervals(scores, first["metric"]), *_costs(scores, about, first["metric"]),
            _curves(store, groups, students or scores, first["metric"]),
            _sizes(store, task, first["metric"], groups if names else None),
            _ladder(panel, rungs, split, first["metric"])) if picture],
        "inside": [picture for picture in (
            _confusion(store, run, split), _reliability(store, run, split, *teacher)) if picture],
        "errors": _errors(store, run, split, *teacher),
        "probing": _probing(store, groups),
    }


# ---- numbers


def _about(store: Store | str, groups: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Of each group: role, student, size and rows per second of one core."""
    sql = """
    select run, role, student, non_embedding_parameters as size,
        list_filter(speeds, lambda speed: speed.batch = 1)[1].rows_per_second as at_1,
        list_filter(speeds, lambda speed: speed.batch = 64)[1].rows_per_second as at_64
    from stg_runs where list_contains($runs, run)
    """
    ids = [run for runs in groups.values() for run in runs]
    rows = {row["run"]: row for row in warehouse.query(store, sql, {"runs": ids}).to_pylist()}
    return {name: rows[runs[0]] | {speed: _mean([rows[run][speed] for run in runs]) for speed in ("at_1", "at_64")}
            for name, runs in groups.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _board(scores: Sequence[Score], differences: Sequence[Difference], about: dict[str, dict[str, Any]]
           ) -> list[dict[str, Any]]:
    verdicts = {d.first: d for d in differences}
    return [{"score": s, "about": about[s.name], "difference": verdicts.get(s.name)} for s in scores]


def _intervals(scores: Sequence[Score], metric: str) -> Picture:
    from kdpipe.report import pictures

    top = scores[:40]
    which = "each" if len(top) == len(scores) else f"the {len(top)} best"
    columns = [[getattr(s, key) for s in top] for key in ("name", "value", "low", "high")]
    return Picture(pictures.intervals(*columns, metric), f"{metric} of {which}, with 95% intervals",
                   ("name", metric, "low", "high"), list(zip(*columns, strict=True)))


def _costs(scores: Sequence[Score], about: dict[str, dict[str, Any]], metric: str) -> list[Picture]:
    from kdpipe.report import pictures

    found = []
    for title, cost in (("non-embedding parameters", lambda its: its["size"]),
                        ("milliseconds of one core for one text", lambda its: its["at_1"] and 1000 / its["at_1"])):
        there = [(cost(about[s.name]), s.value, s.name) for s in scores if cost(about[s.name])]
        if there:
            costs, values, names = zip(*there, strict=True)
            found.append(Picture(pictures.against_cost(costs, values, names, title, metric),
                                 f"{metric} over {title}; joined are those that no cheaper one beats",
                                 ("name", title, metric), [(n, c, v) for c, v, n in there]))
    return found


def _curves(store: Store | str, groups: dict[str, list[str]], scores: Sequence[Score], metric: str) -> Picture | None:
    from kdpipe.report import pictures

    sql = "select run, epoch, loss, dev_score from learning_curves where list_contains(?, run) order by epoch"
    runs = {groups[score.name][0]: score.name for score in scores[:_CURVES]}
    lines: dict[str, list[tuple]] = {name: [] for name in runs.values()}
    for point in warehouse.query(store, sql, [list(runs)]).to_pylist():
        lines[runs[point["run"]]].append((point["epoch"], point["loss"], point["dev_score"]))
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return None
    return Picture(pictures.curves(lines, metric), f"loss and dev {metric} by epoch, the first seed of each",
                   ("name", "epoch", "loss", f"dev {metric}"), [(n, *p) for n, points in lines.items() for p in points])


def _sizes(store: Store | str, task: str, metric: str, groups: Collection[str] | None) -> Picture | None:
    """Scores over shares of a transfer set, of the recipes that `kdpipe curve` was run with. groups: None: all."""
    from kdpipe.report import pictures

    sql = """
    select recipe, recipe || if(min(student) over of <> max(student) over of, ' (' || student || ')', '') as name,
        share, dev_mean, dev_sd
    from size_curves
    where task = ?
    window of as (partition by recipe)
    order by name, share
    """
    lines: dict[str, list[tuple[float, float, float | None]]] = {}
    for row in warehouse.query(store, sql, [task]).to_pylist():
        if groups is None or row["recipe"] in groups:
            lines.setdefault(row["name"], []).append((row["share"], row["dev_mean"], row["dev_sd"]))
    if not lines:
        return None
    return Picture(pictures.over_share(lines, metric), f"dev {metric} by the share of the transfer set that students "
                   "learned from, with the standard deviation over seeds where there are several; all saw as many rows",
                   ("name", "share", f"dev {metric}", "sd"), [(n, *p) for n, points in lines.items() for p in points])


def _rungs(store: Store | str, task_key: str, runs: Collection[str] | None) -> dict[str, list[str]]:
    """The runs of each rung of the attribution ladder, of one student and one budget: rows seen, give or take a tenth.

    Of all that there are, or of these runs: the most rungs that go together, the newest of them.
    """
    sql = """
    select recipe, student, variant, rows_seen, list(run order by seed) as runs, max(started) as newest
    from (
        select * from stg_runs
        where task_key = $task and role = 'student' and list_contains($recipes, recipe) and rows_seen is not null
            and ($runs::varchar[] is null or list_contains($runs::varchar[], run))
        qualify row_number() over (partition by recipe, student, variant, seed order by started desc, run desc) = 1
    )
    group by all
    order by newest desc, runs
    """
    asked = {"task": task_key, "recipes": list(RUNGS), "runs": None if runs is None else list(runs)}
    there, best = warehouse.query(store, sql, asked).to_pylist(), {}
    for one in there:
        found: dict[str, list[str]] = {}
        for row in there:
            if row["student"] == one["student"] and abs(row["rows_seen"] - one["rows_seen"]) <= 0.1 * one["rows_seen"]:
                found.setdefault(row["recipe"], row["runs"])
        best = found if len(found) > len(best) else best
    return {f"rung {name}": best[name] for name in RUNGS if name in best}


def _ladder(panel: Panel, rungs: Collection[str], split: str, metric: str) -> Picture | None:
    """What each rung of the ladder brings, where two or more are there."""
    from kdpipe.report import pictures

    there = [name.removeprefix("rung ") for name in rungs]
    pairs = [(f"rung {name}", f"rung {below}") for name in there if (below := rung_below(name, there)) in there]
    if not pairs:
        return None
    found = panel.differences(pairs)
    names = [f"{d.first} over {d.second}".replace("rung ", "") for d in found]
    values, low, high = ([getattr(d, key) for d in found] for key in ("value", "low", "high"))
    told = [name for name, d in zip(names, found, strict=True) if d.verdict != "cannot tell apart"]
    return Picture(pictures.intervals(names, values, low, high, f"gain in {metric}"),
                   f"gain in {split} {metric} of each rung of the ladder over the one below, all of one student and "
                   f"about as many rows seen; told from nothing, Holm-corrected: {', '.join(told) or 'none'}",
                   ("rung", "gain", "low", "high", "p (Holm)", "verdict"),
                   [(n, d.value, d.low, d.high, d.p_holm, d.verdict) for n, d in zip(names, found, strict=True)])


def _confusion(store: Store | str, run: str, split: str) -> Picture | None:
    from kdpipe.report import pictures

    sql = "select label, answer, n, share_of_label from confusion where run = ? and split = ? order by label, answer"
    cells = warehouse.query(store, sql, [run, split]).to_pylist()
    labels = sorted({c["label"] for c in cells} | {c["answer"] for c in cells})
    if not cells:
        return None
    if len(labels) > _CLASSES:
        wrong = sorted((c for c in cells if c["label"] != c["answer"]), key=lambda c: -c["n"])[:SHOWN]
        names = [f"{c['label']} taken for {c['answer']}" for c in wrong]
        return Picture(pictures.counts(names, [c["n"] for c in wrong]), f"rows of the {len(wrong)} most frequent "
                       f"confusions of {len(labels)} classes", ("label", "answer", "rows"),
                       [(c["label"], c["answer"], c["n"]) for c in wrong])
    shares, place = np.zeros((len(labels), len(labels))), {label: i for i, label in enumerate(labels)}
    for cell in cells:
        shares[place[cell["label"]], place[cell["answer"]]] = cell["share_of_label"]
    return Picture(pictures.confusion(labels, shares), "of 100 rows of each label, how many get which answer",
                   ("label", "answer", "rows"), [(c["label"], c["answer"], c["n"]) for c in cells])


def _teacher(store: Store | str, run: str) -> tuple[str | None, bool]:
    """The run of a student's teacher, and whether it is its own: of one without, what most of its task learned from."""
    sql = """
    select coalesce(asked.teacher_run, teachers.run) as run, asked.teacher_run is not null as own
    from stg_runs as asked
    left join stg_runs as teachers
        on asked.task_key = teachers.task_key and asked.role = 'student'
        and teachers.role = 'teacher' and teachers.is_latest
    where asked.run = ?
    order by (select count(*) from stg_runs as told where told.teacher_run = teachers.run and told.is_latest) desc,
        teachers.started desc, teachers.run
    limit 1
    """
    [found] = warehouse.query(store, sql, [run]).to_pylist()
    return found["run"], found["own"]


def _reliability(store: Store | str, run: str, split: str, teacher: str | None, own: bool) -> Picture | None:
    from kdpipe.report import pictures

    sql = """
    select run, confidence, accuracy, n from reliability
    where split = $split and (run = $run or run = $teacher)
    order by run = $run desc, confidence
    """
    rows = warehouse.query(store, sql, {"run": run, "split": split, "teacher": teacher}).to_pylist()
    if not rows:
        return None
    lines: dict[str, list[tuple[float, float, int]]] = {}
    for row in rows:
        name = "student" if row["run"] == run else "teacher" if own else "a teacher, not its own"
        lines.setdefault(name, []).append((row["confidence"], row["accuracy"], row["n"]))
    other = "" if own or len(lines) < 2 else f"; the teacher is one of this task, not the student's own ({teacher})"
    return Picture(pictures.reliability(lines), f"how often an answer is right against how sure the model is{other}",
                   ("model", "confidence", "share right", "rows"),
                   [(n, *p) for n, points in lines.items() for p in points])


def _probing(store: Store | str, groups: dict[str, list[str]]) -> list[Picture]:
    """Of the first probed run of each group, what each layer says of each probing task."""
    sql = """
    select run, name, task, grid, layer, accuracy, majority, untrained, gain_over_untrained, n
    from probing
    where list_contains($runs, run)
    qualify protocol = min_by(protocol, grid <> 'full') over (partition by run)
    order by place, task
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    for cell in warehouse.query(store, sql, {"runs": [run for runs in groups.values() for run in runs]}).to_pylist():
        cells.setdefault(cell["run"], []).append(cell)
    first = {name: next((cells[run] for run in runs if run in cells), None) for name, runs in groups.items()}
    return [_layers_by_task(name, of) for name, of in first.items() if of][:_PROBED]


def _layers_by_task(name: str, cells: Sequence[dict[str, Any]]) -> Picture:
    from kdpipe.report import pictures

    layers, tasks = (list(dict.fromkeys(c[key] for c in cells)) for key in ("layer", "task"))
    shades, words = np.full((len(layers), len(tasks)), np.nan), [[""] * len(tasks) for _ in layers]
    majority = {c["task"]: c["majority"] for c in cells}
    for c in cells:
        i, j = layers.index(c["layer"]), tasks.index(c["task"])
        shades[i, j] = max(0.0, (c["accuracy"] - c["majority"]) / max(1e-9, 1 - c["majority"]))
        gain = "" if c["untrained"] is None else f"\n{100 * c['gain_over_untrained']:+.0f}"
        words[i][j] = f"{100 * c['accuracy']:.0f}{gain}"
    columns = [f"{t.removeprefix('probing-')} ({100 * majority[t]:.0f})" for t in tasks]
    head = ("layer", "task", "accuracy", "majority", "untrained", "gain_over_untrained", "n")
    return Picture(pictures.heat_map([layer.replace("_", " ") for layer in layers], columns, shades, words),
                   f"what probes read off the layers of {name}: percent right and, below, the gain over an untrained "
                   "network of its shape; darker is further above the majority class, which stands in brackets",
                   [h.replace("_", " ") for h in head], [[c[h] for h in head] for c in cells])


def _errors(store: Store | str, run: str, split: str, teacher: str | None, own: bool) -> list[dict[str, Any]]:
    """The surest mistakes of a run, those that its teacher has right first; not_own names a teacher that is not its."""
    sql = """
    with said as (
        select id, any_value(coalesce(prediction, round(score, 2)::varchar)) as answer, any_value(confidence) as sure
        from stg_predictions where run = $teacher and split = $split
        group by id
    )
    select text_a, text_b, label, student_answer, student_confidence, said.answer as teacher_answer,
        said.sure as teacher_confidence, error, if($own, null, $teacher) as not_own
    from error_cases left join said on error_cases.id = said.id
    where run = $run and split = $split
    order by error is null and coalesce(said.answer = label, false) desc, coalesce(error, student_confidence) desc,
        text_a
    limit $shown
    """
    asked = {"run": run, "split": split, "shown": SHOWN, "teacher": teacher, "own": own}
    return warehouse.query(store, sql, asked).to_pylist()
