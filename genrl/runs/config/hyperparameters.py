"""The hyperparameters of a learner, a reward or a model, read off its constructor: name, type, default and help."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from genrl.errors import RunError, did_you_mean, flag_of
from genrl.runs.config.base import fits, in_words

__all__ = ["SCHEDULE", "Hyperparameter", "check_kwargs", "helps", "hyperparameters", "resolve_kwargs"]

_NOT_HYPERPARAMETERS = {"self", "policy", "env", "seed", "device", "verbose", "tensorboard_log", "observation_space", "action_space"}
_NOT_HYPERPARAMETERS |= {"demonstrations", "held_out", "reward"}
# Of a model: these come from the images, from --levels, or from its recipe.
_NOT_HYPERPARAMETERS |= {"image_shape", "levels", "pixels", "n_classes", "vqvae", "frozen"}
_SIMPLE = (bool, int, float, str)
SCHEDULE = re.compile(r"lin_((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
"""A value that falls linearly to zero over the run, in rl_zoo3's word."""
_FALLS = "`lin_X` falls linearly from X to 0 over the run."


@dataclass(frozen=True)
class Hyperparameter:
    """One keyword of a constructor."""

    name: str
    type: Any
    """bool, int, float, str, a Literal, a tuple of them, or a union with None."""
    default: Any
    """The constructor's default; ``inspect.Parameter.empty`` if it has none."""
    help: str = ""
    scheduled: bool = False
    """Whether it may change over the run: a number, or ``lin_X``."""

    @property
    def required(self) -> bool:
        """Whether the constructor has no default for it."""
        return self.default is inspect.Parameter.empty


def hyperparameters(cls: type) -> dict[str, Hyperparameter]:
    """The keywords of ``cls`` that a command line can set; a learner also has ``net_arch`` and ``activation``, of its policy."""
    hints = _hints(cls)
    known = helps(cls)
    found = {}
    for parameter in inspect.signature(cls).parameters.values():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if variadic or parameter.name in _NOT_HYPERPARAMETERS or parameter.name.startswith("_"):
            continue
        hint = hints.get(parameter.name, type(parameter.default))
        kind, scheduled = _simple(hint), _is_scheduled(hint)
        if kind is not None:
            default = float(parameter.default) if kind is float and type(parameter.default) is int else parameter.default
            kind, text = (kind | str, f"{known.get(parameter.name, '')} {_FALLS}") if scheduled else (kind, known.get(parameter.name, ""))
            found[parameter.name] = Hyperparameter(parameter.name, kind, default, text, scheduled)
    return found | _of_policy(cls)


_ACTIVATION = Literal["tanh", "relu", "elu", "silu", "normed-relu"]

_POLICY = (
    Hyperparameter("log_std_init", float | None, None, "logarithm of the std of actions at the start; by default the policy's own"),
    Hyperparameter("ortho_init", bool | None, None, "begin with orthogonal weights; by default what the policy does"),
)
"""Keywords of a policy that a command line can set, where the policy has them."""


def _of_policy(cls: type) -> dict[str, Hyperparameter]:
    """Flags for what SB3 takes as objects: the policy's networks, and the action noise of TD3, DDPG, SAC, TQC and CrossQ."""
    names = inspect.signature(cls).parameters
    found = []
    if "policy_kwargs" in names:
        found += [
            Hyperparameter("net_arch", tuple[int, ...] | None, None, "hidden layers of the policy and of the value, such as 64 64"),
            Hyperparameter(
                "activation", _ACTIVATION | None, None, "activation of these networks; normed-relu has layer normalisation before it"
            ),
        ]
        policy = inspect.signature(getattr(cls, "policy_aliases", {}).get("MlpPolicy", object)).parameters
        found += [item for item in _POLICY if item.name in policy]
    if "action_noise" in names:
        found.append(
            Hyperparameter(
                "action_noise", float | None, None, "std of Gaussian noise on actions scaled to [-1, 1]; TD3 and DDPG have no other"
            )
        )
    return {item.name: item for item in found}


