"""`make demo`: the flow "distill" on the task that ships, one table of what came of it, three questions to ask next."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from kdpipe import up, warehouse
from kdpipe.resources import folder

STORE = "warehouse/store"
STUDENT = 'student.model={ name = "bilstm", hidden = 100, fc = 100, width = 100, channels = "multichannel" }'
UNLABELLED = f'student.unlabelled=["{folder("data") / "support" / "unlabelled.txt"}"]'
RECIPES = {
    "labels_only": ("a teacher, and three students that see the labels alone", [STUDENT]),
    "tang2019": ("made and unlabelled rows, the teacher asked once, three students that learn from its answers",
                 [STUDENT, UNLABELLED, 'student.augment=[{ name = "tang", copies = 3 }]', "student.train.epochs=8"]),
}

RESULTS = """
with students as (select * from stg_runs where list_contains($runs, run)),
     shown as (select * from students union select * from stg_runs where run in (select teacher_run from students))
select
    case when role = 'teacher' then role when recipe = 'labels_only' then 'labels alone' else 'distilled' end as model,
    concat_ws(' ± ', format('{:.3f}', avg(test_score)), format('{:.3f}', stddev_samp(test_score))) as accuracy,
    format('{:.2f}M', max(parameters) / 1e6) as parameters,
    format('{:.2f}M', max(non_embedding_parameters) / 1e6) as "no embeddings",
    median(one.rows_per_second)::int as "at 1",
    median(many.rows_per_second)::int as "at 64"
from shown
left join stg_speeds as one on shown.run = one.run and one.batch = 1
left join stg_speeds as many on shown.run = many.run and many.batch = 64
group by role, model
order by role desc, avg(test_score)
"""

QUESTIONS = {
    "How much of the gap between labels alone and the teacher did distillation close?":
        "select recipe, test_labels_only, test_student, test_teacher, test_gap_closed"
        " from gap_closed where task = 'support'",
    "Which intents do the distilled students still take for one another?":
        "select label, answer, sum(n) as mistakes from confusion where task = 'support' and recipe = 'tang2019'"
        " and split = 'test' and label <> answer group by all order by mistakes desc, label limit 5",
    "What did the teacher get right that a distilled student got wrong?":
        "select text_a as text, label, student_answer from teacher_right_student_wrong where task = 'support'"
        " and recipe = 'tang2019' and split = 'test' and seed = 0 order by student_confidence desc, text limit 5",
}


def set_up() -> None:
    """Prefect's database, which takes a quarter of a minute to make; without this the demo makes it."""
    subprocess.run([sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
                   env={**os.environ, **settings()}, stdout=subprocess.DEVNULL, check=True)


def settings() -> dict[str, str]:
    return {**up.settings(up.prefect_home("warehouse", "prefect-demo")), "PREFECT_LOGGING_LEVEL": "WARNING"}


def main() -> None:
    start = time.monotonic()
    os.environ.update(settings())
    from .distill import distill  # Prefect reads its settings when it is imported

    runs = []
    for recipe, (what, overrides) in RECIPES.items():
        print(f"\n{recipe}: {what}", flush=True)
        runs += distill(recipe, task="support", store=STORE, overrides=overrides)
    print(f"\nDone in {time.monotonic() - start:.0f} s.")
    show(STORE, runs)


def show(store: str, runs: list[str]) -> None:
    """The table of these runs and their teacher, then each question with its answer."""
    print("The teacher and the students: accuracy on 200 test messages (mean and deviation over seeds), parameters,")
    print("parameters without embeddings, sentences per second of one core of this CPU at batch 1 and 64")
    print(warehouse.render(warehouse.query(store, RESULTS, {"runs": runs})))
    for question, sql in QUESTIONS.items():
        print(f'{question}\n  .venv/bin/kdpipe sql "{sql}"')
        print(warehouse.render(warehouse.query(store, sql)))
    print("Everything there is to ask:  .venv/bin/kdpipe sql --list")


if __name__ == "__main__":
    set_up() if sys.argv[1:] == ["set-up"] else main()
