"""A study in one TOML file: tasks × methods × seeds, and the run that each cell is. Imports no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from genrl.errors import RunError
from genrl.reading import DECODED, FileError, find_demonstrations, open_regular, parse_toml, read_json, read_text
from genrl.runs.config.commands import COMMANDS, config_from
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory
from genrl.studies.cells import is_finished
from genrl.studies.settings import MOST, StudySettings, Task, check_keys, check_not_empty, read_settings, read_task, table_of

__all__ = ["STUDY", "Cell", "Study", "StudySettings", "Task", "merged_tables"]

STUDY = 2**20
"""Bytes of a study's TOML, at most."""

NO_DIFFERENCE = {"out", "pictures", "tensorboard", "checkpoint_every", "step_timeout", "eval_every", "track"}
"""Fields that change no number of a run, and so not which cell it is."""


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    task: str
    method: str
    config: RunConfig
    """The run's configuration, with the run directory as ``out``."""

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.seed

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.config.directory

    @property
    def label(self) -> str:
        """The cell in words for a person."""
        return f"{self.task}, {self.method}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """A matrix of runs, and the directory in which they are kept.

    Example:
        >>> study = Study.parse('''
        ...     [study]
        ...     seeds = 2
        ...     [run]
        ...     steps = 1000
        ...     [tasks.Pendulum]
        ...     env = "Pendulum-v1"
        ...     [methods.none]
        ...     reward = "none"
        ...     [methods.vime]
        ...     reward = "vime"
        ... ''', "swing", Path("runs/swing"))
        >>> [cell.label for cell in study.cells]
        ['Pendulum, none, seed 0', 'Pendulum, vime, seed 0', 'Pendulum, none, seed 1', 'Pendulum, vime, seed 1']
    """

    name: str
    directory: Path
    settings: StudySettings
    tasks: dict[str, Task]
    methods: dict[str, dict[str, Any]]
    """What each method changes of the runs."""
    cells: tuple[Cell, ...]
    """Seed by seed, so that an unfinished study has a little of every method."""
    text: str = field(repr=False)
    """The TOML that it was made from."""
    source: str = ""
    """The file that it was read from, as it was named."""
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Checksums of the demonstrations by which its cells are known, by their paths."""

    @property
    def baseline(self) -> str:
        """The method that every other is compared with."""
        return self.settings.baseline or next(iter(self.methods))

    @property
    def title(self) -> str:
        """Heading of the report."""
        return self.settings.title or self.name

    @classmethod
    def load(cls, path: str | Path, out: str | Path | None = None) -> Study:
        """Read a TOML file; the runs are kept in ``out``, by default ``runs/<name of the file>``.

        Raises:
            RunError: no such file, no TOML, or a matrix that :meth:`parse` refuses.
        """
        path = Path(path)
        try:
            text = read_text(path, STUDY)
        except FileError as error:
            reason = str(error).partition("; ")[0]
            raise RunError(f"{reason}; give the TOML file of a study, such as demos/studies/sparse_mountaincar.toml") from error
        return cls.parse(text, path.stem, Path(out) if out is not None else Path("runs") / path.stem, str(path))

    @classmethod
    def parse(
        cls, text: str, name: str, directory: Path, source: str = "the study", digests: Mapping[str, str] = MappingProxyType({})
    ) -> Study:
        """A study from TOML text; ``source`` names it in errors, and ``digests`` has the checksums of demonstrations that are not here.

        Raises:
            RunError: no TOML, an unknown key, a value of the wrong type, no cells, or two methods that are the same runs.
        """
        content = parse_toml(text, source)
        try:
            return cls._build(content, text, name, directory, source, digests)
        except RunError as error:
            raise RunError(f"{source}: {error}") from error

    @classmethod
    def _build(cls, content: Mapping[str, Any], text: str, name: str, directory: Path, source: str, digests: Mapping[str, str]) -> Study:
        check_keys("", content, ("study", "run", "tasks", "methods"))
        run, task_tables, methods = (table_of(content, key, nested=key != "run") for key in ("run", "tasks", "methods"))
        settings = read_settings(table_of(content, "study", nested=False), methods)
        kind = COMMANDS[settings.command]
        fields = set(kind.fields()) - {"out", "seed"}
        check_keys("[run]", run, fields)
        tasks = {key: read_task(key, table, fields) for key, table in task_tables.items()}
        for key, table in methods.items():
            check_keys(f"[methods.{key}]", table, fields)
        task_runs = {key: {name: table[name] for name in table if name in fields} for key, table in task_tables.items()}
        check_not_empty(settings, tasks, methods)
        if (count := len(tasks) * len(methods) * len(settings.seeds)) > MOST:
            raise RunError(f"the matrix has {count:,} cells, but must have at most {MOST:,}; split it")
        cells = []
        for seed in settings.seeds:
            for task, of_task in task_runs.items():
                cells += [
                    _cell(task, method, merged_tables(kind, run, of_task, of_method), seed, directory, digests)
                    for method, of_method in methods.items()
                ]
        _distinct(cells)
        demos = {path for cell in cells if (path := getattr(cell.config, "demos", None)) is not None}
        known = {str(path): digest for path in demos if (digest := _digest(path) or digests.get(str(path))) is not None}
        return cls(name, directory, settings, tasks, dict(methods), tuple(cells), text, source, known)

    def check(self, imports: Collection[str] = ()) -> None:
        """Refuse what can be refused without training: tasks, learners, rewards, hyperparameters and encoders that do not exist, and
        encoders of other images than the task's. A cell that has its result needs no encoder; where there is one, each cell must have
        begun with it. A task and method whose runs have all finished need no demonstrations.

        Raises:
            RunError: names the task and the method, or a module that is not among ``imports``: a file must not decide what is imported.
        """
        from genrl.runs.building import resolve
        from genrl.runs.environments.make import make_env
        from genrl.runs.imitation.demonstrations import with_task
        from genrl.runs.vision import open_eyes

        self._check_given()
        made: set[str] = set()
        whole: dict[str, Cell] = {}
        most = max(cell.config.steps for cell in self.cells)
        if late := [step for step in self.settings.milestones if step > most]:
            raise RunError(f"[study] milestones has {late[0]:,}, but no run makes more than {most:,} steps; leave it out, or raise steps")
        hashes: dict[Path, str | None] = {}
        for cell in self.cells:
            try:
                encoder, run = cell.config.own_encoder, RunDirectory(cell.path)
                if encoder is not None and run.config.is_file():
                    _check_same_eyes(run, encoder, hashes)
                if cell.seed != self.settings.seeds[0] and encoder == cell.config.encoder:  # nothing else differs from the first seed's
                    continue
                _check_score(cell.config, self.settings.score)
                if encoder is not None and run.result.is_file():
                    continue
                demos = getattr(cell.config, "demos", None)
                if demos is not None and _digest(demos) is None and self._have_finished(cell.task, cell.method):
                    continue
                cell.config.check_imports(imports)
                config = with_task(cell.config)
                config.check_imports(imports)
                resolved, parts = resolve(config)
                _check_demonstrations(config, parts.get("reward"))
                if (other := whole.setdefault(identity(resolved), cell)) is not cell:
                    raise RunError(f"it is the same run as ({other.label}), whose defaults are written out; change or remove one of them")
                eyes = [str(encoder), config.finetune, config.frames, config.past_actions]
                task = json.dumps([config.env, config.to_dict()["env_kwargs"], *eyes])
                if task not in made:
                    with closing(make_env(config.env, config.env_kwargs)) as env:
                        open_eyes(config).wrap_one(env)
                    made.add(task)
            except RunError as error:
                raise RunError(f"task {cell.task!r} with method {cell.method!r}: {error}") from error

    def _have_finished(self, task: str, method: str) -> bool:
        """Whether all runs of a task and a method have finished."""
        return all(is_finished(RunDirectory(cell.path)) for cell in self.cells if (cell.task, cell.method) == (task, method))

    def _check_given(self) -> None:
        """Refuse hyperparameters that no run takes, since each names another part than the one that they are of."""
        content = parse_toml(self.text, self.source)
        run, kind = content.get("run", {}), COMMANDS[self.settings.command]
        tables = [("[run]", run, list(self.cells))]
        for key, names in (("tasks", self.tasks), ("methods", self.methods)):
            for name in names:
                own = [cell for cell in self.cells if name == (cell.task if key == "tasks" else cell.method)]
                tables.append((f"[{key}.{name}]", content[key][name], own))
        for place, table, cells in tables:
            for role in ("env", *kind.roles):
                given = table.get(f"{role}_kwargs", {})
                if given and not any(given.keys() & getattr(cell.config, f"{role}_kwargs").keys() for cell in cells):
                    whose = table.get(role, run.get(role, getattr(kind, role)))
                    raise RunError(
                        f"{place} {role}_kwargs has {', '.join(given)}, which no run takes, since {role} is {whose} there and another one "
                        f"in each run; write {role} beside it, or {role}_kwargs where {role} is named"
                    )


