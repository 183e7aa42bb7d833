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


def test_an_unknown_key_hides_no_other_fault(write, tiny_task):
    path = write(('name  = "teacher"\n', 'name  = "teacher"\nmodle = 3\n'),
                 ("epochs = 2, batch_size = 16", "epoch = 2, batch_size = 0"),
                 ('"logit_mse"', '"logit_mes"'))
    said = faults_of(path, task=tiny_task)
    for hint in ("unknown key 'modle'", "unknown key 'epoch'", "batch_size = 0", "no objective 'logit_mes'"):
        assert any(hint in fault for fault in said), (hint, said)


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


def test_the_phases_are_not_taken_for_a_key(tiny_recipe, tiny_task):
    said = faults_of(tiny_recipe, task=tiny_task, overrides=["phase=0", "seeds=0"])
    assert said == ["override 'phase=0': a phase is changed by its name: teacher.key=value",
                    "tiny.toml -> seeds: found 0; allowed: a list, with square brackets"]


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


# ---- what networks and terms cannot be to each other


TOKENS = 'vocab = { name = "wordpieces", from = "teacher" }'
LIKE = 'model = { name = "bert", layers = 2, width = 32, heads = 2, ffn = 16 }'
BILSTM, ASKS, KD = 'model = "bilstm"', 'teacher = "teacher"', 'loss = [{ name = "kd" }]'

