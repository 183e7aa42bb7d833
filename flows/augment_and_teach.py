"""Flow "augment-and-teach": make the transfer set, ask the teacher for the rows that it has not answered yet."""

from __future__ import annotations

from typing import Any

from .artifacts import show_stages
from .stages import Order, find_shards, make_rows, prepare_teachers, recipe_flow, teach_shard


@recipe_flow("augment-and-teach")
def augment_and_teach(
    recipe: str = "tang2019",
    task: str | None = None,
    store: str = "warehouse/store",
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    teacher: str | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Report of each stage. Run again, it asks the teacher for nothing."""
    order = Order(recipe, task, store, seeds, overrides, teacher, device)
    prepare_teachers(order)
    made = make_rows(order)
    taught = [teach_shard.submit(order, shard) for shard in find_shards(order)]
    reports = [made, *(answers.result() for answers in taught)]
    show_stages(reports)
    return reports
