"""A MuJoCo swimmer that gathers apples and avoids bombs, which it sees through range sensors."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle

from ._validate import number, refuse_rewards

Point = tuple[float, float]

N_BINS = 10
SENSOR_RANGE = 6.0  # m
SENSOR_SPAN = math.pi  # rad, half of it to either side of the heading


def range_readings(position: Point, heading: float, objects: Iterable[Point]) -> np.ndarray:
    """What the sensors of one kind of object read: 1 − distance / range for the nearest object in each bin, else 0.

    Bin 0 is the rightmost (bearing −span/2), bin `N_BINS` − 1 the leftmost. Lengths in metres, `heading` in radians; in [0, 1].
    """
    readings = np.zeros(N_BINS)
    for x, y in objects:
        dx, dy = x - position[0], y - position[1]
        bearing = (math.atan2(dy, dx) - heading + math.pi) % (2 * math.pi) - math.pi
        intensity = 1 - math.hypot(dx, dy) / SENSOR_RANGE
        if intensity > 0 and abs(bearing) <= SENSOR_SPAN / 2:
            # A bearing of exactly span/2 belongs to the last bin.
            bin_ = min(int((bearing / SENSOR_SPAN + 0.5) * N_BINS), N_BINS - 1)
            readings[bin_] = max(readings[bin_], intensity)
    return readings


class SwimmerGatherEnv(SwimmerEnv):
    """A three-link swimmer catches objects by coming near them: an apple pays, a bomb costs.

    | | |
    | --- | --- |
    | observation | `Box(30,)` float64: Swimmer-v5's, with x and y (m, rad, m/s, rad/s); then 10 readings of apples and 10 of bombs |
    | action | `Box(-1, 1, (2,))`: torques at the joints; they cost nothing |
    | reward | +1 for each apple and −1 for each bomb within `catch_range` of the swimmer; then it is gone |
    | end | terminates when nothing is left; registered with a limit of 500 steps of 0.05 s |
    | start | the swimmer near the origin; each object on its own point of a 2 m grid, none within `robot_object_spacing` |
    | source | the benchmark's SwimmerGather, used by VIME; objects, sensors and time step as released |

    Different from the released task: the robot is Gymnasium's (stronger motors, joints with armature), its position is that of the
    torso's frame, and there are no walls (the released ones do not collide).

    The grid's x and y are -`activity_range`, …, `activity_range` - 2, as released. A sensor reads 1 − distance / 6 m for the nearest
    object in its bin of 18°; the ten bins span 180° around the heading.
    `info` has the numbers `apples` and `bombs` caught in this episode, also at reset.

    Args:
        n_apples, n_bombs: objects in each episode.
        activity_range: half the width of the arena (m).
        robot_object_spacing: least distance of an object from the origin (m).
        catch_range: distance at which an object is caught (m).

    Raises:
        ValueError: a length that is no positive, finite number, more objects than points of the grid, or a keyword of the swimmer's own
            reward.

    References:
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
    """

    observation_names = (
        *("x", "y", "heading", "front_joint", "back_joint"),
        *("x_velocity", "y_velocity", "heading_velocity", "front_joint_velocity", "back_joint_velocity"),
        *(f"{kind}_{i}" for kind in ("apple", "bomb") for i in range(N_BINS)),
    )
    coverage_names = ("x", "y")

    def __init__(
        self,
        n_apples: int = 8,
        n_bombs: int = 8,
        activity_range: float = 6.0,
        robot_object_spacing: float = 2.0,
        catch_range: float = 1.0,
        **kwargs: Any,
    ):
        spacing = number("robot_object_spacing", robot_object_spacing, 0, math.inf, "metres")
        half = int(number("activity_range", activity_range, 0, math.inf, "metres") // 2)
        grid = [(2.0 * i, 2.0 * j) for i in range(-half, half) for j in range(-half, half)]
        self._places = [place for place in grid if math.hypot(*place) >= spacing]
        if min(n_apples, n_bombs) < 0 or n_apples + n_bombs > len(self._places):
            raise ValueError(
                f"n_apples={n_apples} and n_bombs={n_bombs} must not be negative and fit on the {len(self._places)} places"
                f" that activity_range={activity_range} and robot_object_spacing={robot_object_spacing} leave."
            )
        self.n_apples, self.n_bombs = n_apples, n_bombs
        self.catch_range = number("catch_range", catch_range, 0, math.inf, "metres")
        refuse_rewards(kwargs)
        self.apples: list[Point] = []
        self.bombs: list[Point] = []
        super().__init__(
            frame_skip=5,
            exclude_current_positions_from_observation=False,
            **{"default_camera_config": {"distance": 22.0, "elevation": -60.0, "lookat": np.zeros(3)}, **kwargs},
        )
        # The robot has recorded its own arguments; a copy is made with this class's.
        EzPickle.__init__(self, n_apples, n_bombs, activity_range, robot_object_spacing, catch_range, **kwargs)
        low = np.concatenate((np.full(10, -np.inf), np.zeros(2 * N_BINS)))
        high = np.concatenate((np.full(10, np.inf), np.ones(2 * N_BINS)))
        self.observation_space = Box(low, high, dtype=np.float64)

    def reset_model(self) -> np.ndarray:
        robot = super().reset_model()
        chosen = self.np_random.choice(len(self._places), self.n_apples + self.n_bombs, replace=False)
        places = [self._places[i] for i in chosen]
        self.apples, self.bombs = places[: self.n_apples], places[self.n_apples :]
        return self._with_readings(robot)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        robot, _, _, truncated, info = super().step(action)
        n_apples, n_bombs = len(self.apples), len(self.bombs)
        self.apples, self.bombs = self._out_of_reach(self.apples), self._out_of_reach(self.bombs)
        reward = float((n_apples - len(self.apples)) - (n_bombs - len(self.bombs)))
        terminated = not self.apples and not self.bombs
        return self._with_readings(robot), reward, terminated, truncated, {**info, **self._caught()}

    def _out_of_reach(self, objects: list[Point]) -> list[Point]:
        return [point for point in objects if math.dist(point, self.data.qpos[:2]) >= self.catch_range]

    def _with_readings(self, robot: np.ndarray) -> np.ndarray:
        x, y, heading = self.data.qpos[:3].tolist()
        return np.concatenate([robot, *(range_readings((x, y), heading, kind) for kind in (self.apples, self.bombs))])

    def _caught(self) -> dict[str, int]:
        return {"apples": self.n_apples - len(self.apples), "bombs": self.n_bombs - len(self.bombs)}

    def _get_reset_info(self) -> dict[str, float]:
        return {**super()._get_reset_info(), **self._caught()}

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, float]]:
        # Swimmer-v5's `step` adds its own reward terms to `info` from here; this task has none of them.
        return 0.0, {}

    def render(self) -> np.ndarray | None:
        """Draw the swimmer, the apples (green) and the bombs (red)."""
        if self.render_mode is None:
            return super().render()
        # gymnasium/envs/mujoco/mujoco_rendering.py: markers are cleared after each frame.
        viewer = self.mujoco_renderer._get_viewer(self.render_mode)
        for objects, colour in ((self.apples, (0.1, 0.7, 0.2, 1.0)), (self.bombs, (0.9, 0.1, 0.1, 1.0))):
            for x, y in objects:
                viewer.add_marker(pos=np.array([x, y, 0.2]), size=np.full(3, 0.3), rgba=np.array(colour), label="")
        return super().render()
