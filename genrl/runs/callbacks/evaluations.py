"""Deterministic evaluations while a run trains, and its best model."""

from __future__ import annotations

import csv
import io
import math
import warnings
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from genrl.files import save_state, write_whole
from genrl.runs.directory import RunDirectory, read_csv
from genrl.runs.environments.make import shows_image
from genrl.runs.imitation.cost import returns_and_costs
from genrl.runs.session import Session
from genrl.runs.sockets import Plug
from genrl.sb3.state import generator_state, set_generator_state, vecnormalize_state

__all__ = ["best_evaluation", "with_evaluations"]

SEED = 15_000
"""Seed of the first episode. The evaluation at the end has others, so that the best model is not judged by what it was chosen by."""


def with_evaluations(session: Session, run: RunDirectory) -> Session:
    """``session`` with evaluations while it trains, if its configuration asks for them."""
    if session.config.eval_every is not None:
        if not session.sees_returns and shows_image(session.learner.observation_space):
            warnings.warn(
                f"episodes of images can't be compared with demonstrations, so the best model of {run.path} will be that of the largest "
                "return, which an imitation does not see; take --average 0.2 in place of --eval-every, or let it see codes, by --encoder",
                stacklevel=2,
            )
        callback = Evaluations(session, run)
        session.plugs.append(Plug("evaluations", [callback], callback))
    return session


def best_evaluation(run: RunDirectory) -> dict[str, Any] | None:
    """Step and mean return of the best evaluation while a run trained, and of an imitation its cost; ``None`` if there was none."""
    rows = [row for row in read_csv(run.evaluations) if row["best"] == "1"]
    numbers = {name: float(rows[-1][name]) for name in ("return", "cost") if rows and rows[-1].get(name)}
    return {"step": int(rows[-1]["step"]), **numbers} if rows else None


class Evaluations(BaseCallback):
    """Evaluates the policy every ``config.eval_every`` steps, at the boundaries of rollouts and at the end, and keeps the best model.

    The best one has the largest return. An imitation that the task does not pay sees no return: its best one has the least cost, by which
    its episodes are carried to the demonstrations (:class:`genrl.runs.imitation.cost.Judge`). Of images, which have no such
    cost, it has the largest return.

    Each evaluation is of the same episodes, in an environment of its own, and leaves every generator as it was: the training gives the
    same numbers with and without it. It writes evaluations.csv, best.zip as SB3 saves it, and the normalisation that belongs to that.

    Args:
        session: the learner and its normalisation.
        run: where to write.
    """

    def __init__(self, session: Session, run: RunDirectory) -> None:
        super().__init__()
        self._session, self._run = session, run
        self._every = session.config.eval_every or 1
        self._rows: list[tuple[int, float, float | None, bool]] = []
        self._lost: tuple[int, float, float | None, bool] | None = None
        """The best evaluation after the last checkpoint, which a kill has undone, but whose model is still in best.zip."""

    def _on_training_start(self) -> None:
        done = self._rows[-1][0] if self._rows else 0
        found = [_numbers(row) for row in read_csv(self._run.evaluations) if row["best"] == "1"]
        self._lost = next((row for row in reversed(found) if row[0] > done), None)

    def _on_rollout_start(self) -> None:
        last = self._rows[-1][0] if self._rows else 0
        if self.num_timesteps // self._every > last // self._every:
            self._evaluate()

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self.num_timesteps >= self._session.config.steps and (not self._rows or self._rows[-1][0] != self.num_timesteps):
            self._evaluate()

    def _evaluate(self) -> None:
        before = generator_state()
        returns, costs = returns_and_costs(self._session, self._session.config.eval_episodes, SEED)
        set_generator_state(before)
        found, cost = float(np.mean(returns)), float(np.mean(costs)) if costs else None
        if self._lost is not None and self.num_timesteps >= self._lost[0] and self._lost[:3] != (self.num_timesteps, found, cost):
            self._rows.append(self._lost)  # the run has taken another course since the kill
            self._lost = None
        best = _worth(found, cost) > max((_worth(*row[1:3]) for row in self._rows), default=-math.inf)
        self._rows.append((self.num_timesteps, found, cost, best))
        self.logger.record("eval/mean_reward", found)
        if cost is not None:
            self.logger.record("eval/cost", cost)
        if best:
            self._lost = None
            buffer = io.BytesIO()
            self.model.save(buffer)
            write_whole(self._run.best, buffer.getvalue())
            if self._session.normalize is not None:
                save_state(self._run.best_vecnormalize, vecnormalize_state(self._session.normalize))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [("step", "return", "cost", "best"), *((*row[:3], int(row[3])) for row in self._rows)]
        )
        write_whole(self._run.evaluations, text.getvalue().encode())

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self._rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows = [(step, value, cost, best) for step, value, cost, best in state["rows"]]


def _numbers(row: dict[str, str]) -> tuple[int, float, float | None, bool]:
    """A row of evaluations.csv."""
    return int(row["step"]), float(row["return"]), float(row["cost"]) if row.get("cost") else None, row["best"] == "1"


def _worth(value: float, cost: float | None) -> float:
    return value if cost is None else -cost