# phase, its lines, what is said of it; the teacher has 2 layers, width 32 and 2 heads
WRONG = {
    "layers_that_are_not": (
        [ASKS, LIKE, TOKENS, 'loss = [{ name = "hidden_mse", layers = [[1, 9]] }, { name = "pkd", layers = [7] }, '
                             '{ name = "attention_mse", layers = [[5, 1]] }]'],
        ["loss[0]: hidden_mse: layers = [[1, 9]]: the teacher has no layer 9; it has 0 to 2",
         "loss[1]: pkd: layers = [7]: the teacher has no layer 7; it has 1 to 2",
         "loss[2]: attention_mse: layers = [[5, 1]]: the student has no layer 5; it has 1 to 2"]),
    "layers_that_do_not_divide": (
        [ASKS, LIKE.replace("layers = 2", "layers = 3"), TOKENS, 'loss = [{ name = "hidden_mse" }]'],
        ["maps no layers between a student of 3 and a teacher of 2 layers: 3 does not divide 2; name them"]),
    "heads_that_do_not_divide": (
        ['model = { name = "bert", width = 10, heads = 4 }'],
        ["model: bert: width = 10 and heads = 4; the width must be a multiple of the heads"]),
    "other_heads": (
        [ASKS, LIKE.replace("heads = 2", "heads = 4"), TOKENS, 'loss = [{ name = "attention_mse" }]'],
        ["the student has 4 attention heads, the teacher 2"]),
    "other_widths": (
        [ASKS, LIKE.replace("width = 32", "width = 8"), TOKENS, 'loss = [{ name = "pkd", project = false, '
                                                                'layers = [[1, 1]] }]'],
        ["the student's states have 8 numbers, the teacher's 32"]),
    "no_attention": (
        [ASKS, BILSTM, TOKENS, 'loss = [{ name = "attention_mse" }]'],
        ["'attention_mse' reads the student's attention; 'bilstm' says cls, hidden, logits, vectors"]),
    "no_token_states": (
        [ASKS, 'model = "static"', TOKENS, 'loss = [{ name = "hidden_mse" }]'],
        ["'hidden_mse' reads the student's hidden; 'static' says cls, logits, vectors"]),
    "one_text_in_a_row": (['model = "siamese"'], ["model: 'siamese' reads the two texts of a pair"]),
    "a_teacher_without_states": (
        ['teachers = ["teacher", "second"]', LIKE, TOKENS, 'loss = [{ name = "cosine" }]'],
        ["'cosine' reads the teacher's hidden; teacher and second say logits"]),
    "words_for_tokens": (
        [ASKS, BILSTM, 'loss = [{ name = "cosine" }]'],
        ["'words' are not the teacher's tokens; take vocab = { name = \"wordpieces\", from = \"teacher\" }"]),
    "tokens_of_its_own": (
        [ASKS, LIKE, 'loss = [{ name = "hidden_mse" }]'],
        ["one vocabulary is built from text, the other comes with a checkpoint; take vocab"]),
    "a_teacher_of_words": (
        ['teacher = "second"', BILSTM, TOKENS, 'loss = [{ name = "cosine" }]'],
        ["the teacher's 'words' are its own; take vocab = { name = \"wordpieces\" } for second, too"]),
    "slopes_in_int8": (
        ['teacher = "cheap"', BILSTM, TOKENS, 'loss = [{ name = "sobolev" }]'],
        ["'sobolev' reads the slope of the teacher's answer, which int8 has not; take compute = \"fp32\""]),
    "another_length": (
        [ASKS, LIKE, TOKENS, "max_length = 64", 'loss = [{ name = "hidden_mse" }]'],
        ["max_length = 64, of teacher 128; make them equal"]),
    "two_targets": (
        [ASKS, BILSTM, 'loss = [{ name = "logit_mse" }, { name = "hard" }, { name = "log_odds_mse" }]'],
        ["loss: 'logit_mse' and 'log_odds_mse' draw the logits to two different values"]),
    "cold": (
        [ASKS, BILSTM, 'loss = [{ name = "kd", temperature = 0 }, { name = "soft_ce", temperature = -1 }, '
                       '{ name = "kd", temperature = { linear = [2, 0] } }]'],
        ["loss[0]: kd: temperature", "loss[1]: soft_ce: temperature", "loss[2]: kd: temperature"]),
    "beyond_the_end": (
        [ASKS, BILSTM, 'loss = [{ name = "kd", weight = { steps = [[0.0, 1], [1.0, 2]] } }, '
                       '{ name = "kd", temperature = { join = [[0.0, 1], [1.5, 2]] } }, '
                       '{ name = "kd", weight = { linear = [0, 1, 2] } }]'],
        ["loss[0] -> weight: schedule steps", "loss[1]: kd: temperature: schedule join",
         "loss[2] -> weight: schedule linear"]),
    "selfish": (['teacher = "selfish"', BILSTM, KD], ["teacher: 'selfish' names itself; an earlier phase is allowed"]),
    "later": (['start = "lonely"'], ["start: no earlier phase 'lonely'"]),
    "going_on_with_nothing": (
        ['start = "brought"'],
        ["start: 'brought' is not trained here; take model = { name = \"bert\", from = \"brought\" }"]),
    "going_on_with_another": (
        ['start = "second"', 'model = "static"'],
        ["start: goes on with the model of 'second'; take model, vocab and embeddings away"]),
    "lonely": (['members = ["second"]'], ["members: an ensemble needs two or more", "two members or more"]),
    "grown_members": (
        ['members = ["teacher", "second"]'], ["bert starts from a checkpoint or phase; members are trained from",
                                             "teacher reads 'wordpieces' of "]),
    "brought_members": (
        ['members = ["brought", "second"]'],
        ["members: 'brought' is brought, not trained here", "members: brought reads 'wordpieces' of "]),
    "members_cut_elsewhere": (
        ['members = ["second", "short"]'], ["members: max_length = 128 of second, 9 of short; make them equal"]),
    "a_taught_ensemble": (
        ['members = ["second", "third"]', ASKS], ["an ensemble is not trained; take teacher, start, augment"]),
    "torn": (['teachers = ["teacher", "second"]', ASKS, BILSTM, KD], ["says teacher and teachers"]),
    "one_of_many": (
        ['teachers = ["teacher"]', 'combine = "confidence"', BILSTM, KD],
        ["teachers: one teacher is said as teacher = \"teacher\"", "combine: is for several teachers"]),
    "twice": (['teachers = ["teacher", "teacher"]', BILSTM, KD], ["['teacher', 'teacher'] names one phase twice"]),
    "another_way": (
        ['teachers = ["teacher", "second"]', 'combine = "confidance"', BILSTM, KD],
        ["combine: no way 'confidance'; did you mean 'confidence'?"]),
    "a_teacher_without_head": (
        ['teachers = ["teacher", "brought"]', BILSTM, KD], ["reads the teacher's logits, and brought has no class"]),
    "layers_to_take": (
        ['model = { name = "bert", from = "teacher", take = [2] }'],
        ["bert: take = [2]; the checkpoint has the layers 0 to 1"]),
    "taken_and_said": (
        ['model = { name = "bert", from = "teacher", width = 8 }'], ["bert: width given beside from, which brings"]),
    "taken_from_no_bert": (
        ['model = { name = "bert", from = "second" }'], ["bert: from names a phase whose model is no transformer"]),
    "taken_by_no_bert": (
        ['model = { name = "bilstm", from = "teacher" }'], ["bilstm: cannot start from another phase's model"]),
    "vectors_of_two": (
        ['model = { name = "bert", from = "teacher" }', 'embeddings = { name = "teacher", from = "teacher" }'],
        ["embeddings: the model begins with the token vectors of its checkpoint or phase"]),
    "other_tokens_than_its_vectors": (
        ['model = { name = "bert", from = "teacher" }', 'vocab = { name = "wordpieces" }'],
        ["vocab: the model begins with vectors of 'wordpieces' of ", ]),
    "an_ensemble_of_its_own": (
        ['members = ["second", "third"]', "max_length = 16"],
        ["members: an ensemble reads what its members read; take vocab, max_length and embeddings away"]),
    "members_of_other_tokens": (
        ['members = ["second", "pieces"]'],
        ["members: second reads 'words' built from text, pieces reads 'wordpieces' of "]),
    "names_of_what_is_trained": ([BILSTM, 'label_names = ["a", "b"]'], ["label_names: is for a checkpoint that is"]),
    "rows_for_nobody": (
        [ASKS, BILSTM, 'augment = ["mask"]', 'loss = [{ name = "hard" }]'],
        ["loss: made and unlabelled rows have no label, and no term reads what teacher says of them"]),
    "against_the_grain": (
        [ASKS, BILSTM, 'loss = [{ name = "kd", weight = { linear = [1, -1] } }, { name = "hard", weight = 0 }]'],
        ["loss[0] -> weight: {'linear': [1, -1]} falls below 0", "loss[1] -> weight: 0 is 0 throughout"]),
    "longer_than_it_reads": (
        ['model = { name = "bert", layers = 1, width = 8, heads = 2, positions = 9 }', "max_length = 10"],
        ["max_length: 10, and the model reads at most 9 tokens of a row; take max_length = 9 or less"]),
    "vectors_of_no_transformer": (
        [BILSTM, 'embeddings = { name = "teacher", from = "second" }'],
        ["embeddings: vectors are read from a transformer's states, and 'second' is a 'bilstm'"]),
    "shared_by_all": (
        ["seed = 1", 'teacher = "second"', BILSTM, KD],
        ["seed: is shared by all seeds, but needs the model of 'second', which is not"]),
}


