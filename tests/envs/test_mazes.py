import gymnasium
import numpy as np
import pytest

pytest.importorskip("gymnasium_robotics")

from genrl_envs import MAZES, Coverage, PointMazeEnv

TASKS = ("genrl/PointMaze-v0", "genrl/AntMaze-v0")


def put(env, x, y):
    """Move the robot to (x, y) at rest and take a step without action."""
    robot = env.unwrapped.robot
    qpos = robot.data.qpos.copy()
    qpos[:2] = x, y
    robot.set_state(qpos, np.zeros(robot.model.nv))
    return env.step(np.zeros(env.action_space.shape, np.float32))


@pytest.mark.parametrize("task_id", TASKS)
class TestMaze:
    def test_pays_one_at_the_goal_and_ends(self, task_id):
        env = gymnasium.make(task_id)
        env.reset(seed=0)
        x, y = env.unwrapped.goal_env.goal
        assert put(env, x + 0.7, y)[1:3] == (0.0, False)
        _, reward, terminated, truncated, info = put(env, x + 0.3, y)
        assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)

    def test_observes_where_it_is_and_where_to_go(self, task_id):
        env = gymnasium.make(task_id)
        obs, info = env.reset(seed=0)
        named = dict(zip(env.unwrapped.observation_names, obs, strict=True))
        assert (named["x"], named["y"]) == (info["x_position"], info["y_position"])
        np.testing.assert_array_equal((named["goal_x"], named["goal_y"]), env.unwrapped.goal_env.goal)

    @pytest.mark.parametrize("maze", MAZES)
    def test_starts_and_ends_in_the_cells_of_the_map(self, task_id, maze):
        env = gymnasium.make(task_id, maze=maze)
        _, start, goal = MAZES[maze]
        for seed in range(3):
            _, info = env.reset(seed=seed)
            cell = env.unwrapped.maze.cell_xy_to_rowcol
            assert tuple(cell((info["x_position"], info["y_position"]))) == start
            assert tuple(cell(env.unwrapped.goal_env.goal)) == goal


@pytest.mark.parametrize("task_id", TASKS)
def test_is_registered_with_a_count_of_its_own_for_each_copy(task_id):
    envs = [gymnasium.make(task_id) for _ in range(2)]
    for env in envs:
        assert env.reset(seed=0)[1]["coverage"] == pytest.approx(1 / 7)
        assert put(env, *env.unwrapped.maze.cell_rowcol_to_xy(np.array((1, 2))))[-1]["coverage"] == pytest.approx(2 / 7)
        assert env.step(env.action_space.sample())[-1]["x_position"] == env.unwrapped.robot.data.qpos[0]


def test_takes_a_map_of_its_own_and_refuses_an_unknown_name():
    corridor = [[1, 1, 1, 1], [1, "r", "g", 1], [1, 1, 1, 1]]
    assert gymnasium.make("genrl/PointMaze-v0", maze=corridor).unwrapped.maze.map_width == 4
    with pytest.raises(ValueError, match="maze must be one of u, medium, large"):
        gymnasium.make("genrl/PointMaze-v0", maze="huge")


class TestCoverage:
    """The U maze has seven free cells of 1 m: (1, 1) is the start, (1, 2) and (1, 3) follow."""

    def made(self, **keywords):
        return Coverage(PointMazeEnv(), **keywords) if keywords else gymnasium.make("genrl/PointMaze-v0")

    def visit(self, env, cell):
        return put(env, *env.unwrapped.maze.cell_rowcol_to_xy(np.array(cell)))[-1]["coverage"]

    def test_counts_each_free_cell_once(self):
        env = self.made()
        assert env.reset(seed=0)[1]["coverage"] == pytest.approx(1 / 7)
        assert self.visit(env, (1, 2)) == pytest.approx(2 / 7)
        assert self.visit(env, (1, 1)) == pytest.approx(2 / 7)
        for cell in ((1, 3), (2, 3), (3, 3), (3, 2)):
            self.visit(env, cell)
        assert self.visit(env, (3, 1)) == 1.0

    def test_a_wall_is_no_free_cell(self):
        env = self.made()
        env.reset(seed=0)
        before = env.get_wrapper_attr("_counted")({"x_position": 0.0, "y_position": 0.0})["coverage"]  # (2, 2) is a wall
        assert before == pytest.approx(1 / 7)

    def test_counts_over_the_training_or_in_each_episode(self):
        for per_episode, expected in ((False, 2 / 7), (True, 1 / 7)):
            env = self.made(per_episode=per_episode)
            env.reset(seed=0)
            self.visit(env, (1, 2))
            assert env.reset()[1]["coverage"] == pytest.approx(expected)

    def test_refuses_a_task_without_a_maze(self):
        with pytest.raises(ValueError, match="Coverage needs a maze task"):
            Coverage(gymnasium.make("genrl/SparseMountainCar-v0"))
