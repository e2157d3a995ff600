"""A two-link arm with the geometry, the actuators and the reward of Gymnasium's Reacher, without a simulator."""

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

TIMESTEP = 0.02  # s
LINKS = 0.1, 0.11  # m: the upper arm, and the forearm up to the fingertip
TORQUE = 200.0  # N m at a full action
ARMATURE = 1.0  # kg m², of each joint's rotor
DAMPING = 1.0  # N m s
ELBOW_LIMIT = 3.0  # rad
REACH = 0.2  # m, the radius of the disc of targets


def advance(angle: float, speed: float, action: float, dt: float = TIMESTEP) -> tuple[float, float]:
    """A joint's angle and speed after `dt` seconds of constant torque, exactly: J ω̇ = T u − d ω.

    The links weigh 0.04 kg, so beside rotors of 1 kg m² their inertia, at most 0.001 kg m², is left out, and the joints move each by
    itself.
    """
    final, decay = TORQUE * action / DAMPING, math.exp(-DAMPING / ARMATURE * dt)
    return angle + final * dt + (speed - final) * (1 - decay) * ARMATURE / DAMPING, final + (speed - final) * decay


class ReacherEnv(gymnasium.Env):
    """Reach a random target with the tip of an arm; seen from above, no gravity.

    | | |
    | --- | --- |
    | observation | `Box(10,)` float32, Reacher-v5's: the cosines of both angles, their sines, the target's x and y (m), both angular velocities (rad/s), x and y from the target to the tip (m) |
    | action | `Box(-1, 1, (2,))`: torques, in units of 200 N m |
    | reward | −\\|tip − target\\| − \\|action\\|², after the step |
    | end | none of its own; a step lasts 0.02 s |
    | start | both angles uniform in [-0.1, 0.1], both speeds in [-0.005, 0.005], the target uniform in a disc of 0.2 m |
    | source | Gymnasium's Reacher-v5; the elbow's limit of ±3 rad stops it dead, where MuJoCo's is soft |
    """  # noqa: E501 (a table's row)

    observation_names = (
        *("cos_shoulder", "cos_elbow", "sin_shoulder", "sin_elbow", "target_x", "target_y"),
        *("shoulder_velocity", "elbow_velocity", "tip_minus_target_x", "tip_minus_target_y"),
    )

    def __init__(self):
        self.observation_space = Box(-np.inf, np.inf, (10,))
        self.action_space = Box(-1.0, 1.0, (2,))
        self.angles, self.speeds, self.target = (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)

    @property
    def elbow(self) -> tuple[float, float]:
        """Where the elbow is, in m."""
        return LINKS[0] * math.cos(self.angles[0]), LINKS[0] * math.sin(self.angles[0])

    @property
    def tip(self) -> tuple[float, float]:
        """Where the fingertip is, in m."""
        x, y = self.elbow
        total = sum(self.angles)
        return x + LINKS[1] * math.cos(total), y + LINKS[1] * math.sin(total)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.angles = tuple(self.np_random.uniform(-0.1, 0.1, 2).tolist())
        self.speeds = tuple(self.np_random.uniform(-0.005, 0.005, 2).tolist())
        radius, angle = REACH * math.sqrt(self.np_random.random()), self.np_random.uniform(-math.pi, math.pi)
        self.target = radius * math.cos(angle), radius * math.sin(angle)
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        push = np.clip(action, -1.0, 1.0).tolist()
        joints = [advance(*joint) for joint in zip(self.angles, self.speeds, push, strict=True)]
        if abs(joints[1][0]) > ELBOW_LIMIT:
            joints[1] = math.copysign(ELBOW_LIMIT, joints[1][0]), 0.0
        self.angles, self.speeds = zip(*joints, strict=True)
        reward = -math.dist(self.tip, self.target) - sum(u * u for u in push)
        return self._obs(), reward, False, False, {}

    def _obs(self) -> np.ndarray:
        offset = (tip - target for tip, target in zip(self.tip, self.target, strict=True))
        return np.array((*map(math.cos, self.angles), *map(math.sin, self.angles), *self.target, *self.speeds, *offset), np.float32)