def identity(config: RunConfig, digests: Mapping[str, str] = MappingProxyType({})) -> str:
    """Ten characters that differ where two configurations would give other numbers.

    Values that are the default are left out, so that a version of genrl with one more field finds the runs of an older one.

    Args:
        config: of a run.
        digests: checksums of demonstrations by their paths, for those that are not here any more.
    """
    default = _defaults(type(config))  # type: ignore[arg-type]
    demos = getattr(config, "demos", None)
    content = None if demos is None else _digest(demos) or digests.get(str(demos))
    values = {key: value for key, value in config.to_dict().items() if key not in NO_DIFFERENCE and value != default.get(key)}
    if content is not None:
        values["demos"] = content  # other demonstrations under the same name are other runs
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


@lru_cache
def _defaults(kind: type[RunConfig]) -> dict[str, Any]:
    return kind().to_dict()


@lru_cache
def _digest(demos: Path) -> str | None:
    """Checksum of the demonstrations, a file or a data set's folder; ``None`` if they are not here."""
    demos = find_demonstrations(demos)
    inside = (demos, demos / "data" / "main_data.hdf5", demos / "main_data.hdf5")
    digest = hashlib.sha256()
    file = next((path for path in inside if path.is_file()), None)
    if file is None:
        return None
    with open_regular(file) as content:
        if os.fstat(content.fileno()).st_size > DECODED:
            raise RunError(f"{file} is larger than demonstrations that are read; give a part of it")
        while part := content.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _check_score(config: RunConfig, score: str) -> None:
    """Refuse runs that will have no score."""
    if score == "evaluation_return" and not config.eval_episodes:
        raise RunError(
            'eval_episodes is 0, so the run has no evaluation_return to be scored by; leave it out, or write score = "training_return"'
        )
    if score == "training_return" and not config.steps:
        raise RunError('steps is 0, so the run has no training_return to be scored by; write score = "evaluation_return"')


