"""MuJoCo robots that are paid for how far they are, and for nothing on the way there.

One mixin, `SparseReward`, turns a Gymnasium robot into a sparse task; a class below it is a robot, a threshold and names.
"""

from typing import Any, ClassVar

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.utils import EzPickle

from ._validate import number, refuse_rewards


def _velocities(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}_velocity" for name in names)


_PLANE = ("x", "z", "pitch")
_CHEETAH = (*_PLANE, "back_thigh", "back_shin", "back_foot", "front_thigh", "front_shin", "front_foot")
_WALKER = (*_PLANE, "thigh", "leg", "foot", "left_thigh", "left_leg", "left_foot")
_HOPPER = (*_PLANE, "thigh", "leg", "foot")
_SWIMMER = ("x", "y", "heading", "front_joint", "back_joint")
_FREE = ("x", "y", "z", "qw", "qx", "qy", "qz")
_FREE_VELOCITIES = _velocities("x", "y", "z", "roll", "pitch", "yaw")
_ANT = tuple(f"{joint}_{leg}" for leg in range(1, 5) for joint in ("hip", "ankle"))
_SIDES = ("right", "left")
_HUMANOID = (
    *("abdomen_z", "abdomen_y", "abdomen_x"),
    *(f"{side}_{joint}" for side in _SIDES for joint in ("hip_x", "hip_z", "hip_y", "knee")),
    *(f"{side}_{joint}" for side in _SIDES for joint in ("shoulder1", "shoulder2", "elbow")),
)
_HUMANOID_BODIES = (
    *("torso", "lower_waist", "pelvis"),
    *(f"{side}_{body}" for side in _SIDES for body in ("thigh", "shin", "foot")),
    *(f"{side}_{body}" for side in _SIDES for body in ("upper_arm", "lower_arm")),
)


def _per_body(quantity: str, size: int) -> tuple[str, ...]:
    return tuple(f"{body}_{quantity}_{i}" for body in _HUMANOID_BODIES for i in range(size))


class SparseReward(EzPickle):
    """Mixin before a Gymnasium MuJoCo robot: the reward is 1 while `progress()` exceeds `threshold`, else 0.

    The start is at 0, so a threshold must be positive. `layout` holds the robot's keywords that decide what is observed and how
    long a step lasts: they define the task, so they are not keywords of it. Other keywords go to the robot, but those of its own reward.

    Raises:
        ValueError: a threshold that is no positive, finite number, or a keyword of the robot's own reward.
    """

    layout: ClassVar[dict[str, Any]] = {"exclude_current_positions_from_observation": True}
    data: Any

    def __init__(self, threshold: float, **kwargs: Any):
        self.threshold = number("threshold", threshold, 0, float("inf"), "metres")
        refuse_rewards(kwargs)
        super().__init__(**self.layout, **kwargs)
        # The robot has recorded its own arguments; a copy is made with this class's.
        EzPickle.__init__(self, threshold=threshold, **kwargs)

    def progress(self) -> float:
        """How far the robot is, in metres: its x."""
        return self.data.qpos[0]

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, float]]:
        # The robots' `step` (gymnasium/envs/mujoco/*_v5.py) takes reward and reward terms from here, after the simulation.
        return float(self.progress() > self.threshold), {}


class SparseHalfCheetahEnv(SparseReward, HalfCheetahEnv):
    """A two-legged planar robot is paid while it is more than 5 m ahead; the common, easier variant (dt 0.05, x hidden).

    | | |
    | --- | --- |
    | observation | `Box(17,)` float64: HalfCheetah-v5's, without x (m, rad, m/s, rad/s) |
    | action | `Box(-1, 1, (6,))`: torques; they cost nothing |
    | reward | 1 while x > `threshold` (5 m), else 0 |
    | end | never terminates; registered with a limit of 500 steps of 0.05 s |
    | source | VIME's sparse HalfCheetah with Gymnasium's time step and observation, as in many later papers |

    `info` has `x_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    observation_names = (*_CHEETAH[1:], *_velocities(*_CHEETAH))
    coverage_names = ("x_position", "z")

    def __init__(self, threshold: float = 5.0, **kwargs: Any):
        super().__init__(threshold, **kwargs)


class SparseHalfCheetahFineEnv(SparseHalfCheetahEnv):
    """The sparse HalfCheetah of the VIME paper: five times finer in time, so five times further in steps, and x is observed.

    | | |
    | --- | --- |
    | observation | `Box(18,)` float64: x, then HalfCheetah-v5's (m, rad, m/s, rad/s) |
    | action | `Box(-1, 1, (6,))`: torques; they cost nothing |
    | reward | 1 while x > `threshold` (5 m), else 0 |
    | end | never terminates; registered with a limit of 500 steps of 0.01 s |
    | source | VIME's paper and released code; the robot model is Gymnasium's, after the benchmark's |

    `info` has `x_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    layout: ClassVar[dict[str, Any]] = {"exclude_current_positions_from_observation": False, "frame_skip": 1}
    observation_names = (*_CHEETAH, *_velocities(*_CHEETAH))
    coverage_names = ("x", "z")


class SparseWalker2dEnv(SparseReward, Walker2dEnv):
    """A planar biped is paid while it is more than 1 m ahead.

    | | |
    | --- | --- |
    | observation | `Box(17,)` float64: Walker2d-v5's, without x (m, rad, m/s, rad/s) |
    | action | `Box(-1, 1, (6,))`: torques; they cost nothing |
    | reward | 1 while x > `threshold` (1 m), else 0 |
    | end | terminates on a fall, as Walker2d-v5; registered with a limit of 500 steps of 0.008 s |
    | source | VIME's sparse Walker2D; the robot model is Gymnasium's, after the benchmark's |

    `info` has `x_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    observation_names = (*_WALKER[1:], *_velocities(*_WALKER))
    coverage_names = ("x_position", "z")

    def __init__(self, threshold: float = 1.0, **kwargs: Any):
        super().__init__(threshold, **kwargs)


