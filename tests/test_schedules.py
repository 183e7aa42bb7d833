"""Schedules at points a reader can work out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.errors import UserError
from kdpipe.schedules import as_schedule, rate_factor

SHARES = st.floats(0, 1)


@pytest.mark.parametrize("value, points", [
    (0.5, {0: 0.5, 0.3: 0.5, 1: 0.5}),
    ({"linear": [0.1, 1.0]}, {0: 0.1, 0.5: 0.55, 1: 1.0}),
    ({"cosine": [1, 0]}, {0: 1.0, 1 / 3: 0.75, 0.5: 0.5, 1: 0.0}),
    ({"steps": [[0.0, 3], [0.5, 7]]}, {0: 3.0, 0.49: 3.0, 0.5: 7.0, 1: 7.0}),
    ({"join": [[0.0, {"linear": [0, 1]}], [0.2, 2], [0.6, {"linear": [10, 20]}]]},
     {0: 0.0, 0.1: 0.5, 0.2: 2.0, 0.6: 10.0, 0.8: 15.0, 1: 20.0}),
])
def test_values(value, points):
    schedule = as_schedule(value)
    assert {p: schedule(p) for p in points} == pytest.approx(points)


def test_a_schedule_passes_through():
    schedule = as_schedule({"linear": [0, 1]})
    assert as_schedule(schedule) is schedule


@given(a=st.floats(-5, 5), b=st.floats(-5, 5), progress=SHARES)
def test_lines_and_cosines_stay_between_their_ends(a, b, progress):
    for name in ("linear", "cosine"):
        assert min(a, b) - 1e-9 <= as_schedule({name: [a, b]})(progress) <= max(a, b) + 1e-9


@pytest.mark.parametrize("name, points", [
    ("constant", {0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 1.0, 1: 1.0}),
    ("linear", {0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 1: 0.0}),
    ("cosine", {0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.6: 0.5, 1: 0.0}),
])
def test_rates_with_warm_up(name, points):
    factor = rate_factor(name, warmup=0.2)
    assert {p: factor(p) for p in points} == pytest.approx(points)


@given(name=st.sampled_from(["constant", "linear", "cosine"]), warmup=st.floats(0, 0.99), progress=SHARES)
def test_a_rate_factor_is_a_share(name, warmup, progress):
    assert -1e-9 <= rate_factor(name, warmup)(progress) <= 1 + 1e-9


@pytest.mark.parametrize("value, said", [
    ("fast", "allowed: a number, or one of { linear"),
    (True, "allowed: a number"),
    (float("nan"), "allowed: a number"),
    ({"linear": [0, 1], "cosine": [0, 1]}, "allowed: a number, or one of"),
    ({"liner": [0, 1]}, "no schedule 'liner'; did you mean 'linear'"),
    ({"linear": [0]}, "allowed: two numbers"),
    ({"linear": ["a", 1]}, "allowed: two numbers"),
    ({"cosine": 3}, "allowed: two numbers"),
    ({"steps": []}, "shares begin at 0, rise"),
    ({"steps": [[0.1, 1]]}, "shares begin at 0, rise"),
    ({"steps": [[0.0, 1], [0.5, 2], [0.5, 3]]}, "shares begin at 0, rise"),
    ({"steps": [[0.0, 1], [1.0, 2]]}, "stay below 1"),
    ({"steps": [[0.0, "a"]]}, "'a' is not a number"),
    ({"join": [[0.0, {"liner": [0, 1]}]]}, "did you mean 'linear'"),
])
def test_bad_schedules_say_what_is_allowed(value, said):
    with pytest.raises(UserError) as e:
        as_schedule(value)
    assert said in str(e.value)


def test_bad_rates_are_all_named():
    with pytest.raises(UserError) as e:
        rate_factor("linaer", warmup=1.0)
    assert len(e.value.faults) == 2 and "did you mean 'linear'?" in e.value.faults[0]