def _check_demonstrations(config: RunConfig, reward: type[Any] | None) -> None:
    """Refuse a reward that learns from demonstrations where the study's command has none."""
    from genrl.runs.sockets import learns_from_demonstrations

    if reward is not None and learns_from_demonstrations(reward) and getattr(config, "demos", None) is None:
        raise RunError(
            f'reward {config.reward!r} learns from demonstrations; write command = "imitate" under [study], and demos under the task'
        )


def _check_same_eyes(run: RunDirectory, path: Path, hashes: dict[Path, str | None]) -> None:
    """Refuse a run of an encoder in whose place there is another one now; one that is gone is not missed.

    Args:
        run: one that has begun.
        path: where the study says that its encoder is.
        hashes: hashes by path of the encoders that were looked at; ``None`` where there is none.
    """
    from genrl.encoders import load_encoder

    if path not in hashes:
        try:
            hashes[path] = load_encoder(path).hash
        except (FileNotFoundError, ValueError):
            hashes[path] = None
    now = hashes[path]
    if now is not None and read_json(run.config).get("about", {}).get("encoder", now) != now:
        what = "has the result of" if run.result.is_file() else "was begun with"
        raise RunError(f"{run.path} {what} another encoder than the one that {path} has now; delete it, or choose another --out")


def _cell(task: str, method: str, values: Mapping[str, Any], seed: int, directory: Path, digests: Mapping[str, str]) -> Cell:
    try:
        config = config_from({**values, "seed": seed})
        name = re.sub(r"[^\w.-]+", "_", config.named({role: getattr(config, role) for role in config.roles}))
        return Cell(task, method, dataclasses.replace(config, out=directory / "cells" / f"{name}-{identity(config, digests)}"))
    except RunError as error:
        raise RunError(f"task {task!r} with method {method!r}: {error}") from error


def merged_tables(kind: type[RunConfig], *tables: Mapping[str, Any]) -> dict[str, Any]:
    """Later tables win; hyperparameters are merged one by one, unless a table names another learner, reward or task."""
    merged: dict[str, Any] = {"command": kind.command, "pictures": False}
    for table in tables:
        for role in ("env", *kind.roles):
            before = merged.get(role, getattr(kind, role))
            if table.get(role, before) != before:
                merged.pop(f"{role}_kwargs", None)
        for key, value in table.items():
            merged[key] = {**merged.get(key, {}), **value} if key.endswith("_kwargs") and isinstance(value, Mapping) else value
    return merged


def _distinct(cells: Iterable[Cell]) -> None:
    seen: dict[Path, Cell] = {}
    for cell in cells:
        if other := seen.get(cell.path):
            raise RunError(f"({other.label}) and ({cell.label}) are the same run; change or remove one of them")
        seen[cell.path] = cell
