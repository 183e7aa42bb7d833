"""Flow "train-students": train the students of all seeds from what is in the store."""

from __future__ import annotations

from typing import Any

from kdpipe import phases
from kdpipe.workers import cores

from .artifacts import show_stages
from .stages import Order, recipe_flow, train_student, train_student_apart


@recipe_flow("train-students", tasks_at_a_time=2 * cores())  # `apart` says how many of them work
def train_students(
    recipe: str = "tang2019",
    task: str | None = None,
    store: str = "warehouse/store",
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    teacher: str | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Report of each seed. The teacher is asked for nothing that `augment-and-teach` has stored."""
    order = Order(recipe, task, store, seeds, overrides, teacher, device)
    job = order.job()
    if phases.side_by_side(job) > 1:
        phases.prepare_vectors(job)
        trained = [train_student_apart.submit(order, seed) for seed in job.recipe.seeds]
        reports = [student.result() for student in trained]
    else:
        reports = [train_student(order, seed) for seed in job.recipe.seeds]
    show_stages(reports)
    return reports
