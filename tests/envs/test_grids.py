import gymnasium
import numpy as np
import pytest

pytest.importorskip("minigrid")

from genrl_envs import MiniGridEnv

EMPTY = "MiniGrid-Empty-5x5-v0"
LEFT, RIGHT, AHEAD, PICK_UP = range(4)


def states(env, actions):
    return [env.step(action)[4]["state"].tolist() for action in actions]


def test_info_tells_where_the_agent_is_and_where_it_looks():
    env = MiniGridEnv(EMPTY)
    obs, info = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert info["state"].tolist() == [1, 1, 1, 0, 0]  # in the upper left corner, looking right
    found = states(env, [AHEAD, RIGHT, AHEAD, LEFT])
    np.testing.assert_allclose(found, [[2, 1, 1, 0, 0], [2, 1, 0, 1, 0], [2, 2, 0, 1, 0], [2, 2, 1, 0, 0]], atol=1e-6)


def test_pays_once_at_the_goal_less_for_every_step():
    env = MiniGridEnv(EMPTY)
    env.reset(seed=0)
    for action in (AHEAD, AHEAD, RIGHT, AHEAD):
        assert env.step(action)[1:4] == (0.0, False, False)
    _, reward, terminated, truncated, info = env.step(AHEAD)
    assert (terminated, truncated, info["x"], info["y"]) == (True, False, 3.0, 3.0)
    assert reward == pytest.approx(1 - 0.9 * 5 / 100)  # this grid allows a hundred steps


def test_the_grids_own_limit_truncates():
    env = MiniGridEnv(EMPTY)
    env.reset(seed=0)
    ends = [env.step(LEFT)[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_what_it_carries_is_told():
    env = MiniGridEnv("MiniGrid-Fetch-5x5-N2-v0")
    for seed in range(20):
        _, info = env.reset(seed=seed)
        if env.grid.grid.get(*env.grid.front_pos) is not None and env.grid.grid.get(*env.grid.front_pos).can_pickup():
            break
    assert info["state"][-1] == 0
    assert env.step(PICK_UP)[4]["state"][-1] == 1


def test_a_picture_has_as_many_pixels_as_its_tiles():
    assert MiniGridEnv(EMPTY, tile=12).reset(seed=0)[0].shape == (84, 84, 3)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"grid": "CartPole-v1"}, "grid must be a task that MiniGrid registers, such as MiniGrid-DoorKey-8x8-v0, got 'CartPole-v1'"),
        ({"grid": "MiniGrid-Nothing-v0"}, "grid must be a task that MiniGrid registers"),
        ({"tile": 5}, "tile must be a whole number of pixels, at least 6, got 5"),
        ({"tile": True}, "tile must be a whole number of pixels, at least 6, got True"),
    ],
)
def test_what_it_can_not_be_is_refused(keywords, sentence):
    with pytest.raises(ValueError, match=sentence):
        MiniGridEnv(**keywords)


def test_render_draws_the_whole_grid():
    env = gymnasium.make("genrl/MiniGrid-v0", grid=EMPTY, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (160, 160, 3)
