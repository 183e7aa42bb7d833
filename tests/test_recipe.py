"""Recipes: all faults at once, with suggestions; overrides; nothing runs before the check."""

import pytest

from kdpipe import recipe
from kdpipe.errors import UserError
from kdpipe.models.bert import Bert


def faults_of(path, **how) -> list[str]:
    with pytest.raises(UserError) as caught:
        recipe.load(path, **how)
    return list(caught.value.faults)


@pytest.fixture
def write(tmp_path, tiny_recipe):
    """A copy of the test recipe with some text replaced."""

    def make(*changes: tuple[str, str]):
        text = tiny_recipe.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return make


def test_every_shipped_recipe_is_whole_and_cites_its_source():
    for name, citation in recipe.available().items():
        loaded = recipe.load(name, task="support")
        assert loaded.name == name
        assert len(citation) > 20


def test_all_faults_are_reported_at_once_with_suggestions(write, tiny_task):
    path = write(
        ('"logit_mse"', '"logit_mes"'),
        ("hidden = 8", "hiden = 8"),
        ('name = "tang"', 'name = "tung"'),
        ("lr = 1e-2", "learning_rate = 1e-2"),
        ('teacher    = "teacher"', 'teacher = "techer"'),
    )
    said = faults_of(path, task=tiny_task)
    for where, hint in (
        ("student -> loss[0]", "'logit_mse'"),
        ("student -> model", "'hidden'"),
        ("student -> augment[0]", "'tang'"),
        ("student -> train", "learning_rate"),
        ("student -> teacher", "'teacher'"),
    ):
        assert any(where in fault and hint in fault for fault in said), (where, hint, said)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('name  = "teacher"\n', 'name  = "teacher"\nmodle = 3\n', "unknown key 'modle'; did you mean 'model'"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "one seed twice"),
        ("seeds = [0, 1]", 'seeds = ["a"]', "seeds"),
        ("copies = 3", "copies = 0", "copies"),
        ("copies = 3", "p_mask = 1.5", "p_mask"),
        ("epochs = 2, batch_size = 16", "epochs = 0, batch_size = 16", "epochs"),
        ("weight = 0.5", "weight = { linaer = [0, 1] }", "linear"),
        ('name = "words"', 'name = "wurds"', "words"),
        ('name       = "student"', 'name = "../x"', "letters, digits"),
        ('name       = "student"', 'name = "teacher"', "one name"),
        ('teacher    = "teacher"\n', "", "need a teacher"),
        ("[[phase]]\nname  = ", "[[phase\nname  = ", "not TOML"),
    ],
)
def test_each_fault_is_said_where_it_is(write, tiny_task, old, new, where):
    assert any(where in fault for fault in faults_of(write((old, new)), task=tiny_task))


def test_the_task_is_checked_with_the_recipe(write):
    said = faults_of(write(("hidden = 8", "hiden = 8")), task="suport")
    assert any("suport" in fault for fault in said) and any("hiden" in fault for fault in said)


def test_an_unknown_recipe_is_suggested(tiny_task):
    assert "did you mean 'tang2019'" in faults_of("tang2018", task=tiny_task)[0]


@pytest.mark.parametrize("ref", ["../recipes/tang2019", "/etc/passwd.toml", "no/such.toml"])
def test_names_do_not_leave_the_recipes_folder(ref, tiny_task):
    assert (
        "no such recipe file" in faults_of(ref, task=tiny_task)[0] or "no recipe" in faults_of(ref, task=tiny_task)[0]
    )


def test_overrides_reach_into_phases(tiny_recipe, tiny_task):
    loaded = recipe.load(
        tiny_recipe, tiny_task, seeds=[5], overrides=["student.train.epochs=7", "student.model.hidden=4"]
    )
    assert loaded.seeds == (5,)
    assert loaded.final.train["epochs"] == 7
    assert loaded.final.model.arguments["hidden"] == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("student.train.epochs", "say phase.key=value"),
        ("pupil.train.epochs=3", "no phase 'pupil'"),
        ("student.name.x=3", "holds a value"),
    ],
)
def test_bad_overrides(tiny_recipe, tiny_task, override, said):
    assert any(said in fault for fault in faults_of(tiny_recipe, task=tiny_task, overrides=[override]))


def test_a_checkpoint_takes_the_teachers_place(tiny_recipe, tiny_task, tiny_checkpoint, tmp_path):
    with pytest.raises(UserError, match="teacher has no classification head; fine-tune it first"):
        recipe.load(tiny_recipe, tiny_task, teacher=str(tiny_checkpoint))
    Bert(30522, 2, checkpoint=str(tiny_checkpoint)).save(tmp_path)
    loaded = recipe.load(tiny_recipe, tiny_task, teacher=str(tmp_path))
    assert loaded.named("teacher").checkpoint == str(tmp_path)
    assert loaded.named("teacher").model is None
