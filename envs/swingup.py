"""Swing-ups with the physics of the DeepMind Control Suite; all but one pay near the top only."""

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle

from ._validate import number

FRAMES = 2
"""Frames of 0.01 s in a step: the action repeat of most public results on these tasks."""


class SwingUpEnv(MujocoEnv, EzPickle):
    """A mechanism of `model` that is paid in each frame: `pays()` less `action_cost` · |action|².

    A step is two frames, so 500 steps are the suite's episode of 10 s, and its best return is 1,000. A subclass says what is observed,
    where an episode starts and what pays; other keywords, such as `render_mode`, go to Gymnasium's `MujocoEnv`.

    Raises:
        ValueError: a negative or infinite action cost.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"], "render_fps": 50}  # noqa: RUF012
    model_file: ClassVar[str]
    camera: ClassVar[dict[str, Any]]
    observation_names: tuple[str, ...]

    def __init__(self, action_cost: float = 0.0, **kwargs: Any):
        self.action_cost = number("action_cost", action_cost, 0, math.inf, "reward per frame", with_low=True)
        EzPickle.__init__(self, action_cost=action_cost, **kwargs)
        space = Box(-np.inf, np.inf, (len(self.observation_names),), np.float64)
        path = str(Path(__file__).with_name(self.model_file))
        MujocoEnv.__init__(self, path, FRAMES, space, **{"default_camera_config": self.camera, **kwargs})

    def pays(self) -> float:
        """The reward of the present frame, in [0, 1], before the cost of the action."""
        raise NotImplementedError

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        cost, reward = self.action_cost * float(np.square(np.clip(action, -1, 1)).sum()), 0.0
        for _ in range(FRAMES):
            self.do_simulation(action, 1)
            reward += self.pays() - cost
        if self.render_mode == "human":
            self.render()
        return self._obs(), reward, False, False, self._get_reset_info()

    def reset_model(self) -> np.ndarray:
        self.set_state(*self._start())
        return self._obs()

    def _start(self) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def _obs(self) -> np.ndarray:
        raise NotImplementedError


class CartpoleSwingupSparseEnv(SwingUpEnv):
    """A cart swings up a pole and is paid while the pole stands upright above the middle of the track.

    | | |
    | --- | --- |
    | observation | `Box(5,)` float64: x (m), cos θ, sin θ, ẋ (m/s), θ̇ (rad/s); θ = 0 is upright |
    | action | `Box(-1, 1, (1,))`: force on the cart, in units of 10 N |
    | reward | in each of two frames 1 while cos θ > 0.995 and \\|x\\| < 0.25 m, else 0; less `action_cost` · action² |
    | end | never terminates, the track ends at stops at ±1.8 m; registered with a limit of 500 steps of 0.02 s |
    | start | hanging at rest: x, θ − π, ẋ and θ̇ normal with standard deviation 0.01 |
    | source | cart-pole `swingup_sparse` of the DeepMind Control Suite; the action cost of Curi et al. |

    Standing still is worth 0, so with an action cost a learner that has not found the top learns to do nothing. A return is at most 1,000.

    `info` has `theta`, the angle in (-π, π], also at reset.

    Args:
        action_cost: what a full action costs in a frame; 0.1 and 0.25 are the harder variants.

    References:
        Tassa et al., DeepMind Control Suite, 2018, arXiv:1801.00690.
        Curi et al., Efficient Model-Based Reinforcement Learning through Optimistic Policy Search and Planning, 2020, arXiv:2006.08684.
    """

    model_file = "cartpole.xml"
    camera: ClassVar[dict[str, Any]] = {"distance": 4.5, "azimuth": 90.0, "elevation": 0.0, "lookat": np.array([0.0, 0.0, 1.0])}
    observation_names = ("x", "cos_theta", "sin_theta", "x_dot", "theta_dot")
    coverage_names = ("theta", "theta_dot")

    def pays(self) -> float:
        x, theta = self.data.qpos
        return float(math.cos(theta) > 0.995 and abs(x) < 0.25)

    def _start(self) -> tuple[np.ndarray, np.ndarray]:
        x, angle, x_dot, theta_dot = self.np_random.normal(0.0, 0.01, 4)
        return np.array((x, math.pi + angle)), np.array((x_dot, theta_dot))

    def _obs(self) -> np.ndarray:
        x, theta = self.data.qpos
        return np.array((x, math.cos(theta), math.sin(theta), *self.data.qvel))

    def _get_reset_info(self) -> dict[str, float]:
        return {"theta": math.remainder(self.data.qpos[1], 2 * math.pi)}


class CartpoleSwingupEnv(CartpoleSwingupSparseEnv):
    """A cart swings up a pole, paid in each frame for how near both are to standing still, upright and in the middle, without effort.

    | | |
    | --- | --- |
    | observation | `Box(5,)` float64: x (m), cos θ, sin θ, ẋ (m/s), θ̇ (rad/s); θ = 0 is upright |
    | action | `Box(-1, 1, (1,))`: force on the cart, in units of 10 N |
    | reward | in each of two frames (1 + cos θ)/2 · (1 + 0.1^(x²/4))/2 · (4 + max(0, 1 − action²))/5 · (1 + 0.1^(θ̇²/25))/2, in [0, 1] |
    | end | never terminates; registered with a limit of 500 steps of 0.02 s |
    | start | hanging at rest: x, θ − π, ẋ and θ̇ normal with standard deviation 0.01 |
    | source | cart-pole `swingup` of the DeepMind Control Suite |

    A return is at most 1,000.

    Args:
        action_cost: what a full action costs in a frame, beside the suite's own reward.

    References:
        Tassa et al., DeepMind Control Suite, 2018, arXiv:1801.00690.
    """

    def pays(self) -> float:
        (x, theta), (_, theta_dot) = self.data.qpos, self.data.qvel
        effort = min(1.0, float(self.data.ctrl[0]) ** 2)
        centred, still = 0.1 ** (x * x / 4), 0.1 ** (theta_dot * theta_dot / 25)
        return (1 + math.cos(theta)) / 2 * (1 + centred) / 2 * (5 - effort) / 5 * (1 + still) / 2


class AcrobotSwingupSparseEnv(SwingUpEnv):
    """Two arms with a motor at the elbow alone are paid while the tip is at the top.

    | | |
    | --- | --- |
    | observation | `Box(6,)` float64: sines of both arms' angles to the vertical, their cosines, velocities of shoulder and elbow (rad/s) |
    | action | `Box(-1, 1, (1,))`: torque at the elbow, in units of 2 N·m |
    | reward | in each of two frames 1 while the tip is within 0.2 m of 2 m above the shoulder, else 0; less `action_cost` · action² |
    | end | never terminates; registered with a limit of 500 steps of 0.02 s |
    | start | at rest, the angles of shoulder and elbow uniform in [-π, π) |
    | source | acrobot `swingup_sparse` of the DeepMind Control Suite |

    `info` has `tip_x` and `tip_z` (m, from the shoulder), also at reset.

    Args:
        action_cost: what a full action costs in a frame.

    References:
        Tassa et al., DeepMind Control Suite, 2018, arXiv:1801.00690.
    """

    model_file = "acrobot.xml"
    camera: ClassVar[dict[str, Any]] = {"distance": 6.0, "azimuth": 90.0, "elevation": 0.0, "lookat": np.array([0.0, 0.0, 2.0])}
    observation_names = ("upper_sin", "lower_sin", "upper_cos", "lower_cos", "shoulder_velocity", "elbow_velocity")
    coverage_names = ("tip_x", "tip_z")

    def pays(self) -> float:
        x, z = self._tip()
        return float(math.hypot(x, z - 2) < 0.2)

    def _angles(self) -> tuple[float, float]:
        """Angles of the upper and of the lower arm to the vertical; 0 is up (rad)."""
        shoulder, elbow = self.data.qpos
        return shoulder, shoulder + elbow

    def _tip(self) -> tuple[float, float]:
        return sum(map(math.sin, self._angles())), sum(map(math.cos, self._angles()))

    def _start(self) -> tuple[np.ndarray, np.ndarray]:
        return self.np_random.uniform(-math.pi, math.pi, 2), np.zeros(2)

    def _obs(self) -> np.ndarray:
        angles = self._angles()
        return np.array((*map(math.sin, angles), *map(math.cos, angles), *self.data.qvel))

    def _get_reset_info(self) -> dict[str, float]:
        return dict(zip(self.coverage_names, self._tip(), strict=True))
