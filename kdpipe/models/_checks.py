"""What every model says of constructor arguments that cannot be: all faults in one UserError."""

from collections.abc import Iterable

from kdpipe.errors import UserError, did_you_mean


def check(model: str, at_least_one: dict[str, object], shares: dict[str, object]) -> None:
    """Whole numbers from 1 to what any machine could hold, and numbers in [0, 1); raises UserError with every fault."""
    faults = [f"{model}: {name} = {value!r}; allowed: a whole number of 1 to {most(name)}"
              for name, value in at_least_one.items() if type(value) is not int or not 1 <= value <= most(name)]
    faults += [f"{model}: {name} = {value!r}; allowed: a number from 0 to below 1"
               for name, value in shares.items() if type(value) not in (int, float) or not 0 <= value < 1]
    if faults:
        raise UserError(faults)


def most(name: str) -> int:
    """The largest number of layers or of anything else that a network may have."""
    return 1_000 if name == "layers" else 1_000_000


def one_of(model: str, name: str, value: object, allowed: Iterable[str]) -> None:
    """Raises UserError unless the value is one of these words."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise UserError(f"{model}: {name} = {value!r}{did_you_mean(str(value), allowed)}")
