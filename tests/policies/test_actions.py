"""Every action space with every learner: what was demonstrated is what comes out, in the environment's units, or a refusal."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from genrl.data import Demonstrations, Episode
from genrl.policies import Mixing, clone, dagger
from genrl.rewards import GAIL, Constant, RewardCallback
from genrl.sb3.actions import to_environment, to_policy
from genrl.transitions import Transitions
from genrl.worlds import Ensemble, Imagination, Practice

F4 = np.float32
BOXES: dict[str, spaces.Space[Any]] = {
    "ten": spaces.Box(-10, 10, (1,), F4),
    "lopsided": spaces.Box(np.array([-2, 0], F4), np.array([3, 0.5], F4)),
    "far from zero": spaces.Box(4, 6, (1,), F4),
    "matrix": spaces.Box(np.array([[-1, -2, 0], [-3, 0, 1]], F4), np.array([[1, 2, 1], [3, 4, 2]], F4)),
    "cube of doubles": spaces.Box(-1.5, 1.5, (1, 2, 2), np.float64),
}
WHOLE: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(4),
    "multidiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "multibinary": spaces.MultiBinary(3),
}
REFUSED: dict[str, tuple[spaces.Space[Any], str]] = {
    "discrete from one": (spaces.Discrete(3, start=1), "executes actions that count from 0"),
    "discrete from minus one": (spaces.Discrete(3, start=-1), "executes actions that count from 0"),
    "multidiscrete from one": (spaces.MultiDiscrete([3, 2], start=[0, 1]), "executes actions that count from 0"),
    "whole numbers in a box": (spaces.Box(0, 9, (2,), np.int64), "stores its actions as int64"),
}
SPACES = BOXES | WHOLE

ON_POLICY: dict[str, tuple[Any, dict[str, Any]]] = {
    "PPO": (PPO, {}),
    "PPO squashed": (PPO, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "PPO gSDE": (PPO, {"use_sde": True}),
    "A2C": (A2C, {}),
    "A2C squashed": (A2C, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "TRPO": (TRPO, {}),
    "MaskablePPO": (MaskablePPO, {}),
    "RecurrentPPO": (RecurrentPPO, {}),
}
OFF_POLICY: dict[str, tuple[Any, dict[str, Any]]] = {
    "SAC": (SAC, {}),
    "SAC gSDE": (SAC, {"use_sde": True}),
    "TD3": (TD3, {}),
    "DDPG": (DDPG, {}),
    "TQC": (TQC, {}),
    "CrossQ": (CrossQ, {}),
    "DQN": (DQN, {}),
    "QRDQN": (QRDQN, {}),
}
LEARNERS = ON_POLICY | OFF_POLICY


class Lamp(gymnasium.Env[np.ndarray, Any]):
    """Observes -1 or 1, in turn; keeps the actions that it executed. Only actions of its space are legal."""

    observation_space = spaces.Box(-1, 1, (1,), F4)

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space, self.executed = action_space, list[Any]()

    def _observe(self) -> np.ndarray:
        return np.array([1 - 2 * (self.time % 2)], F4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.executed.append(np.array(action))
        self.time += 1
        return self._observe(), 0.0, False, self.time >= 8, {}

    def action_masks(self) -> np.ndarray:
        """What the expert does is legal, and little else."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return np.arange(space.n) == expert(space, self._observe())
        sizes = space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else [2] * int(np.prod(space.shape or ()))
        rows = [np.arange(size) == k for size, k in zip(sizes, expert(space, self._observe()).reshape(-1), strict=True)]
        return np.concatenate(rows)


def expert(space: spaces.Space[Any], obs: np.ndarray) -> Any:
    """One action where it observes 1, another where it observes -1; neither is in the middle of the space."""
    up = float(obs[0]) > 0
    if isinstance(space, spaces.Box):
        share = np.linspace(0.6, 0.8, int(np.prod(space.shape))).reshape(space.shape)
        return (space.low + (share if up else 1 - share) * (space.high - space.low)).astype(space.dtype)
    if isinstance(space, spaces.Discrete):
        return int(space.start) + (2 if up else 1)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start + (space.nvec - 1 if up else 0 * space.nvec)
    return (np.arange(3) % 2 == up).astype(np.int8)


