"""The checks that constructors of tasks share."""

from collections.abc import Iterable
from numbers import Real


def number(name: str, value: float, low: float, high: float, unit: str = "", with_low: bool = False) -> float:
    """Return `value` as a float if it lies strictly between `low` and `high`, or is `low` where that is allowed.

    Raises:
        ValueError: it does not, or it is no number.
    """
    if not isinstance(value, Real) or not (low < value < high or (with_low and value == low)):
        raise ValueError(f"{name} must be a number in {'[' if with_low else '('}{low:g}, {high:g}){unit and ' ' + unit}, got {value!r}.")
    return float(value)


def refuse_rewards(names: Iterable[str]) -> None:
    """Refuse keywords of a robot that change its own reward alone, such as `ctrl_cost_weight`: the task pays another one instead.

    Raises:
        ValueError: there is one.
    """
    for name in names:
        if "reward" in name or "cost" in name:
            raise ValueError(f"{name} is of the robot's own reward, which this task does not pay; leave it out.")
