"""Episodes that begin where a demonstration was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from genrl.data import Demonstrations, Episode
from genrl.policies import DemonstratedStarts
from genrl.runs import ImitateConfig, RunDirectory, imitate, resume
from genrl.runs.building import build
from genrl.runs.directory import read_csv
from tests.runs.same_directory import assert_same_directory

ROOT = Path(__file__).parents[2]
SHOWN = {
    "InvertedPendulum-v5": 4,
    "HalfCheetah-v5": 17,
    "Hopper-v5": 11,
    "Walker2d-v5": 17,
    "Swimmer-v5": 8,
    "Ant-v5": 27,
    "Humanoid-v5": 45,
}
"""How many of an observation's first numbers are positions and speeds."""


def seen(name: str, episodes: int = 3, steps: int = 12) -> np.ndarray:
    """Observations on the way of random actions."""
    env, rows = gymnasium.make(name), []
    env.action_space.seed(0)
    for episode in range(episodes):
        env.reset(seed=episode)
        rows += [env.step(env.action_space.sample())[0] for _ in range(steps)]
    env.close()
    return np.array(rows)


def quiet(name: str) -> gymnasium.Env[Any, Any]:
    """The task without the noise of its resets."""
    return gymnasium.make(name, reset_noise_scale=0.0)


@pytest.mark.parametrize("name", SHOWN)
def test_an_episode_begins_at_a_demonstrated_state_and_goes_on_as_from_there(name):
    rows, shown = seen(name), SHOWN[name]
    env, plain = DemonstratedStarts(quiet(name), rows, share=1.0), quiet(name)
    obs, _ = env.reset(seed=7)
    assert np.abs(rows[:, :shown] - obs[:shown]).max(axis=1).min() < 1e-6
    plain.reset(seed=0)
    task: Any = plain.unwrapped
    task.set_state(env.unwrapped.data.qpos.copy(), env.unwrapped.data.qvel.copy())
    action = np.full(env.action_space.shape, 0.1, np.float32)
    for _ in range(3):
        ours, theirs = env.step(action), plain.step(action)
        np.testing.assert_allclose(ours[0][:shown], theirs[0][:shown], atol=1e-9)
        assert ours[1] == pytest.approx(theirs[1])


def test_the_tasks_own_noise_comes_to_it():
    row = seen("HalfCheetah-v5")[:1]
    env = DemonstratedStarts(gymnasium.make("HalfCheetah-v5", reset_noise_scale=0.1), row, share=1.0)
    noise = np.array([env.reset(seed=seed)[0] - row[0] for seed in range(200)])
    assert np.abs(noise[:, :8]).max() < 0.1 + 1e-6  # uniform on positions
    assert 0.09 < noise[:, 8:].std() < 0.11  # normal on speeds


def test_positions_that_no_observation_shows_are_the_tasks_own():
    env = DemonstratedStarts(quiet("HalfCheetah-v5"), seen("HalfCheetah-v5"), share=1.0)
    for seed in range(5):
        env.reset(seed=seed)
        assert env.unwrapped.data.qpos[0] == env.unwrapped.init_qpos[0]
        assert env.unwrapped.data.qpos[1] != env.unwrapped.init_qpos[1]


def test_the_others_begin_where_the_task_does():
    rows = seen("InvertedPendulum-v5")
    env, plain = DemonstratedStarts(quiet("InvertedPendulum-v5"), rows, share=0.3), quiet("InvertedPendulum-v5")
    own = 0
    for seed in range(40):
        obs = env.reset(seed=seed)[0]
        env.step(np.zeros(1, np.float32))
        if np.abs(rows - obs).max(axis=1).min() > 1e-6:
            own += 1
            np.testing.assert_array_equal(obs, plain.reset(seed=seed)[0])
    assert own == 28


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_one_of_steps_whatever_the_lengths_of_episodes(share):
    rows = seen("InvertedPendulum-v5")
    env = DemonstratedStarts(quiet("InvertedPendulum-v5"), rows, share)
    steps = {True: 0, False: 0}
    for seed in range(200):
        demonstrated = bool(np.abs(rows - env.reset(seed=seed)[0]).max(axis=1).min() < 1e-6)
        for _ in range(20 if demonstrated else 3):
            env.step(np.zeros(1, np.float32))
            steps[demonstrated] += 1
    assert abs(steps[True] - share * sum(steps.values())) < 20


def test_the_steps_of_either_start_outlive_an_episode_and_a_stop():
    rows = seen("InvertedPendulum-v5")
    env, again = (DemonstratedStarts(quiet("InvertedPendulum-v5"), rows, share=0.3) for _ in range(2))
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.zeros(1, np.float32))
    assert env.state_dict() == {"own": 0, "demonstrated": 5}
    again.load_state_dict(env.state_dict())
    obs = [layer.reset(seed=3)[0] for layer in (env, again)]
    np.testing.assert_array_equal(*obs)
    assert np.abs(rows - obs[0]).max(axis=1).min() > 1e-6


