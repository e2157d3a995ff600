"""After whatever ends a ``learn``, the learner, its buffer and its environments are their plain selves at once."""

from __future__ import annotations

import io
from typing import Any

import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from genrl.policies import CriticWarmUp
from genrl.rewards import RND, RewardCallback
from genrl.sb3.hooks import attached, buffer_of
from tests.runs.tiny import Breaks

SMALL: dict[type, dict[str, Any]] = {
    PPO: {"n_steps": 32, "batch_size": 32},
    RecurrentPPO: {"n_steps": 32, "batch_size": 32},
    SAC: {"learning_starts": 16, "batch_size": 8},
}


def learner(kind: Any) -> Any:
    env = VecNormalize(DummyVecEnv([lambda: Breaks("none")]))
    policy = "MlpLstmPolicy" if kind is RecurrentPPO else "MlpPolicy"
    return kind(policy, env, seed=0, policy_kwargs={"net_arch": [8]}, **SMALL[kind])


class Raises(BaseCallback):
    """Raises at one of the callback's events, or in the learner's own train()."""

    def __init__(self, where: str, error: type[BaseException]) -> None:
        super().__init__()
        self.where, self.error = where, error

    def _now(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def _on_training_start(self) -> None:
        self._now("start")

    def _on_rollout_start(self) -> None:
        self._now("rollout")

    def _on_step(self) -> bool:
        if self.num_timesteps > 40:
            self._now("step")
        return True

    def _on_rollout_end(self) -> None:
        if self.where == "train":
            self.model.policy.optimizer = self.model.actor = None  # type: ignore[assignment]  # which train() needs

    def _on_training_end(self) -> None:
        self._now("end")


def assert_plain(model: Any) -> None:
    assert type(buffer_of(model)) in (ReplayBuffer, RolloutBuffer) or "Recurrent" in type(buffer_of(model)).__name__
    assert type(buffer_of(model)).__mro__[1].__name__ != type(buffer_of(model)).__name__  # a subclass of its own name
    assert "step_wait" not in vars(model.env.venv)
    assert not {"train", "collect_rollouts", "_excluded_save_params"} & set(vars(model))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["rollout", "step", "train"])
@pytest.mark.parametrize("kind", list(SMALL))
def test_an_exception_leaves_them_plain_at_once(kind: type, where: str, error: type[BaseException]) -> None:
    model = learner(kind)
    callback = RewardCallback(RND(model.observation_space, model.action_space))
    with pytest.raises(error if where != "train" else AttributeError) as _kept:  # with its traceback, and so the frames
        model.learn(100, callback=[callback, Raises(where, error)])
    assert_plain(model)


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_the_end_and_a_refusal_leave_them_plain_too(kind: type) -> None:
    model = learner(kind)
    callbacks = [RewardCallback(RND(model.observation_space, model.action_space)) for _ in range(2)]
    model.learn(64, callback=[callbacks[0], CriticWarmUp(50)])
    assert_plain(model)
    with pytest.raises(ValueError, match="two callbacks are named"):
        model.learn(64, callback=callbacks)
    assert_plain(model)


class Looks(BaseCallback):
    """Whether the environment and the buffer are not plain, at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[bool] = []

    def _on_step(self) -> bool:
        self.live.append("step_wait" in vars(self.model.env.venv) and bool(attached(buffer_of(self.model))))
        return True


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_a_learn_goes_on_after_another_callback_failed_at_its_start(kind: type) -> None:
    model, looks = learner(kind), Looks()
    callback = RewardCallback(RND(model.observation_space, model.action_space))
    with pytest.raises(KeyError):
        model.learn(64, callback=[callback, Raises("start", KeyError)])
    for _ in range(2):
        model.learn(32, callback=[callback, looks])
        assert_plain(model)
    assert looks.live == [True] * 64


class SavesAlways(BaseCallback):
    """Saves the learner at each event, and keeps what was in each zip."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[Any] = []

    def _save(self) -> None:
        buffer = io.BytesIO()
        self.model.save(buffer)
        buffer.seek(0)
        self.saved.append(type(self.model).load(buffer))

    def _on_training_start(self) -> None:
        self._save()

    def _on_rollout_start(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    _on_rollout_end = _on_training_end = _on_training_start


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", [PPO, SAC])
def test_a_learner_that_is_saved_while_it_learns_holds_nothing_of_it(kind: type, last: bool) -> None:
    model, saving = learner(kind), SavesAlways()
    callback = RewardCallback(RND(model.observation_space, model.action_space))
    model.learn(8 if kind is SAC else 64, callback=[callback, saving] if last else [saving, callback])
    assert len(saving.saved) > 5
    for loaded in saving.saved:
        assert not {"train", "collect_rollouts", "_excluded_save_params"} & set(vars(loaded))


def test_what_another_callback_puts_in_the_place_of_a_phase_is_still_called(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learner(PPO)
    held: list[int] = []
    train = CriticWarmUp._train
    monkeypatch.setattr(CriticWarmUp, "_train", lambda self: held.append(self.num_timesteps) or train(self))
    model.learn(128, callback=[RewardCallback(RND(model.observation_space, model.action_space)), CriticWarmUp(64)])
    assert held == [32, 64]
