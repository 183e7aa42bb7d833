"""The flows on a tiny task: what runs, what is reused, what Prefect is told, what a mistake looks like."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prefect import flow
from prefect.client.schemas.filters import FlowRunFilter
from prefect.flows import load_flow_from_entrypoint

from flows.augment_and_teach import augment_and_teach
from flows.demo import QUESTIONS, show
from flows.distill import distill
from flows.evaluate import evaluate
from flows.stages import Order, stage
from flows.train_students import train_students
from kdpipe.errors import UserError
from kdpipe.plan import plan
from kdpipe.store import Store
from kdpipe.up import FLOWS, PARAMETERS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def order(tmp_path_factory, tiny_recipe, tiny_task) -> Order:
    return Order(str(tiny_recipe), str(tiny_task), str(tmp_path_factory.mktemp("store")), device="cpu")


@pytest.fixture(scope="module")
def runs(server, order) -> list[str]:
    """The run ids of "distill", carried out once for the whole module."""
    return distill(order.recipe, order.task, order.store, device=order.device)


def record(order: Order, run: str) -> dict:
    return json.loads(Path(Store(order.store).run(run)).read_text())


def test_distill_leaves_a_run_for_each_seed_and_nothing_to_do(order, runs):
    assert [record(order, run)["seed"] for run in runs] == [0, 1]
    assert not any(step.todo for step in plan(order.job()))


def test_the_record_knows_what_the_stages_before_it_did(order, runs):
    """What all seeds share is paid for by the first."""
    first, second = (record(order, run) for run in runs)
    assert first["teacher_rows_asked"] > 0 == second["teacher_rows_asked"]
    reused = [{stage["stage"]: stage["reused"] for stage in r["stages"]} for r in (first, second)]
    assert reused[0] == {"augment": False, "teach": False, "train": False, "evaluate": False}
    assert reused[1] == {"augment": True, "teach": True, "train": False, "evaluate": False}


def test_names_tell_what_ran(server, order, runs):
    task = Path(order.task).stem
    # Without a limit, null is sent: a server with fastapi 0.151 or later refuses it.
    names = {f"{flow} tiny on {task}" for flow in ("distill", "augment-and-teach", "train-students", "evaluate")}
    assert names <= {run.name for run in server.read_flow_runs()}


def test_bars_and_tables_are_artifacts(server, runs):
    kinds = {(artifact.type, artifact.key) for artifact in server.read_artifacts()}
    assert {("table", "stages"), ("table", "leaderboard")} <= kinds
    progress = [artifact for artifact in server.read_artifacts() if artifact.type == "progress"]
    assert all(artifact.data == 100.0 for artifact in progress)
    seeds = {"student-seed-0", "student-seed-1"}  # trained in processes of their own
    assert seeds < {artifact.key for artifact in progress}


def test_again_the_teacher_is_asked_nothing(order, runs):
    made, *taught = augment_and_teach(order.recipe, order.task, order.store, device="cpu")
    assert made["reused"] and taught == []


def test_a_changed_student_is_all_that_runs_again(order, runs):
    changed = (order.recipe, order.task, order.store, [0], ["student.model.hidden=4"], None, "cpu")
    assert [report["reused"] for report in train_students(*changed)] == [False]
    assert [report["reused"] for report in train_students(*changed)] == [True]
    (run,) = evaluate(*changed)
    assert run not in runs and record(order, run)["teacher_rows_asked"] == 0


def test_a_mistake_fails_the_flow_with_its_message_alone(server, order):
    said = "no recipe 'tang2091'; did you mean 'tang2019'?"
    state = augment_and_teach("tang2091", order.task, order.store, return_state=True)
    assert state.is_failed() and state.message == said
    tasks = server.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [state.state_details.flow_run_id]}))
    assert [task.run_count for task in tasks] == [1]
    with pytest.raises(UserError, match="did you mean 'tang2019'"):
        distill("tang2091", order.task, order.store)


def test_a_lost_shard_is_tried_again(server):
    calls = []

    @stage("shaky", task_run_name="shaky")
    def shaky() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("the worker was lost")
        return len(calls)

    @flow(name="one-shaky-task")
    def once() -> int:
        return shaky()

    assert once() == 2


def test_the_demo_shows_its_table_and_its_questions(order, runs, capsys):
    """The tiny task's runs in the table; the questions are about the shipped task, which is not in this store."""
    show(order.store, runs)
    shown = capsys.readouterr().out
    assert re.search(r"teacher +│ \d\.\d{3} +│ .*\n.*distilled +│ \d\.\d{3} ± \d\.\d{3} ", shown)
    assert shown.count("kdpipe sql") == len(QUESTIONS) + 1


def test_prefect_yaml_and_up_deploy_the_same_flows():
    """Loaded by file, as Prefect's worker does it."""
    listed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    loaded = {load_flow_from_entrypoint(str(ROOT / deployment["entrypoint"])).name for deployment in listed}
    assert loaded == {"augment-and-teach", "train-students", "evaluate", "distill"}
    assert [deployment["entrypoint"] for deployment in listed] == [f"flows/{name}.py:{name}" for name in FLOWS]
    assert all(d["name"] == "local" and d["parameters"] == PARAMETERS for d in listed)
