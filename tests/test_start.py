"""What a training starts from and what it learns from: kept or live states, another phase's layers, many teachers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.numpy import load_file
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from kdpipe import phases, recipe, warehouse
from kdpipe.binding import shape_of
from kdpipe.errors import UserError
from kdpipe.evaluation import evaluate
from kdpipe.job import Job, drawn_seed, load_model, model_folder, model_key, teacher_of, transfer_key, transfer_set
from kdpipe.models import count_parameters
from kdpipe.models.bert import PRESETS, Bert
from kdpipe.plan import plan
from kdpipe.schema import Phase
from kdpipe.signals.combine import way
from kdpipe.train import predict
from kdpipe.training import _rows, _teacher, is_small, train_phase

TEACHER = """# A test's own recipe
seeds  = [0]
budget = {budget}

[[phase]]
name  = "teacher"
seed  = 0
model = {{ name = "bert", checkpoint = "{checkpoint}" }}
train = {{ epochs = 2, batch_size = 10, lr = 1e-3 }}
"""
BILSTM = 'model = { name = "bilstm", hidden = 6, fc = 6, width = 8 }\n'
STATIC = 'model = { name = "static", fc = 6, width = 8 }\n'
QUICK = 'train = { epochs = 2, batch_size = 10, lr = 1e-2 }\n'
KD = 'loss = [{ name = "kd" }]\n'
STILL = 'train = { epochs = 1, batch_size = 10, lr = 0.0 }\n'  # one epoch that changes nothing


def phase(name: str, *lines: str) -> str:
    return f'\n[[phase]]\nname = "{name}"\n' + "\n".join(lines)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A second core only slows networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def write(tmp_path_factory, tiny_checkpoint):
    """A recipe with these phases behind the teacher's."""
    folder = tmp_path_factory.mktemp("recipes")

    def make(*more: str, budget: str = '"2 GiB"') -> Path:
        path = folder / "mine.toml"
        path.write_text(TEACHER.format(checkpoint=tiny_checkpoint, budget=budget) + "".join(more))
        return path

    return make


@pytest.fixture(scope="module")
def base(tmp_path_factory, write, tiny_task) -> Path:
    """A store with the trained teacher alone."""
    store = tmp_path_factory.mktemp("store") / "base"
    phases.teachers(Job(recipe.load(write(), tiny_task), str(store), "cpu"))
    return store


@pytest.fixture
def make(tmp_path, base, write, tiny_task):
    """A job over a copy of that store, one copy for each name."""

    def job(*more: str, budget: str = '"2 GiB"', store: str = "store", **how) -> Job:
        if not (tmp_path / store).exists():
            shutil.copytree(base, tmp_path / store)
        return Job(recipe.load(write(*more, budget=budget), tiny_task, **how), str(tmp_path / store), "cpu")

    return job


def trained(job: Job, seed: int = 0) -> Job:
    """All models of a job, and nothing evaluated."""
    phases.teachers(job)
    phases.augment(job), phases.teach(job)
    phases.train(job, seed)
    return job


def folder(job: Job, name: str | None = None, seed: int = 0) -> Path:
    return model_folder(job, job.recipe.named(name) if name else job.recipe.final, seed)


