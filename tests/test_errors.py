"""One way to refuse: who needs what, what was given, what to type."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrl.errors import at_least, positive, require


class Walker:
    def __init__(self, steps: int = 8, sizes: tuple[int, ...] = (4, 4), *, name: str) -> None:
        require(Walker, *at_least(2, steps=steps), *positive(sizes=sizes), ("name", name, bool(name), "some text"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 1}, "Walker needs steps to be at least 2, but was given 1; type steps=8 for the default"),
        ({"sizes": (4, 0)}, "Walker needs sizes to be above 0 and finite, but was given (4, 0); type sizes=(4, 4) for the default"),
        ({"sizes": ("4",)}, "Walker needs sizes to be above 0 and finite, but was given ('4',); type sizes=(4, 4) for the default"),
        ({"name": ""}, "Walker needs name to be some text, but was given ''"),
    ],
)
def test_a_refusal_says_who_needs_what_and_the_default_as_one_types_it(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Walker(**{"name": "a", **given})  # type: ignore[arg-type]


@given(st.floats() | st.integers())
def test_positive_takes_what_is_above_zero_and_finite_and_nothing_else(value: float) -> None:
    [(name, given_value, fine, _)] = positive(size=value)
    assert (name, given_value) == ("size", value) or value != value
    assert fine == (0 < value < float("inf"))


@given(st.floats() | st.integers(), st.integers(-5, 5))
def test_at_least_takes_its_bound_and_what_is_above(value: float, least: int) -> None:
    [(_, _, fine, needed)] = at_least(least, size=value)
    assert fine == (least <= value < float("inf"))
    assert ("finite" in needed) == isinstance(value, float)