def demonstrations(space: spaces.Space[Any], n: int = 64) -> Demonstrations:
    obs = np.resize(np.array([[1], [-1]], F4), (n + 1, 1))
    actions = np.array([expert(space, row) for row in obs[:-1]])
    return Demonstrations.from_episodes([Episode(obs, actions, np.zeros(n), np.zeros(n, bool), np.arange(n) == n - 1)])


def learner(name: str, space: spaces.Space[Any]) -> Any:
    """``None`` where Stable-Baselines3 refuses the combination by itself."""
    kind, given = LEARNERS[name]
    kwargs = {**given, "policy_kwargs": {"net_arch": [32], **given.get("policy_kwargs", {})}}
    if name in OFF_POLICY:
        kwargs |= {"buffer_size": 200, "learning_starts": 8, "batch_size": 8, "learning_rate": 1e-6}
    else:
        kwargs |= {"n_steps": 16} | ({} if kind is A2C else {"batch_size": 16})
    try:
        return kind("MlpLstmPolicy" if kind is RecurrentPPO else "MlpPolicy", Lamp(space), seed=0, device="cpu", **kwargs)
    except (AssertionError, ValueError):
        return None


PAIRS = [(name, space) for name in LEARNERS for space in SPACES]


def fits(name: str, space: str) -> bool:
    """Which combinations Stable-Baselines3 can make; the test of its refusals below keeps this honest."""
    if name in ("DQN", "QRDQN"):
        return space == "discrete"
    if name in OFF_POLICY or "squashed" in name or "gSDE" in name:
        return space in BOXES
    return space in WHOLE if name == "MaskablePPO" else True


def fit(name: str) -> dict[str, Any]:
    """Keywords of cloning, with epochs to spare: where a short fit ends depends on a processor's last bits.

    CrossQ's running statistics follow its networks slowly.
    """
    if name == "CrossQ":
        return {"epochs": 250, "patience": 250, "learning_rate": 5e-3, "batch_size": 16}
    return {"epochs": 200, "patience": 200, "learning_rate": 1e-2, "batch_size": 16}


def assert_does_as_the_expert_does(model: Any, space: spaces.Space[Any]) -> None:
    for obs in (np.array([1], F4), np.array([-1], F4)):
        action, right = model.predict(obs, deterministic=True)[0], expert(space, obs)
        if isinstance(space, spaces.Box):
            assert action.shape == space.shape
            assert np.abs((action - right) / (space.high - space.low)).max() < 0.05, (action, right)
        else:
            np.testing.assert_array_equal(action, right)


@pytest.mark.parametrize(("name", "space"), PAIRS)
def test_only_these_combinations_can_be_made(name: str, space: str) -> None:
    assert (learner(name, SPACES[space]) is not None) == fits(name, space)


@pytest.mark.parametrize(("name", "space"), [pair for pair in PAIRS if fits(*pair) and pair[0] != "RecurrentPPO"])
def test_a_clone_does_what_was_demonstrated(name: str, space: str) -> None:
    model = learner(name, SPACES[space])
    clone(model, demonstrations(SPACES[space]), **fit(name))
    assert_does_as_the_expert_does(model, SPACES[space])


@pytest.mark.parametrize(("name", "space"), [pair for pair in PAIRS if fits(*pair) and pair[0] != "RecurrentPPO"])
def test_dagger_asks_for_what_the_learner_then_does(name: str, space: str) -> None:
    model, env, own = learner(name, SPACES[space]), Lamp(SPACES[space]), SPACES[space]
    known = dagger(model, lambda obs: expert(own, obs), env, rounds=2, episodes=4, **fit(name))
    for episode in known.episodes:
        np.testing.assert_array_equal(episode.actions, [expert(own, obs) for obs in episode.observations[:-1]])
    assert all(own.contains(action if action.shape else int(action)) for action in env.executed)
    assert_does_as_the_expert_does(model, own)