def test_the_same_seed_gives_the_same_episodes():
    rows = seen("Hopper-v5")
    one, two = (DemonstratedStarts(gymnasium.make("Hopper-v5"), rows) for _ in range(2))
    two.reset(seed=99), two.reset()
    for seed in (3, None, None):
        np.testing.assert_array_equal(one.reset(seed=seed)[0], two.reset(seed=seed)[0])


def turned(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TransformObservation(env, lambda obs: -obs, gymnasium.spaces.Box(-9, 9, env.observation_space.shape))


@pytest.mark.parametrize(
    ("make", "rows", "sentence"),
    [
        (lambda: gymnasium.make("CartPole-v1"), np.zeros((3, 4)), "CartPole-v1 can't be put at a demonstrated state"),
        (lambda: gymnasium.make("Pendulum-v1"), np.zeros((3, 3)), "Pendulum-v1 can't be put at a demonstrated state"),
        (lambda: gymnasium.make("Reacher-v5"), np.full((3, 10), 0.3), "Reacher-v5 can't be put at a demonstrated state"),
        (lambda: gymnasium.make("Hopper-v5"), np.zeros((3, 12)), "Hopper-v5 can't be put at a demonstrated state"),
        (lambda: turned(gymnasium.make("Hopper-v5")), np.ones((3, 11)), "can't be put at a demonstrated state"),
        (lambda: gymnasium.make("Hopper-v5"), np.zeros((0, 11)), "at least one row"),
        (lambda: gymnasium.make("Hopper-v5"), np.full((3, 11), np.nan), "needs finite observations"),
    ],
)
def test_a_task_that_can_not_be_put_there_is_refused(make, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        DemonstratedStarts(make(), rows).reset(seed=0)


def swings(episodes: int = 2, steps: int = 30, seeded: bool = True) -> Demonstrations:
    """Random actions on a pendulum, whose observations hold no angle."""
    env, found = gymnasium.make("Pendulum-v1"), []
    env.action_space.seed(0)
    for seed in range(episodes):
        rows = [env.reset(seed=seed)[0]]
        actions = np.array([env.action_space.sample() for _ in range(steps)])
        rows += [env.step(action)[0] for action in actions]
        last = np.arange(steps) == steps - 1
        found.append(Episode(np.array(rows), actions, np.zeros(steps), last & False, last, seed=seed if seeded else None))
    env.close()
    return Demonstrations.from_episodes(found, "Pendulum-v1")


def lived(share: float = 1.0, wrap: Callable[[Any], gymnasium.Env[Any, Any]] = lambda env: env) -> DemonstratedStarts:
    return DemonstratedStarts(wrap(gymnasium.make("Pendulum-v1")), swings().episodes, share)


class TestAnEpisodeThatIsLivedAgain:
    """Of a task that no observation puts at a state: from the demonstrated episode's seed, by its actions."""

    def test_begins_at_any_step_of_it_and_goes_on_as_it_did(self):
        env, shown = lived(), swings().episodes
        began = set()
        for seed in range(200):
            obs, _ = env.reset(seed=seed)
            (there,) = [(e, t) for e in range(2) for t in range(30) if np.array_equal(shown[e].observations[t], obs)]
            episode, step = shown[there[0]], there[1]
            np.testing.assert_array_equal(env.step(episode.actions[step])[0], episode.observations[step + 1])
            began.add(there)
        assert len(began) > 50  # 60 (1 - (59/60)^200) = 58 are expected

    def test_begins_at_kept_steps_alone(self):
        shown = swings().subsample(every=10, seed=0).episodes
        env = DemonstratedStarts(gymnasium.make("Pendulum-v1"), shown, share=1.0)
        began = {env.reset(seed=seed)[0].tobytes() for seed in range(60)}
        assert began == {episode.observations[step].tobytes() for episode in shown for step in episode.steps}

    def test_of_which_no_step_is_kept_is_left_out(self):
        first, second = swings().episodes
        env = DemonstratedStarts(gymnasium.make("Pendulum-v1"), [replace(first, kept=np.zeros(0, int)), second], share=1.0)
        env.check()
        assert {env.reset(seed=seed)[0].tobytes() for seed in range(10)} <= {row.tobytes() for row in second.observations}

    def test_has_the_time_that_is_left(self):
        env = lived()
        obs, _ = env.reset(seed=3)
        (step,) = [t for episode in swings().episodes for t in range(30) if np.array_equal(episode.observations[t], obs)]
        assert step > 0
        outcomes = [env.step(np.zeros(1, np.float32))[3] for _ in range(200 - step)]
        assert outcomes == [False] * (199 - step) + [True]

    def test_does_not_decide_what_comes_after_it(self):
        """Each has one of two seeds, so the task's own starts would have been the same two again and again."""
        env = lived(0.5)
        env.reset(seed=0)
        own = set()
        for _ in range(20):
            env.step(np.zeros(1, np.float32))
            own.add(env.reset()[0].tobytes())
        demonstrated = {row.tobytes() for episode in swings().episodes for row in episode.observations}
        assert len(own - demonstrated) == 10

    def test_is_refused_where_the_task_does_not_repeat(self):
        class Own(gymnasium.Wrapper[Any, Any, Any, Any]):
            def step(self, action: Any) -> Any:
                self.unwrapped.state[0] += np.random.default_rng().normal()  # type: ignore[attr-defined]
                return self.env.step(action)

        with pytest.raises(ValueError, match=r"Pendulum-v1 does not repeat step \d+ of a demonstrated episode from its seed, [01]"):
            lived(wrap=Own).reset(seed=3)

    def test_is_refused_without_a_seed(self):
        with pytest.raises(ValueError, match=r"can't live episodes again that have no seed or no order; record them by `genrl record`"):
            DemonstratedStarts(gymnasium.make("Pendulum-v1"), swings(seeded=False).episodes)

    def test_brings_what_no_observation_shows(self):
        """How far a hopper has come decides what SparseHopper pays; where it is put at an observation, it has come nowhere."""
        plain, rows = gymnasium.make("Hopper-v5"), []
        obs, _ = plain.reset(seed=4)
        actions = np.tile(np.float32([0.3, 0.3, -0.3]), (20, 1))
        rows, far = [obs], []
        for action in actions:
            rows.append(plain.step(action)[0])
            far.append(plain.unwrapped.data.qpos[0])
        last = np.arange(20) == 19
        episode = Episode(np.array(rows), actions, np.zeros(20), last & False, last, seed=4)
        env = DemonstratedStarts(gymnasium.make("Hopper-v5"), [episode], share=1.0)
        for seed in range(5):
            obs, _ = env.reset(seed=seed)
            (step,) = [t for t in range(1, 20) if np.array_equal(rows[t], obs)]
            assert env.unwrapped.data.qpos[0] == far[step - 1]

    @pytest.mark.parametrize(("reward", "lives"), [("none", True), ("gail", False)])
    def test_is_chosen_where_the_task_pays(self, tmp_path, reward, lives):
        env = gymnasium.make("InvertedPendulum-v5")
        rows = [env.reset(seed=6)[0]] + [env.step(np.zeros(1, np.float32))[0] for _ in range(5)]
        last = np.arange(5) == 4
        Demonstrations.from_episodes([Episode(np.array(rows), np.zeros((5, 1)), np.ones(5), last & False, last, seed=6)]).save(
            tmp_path / "a.npz"
        )
        chosen = ImitateConfig(demos=tmp_path / "a.npz", env="InvertedPendulum-v5", reward=reward, demonstrated_starts=1.0, n_envs=1)
        assert bool(build(chosen).env.get_attr("_episodes")[0]) == lives

    def test_is_one_of_those_that_were_drawn(self, tmp_path):
        swings(episodes=3).save(tmp_path / "three.npz")
        chosen = ImitateConfig(demos=tmp_path / "three.npz", env="Pendulum-v1", episodes=1, demos_seed=1, demonstrated_starts=1.0, n_envs=1)
        session = build(chosen)
        (kept,) = session.loaded.demonstrations.episodes
        assert {episode.seed for episode in session.env.get_attr("_episodes")[0]} == {kept.seed}


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan"), -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"DemonstratedStarts needs share to be in \(0, 1\]"):
        DemonstratedStarts(gymnasium.make("Hopper-v5"), np.ones((3, 11)), share)


def test_environments_share_the_demonstrated_observations():
    rows = seen("Hopper-v5").astype(np.float32)
    env = DemonstratedStarts(quiet("Hopper-v5"), rows, share=1.0)
    env.reset(seed=0)
    assert any(kept is rows for kept in vars(env).values())
    assert env.unwrapped.data.qpos.dtype == np.float64


@pytest.mark.parametrize("subproc", [False, True])
@pytest.mark.parametrize("again", [False, True], ids=["put there", "lived again"])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, subproc, again):
    from tests.runs.test_rewind import StopAt, training_module

    swings().save(tmp_path / "swings.hdf5")
    run = partial(
        ImitateConfig, demos=tmp_path / "swings.hdf5" if again else ROOT / "demos" / "invertedpendulum.hdf5", any_task=again,
        every=20, steps=512, n_envs=2, clone=0, demonstrated_starts=0.1,
        critic_warmup=0, eval_episodes=1, pictures=False, subproc=subproc,
        learner_kwargs={"n_steps": 64, "batch_size": 32, "net_arch": (8,)}, reward_kwargs={"updates": 2, "batch_size": 16},
    )  # fmt: skip
    imitate(run(out=tmp_path / "whole"), quiet=True)
    StopAt.step = 2
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "Interrupt", StopAt)
        assert 0 < imitate(run(out=tmp_path / "stopped"), quiet=True)["steps"] < 512
    resume(tmp_path / "stopped", quiet=True)
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")
    imitate(run(out=tmp_path / "without", demonstrated_starts=0.0), quiet=True)
    returns = [[row["return"] for row in read_csv(RunDirectory(tmp_path / name).episodes)] for name in ("whole", "without")]
    assert returns[0] != returns[1]
