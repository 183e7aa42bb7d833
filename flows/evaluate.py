"""Flow "evaluate": predictions, scores and the run record of each seed's student; the leaderboard."""

from __future__ import annotations

from typing import Any

from kdpipe import warehouse
from kdpipe.store import Store

from .artifacts import show_leaderboard
from .stages import Order, evaluate_student, recipe_flow


@recipe_flow("evaluate")
def evaluate(
    recipe: str = "tang2019",
    task: str | None = None,
    store: str = "warehouse/store",
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    teacher: str | None = None,
    device: str = "auto",
    reports: list[dict[str, Any]] | None = None,
) -> list[str]:
    """The run ids. `reports`: what the stages before it did, so that a run's record can say what was reused."""
    order = Order(recipe, task, store, seeds, overrides, teacher, device)
    asked = order.job().recipe
    scored = [evaluate_student.submit(order, seed, _about(reports or [], seed, asked.seeds[0])) for seed in asked.seeds]
    runs = [run.result() for run in scored]
    if Store(store).local:
        warehouse.build(store)
    show_leaderboard(store, asked.task.name)
    return runs


def _about(reports: list[dict[str, Any]], seed: int, first: int) -> list[dict[str, Any]]:
    """What was done for one seed; what all seeds share counts for the first, so that no cost is counted twice."""
    return [report for report in reports if report["detail"].get("seed", first) == seed]
