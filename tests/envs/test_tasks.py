"""What holds for every task: Gymnasium's contract, determinism, names, documentation, errors, cheap registration."""

import copy
import importlib.util
import os
import subprocess
import sys
import warnings

import genrl_envs
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

MAZES = ("genrl/PointMaze-v0", "genrl/AntMaze-v0")
GRIDS = ("genrl/MiniGrid-v0",)
PIXELS = (*GRIDS, *(task for task in genrl_envs.TASKS if "Pixel" in task))
SPARSE_ROBOTS = ("HalfCheetah", "HalfCheetahFine", "Walker2d", "Hopper", "Swimmer", "Ant", "Humanoid")


@pytest.fixture(params=genrl_envs.TASKS)
def task(request):
    """An environment of each task, as `gymnasium.make` returns it."""
    if request.param in MAZES:
        pytest.importorskip("gymnasium_robotics")
    if request.param in GRIDS:
        pytest.importorskip("minigrid")
    env = gymnasium.make(request.param)
    yield env
    env.close()


def trajectory(env, seed, n_steps):
    obs, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    rows = [np.append(obs, 0.0)]
    for _ in range(n_steps):
        obs, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rows.append(np.append(obs, reward))
        if terminated or truncated:
            rows.append(np.append(env.reset()[0], 0.0))
    return np.array(rows)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


class TestEveryTask:
    def test_passes_gymnasiums_checker_without_a_warning(self, task):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # True of MuJoCo's and of Gymnasium's own observations, and of a wrapped environment.
            warnings.filterwarnings("ignore", message=".*(infinity|different from the unwrapped version)")
            warnings.filterwarnings("ignore", message=".*settotalmass", category=Warning)
            # Gymnasium's pendulum has torques in [-2, 2].
            warnings.filterwarnings("ignore", message=".*we recommend using a symmetric and normalized space")
            check_env(task.unwrapped, skip_render_check=True)

    def test_repeats_itself_under_a_seed(self, task):
        first, second = trajectory(task, 7, 60), trajectory(task, 7, 60)
        np.testing.assert_array_equal(first, second)
        assert not np.array_equal(first[0], trajectory(task, 8, 0)[0]), "another seed, another start"

    def test_names_every_observation_dimension_or_that_of_the_state_behind_pixels(self, task):
        drawn = task.spec.id in PIXELS
        names = task.get_wrapper_attr("state_names" if drawn else "observation_names")
        assert isinstance(names, tuple)
        named = task.reset(seed=0)[1]["state"] if drawn else np.empty(task.observation_space.shape)
        assert (len(set(names)),) == (len(names),) == named.shape

    def test_coverage_names_are_observed_or_in_info_from_reset_on(self, task):
        _, reset_info = task.reset(seed=0)
        *_, step_info = task.step(task.action_space.sample())
        names = task.get_wrapper_attr("coverage_names")
        assert len(names) == 2
        for name in names:
            observed = task.spec.id not in PIXELS and name in task.get_wrapper_attr("observation_names")
            assert observed or (name in reset_info and name in step_info)

    def test_is_truncated_and_not_terminated_after_its_limit(self, task):
        """Steps of no action, and no end by a fall, so that only the clock can end the episode."""
        if hasattr(task.unwrapped, "_terminate_when_unhealthy"):
            task.unwrapped._terminate_when_unhealthy = False
        task.reset(seed=0)
        still = np.zeros(task.action_space.shape, np.float32)
        limit = task.spec.max_episode_steps
        ends = [task.step(still)[2:4] for _ in range(limit)]
        assert task.spec.id in PIXELS or limit == 500
        assert ends[:-1] == [(False, False)] * (limit - 1)
        assert ends[-1] == (False, True)

    def test_documents_itself_in_a_table(self, task):
        for row in ("| observation |", "| action |", "| reward |", "| end |", "| source |"):
            assert row in type(task.unwrapped).__doc__

    def test_is_copied_with_its_keywords(self, task):
        spec = task.spec
        again = gymnasium.make(spec)
        assert again.observation_space == task.observation_space
        for names in ("observation_names", "state_names", "coverage_names"):
            assert getattr(again.unwrapped, names, None) == getattr(task.unwrapped, names, None)
        copied = copy.deepcopy(task.unwrapped)
        np.testing.assert_array_equal(trajectory(copied, 3, 20), trajectory(task.unwrapped, 3, 20))


