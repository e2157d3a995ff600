"""Swing-ups with the physics of the DeepMind Control Suite: equations by hand, what pays, and a controller that earns it."""

import math

import genrl_envs  # noqa: F401 (registers the tasks)
import gymnasium
import mujoco
import numpy as np
import pytest
from genrl_envs.swingup import AcrobotSwingupSparseEnv, CartpoleSwingupEnv, CartpoleSwingupSparseEnv

STILL = np.zeros(1, np.float32)


def at(env, qpos, qvel=(0.0, 0.0)):
    """The environment in a state; forces and accelerations are those of it."""
    env.reset(seed=0)
    env.set_state(np.array(qpos, float), np.array(qvel, float))
    return env


def capsule(mass, radius, length=1.0):
    """Moment of inertia of a capsule about the end of its axis: a cylinder and two half balls."""
    cylinder, ball = math.pi * radius**2 * length, 4 / 3 * math.pi * radius**3
    density = mass / (cylinder + ball)
    centre = density * (cylinder * (length**2 / 12 + radius**2 / 4) + ball * (0.4 * radius**2 + length**2 / 4 + 3 / 8 * length * radius))
    return centre + mass * (length / 2) ** 2


class TestCartpole:
    def test_a_push_accelerates_cart_and_pole_as_the_equations_say(self):
        """Pole hanging: (M + m) ẍ − m l θ̈ = F and I θ̈ − m l ẍ = 0, so ẍ = F / (M + m − (m l)² / I)."""
        env, inertia = at(CartpoleSwingupSparseEnv(), (0, math.pi)), capsule(0.1, 0.045)
        env.data.ctrl[:] = 1.0
        mujoco.mj_forward(env.model, env.data)
        x_acc = 10 / (1.1 - 0.05**2 / inertia)
        np.testing.assert_allclose(env.data.qacc, [x_acc, 0.05 * x_acc / inertia], rtol=1e-9)

    def test_gravity_turns_the_pole_away_from_the_top(self):
        env, inertia = at(CartpoleSwingupSparseEnv(), (0, 0.1)), capsule(0.1, 0.045)
        matrix = np.array([[1.1, 0.05 * math.cos(0.1)], [0.05 * math.cos(0.1), inertia]])
        np.testing.assert_allclose(env.data.qacc, np.linalg.solve(matrix, [0, 9.81 * 0.05 * math.sin(0.1)]), rtol=1e-6)

    def test_energy_is_all_but_conserved(self):
        env = at(CartpoleSwingupSparseEnv(), (0, 2.0), (0, 1.0))
        env.model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
        mujoco.mj_forward(env.model, env.data)
        before = env.data.energy.sum()
        for _ in range(200):
            env.step(STILL)
        mujoco.mj_forward(env.model, env.data)
        assert env.data.energy.sum() == pytest.approx(before, abs=2e-3)

    def test_the_track_ends_in_stops(self):
        env = at(CartpoleSwingupSparseEnv(), (1.5, math.pi))
        for _ in range(200):
            _, _, terminated, _, _ = env.step(np.ones(1))
            assert not terminated
        assert 1.7 < env.data.qpos[0] < 2.2

    @pytest.mark.parametrize(
        ("x", "theta", "reward"), [(0.2, 0.09, 2), (0.2, 0.11, 0), (-0.2, -0.09, 2), (0.26, 0.0, 0), (0.0, math.pi, 0)]
    )
    def test_each_frame_near_the_top_and_the_middle_pays_one(self, x, theta, reward):
        env = at(CartpoleSwingupSparseEnv(), (x, theta))
        env.do_simulation = lambda *_: None
        assert env.step(STILL)[1] == reward

    @pytest.mark.parametrize(
        ("x", "theta", "theta_dot", "action", "reward"),
        [
            (0.0, 0.0, 0.0, 0.0, 1.0),
            (0.0, math.pi / 2, 0.0, 0.0, 0.5),
            (2.0, 0.0, 0.0, 0.0, (1 + 0.1) / 2),  # a tenth at two metres
            (0.0, 0.0, -5.0, 0.0, (1 + 0.1) / 2),  # a tenth at five radians a second
            (0.0, 0.0, 0.0, 0.5, 4.75 / 5),
            (0.0, 0.0, 0.0, -3.0, 4 / 5),
            (0.0, math.pi, 0.0, 0.0, 0.0),
        ],
    )
    def test_the_dense_one_pays_for_each_part_of_standing_still(self, x, theta, theta_dot, action, reward):
        env = at(CartpoleSwingupEnv(), (x, theta), (0.0, theta_dot))
        env.do_simulation = lambda action, _: env.data.ctrl.__setitem__(slice(None), action)
        assert env.step(np.array([action]))[1] == pytest.approx(2 * reward)

    @pytest.mark.parametrize(("action", "cost"), [(0.5, 0.05), (1.0, 0.2), (3.0, 0.2), (0.0, 0.0)])
    def test_each_frame_costs_the_square_of_the_executed_action(self, action, cost):
        env = at(CartpoleSwingupSparseEnv(action_cost=0.1), (0, math.pi))
        assert env.step(np.array([action]))[1] == pytest.approx(-cost)

    def test_observes_what_its_names_say(self):
        env = at(CartpoleSwingupSparseEnv(), (0.5, 4.0), (0.6, 0.7))
        assert dict(zip(env.observation_names, env._obs(), strict=True)) == pytest.approx(
            {"x": 0.5, "cos_theta": math.cos(4), "sin_theta": math.sin(4), "x_dot": 0.6, "theta_dot": 0.7}
        )
        assert env._get_reset_info() == {"theta": pytest.approx(4 - 2 * math.pi)}

    @pytest.mark.parametrize("action_cost", [0.0, 0.25])
    def test_pumping_energy_and_balancing_earns_much_of_1000(self, action_cost):
        env = gymnasium.make("genrl/CartpoleSwingupSparse-v0", action_cost=action_cost)
        for seed in range(3):
            obs, total, truncated = env.reset(seed=seed)[0], 0.0, False
            while not truncated:
                obs, reward, _, truncated, _ = env.step(np.array([controller(obs)]))
                total += reward
            assert total >= 670


