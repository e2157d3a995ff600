"""The reference demonstrations have the numbers of their table (data/demonstrations/INDEX.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genrl.data import DemonstrationError, Demonstrations
from tests.data.walks import assert_same, fit

pytestmark = pytest.mark.shared

# id, task, obs, action (shape, or number of discrete ones), episodes, steps, mean, sd, min, max, terminated
EXPERTS = [
    ("halfcheetah/stochastic-v0", "HalfCheetah-v5", 17, (6,), 25, 25_000, 4648.8, 147.5, 4320.6, 4893.5, 0),
    ("hopper/stochastic-v0", "Hopper-v5", 11, (3,), 25, 24_778, 3525.7, 109.2, 3007.0, 3588.8, 2),
    ("ant/stochastic-v0", "Ant-v5", 27, (8,), 25, 24_227, 4070.1, 607.8, 1177.3, 4448.3, 2),
    ("humanoid/deterministic-v0", "Humanoid-v5", 348, (17,), 25, 25_000, 10082.0, 52.2, 9977.9, 10185.5, 0),
    ("cartpole/stochastic-v0", "CartPole-v1", 4, 2, 10, 4_003, 400.3, 94.1, 225, 500, 8),
    ("mountaincar/stochastic-v0", "MountainCar-v0", 2, 3, 10, 1_043, -104.3, 1.3, -106, -101, 10),
    ("acrobot/stochastic-v0", "Acrobot-v1", 6, 3, 10, 786, -77.6, 14.0, -104, -63, 10),
    ("invertedpendulum/stochastic-v0", "InvertedPendulum-v5", 4, (1,), 5, 5_000, 1000.0, 0.0, 1000, 1000, 0),
]
# file, action, time limit, episodes, steps, pairs, mean, sd, min, max
FOREIGN = [
    ("sb2_expert_cartpole.npz", 2, 500, 100, 49_527, 49_427, 495.3, 47.1, 27, 500),
    ("sb2_expert_pendulum.npz", (1,), 200, 100, 20_000, 19_900, -149.9, 86.8, -356.5, -0.3),
    ("hcai_cartpole_rollouts.npz", 2, 500, 57, 26_964, 26_964, 473.1, 26.5, 393, 500),
    ("hcai_pendulum_rollouts.npz", (1,), 200, 56, 11_200, 11_200, -189.4, 129.6, -548.1, -0.5),
]


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "data" / "demonstrations"


def statistics(demos: Demonstrations) -> list[float]:
    returns = demos.returns
    return [returns.mean(), returns.std(), returns.min(), returns.max()]


@pytest.mark.parametrize(("name", "task", "obs", "action", "episodes", "steps", "mean", "sd", "low", "high", "ended"), EXPERTS)
def test_an_expert_has_the_numbers_of_its_row(
    name: str, task: str, obs: int, action: tuple[int] | int, episodes: int, steps: int,
    mean: float, sd: float, low: float, high: float, ended: int, folder: Path,
) -> None:  # fmt: skip
    demos = Demonstrations.load(folder / "experts" / name)
    assert (demos.env_id, demos.n_episodes, demos.n_steps, demos.lengths.sum()) == (task, episodes, steps, steps)
    assert statistics(demos) == pytest.approx([mean, sd, low, high], abs=0.051)
    fit(demos, (obs,), action)
    assert [episode.seed for episode in demos.episodes] == list(range(1000, 1000 + episodes))
    batch = demos.transitions()
    assert (batch.batch_size, int(batch.terminated.sum())) == (steps, ended)
    assert sum(episode.truncated for episode in demos.episodes) == episodes - ended
    assert batch.obs.dtype == torch.float32
    within = torch.ones(steps - 1, dtype=torch.bool)
    within[np.cumsum(demos.lengths)[:-1] - 1] = False
    assert torch.equal(batch.next_obs[:-1][within], batch.obs[1:][within])


@pytest.mark.parametrize(("name", "action", "time_limit", "episodes", "steps", "pairs", "mean", "sd", "low", "high"), FOREIGN)
def test_a_foreign_file_has_the_numbers_of_its_row(
    name: str, action: tuple[int] | int, time_limit: int, episodes: int, steps: int, pairs: int,
    mean: float, sd: float, low: float, high: float, folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    demos = Demonstrations.load(folder / "foreign" / name)
    assert (demos.n_episodes, demos.lengths.sum(), demos.n_steps) == (episodes, steps, pairs)
    assert statistics(demos) == pytest.approx([mean, sd, low, high], abs=0.051)
    fit(demos, demos.obs_shape, action)
    assert demos.discrete or demos.clipped(-2, 2)[1] == 0
    limited = Demonstrations.load(folder / "foreign" / name, time_limit=time_limit)
    full = int((demos.lengths == time_limit).sum())
    assert full > 0
    assert sum(episode.truncated for episode in limited.episodes) == full
    assert sum(episode.terminated for episode in limited.episodes) == (episodes - full if name.startswith("hcai") else 0)
    demos.save(tmp_path / "again.npz")
    assert_same(Demonstrations.load(tmp_path / "again.npz"), demos)


@pytest.mark.parametrize("name", ["sb2_expert", "hcai"])
def test_successors_in_foreign_files_obey_the_tasks_physics(name: str, folder: Path) -> None:
    def batch(task: str) -> tuple[torch.Tensor, torch.Tensor]:
        file = {"sb2_expert": f"sb2_expert_{task}.npz", "hcai": f"hcai_{task}_rollouts.npz"}[name]
        transitions = Demonstrations.load(folder / "foreign" / file).transitions()
        return transitions.obs, transitions.next_obs

    obs, next_obs = batch("cartpole")  # x' = x + 0.02 dx/dt, and so the angle (gymnasium, cartpole.py, Euler)
    torch.testing.assert_close(next_obs[:, [0, 2]], obs[:, [0, 2]] + 0.02 * obs[:, [1, 3]], atol=1e-6, rtol=0)
    obs, next_obs = batch("pendulum")  # angle' = angle + 0.05 velocity' (pendulum.py, semi-implicit)
    free = next_obs[:, 2].abs() < 7.99  # older versions cut the velocity at 8 only after they had moved
    obs, next_obs = obs[free], next_obs[free]
    turned = torch.atan2(next_obs[:, 1], next_obs[:, 0]) - torch.atan2(obs[:, 1], obs[:, 0]) - 0.05 * next_obs[:, 2]
    torch.testing.assert_close(turned.cos(), torch.ones_like(turned), atol=1e-6, rtol=0)


def test_the_papers_subsampling_of_25_trajectories_is_1250_pairs(folder: Path) -> None:
    demos = Demonstrations.load(folder / "experts/halfcheetah/stochastic-v0").subsample(episodes=25, every=20)
    assert demos.n_steps == 1250
    assert [int(episode.steps[0]) for episode in demos.episodes] == np.random.RandomState(0).randint(0, 20, size=25).tolist()


def test_twenty_half_cheetahs_are_below_two_megabytes(folder: Path, tmp_path: Path) -> None:
    demos = Demonstrations.load(folder / "experts/halfcheetah/stochastic-v0").subsample(episodes=20)
    demos.save(tmp_path / "halfcheetah.hdf5")
    assert (tmp_path / "halfcheetah.hdf5").stat().st_size < 2e6
    assert_same(Demonstrations.load(tmp_path / "halfcheetah.hdf5"), demos)


def test_the_ant_without_contacts_tells_how_to_make_its_task(folder: Path) -> None:
    demos = Demonstrations.load(folder / "experts/ant/stochastic-v0")
    assert demos.env_kwargs == {"include_cfrc_ext_in_observation": False}
    with pytest.raises(DemonstrationError, match=r"size 27, but the task gives 105; .*--env.include-cfrc-ext-in-observation False"):
        fit(demos, (105,), (8,))
