"""What distillation brings, rung by rung, on real tasks: the table of the README.

    python -m tests.benchmarks.bench_distill --task sst2-sentences --seeds 0,1,2 --store warehouse/store

Runs each recipe over one store (so the teacher answers once) and prints the warehouse's own tables as Markdown.
Choices are made on dev; a test split is only reported where the task has one.
"""

import argparse

from kdpipe import phases, recipe, warehouse
from kdpipe.job import Job

LADDER = ("labels_only", "soft_labels", "tang2019_mask", "tang2019_pos_swap", "tang2019_ngram", "tang2019")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", action="append", required=True)
    parser.add_argument("--recipes", default=",".join(LADDER))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--store", default="warehouse/store")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    said = parser.parse_args()
    for task in said.task:
        for name in said.recipes.split(","):
            seeds = [int(s) for s in said.seeds.split(",")]
            phases.run(Job(recipe.load(name, task, seeds, said.overrides), said.store))
    for task in said.task:
        print(
            warehouse.render(
                warehouse.query(said.store, "select * from gap_closed where task = $task", {"task": task}), "csv"
            )
        )


if __name__ == "__main__":
    main()
