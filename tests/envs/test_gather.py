import math
import pickle

import genrl_envs  # noqa: F401 (registers the tasks)
import gymnasium
import numpy as np
import pytest
from genrl_envs import range_readings

STILL = np.zeros(2, np.float32)


def made(**keywords):
    env = gymnasium.make("genrl/SwimmerGather-v0", **keywords)
    env.reset(seed=0)
    return env


def placed(apples=(), bombs=(), **keywords):
    """The task with the swimmer at rest at the origin, looking along x, and the given objects."""
    env = made(**keywords)
    swimmer = env.unwrapped
    swimmer.set_state(np.zeros(5), np.zeros(5))
    swimmer.apples, swimmer.bombs = list(apples), list(bombs)
    return env


class TestRangeReadings:
    """Ten bins of 18° from −90° (right, bin 0) to 90° (left, bin 9); 1 − distance / 6."""

    @pytest.mark.parametrize(
        ("point", "bin_", "intensity"),
        [
            ((3.0, 0.001), 5, 0.5),  # just left of straight ahead
            ((3.0, -0.001), 4, 0.5),
            ((0.0, 1.5), 9, 0.75),  # 90°: the last bin includes its edge
            ((0.0, -1.5), 0, 0.75),
            ((2.0, 2.0), 7, 1 - math.sqrt(8) / 6),  # 45°: (45 + 90) / 18 = 7.5
            ((4.5, -0.01), 4, 0.25),
        ],
    )
    def test_one_object(self, point, bin_, intensity):
        expected = np.zeros(10)
        expected[bin_] = intensity
        np.testing.assert_allclose(range_readings((0, 0), 0.0, [point]), expected, atol=1e-5)

    @pytest.mark.parametrize("point", [(-1.0, 0.0), (-0.1, 2.0), (6.1, 0.0), (5.0, 5.0)])
    def test_nothing_behind_or_out_of_range(self, point):
        assert not range_readings((0, 0), 0.0, [point]).any()

    def test_the_nearer_object_hides_the_farther_in_either_order(self):
        near, far = (1.0, 0.1), (4.0, 0.1)
        for objects in ([near, far], [far, near]):
            readings = range_readings((0, 0), 0.0, objects)
            assert readings[5] == pytest.approx(1 - math.hypot(1.0, 0.1) / 6)
            assert np.count_nonzero(readings) == 1

    @pytest.mark.parametrize("turns", [-2, 0, 3])
    def test_moves_and_turns_with_the_robot(self, turns):
        """At (1, 2), looking along y: (−2, 2) is 90° to the left, 3 m away."""
        heading = math.pi / 2 + turns * 2 * math.pi - 1e-9
        readings = range_readings((1.0, 2.0), heading, [(1.0, 5.0), (-1.0, 4.0)])
        expected = np.zeros(10)
        expected[5] = 0.5  # 3 m ahead
        expected[7] = 1 - math.sqrt(8) / 6  # 45° left
        np.testing.assert_allclose(readings, expected)


def test_apples_pay_bombs_cost_and_both_are_gone():
    env = placed(apples=[(0.0, 0.9), (0.5, 0.0), (3.0, 0.0)], bombs=[(0.0, -0.9), (0.0, 4.0)], n_apples=3, n_bombs=2)
    _, reward, terminated, _, info = env.step(STILL)
    assert reward == 2 - 1 and not terminated
    assert env.unwrapped.apples == [(3.0, 0.0)] and env.unwrapped.bombs == [(0.0, 4.0)]
    assert (info["apples"], info["bombs"]) == (2, 1)
    assert env.step(STILL)[1] == 0.0


def test_catch_range_is_a_keyword():
    assert placed(apples=[(0.0, 1.05)]).step(STILL)[1] == 0.0
    assert placed(apples=[(0.0, 1.05)], catch_range=1.1).step(STILL)[1] == 1.0


def test_ends_when_nothing_is_left():
    assert placed(apples=[(0.5, 0.0)]).step(STILL)[1:3] == (1.0, True)


def test_observes_apples_and_bombs_apart():
    obs = placed(apples=[(0.0, 3.0)], bombs=[(3.0, 0.1)]).step(STILL)[0]
    names = made().unwrapped.observation_names
    seen = {name: value for name, value in zip(names[10:], obs[10:], strict=True) if value}
    assert seen == {"apple_9": pytest.approx(0.5, abs=0.01), "bomb_5": pytest.approx(0.5, abs=0.01)}


def test_objects_stand_apart_in_the_arena_and_away_from_the_swimmer():
    env = made()
    for seed in range(20):
        env.reset(seed=seed)
        apples, bombs = env.unwrapped.apples, env.unwrapped.bombs
        assert (len(apples), len(bombs), len({*apples, *bombs})) == (8, 8, 16)
        assert all(math.hypot(*p) >= 2 and max(map(abs, p)) <= 6 for p in apples + bombs)


def test_actions_cost_nothing():
    _, reward, _, _, info = placed(apples=[(5.0, 5.0)]).step(np.ones(2, np.float32))
    assert reward == 0.0 and "reward_ctrl" not in info


def test_a_pickled_task_keeps_its_keywords():
    copy = pickle.loads(pickle.dumps(made(n_apples=3, catch_range=0.5).unwrapped))
    assert (copy.n_apples, copy.n_bombs, copy.catch_range) == (3, 8, 0.5)
