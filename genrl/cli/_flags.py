"""Parses words on the command line into a frozen dataclass, by tyro; what a command does not take is refused in one sentence."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import docstring_parser
import tyro

from genrl.cli._refusals import one_sentence
from genrl.errors import RunError, flag_of, flags
from genrl.roles import ROLES, is_own
from genrl.runs.config.base import Config, fits
from genrl.runs.config.imitate import ImitateConfig
from genrl.runs.config.run import RunConfig
from genrl.runs.config.trust import foreign_keywords

__all__ = ["check_seed", "env_words", "parse", "parse_run", "split_env", "task_words", "typed_again"]

Kind = TypeVar("Kind", bound=Config)


def parse(kind: Any, argv: list[str], prog: str, description: str | None = None) -> Any:
    """``tyro.cli``, with refusals of one sentence.

    Raises:
        RunError: a flag or a value that ``kind`` does not take.
    """
    with one_sentence(kind, argv, prog), _whole_paragraphs():
        return tyro.cli(kind, args=argv, prog=prog, description=description, registry=_REGISTRY)


def typed_again(asked: Any, *without: str) -> list[object]:
    """The words of a command that say again what was asked for: the flags of a dataclass that are not at their defaults.

    Args:
        asked: what :func:`parse` gave.
        without: fields that are left out, such as those that are typed without a flag.
    """
    items = (item for item in dataclasses.fields(asked) if item.name not in without)
    return flags(**{item.name: value for item in items if (value := getattr(asked, item.name)) != item.default})


def check_seed(seed: int) -> None:
    """Refuse a seed that torch would not take."""
    if not 0 <= seed < 2**63:
        raise RunError(f"--seed is {seed}, but must be at least 0 and below 2 to the 63")


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _whole_number(info: Any) -> Any:
    """Integers may have an exponent."""
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _integer(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def _integer(word: str) -> int:
    """``word`` as a whole number.

    Example:
        >>> _integer("1e5"), _integer("2.5e3")
        (100000, 2500)
    """
    try:
        return int(word)
    except ValueError:
        if "e" in word.lower() and (value := float(word)).is_integer() and abs(value) < 2**53:
            return int(value)
        raise


def parse_run(config: type[Kind], argv: list[str]) -> Kind:
    """The run that ``argv`` asks for; the flags of its parts, such as the chosen learner, come from their constructors.

    What a file says that ``--config`` names comes first, and what is typed wins.

    Raises:
        RunError: a name, flag or value that the command does not take.
    """
    argv, env_kwargs = split_env(argv)
    wants_help = not {"-h", "--help"}.isdisjoint(argv)
    file = _of_file(config, argv)
    default = {role: str(getattr(config, role)) for role in config.roles}
    chosen = {role: _peek(argv, role) or file.get(role) for role in config.roles}
    demos = {"demos": str(path)} if (path := _peek(argv, "demos") or file.get("demos")) else {}
    text = " ".join((config.__doc__ or "").split())
    if wants_help and not any(chosen.values()):
        kind = _with_flags_of(config, {}, file)
        words = " ".join(f"--{role} {name}" for role, name in default.items())
        named = " and ".join(", ".join(f"that {role}" for role in default).rsplit(", ", 1))
        text += f"\n\n`genrl {config.command} {words} --help` lists the hyperparameters of {named} too."
    else:
        kind = _with_flags_of(config, {role: name or default[role] for role, name in chosen.items()} | demos, file)
    text += f"\n\n{config.kwargs_help}: --env.NAME VALUE."
    parsed = parse(kind, argv, f"genrl {config.command}", text)
    values = {name: getattr(parsed, name) for name in config.fields()}
    for role in config.roles:
        known = dict(vars(values[f"{role}_kwargs"])) if values[f"{role}_kwargs"] else {}
        if role == "reward" and issubclass(config, ImitateConfig):  # where the task decides what is not asked for
            known = {name: known[name] for name in known if name in file.get(f"{role}_kwargs", {}) or _is_typed(argv, role, name)}
        values[f"{role}_kwargs"] = known
    return config(**values | {"env_kwargs": {**file.get("env_kwargs", {}), **env_kwargs}})


def _of_file(config: type[Config], argv: list[str]) -> dict[str, Any]:
    """What the file of ``--config`` says, if there is one."""
    path = _peek(argv, "config")
    if path is None or not issubclass(config, RunConfig):
        return {}
    from genrl.runs.config.files import read_config_file

    typed = {name: value for name in config.fields() if (value := _peek(argv, name.replace("_", "-"))) is not None}
    return read_config_file(Path(path), config, typed, _peek_all(argv, "imports"))


def _with_flags_of(config: type[Config], chosen: Mapping[str, str], file: Mapping[str, Any]) -> type:
    """``config`` with a nested dataclass of hyperparameters in place of each mapping; without a name, no flags for it."""
    fields: list[tuple[str, Any, Any]] = [*_own_fields(config, file), _hidden("env_kwargs")]
    for role in config.roles:
        empty = role not in chosen or ROLES[role].is_empty(chosen[role])
        given = file.get(f"{role}_kwargs", {})
        fields.append(_hidden(f"{role}_kwargs") if empty else _nested(role, chosen[role], _defaults(config, role, chosen), given))
    fields += _OF_FILES if issubclass(config, RunConfig) else []
    return dataclasses.make_dataclass(config.__name__, fields, bases=(config,), frozen=True)


_FILE_HELP = "Begin with what a file says: the config.json of a run, a TOML of the same names, or a YAML of rl_zoo3; what is typed wins."
_IMPORTS_HELP = "Modules of your own that the file of --config may import, where it names a `module:Name`."
_OF_FILES: list[tuple[str, Any, Any]] = [
    ("config", Annotated[typing.Union[None, Path], tyro.conf.arg(help=_FILE_HELP)], None),  # noqa: UP007, RUF036  # as in _own_fields
    ("imports", Annotated[tuple[str, ...], tyro.conf.arg(help=_IMPORTS_HELP)], ()),
]
"""Flags of every run that are no part of its configuration."""


def _own_fields(config: type[Config], file: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Fields that a file has a default for, and those of type ``X | None``.

    The latter become ``Union[None, X]``: tyro then needs no typeguard to see that None fits, a third of help.
    """
    hints = config.fields()
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        hint, default = hints[item.name], file.get(item.name, item.default)
        if isinstance(hint, types.UnionType):
            hint = typing.Union[None, *(member for member in typing.get_args(hint) if member is not type(None))]
        if isinstance(default, str) and fits(Path(), hint):
            default = Path(default)
        if hint is not hints[item.name] or (item.name in file and not item.name.endswith("_kwargs")):
            yield item.name, hint, dataclasses.field(default=default)