@pytest.fixture
def wrong(tmp_path, tiny_checkpoint):
    """A recipe of a teacher, a brought encoder, two small models, and then these phases."""

    def make(phases: dict[str, list[str]]):
        sound = {"teacher": ["seed = 0", f'model = {{ name = "bert", checkpoint = "{tiny_checkpoint}" }}'],
                 "brought": [f'checkpoint = "{tiny_checkpoint}"'], "second": [BILSTM], "third": [BILSTM],
                 "short": [BILSTM, "max_length = 9"], "pieces": [BILSTM, TOKENS],
                 "cheap": ['model = { name = "bert", from = "teacher" }'],
                 "asks_cheap": ['teacher = "cheap"', BILSTM, 'loss = [{ name = "logit_mse" }]']}
        sound["cheap"] += ['compute = "int8"']
        path = tmp_path / "mine.toml"
        path.write_text("# A test's own recipe\n" + "".join(
            f'\n[[phase]]\nname = "{name}"\n' + "\n".join(lines) for name, lines in {**sound, **phases}.items()))
        return path

    return make


def test_all_that_does_not_fit_is_named_at_once(wrong, tiny_task):
    """Each phase is wrong in its own way; every way is said of it, and of no other phase anything."""
    said = faults_of(wrong({name: lines for name, (lines, _) in WRONG.items()}), task=tiny_task)
    for name, (_, expected) in WRONG.items():
        here = [fault for fault in said if fault.startswith((f"mine -> {name} ->", f"mine -> {name}:"))]
        for text in expected:
            assert any(text in fault for fault in here), (name, text, here)
        assert len(here) >= len(expected) and all(any(t in f for t in expected) for f in here), (name, here)
    assert {fault.split(" -> ")[1].split(":")[0] for fault in said} == {*WRONG}


