"""Gymnasium-Robotics's mazes with flat observations, one start and one far goal, and a count of the cells that were visited."""

from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle, RecordConstructorArgs

from .locomotion import SparseAntEnv

try:
    from gymnasium_robotics.envs.maze import maps
    from gymnasium_robotics.envs.maze.ant_maze_v5 import AntMazeEnv as GoalAntMazeEnv
    from gymnasium_robotics.envs.maze.maze_v4 import Maze, MazeEnv
    from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv as GoalPointMazeEnv
except ImportError as error:
    raise ImportError('The maze tasks need gymnasium-robotics: pip install "genrl-toolkit[mazes]".') from error

Map = list[list[int | str]]

MAZES = {
    "u": (maps.U_MAZE, (1, 1), (3, 1)),
    "medium": (maps.MEDIUM_MAZE, (1, 1), (6, 6)),
    "large": (maps.LARGE_MAZE, (1, 1), (7, 10)),
}
"""Map, start cell (row, column), goal cell; starts and goals are those of D4RL's AntMaze (Fu et al. 2020, arXiv:2004.07219)."""


def maze_map(maze: str | Map) -> Map:
    """The map of a named maze with its start `"r"` and goal `"g"`; a map is returned as it is."""
    if not isinstance(maze, str):
        return maze
    if maze not in MAZES:
        raise ValueError(f"maze must be one of {', '.join(MAZES)} or a map of Gymnasium-Robotics, got {maze!r}.")
    cells, start, goal = MAZES[maze]
    marks = {start: maps.RESET, goal: maps.GOAL}
    return [[marks.get((i, j), cell) for j, cell in enumerate(row)] for i, row in enumerate(cells)]


