"""Flow "distill": the three other flows in order."""

from __future__ import annotations

from .augment_and_teach import augment_and_teach
from .evaluate import evaluate
from .stages import recipe_flow
from .train_students import train_students


@recipe_flow("distill")
def distill(
    recipe: str = "tang2019",
    task: str | None = None,
    store: str = "warehouse/store",
    seeds: list[int] | None = None,
    overrides: list[str] | None = None,
    teacher: str | None = None,
    device: str = "auto",
) -> list[str]:
    """From sentences to scored students; the run ids."""
    asked = (recipe, task, store, seeds, overrides, teacher, device)
    taught = augment_and_teach(*asked)
    trained = train_students(*asked)
    return evaluate(*asked, reports=[*taught, *trained])
