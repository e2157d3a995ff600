import math

import genrl_envs  # noqa: F401 (registers the tasks)
import gymnasium
import numpy as np
import pytest
from genrl_envs import cartpole

COAST = np.zeros(1, np.float32)


def made(**keywords):
    env = gymnasium.make("genrl/SparseCartpoleSwingup-v0", **keywords)
    env.reset(seed=0)
    return env


def energy(state):
    """Mechanical energy in joules of a uniform pole, (4/3) m l² about its hinge, on a moving cart."""
    _, v, theta, omega = state
    m, half = cartpole.POLE_MASS, cartpole.HALF_LENGTH
    kinetic = 0.5 * (cartpole.CART_MASS + m) * v**2 + m * half * v * omega * math.cos(theta) + 2 / 3 * m * half**2 * omega**2
    return kinetic + m * cartpole.GRAVITY * half * math.cos(theta)


def balance_gains():
    """Gains of the linear-quadratic regulator of the linearised, sampled dynamics about the top."""
    step, h = lambda s, force: np.array(cartpole.advance(tuple(s), force)), 1e-5
    a = np.array([(step(h * e, 0.0) - step(-h * e, 0.0)) / (2 * h) for e in np.eye(4)]).T
    b = ((step(np.zeros(4), h) - step(np.zeros(4), -h)) / (2 * h))[:, None]
    p = np.eye(4)
    for _ in range(1000):
        gains = np.linalg.solve(0.01 + b.T @ p @ b, b.T @ p @ a)
        p = np.eye(4) + a.T @ p @ (a - b @ gains)
    return gains[0]


def swing_up_force(state, gains):
    """Pump the pole's energy towards that of standing upright, then balance; newtons."""
    x, v, theta, omega = state
    theta = math.remainder(theta, 2 * math.pi)
    if math.cos(theta) > 0.85 and abs(omega) < 3.5:
        return -float(gains @ (x, v, theta, omega))
    missing = cartpole.HALF_LENGTH * omega**2 * 2 / 3 / cartpole.GRAVITY + math.cos(theta) - 1
    return 10 * missing * omega * math.cos(theta) - 4 * x - 2 * v


class TestDynamics:
    def test_energy_is_conserved_without_force(self):
        state = (0.0, 0.5, 2.0, 3.0)
        start = energy(state)
        for _ in range(500):
            state = cartpole.advance(state, 0.0)
        assert energy(state) == pytest.approx(start, abs=5e-3)

    def test_force_does_work(self):
        """The gain of energy is force times the way of the cart, in small steps."""
        state, work = (0.0, 0.0, 3.0, 0.0), 0.0
        start = energy(state)
        for _ in range(200):
            before, state = state, cartpole.advance(state, 4.0, dt=0.005)
            work += 4.0 * (state[0] - before[0])
        assert energy(state) - start == pytest.approx(work, rel=1e-6)

    def test_hanging_and_standing_are_equilibria(self):
        for theta in (0.0, math.pi):
            assert cartpole.derivatives((0.3, 0.0, theta, 0.0), 0.0) == pytest.approx((0, 0, 0, 0), abs=1e-12)

    def test_pushing_the_cart_right_tips_an_upright_pole_left(self):
        """By hand: ẍ = F / (M + m − 3m/4), θ̈ = −ẍ · 3 / (4 l)."""
        x_acc = 10 / (1.1 - 0.075)
        expected = (0.0, x_acc, 0.0, -1.5 * x_acc)
        assert cartpole.derivatives((0.0, 0.0, 0.0, 0.0), 10.0) == pytest.approx(expected)


@pytest.mark.parametrize(("cosine", "threshold", "reward"), [(0.82, 0.8, 1), (0.78, 0.8, 0), (0.78, 0.7, 1), (-0.9, -0.5, 0)])
def test_pays_one_while_the_cosine_exceeds_the_threshold(cosine, threshold, reward, monkeypatch):
    env = made(threshold=threshold)
    monkeypatch.setattr(cartpole, "advance", lambda state, force: state)
    env.unwrapped.state = (0.0, 0.0, math.acos(cosine), 0.0)
    assert env.step(COAST)[1] == reward


@pytest.mark.parametrize(("x", "terminated"), [(2.9, False), (3.1, True), (-3.1, True)])
def test_terminates_off_the_track(x, terminated):
    env = made()
    env.unwrapped.state = (x, 0.0, math.pi, 0.0)
    assert env.step(COAST)[2:4] == (terminated, False)


def test_observes_what_its_names_say():
    env = made()
    obs, _, _, _, info = env.step(np.ones(1, np.float32))
    x, x_dot, theta, theta_dot = env.unwrapped.state
    np.testing.assert_allclose(obs, [x, x_dot, math.cos(theta), math.sin(theta), theta_dot], rtol=1e-6)
    assert info["theta"] == pytest.approx(math.remainder(theta, 2 * math.pi))


def test_starts_hanging_at_rest():
    obs, _ = made().reset(seed=3)
    assert obs[2] < -0.99 and np.abs(obs[[0, 1, 4]]).max() <= 0.05


def test_energy_swing_up_earns_most_of_500():
    gains = balance_gains()
    for seed in range(5):
        env, total, done = made(), 0.0, False
        env.reset(seed=seed)
        while not done:
            force = swing_up_force(env.unwrapped.state, gains)
            _, reward, terminated, truncated, _ = env.step(np.array([force / cartpole.MAX_FORCE]))
            total, done = total + reward, terminated or truncated
        assert truncated and total >= 400


def test_random_actions_almost_never_see_a_reward():
    env = made()
    env.action_space.seed(0)
    rewards = []
    for _ in range(20_000):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rewards.append(reward)
        if terminated or truncated:
            env.reset()
    assert np.mean(rewards) < 0.01
