"""What a pixel task shows is its state, and what disturbs the picture disturbs nothing else."""

import math
import time

import genrl_envs
import gymnasium
import numpy as np
import pytest
from genrl_envs import _pixels, pixels, reacher
from stable_baselines3.common.preprocessing import is_image_space

from genrl.runs.environments.rewind import Rewindable

TASKS = [task for task in genrl_envs.TASKS if "Pixel" in task]
PENDULUM, CART, REACHER, CAR = (f"genrl/Pixel{name}-v0" for name in ("Pendulum", "CartPoleSwingUp", "Reacher", "MountainCar"))
ALL = _pixels.DISTRACTORS


def made(task, **keywords):
    return gymnasium.make(task, **keywords)


def steps(env, n, seed=0):
    """`n` steps of actions that are held for ten, with what came back: observation, reward, info."""
    rng = np.random.default_rng(seed)
    obs, info = env.reset(seed=seed)
    yield obs, 0.0, info
    for i in range(n):
        if i % 10 == 0:
            action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        obs, reward, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            obs, info = env.reset()
            reward = 0.0
        yield obs, reward, info


def frames(env, n, seed=0):
    return np.stack([obs for obs, *_ in steps(env, n, seed)])


class TestObservation:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("size", [16, 32, 65])
    def test_is_an_image_with_channels_last_that_sb3_knows_as_one(self, task, size):
        env = made(task, size=size)
        obs, _ = env.reset(seed=0)
        assert obs.shape == (size, size, 3) and obs.dtype == np.uint8 and obs in env.observation_space
        assert is_image_space(env.observation_space)
        assert made(task).observation_space.shape == (32, 32, 3)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            *(({"size": size}, "size must be a whole number of pixels from 16 to 512") for size in (15, 513, 32.0, True, "32")),
            *(({"colours": seed}, 'colours must be "default" or a seed, a whole number') for seed in ("red", -1, 1.5, True)),
            *(
                ({"distractors": name}, "must be among background, moving, thing, light, got 'noise'")
                for name in ("noise", ("light", "noise"))
            ),
            ({"observe": "codes"}, "observe must be one of pixels, state, got 'codes'"),
        ],
    )
    def test_what_cant_be_drawn_is_refused(self, keywords, message):
        with pytest.raises(ValueError, match=message):
            made(PENDULUM, **keywords)

    def test_limits_are_those_of_the_known_tasks(self):
        assert [gymnasium.spec(task).max_episode_steps for task in (PENDULUM, CART, REACHER, CAR)] == [200, 500, 50, 500]

    @pytest.mark.parametrize("task", TASKS)
    def test_the_state_can_be_observed_in_its_place(self, task):
        env = made(task, observe="state")
        assert env.observation_space.shape == (len(env.unwrapped.state_names),)
        seen = zip(steps(env, 60), steps(made(task), 60), strict=True)
        for (obs, reward, info), (_, expected, drawn) in seen:
            np.testing.assert_array_equal(obs, info["state"])
            np.testing.assert_array_equal(obs, drawn["state"])
            assert reward == expected


class TestDynamics:
    @pytest.mark.parametrize(
        ("task", "keywords", "known"),
        [
            (PENDULUM, {}, "Pendulum-v1"),
            (PENDULUM, {"g": 9.81}, "Pendulum-v1"),
            (CART, {"threshold": 0.8}, "genrl/SparseCartpoleSwingup-v0"),
            (CART, {"threshold": -0.95}, "genrl/SparseCartpoleSwingup-v0"),
            (CAR, {}, "genrl/SparseMountainCar-v0"),
            (CAR, {"goal_position": -0.3}, "genrl/SparseMountainCar-v0"),
            (CAR, {"power": 0.0003}, "genrl/SparseMountainCar-v0"),
        ],
    )
    def test_states_rewards_and_ends_are_the_known_tasks(self, task, keywords, known):
        """Over several episodes, with every distractor: these draw nothing from the task's generator."""
        drawn, plain = made(task, distractors=ALL, **keywords), gymnasium.make(known, **keywords)
        for (_, reward, info), (obs, expected, _) in zip(steps(drawn, 700, 3), steps(plain, 700, 3), strict=True):
            np.testing.assert_array_equal(info["state"], obs)
            assert reward == expected

    def test_the_cart_pole_pays_half_of_one_plus_the_cosine(self):
        env = made(CART)
        pairs = np.array([(reward, info["state"][2]) for _, reward, info in list(steps(env, 15))[1:]])
        np.testing.assert_allclose(pairs[:, 0], (1 + pairs[:, 1]) / 2, atol=1e-6)
        assert np.ptp(pairs[:, 0]) > 0.01

    def test_the_cart_pole_can_begin_anywhere(self):
        env = made(CART, observe="state", start="anywhere")
        begun = [env.reset(seed=seed) for seed in range(400)]
        x, x_dot, cos, _, theta_dot = np.array([obs for obs, _ in begun]).T
        for values, most in ((x, 2.5), (x_dot, 2), (theta_dot, 4)):
            assert abs(values).max() < most
            assert values.std() == pytest.approx(most / np.sqrt(3), rel=0.1)  # uniform
        assert np.mean(cos > 0.8) == pytest.approx(np.arccos(0.8) / np.pi, abs=0.05)
        np.testing.assert_allclose([np.cos(info["theta"]) for _, info in begun], cos, atol=1e-6)
        np.testing.assert_array_equal(env.reset(seed=7)[1]["state"], begun[7][0])
        with pytest.raises(ValueError, match="start must be one of hanging, anywhere, got 'top'"):
            made(CART, start="top")

    @pytest.mark.parametrize("task", TASKS)
    def test_coverage_is_in_info(self, task):
        env = made(task)
        for _, _, info in steps(env, 30):
            state = dict(zip(env.unwrapped.state_names, info["state"], strict=True))
            for name in env.unwrapped.coverage_names:
                if name in state:
                    assert info[name] == pytest.approx(state[name], rel=1e-5)
            if "theta" in env.unwrapped.coverage_names:
                assert (math.cos(info["theta"]), math.sin(info["theta"])) == pytest.approx(
                    (state["cos_theta"], state["sin_theta"]), abs=1e-6
                )
            if "tip_x" in env.unwrapped.coverage_names:
                assert info["tip_y"] - state["target_y"] == pytest.approx(state["tip_minus_target_y"], abs=1e-6)


