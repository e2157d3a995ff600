"""Every reward, on codes of images and on flat observations, in every kind of learner, in the task and in a dream of it: the same laws.

What each reward gives is computed anew by a twin, from what a recorder around the environments wrote down.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from genrl.data import Demonstrations, Episode
from genrl.encoders import EncodedVecEnv
from genrl.policies import Mixing
from genrl.rewards import RewardCallback, RewardModel
from genrl.roles import REWARDS
from genrl.transitions import Transitions, true_next_obs
from genrl.worlds import DreamVecEnv, Ensemble
from tests.encoders.eyes import picture_clocks, reader
from tests.rewards.clock import Spy, clocks, learner

WEIGHT, EXTRINSIC = 3.0, 0.5
N_ENVS, STEPS = 2, 192
SMALL: dict[str, dict[str, Any]] = {
    "vime": {"min_transitions": 40, "n_updates": 5},
    "counts": {"warmup": 32},
    "disagreement": {"members": 2},
    "pwil": {"beta": 0.1},
    **{name: {"updates": 1} for name in ("gail", "gaifo", "vail", "airl", "diffail")},
}
"""What makes a reward learn within so few steps."""
OFF_POLICY = {"SAC", "DQN"}


class Recorder(VecEnvWrapper):
    """Writes down what really happens: rows of (obs, action, next_obs, terminated, cut, reward), each ``(env, …)``."""

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.rows: list[tuple[np.ndarray, ...]] = []
        self._obs, self._action = np.zeros(0), np.zeros(0)

    def reset(self) -> Any:
        self._obs = np.array(self.venv.reset())
        return self._obs.copy()

    def step_async(self, actions: np.ndarray) -> None:
        self._action = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = self.venv.step_wait()
        cut = np.array([bool(info.get("TimeLimit.truncated")) for info in infos])
        self.rows.append((self._obs, self._action, true_next_obs(obs, dones, infos), dones & ~cut, cut, np.array(rewards)))
        self._obs = np.array(obs)
        return obs, rewards, dones, infos

    def transitions(self, start: int = 0, end: int | None = None) -> Transitions:
        """Time first, then environment."""
        fields = (np.concatenate(field) for field in zip(*(row[:4] for row in self.rows[start:end]), strict=True))
        return Transitions(*(torch.as_tensor(field) for field in fields))

    def rewards(self) -> np.ndarray:
        return np.concatenate([row[5] for row in self.rows])


def task(observes: str, actions: str, n_envs: int = N_ENVS) -> VecEnv:
    if observes == "flat":
        return clocks(n_envs, actions=actions)
    return EncodedVecEnv(picture_clocks(n_envs, actions=actions), reader(), history=2, actions=True)


@cache
def walk(observes: str, actions: str) -> Recorder:
    """Random steps of one environment."""
    env = Recorder(task(observes, actions, 1))
    env.action_space.seed(0)
    env.reset()
    for _ in range(60):
        env.step(np.array([env.action_space.sample()]))
    return env


@cache
def model_of(observes: str, actions: str) -> Ensemble:
    env = walk(observes, actions)
    model = Ensemble(env.observation_space, env.action_space, members=2, hidden=(8,))
    model.fit(env.transitions(), torch.as_tensor(env.rewards()), max_steps=5)
    return model


@cache
def demonstrations(observes: str, actions: str) -> Demonstrations:
    episodes: list[Episode] = []
    first = 0
    rows = walk(observes, actions).rows
    for t, (_, _, next_obs, terminated, cut, _) in enumerate(rows):
        if terminated[0] or cut[0]:
            obs = np.stack([*(row[0][0] for row in rows[first : t + 1]), next_obs[0]])
            action, reward = (np.stack([row[i][0] for row in rows[first : t + 1]]) for i in (1, 5))
            last = np.arange(len(action)) == len(action) - 1
            episodes.append(Episode(obs, action, reward, last & terminated[0], last & cut[0]))
            first = t + 1
    return Demonstrations.from_episodes(episodes)


class Call(NamedTuple):
    """One score."""

    training: bool
    state: dict[str, Any]
    """Of the reward, before it."""
    transitions: Transitions
    score: torch.Tensor


class Cell:
    """One learner with one reward, and everything that it is checked against."""

    def __init__(self, name: str, observes: str, algorithm: str, world: str) -> None:
        self.part, self.actions = REWARDS.part(name), "discrete" if algorithm == "DQN" else "box"
        self.observes, self.off_policy = observes, algorithm in OFF_POLICY
        env = task(observes, self.actions)
        self.encoder = env.codes.encoder if isinstance(env, EncodedVecEnv) else None
        if world == "dream":
            model = model_of(observes, self.actions)
            env = DreamVecEnv(model, walk(observes, self.actions).transitions(), N_ENVS, horizon=6)
        self.env = Recorder(env)
        settings: dict[str, Any] = {} if self.off_policy else {"n_steps": 32}
        self.model = learner(algorithm, self.env, **settings)
        self.reward, self.twin = self.built(), self.built()
        self.calls: list[Call] = []
        self.updates, self.checked = 0, 0

    def built(self) -> RewardModel:
        cls: Any = REWARDS.load(self.part.name)
        kwargs = dict(SMALL.get(self.part.name, {}))
        if "demonstrations" in self.part.needs and self.part.name != "sqil":
            kwargs["demonstrations"] = demonstrations(self.observes, self.actions)
        made: RewardModel = cls(observation_space=self.model.observation_space, action_space=self.model.action_space, **kwargs)
        return made

    def watch(self) -> None:
        """Write down each score with the reward's state before it, and count the updates."""
        forward, update = self.reward.forward, self.reward.update

        def scored(transitions: Transitions) -> Any:
            call = Call(self.reward.training, copy.deepcopy(self.reward.state_dict()), transitions, forward(transitions))
            self.calls.append(call)
            return call.score

        def updated(memory: Any) -> dict[str, float]:
            self.updates += 1
            return update(memory)

        self.reward.forward, self.reward.update = scored, updated  # type: ignore[method-assign]

    def again(self, call: Call, transitions: Transitions) -> np.ndarray:
        """The score of ``transitions`` by a twin in the state of that call."""
        self.twin.load_state_dict(call.state)
        self.twin.train(call.training)
        floats = self.twin.floats
        with torch.no_grad():
            return self.twin(transitions._replace(obs=floats(transitions.obs), next_obs=floats(transitions.next_obs))).numpy()

    def check_rollout(self, model: Any) -> None:
        """Where no episode was cut, and so nothing bootstrapped, the buffer has the weighted sum."""
        buffer = model.rollout_buffer
        n = buffer.rewards.shape[0]
        assert self.calls[-1].training
        bonus = self.again(self.calls[-1], self.env.transitions(-n)).reshape(n, N_ENVS)
        cut, paid = (np.stack([row[i] for row in self.env.rows[-n:]]) for i in (4, 5))
        np.testing.assert_allclose(buffer.rewards[~cut], (EXTRINSIC * paid + WEIGHT * bonus)[~cut], rtol=1e-4, atol=1e-4)
        self.checked += int((~cut).sum())

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """A batch as the learner draws it, each of its own rows compared with what was written down."""
        buffer, before = self.model.replay_buffer, len(self.calls)
        batch = type(buffer).sample(buffer, batch_size, env=env)
        own = batch_size // 2 if self.reward.needs_expert_batches else batch_size
        bonus = self.bonus(self.calls[before:])
        true = self.true()
        action = batch.actions.numpy()
        action = action[:, 0] if self.actions == "discrete" else self.model.policy.unscale_action(action)
        rows = Transitions(batch.observations, torch.as_tensor(action), batch.next_observations, batch.dones[:, 0].bool()).rows(slice(own))
        names = keys(rows)
        assert set(names) <= bonus.keys() <= true.keys()
        assert self.reward.scored_once or set(names) == bonus.keys()
        assert rows.terminated.tolist() == [true[name][1] for name in names]
        expected = [EXTRINSIC * true[name][0] + WEIGHT * bonus[name] for name in names]
        np.testing.assert_allclose(batch.rewards[:own, 0].numpy(), expected, rtol=1e-4, atol=1e-4)
        self.checked += own
        return batch

    def bonus(self, drawn: list[Call]) -> dict[bytes, float]:
        """What the reward says of the rows of a batch: when they are drawn, or once, when they were made."""
        if self.reward.scored_once:
            assert not [call for call in drawn if not call.training]
            calls = [call for call in self.calls if call.training]
        else:
            calls = [call for call in drawn if not call.training]
            assert len(calls) == 1
        return {key: value for call in calls for key, value in zip(keys(call.transitions), self.again(call, call.transitions), strict=True)}

    def true(self) -> dict[bytes, tuple[float, bool]]:
        """Reward and termination of each step that was written down."""
        rows = zip(self.env.rewards().tolist(), self.env.transitions().terminated.tolist(), strict=True)
        return dict(zip(keys(self.env.transitions()), rows, strict=True))


