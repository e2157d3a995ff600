"""From a name on the command line to a class: by import, there is no registry."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from genrl.errors import RunError, did_you_mean

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from genrl.rewards import RewardModel

__all__ = ["learner_class", "reward_class"]

_PAPER_NAMES = {"re3": "StateEntropy"}
"""Names of methods that their class does not carry."""


def learner_class(name: str) -> type[BaseAlgorithm]:
    """The learner called ``name``: a class of stable-baselines3 or sb3-contrib in any case, or ``module:Class``.

    Raises:
        RunError: no such learner.
    """
    import sb3_contrib
    import stable_baselines3
    from stable_baselines3.common.base_class import BaseAlgorithm

    if ":" in name:
        return _imported(name, BaseAlgorithm, "learner")
    known = {key.lower(): value for module in (stable_baselines3, sb3_contrib) for key, value in _classes(module, BaseAlgorithm).items()}
    key = re.sub(r"[-_]", "", name.lower())
    if key not in known:
        raise RunError(f"there is no learner {name!r}{did_you_mean(key, known) or f'; choose one of {_listed(known)}, or module:Class'}")
    return known[key]


def reward_class(name: str) -> type[RewardModel] | None:
    """The reward called ``name``: a class of genrl.rewards in kebab case (or its last words, if only one ends so), or ``module:Class``.

    ``none`` is ``None``.

    Raises:
        RunError: no such reward.
    """
    if name.lower() == "none":
        return None
    from genrl import rewards
    from genrl.rewards.base import RewardModel

    if ":" in name:
        return _imported(name, RewardModel, "reward")
    bases = (RewardModel, rewards.AdversarialReward)
    classes = {key: value for key, value in _classes(rewards, RewardModel).items() if value not in bases}
    known: Mapping[str, type[RewardModel]] = {_kebab(key): value for key, value in classes.items()}
    key = _PAPER_NAMES.get(name.lower(), name)
    key = _kebab(key) if key in classes else key.lower().replace("_", "-")
    endings = [full for full in known if full == key or full.replace("-", "") == key.replace("-", "") or full.endswith(f"-{key}")]
    if len(endings) != 1:
        choices = f"; choose none, {_listed(known)}, or module:Class for your own RewardModel"
        raise RunError(f"there is no reward {name!r}{did_you_mean(key, known) or choices}")
    return known[endings[0]]


def _classes(module: ModuleType, base: type) -> dict[str, Any]:
    return {name: value for name in module.__all__ if inspect.isclass(value := getattr(module, name)) and issubclass(value, base)}


def _imported(name: str, base: type, role: str) -> Any:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        advice = f"run genrl from the folder that holds {module_name}"
        raise RunError(f"the {role} {name!r} could not be imported ({error}); {advice}") from error
    value = getattr(module, class_name, None)
    if value is None:
        raise RunError(f"module {module_name} has no {class_name!r}{did_you_mean(class_name, dir(module))}")
    if not (inspect.isclass(value) and issubclass(value, base)):
        raise RunError(f"the {role} {name!r} is not a subclass of {base.__module__}.{base.__qualname__}")
    return value


def _kebab(name: str) -> str:
    """``PredictionError`` → ``prediction-error``, ``SimHashCounts`` → ``sim-hash-counts``, ``VIME`` → ``vime``, ``GAIfO`` → ``gaifo``."""
    name = name.replace("GAIfO", "Gaifo")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))