class TestReacher:
    def test_two_half_steps_are_one_step(self):
        halves = reacher.advance(*reacher.advance(0.3, -2.0, 0.7, 0.01), 0.7, 0.01)
        assert halves == pytest.approx(reacher.advance(0.3, -2.0, 0.7, 0.02), rel=1e-12)

    def test_a_joint_at_rest_gains_torque_over_inertia(self):
        """By hand: after a very short time t, ω = 200 t and θ = 100 t²."""
        assert reacher.advance(0.0, 0.0, 1.0, 1e-5) == pytest.approx((100e-10, 200e-5), rel=1e-4)

    def test_moves_and_pays_as_mujocos_reacher(self):
        ours, theirs = reacher.ReacherEnv(), gymnasium.make("Reacher-v5").unwrapped
        ours.reset(seed=0)
        theirs.reset(seed=0)
        theirs.set_state(np.array((*ours.angles, *ours.target)), np.array((*ours.speeds, 0, 0)))
        rng = np.random.default_rng(1)
        for _ in range(50):
            action = 0.2 * rng.uniform(-1, 1, 2)
            obs, reward, *_ = ours.step(action)
            expected, paid, *_ = theirs.step(action)
            np.testing.assert_allclose(obs[:6], expected[:6], atol=5e-3)
            np.testing.assert_allclose(obs[6:8], expected[6:8], atol=0.1)  # of speeds up to 5 rad/s
            np.testing.assert_allclose(obs[8:], expected[8:], atol=1e-3)
            assert reward == pytest.approx(paid, abs=1e-3)

    def test_the_elbow_stops_at_its_limit(self):
        env = reacher.ReacherEnv()
        env.reset(seed=0)
        for _ in range(60):
            env.step(np.array((0.0, -1.0)))
        assert env.angles[1] == -reacher.ELBOW_LIMIT and env.speeds[1] == 0

    def test_targets_fill_a_disc_of_20_cm_evenly(self):
        env = reacher.ReacherEnv()
        env.reset(seed=0)
        radii = [math.hypot(*(env.reset() and env.target)) for _ in range(2000)]
        assert max(radii) < reacher.REACH
        assert np.mean(np.square(radii)) == pytest.approx(reacher.REACH**2 / 2, rel=0.05)


def tip_of(task, state):
    """Where the thing in the tip's colour is in the world."""
    if task == PENDULUM:
        cos, sin, _ = state
        return -sin, cos
    if task == CART:
        x, _, cos, sin, _ = state
        return x + 2.2 * sin, 2.2 * cos
    if task == REACHER:
        return state[4] + state[8], state[5] + state[9]
    x = state[0]
    up = np.array((-1.35 * math.cos(3 * x), 1.0))
    return np.array((x, 0.45 * math.sin(3 * x) + 0.55)) + 0.08 * up / np.linalg.norm(up)


def orange(frame):
    """The centre of the only thing with more red than blue, as (column, row)."""
    red, _, blue = np.moveaxis(frame.astype(float), -1, 0)
    weight = np.maximum(red - blue, 0)
    rows, columns = np.mgrid[: len(frame), : len(frame)]
    return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [32, 64])
