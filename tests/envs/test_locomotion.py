import pickle

import genrl_envs  # noqa: F401 (registers the tasks)
import gymnasium
import mujoco
import numpy as np
import pytest

ROBOTS = ("HalfCheetah", "HalfCheetahFine", "Walker2d", "Hopper", "Swimmer", "Ant", "Humanoid")


def made(robot, **keywords):
    env = gymnasium.make(f"genrl/Sparse{robot}-v0", **keywords)
    env.reset(seed=0)
    return env


def reward_at(env, x, y=None):
    """The reward of a step without action from a start moved to (x, y)."""
    env.reset(seed=0)
    robot = env.unwrapped
    qpos = robot.data.qpos.copy()
    qpos[0] = x
    if y is not None:
        qpos[1] = y
    robot.set_state(qpos, np.zeros(robot.model.nv))
    return env.step(np.zeros(env.action_space.shape, np.float32))[1]


@pytest.mark.parametrize("robot", ROBOTS)
def test_pays_one_beyond_the_threshold_and_nothing_before(robot):
    env = made(robot)
    default = {"HalfCheetah": 5.0, "HalfCheetahFine": 5.0, "Swimmer": 2.5, "Ant": 10.0}.get(robot, 1.0)
    assert env.unwrapped.threshold == default
    assert reward_at(env, default - 0.2) == 0.0
    assert reward_at(env, default + 0.2) == 1.0
    assert reward_at(made(robot, threshold=0.5), 0.7) == 1.0


@pytest.mark.parametrize("task", [f"Sparse{robot}" for robot in ROBOTS] + ["SwimmerGather"])
def test_refuses_keywords_of_a_reward_that_it_does_not_pay(task):
    with pytest.raises(ValueError, match="ctrl_cost_weight is of the robot's own reward, which this task does not pay; leave it out"):
        gymnasium.make(f"genrl/{task}-v0", ctrl_cost_weight=0.5)


def test_ant_is_paid_for_distance_in_any_direction_from_its_start():
    ant = made("Ant", threshold=5.0).unwrapped
    ant.start = np.array([20.0, 10.0])
    for x, y, paid in ((20 - 3.1, 10 + 4.1, True), (20 - 2.9, 10 + 3.9, False), (20 + 5.1, 10, True), (20, 10 - 4.9, False)):
        ant.data.qpos[:2] = x, y
        assert (ant.progress() > ant.threshold) == paid


def test_ants_start_is_where_the_episode_began():
    ant = made("Ant").unwrapped
    np.testing.assert_array_equal(ant.start, ant.data.qpos[:2])
    assert ant.progress() == 0.0 and ant.start.any()


def test_swimmer_is_paid_in_both_directions_along_x():
    assert [reward_at(made("Swimmer"), x) for x in (2.7, 2.3, -2.3, -2.7)] == [1.0, 0.0, 0.0, 1.0]


def test_a_wave_along_its_body_takes_the_swimmer_to_the_goal():
    env, total = made("Swimmer"), 0.0
    for step in range(500):
        phase = 2 * np.pi * step / 40
        total += env.step(np.sin([phase, phase + 1]))[1]
    assert total > 50


def test_cheetah_is_not_paid_backwards():
    assert reward_at(made("HalfCheetah"), -6.0) == 0.0


@pytest.mark.parametrize("robot", ROBOTS)
def test_actions_and_health_are_not_rewarded(robot):
    env = made(robot)
    env.action_space.seed(0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert reward == 0.0
    assert not [key for key in info if key.startswith("reward")]


@pytest.mark.parametrize(("robot", "height"), [("Walker2d", 0.5), ("Hopper", 0.4), ("Ant", 2.0), ("Humanoid", 0.5)])
def test_an_unhealthy_height_terminates(robot, height):
    env = made(robot)
    qpos = env.unwrapped.data.qpos.copy()
    qpos[1 if robot in ("Walker2d", "Hopper") else 2] = height
    env.unwrapped.set_state(qpos, np.zeros(env.unwrapped.model.nv))
    assert env.step(np.zeros(env.action_space.shape, np.float32))[2]


@pytest.mark.parametrize(("robot", "dt", "n_obs"), [("HalfCheetah", 0.05, 17), ("HalfCheetahFine", 0.01, 18), ("Ant", 0.05, 27)])
def test_variants_have_their_time_step_and_observation(robot, dt, n_obs):
    env = made(robot)
    assert env.unwrapped.dt == pytest.approx(dt)
    assert env.observation_space.shape == (n_obs,)


def test_the_swimmers_names_follow_its_joints():
    robot = made("Swimmer").unwrapped
    robot.data.qpos[:], robot.data.qvel[:] = np.arange(5), np.arange(5) + 10
    assert [mujoco.mj_id2name(robot.model, mujoco.mjtObj.mjOBJ_JOINT, i) for i in (2, 3, 4)] == [
        "free_body_rot",
        "motor1_rot",
        "motor2_rot",
    ]
    angles = dict(zip(("heading", "front_joint", "back_joint"), (2, 3, 4), strict=True))
    speeds = {f"{name}_velocity": 10 + i for i, name in enumerate(("x", "y", *angles))}
    assert dict(zip(robot.observation_names, robot._get_obs(), strict=True)) == angles | speeds


@pytest.mark.parametrize("robot", [robot for robot in ROBOTS if robot != "Swimmer"])
def test_names_follow_mujocos_joints(robot):
    """Each name in the joint part sits where the joint's position and velocity are observed."""
    env = made(robot)
    robot_env, names = env.unwrapped, env.unwrapped.observation_names
    hidden = 0 if robot == "HalfCheetahFine" else 2 if robot in ("Ant", "Humanoid") else 1
    qpos = np.arange(robot_env.model.nq) / 100
    robot_env.data.qpos[:], robot_env.data.qvel[:] = qpos, np.arange(robot_env.model.nv) / 100 + 1
    obs = dict(zip(names, robot_env._get_obs(), strict=True))
    assert list(obs.values())[: len(qpos) - hidden] == qpos[hidden:].tolist()
    free = 7 if robot in ("Ant", "Humanoid") else 3
    for joint in range(robot_env.model.njnt):
        if joint == 0 or (free == 3 and joint < 3):
            continue
        name = names[robot_env.model.jnt_qposadr[joint] - hidden]
        words = mujoco.mj_id2name(robot_env.model, mujoco.mjtObj.mjOBJ_JOINT, joint).removesuffix("_joint").split("_")
        if not robot.startswith("HalfCheetah"):  # its joints are called bthigh, fshin, …
            assert set(words) == set(name.split("_"))
        assert obs[f"{name}_velocity"] == robot_env.data.qvel[robot_env.model.jnt_dofadr[joint]]
    assert obs["z"] == qpos[1 if free == 3 else 2]
    assert obs["z_velocity"] == robot_env.data.qvel[1 if free == 3 else 2]


def test_info_has_the_position_that_is_hidden():
    env = made("HalfCheetah")
    assert env.reset(seed=0)[1]["x_position"] == env.unwrapped.data.qpos[0]


def test_a_pickled_robot_keeps_its_threshold():
    assert pickle.loads(pickle.dumps(made("Hopper", threshold=2.5).unwrapped)).threshold == 2.5


def test_what_defines_a_task_is_no_keyword_of_it():
    with pytest.raises(TypeError, match="exclude_current_positions_from_observation"):
        made("HalfCheetah", exclude_current_positions_from_observation=False)
