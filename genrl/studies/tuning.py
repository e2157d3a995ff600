"""Search for hyperparameters by optuna's ask and tell: every trial is a method of a study, and its runs are ordinary ones."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genrl.errors import RunError, extra
from genrl.files import write_whole
from genrl.reading import FileError, parse_toml, read_json, read_text
from genrl.runs.config.commands import COMMANDS
from genrl.studies.cells import CellOutcome
from genrl.studies.directory import open_directory
from genrl.studies.executors import Executor
from genrl.studies.matrix import STUDY, Cell, Study, merged_tables
from genrl.studies.results import read_cell
from genrl.studies.running import run_study
from genrl.studies.search_space import Space, distribution, key_of, nested, points, read_spaces, value_of
from genrl.studies.settings import SCORED_BY
from genrl.studies.wording import as_toml

__all__ = ["Trial", "Tuning", "best", "tune"]

Ended = Callable[[Cell, CellOutcome], None]

TRIALS = "trials.json"
MOST = 10_000
SAMPLERS = ("tpe", "random")


@dataclass(frozen=True)
class Trial:
    """One point of the search space."""

    values: Mapping[str, Any]
    """Values by name; keywords of a part have names such as ``learner_kwargs.gamma``."""
    score: float | None = None
    """Mean of its runs; ``None`` if one of them failed, has not ended, or has no return because none of its episodes ended."""
    silent: bool = False
    """Whether its runs have all finished, but one without a return."""


@dataclass(frozen=True)
class Tuning:
    """A TOML file that says what is searched, and the directory in which the runs are kept.

    Example:
        >>> tuning = Tuning.parse('''
        ...     [tune]
        ...     trials = 20
        ...     [run]
        ...     env = "Pendulum-v1"
        ...     learner = "ppo"
        ...     reward = "none"
        ...     [search]
        ...     normalize_obs = [true, false]
        ...     [search.learner_kwargs]
        ...     learning_rate = { low = 1e-5, high = 1e-2, log = true }
        ...     n_epochs = { low = 1, high = 20 }
        ... ''', "swing", Path("runs/swing"))
        >>> list(tuning.search)
        ['normalize_obs', 'learner_kwargs.learning_rate', 'learner_kwargs.n_epochs']
    """

    name: str
    directory: Path
    run: Mapping[str, Any]
    """What all trials share."""
    search: Mapping[str, Space]
    """What is searched, by name: a list of choices, or a range with ``low``, ``high`` and ``log``."""
    text: str = field(repr=False)
    command: str = "explore"
    trials: int = 30
    """Number of trials."""
    at_once: int = 4
    """Trials that are asked for together; the next ones know their scores."""
    seeds: int = 1
    """Runs of a trial, whose mean is its score."""
    score: str = SCORED_BY[0]
    sampler: str = SAMPLERS[0]
    """`tpe` (tree-structured Parzen estimators) or `random`, the control."""
    seed: int = 0
    """Seed of the sampler; the same file asks for the same trials, stopped and resumed or not."""

    @classmethod
    def load(cls, path: str | Path, out: str | Path | None = None) -> Tuning:
        """Read a TOML file; the runs are kept in ``out``, by default ``runs/<name of the file>``.

        Raises:
            RunError: no such file, no TOML, or a search that :meth:`parse` refuses.
        """
        path = Path(path)
        try:
            text = read_text(path, STUDY)
        except FileError as error:
            raise RunError(f"{str(error).partition('; ')[0]}; give the TOML file of a search, with [tune], [run] and [search]") from error
        try:
            return cls.parse(text, path.stem, Path(out) if out is not None else Path("runs") / path.stem)
        except RunError as error:
            raise RunError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str, name: str, directory: Path) -> Tuning:
        """A search from TOML text.

        Raises:
            RunError: no TOML, an unknown key, or a value out of its range.
        """
        content = parse_toml(text, "it")
        tables = {key: content.pop(key, {}) for key in ("tune", "run", "search")}
        if content or not all(isinstance(table, dict) for table in tables.values()):
            raise RunError(f"it has {', '.join(content) or 'values'} where the tables [tune], [run] and [search] are needed")
        settings = _settings(tables["tune"])
        return cls(name, directory, tables["run"], read_spaces(tables["search"]), text, **settings)

    def study(self, trials: list[Trial]) -> Study:
        """The study whose methods are ``trials``; equal ones are one method.

        Raises:
            RunError: a value that a run does not take.
        """
        settings = {"command": self.command, "seeds": self.seeds, "score": self.score, "title": self.name}
        env = self.run.get("env", COMMANDS[self.command].env)
        methods = {_name(i): nested(trial.values) for i, trial in enumerate(trials) if _first(trials, trial) == i}
        text = as_toml({"study": settings, "run": self.run, "tasks": {str(env): {"env": env}}, "methods": methods})
        return Study.parse(text, self.name, self.directory, f"{self.name}.toml")

    def values(self, trial: Trial) -> dict[str, Any]:
        """All that a command is told for a trial: what the trials share, and the trial's own."""
        merged = merged_tables(COMMANDS[self.command], self.run, nested(trial.values))
        return {name: value for name, value in merged.items() if name in self.run or name in nested(trial.values)}

    def check(self, imports: Collection[str] = ()) -> None:
        """Refuse every value that a run would not take: the ends of the ranges and all choices are tried on a configuration.

        Raises:
            RunError: names the value.
        """
        count = max(len(points(values)) for values in self.search.values())
        ends = [{name: points(values)[i % len(points(values))] for name, values in self.search.items()} for i in range(count)]
        self.study([Trial(values) for values in ends]).check(imports)

    def read(self) -> list[Trial]:
        """The trials that were asked for until now, with their scores.

        Raises:
            RunError: the directory holds another search.
        """
        path = self.directory / TRIALS
        if not path.is_file():
            return []
        known = read_json(path)
        if known.get("search") != self._about() or not isinstance(known.get("trials"), list):
            raise RunError(f"{self.directory} holds a search of another file; choose another --out, or give the file that it began with")
        trials = [Trial(values) for values in known["trials"] if isinstance(values, dict) and values.keys() == self.search.keys()]
        return self.scored(trials)

    def scored(self, trials: list[Trial]) -> list[Trial]:
        """``trials`` with the scores of those whose runs have all finished."""
        if not trials:
            return []
        study = self.study(trials)
        found: dict[str, list[Any]] = {}
        unfinished: set[str] = set()
        for cell in study.cells:
            known = read_cell(cell, study.settings.tries)
            found.setdefault(cell.method, []).append(known.result.get(self.score) if known.finished else None)
            unfinished |= set() if known.finished else {cell.method}
        means = {name: None if None in scores else float(np.mean(scores)) for name, scores in found.items()}
        names = [_name(_first(trials, trial)) for trial in trials]
        silent = {name for name, mean in means.items() if mean is None} - unfinished
        return [Trial(trial.values, means[name], name in silent) for trial, name in zip(trials, names, strict=True)]

    def write(self, trials: list[Trial]) -> None:
        """Keep what was asked for, before any of it is run."""
        content = {"search": self._about(), "trials": [dict(trial.values) for trial in trials]}
        write_whole(self.directory / TRIALS, (json.dumps(content, indent=1) + "\n").encode())

    def _about(self) -> dict[str, Any]:
        """What may not change when a search goes on: all but the number of trials."""
        about = {name: getattr(self, name) for name in ("run", "search", "command", "at_once", "seeds", "score", "sampler", "seed")}
        found: dict[str, Any] = json.loads(json.dumps(about))
        return found