def test_the_tip_is_drawn_where_the_state_says(task, size):
    env = made(task, size=size)
    cls = type(env.unwrapped)
    n_seen, places = 0, []
    for frame, _, info in steps(env, 400):
        across, up = (np.array(tip_of(task, info["state"])) - cls.centre) / cls.reach
        if max(abs(across), abs(up)) < 0.85:  # all of it is in the picture
            expected = (1 + across) / 2 * size - 0.5, (1 - up) / 2 * size - 0.5
            np.testing.assert_allclose(orange(frame), expected, atol=0.3)
            n_seen, places = n_seen + 1, [*places, expected]
    assert n_seen > 200
    assert np.ptp(places, axis=0).max() > size / 3, "it went places"


def test_the_target_is_drawn_where_the_state_says():
    env = made(REACHER, size=64)
    for seed in range(100):
        frame, info = env.reset(seed=seed)
        x, y = info["state"][4:6]
        if math.hypot(x, y) < 0.05 or abs(y) < 0.08:  # behind the arm
            continue
        red, green, blue = np.moveaxis(frame.astype(float), -1, 0)
        rows, columns = np.nonzero((green > red + 60) & (green > blue + 60))
        assert (columns.mean() + 0.5) / 32 - 1 == pytest.approx(x / 0.25, abs=0.03)
        assert 1 - (rows.mean() + 0.5) / 32 == pytest.approx(y / 0.25, abs=0.03)


