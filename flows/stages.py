"""The tasks that flows are made of: one call into kdpipe.phases each, named, retried, with its progress shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from kdpipe import phases, recipe
from kdpipe.errors import UserError

from .artifacts import bars_as_artifacts

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Order:
    """What a flow was asked for, in plain values: all that a worker needs to make the job out of it."""

    recipe: str
    task: str | None = None
    store: str = "warehouse/store"
    seeds: Sequence[int] | None = None
    overrides: Sequence[str] | None = None
    teacher: str | None = None
    device: str = "auto"

    @property
    def name(self) -> str:
        return Path(self.recipe).stem

    def job(self) -> phases.Job:
        """Raises UserError with every fault of the recipe and its task."""
        loaded = recipe.load(self.recipe, self.task, self.seeds, self.overrides or (), self.teacher)
        return phases.Job(loaded, self.store, self.device)


def what_ran() -> str:
    """A flow run's name, from its flow and parameters: "distill tang2019 on support"."""
    asked = flow_run.parameters
    on = f" on {Path(asked['task']).stem}" if asked.get("task") else ""
    return f"{flow_run.flow_name} {Path(asked['recipe']).stem}{on}"


def may_pass(task: Task, run: TaskRun, state: State) -> bool:
    """A user's mistake stays one however often it is tried; a worker that was lost does not."""
    return not isinstance(state.result(raise_on_failure=False), UserError)


def plainly(body: Callable[P, R]) -> Callable[P, R | State]:
    """A user's mistake ends a flow in its one message; a traceback is kept for everything else."""

    @wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | State:
        try:
            return body(*args, **kwargs)
        except UserError as e:
            return Failed(message=str(e), data=e)

    return run


def recipe_flow(name: str, tasks_at_a_time: int = 1) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A flow whose parameters are those of an Order, named after its recipe."""
    made = partial(flow, name=name, flow_run_name=what_ran, log_prints=True, persist_result=False,
                   task_runner=ThreadPoolTaskRunner(max_workers=tasks_at_a_time))
    return lambda body: made(plainly(body))


def stage(name: str, task_run_name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task that is safe to repeat. The Parquet store is the only cache: it alone knows what a result was made of."""
    return partial(task, name=name, task_run_name=task_run_name, retries=2, retry_delay_seconds=[1, 10],
                   retry_condition_fn=may_pass, cache_policy=NO_CACHE, persist_result=False, log_prints=True)


@stage(name="prepare-teachers", task_run_name="teachers of {order.name}")
def prepare_teachers(order: Order) -> list[str]:
    """Train or bring the teachers; their folders' names."""
    with bars_as_artifacts():
        return phases.teachers(order.job())


@stage(name="make-rows", task_run_name="rows of {order.name}")
def make_rows(order: Order) -> dict[str, Any]:
    """Make the transfer sets."""
    with bars_as_artifacts():
        return asdict(phases.augment(order.job()))


@stage(name="find-shards", task_run_name="shards of {order.name}")
def find_shards(order: Order) -> list[dict[str, Any]]:
    """The slices of the transfer sets that hold rows without an answer."""
    return phases.teach_shards(order.job())


@stage(name="teach-shard", task_run_name="ask {shard[missing]} rows of {shard[phase]}")
def teach_shard(order: Order, shard: dict[str, Any]) -> dict[str, Any]:
    """Ask the teacher for what one slice lacks."""
    with bars_as_artifacts():
        return asdict(phases.teach_shard(order.job(), shard))


@stage(name="train-student", task_run_name="{order.name} seed {seed}")
def train_student(order: Order, seed: int) -> dict[str, Any]:
    """Train one student of one seed."""
    with bars_as_artifacts():
        return asdict(phases.train(order.job(), seed))


@stage(name="train-student", task_run_name="{order.name} seed {seed}")
def train_student_apart(order: Order, seed: int) -> dict[str, Any]:
    """The same in a process of its own: threads of one process share torch's random state."""
    with bars_as_artifacts():
        return asdict(phases.train_apart(order.job(), seed))


@stage(name="evaluate-student", task_run_name="{order.name} seed {seed}")
def evaluate_student(order: Order, seed: int, reports: list[dict[str, Any]]) -> str:
    """Predictions, scores and the run record of one seed; the run's id."""
    with bars_as_artifacts():
        return phases.evaluate(order.job(), seed, [phases.Report(**report) for report in reports])
