"""EncodedVecEnv: what a learner observes is the codes of the last frames, of the same episode, also at its end."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize, VecTransposeImage
from torch import Tensor

from genrl.data import Images
from genrl.encoders import EncodedEnv, EncodedVecEnv, ImageEncoder, Preprocessing
from genrl.encoders.code_stack import flat_actions
from genrl.models import PCA
from genrl.rewards import RewardCallback, RewardModel
from genrl.transitions import Transitions
from tests.encoders.eyes import SHAPE, SPACES, PictureClock, actions_of, picture_clocks, read, reader
from tests.rewards.clock import ACTIONS, OFF_POLICY, ON_POLICY, PROCESSES, learner


class Keeper(RewardModel):
    """Keeps what it scores."""

    def __init__(self, *spaces_: Any) -> None:
        super().__init__(*spaces_)
        self.scored: list[Transitions] = []

    def forward(self, transitions: Transitions) -> Tensor:
        self.scored.append(transitions)
        return torch.zeros(transitions.batch_size)


def played(env: Any, steps: int, seed: int = 0) -> Any:
    """First observations, then for each step actions and what the environments answered."""
    env.action_space.seed(seed)
    yield env.reset()
    for _ in range(steps):
        actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
        yield actions, env.step(actions)


def numbers(obs: Any) -> np.ndarray:
    """The clock in raw observations, ``(n_envs, 3)``."""
    picture = obs["eyes"] if isinstance(obs, dict) else np.asarray(obs)
    if picture.dtype != np.uint8:
        picture = np.rint(255 * picture)
    return (picture[..., 0, 0] if picture.shape[-3] == 3 else picture[..., 0, 0, :]).astype(int)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize(("n_envs", "vec_env"), [(1, DummyVecEnv), (3, DummyVecEnv), (2, PROCESSES)])
@pytest.mark.parametrize("history", [1, 3])
def test_a_row_is_the_last_frames_of_the_running_episode_and_no_other(kind: str, n_envs: int, vec_env: Any, history: int) -> None:
    raw = played(picture_clocks(n_envs, kind=kind), 40)
    coded = EncodedVecEnv(picture_clocks(n_envs, vec_env, kind=kind), reader(), history=history)
    runs = played(coded, 40)
    frames = [[row] * history for row in numbers(next(raw))]
    ends = 0
    first = next(runs)
    assert first.dtype == np.float32
    assert read(first[:, : 3 * history]).reshape(n_envs, history, 3).tolist() == np.array(frames).tolist()
    for (_, (obs, rewards, dones, infos)), (_, (rows, coded_rewards, coded_dones, coded_infos)) in zip(raw, runs, strict=True):
        assert np.array_equal(rewards, coded_rewards)
        assert np.array_equal(dones, coded_dones)
        for i in range(n_envs):
            if dones[i]:
                ends += 1
                last = numbers(infos[i]["terminal_observation"])
                terminal = read(coded_infos[i]["terminal_observation"][: 3 * history]).reshape(history, 3)
                assert terminal.tolist() == [*[list(frame) for frame in frames[i][1:]], list(last)]
                assert coded_infos[i]["TimeLimit.truncated"] == infos[i]["TimeLimit.truncated"]
                frames[i] = [numbers(obs)[i]] * history
            else:
                frames[i] = [*frames[i][1:], numbers(obs)[i]]
        assert read(rows[:, : 3 * history]).reshape(n_envs, history, 3).tolist() == np.array(frames).tolist()
        assert all(coded.observation_space.contains(row) for row in rows)
    assert ends > 6 * n_envs
    coded.close()


@pytest.mark.parametrize("actions", ACTIONS)
def test_the_actions_between_the_codes_are_those_of_this_episode(actions: str) -> None:
    env = EncodedVecEnv(picture_clocks(2, actions=actions), reader(), history=3, actions=True)
    size = spaces.flatdim(env.action_space)
    runs = played(env, 30)
    assert not next(runs)[:, 9:].any()
    before = np.zeros((2, 2, size))
    for given, (rows, _, dones, infos) in runs:
        before = np.stack([before[:, 1], flat_actions(env.action_space, given)], axis=1)
        for i in np.flatnonzero(dones):
            assert np.allclose(infos[i]["terminal_observation"][9:], before[i].reshape(-1))
            before[i] = 0
        assert np.allclose(rows[:, 9:], before.reshape(2, -1))


def test_the_other_entries_of_a_dict_stand_behind_the_codes_also_at_an_end() -> None:
    env = EncodedVecEnv(picture_clocks(2, kind="dict"), reader(), history=2)
    assert env.observation_space.shape == (2 * 3 + 3 + 2,)
    runs = played(env, 20)
    next(runs)
    for _, (rows, _, dones, infos) in runs:
        shown = [*rows, *(infos[i]["terminal_observation"] for i in np.flatnonzero(dones))]
        for row in shown:
            time = read(row[3:6])[0]
            assert row[6:9].tolist() == np.eye(3)[time % 3].tolist()  # Gymnasium sorts the names of a Dict: mode, then speed
            assert np.allclose(row[9:], [time / 10, -1])


def test_what_a_caller_does_to_a_row_is_not_remembered_nor_past_an_end() -> None:
    spoiled, kept = (EncodedVecEnv(picture_clocks(2), reader(), history=2) for _ in range(2))
    rows, ends = spoiled.reset(), 0
    kept.reset()
    for _ in range(20):
        rows[:] = 5
        rows, _, dones, _ = spoiled.step(np.zeros((2, 2)))
        assert np.array_equal(rows, kept.step(np.zeros((2, 2)))[0])
        ends += int(dones.sum())
    assert ends > 2


@pytest.mark.parametrize("kind", SPACES)
def test_one_environment_observes_the_same_as_many(kind: str) -> None:
    many = played(EncodedVecEnv(picture_clocks(1, kind=kind, actions="box"), reader(), history=3, actions=True), 25)
    one = EncodedEnv(PictureClock(kind=kind), reader(), history=3, actions=True)
    assert np.array_equal(one.reset()[0], next(many)[0])
    for actions, (rows, _, dones, infos) in many:
        obs, *_ = one.step(actions[0])
        assert np.array_equal(obs, infos[0]["terminal_observation"] if dones[0] else rows[0])
        if dones[0]:
            assert np.array_equal(one.reset()[0], rows[0])


@pytest.mark.parametrize("name", [*ON_POLICY, *OFF_POLICY])
def test_every_learner_and_a_reward_see_true_transitions_of_codes(name: str) -> None:
    env = VecNormalize(EncodedVecEnv(picture_clocks(2, actions=actions_of(name)), reader(), history=2), norm_reward=False)
    model = learner(name, env)
    reward = Keeper(model.observation_space, model.action_space)
    model.learn(64, callback=RewardCallback(reward))
    scored = [transitions for transitions in reward.scored if transitions.next_obs.any()]  # the first is a trial of zeros
    assert scored
    for transitions in scored:
        obs, _, next_obs, _ = transitions
        before, after = read(obs.numpy()), read(next_obs.numpy())
        assert np.array_equal(before[:, 3:], after[:, :3])  # the newest code is the second newest of the next row
        assert np.array_equal(after[:, 3], before[:, 3] + 1)  # the clock goes on, also at an end
        assert np.array_equal(after[:, 4:], before[:, 4:])  # in the same episode


def test_the_state_goes_on_where_it_stopped() -> None:
    first, second = (EncodedVecEnv(picture_clocks(2), reader(), history=3, actions=True) for _ in range(2))
    runs = played(first, 7)
    for item in runs:
        last = item
    for _ in played(second, 7):
        pass
    state = first.state_dict()
    second.codes.rows[:] = 0
    second.load_state_dict(state)
    actions = last[0]
    assert np.array_equal(first.step(actions)[0], second.step(actions)[0])


def test_codes_are_the_encoders_own_numbers() -> None:
    torch.manual_seed(0)
    model = PCA(SHAPE, latent=5)
    pictures = torch.randint(256, (60, *SHAPE), dtype=torch.uint8)
    model.count([(pictures.float() / 255, None)])
    encoder = ImageEncoder.of(model, Preprocessing(SHAPE), Images(pictures))
    env = EncodedVecEnv(picture_clocks(2), encoder, history=1)
    raw = picture_clocks(2).reset()
    with torch.no_grad():
        expected = encoder(torch.from_numpy(raw).permute(0, 3, 1, 2))
    assert np.array_equal(env.reset(), expected.numpy())


class TestRefusals:
    """Each in one sentence that says what to type, before a step is made."""

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), "needs observations with an image.*AddRenderObservation"),
            (lambda: VecFrameStack(picture_clocks(1), 4), "stacks 4.*history=4, on the command line --history 4"),
            (lambda: VecNormalize(picture_clocks(1)), r"VecNormalize\(EncodedVecEnv"),
            (lambda: VecNormalize(picture_clocks(1), norm_obs=False), None),
            (lambda: VecTransposeImage(picture_clocks(1)), None),
        ],
    )
    def test_of_environments(self, make: Any, words: str | None) -> None:
        if words is None:
            EncodedVecEnv(make(), reader())
            return
        with pytest.raises(ValueError, match=words):
            EncodedVecEnv(make(), reader())

    @pytest.mark.parametrize(
        ("space", "words"),
        [
            (spaces.Box(0, 255, (16, 16, 3), np.uint8), "fitted to images of 3 × 8 × 8.*gives 16 × 16 × 3.*genrl generate"),
            (spaces.Box(0, 255, (8, 8, 1), np.uint8), "fitted to images of 3 × 8 × 8.*gives 8 × 8 × 1"),
            (spaces.Box(0, 255, (8, 8), np.uint8), "fitted to images"),
            (spaces.Box(-1.0, 1.0, (8, 8, 3)), r"in \[0, 1\].*-1 to 1"),
            (spaces.Box(0, 255, (8, 8, 3), np.float32), r"in \[0, 1\].*0 to 255"),
            (spaces.Box(0, 255, (8, 8, 3), np.int64), "bytes .*but this space has int64; give bytes"),
            (spaces.Dict({"a": spaces.Box(-1, 1, (3,))}), "Dict has only a; leave the encoder out"),
            (
                spaces.Dict({"a": SPACES["last"], "b": SPACES["last"], "c": spaces.Discrete(2)}),
                r"a, b; leave all but one out, such as by .*FilterObservation\(env, \['a', 'c'\]\)",
            ),
            (spaces.Discrete(3), "needs observations with an image"),
        ],
    )
    def test_of_observations(self, space: spaces.Space[Any], words: str) -> None:
        class Given(gymnasium.Env[Any, Any]):
            observation_space, action_space = space, ACTIONS["box"]

        with pytest.raises(ValueError, match=words):
            EncodedEnv(Given(), reader())

    def test_of_floats_that_leave_their_range(self) -> None:
        env = EncodedVecEnv(picture_clocks(1, kind="floats"), reader())
        with pytest.raises(ValueError, match=r"in \[0, 1\], but have 0 to 2"):
            env.codes.begin(np.linspace(0, 2, 192, dtype=np.float32).reshape(1, 8, 8, 3))

    @pytest.mark.parametrize(("history", "actions"), [(0, False), (1, True)])
    def test_of_a_history_that_is_too_short(self, history: int, actions: bool) -> None:
        with pytest.raises(ValueError, match=f"history is {history}.*type history=3"):
            EncodedVecEnv(picture_clocks(1), reader(), history=history, actions=actions)
