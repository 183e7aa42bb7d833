"""What an ensemble refuses; what it answers is tested where its members are trained (tests/test_start.py)."""

import pytest

from kdpipe.errors import UserError
from kdpipe.models.ensemble import Ensemble


@pytest.mark.parametrize("members", ["bilstm", [3], ["bilstm", "bilstm"], [{"name": "bilstm"}, 3]])
def test_members_are_tables(members):
    with pytest.raises(UserError, match=r"ensemble -> members: found .*; allowed: tables, \[\{ name = \"bilstm\" \}"):
        Ensemble(9, 2, members=members)


def test_all_faults_of_members_at_once():
    with pytest.raises(UserError) as said:
        Ensemble(9, 2, members=[{"name": "bilstn"}, {"name": "static", "widht": 3}])
    assert len(said.value.faults) == 2 and "did you mean 'bilstm'?" in said.value.faults[0]
