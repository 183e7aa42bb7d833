"""What every objective of the room must keep: found by the folder, so a new file is tested without a line here."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from kdpipe import catalog
from kdpipe.errors import UserError
from kdpipe.types import Batch, Outputs, Shape

NAMES = catalog.names("objectives")
PARTS = {f.name for f in dataclasses.fields(Outputs)}
B, N, A, E = 6, 5, 2, 3
MASK = torch.arange(N) < torch.tensor([5, 2, 3, 5, 1, 4])[:, None]
LAYERED = [name for name in NAMES if "layers" in catalog.arguments(catalog.find("objectives", name))]


def cases(name):
    """Classes and scores where an objective reads logits, a teacher wider than the student where it reads states."""
    objective = catalog.find("objectives", name)()
    kinds = sorted(objective.kinds) if "logits" in objective.reads else ["classification"]
    widths = ["equal", "wider"] if objective.reads - {"logits"} else ["equal"]
    return [(name, kind, width) for kind in kinds for width in widths]


every_objective = pytest.mark.parametrize("name, kind, width", [case for name in NAMES for case in cases(name)])


def shapes(kind, width):
    """A student of 2 layers x 4 and a teacher of 4 layers x 6 or x 4."""
    parts, C = frozenset(PARTS - {"mask"}), 3 if kind == "classification" else 1
    return Shape(2, 4, E, C, parts, A, 5), Shape(4, 4 if width == "equal" else 6, E, C, parts, A, 7)


def leaves(shape, draw):
    """Every part of Outputs that a network of this shape can say, at random in float64."""
    def normal(*size):
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    layers, widths = range(shape.layers + 1), [shape.embedding] + [shape.width] * shape.layers
    return Outputs(
        normal(B, shape.outputs), {i: normal(B, widths[i]) for i in layers if i},
        {i: normal(B, N, widths[i]) for i in layers}, {i: normal(B, A, N, N) for i in layers if i}, MASK,
        {i: normal(B, shape.ffn) > 0 for i in layers if i}, normal(B, N, E), normal(B, N), normal(B, N, E))


def sides(kind, width, seed=0):
    """Parts of student and teacher, and a batch whose rows 1 and 4 have no label."""
    draw = torch.Generator().manual_seed(seed)
    ours, theirs = (leaves(shape, draw) for shape in shapes(kind, width))
    labels = torch.tensor([0.0, 0, 1, 2, 0, 1]) if kind == "classification" else torch.linspace(0, 5, B)
    has_label = torch.tensor([True, False, True, True, False, True])
    return ours, theirs, Batch((), labels, has_label, torch.arange(B))


def answer(ours):
    """A student's parts -> its outputs: part of its logits comes from its token vectors, as in a network."""
    vectors = ours.vectors.requires_grad_()
    slopes = torch.linspace(-1, 1, E * ours.logits.shape[-1]).reshape(E, -1).to(vectors)
    said = torch.tanh(vectors.masked_fill(~ours.mask[..., None], 0) @ slopes).sum(1)
    return dataclasses.replace(ours, logits=ours.logits + said)


def made(name, kind, width, seed=0):
    """An objective of the arguments by default, between the two networks."""
    torch.manual_seed(seed)
    objective = catalog.find("objectives", name)()
    objective.bind(*shapes(kind, width))
    return objective.double()


def changed(side, change, parts=PARTS):
    """The same side with each tensor of some parts changed: change(name of the part, tensor)."""
    def new(part, value):
        if value is None or part not in parts:
            return value
        return {i: change(part, t) for i, t in value.items()} if isinstance(value, dict) else change(part, value)

    return Outputs(**{f.name: new(f.name, getattr(side, f.name)) for f in dataclasses.fields(side)})


def tensors(side, parts=PARTS):
    """The tensors of numbers of some parts."""
    found = []
    changed(side, lambda _, t: found.append(t) or t, parts)
    return [t for t in found if t.is_floating_point()]


def rows_of(side, rows):
    return changed(side, lambda _, t: t[rows])


def cropped(side, row, n):
    """One row, padded to n tokens."""
    def crop(part, tensor):
        tensor = tensor[[row]]
        if part == "attention":
            return tensor[..., :n, :n]
        return tensor[:, :n] if part in ("hidden", "mask", "gradient", "saliency", "vectors") else tensor

    return changed(side, crop)


def batch_of(batch, rows):
    return Batch((), batch.labels[rows], batch.has_label[rows], batch.rows[rows])


@every_objective
def test_it_says_what_it_reads_of_either_side(name, kind, width):
    objective = made(name, kind, width)
    assert objective.needs <= PARTS - {"mask", "vectors"} and objective.reads <= PARTS - {"mask"}
    assert set(objective.layers) == objective.needs & {"hidden", "attention"}
    for part, layers in objective.layers.items():
        assert layers and set(layers) <= set(range(0 if part == "hidden" else 1, 5))


