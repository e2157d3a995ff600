"""Hyperparameters of rl_zoo3, the training scripts of Stable-Baselines3, as a configuration: read, never evaluated."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from genrl.errors import RunError, did_you_mean, extra, one_line
from genrl.roles import LEARNERS, plain_name, without_module
from genrl.runs.config.run import RunConfig

__all__ = ["read_zoo"]

LEARNER_OF_FILE = {"ppo_lstm": "recurrentppo"}
"""Files of rl_zoo3 whose name is not that of a learner here."""
NAMES = {"n_timesteps": "steps", "n_envs": "n_envs", "policy": "policy", "env_kwargs": "env_kwargs", "frame_stack": "history"}
"""What has another name, or the same, in a run's configuration."""
ACTIVATIONS = ("tanh", "relu", "elu", "silu")
ALIASES, MERGED, LONGEST = 1000, 1000, 2000
"""Aliases in a YAML file, keys of a table after merging, and letters of a ``dict(...)``, at most."""


def read_zoo(text: str, name: str, kind: type[RunConfig], typed: Mapping[str, str]) -> dict[str, Any]:
    """The entry of one task, by the names of a configuration.

    ``normalize``, ``n_timesteps``, ``n_envs``, ``frame_stack``, ``policy_kwargs`` and ``noise_type`` become genrl's flags, ``lin_X`` stays
    as it is, and every other key is the learner's own.

    Args:
        text: the file; its keys are tasks.
        name: of the file without its ending, which in rl_zoo3 is the learner's.
        kind: of the run.
        typed: what the command line says of the task and the parts.

    Raises:
        RunError: PyYAML is not installed, the file is no such YAML, it has no such task, or the task's entry says what genrl can't.

    Example:
        >>> from genrl.runs.config.run import ExploreConfig
        >>> text = "Pendulum-v1: {n_timesteps: 2e4, normalize: true, learning_rate: lin_0.001, policy_kwargs: 'dict(net_arch=[64, 64])'}"
        >>> values = read_zoo(text, "ppo", ExploreConfig, {})
        >>> values["steps"], values["normalize_obs"], values["learner_kwargs"]
        (20000, True, {'learning_rate': 'lin_0.001', 'net_arch': [64, 64]})
    """
    tasks = _yaml(text)
    env = _task(tasks, typed.get("env"))
    values: dict[str, Any] = {"env": typed.get("env", env), "learner": _learner(name, typed.get("learner"))}
    kwargs: dict[str, Any] = {}
    for key, value in tasks[env].items():
        if key in TRANSLATED:
            fields, keywords = TRANSLATED[key](value)
            values |= fields
            kwargs |= keywords
        elif key in NAMES:
            values[NAMES[key]] = _whole(value)
        else:
            kwargs[key] = _number(value)
    if "noise_std" in kwargs:
        noise = kwargs.pop("noise_std")
        kwargs |= {"action_noise": noise} if kwargs.get("action_noise") is not None else {}
    return values | {"learner_kwargs": kwargs}


def _task(tasks: Mapping[str, Any], asked: str | None) -> str:
    """The entry for ``asked``, or for another version of the same task."""
    if asked is None:
        if len(tasks) != 1:
            raise RunError(f"it has {len(tasks)} tasks, such as {next(iter(tasks), 'none')}; say which by --env")
        return next(iter(tasks))
    asked = without_module(asked)
    found = [task for task in tasks if _plain(task) == _plain(asked)]
    if not found:
        choices = f", but {len(tasks)}, such as {next(iter(tasks), 'none')}; choose another one by --env"
        raise RunError(f"it has no task {asked}{did_you_mean(asked, tasks) or choices}")
    if asked not in found:
        warnings.warn(f"the hyperparameters are those of {found[-1]}; there are none of {asked}", stacklevel=2)
    return asked if asked in found else found[-1]


def _learner(name: str, asked: str | None) -> str:
    """The learner of a file called ``name``, or else what is asked for."""
    name = LEARNER_OF_FILE.get(name, name)
    known = {plain_name(word) for part in LEARNERS.parts for word in (part.name, *part.also)}
    if plain_name(name) in known:
        return name
    if asked is None:
        raise RunError("its name is no learner's, such as ppo.yml; say which by --learner")
    return asked


def _plain(task: str) -> str:
    return re.sub(r"-v\d+$", "", task)