class TestRandomness:
    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("distractors", [(), ALL])
    def test_the_same_seed_and_actions_give_the_same_frames(self, task, distractors):
        first, again, other = (frames(made(task, distractors=distractors), 120, seed) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_an_episode_can_be_lived_again_from_its_generator_and_actions(self):
        """What an exact resume does: in another environment that has lived through something else."""
        env, other = (Rewindable(made(PENDULUM, distractors=ALL)) for _ in range(2))
        list(steps(env, 230))  # into the second episode
        list(steps(other, 40, seed=9))
        np.testing.assert_array_equal(other.rewind(env.episode()), env.unwrapped._observed(env.unwrapped.task._get_obs()))
        for _ in range(20):
            action = np.ones(1, np.float32)
            np.testing.assert_array_equal(env.step(action)[0], other.step(action)[0])
        np.testing.assert_array_equal(env.reset()[0], other.reset()[0])

    @pytest.mark.parametrize("name", ALL)
    def test_each_episode_is_disturbed_anew(self, name):
        """Behind a pendulum that stands upright at every reset."""
        upright = {"x_init": 1e-9, "y_init": 1e-9}
        plain, disturbed = made(PENDULUM), made(PENDULUM, distractors=name)
        assert np.array_equal(plain.reset(seed=0, options=upright)[0], plain.reset(options=upright)[0])
        assert not np.array_equal(disturbed.reset(seed=0, options=upright)[0], disturbed.reset(options=upright)[0])

    @pytest.mark.parametrize("task", TASKS)
    def test_no_episode_has_the_random_numbers_of_another_a_little_later(self, task):
        env, seen = made(task, distractors=ALL), []
        for episode in range(5):
            env.reset(seed=0 if episode == 0 else None)
            distraction, clouds = env.unwrapped._distraction, []
            for _ in range(5):
                clouds.append(distraction._cloud.ravel())
                distraction.advance()
            seen.append(np.concatenate(clouds))
        for episode, numbers in enumerate(seen):
            assert np.isin(numbers, np.concatenate(seen[:episode] + seen[episode + 1 :])).mean() < 0.01

    def test_the_decoys_speeds_wander_with_a_steady_width(self):
        """Autoregressive noise: standard deviation 0.16 rad a step, correlation 0.95 from one step to the next."""
        distraction = _pixels.Distraction(("thing",), np.random.default_rng(0))
        turns = []
        for _ in range(20_000):
            distraction.advance()
            turns.append(distraction.turns)
        speeds = np.diff(turns, axis=0)
        assert speeds.std() == pytest.approx(0.16, rel=0.1)
        assert np.corrcoef(speeds[:-1, 0], speeds[1:, 0])[0, 1] == pytest.approx(0.95, abs=0.01)

    def test_a_look_draws_nothing(self):
        env, looked_at = (made(CART, distractors=ALL, render_mode="rgb_array") for _ in range(2))
        env.reset(seed=0), looked_at.reset(seed=0)
        for _ in range(5):
            looked_at.render()
            action = np.ones(1, np.float32)
            np.testing.assert_array_equal(env.step(action)[0], looked_at.step(action)[0])


class TestColours:
    @pytest.mark.parametrize("task", TASKS)
    def test_change_pixels_and_nothing_else(self, task):
        for (plain, reward, info), (shifted, expected, other) in zip(steps(made(task), 30), steps(made(task, colours=1), 30), strict=True):
            assert np.abs(plain.astype(int) - shifted).max() > 60
            np.testing.assert_array_equal(info["state"], other["state"])
            assert reward == expected

    def test_each_seed_has_its_own_which_repeat(self):
        reset = [made(PENDULUM, colours=seed).reset(seed=0)[0] for seed in (1, 1, 2)]
        np.testing.assert_array_equal(reset[0], reset[1])
        assert not np.array_equal(reset[0], reset[2])

    @pytest.mark.parametrize("seed", range(20))
    def test_what_matters_stays_brighter_than_what_surrounds_it(self, seed):
        luma = {role: rgb @ (0.299, 0.587, 0.114) for role, rgb in _pixels.palette(seed).items()}
        assert min(luma[role] for role in ("limb", "tip", "goal")) > max(luma["sky"], luma["scenery"]) + 0.15


def in_step(task, **keywords):
    """Frames of a task as it is and disturbed, side by side."""
    return np.stack([frames(made(task), 25), frames(made(task, **keywords), 25)]).astype(int)


@pytest.mark.parametrize("task", TASKS)
class TestDistractors:
    def test_a_decoy_shows_only_where_it_is(self, task):
        """Everything else is as without it, and what matters is before it."""
        plain, disturbed = in_step(task, distractors="thing")
        changed = (plain != disturbed).any(-1)
        assert changed.any((1, 2)).all() and changed.mean() < 0.2
        whole = (plain == np.round(255 * _pixels.palette("default")["tip"])).all(-1)
        assert whole.any() and not (changed & whole).any()
        new = disturbed[changed]
        assert np.median(new[:, 2]) > np.median(new[:, 1]), "purple or pink"

    def test_a_background_is_new_behind_every_frame_and_leaves_what_matters(self, task):
        plain, disturbed = in_step(task, distractors="background")
        shift = np.diff(disturbed - plain, axis=0)
        assert (np.abs(shift).mean((1, 2, 3)) > 5).all()
        whole = (plain == np.round(255 * _pixels.palette("default")["tip"])).all(-1)
        assert whole.any() and (disturbed[whole] == plain[whole]).all()

    def test_a_moving_pattern_goes_on_where_a_background_jumps(self, task):
        jumps = {}
        for name in ("moving", "background"):
            plain, disturbed = in_step(task, distractors=name)
            jumps[name] = np.abs(np.diff(disturbed - plain, axis=0)).mean()
        assert 0.5 < jumps["moving"] < 0.7 * jumps["background"]

    def test_light_drifts_and_moves_no_edges(self, task):
        """The ratio to the plain frame, where that is bright enough to tell, is smooth in space and in time."""
        plain, disturbed = in_step(task, distractors="light")[..., 1]
        ratio = np.where((plain > 100) & (disturbed < 255), disturbed / np.maximum(plain, 1), np.nan)
        assert np.nanmin(ratio) > 0.25 and np.nanmax(ratio) < 1.75
        assert np.nanmax(np.abs(np.diff(ratio, axis=2))) < 0.04
        brightness = np.nanmean(ratio, axis=(1, 2))
        assert 0 < np.abs(np.diff(brightness)).max() < 0.15 and np.ptp(brightness) > 0.03

    def test_they_add_up(self, task):
        env = made(task, distractors=list(reversed(ALL)))
        assert env.unwrapped.distractors == ALL
        assert (np.abs(np.diff(in_step(task, distractors=ALL), axis=0)).mean((0, 2, 3, 4)) > 5).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("distractors", [(), ALL])
def test_the_rendered_picture_is_the_observed_one_with_more_pixels(task, distractors):
    env = made(task, distractors=distractors, render_mode="rgb_array")
    for frame, *_ in steps(env, 20):
        large = env.render()
        assert large.shape == (pixels.RENDER_SIZE, pixels.RENDER_SIZE, 3) and large.dtype == np.uint8
        small = large.reshape(32, 8, 32, 8, 3).mean((1, 3))
        assert np.abs(small - frame).mean() < 2 and np.abs(small - frame).max() < 100
    assert made(task).unwrapped.render() is None


@pytest.mark.parametrize("task", TASKS)
def test_a_frame_with_all_distractors_is_faster_than_a_picture_by_pillow(task):
    """Three times, at least, of the drawing that the other tasks have; measured alternately, the least time of each counts."""
    drawn, pillow = made(task, distractors=ALL), gymnasium.make("genrl/SparseCartpoleSwingup-v0", render_mode="rgb_array")
    drawn.reset(seed=0), pillow.reset(seed=0)
    still = np.zeros(drawn.action_space.shape, np.float32)
    least = [math.inf, math.inf]
    for _ in range(15):
        for i, act in enumerate((lambda: drawn.unwrapped.step(still), pillow.render)):
            before = time.perf_counter()
            act()
            least[i] = min(least[i], time.perf_counter() - before)
    assert 3 * least[0] < least[1]
