"""Cart-pole swing-up with a reward near the top only."""

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from ._validate import number

State = tuple[float, ...]

GRAVITY = 9.8  # m/s²
CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg
HALF_LENGTH = 0.5  # m, from the hinge to the pole's centre of mass
MAX_FORCE = 10.0  # N
TIMESTEP = 0.05  # s
MAX_POSITION = 3.0  # m


def derivatives(state: State, force: float) -> State:
    """Time derivatives of (x, ẋ, θ, θ̇) for a uniform pole on a frictionless cart, θ = 0 upright.

        θ̈ = (g sin θ − cos θ (F + m l θ̇² sin θ) / (M + m)) / (l (4/3 − m cos² θ / (M + m)))
        ẍ = (F + m l (θ̇² sin θ − θ̈ cos θ)) / (M + m)

    References:
        Barto, Sutton, Anderson, Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems, 1983.
        Florian, Correct Equations for the Dynamics of the Cart-Pole System, 2007.
    """
    _, x_dot, theta, theta_dot = state
    sin, cos = math.sin(theta), math.cos(theta)
    total, pole = CART_MASS + POLE_MASS, POLE_MASS * HALF_LENGTH
    push = (force + pole * theta_dot * theta_dot * sin) / total
    theta_acc = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - POLE_MASS * cos * cos / total))
    return x_dot, push - pole * theta_acc * cos / total, theta_dot, theta_acc


def advance(state: State, force: float, dt: float = TIMESTEP) -> State:
    """The state after `dt` seconds of constant force: one Runge-Kutta step of order four."""
    k1 = derivatives(state, force)
    k2 = derivatives(tuple(s + 0.5 * dt * k for s, k in zip(state, k1, strict=True)), force)
    k3 = derivatives(tuple(s + 0.5 * dt * k for s, k in zip(state, k2, strict=True)), force)
    k4 = derivatives(tuple(s + dt * k for s, k in zip(state, k3, strict=True)), force)
    return tuple(s + dt / 6 * (a + 2 * (b + c) + d) for s, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True))


class SparseCartpoleSwingupEnv(gymnasium.Env):
    """A cart swings up a pole that starts hanging down, and sees no reward before the pole is near the top.

    | | |
    | --- | --- |
    | observation | `Box(5,)` float32: x (m), ẋ (m/s), cos θ, sin θ, θ̇ (rad/s); θ = 0 is upright |
    | action | `Box(-1, 1, (1,))`: force on the cart, in units of 10 N |
    | reward | 1 while cos θ > `threshold`, else 0 |
    | end | terminates when \\|x\\| > 3 m; registered with a limit of 500 steps of 0.05 s |
    | start | hanging at rest: x, ẋ, θ − π and θ̇ uniform in [-0.05, 0.05] |
    | source | VIME's sparse CartpoleSwingup; masses, length, force, time step and track are rllab's |

    The equations are integrated here, so there are no contacts and no friction of Box2D, and the start is at rest (rllab's is wider:
    up to 1 rad and 3 rad/s).

    `info` has `theta`, the angle in (-π, π].

    Args:
        threshold: the least cos θ that pays, in (-1, 1).

    Raises:
        ValueError: a threshold outside of its range.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": round(1 / TIMESTEP)}  # noqa: RUF012 (as gymnasium.Env declares it)
    observation_names = ("x", "x_dot", "cos_theta", "sin_theta", "theta_dot")
    coverage_names = ("theta", "theta_dot")

    def __init__(self, threshold: float = 0.8, render_mode: str | None = None):
        self.threshold = number("threshold", threshold, -1, 1, "(a cosine)")
        self.render_mode = render_mode
        # A step covers far less than the track, so 2 * MAX_POSITION also holds the last observation of an episode.
        high = np.array([2 * MAX_POSITION, np.inf, 1, 1, np.inf], np.float32)
        self.observation_space = Box(-high, high)
        self.action_space = Box(-1.0, 1.0, (1,))
        self.state: State = (0.0, 0.0, math.pi, 0.0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        x, x_dot, angle, theta_dot = self.np_random.uniform(-0.05, 0.05, 4).tolist()
        self.state = (x, x_dot, math.pi + angle, theta_dot)
        return self._obs(), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        force = MAX_FORCE * min(max(float(action[0]), -1.0), 1.0)
        self.state = advance(self.state, force)
        reward = float(math.cos(self.state[2]) > self.threshold)
        return self._obs(), reward, abs(self.state[0]) > MAX_POSITION, False, self._info()

    def _obs(self) -> np.ndarray:
        x, x_dot, theta, theta_dot = self.state
        return np.array((x, x_dot, math.cos(theta), math.sin(theta), theta_dot), np.float32)

    def _info(self) -> dict[str, float]:
        return {"theta": math.atan2(math.sin(self.state[2]), math.cos(self.state[2]))}

    def render(self) -> np.ndarray | None:
        """Draw the track, the cart and the pole; green while it pays."""
        if self.render_mode is None:
            return None
        from ._drawing import Canvas

        x, _, theta, _ = self.state
        canvas = Canvas(left=-1.2 * MAX_POSITION, right=1.2 * MAX_POSITION, bottom=-2.4)
        tip = x + 2 * HALF_LENGTH * math.sin(theta), 2 * HALF_LENGTH * math.cos(theta)
        canvas.line([(-MAX_POSITION, 0), (MAX_POSITION, 0)], "#808080")
        canvas.polygon([(x - 0.3, -0.15), (x + 0.3, -0.15), (x + 0.3, 0.15), (x - 0.3, 0.15)], "#202020")
        canvas.line([(x, 0), tip], "#2a9d3a" if math.cos(theta) > self.threshold else "#b5651d", 0.1)
        canvas.disc((x, 0), 0.06, "#808080")
        return canvas.pixels()
