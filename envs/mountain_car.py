"""Mountain car with a reward at the goal only."""

from typing import Any

import numpy as np
from gymnasium.envs.classic_control import Continuous_MountainCarEnv

from ._validate import number


class SparseMountainCarEnv(Continuous_MountainCarEnv):
    """An underpowered car in a valley that must first drive away from its goal; the dynamics of Gymnasium's MountainCarContinuous.

    | | |
    | --- | --- |
    | observation | `Box(2,)` float32: position in [-1.2, 0.6], velocity in [-0.07, 0.07] per step |
    | action | `Box(-1, 1, (1,))`: force; it costs nothing |
    | reward | 1 on reaching the goal, else 0 |
    | end | terminates when position ≥ `goal_position` and velocity ≥ `goal_velocity`; registered with a limit of 500 steps |
    | start | position uniform in [-0.6, -0.4], velocity 0 |
    | source | VIME's sparse MountainCar; dynamics and goal are Gymnasium's, the paper has rllab's car |

    Args:
        goal_position: in (-0.4, 0.6): outside of the start's range, inside of the track.
        goal_velocity: the least velocity at the goal, in [-0.07, 0.07].
        power: velocity that a full force adds in one step, in (0, 0.0025), where gravity's most is 0.0025. With a fifth of Gymnasium's
            0.0015, no noise that ``genrl screen`` has reaches the goal.

    Raises:
        ValueError: a goal or power outside of its range.

    References:
        Houthooft et al., VIME: Variational Information Maximizing Exploration, 2016, arXiv:1605.09674.
        Duan et al., Benchmarking Deep Reinforcement Learning for Continuous Control, 2016, arXiv:1604.06778.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (as gymnasium.Env declares it)
    observation_names = ("position", "velocity")
    coverage_names = ("position", "velocity")

    def __init__(
        self, render_mode: str | None = None, goal_position: float = 0.45, goal_velocity: float = 0.0, power: float = 0.0015
    ) -> None:
        super().__init__(render_mode, number("goal_velocity", goal_velocity, -0.07, 0.07, "per step"))
        self.goal_position = number("goal_position", goal_position, -0.4, 0.6)
        self.power = number("power", power, 0.0, 0.0025, "per step")

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, _, terminated, truncated, info = super().step(action)
        return obs, float(terminated), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """Draw the valley, the car and the flag (Pillow; Gymnasium's own drawing needs pygame for a picture, too)."""
        if self.render_mode is None:
            return super().render()
        from ._drawing import Canvas

        canvas = Canvas(left=self.min_position, right=self.max_position, bottom=0.0)
        track = np.linspace(self.min_position, self.max_position, 100)
        canvas.line(list(zip(track, self._height(track), strict=True)))
        goal = self.goal_position, self._height(self.goal_position)
        canvas.line([goal, (goal[0], goal[1] + 0.2)])
        canvas.polygon([(goal[0], goal[1] + 0.2), (goal[0], goal[1] + 0.14), (goal[0] + 0.08, goal[1] + 0.17)], "#cccc00")
        canvas.disc((self.state[0], self._height(self.state[0]) + 0.04), 0.04, "#202020")
        return canvas.pixels()