class TestRegistration:
    def test_import_is_cheap(self):
        heavy = "('torch', 'mujoco', 'gymnasium_robotics', 'PIL', 'pygame', 'stable_baselines3')"
        assert run(f"import sys, genrl_envs; print([m for m in {heavy} if m in sys.modules])") == "[]"

    def test_make_imports_the_package_by_itself(self):
        code = "import gymnasium; print(gymnasium.make('genrl_envs:genrl/SparseMountainCar-v0').spec.id)"
        assert run(code) == "genrl/SparseMountainCar-v0"

    def test_registering_twice_is_silent_and_changes_nothing(self):
        before = gymnasium.spec("genrl/SparseHopper-v0")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.reload(genrl_envs)
        assert gymnasium.spec("genrl/SparseHopper-v0") is before

    def test_every_public_name_can_be_imported(self):
        pytest.importorskip("gymnasium_robotics")
        for name in set(genrl_envs.__all__) - ({"MiniGridEnv"} if importlib.util.find_spec("minigrid") is None else set()):
            assert getattr(genrl_envs, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'Sparse'"):
            genrl_envs.Sparse  # noqa: B018 (it is the look-up that raises)

    @pytest.mark.parametrize(
        ("module", "task_id", "sentence"),
        [
            ("gymnasium_robotics", "genrl/PointMaze-v0", 'The maze tasks need gymnasium-robotics: pip install "genrl-toolkit[mazes]".'),
            ("minigrid", "genrl/MiniGrid-v0", 'The grid task needs minigrid: pip install "genrl-toolkit[grids]".'),
        ],
    )
    def test_a_missing_package_says_what_to_install(self, module, task_id, sentence):
        code = (
            f"import sys; sys.modules['{module}'] = None\n"
            "import gymnasium, genrl_envs\n"
            f"try: gymnasium.make('{task_id}')\n"
            "except ImportError as error: print(error)"
        )
        assert run(code) == sentence


@pytest.mark.parametrize(
    ("task_id", "keywords", "message"),
    [
        ("SparseMountainCar", {"goal_position": 0.7}, r"goal_position must be a number in \(-0.4, 0.6\), got 0.7"),
        ("SparseMountainCar", {"power": 0.0}, r"power must be a number in \(0, 0.0025\) per step"),
        ("SparseMountainCar", {"goal_velocity": 1}, r"goal_velocity must be a number in \(-0.07, 0.07\)"),
        ("SparseCartpoleSwingup", {"threshold": 1.0}, r"threshold must be a number in \(-1, 1\)"),
        ("CartpoleSwingupSparse", {"action_cost": -0.1}, r"action_cost must be a number in \[0, inf\) reward per frame, got -0.1"),
        ("AcrobotSwingupSparse", {"action_cost": float("inf")}, "got inf"),
        *((f"Sparse{robot}", {"threshold": 0}, "threshold must be a number in") for robot in SPARSE_ROBOTS),
        ("SparseAnt", {"threshold": float("nan")}, r"threshold must be a number in \(0, inf\) metres, got nan"),
        ("SparseAnt", {"threshold": "far"}, "got 'far'"),
        ("SwimmerGather", {"catch_range": -1.0}, "catch_range must be a number in"),
        ("SwimmerGather", {"activity_range": 2.0}, "fit on the 3 places"),
        ("NoisyTVMountainCar", {"std": 0.0}, "std must be a number in"),
        ("NoisyTVMountainCar", {"n_channels": 0}, "n_channels must be at least 1"),
    ],
)
def test_a_wrong_keyword_is_refused_at_construction(task_id, keywords, message):
    with pytest.raises(ValueError, match=message):
        gymnasium.make(f"genrl/{task_id}-v0", **keywords)


def changing_pictures(task_id):
    """Render a task, push for ten steps, render again."""
    env = gymnasium.make(task_id, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for _ in range(10):
        env.step(env.action_space.high)
    after = env.render()
    env.close()
    assert before.dtype == np.uint8 and before.ndim == 3 and before.shape[2] == 3
    assert before.std() > 0 and not np.array_equal(before, after)
    return before


@pytest.mark.parametrize("task_id", ["SparseMountainCar", "SparseCartpoleSwingup", "NoisyTVMountainCar"])
def test_renders_without_a_simulator(task_id):
    changing_pictures(f"genrl/{task_id}-v0")


@pytest.fixture(scope="module")
def opengl():
    """Off-screen OpenGL, probed in another process: without it MuJoCo aborts the whole interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux" and not os.environ.get("DISPLAY") and "MUJOCO_GL" not in os.environ:
            patch.setenv("MUJOCO_GL", "egl")
        probe = "import gymnasium; env = gymnasium.make('Swimmer-v5', render_mode='rgb_array'); env.reset(); env.render()"
        if subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode:
            pytest.skip("MuJoCo can't draw here: no OpenGL")
        yield


@pytest.mark.usefixtures("opengl")
class TestMuJoCoPictures:
    def test_a_robot_is_drawn(self):
        changing_pictures("genrl/SparseAnt-v0")

    @pytest.mark.parametrize("task_id", ["CartpoleSwingupSparse", "AcrobotSwingupSparse"])
    def test_a_swing_up_is_drawn(self, task_id):
        changing_pictures(f"genrl/{task_id}-v0")

    def test_a_maze_is_drawn(self):
        pytest.importorskip("gymnasium_robotics")
        changing_pictures("genrl/PointMaze-v0")

    def test_apples_are_green_and_bombs_red(self):
        red, green, _ = np.moveaxis(changing_pictures("genrl/SwimmerGather-v0").astype(int), -1, 0)
        assert (green - red > 60).sum() > 100 and (red - green > 100).sum() > 100