def _hidden(name: str) -> tuple[str, Any, Any]:
    return name, tyro.conf.Suppress[tyro.conf.Fixed[dict]], dataclasses.field(default_factory=dict)


def _defaults(config: type[Config], role: str, chosen: Mapping[str, str]) -> Mapping[str, Any]:
    """Where the command's defaults differ from those of the chosen part; ``None`` is decided later, by the images."""
    if role == "model":
        from genrl.generation.recipes import flag_defaults

        return flag_defaults(chosen["model"])
    from genrl.runs.config.run import is_off_policy

    part = ROLES[role].find(chosen[role])
    kind = config.kind(chosen.get("demos")) if issubclass(config, RunConfig) else config.command
    return part.defaults_of(kind, is_off_policy(chosen["learner"])) if part else {}


def _nested(role: str, name: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, Any, Any]:
    from genrl.runs.config.hyperparameters import check_kwargs, hyperparameters

    cls = ROLES[role].load(name)
    assert cls is not None
    check_kwargs(cls, given, role)
    own = {**own, **given}
    fields: list[Any] = []
    for item in hyperparameters(cls).values():
        default = own.get(item.name, item.default)
        default = tuple(default) if isinstance(default, list) else default
        by_images = default is None and item.default is not None
        help_ = f"{item.help} By default what fits the images." if by_images else item.help
        kind: Any = Annotated[item.type | None if by_images else item.type, tyro.conf.arg(help=help_)]
        fields.append((item.name, kind) if default is inspect.Parameter.empty else (item.name, kind, dataclasses.field(default=default)))
    fields.sort(key=len)  # a dataclass wants those without a default first
    nested = dataclasses.make_dataclass(cls.__name__, fields, frozen=True)
    needs_values = any(len(item) == 2 for item in fields)
    whole = dataclasses.field(default=tyro.MISSING) if needs_values else dataclasses.field(default_factory=nested)
    return f"{role}_kwargs", Annotated[nested, tyro.conf.arg(name=role, help=f"Hyperparameters of {cls.__name__}.")], whole


