"""The one exception that a user may see: what is wrong, where, and what to do about it."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a condition that the user can mend. The command line prints it and exits with code 2.

    faults: one message or several; all that were found are reported together.
    """

    def __init__(self, faults: str | Iterable[str]):
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'pkd'?" for a near miss, else the list of what is allowed."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; allowed: {', '.join(known) or 'nothing'}"