class SparseHopperEnv(SparseReward, HopperEnv):
    """A one-legged planar robot is paid while it is more than 1 m ahead.

    | | |
    | --- | --- |
    | observation | `Box(11,)` float64: Hopper-v5's, without x (m, rad, m/s, rad/s) |
    | action | `Box(-1, 1, (3,))`: torques; they cost nothing |
    | reward | 1 while x > `threshold` (1 m), else 0 |
    | end | terminates on a fall, as Hopper-v5; registered with a limit of 500 steps of 0.008 s |
    | source | our variant of the benchmark's Hopper, in the manner of VIME; not one of the paper's tasks |

    `info` has `x_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    observation_names = (*_HOPPER[1:], *_velocities(*_HOPPER))
    coverage_names = ("x_position", "z")

    def __init__(self, threshold: float = 1.0, **kwargs: Any):
        super().__init__(threshold, **kwargs)


class SparseSwimmerEnv(SparseReward, SwimmerEnv):
    """A three-link swimmer is paid while it is more than 2.5 m from its start along x, in either direction.

    | | |
    | --- | --- |
    | observation | `Box(8,)` float64: Swimmer-v5's, without x and y (rad, m/s, rad/s) |
    | action | `Box(-1, 1, (2,))`: torques at the joints; they cost nothing |
    | reward | 1 while \\|x\\| > `threshold` (2.5 m), else 0 |
    | end | never terminates; registered with a limit of 500 steps of 0.04 s |
    | source | our variant of the benchmark's Swimmer, in the manner of VIME; not one of the paper's tasks |

    Noise alone, held for as long as it may be, gets to 2.1 m in 200 episodes; a wave that runs along the body to 3.4 m.
    `info` has `x_position` and `y_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    observation_names = (*_SWIMMER[2:], *_velocities(*_SWIMMER))
    coverage_names = ("x_position", "y_position")

    def __init__(self, threshold: float = 2.5, **kwargs: Any):
        super().__init__(threshold, **kwargs)

    def progress(self) -> float:
        """How far the robot is, in metres: the size of its x."""
        return abs(self.data.qpos[0])


class SparseAntEnv(SparseReward, AntEnv):
    """A four-legged robot is paid while it is more than 10 m from its start, in any direction.

    | | |
    | --- | --- |
    | observation | `Box(27,)` float64: Ant-v5's, without x, y and contact forces (m, quaternion, rad, m/s, rad/s) |
    | action | `Box(-1, 1, (8,))`: torques; they cost nothing |
    | reward | 1 while the planar distance from the start exceeds `threshold` (10 m), else 0 |
    | end | terminates when the torso leaves heights of 0.2 m to 1 m, as Ant-v5; registered with a limit of 500 steps of 0.05 s |
    | source | our variant of the benchmark's Ant, in the manner of VIME; not one of the paper's tasks |

    Noise alone gets to 6 m in 20,000 steps, and seldom further; `threshold=20` is a goal that is far from what any noise does.
    `info` has `x_position` and `y_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    layout: ClassVar[dict[str, Any]] = {"exclude_current_positions_from_observation": True, "include_cfrc_ext_in_observation": False}
    observation_names = (*_FREE[2:], *_ANT, *_FREE_VELOCITIES, *_velocities(*_ANT))
    coverage_names = ("x_position", "y_position")

    def __init__(self, threshold: float = 10.0, **kwargs: Any):
        super().__init__(threshold, **kwargs)

    def reset_model(self) -> np.ndarray:
        obs = super().reset_model()
        self.start = self.data.qpos[:2].copy()
        return obs

    def progress(self) -> float:
        """How far the robot is, in metres: its planar distance from where this episode began."""
        return np.hypot(*(self.data.qpos[:2] - self.start))


class SparseHumanoidEnv(SparseReward, HumanoidEnv):
    """A humanoid is paid while it is more than 1 m ahead.

    | | |
    | --- | --- |
    | observation | `Box(348,)` float64: Humanoid-v5's, without x and y (pose, velocities, body inertias and forces) |
    | action | `Box(-0.4, 0.4, (17,))`: torques; they cost nothing |
    | reward | 1 while x > `threshold` (1 m), else 0 |
    | end | terminates when the torso leaves heights of 1 m to 2 m, as Humanoid-v5; registered with a limit of 500 steps of 0.015 s |
    | source | our variant of the benchmark's Humanoid, in the manner of VIME; not one of the paper's tasks |

    `info` has `x_position` and `y_position` (m), also at reset.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    observation_names = (
        *_FREE[2:],
        *_HUMANOID,
        *_FREE_VELOCITIES,
        *_velocities(*_HUMANOID),
        *_per_body("inertia", 10),
        *_per_body("body_velocity", 6),
        *(f"{joint}_torque" for joint in _HUMANOID),
        *_per_body("contact_force", 6),
    )
    coverage_names = ("x_position", "y_position")

    def __init__(self, threshold: float = 1.0, **kwargs: Any):
        super().__init__(threshold, **kwargs)
