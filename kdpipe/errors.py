"""The one exception that a user may see: what is wrong, where, and what to do about it."""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake or a condition that the user can mend. The command line prints it and exits with code 2.

    faults: one message or several; all that were found are reported together.
    """

    def __init__(self, faults: str | Iterable[str]):
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


_NAMED = 60  # at most in a message: all recipes and views have room


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'pkd'?" for a near miss, else the list of what is allowed."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return f"; allowed: {', '.join(known[:_NAMED]) or 'nothing'}{more}"


_NO_MEMORY = ("allocate memory", "out of memory", "not enough memory", "bad_alloc", "can't start new thread")


@contextmanager
def memory_said_plainly(what: str) -> Iterator[None]:
    """Turns every library's way of saying that memory ran out into one clear message; a decorator, too."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as e:  # PyTorch says it with a RuntimeError, mmap with an OSError
        if not is_lack_of_memory(e):
            raise
        reason = str(e).strip().split("\n")[0][:200]
        raise UserError(
            f"{what}: out of memory{f' ({reason})' if reason else ''}; what is stored is whole; take a smaller model, "
            "batch or max_length, or a larger machine, then run again: it goes on where it was"
        ) from e


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error of any library says that there is no memory left."""
    killed = type(error).__name__ == "TerminatedWorkerError"  # of joblib: the system ended a worker
    said = any(words in str(error).lower() for words in _NO_MEMORY)
    return isinstance(error, MemoryError) or killed or said or getattr(error, "errno", None) == errno.ENOMEM