@pytest.mark.parametrize("name", ["layers_that_are_not", "two_targets", "a_teacher_without_head", "shared_by_all"])
def test_each_is_said_alone_too(wrong, tiny_task, name):
    lines, expected = WRONG[name]
    said = faults_of(wrong({name: lines}), task=tiny_task)
    assert len(said) == len(expected) and all(text in fault for text, fault in zip(expected, said, strict=True))


def test_terms_that_fit_are_looked_at_beside_one_that_cannot_be_made(wrong, tiny_task):
    said = faults_of(wrong({"student": [
        ASKS, LIKE, TOKENS, 'loss = [{ name = "hiden_mse" }, { name = "attention_mse", layers = [[1, 3]] }, '
                            '{ name = "kd", temprature = 2 }]', "train = { epochs = 0 }"]}), task=tiny_task)
    assert ["loss[0]" in said[0], "loss[2]" in said[1], "train" in said[2], "loss[1]" in said[3]] == [True] * 4
    assert len(said) == 4 and "the teacher has no layer 3" in said[3]


def test_what_fits_is_not_refused(wrong, tiny_task):
    """The same parts, put together rightly."""
    fits = {
        "tinybert": [ASKS, LIKE, TOKENS, 'loss = [{ name = "hidden_mse" }, { name = "attention_mse" }]'],
        "half": [ASKS, 'model = { name = "bert", from = "teacher", take = [1] }', 'loss = [{ name = "cosine" }]'],
        "both": ['members = ["second", "third"]'],
        "many": ['teachers = ["teacher", "both"]', 'combine = { name = "weighted", weights = [1, 2] }', BILSTM, KD],
        "finish": ['start = "many"'],
        "encoder": ['teacher = "brought"', BILSTM, 'loss = [{ name = "cosine", on = "cls" }]'],
    }
    assert [p.name for p in recipe.load(wrong(fits), tiny_task).phase][8:] == [*fits]


def test_a_student_of_pairs_has_no_token_that_is_the_teachers(tmp_path, wrong):
    """Tang's student becomes siamese on pairs and says one state of both texts; a transformer reads both in one."""
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("a\tb\ty\n" + "".join(f"film {i}\tplot\t{i % 2}\n" for i in range(8)))
    (tmp_path / "task.toml").write_text(
        'name = "pairs"\nkind = "classification"\nformat = "tsv"\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
        'text_a = "a"\ntext_b = "b"\nlabel = "y"\n')
    hidden = 'loss = [{ name = "hidden_mse" }, { name = "cosine", on = "cls" }]'
    said = faults_of(wrong({
        "made": [ASKS, BILSTM, TOKENS, hidden], "named": [ASKS, 'model = "siamese"', TOKENS, hidden],
        "both_in_one": [ASKS, LIKE, TOKENS, hidden]}), task=tmp_path)
    for name in ("made", "named"):
        assert f"mine -> {name} -> loss[0]: 'hidden_mse' reads the student's hidden; 'siamese' says cls, logits" in said
        assert any(f"{name} -> loss[0]" in fault and "reads the texts of a pair apart" in fault for fault in said)
    assert len(said) == 4


def test_ways_and_terms_that_read_probabilities_are_not_for_scores(tmp_path, wrong):
    """All that a task of scores forbids, of several phases, and beside it what any task forbids."""
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("text\tscore\n" + "".join(f"film {i}\t{i / 2}\n" for i in range(8)))
    (tmp_path / "task.toml").write_text(
        'name = "scores"\nkind = "regression"\nformat = "tsv"\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
        'text = "text"\nlabel = "score"\n')
    two, mse = 'teachers = ["teacher", "second"]', 'loss = [{ name = "logit_mse" }]'
    said = faults_of(wrong({
        "surest": [two, 'combine = "confidence"', BILSTM, mse], "log": [two, 'combine = "ensemble"', BILSTM, mse],
        "mean": [two, BILSTM, mse], "soft": [ASKS, BILSTM, KD], "selfish": ['teacher = "selfish"', BILSTM, mse]}),
        task=tmp_path)
    expected = [
        "surest -> combine: 'confidence' is not defined for regression: a score has no probabilities; take mean or "
        "weighted",
        "log -> combine: 'ensemble' is not defined for regression: a score has no probabilities; take mean or weighted",
        "soft -> loss[0]: 'kd' is not defined for regression", "selfish -> teacher: 'selfish' names itself"]
    assert len(said) == 4 and all(text in fault for text, fault in zip(expected, said, strict=True))
