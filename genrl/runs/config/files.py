"""`--config FILE`: a run's config.json, a TOML of the same names, or a YAML of rl_zoo3, as values that a command line begins with. Imports
no torch, but for a YAML."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from genrl.errors import RunError, did_you_mean, flag_of
from genrl.reading import FileError, parse_toml, read_json, read_text
from genrl.runs.config import trust
from genrl.runs.config.base import fits, in_words
from genrl.runs.config.commands import COMMANDS
from genrl.runs.config.run import RunConfig

__all__ = ["read_config_file"]

MOST = 2**18
"""Bytes of a TOML or YAML file, at most."""


def read_config_file(path: Path, kind: type[RunConfig], typed: Mapping[str, str], imports: Collection[str] = ()) -> dict[str, Any]:
    """What a file says of a run, by the names of the configuration.

    Hyperparameters belong to the part that the file names, and keywords to its task: where another one is typed, they are left out.

    Args:
        path: config.json of a run, whose own directory is left out; a TOML of the same names; or a YAML of rl_zoo3.
        kind: whose names they are.
        typed: what the command line says of the task and of the parts. A file decides nothing that is typed.
        imports: modules that the file may name.

    Raises:
        RunError: it can't be read; it has a name or a value that ``kind`` does not take; or it would import a module, or read or write
            outside of the current folder.
    """
    try:
        values = _read(path, kind, typed)
        _check(values, kind)
        values = _still_fitting(values, kind, typed)
        _check_trust({name: value for name, value in values.items() if name not in typed}, kind, imports)
    except FileError:
        raise
    except RunError as error:
        raise RunError(f"--config {path}: {error}") from error
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _read(path: Path, kind: type[RunConfig], typed: Mapping[str, str]) -> dict[str, Any]:
    if path.suffix in (".yml", ".yaml"):
        from genrl.runs.config.zoo import read_zoo

        return read_zoo(read_text(path, MOST), path.stem, kind, typed)
    if path.suffix == ".toml":
        values = {name.replace("-", "_"): value for name, value in parse_toml(read_text(path, MOST), f"--config {path}").items()}
    elif path.suffix == ".json":
        values = read_json(path)
        if "about" in values:  # a run wrote it, and has its own directory
            values = {name: value for name, value in values.items() if name not in ("about", "out")}
    elif path.is_dir():
        raise RunError(f"it is a folder; give the file of a run in it: --config {path / 'config.json'}")
    else:
        raise RunError("its name ends neither in .json (the config.json of a run) nor in .toml, .yml or .yaml; rename it")
    command = values.pop("command", kind.command)
    if command != kind.command:
        if str(command) in COMMANDS:
            raise RunError(f"it is of another command; type genrl {command}")
        raise RunError("it is of no command that trains a learner; give the config.json of a run of explore, imitate or dream")
    return values


def _check(values: Mapping[str, Any], kind: type[RunConfig]) -> None:
    """Refuse names that ``kind`` has not, and values of the wrong type."""
    known = kind.fields()
    for name, value in values.items():
        if name not in known:
            close = did_you_mean(name, known) or "; `--help` lists the flags, and [learner_kwargs] is the table of a learner's own"
            raise RunError(f"it has {name!r}, which is no flag of genrl {kind.command}{close}")
        hint = known[name]
        if not fits(value, hint) and not (isinstance(value, str) and fits(Path(), hint)):
            raise RunError(f"{name} is {value!r}, but must be {in_words(hint)}")


def _still_fitting(values: dict[str, Any], kind: type[RunConfig], typed: Mapping[str, str]) -> dict[str, Any]:
    """What belongs to the task and to the parts that are in force."""
    other = {name for name in ("env", *kind.roles) if name in typed and typed[name] != values.get(name, getattr(kind, name))}
    gone = {f"{name}_kwargs" for name in other}
    gone |= {"policy", "coverage"} if "env" in other else {"policy"} if "learner" in other else set()
    return {name: value for name, value in values.items() if name not in gone}


def _check_trust(values: Mapping[str, Any], kind: type[RunConfig], imports: Collection[str]) -> None:
    """A file that somebody sent decides neither what is imported nor what is read or written."""
    trust.check_imports(values, kind.roles, imports)
    for name, value in trust.outside(values, kind.fields()).items():
        raise RunError(f"its {name}, {value}, is not in this folder; if you trust it, type {flag_of(name)} {value}")
