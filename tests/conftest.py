"""One torch thread, since the nets are tiny and the tests may share the machine; shapes of tensors are checked."""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium.utils.seeding
import jaxtyping
import numpy as np
import pytest
import torch
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

torch.set_num_threads(1)

# A graphics driver, loaded by whichever test first needs one, would keep its shaders in the folder that this test calls its cache.
os.environ["MESA_SHADER_CACHE_DISABLE"] = "true"

# `from tests.rewards.clock import …` also when pytest is started as a command, which does not put the working directory on the path.
if (root := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.insert(0, root)

CHECKED = ["genrl.models", "genrl.rewards"]
"""Packages whose annotations are checked at every call while tests run, with the shapes of tensors."""


def check(function: Any) -> Any:
    """``function`` with checked annotations; a whole number is a float, too. What beartype can't check, such as Self, stays as it is."""
    try:
        return beartype(function, conf=BeartypeConf(is_pep484_tower=True))
    except BeartypeDecorHintException:
        return function


checker = ModuleType("checker_of_annotations")  # the hook takes a name that can be imported
checker.check = check  # type: ignore[attr-defined]
sys.modules[checker.__name__] = checker
jaxtyping.install_import_hook(CHECKED, f"{checker.__name__}.check")


@pytest.fixture(autouse=True)
def _refusals_are_the_functions_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside ``pytest.raises`` annotations are not checked: a wrong shape there is on purpose, and the function itself must refuse it."""
    enter, leave = pytest.RaisesExc.__enter__, pytest.RaisesExc.__exit__

    def unchecked(self: Any) -> Any:
        jaxtyping.config.update("jaxtyping_disable", True)
        return enter(self)

    def checked_again(self: Any, *error: Any) -> Any:
        jaxtyping.config.update("jaxtyping_disable", False)
        return leave(self, *error)

    monkeypatch.setattr(pytest.RaisesExc, "__enter__", unchecked)
    monkeypatch.setattr(pytest.RaisesExc, "__exit__", checked_again)


@pytest.fixture(autouse=True)
def _every_test_draws_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ran before: generators of the process start anew, and a space or task that nobody seeds has the seed 0."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what other libraries draw from
    torch.manual_seed(0)
    seeded = gymnasium.utils.seeding.np_random
    monkeypatch.setattr(gymnasium.utils.seeding, "np_random", lambda seed=None: seeded(0 if seed is None else seed))


@pytest.fixture(autouse=True)
def _python_looks_in_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test before called keeps the current folder from its children's import path; those of this test need it."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


@pytest.fixture
def unchecked_annotations() -> Iterator[None]:
    """Annotations are not checked: the checker looks at items of lists that it draws with Python's own generator."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data beside the checkout; where there is none, the tests that need it skip."""
    path = Path(os.environ.get("GENRL_SHARED", Path(__file__).parents[2] / "shared"))
    if not path.is_dir():
        pytest.skip("the reference data (../shared) is not here; set GENRL_SHARED to its folder")
    return path


@pytest.fixture
def double() -> Iterator[None]:
    """Float64 by default, and the same draws in every test: laws are tested in double precision."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
