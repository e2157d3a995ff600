"""The one check that every constructor of a task needs."""

from numbers import Real


def number(name: str, value: float, low: float, high: float, unit: str = "") -> float:
    """Return `value` as a float if it lies strictly between `low` and `high`.

    Raises:
        ValueError: it does not, or it is no number.
    """
    if not isinstance(value, Real) or not low < value < high:
        raise ValueError(f"{name} must be a number in ({low:g}, {high:g}){unit and ' ' + unit}, got {value!r}.")
    return float(value)