def tune(
    tuning: Tuning,
    executor: Executor,
    *,
    imports: Collection[str] = (),
    watched: Callable[[Study], AbstractContextManager[Ended]] = lambda study: nullcontext(lambda cell, outcome: None),
) -> list[Trial] | None:
    """Ask for trials, run what they lack on ``executor``, tell their scores, until there are as many as asked for.

    Args:
        tuning: the search, which has passed :meth:`Tuning.check`.
        executor: where the runs are trained.
        imports: modules that the runs may import.
        watched: shows a round's study while it runs, and gives what is called after each of its runs.

    Returns:
        All trials in the order in which they were asked for; ``None`` after an interrupt.

    Raises:
        RunError: optuna is not installed, or the directory holds something else.
    """
    optuna = extra("optuna", "tune", "genrl tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = tuning.read()
    while True:
        if trials:
            study = tuning.study(trials)
            with watched(study) as ended:
                if not run_study(study, executor, imports=imports, ended=ended):
                    return None
            trials = tuning.scored(trials)
        if len(trials) >= tuning.trials:
            return trials
        trials = trials + _asked(optuna, tuning, trials)
        open_directory(tuning.study(trials))  # which refuses one that holds something else
        tuning.write(trials)


def best(trials: list[Trial]) -> list[Trial]:
    """The trials that have a score, best first, equal ones once."""
    scored = [trial for i, trial in enumerate(trials) if trial.score is not None and _first(trials, trial) == i]
    return sorted(scored, key=lambda trial: -float(trial.score or 0.0))


def _asked(optuna: Any, tuning: Tuning, known: list[Trial]) -> list[Trial]:
    """The next trials. The sampler is made anew and sees whole rounds alone, so that a search that was stopped asks for the same ones."""
    seed = tuning.seed * MOST + len(known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna calls constant_liar experimental: trials of a round keep away from each other
        samplers = optuna.samplers
        sampler = samplers.RandomSampler(seed) if tuning.sampler == "random" else samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    spaces = {name: distribution(optuna, values) for name, values in tuning.search.items()}
    for trial in known:
        failed = trial.score is None
        state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE
        params = {name: key_of(tuning.search[name], value) for name, value in trial.values.items()}
        study.add_trial(optuna.trial.create_trial(state=state, params=params, distributions=spaces, value=trial.score))
    count = min(tuning.at_once, tuning.trials - len(known))
    drawn = [study.ask(fixed_distributions=spaces).params for _ in range(count)]
    return [Trial({name: value_of(tuning.search[name], params[name]) for name in tuning.search}) for params in drawn]


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    kinds: dict[str, tuple[type, Any]] = {
        "command": (str, tuple(COMMANDS)),
        "score": (str, SCORED_BY),
        "sampler": (str, SAMPLERS),
        **dict.fromkeys(("trials", "at_once", "seeds"), (int, 1)),
        "seed": (int, 0),
    }
    for name, value in table.items():
        if name not in kinds:
            raise RunError(f"[tune] has an unknown key {name!r}; it takes {', '.join(kinds)}")
        kind, allowed = kinds[name]
        if kind is str and value not in allowed:
            raise RunError(f"[tune] {name} is {value!r}, but must be {' or '.join(allowed)}")
        if kind is int and (type(value) is not int or not allowed <= value <= MOST):
            raise RunError(f"[tune] {name} is {value!r}, but must be a whole number from {allowed} to {MOST:,}")
    return dict(table)


def _name(number: int) -> str:
    return f"trial {number:04}"


def _first(trials: list[Trial], trial: Trial) -> int:
    """The first trial with the same values; 1 and true, which are equal in Python, are two."""
    return next(i for i, other in enumerate(trials) if other.values == trial.values and _text(other) == _text(trial))


def _text(trial: Trial) -> str:
    return json.dumps(dict(trial.values), sort_keys=True, default=str)  # a date, which is refused later