def _normalize(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    given = _literal(value, "normalize")
    if isinstance(given, bool):
        given = {"norm_obs": given, "norm_reward": given}
    if (
        not isinstance(given, dict)
        or not given.keys() <= {"norm_obs", "norm_reward"}
        or not all(isinstance(x, bool) for x in given.values())
    ):
        raise RunError(f"normalize is {value!r}, but genrl can only say norm_obs and norm_reward, each true or false")
    return {"normalize_obs": given.get("norm_obs", True), "normalize_reward": given.get("norm_reward", True)}, {}


def _policy(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    given = _literal(value, "policy_kwargs")
    if not isinstance(given, dict):
        raise RunError(f"policy_kwargs is {value!r}, which is no dict(...)")
    found: dict[str, Any] = {}
    for name, item in given.items():
        if name == "net_arch":
            found[name] = _layers(item)
        elif name == "activation_fn":
            found["activation"] = str(item).removeprefix("nn.").lower()
            if found["activation"] not in ACTIVATIONS:
                raise RunError(f"activation_fn is {item}, but genrl has nn.Tanh, nn.ReLU, nn.ELU and nn.SiLU; take it out of the file")
        elif name in ("log_std_init", "ortho_init"):
            found[name] = item
        else:
            raise RunError(f"policy_kwargs has {name}, which genrl has no flag for; take it out of the file")
    return {}, found


def _layers(value: Any) -> list[int]:
    """Widths that the policy and the value share, also in the older form, ``[dict(pi=..., vf=...)]``."""
    value = value[0] if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) else value
    if isinstance(value, dict) and set(value) in ({"pi", "vf"}, {"pi", "qf"}) and len({str(item) for item in value.values()}) == 1:
        value = value["pi"]
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise RunError(f"net_arch is {value!r}, but genrl has one list of widths, for the policy and for the value; make them the same")
    return value


def _noise(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    if value not in ("normal", None):
        raise RunError(
            f"noise_type is {value!r}, but genrl has normal alone; for correlated noise type --noise pink, and take it out of the file"
        )
    return {}, {"action_noise": value}


def _refused(key: str, instead: str) -> Callable[[Any], tuple[dict[str, Any], dict[str, Any]]]:
    def refuse(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if value:
            raise RunError(f"it has {key}, which names code to be run; {instead}, and take it out of the file")
        return {}, {}

    return refuse


_WRAP = "register a task of your own that is wrapped so"
TRANSLATED: dict[str, Callable[[Any], tuple[dict[str, Any], dict[str, Any]]]] = {
    "normalize": _normalize,
    "policy_kwargs": _policy,
    "noise_type": _noise,
    "env_wrapper": _refused("env_wrapper", _WRAP),
    "vec_env_wrapper": _refused("vec_env_wrapper", _WRAP),
    "callback": _refused("callback", "genrl has none"),
    "replay_buffer_class": _refused("replay_buffer_class", "genrl has the learner's own replay buffer alone"),
}
"""What needs more than another name: fields of the configuration, and keywords of the learner."""


def _whole(value: Any) -> Any:
    """A number of steps may be written ``!!float 1e6``, or ``1e6``, which YAML takes for a word."""
    value = _number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: Any) -> Any:
    """A number that YAML takes for a word, such as ``3e-4``."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
        return float(value)
    return value


def _literal(value: Any, key: str) -> Any:
    """What a ``dict(...)`` in a string says, if it holds plain values and ``nn.Name`` alone. It is parsed, never evaluated."""
    if not isinstance(value, str):
        return value
    try:
        if len(value) > LONGEST:
            raise ValueError("it is too long")
        return _plain_value(ast.parse(value.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RunError(f"{key} holds code, which genrl never runs ({one_line(error)}); write it as dict(net_arch=[64, 64])") from error


def _plain_value(node: ast.expr | None) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(value, bool):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_plain_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return _pairs((_plain_value(key), value) for key, value in zip(keys, values, strict=True))
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=words):
            return _pairs((word.arg, word.value) for word in words)
        case ast.Attribute(value=ast.Name(id="nn"), attr=name):
            return f"nn.{name}"
    raise ValueError("it has more than numbers, words, lists, dict(...) and nn.Name")


def _pairs(items: Iterable[tuple[Any, ast.expr]]) -> dict[str, Any]:
    found = {key: _plain_value(value) for key, value in items}
    if not all(isinstance(key, str) for key in found):
        raise ValueError("it has keys that are no words")
    return found


def _yaml(text: str) -> dict[str, dict[str, Any]]:
    """Tasks and their entries; a file whose aliases would unfold to more than it holds is refused."""
    yaml = extra("yaml", "zoo", "a YAML file")

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined]
        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            if len(node.value) > MERGED:
                raise yaml.YAMLError("its tables are merged into too large ones")

    try:
        if text.count("*") > ALIASES:
            raise yaml.YAMLError("it has too many aliases")
        content = yaml.load(text, Loader)  # a SafeLoader: plain values alone
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RunError(f"it is not plain YAML ({one_line(error)[:200]})") from error
    if not isinstance(content, dict) or not all(isinstance(entry, dict) and isinstance(task, str) for task, entry in content.items()):
        raise RunError("it is no table of tasks with a table of hyperparameters each, as rl_zoo3 has them")
    if any(not isinstance(key, str) or not _is_small(value) for entry in content.values() for key, value in entry.items()):
        raise RunError("it holds larger values than hyperparameters have")
    return content


def _is_small(value: Any) -> bool:
    """Whether ``value`` unfolds to few plain values; one that holds itself unfolds for ever."""
    left, stack = LONGEST, [value]
    while stack and left:
        left -= 1
        item = stack.pop()
        if isinstance(item, list | tuple | set | dict):
            stack += list(item.values() if isinstance(item, dict) else item)[: left + 1]
    return not stack
