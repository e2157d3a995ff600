"""One torch thread: the nets are tiny, and the tests may share the machine."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

# `from tests.rewards.clock import …` also when pytest is started as a command, which does not put the working directory on the path.
if (root := str(Path(__file__).parents[1])) not in sys.path:
    sys.path.insert(0, root)


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