def weights(job: Job, name: str | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    return load_file(folder(job, name, seed) / "model.safetensors")


def apart(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> float:
    """The largest difference between two networks' weights."""
    assert one.keys() == two.keys()
    return max(float(np.abs(one[name] - two[name]).max()) for name in one)


def logits(job: Job, name: str, seed: int = 0, split: str = "train") -> np.ndarray:
    """What a phase's model says of a split when it is asked alone."""
    loaded = load_model(job, job.recipe.named(name), seed)
    encoded = loaded.vocab.encode(job.recipe.task.splits[split], loaded.max_length)
    return predict(loaded.model, encoded)[:, list(loaded.order)]


# ---- kept or live


LIKE = 'model = { name = "bert", layers = 2, width = 32, heads = 2, ffn = 16, positions = 64 }\n'
TOKENS = 'vocab = { name = "wordpieces", from = "teacher" }\n'
LARGE = {
    "tinybert": '[{ name = "hidden_mse" }, { name = "attention_mse" }]',
    "hints and logits": '[{ name = "hidden_mse", layers = [[1, 2]] }, { name = "logit_mse" }, { name = "hard" }]',
    "gradient": '[{ name = "sobolev", match = "gradient" }, { name = "kd" }]',
}


@pytest.mark.parametrize("loss", LARGE)
def test_kept_and_live_states_train_the_same_student(make, loss):
    """Only the company in which a row was asked differs, by about 1e-7: seen where that tips a number to the next
    float16, if at all. `-rP` shows the largest difference between two weights; that between two seeds is above 0.1.
    """
    lines = ('teacher = "teacher"', LIKE, TOKENS, QUICK, f"loss = {LARGE[loss]}")
    kept = trained(make(phase("student", *lines), store="kept"))
    live = trained(make(phase("student", *lines), store="live", budget='"0 B"'))
    assert any(Path(kept.store, "signals").rglob("signal=hidden_*")) or loss == "gradient"
    assert not any(Path(live.store, "signals").rglob("signal=[hag]*"))
    largest = apart(weights(kept), weights(live))
    print(f"{loss}: {largest:.2g}")
    assert largest < 1e-3
    other = trained(make(phase("student", *lines), store="kept", seeds=[1]), 1)
    assert apart(weights(kept), weights(other, seed=1)) > 0.1
    curves = [json.loads((folder(job) / "training.json").read_text()) for job in (kept, live)]
    assert [c["teacher_rows_asked"] for c in curves] == [0, 0]
    assert_allclose(*([e["loss"] for e in c["curve"]] for c in curves), rtol=1e-3)
    assert curves[0]["curve"][1]["loss"] < curves[0]["curve"][0]["loss"]


@pytest.mark.parametrize("loss", ["sobolev", "boundaries", "nst", "cosine", "attention_kl"])
def test_every_kind_of_state_can_be_learned_from(make, loss):
    """A large trained table, twice differentiated for Sobolev, learns by the rows that it reads."""
    job = trained(make(phase("student", 'teacher = "teacher"', LIKE, TOKENS, QUICK, f'loss = [{{ name = "{loss}" }}]')))
    curve = json.loads((folder(job) / "training.json").read_text())["curve"]
    assert np.isfinite([epoch["loss"] for epoch in curve]).all()


@pytest.mark.parametrize("model", [BILSTM, STATIC])
def test_a_recurrent_student_over_the_teachers_pieces_reads_them_as_it_does(make, model):
    """Token against token: then [CLS] and [SEP] are its tokens, too; else it reads the text alone."""
    lines = ('teacher = "teacher"', model, TOKENS, QUICK)
    job = trained(make(phase("student", *lines, 'loss = [{ name = "sobolev" }, { name = "kd" }]')))
    plain = trained(make(phase("student", *lines, KD)))
    dev = job.recipe.task.splits["dev"]
    n, its, alone = (load_model(j, j.recipe.named(name), 0).vocab.encode(dev, 128).segments[0].lengths
                     for j, name in ((job, "student"), (job, "teacher"), (plain, "student")))
    assert n.tolist() == its.tolist() == (alone + 2).tolist()


def test_two_recurrent_networks_are_aligned_as_they_are(make):
    """Neither has special tokens; a transformer that learns from one has none either."""
    deep = BILSTM.replace("hidden = 6", "hidden = 6, layers = 2")
    for student in (deep, LIKE):
        job = trained(make(phase("first", deep, TOKENS, QUICK), phase("student", 'teacher = "first"', student, TOKENS,
                                                                      QUICK, 'loss = [{ name = "hidden_mse" }]')))
        assert not load_model(job, job.recipe.final, 0).vocab.packs_pairs


def test_what_was_trained_without_special_tokens_cannot_be_aligned_later(make):
    job = make(phase("first", BILSTM, TOKENS, QUICK), phase("student", 'start = "first"', 'teacher = "teacher"', QUICK,
                                                            'loss = [{ name = "sobolev" }]'))
    with pytest.raises(UserError, match="one alone reads special tokens round a text; give 'first' such a term, too"):
        trained(job)


# ---- another phase's weights


def test_a_start_goes_on_with_the_trained_weights(make):
    """A second phase at rate 0 ends where the first one did; at another rate it moves on from there."""
    first = phase("first", 'teacher = "teacher"', BILSTM, QUICK, 'loss = [{ name = "logit_mse" }]')
    job = trained(make(first, phase("finish", 'start = "first"', STILL)))
    assert model_key(job, job.recipe.final, 0) != model_key(job, job.recipe.named("first"), 0)
    assert apart(weights(job), weights(job, "first")) == 0
    assert_allclose(logits(job, "finish"), logits(job, "first"))
    moved = trained(make(first, phase("finish", 'start = "first"', QUICK)))
    assert 0 < apart(weights(moved), weights(job)) < 0.5
    assert apart(weights(moved, "first"), weights(job, "first")) == 0


def test_a_start_from_the_teacher_is_its_own_student(make):
    """Reversed roles need nothing special: the network goes on, its former self is asked."""
    job = trained(make(phase("again", 'start = "teacher"', 'teacher = "teacher"', STILL, 'loss = [{ name = "kd" }]')))
    assert apart(weights(job), weights(job, "teacher")) == 0
    loss = json.loads((folder(job) / "training.json").read_text())["curve"][0]["loss"]
    assert 0 <= loss < 0.05  # dropout alone tells them apart


def test_a_start_of_a_start(make):
    job = trained(make(phase("a", BILSTM, QUICK), phase("b", 'start = "a"', QUICK), phase("c", 'start = "b"', STILL)))
    assert apart(weights(job, "b"), weights(job, "a")) > 0 and apart(weights(job), weights(job, "b")) == 0
    loaded = load_model(job, job.recipe.final, 0)
    assert loaded.card.model == {"name": "bilstm", "hidden": 6, "fc": 6, "width": 8}


def test_a_student_that_ends_on_labels_learned_from_the_teacher_before(make):
    """Jafari et al. 2021: who it is held against, and what it learned from, are those of the phase that asked."""
    job = make(phase("told", 'teacher = "teacher"', STATIC, QUICK, KD,
                     'augment = [{ name = "mask", p = 0.5, copies = 1 }]'),
               phase("student", 'start = "told"', QUICK))
    [run] = phases.run(job)
    record = job.place.read_json(job.place.run(run))
    assert record["teacher_run"].startswith("tiny-teacher-") and record["operators"] == ["mask"]
    assert record["transfer"] == transfer_key(job, job.recipe.named("told"))
    assert {made["operator"] for made in record["transfer_counts"]} == {"gold", "mask"}
    assert [stage["stage"] for stage in record["stages"]] == ["augment", "teach", "train", "evaluate"]
    views = ("fidelity", "agreement", "operator_contribution")
    assert all(warehouse.query(job.place, f"select * from {view}").num_rows for view in views)
    assert not warehouse.run_checks(job.place)
    alone = make(phase("told", STATIC, QUICK), phase("student", 'start = "told"', QUICK))
    [run] = phases.run(alone)
    assert job.place.read_json(job.place.run(run))["teacher_run"] is None


@pytest.mark.parametrize(("take", "kept"), [("", (0, 1)), (", take = [1]", (1,)), (', take = "alternate"', (0,))])
def test_a_student_starts_with_the_teachers_layers(make, take, kept):
    """And is an ordinary checkpoint, for plain transformers as for us."""
    job = trained(make(phase("student", f'model = {{ name = "bert", from = "teacher"{take} }}', STILL)))
    ours, theirs = weights(job), weights(job, "teacher")
    for name in ours:
        there = name
        if ".layer." in name:
            before, after = name.split(".layer.")
            here, rest = after.split(".", 1)
            there = f"{before}.layer.{kept[int(here)]}.{rest}"
        assert np.array_equal(ours[name], theirs[there]), name
    assert {n.split(".layer.")[1].split(".")[0] for n in ours if ".layer." in n} == {*map(str, range(len(kept)))}
    card = json.loads((folder(job) / "kdpipe.json").read_text())["model"]
    assert card == {"name": "bert"}

    plain = AutoModelForSequenceClassification.from_pretrained(folder(job)).eval()
    assert plain.config.num_hidden_layers == len(kept)
    assert tuple(plain.config.id2label.values()) == job.recipe.task.labels
    texts = job.recipe.task.splits["dev"]["text_a"].to_pylist()
    with torch.inference_mode():
        said = plain(**AutoTokenizer.from_pretrained(folder(job))(texts, padding=True, return_tensors="pt")).logits
    assert_allclose(logits(job, "student", split="dev"), said, atol=1e-5)
    if len(kept) == 2:
        assert_allclose(said, logits(job, "teacher", split="dev"), atol=1e-5)


def test_layers_of_a_brought_checkpoint(make, tiny_checkpoint):
    model = f'model = {{ name = "bert", checkpoint = "{tiny_checkpoint}", take = [1] }}'
    job = trained(make(phase("student", model, STILL)))
    plain = load_file(tiny_checkpoint / "model.safetensors")
    found = {name: w for name, w in weights(job).items() if ".layer." in name}
    assert found and all(np.array_equal(w, plain[name.removeprefix("bert.").replace("layer.0", "layer.1")])
                         for name, w in found.items())


KIN = {
    "distilbert": (DistilBertForSequenceClassification, DistilBertConfig(
        vocab_size=60, dim=16, n_layers=6, n_heads=2, hidden_dim=8, max_position_embeddings=40)),
    "roberta": (RobertaForSequenceClassification, RobertaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=6, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=42))}


@pytest.mark.parametrize("kin", KIN)
def test_layers_of_berts_kin(tmp_path, kin):
    """Three of six, in their order: by hand from transformers' own modules, and what is saved is whole again."""
    make, config = KIN[kin]
    whole = make(config)
    whole.save_pretrained(tmp_path / "whole")
    (tmp_path / "half").mkdir()
    half = Bert(60, 2, checkpoint=str(tmp_path / "whole"), take=[0, 3, 5]).eval()
    assert half.shape.layers == 3 == Bert.shape_for(60, 2, checkpoint=str(tmp_path / "whole"), take=[0, 3, 5]).layers
    half.save(tmp_path / "half")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "half").eval()
    layers = next(m for m in whole.base_model.modules() if isinstance(m, torch.nn.ModuleList))
    kept = torch.nn.ModuleList([layers[i] for i in (0, 3, 5)])
    layers._modules = kept._modules
    whole.config.num_hidden_layers = 3
    ids = torch.arange(3, 12)[None]
    with torch.inference_mode():
        said = plain(ids).logits
        assert_allclose(whole.eval()(ids).logits, said, atol=1e-6)
        assert_allclose(half.hf(ids).logits, said, atol=1e-6)


