"""Generative models as parts of reinforcement learning.

===============  =====================================================================================================================
``rewards/``     the reward socket: models that score transitions, and the callback that plugs one into a learner
``encoders/``    the encoder socket: a pretrained image model turns observations into codes
``worlds/``      the environment socket: a learned model of a task, and learners that train in it
``policies/``    the data socket: cloning, demonstrations in batches, exploration noise
``models/``      the generative models themselves, torch only, one family a file
``data/``        demonstrations and images as arrays, from files
``sb3/``         all that touches Stable-Baselines3's insides
``runs/``        one training of a learner: configuration, directory, resume, and what a trained run is used for
``generation/``  `genrl generate`: one training of an image model, and what is measured of it
``studies/``     a matrix of runs, its statistics and its report
``cli/``         the `genrl` command
===============  =====================================================================================================================

``roles.py`` is the table of everything that is chosen by a name. The other files beside it are what all folders stand on:
``transitions.py``, ``spaces.py``, ``errors.py``, ``reading.py``, ``arrays.py``, ``files.py``, ``generators.py``, ``lazy.py``.

Importing the package registers its tasks with Gymnasium as ``genrl/<Name>-v0``: at once if Gymnasium is imported already, else as soon as
it is. The package itself imports neither Gymnasium nor torch nor MuJoCo, so that ``genrl --help`` comes at once.
"""

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import :func:`genrl.load` when it is first used (PEP 562): it needs torch."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("genrl.runs.uses.load").load


class _RegisterWithGymnasium(MetaPathFinder):
    """Lets the first import of Gymnasium end with the registration of the tasks; Gymnasium 1 has no entry point for that."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "gymnasium":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                sys.meta_path.remove(self)
                importlib.import_module("genrl_envs")

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


if "gymnasium" in sys.modules:
    importlib.import_module("genrl_envs")
else:
    sys.meta_path.insert(0, _RegisterWithGymnasium())