def resolve_kwargs(cls: type, given: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Every hyperparameter of ``cls`` with its value: as given, or the constructor's default.

    Raises:
        RunError: one that ``cls`` does not have, or one that it needs and was not given.
    """
    check_kwargs(cls, given, role)
    known = hyperparameters(cls)
    for name, item in known.items():
        if item.required and name not in given:
            raise RunError(f"{cls.__name__} needs {name}; give it with {flag_of(name, role)}")
    return {name: given.get(name, item.default) for name, item in known.items()}


def check_kwargs(cls: type, given: Mapping[str, Any], role: str) -> None:
    """Refuse what ``cls`` does not take.

    Raises:
        RunError: a hyperparameter that ``cls`` does not have, or a value of the wrong type.
    """
    known = hyperparameters(cls)
    for name, value in given.items():
        key = f"{role}_kwargs.{name}"  # as a file and a script say it: a flag that no part has, or of a wrong type, is refused before
        if name not in known:
            raise RunError(f"{cls.__name__} has no {key}{did_you_mean(name, known) or f'; it has {_names(known)}'}")
        if not fits(value, known[name].type):
            raise RunError(f"{key} is {value!r}, but must be {in_words(known[name].type)}")
        flag = flag_of(name, role)
        if isinstance(value, float) and not math.isfinite(value):  # which no configuration keeps
            raise RunError(f"{flag} is {value}, but must be finite")
        if known[name].scheduled and isinstance(value, str) and not SCHEDULE.fullmatch(value):
            raise RunError(f"{flag} is {value!r}, but must be a number, or lin_ and a number, such as lin_3e-4")


def _names(known: Mapping[str, Hyperparameter]) -> str:
    return ", ".join(known) or "none"


def _hints(cls: type) -> dict[str, Any]:
    if dataclasses.is_dataclass(cls):  # whose keywords are fields, of its bases too
        return typing.get_type_hints(cls)
    function: Callable[..., Any] = inspect.getattr_static(cls, "__init__")
    try:
        return typing.get_type_hints(function)
    except Exception:  # names imported for type checkers only: what can't be evaluated has the type of its default
        return {name: value for name, value in inspect.get_annotations(function).items() if not isinstance(value, str)}


def _is_scheduled(hint: Any) -> bool:
    """Whether ``hint`` is SB3's number or function of the progress (common/type_aliases.py, Schedule)."""
    members = get_args(hint)
    return float in members and any(get_origin(member) is collections.abc.Callable for member in members)


def _simple(hint: Any) -> Any:
    """``hint`` without what a command line can't say (callables, classes, objects), or ``None`` if nothing is left."""
    if hint in _SIMPLE or get_origin(hint) is Literal:
        return hint
    if get_origin(hint) is Sequence:
        member = _simple(get_args(hint)[0])
        return None if member is None else types.GenericAlias(tuple, (member, ...))
    if get_origin(hint) is tuple:
        members = [item if item is Ellipsis else _simple(item) for item in get_args(hint)]
        return hint if members and None not in members else None
    if get_origin(hint) in (Union, types.UnionType):
        members = [item for item in (_simple(item) for item in get_args(hint) if item is not type(None)) if item is not None]
        members.sort(key=lambda item: item is str)  # a string takes everything, so it is tried last
        if not members:
            return None
        return functools.reduce(operator.or_, [*members, *([None] if type(None) in get_args(hint) else [])])
    return None


def helps(cls: type) -> dict[str, str]:
    """What the docstrings say of each keyword of ``cls``: its own docstring first, then those of its bases, nearest first.

    A keyword is an entry of an ``Args:`` section (genrl) or a ``:param name:`` (SB3). An entry that only says ``see …`` counts for nothing,
    so that the base which is to be seen has the word.
    """
    found = {"policy_delay": "Updates of the critic for each update of the policy."}  # CrossQ's docstring leaves it out
    for owner in reversed(cls.__mro__[:-1]):  # all but object
        init = vars(owner).get("__init__")
        for doc in (owner.__dict__.get("__doc__"), getattr(init, "__doc__", None)):
            found |= {name: text for name, text in _entries(doc or "") if not text.startswith("see ")}
    return found


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    """Names and texts of the arguments in a docstring; an entry may have several names, and goes on in the lines that are deeper in."""
    names: list[str] = []
    words: list[str] = []
    in_args, deep = False, 0
    for line in [*inspect.cleandoc(doc).splitlines(), ":"]:
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if text and not indent:
            in_args = text == "Args:"
        begins = _SB3_ENTRY.match(line) or (_ENTRY.match(line) if in_args else None)
        if begins or not text or indent < deep or text.startswith(":"):
            yield from ((name, _plain_text(" ".join(words))) for name in names)
            names, words = [], []
        if begins:
            names, words, deep = begins["names"].split(", "), [begins["text"]], 5 if in_args else 0
        elif names:
            words.append(text)


_ENTRY = re.compile(r" {4}(?P<names>\w+(, \w+)*)( \([^)]*\))?: (?P<text>.*)")
_SB3_ENTRY = re.compile(r":param (?P<names>\w+): *(?P<text>.*)")


def _plain_text(text: str) -> str:
    """``text`` without the marks of reStructuredText."""
    return " ".join(re.sub(r":\w+:|`+~?", "", text).split())