def test_a_truncated_student_is_taught_by_whom_it_was_taken_from(make):
    """DistilBERT's way: half of the teacher's layers, then its logits and states."""
    lines = ('teacher = "teacher"', 'model = { name = "bert", from = "teacher", take = [0] }', QUICK,
             'loss = [{ name = "kd" }, { name = "cosine" }, { name = "hidden_mse", layers = [[1, 2]] }]')
    job = trained(make(phase("student", *lines)))
    assert load_model(job, job.recipe.final, 0).model.shape.layers == 1
    assert tuple(load_model(job, job.recipe.final, 0).vocab.tokens) == tuple(
        load_model(job, job.recipe.named("teacher"), 0).vocab.tokens)


# ---- the shapes of published students


# By hand, of L layers of width d and feed-forward width f: a layer has 4 (d² + d) + 2 d f + f + d + 4 d parameters, the
# embeddings (30,522 + 512 + 2) d + 2 d, the pooler d² + d, a classifier of two classes 2 d + 2.
SIZES = {
    "tinybert4": 14.35,  # Jiao et al. print 14.5 with fit_dense
    "bert_small": 28.8,  # Google's BERT-Small
    "bert6": 67.0,  # TinyBERT6's; DistilBERT's 66 is less pooler and token types
    "bert4": 52.8,  # DistilBERT4's 52.2 is less pooler
    "bert2": 38.6,
    "sucik": 8.7,  # of these 2.42 above the embeddings
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_published_sizes(name):
    with torch.device("meta"):
        model = Bert(30_522, 2, preset=name)
    (layers, d, heads, f), shape = PRESETS[name], model.shape
    assert (shape.layers, shape.width, shape.heads, shape.ffn) == (layers, d, heads, f)
    assert Bert.shape_for(30_522, 2, preset=name) == shape
    inside = layers * (4 * (d * d + d) + 2 * d * f + f + d + 4 * d)
    total = inside + (30_522 + 512 + 2) * d + 2 * d + d * d + d + 2 * d + 2
    counted = count_parameters(model)
    assert (counted["total"], counted["embedding"]) == (total, 30_522 * d)
    assert total / 1e6 == pytest.approx(SIZES[name], abs=0.05)
    if name == "sucik":
        assert (inside + d * d + d + 2 * d + 2) / 1e6 == pytest.approx(2.42, abs=0.005)
    if name == "bert4":
        assert (total - d * d - d - 2 * d - 2) / 1e6 == pytest.approx(52.2, abs=0.05)


@pytest.mark.parametrize(("model", "width"), [
    ('{ name = "bert", preset = "sucik" }', 204), ('{ name = "bert", layers = 1, width = 8, heads = 2, ffn = 8 }', 8),
    ('{ name = "bilstm", hidden = 3, fc = 3, width = 7, channels = "multichannel" }', 7)])
def test_the_teachers_vectors_come_in_the_width_of_the_model(make, model, width):
    """Made from the teacher's own and put into the network before it is trained, here at rate 0."""
    vectors = 'embeddings = { name = "teacher", from = "teacher" }'
    job = make(phase("student", f"model = {model}", TOKENS, STILL, vectors))
    made = load_file(*Path(trained(job).store, "vectors").rglob("vectors.safetensors"))["vectors"]
    assert made.shape[1] == width
    table = next(load_model(job, job.recipe.final, 0).model.embedding_parameters())
    assert_allclose(np.sort(np.linalg.norm(table.detach(), axis=1)), np.sort(np.linalg.norm(made, axis=1)), rtol=1e-5)


def test_a_student_of_layers_pools_as_its_teacher_does(make, tiny_checkpoint):
    """Else its own [CLS] would be held against the teacher's mean, under a pooler that nobody trained."""
    mean = "\n".join([f'model = {{ name = "bert", checkpoint = "{tiny_checkpoint}", pooling = "mean" }}', "seed = 0"])
    job = trained(make(phase("sentences", mean, STILL),
                       phase("same", 'model = { name = "bert", from = "sentences" }', STILL),
                       phase("other", 'model = { name = "bert", from = "sentences", pooling = "cls" }', STILL),
                       phase("grown", 'model = { name = "bert", from = "same", take = [0] }', STILL)))
    assert {p.name: p.model.arguments.get("pooling") for p in job.recipe.phase} == {
        "teacher": None, "sentences": "mean", "same": "mean", "other": "cls", "grown": "mean"}
    assert load_model(job, job.recipe.named("grown"), 0).model.pooling == "mean"


# ---- generations


def test_each_generation_is_drawn_anew(make):
    """Furlanello et al. 2018: the same network, other first weights; other phases of a run share their seed."""
    chain = (phase("one", BILSTM, STILL), phase("two", BILSTM, STILL, 'teacher = "one"', KD),
             phase("three", BILSTM, STILL, 'teacher = "two"', KD),
             phase("another", BILSTM, STILL, 'teacher = "teacher"', KD))
    job = trained(make(*chain))
    tables = {name: load_file(model_folder(job, job.recipe.named(name), 0) / "model.safetensors")["head.0.weight"]
              for name in ("one", "two", "three", "another")}
    assert len({tables[name].tobytes() for name in ("one", "two", "three")}) == 3
    assert np.array_equal(tables["one"], tables["another"])
    assert drawn_seed(job, job.recipe.named("two"), 0) != drawn_seed(job, job.recipe.named("two"), 1)


# ---- ensembles


MEMBERS = (phase("one", BILSTM, QUICK), phase("two", BILSTM.replace("hidden = 6", "hidden = 5"), QUICK, "seed = 3"))


def test_an_ensemble_says_the_log_of_its_members_mean_probability(make):
    job = trained(make(*MEMBERS, phase("both", 'members = ["one", "two"]')))
    each = [softmax(logits(job, name), axis=1) for name in ("one", "two")]
    said = logits(job, "both")
    assert_allclose(np.exp(said), np.mean(each, axis=0), atol=1e-6)
    assert_allclose(said, way("ensemble", {}, 2)([logits(job, "one"), logits(job, "two")]), atol=1e-5)
    assert count_parameters(load_model(job, job.recipe.final, 0).model)["total"] == sum(
        count_parameters(load_model(job, job.recipe.named(name), 0).model)["total"] for name in ("one", "two"))


def test_an_ensemble_is_asked_like_any_teacher(make):
    job = make(*MEMBERS, phase("both", 'members = ["one", "two"]'),
               phase("student", 'teacher = "both"', STATIC, QUICK, 'loss = [{ name = "soft_ce" }]'))
    runs = phases.run(job)
    kept = teacher_of(job, "both", 0).read("logits", job.recipe.task.splits["train"]["id"])
    assert_allclose(kept, logits(job, "both"), atol=1e-5)
    record = json.loads(Path(job.store, "runs", f"{runs[0]}.json").read_text())
    assert record["role"] == "student" and record["teacher_run"].startswith("tiny-both-")
    assert not any(step.todo for step in plan(job) if step.stage in ("train", "evaluate"))


def test_an_ensemble_of_transformers(make):
    """New ones, of two depths; they read one vocabulary."""
    model = 'model = { name = "bert", layers = %d, width = 8, heads = 2, ffn = 8, positions = 64 }\n'
    job = trained(make(phase("one", model % 1, TOKENS, QUICK), phase("two", model % 2, TOKENS, QUICK),
                       phase("both", 'members = ["one", "two"]')))
    each = [softmax(logits(job, name), axis=1) for name in ("one", "two")]
    assert_allclose(np.exp(logits(job, "both")), np.mean(each, axis=0), atol=1e-6)


# ---- several teachers


WAYS = {"mean": '"mean"', "weighted": '{ name = "weighted", weights = [3, 1] }', "confidence": '"confidence"',
        "ensemble": '"ensemble"'}


def taught_by_two(make, combine: str) -> Job:
    return make(phase("other", BILSTM, QUICK, "seed = 1"),
                phase("student", 'teachers = ["teacher", "other"]', f"combine = {combine}", STATIC, QUICK,
                      'loss = [{ name = "logit_mse" }]'))


def test_two_teachers_are_asked_once_and_combined_anew(make):
    targets, found = {}, {}
    for name, said in WAYS.items():
        job = taught_by_two(make, said)
        phases.teachers(job), phases.augment(job)
        new = phases.teach(job).detail["asked"]
        assert new == (0 if targets else 2 * 40)
        phases.train(job, 0)
        student = job.recipe.final
        rows = _rows(job, student)
        teacher, asked = _teacher(job, student, 0, rows)
        assert asked == 0 and len(teacher) == 40
        each = [teacher_of(job, t, 0).read("logits", rows.ids) for t in ("teacher", "other")]
        targets[name] = teacher(np.arange(40), torch.device("cpu")).logits.numpy()
        assert_allclose(targets[name], way(name, student.combine.arguments, 2)(each), rtol=1e-6)
        found[name] = weights(job)
    assert_allclose(targets["mean"], (each[0] + each[1]) / 2, atol=1e-6)
    assert_allclose(targets["weighted"], (3 * each[0] + each[1]) / 4, atol=1e-6)
    assert len({w["head.3.bias"].tobytes() for w in found.values()}) == len(WAYS)


def test_equal_weights_are_the_mean(make):
    equal, mean = (weights(trained(taught_by_two(make, said)))
                   for said in ('{ name = "weighted", weights = [2, 2] }', '"mean"'))
    assert apart(equal, mean) < 1e-4


def test_the_plan_asks_each_teacher(make):
    job = taught_by_two(make, '"mean"')
    phases.teachers(job), phases.augment(job)
    assert [(s.what, s.rows, s.todo) for s in plan(job) if s.stage == "teach"] == [
        ("ask teacher", 40, True), ("ask other", 40, True)]
    trained(job)
    assert not any(step.todo for step in plan(job) if step.stage != "evaluate")


# ---- chains


CHAIN = (phase("assistant", 'teacher = "teacher"', BILSTM, QUICK, 'loss = [{ name = "logit_mse" }]'),
         phase("student", 'teacher = "assistant"', STATIC, QUICK, 'loss = [{ name = "logit_mse" }]'))


def test_a_chain_of_three(make):
    """Teacher, assistant, student: each seed's student asks its own assistant, and all assistants one teacher."""
    job = make(*CHAIN, seeds=[0, 1])
    waits = next(step for step in plan(job) if step.what == "ask assistant")
    assert waits.todo and waits.reason in ("its rows are not made yet", "the teacher is not trained yet")
    trained(job), phases.train(job, 1)
    assert not any(step.todo for step in plan(job) if step.stage in ("teacher", "augment", "train"))
    rows = job.recipe.task.splits["train"]
    for seed in (0, 1):
        kept = teacher_of(job, "assistant", seed).read("logits", rows["id"])
        assert_allclose(kept, logits(job, "assistant", seed), atol=1e-5)
    assert len(list(Path(job.store, "signals").iterdir())) == 3
    facts = json.loads((folder(job, seed=1) / "training.json").read_text())
    assert facts["teacher_rows_asked"] == 40


def test_a_chain_run_again_does_nothing(make):
    job = trained(make(*CHAIN))
    before = {p: p.stat().st_mtime_ns for p in Path(job.store).rglob("*") if p.is_file()}
    again = make(*CHAIN)
    assert phases.teach(again).reused and phases.train(again, 0).reused
    assert {p: p.stat().st_mtime_ns for p in Path(job.store).rglob("*") if p.is_file()} == before


def test_another_assistant_is_another_student(make):
    """What a chain's link depends on is in its key: nothing of the old chain is served."""
    one, two = make(*CHAIN), make(CHAIN[0].replace("hidden = 6", "hidden = 4"), CHAIN[1])
    trained(one), trained(two)
    assert folder(one).name != folder(two).name and apart(weights(one), weights(two)) > 0


def test_a_phase_is_not_trained_before_whom_it_asks(make):
    job = make(*CHAIN)
    transfer_set(job, job.recipe.final)
    with pytest.raises(UserError, match="assistant: its model is not trained yet"):
        train_phase(job, job.recipe.final, 0)


def test_a_finished_chain_leaves_nothing_to_do(make):
    job = trained(make(*CHAIN))
    evaluate(job, 0)
    assert [step.what for step in plan(job) if step.todo] == []


def test_a_live_teacher_has_nothing_to_say_when_all_is_trained(make):
    job = trained(make(phase("student", 'teacher = "teacher"', 'model = { name = "bert", from = "teacher" }', QUICK,
                             'loss = [{ name = "hidden_mse" }]'), budget="0"))
    assert [step.todo for step in plan(job) if step.what == "ask teacher live"] == [False]


@pytest.mark.parametrize("said", ['preset = "sucik"', "layers = 1, width = 8, heads = 2, ffn = 8"])
def test_a_bert_that_was_trained_here_can_be_brought(make, said):
    """Its card says a shape, and so does its config.json."""
    model = f'model = {{ name = "bert", {said} }}'
    first = trained(make(phase("student", 'vocab = { name = "wordpieces", from = "teacher" }', model, STILL)))
    brought = phase("other", f'checkpoint = "{folder(first)}"')
    job = make(brought, phase("student", 'teacher = "other"', BILSTM, KD, STILL))
    assert shape_of(job.recipe, job.recipe.named("other")) == shape_of(first.recipe, first.recipe.final)


def test_the_precision_of_states_is_part_of_what_a_student_learned_from(make):
    student = phase("student", 'teacher = "teacher"', 'model = { name = "bert", from = "teacher" }', STILL,
                    'loss = [{ name = "pkd", layers = [2] }]')
    half, exact = make(student), make(student, overrides=['teacher.states="fp32"'])
    assert model_key(half, half.recipe.final, 0) != model_key(exact, exact.recipe.final, 0)


def test_a_large_encoder_makes_a_large_siamese():
    small, large = (Phase(name="s", model={"name": "siamese", "encoder": {"name": name}})
                    for name in ("bilstm", "bert"))
    assert is_small(small) and not is_small(large)
