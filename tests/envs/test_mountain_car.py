import genrl_envs  # noqa: F401 (registers the tasks)
import gymnasium
import numpy as np
import pytest

PUSH = np.ones(1, np.float32)


def made(**keywords):
    env = gymnasium.make("genrl/SparseMountainCar-v0", **keywords)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("position", "velocity", "goal", "reached"),
    [(0.44, 0.05, 0.45, True), (0.30, 0.05, 0.45, False), (0.30, 0.05, 0.31, True), (0.46, -0.07, 0.45, False)],
)
def test_pays_one_on_reaching_the_goal_and_ends(position, velocity, goal, reached):
    env = made(goal_position=goal)
    env.unwrapped.state = np.array([position, velocity])
    _, reward, terminated, truncated, _ = env.step(PUSH)
    assert (reward, terminated, truncated) == (float(reached), reached, False)


def test_effort_costs_nothing():
    assert made().step(PUSH)[1] == made().step(0 * PUSH)[1] == 0.0


def test_moves_as_gymnasiums_car():
    ours, theirs = made(), gymnasium.make("MountainCarContinuous-v0")
    theirs.reset(seed=0)
    for action in np.linspace(-1, 1, 100, dtype=np.float32):
        np.testing.assert_array_equal(ours.step([action])[0], theirs.step([action])[0])


def test_is_solved_by_pushing_along_the_velocity():
    env = made()
    obs, n_steps, terminated = env.reset(seed=1)[0], 0, False
    while not terminated:
        obs, reward, terminated, truncated, _ = env.step(PUSH if obs[1] >= 0 else -PUSH)
        n_steps += 1
        assert not truncated
    assert reward == 1.0 and n_steps < 200


def test_a_full_force_adds_its_power_to_the_velocity():
    """On the same place, with and without the throttle; gravity is the same."""
    velocity = {}
    for force in (0.0, 1.0):
        env = gymnasium.make("genrl/SparseMountainCar-v0", power=0.0004)
        env.reset(seed=0)
        velocity[force] = float(env.step(np.array([force], dtype=np.float32))[0][1])
    assert velocity[1.0] - velocity[0.0] == pytest.approx(0.0004, rel=1e-3)