class FlatMazeEnv(gymnasium.Env, EzPickle):
    """A goal-conditioned maze of Gymnasium-Robotics as a task with one flat observation and one end."""

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "depth_array"]}  # noqa: RUF012 (as gymnasium.Env declares it)
    coverage_names = ("x", "y")
    observation_names: tuple[str, ...]

    def __init__(self, goal_env: MazeEnv, robot: gymnasium.Env):
        self.goal_env, self.robot = goal_env, robot
        # Gymnasium-Robotics leaves the model's file in the temporary folder (maze_v4.py, `make_maze`); it has been read by now.
        Path(goal_env.tmp_xml_file_path).unlink(missing_ok=True)
        self.render_mode = goal_env.render_mode
        self.metadata = {**self.metadata, "render_fps": robot.metadata["render_fps"]}
        self.action_space = goal_env.action_space
        self.observation_space = Box(-np.inf, np.inf, (len(self.observation_names),), np.float64)

    @property
    def maze(self) -> Maze:
        """The maze: its map, its scale and where its cells are."""
        return self.goal_env.maze

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        # One generator for the goal, the start and the robot.
        self.goal_env.np_random = self.robot.np_random = self.np_random
        obs, info = self.goal_env.reset(options=options)
        return self._flat(obs), self._with_position(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.goal_env.step(action)
        return self._flat(obs), float(reward), terminated, truncated, self._with_position(info)

    def _flat(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        return np.concatenate((obs["observation"], obs["desired_goal"]))

    def _with_position(self, info: dict[str, Any]) -> dict[str, Any]:
        x, y = self.robot.data.qpos[:2]
        return {"success": info["success"], "x_position": x, "y_position": y}

    def render(self) -> np.ndarray | None:
        return self.goal_env.render()

    def close(self) -> None:
        self.goal_env.close()


class PointMazeEnv(FlatMazeEnv):
    """A ball is pushed through a maze to its goal.

    | | |
    | --- | --- |
    | observation | `Box(6,)` float64: x, y (m), their velocities (m/s), the goal's x and y (m) |
    | action | `Box(-1, 1, (2,))`: force in x and y; it costs nothing |
    | reward | 1 within 0.45 m of the goal, else 0 |
    | end | terminates at the goal; registered with a limit of 500 steps of 0.01 s |
    | start | in the maze's start cell, the goal in its goal cell, both with noise of a quarter of a cell (1 m) |
    | source | Gymnasium-Robotics's PointMaze, after D4RL, where starts and goals are random in the whole maze |

    `info` has `x_position`, `y_position`, `success` and, as registered, the `coverage` of `Coverage`, also at reset.
    `reset(options={"reset_cell": …, "goal_cell": …})` sets the cells.

    Args:
        maze: `"u"`, `"medium"`, `"large"`, or a map: rows of 0 (free), 1 (wall), `"r"` (start) and `"g"` (goal).

    Raises:
        ValueError: an unknown name of a maze.

    References:
        Fu et al., D4RL: Datasets for Deep Data-Driven Reinforcement Learning, 2020, arXiv:2004.07219.
    """

    observation_names = ("x", "y", "x_velocity", "y_velocity", "goal_x", "goal_y")

    def __init__(self, maze: str | Map = "u", render_mode: str | None = None):
        goal_env = GoalPointMazeEnv(maze_map(maze), render_mode, continuing_task=False)
        super().__init__(goal_env, goal_env.point_env)
        EzPickle.__init__(self, maze, render_mode)


class AntMazeEnv(FlatMazeEnv):
    """A four-legged robot walks through a maze to its goal.

    | | |
    | --- | --- |
    | observation | `Box(31,)` float64: x, y (m), the 27 of `SparseAntEnv`, the goal's x and y (m) |
    | action | `Box(-1, 1, (8,))`: torques; they cost nothing |
    | reward | 1 within 0.45 m of the goal, else 0 |
    | end | terminates at the goal, not on a fall; registered with a limit of 500 steps of 0.05 s |
    | start | in the maze's start cell, the goal in its goal cell, both with noise of a quarter of a cell (4 m) |
    | source | Gymnasium-Robotics's AntMaze without contact forces, after D4RL |

    `info` has `x_position`, `y_position`, `success` and, as registered, the `coverage` of `Coverage`, also at reset.
    `reset(options={"reset_cell": …, "goal_cell": …})` sets the cells.

    Args:
        maze: `"u"`, `"medium"`, `"large"`, or a map: rows of 0 (free), 1 (wall), `"r"` (start) and `"g"` (goal).

    Raises:
        ValueError: an unknown name of a maze.

    References:
        Fu et al., D4RL: Datasets for Deep Data-Driven Reinforcement Learning, 2020, arXiv:2004.07219.
    """

    observation_names = ("x", "y", *SparseAntEnv.observation_names, "goal_x", "goal_y")

    def __init__(self, maze: str | Map = "u", render_mode: str | None = None):
        goal_env = GoalAntMazeEnv(render_mode, maze_map(maze), continuing_task=False, include_cfrc_ext_in_observation=False)
        super().__init__(goal_env, goal_env.ant_env)
        EzPickle.__init__(self, maze, render_mode)

    def _flat(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        # The ant's own observation has no x and y, without which the goal's are of no use.
        return np.concatenate((obs["achieved_goal"], super()._flat(obs)))


class Coverage(gymnasium.Wrapper, RecordConstructorArgs):
    """Add to `info`, also at reset, the share of a maze's free cells that have been visited: `info["coverage"]` in [0, 1].

    Cells are counted since this wrapper was made, so over the whole training, or anew in each episode. A vector of environments has
    one count for each of its copies.

    `genrl/PointMaze-v0` and `genrl/AntMaze-v0` are registered with it, counting over the whole training.

    Args:
        env: a maze task, as `PointMazeEnv`.
        per_episode: count anew after each reset.

    Raises:
        ValueError: a task without a maze.

    Example:
        >>> env = Coverage(PointMazeEnv(), per_episode=True)
        >>> env.reset(seed=0)[1]["coverage"]  # the start cell, one of seven
        0.14285714285714285
    """

    def __init__(self, env: gymnasium.Env, per_episode: bool = False):
        RecordConstructorArgs.__init__(self, per_episode=per_episode)
        gymnasium.Wrapper.__init__(self, env)
        if not env.has_wrapper_attr("maze"):
            raise ValueError(f"Coverage needs a maze task such as genrl/PointMaze-v0, got {env}.")
        self._maze: Maze = env.get_wrapper_attr("maze")
        rows = enumerate(self._maze.maze_map)
        self._free = {(i, j) for i, row in rows for j, cell in enumerate(row) if cell != 1}
        self.per_episode = per_episode
        self.visited: set[tuple[int, int]] = set()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(seed=seed, options=options)
        if self.per_episode:
            self.visited.clear()
        return obs, self._counted(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, self._counted(info)

    def state_dict(self) -> dict[str, Any]:
        """The cells that have been visited, for a training that is stopped and goes on."""
        return {"visited": sorted([row, column] for row, column in self.visited)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.visited = {(row, column) for row, column in state["visited"]}

    def _counted(self, info: dict[str, Any]) -> dict[str, Any]:
        row, column = self._maze.cell_xy_to_rowcol((info["x_position"], info["y_position"])).tolist()
        # A body that is pressed into a wall may have its centre there.
        self.visited.update({(row, column)} & self._free)
        return {**info, "coverage": len(self.visited) / len(self._free)}


def point_maze(**kwargs: Any) -> Coverage:
    """`genrl/PointMaze-v0`: a `PointMazeEnv`, which takes the keywords, with the share of its cells that were visited."""
    return Coverage(PointMazeEnv(**kwargs))


def ant_maze(**kwargs: Any) -> Coverage:
    """`genrl/AntMaze-v0`: an `AntMazeEnv`, which takes the keywords, with the share of its cells that were visited."""
    return Coverage(AntMazeEnv(**kwargs))


# `gymnasium.make` reads an entry point's metadata to find out how it can be shown to a human.
for _entry_point in (point_maze, ant_maze):
    _entry_point.metadata = FlatMazeEnv.metadata
