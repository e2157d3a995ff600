import gymnasium
import numpy as np
import pytest
from genrl_envs import NoisyTV

PRESS, LEAVE = np.array([0.3, 1.0], np.float32), np.array([0.3, -1.0], np.float32)


def made(**keywords):
    env = gymnasium.make("genrl/NoisyTVMountainCar-v0", **keywords)
    env.reset(seed=0)
    return env


def test_adds_channels_and_a_remote_control():
    env = made(n_channels=3)
    assert env.observation_space.shape == (5,) and env.action_space.shape == (2,)
    assert env.observation_space.dtype == np.float32
    assert env.reset()[0] in env.observation_space and env.step(PRESS)[0] in env.observation_space
    assert env.get_wrapper_attr("observation_names") == ("position", "velocity", "tv_0", "tv_1", "tv_2")
    assert env.get_wrapper_attr("coverage_names") == ("position", "velocity")


def test_the_screen_changes_only_when_the_remote_is_pressed():
    env = made()
    screens = [env.step(action)[0][2:] for action in (LEAVE, LEAVE, PRESS, LEAVE, PRESS)]
    np.testing.assert_array_equal(screens[0], screens[1])
    assert not np.isin(screens[2], screens[1]).any()
    np.testing.assert_array_equal(screens[2], screens[3])
    assert not np.isin(screens[4], screens[3]).any()
    assert [env.step(action)[-1]["tv_pressed"] for action in (PRESS, LEAVE)] == [True, False]


def test_a_reset_changes_the_screen():
    env = made()
    assert not np.isin(env.reset()[0][2:], env.reset()[0][2:]).any()


def test_always_changes_the_screen_whatever_the_action():
    env = made(always=True)
    first, second = env.step(LEAVE)[0][2:], env.step(LEAVE)[0][2:]
    assert not np.isin(first, second).any()
    assert env.action_space == made().action_space


def test_the_task_does_not_feel_the_television():
    with_tv, without = made(), gymnasium.make("genrl/SparseMountainCar-v0")
    without.reset(seed=0)
    for _ in range(50):
        seen, expected = with_tv.step(PRESS), without.step(PRESS[:1])
        np.testing.assert_array_equal(seen[0][:2], expected[0])
        assert seen[1:4] == expected[1:4]


def test_noise_has_the_asked_scale():
    env = made(n_channels=500, std=0.05)
    noise = np.concatenate([env.step(PRESS)[0][2:] for _ in range(20)])
    assert noise.std() == pytest.approx(0.05, rel=0.05) and abs(noise.mean()) < 0.003


def test_wraps_any_task_with_flat_boxes_and_refuses_others():
    env = NoisyTV(gymnasium.make("Pendulum-v1"), n_channels=1)
    assert env.observation_names == ("obs_0", "obs_1", "obs_2", "tv_0")
    assert env.reset(seed=0)[0].shape == (4,)
    with pytest.raises(ValueError, match="NoisyTV needs a flat Box action, got Discrete"):
        NoisyTV(gymnasium.make("CartPole-v1"))


def test_is_shown_to_a_human_through_its_pictures():
    with pytest.warns(UserWarning, match="HumanRendering wrapper is being applied"):
        env = gymnasium.make("genrl/NoisyTVMountainCar-v0", render_mode="human")
    assert env.unwrapped.render_mode == "rgb_array"