def keys(transitions: Transitions) -> list[bytes]:
    """What tells transitions apart: observation, action to a thousandth (it was scaled and scaled back), next observation."""
    action = transitions.action.double().reshape(transitions.batch_size, -1).mul(1e3).round()
    return [row.numpy().tobytes() for row in torch.cat([transitions.obs.float(), action.float(), transitions.next_obs.float()], 1)]


def cells() -> list[Any]:
    """All that go together; on codes in the task they are quick enough for every day."""
    found = []
    for part in REWARDS.parts:
        for observes in ("codes", "flat"):
            for algorithm in ("PPO", "SAC", "DQN"):
                for world in ("real", "dream"):
                    if "a learner with a replay buffer" in part.needs and algorithm not in OFF_POLICY:
                        continue
                    daily = observes == "codes" and (world == "real") == (algorithm != "DQN")
                    marks = () if daily else (pytest.mark.slow,)
                    found.append(pytest.param(part.name, observes, algorithm, world, marks=marks))
    return found


@pytest.mark.parametrize(("name", "observes", "algorithm", "world"), cells())
def test_the_learner_is_paid_what_the_reward_says_of_what_happened(name: str, observes: str, algorithm: str, world: str) -> None:
    cell = Cell(name, observes, algorithm, world)
    eyes = None if cell.encoder is None else {key: value.clone() for key, value in cell.encoder.state_dict().items()}
    cell.watch()
    callback = RewardCallback(cell.reward, WEIGHT, EXTRINSIC, update_every=64)
    callbacks: list[Any] = [callback]
    if cell.reward.needs_expert_batches:
        callbacks.append(Mixing(demonstrations(observes, cell.actions), share=0.5))
    if cell.off_policy:
        cell.model.replay_buffer.sample = cell.sample
    else:
        callbacks.append(Spy(at_end=lambda spy: cell.check_rollout(spy.model)))
    cell.model.learn(STEPS, callback=callbacks)
    assert cell.model.num_timesteps == STEPS == N_ENVS * len(cell.env.rows)
    assert sum(call.transitions.batch_size for call in cell.calls if call.training) == STEPS  # each step was scored once, when it was new
    assert cell.updates == STEPS // 64
    assert cell.checked > (40 if cell.off_policy else STEPS // 2)
    assert np.isfinite(callback.last_bonus).all()
    if eyes is not None:
        assert not cell.encoder.training
        assert all(torch.equal(value, eyes[key]) for key, value in cell.encoder.state_dict().items())


@pytest.mark.parametrize("observes", ["codes", "flat"])
@pytest.mark.parametrize("name", [part.name for part in REWARDS.parts if "a learner with a replay buffer" in part.needs])
def test_what_needs_a_replay_buffer_refuses_a_learner_without_one_before_the_first_step(name: str, observes: str) -> None:
    cell = Cell(name, observes, "PPO", "real")
    with pytest.raises(ValueError, match="needs demonstrations in the batches of an off-policy learner"):
        cell.model.learn(STEPS, callback=RewardCallback(cell.reward))
    assert not cell.env.rows
