"""The bonus in the log of a learner with a replay buffer, which updates its reward less often than it writes a row."""

from pathlib import Path

import numpy as np
import pytest

from genrl.cli._ending import _rows
from genrl.runs import explore, resume
from genrl.runs.directory import RunDirectory, read_csv
from genrl.runs.pictures import draw
from genrl.runs.sockets import _bonus
from tests.runs.tiny import SMALL, config

KEYS = ("bonus_mean", "bonus_std", "bonus_max", "loss")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDirectory:
    """900 steps with an update every 250, so that a row of four episodes of 20 steps often sees none; stopped at 430 steps."""
    out: Path = tmp_path_factory.mktemp("log") / "run"
    learner = SMALL["sac"] | {"net_arch": (8,), "learning_starts": 850}
    changes = {"env_kwargs": {"max_episode_steps": 20}, "reward": "rnd", "update_every": 250, "learner_kwargs": learner}
    explore(config(out, "sac", steps=430, eval_episodes=0, **changes), quiet=True)
    resume(out, steps=900, quiet=True)
    return RunDirectory(out)


def test_each_row_from_the_first_update_on_has_it(run):
    rows = read_csv(run.progress)
    filled = [[key for key in KEYS if row[f"reward/{key}"]] for row in rows]
    begun = next(i for i, row in enumerate(rows) if int(row["time/total_timesteps"]) >= 250)
    assert len(rows) > begun + 4
    assert filled == [[]] * begun + [list(KEYS)] * (len(rows) - begun)


def test_it_changes_with_each_update_only(run):
    rows = [row for row in read_csv(run.progress) if row["reward/bonus_mean"]]
    by_update = {}
    for row in rows:
        by_update.setdefault(int(row["time/total_timesteps"]) // 250, set()).add(row["reward/bonus_mean"])
    assert all(len(values) == 1 for values in by_update.values())
    assert len(set.union(*by_update.values())) == len(by_update) == 3


def test_the_curve_goes_on_to_the_end_of_a_resumed_run(run, monkeypatch):
    drawn = []
    monkeypatch.setattr("genrl.runs.pictures._steps_axis", lambda axes, last: drawn.append(last))
    draw(run)
    assert drawn[-1] == 900


def test_a_bonus_of_zero_is_explained():
    assert (_bonus(np.zeros((0, 0))), _bonus(np.zeros((4, 1))), _bonus(np.full((4, 1), 0.5))) == ("", "no bonus yet", "bonus 0.5")
    nothing = dict.fromkeys(("first_reward_step", "steps_per_second", "training_return", "coverage"))
    done = nothing | {"steps": 64, "seconds": 3, "episodes": 0, "evaluation_return": None, "evaluation_returns": [], "bonus_mean": 0.0}
    assert dict(_rows(done))["bonus"] == "0; the reward gave none before its first update"
    assert dict(_rows(done | {"bonus_mean": 0.25}))["bonus"] == "0.25"