def controller(obs):
    """Pump the pole's energy towards that of standing upright, then balance by linear-quadratic feedback; a force in [-1, 1]."""
    x, cos, sin, v, omega = obs
    if cos > 0.85 and abs(omega) < 3:
        return float(np.clip(0.87 * x + 6.08 * math.atan2(sin, cos) + 0.98 * v + 1.6 * omega, -1, 1))
    missing = capsule(0.1, 0.045) * omega**2 / 2 / (9.81 * 0.05) + cos - 1
    return float(np.clip(missing * omega * cos - 0.4 * x - 0.4 * v, -1, 1))


class TestAcrobot:
    def test_arms_fall_as_the_equations_say(self):
        """The elbow straight: the shoulder's torque of gravity is g (1 · 0.5 + 1 · 1.5) sin θ; the elbow's g · 0.5 sin θ."""
        env = at(AcrobotSwingupSparseEnv(), (0.3, 0.0))
        upper, lower = capsule(1.0, 0.05), capsule(1.0, 0.049)
        both = lower + 1.0 * 0.5 * 1.0  # about the elbow, with the upper arm's end one metre away
        matrix = np.array([[upper + lower + 1 + 2 * 0.5, both], [both, lower]])
        np.testing.assert_allclose(env.data.qacc, np.linalg.solve(matrix, 9.81 * math.sin(0.3) * np.array([2.0, 0.5])), rtol=1e-6)

    def test_the_motor_turns_the_elbow_alone(self):
        env = at(AcrobotSwingupSparseEnv(), (math.pi, 0.0))
        env.data.ctrl[:] = 0.5
        mujoco.mj_forward(env.model, env.data)
        np.testing.assert_allclose(env.data.qfrc_actuator, [0.0, 1.0])

    @pytest.mark.parametrize(
        ("shoulder", "elbow", "reward"), [(0, 0, 2), (0.09, 0, 2), (0.11, 0, 0), (0.4, -0.8, 2), (0.5, -1.0, 0), (math.pi, 0, 0)]
    )
    def test_each_frame_with_the_tip_at_the_top_pays_one(self, shoulder, elbow, reward):
        env = at(AcrobotSwingupSparseEnv(), (shoulder, elbow))
        env.do_simulation = lambda *_: None
        assert env.step(STILL)[1] == reward

    def test_observes_what_its_names_say(self):
        env = at(AcrobotSwingupSparseEnv(), (0.5, 0.7), (1.0, 2.0))
        np.testing.assert_allclose(env._obs(), [math.sin(0.5), math.sin(1.2), math.cos(0.5), math.cos(1.2), 1, 2])
        assert env._get_reset_info()["tip_x"] == pytest.approx(math.sin(0.5) + math.sin(1.2))
        assert env._get_reset_info()["tip_z"] == pytest.approx(math.cos(0.5) + math.cos(1.2))

    def test_starts_at_rest_at_any_angles(self):
        env = AcrobotSwingupSparseEnv()
        starts = np.array([(env.reset(seed=seed), *env.data.qpos)[1:] for seed in range(200)])
        assert np.abs(starts).max() <= math.pi and (np.abs(starts).max(axis=0) > 3).all() and not env.data.qvel.any()