class Seen(Constant):
    """Keeps the actions of the transitions that it scores when they are new."""

    def forward(self, transitions: Transitions) -> torch.Tensor:
        if self.training:
            self.kept: list[np.ndarray] = [*getattr(self, "kept", []), *transitions.action.numpy()]
        return super().forward(transitions)


@pytest.mark.parametrize(("name", "space"), [pair for pair in PAIRS if fits(*pair) and pair != ("RecurrentPPO", "multibinary")])
def test_a_reward_sees_what_the_environment_executed(name: str, space: str) -> None:
    # sb3-contrib 2.9, ppo_recurrent.py, train: RecurrentPPO can't learn MultiBinary actions, with or without a reward.
    model = learner(name, SPACES[space])
    reward = Seen(model.observation_space, model.action_space)
    model.learn(32, callback=RewardCallback(reward, update_every=8))
    executed = model.get_env().get_attr("executed")[0]
    assert len(reward.kept) >= 16
    np.testing.assert_allclose(reward.kept, executed[: len(reward.kept)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", SPACES)
def test_a_discriminator_takes_an_action_of_the_environment_for_the_demonstrated_one(space: str) -> None:
    demos = demonstrations(SPACES[space])
    gail = GAIL(demos, Lamp.observation_space, SPACES[space])
    obs = np.array([[1], [-1]], F4)
    executed = np.array([expert(SPACES[space], row) for row in obs])
    agent = Transitions(torch.tensor(obs), torch.as_tensor(executed), torch.tensor(-obs), torch.zeros(2, dtype=torch.bool))
    torch.testing.assert_close(gail.inputs(agent), gail.inputs(demos.transitions().rows(slice(0, 2))))


class Batch(BaseCallback):
    """Keeps the last batch as the learner drew it."""

    def _on_rollout_end(self) -> None:
        if self.model.replay_buffer.size():
            self.batch = self.model.replay_buffer.sample(16)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(("name", "space"), [pair for pair in PAIRS if fits(*pair) and pair[0] in OFF_POLICY])
def test_mixed_batches_hold_what_was_demonstrated(name: str, space: str) -> None:
    model, own = learner(name, SPACES[space]), SPACES[space]
    look = Batch()
    model.learn(24, callback=[Mixing(demonstrations(own), share=0.5), look])
    obs, actions = look.batch.observations[8:].numpy(), to_environment(model, look.batch.actions[8:].numpy())
    right = np.array([expert(own, row) for row in obs])
    np.testing.assert_allclose(actions, right, rtol=1e-5, atol=1e-5)
    executed = np.array(model.get_env().get_attr("executed")[0])
    for action in to_environment(model, look.batch.actions[:8].numpy()):
        assert np.isclose(action, executed, atol=1e-5).reshape(len(executed), -1).all(1).any()


@pytest.mark.parametrize("space", BOXES)
@pytest.mark.parametrize("name", ["PPO", "PPO squashed", "SAC"])
def test_units_of_the_policy_and_of_the_environment_are_inverse(name: str, space: str) -> None:
    model, own = learner(name, SPACES[space]), SPACES[space]
    own.seed(0)
    actions = np.array([own.sample() for _ in range(5)])
    there = to_policy(model, actions)
    assert there.shape == (5, np.prod(own.shape))
    assert name == "PPO" or np.abs(there).max() <= 1
    np.testing.assert_allclose(to_environment(model, there), actions, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", REFUSED)
@pytest.mark.parametrize("name", ["PPO", "MaskablePPO", "SAC", "DQN"])
def test_what_a_learner_would_execute_otherwise_is_refused_before_anything_is_done(name: str, space: str) -> None:
    own, sentence = REFUSED[space]
    if (model := learner(name, own)) is None:
        return
    env, demos = Lamp(own), demonstrations(own)
    with pytest.raises(ValueError, match=sentence):
        clone(model, demos)
    with pytest.raises(ValueError, match=sentence):
        dagger(model, lambda obs: expert(own, obs), env)
    with pytest.raises(ValueError, match=sentence):
        model.learn(32, callback=RewardCallback(GAIL(demos, model.observation_space, own)))
    world = Ensemble(Lamp.observation_space, own, members=2, hidden=(8,))
    if name in OFF_POLICY:
        others: list[Any] = [Mixing(demos), Imagination(world)]
    else:
        others = [Practice(world)] if name == "PPO" else []
    for callback in others:
        with pytest.raises(ValueError, match=sentence):
            model.learn(32, callback=callback)
    assert not env.executed
    assert not model.get_env().get_attr("executed")[0]


def test_the_advised_wrapper_makes_actions_count_from_zero() -> None:
    own = spaces.Discrete(3, start=1)
    wrapped = gymnasium.wrappers.TransformAction(Lamp(own), lambda action: action + own.start, spaces.Discrete(3))
    model = PPO("MlpPolicy", wrapped, n_steps=16, batch_size=16)
    model.learn(16, callback=RewardCallback(Seen(model.observation_space, model.action_space)))
    assert {int(action) for action in wrapped.unwrapped.executed} <= {1, 2, 3}


@pytest.mark.parametrize("kind", [SAC, TD3])
def test_a_width_that_scaling_would_divide_by_is_refused(kind: Any) -> None:
    own = spaces.Box(np.array([-1, 2], F4), np.array([1, 2], F4))
    model = kind("MlpPolicy", Lamp(own), buffer_size=10)
    with pytest.raises(ValueError, match=f"{kind.__name__} divides by the width of each action, which is 0.0 to 2.0"):
        clone(model, demonstrations(own))


def test_demonstrations_from_one_are_checked_in_their_own_numbers() -> None:
    own = spaces.Discrete(3, start=1)
    assert demonstrations(own).fitted(Lamp.observation_space, own)[0].transitions().action.unique().tolist() == [2, 3]
    with pytest.raises(ValueError, match="has discrete actions from 1 to 2, but the task has 2, 0 to 1"):
        demonstrations(spaces.Discrete(3)).fitted(Lamp.observation_space, spaces.Discrete(2))


def test_every_off_policy_learner_is_in_the_matrix() -> None:
    assert all(issubclass(kind, OffPolicyAlgorithm) == (name in OFF_POLICY) for name, (kind, _) in LEARNERS.items())


class Numbered(Lamp):
    """Its observations are numbers that count from one, alone or in a Dict."""

    def __init__(self, kind: str) -> None:
        super().__init__(spaces.Discrete(3))
        alone = spaces.MultiDiscrete([2, 2], start=[1, 0]) if kind == "multidiscrete" else spaces.Discrete(2, start=1)
        self.kind, self.observation_space = kind, spaces.Dict({"seat": alone}) if kind == "dict" else alone  # type: ignore[assignment]

    def _observe(self) -> Any:
        found = 1 + self.time % 2
        return (
            {"seat": np.int64(found)} if self.kind == "dict" else np.array([found, 0]) if self.kind == "multidiscrete" else np.int64(found)
        )


@pytest.mark.parametrize("kind", ["discrete", "multidiscrete", "dict"])
@pytest.mark.parametrize("learner", [PPO, DQN])
def test_observations_that_do_not_count_from_zero_are_refused_before_the_first_step(learner: Any, kind: str) -> None:
    env = Numbered(kind)
    model = learner("MultiInputPolicy" if kind == "dict" else "MlpPolicy", env)
    whose = "'seat' of the" if kind == "dict" else "the"
    said = rf"{learner.__name__} reads discrete observations that count from 0, but {whose} environment gives"
    with pytest.raises(ValueError, match=said):
        model.learn(64, callback=RewardCallback(Constant(model.observation_space, model.action_space)))
    assert not env.executed