@every_objective
def test_it_reads_nothing_else(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    objective = made(name, kind, width)
    whole = objective(answer(ours), theirs, batch, 0.5)
    said = {part: getattr(answer(ours), part) for part in {"logits", "mask"} | objective.reads}
    asked = {part: {i: t for i, t in getattr(theirs, part).items() if i in objective.layers.get(part, range(5))}
             if isinstance(getattr(theirs, part), dict) else getattr(theirs, part) for part in objective.needs}
    assert_close(objective(answer(ours) if "vectors" in objective.reads else Outputs(**said),
                           Outputs(**{"logits": None} | asked), batch, 0.5), whole, rtol=0, atol=0)


@every_objective
def test_one_finite_loss_for_each_example(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    losses = made(name, kind, width)(answer(ours), theirs, batch, 0.5)
    assert losses.shape == (B,) and losses.isfinite().all() and (losses >= 0).all()


@every_objective
def test_other_rows_of_the_batch_have_no_influence(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    objective = made(name, kind, width)
    together = objective(answer(ours), theirs, batch, 0.5)
    for rows in (torch.tensor([3]), torch.tensor([5, 0]), torch.arange(B).flip(0)):
        apart = objective(answer(rows_of(ours, rows)), rows_of(theirs, rows), batch_of(batch, rows), 0.5)
        assert_close(apart, together[rows], rtol=1e-13, atol=1e-14)


@every_objective
def test_the_longest_text_of_the_batch_has_no_influence(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    objective = made(name, kind, width)
    together = objective(answer(ours), theirs, batch, 0.5)
    for row, n in enumerate(MASK.sum(1)):
        alone = objective(answer(cropped(ours, row, n)), cropped(theirs, row, n), batch_of(batch, [row]), 0.5)
        assert_close(alone, together[[row]], rtol=1e-13, atol=1e-14)


@every_objective
@pytest.mark.parametrize("what", [1e3, float("nan")])
def test_padding_has_no_influence(name, kind, width, what):
    """Not on the losses, nor on the gradients of the student's parts and the objective's own parameters."""
    def padded(part, tensor):
        if part in ("hidden", "saliency", "gradient"):
            return tensor.masked_fill(~MASK if tensor.dim() == 2 else ~MASK[..., None], what)
        if part == "attention":
            return tensor.masked_fill(~(MASK[:, None, :, None] & MASK[:, None, None, :]), what)
        return tensor

    objective, found = made(name, kind, width), []
    for change in (lambda _, t: t, padded):
        ours, theirs, batch = sides(kind, width)
        ours, theirs = changed(ours, change), changed(theirs, change)
        wanted = [t.requires_grad_() for t in (*tensors(ours), *objective.parameters())]
        losses = objective(answer(ours), theirs, batch, 0.5)
        found.append((losses, torch.autograd.grad(losses.sum(), wanted, allow_unused=True)))
    assert_close(found[1], found[0], rtol=1e-13, atol=1e-14)


@every_objective
def test_gradients_are_those_of_the_loss(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    rows = torch.tensor([2, 4])
    ours, theirs, batch = rows_of(ours, rows), rows_of(theirs, rows), batch_of(batch, rows)
    objective = made(name, kind, width)

    def loss(*_):  # gradcheck moves the numbers of its arguments in place
        return objective(answer(ours), theirs, batch, 0.5)

    parts = tensors(ours, objective.reads | {"logits", "vectors"})
    assert torch.autograd.gradcheck(loss, [t.requires_grad_() for t in (*parts, *objective.parameters())])


@every_objective
def test_the_teacher_gets_no_gradient(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    parts = [t.requires_grad_() for t in tensors(theirs)]
    ours.logits.requires_grad_()
    losses = made(name, kind, width)(answer(ours), theirs, batch, 0.5)
    if losses.requires_grad:
        losses.sum().backward()
    assert all(t.grad is None for t in parts)


@every_objective
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_before_the_loss(name, kind, width, dtype):
    """The loss of rounded outputs is that of the same numbers in 32 bits."""
    def to(dtype, side):
        return changed(side, lambda _, t: t.to(dtype) if t.is_floating_point() else t, PARTS - {"vectors"})

    ours, theirs, batch = sides(kind, width)
    half = to(dtype, answer(ours)), to(dtype, theirs)
    objective = made(name, kind, width).float()
    found = objective(*half, batch, 0.5)
    assert found.dtype in (torch.float32, torch.float64)
    assert_close(found, objective(*(to(torch.float32, side) for side in half), batch, 0.5), rtol=0, atol=0)


@every_objective
def test_one_seed_makes_the_same_parameters(name, kind, width):
    first, again, other = (made(name, kind, width, seed).state_dict() for seed in (0, 0, 1))
    assert_close(again, first, rtol=0, atol=0)
    assert all(not t.equal(other[key]) for key, t in first.items())


@every_objective
def test_its_state_can_be_kept(name, kind, width):
    ours, theirs, batch = sides(kind, width)
    first, other = made(name, kind, width, seed=0), made(name, kind, width, seed=1)
    other.load_state_dict(first.state_dict())
    assert_close(other(answer(ours), theirs, batch, 0.5), first(answer(ours), theirs, batch, 0.5), rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYERED)
def test_all_that_is_wrong_with_a_layer_map_is_said(name):
    objective = catalog.find("objectives", name)(layers=[[1, 9], [7, 2], [1, 1]])
    with pytest.raises(UserError) as refused:
        objective.bind(*shapes("classification", "equal"))
    here = f"{name}: layers = [[1, 9], [7, 2], [1, 1]]: "
    expected = ("the student has no layer 7; it has ", "the teacher has no layer 9; it has ",
                "the student's layer 1 is named 2 times")
    assert len(refused.value.faults) == 3
    for fault, words in zip(refused.value.faults, expected, strict=True):
        assert fault.startswith(here + words)


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("layers", ["skpi", [], 3, [1, [2, 3]], [[1, 2, 3]], [1.5], [True]])
def test_what_cannot_be_a_layer_map_is_refused_at_once(name, layers):
    with pytest.raises(UserError, match=f"^{name}: layers = "):
        catalog.find("objectives", name)(layers=layers)