def _peek(argv: list[str], name: str) -> str | None:
    """The value of ``--name`` if it is there, before anything is parsed; of several the last one, which is the one that tyro takes."""
    for i, word in reversed([*enumerate(argv)]):
        if word == f"--{name}" and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"--{name}="):
            return word.split("=", 1)[1]
    return None


def _is_typed(argv: list[str], role: str, name: str) -> bool:
    """Whether ``argv`` has the flag of a part's hyperparameter, in one of the spellings that tyro takes."""
    flags = {f"--{role}.{sign}{name}".replace("_", "-") for sign in ("", "no-")}
    return any(word.split("=", 1)[0].replace("_", "-") in flags for word in argv)


def _peek_all(argv: list[str], name: str) -> list[str]:
    """The values of ``--name``, up to the next flag; of several the last one's."""
    if f"--{name}" not in argv:
        return []
    rest = argv[len(argv) - argv[::-1].index(f"--{name}") :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def split_env(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take ``--env.NAME VALUE …`` out of ``argv``: the task's own constructor says what it knows, so no type is known here.

    Of one that is there several times the last counts, as of every flag.
    """
    rest: list[str] = []
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in argv:
        if word.startswith("--env."):
            name, equals, value = word.removeprefix("--env.").partition("=")
            current = found[name.replace("-", "_")] = [value] if equals else []
        elif current is not None and not word.startswith("--"):
            current.append(word)
        else:
            current = None
            rest.append(word)
    return rest, {name: _literal(name, values) for name, values in found.items()}


def env_words(env_kwargs: Mapping[str, Any]) -> list[str]:
    """The inverse of :func:`split_env`: how keywords of a task are typed.

    Example:
        >>> split_env(env_words({"frame_skip": 4, "goal": [0.5], "name": "a b", "version": "5"}))
        ([], {'frame_skip': 4, 'goal': [0.5], 'name': 'a b', 'version': '5'})
    """
    words = []
    for name, value in env_kwargs.items():
        plain = isinstance(value, str) and _python(value) == value and not value.startswith("--")
        words += [flag_of(name, "env"), value if plain else repr(value)]
    return words


def task_words(env: str, env_kwargs: Mapping[str, Any]) -> list[str]:
    """What a file of demonstrations may not decide, as it is typed: the module of a task, and keywords that could import or read something.

    Example:
        >>> task_words("mine:Walk-v0", {"speed": 2, "map_file": "a.txt"}), task_words("CartPole-v1", {})
        (['--env', 'mine:Walk-v0', '--env.map-file', 'a.txt'], [])
    """
    own = {name: env_kwargs[name] for name, _ in foreign_keywords(env_kwargs) if name in env_kwargs}
    return [*(("--env", env) if is_own(env) else ()), *env_words(own)]


def _literal(name: str, values: list[str]) -> Any:
    if not values:
        raise RunError(f"--env.{name} needs a value, such as --env.{name} 1 or --env.{name} True")
    read = [_python(value) for value in values]
    return read[0] if len(read) == 1 else read


def _python(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


@contextmanager
def _whole_paragraphs() -> Iterator[None]:
    """Help without the line breaks of the source: docstring_parser keeps a field's indentation, which tyro takes for a new paragraph."""
    parse = docstring_parser.parse_from_object

    def joined(obj: Any, style: Any = docstring_parser.DocstringStyle.AUTO) -> docstring_parser.Docstring:
        parsed = parse(obj, style)
        for field in parsed.params:
            field.description = " ".join((field.description or "").split()) or None
        return parsed

    docstring_parser.parse_from_object = joined
    try:
        yield
    finally:
        docstring_parser.parse_from_object = parse
