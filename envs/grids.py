"""A task of MiniGrid, seen by its agent as a picture."""

import math
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle

try:
    from minigrid.wrappers import ImgObsWrapper, RGBImgPartialObsWrapper
except ImportError as error:
    raise ImportError('The grid task needs minigrid: pip install "genrl-toolkit[grids]".') from error


class MiniGridEnv(gymnasium.Env, EzPickle):
    """A task of MiniGrid: rooms of cells with walls, doors, keys and balls, which an agent sees from where it stands.

    | | |
    | --- | --- |
    | observation | `Box(0, 255, (7 tile, 7 tile, 3))` uint8: the seven by seven cells before the agent, drawn |
    | action | `Discrete(7)`: turn left, turn right, go ahead, pick up, drop, open or use, done |
    | reward | 1 − 0.9 steps / limit at the goal, once; the limit is the grid's own, the most steps that it allows |
    | end | at the goal, and in lava where a grid has it; truncated after the grid's own limit, and after 500 steps |
    | source | MiniGrid (Chevalier-Boisvert et al. 2023, arXiv:2306.13831) |

    `info["state"]` has the agent's cell, where it looks, and whether it carries something, float32, named by `state_names`. The mission, a
    sentence that is the same in every episode of most grids, is in `info["mission"]`.

    Args:
        grid: the id of a task that MiniGrid registers.
        tile: side of a cell in pixels, at least 6, so that the convolutions of Stable-Baselines3 fit the picture.
        render_mode: `"rgb_array"` draws the whole grid.

    Raises:
        ValueError: a grid that MiniGrid does not have, or a tile that is too small.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (as gymnasium.Env declares it)
    state_names = ("x", "y", "cos_direction", "sin_direction", "carries")
    coverage_names = ("x", "y")

    def __init__(self, grid: str = "MiniGrid-DoorKey-8x8-v0", tile: int = 8, render_mode: str | None = None):
        EzPickle.__init__(self, grid, tile, render_mode)
        if not grid.startswith("MiniGrid-") or grid not in gymnasium.registry:
            raise ValueError(f"grid must be a task that MiniGrid registers, such as MiniGrid-DoorKey-8x8-v0, got {grid!r}.")
        if isinstance(tile, bool) or not isinstance(tile, int) or tile < 6:
            raise ValueError(f"tile must be a whole number of pixels, at least 6, got {tile!r}.")
        whole = gymnasium.make(grid, render_mode=render_mode, disable_env_checker=True)
        self.grid: Any = whole.unwrapped
        self._seen = ImgObsWrapper(RGBImgPartialObsWrapper(whole, tile_size=tile))
        self.render_mode = render_mode
        side = self.grid.agent_view_size * tile
        self.action_space, self.observation_space = self.grid.action_space, Box(0, 255, (side, side, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.grid.np_random = self.np_random
        obs, info = self._seen.reset(options=options)
        return obs, self._with_state(info)

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self._seen.step(int(action))
        return obs, float(reward), terminated, truncated, self._with_state(info)

    def render(self) -> Any:
        """The whole grid, with what the agent sees of it lit up."""
        return self.grid.render() if self.render_mode is not None else None

    def close(self) -> None:
        self._seen.close()

    def _with_state(self, info: dict[str, Any]) -> dict[str, Any]:
        (x, y), angle = self.grid.agent_pos, self.grid.agent_dir * math.pi / 2
        carries = self.grid.carrying is not None
        state = np.array([x, y, math.cos(angle), math.sin(angle), carries], np.float32)
        return {**info, "x": float(x), "y": float(y), "state": state, "mission": self.grid.mission}
