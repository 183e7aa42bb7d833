"""TeacherLabel by hand and beside its kin."""

import math

import torch
from torch.testing import assert_close

from kdpipe.objectives.hard import Hard
from kdpipe.objectives.soft_ce import SoftCrossEntropy
from kdpipe.objectives.teacher_label import TeacherLabel
from kdpipe.types import Batch, Outputs


def test_cross_entropy_with_the_class_that_the_teacher_names():
    """The student gives 3/4 to the class that the teacher holds for the likelier, by however little."""
    student, teacher = Outputs(torch.tensor([[0.0, math.log(3)]])), Outputs(torch.tensor([[0.0, 0.01]]))
    assert_close(TeacherLabel()(student, teacher, None, 0.0), torch.tensor([math.log(4 / 3)]))


def test_a_teacher_that_is_right_teaches_labels_and_one_that_is_sure_soft_labels():
    draw = torch.Generator().manual_seed(0)
    student, gold = Outputs(torch.randn(6, 3, generator=draw)), torch.randint(3, (6,), generator=draw)
    sure = Outputs(100 * torch.nn.functional.one_hot(gold, 3).float())
    batch = Batch((), gold.float(), torch.ones(6, dtype=torch.bool), torch.arange(6))
    found = TeacherLabel()(student, sure, batch, 0.0)
    assert_close(found, Hard()(student, None, batch, 0.0))
    assert_close(found, SoftCrossEntropy()(student, sure, batch, 0.0))
