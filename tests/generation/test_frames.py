"""Frames of tasks: which, of which episodes, in which size, by whose actions; and what can't be."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.encoders.view import view_of
from genrl.errors import RunError
from genrl.generation import GenerateConfig, generate, record_frames, resume_generation
from genrl.generation.acting import at_random
from genrl.generation.images import images_of
from genrl.runs import explore
from genrl.runs.environments.make import make_env
from genrl.runs.screening.archive import Archive
from genrl.runs.screening.noise import Look
from tests.runs.tiny import config


class Paints(gymnasium.Env[Any, Any]):
    """Draws the number of its episode in red, that of the step in green, and the action in blue; an episode has 30 steps.

    With ``what`` it observes the picture itself, in one of several ways, can't draw, draws nothing, or breaks.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (Gymnasium's own way)
    action_space = spaces.Discrete(200)

    def __init__(self, what: str = "draws", render_mode: str | None = None) -> None:
        self.what, self.render_mode, self.action = what, render_mode, 0
        if what == "nothing":
            self.metadata = {"render_modes": []}
        colour = spaces.Box(0, 255, (16, 12, 3), np.uint8)
        self.observation_space = {
            "colour": colour,
            "grey": spaces.Box(0, 255, (16, 12), np.uint8),
            "stack": spaces.Box(0, 255, (16, 12, 4), np.uint8),
            "two": spaces.Dict(left=colour, right=colour),
            "channels first": spaces.Box(0, 255, (3, 16, 12), np.uint8),
            "floats": spaces.Box(0, 1, (16, 12, 3), np.float32),
            "one of a Dict": spaces.Dict(screen=colour, speed=spaces.Box(-1, 1, (2,), np.float32)),
        }.get(what, spaces.Box(-1, 1, (2,), np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return _begun(self, seed), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.what == "breaks" and self.steps == 5:
            raise ValueError("it broke")
        self.steps, self.action = self.steps + 1, int(action)
        return self._observed(), 0.0, False, self.steps == 30, {}

    def render(self) -> Any:
        if self.what == "dark":
            return None
        if self.what == "fails":
            raise RuntimeError("no display")
        return self._picture()

    def _picture(self) -> Any:
        return np.full((16, 12, 3), (self.episode, self.steps, self.action), np.uint8)

    def _observed(self) -> Any:
        speed, picture = np.zeros(2, np.float32), self._picture()
        return {
            "colour": picture,
            "grey": picture[..., 1],
            "stack": picture[..., [1, 1, 1, 1]],
            "two": {"left": picture, "right": picture},
            "channels first": picture.transpose(2, 0, 1),
            "floats": (picture / 255).astype(np.float32),
            "one of a Dict": {"screen": picture, "speed": speed},
        }.get(self.what, speed)


gymnasium.register("tests/Paints-v0", entry_point=Paints)
PAINTS = "tests/Paints-v0"


@pytest.fixture(autouse=True)
def no_display(request, monkeypatch):
    """What looks for a renderer of MuJoCo takes a second or two, and the tasks here need none."""
    if "car_racing" not in request.node.name:
        monkeypatch.setattr("genrl.generation.frames.choose_backend", lambda *args: None)


def _begun(env: Paints, seed: int | None) -> Any:
    gymnasium.Env.reset(env, seed=seed)
    env.episode, env.steps = seed or 0, 0
    return env._observed()


def values(images: Any) -> list[tuple[int, ...]]:
    """The colour of each image, all of whose pixels are alike."""
    assert all(len(image.flatten(1).unique(dim=1)[0]) == 1 for image in images.pixels)
    return [tuple(image[:, 0, 0].tolist()) for image in images.pixels]


class TestFrames:
    def test_are_every_fourth_step_of_many_episodes_and_no_episode_is_on_both_sides(self):
        data = record_frames(PAINTS, 50, seed=7)
        train, test = values(data.train), values(data.test)
        assert (len(train), len(test)) == (44, 6)  # a tenth would cut an episode
        assert {episode for episode, _, _ in train} == set(range(7, 29)) and {episode for episode, _, _ in test} == {29, 30, 31}
        assert {step for _, step, _ in train + test} == {1, 5}  # 50 // 20 of each episode

    def test_are_every_step_of_a_task_that_tells_its_state_with_names_or_without(self, monkeypatch):
        step = Paints.step
        monkeypatch.setattr(Paints, "reset", lambda env, seed=None, options=None: (_begun(env, seed), {"state": np.zeros(1)}))
        monkeypatch.setattr(Paints, "step", lambda env, action: (*step(env, action)[:4], {"state": np.array([env.steps])}))
        data = record_frames(PAINTS, 60)
        assert {step for _, step, _ in values(data.train)} == {1, 2, 3}
        assert data.train.walk.state[:3, 0].tolist() == [1, 2, 3]

    def test_keep_the_states_of_a_task_that_tells_them_in_one_array_all_the_time(self, monkeypatch):
        step, place = Paints.step, np.zeros(1, np.float32)

        def told(env, *outcome):
            place[0] = env.steps
            return (*outcome, {"state": place})

        monkeypatch.setattr(Paints, "reset", lambda env, seed=None, options=None: told(env, _begun(env, seed)))
        monkeypatch.setattr(Paints, "step", lambda env, action: told(env, *step(env, action)[:4]))
        assert record_frames(PAINTS, 60).train.walk.state[:3, 0].tolist() == [1, 2, 3]

    @pytest.mark.parametrize("state", [lambda steps: "running", lambda steps: {"phase": 1}, lambda steps: np.zeros(1 + steps)])
    def test_of_a_task_that_tells_something_else_than_one_array_are_without_a_state(self, monkeypatch, state):
        step = Paints.step
        monkeypatch.setattr(Paints, "reset", lambda env, seed=None, options=None: (_begun(env, seed), {"state": state(0)}))
        monkeypatch.setattr(Paints, "step", lambda env, action: (*step(env, action)[:4], {"state": state(env.steps)}))
        assert record_frames(PAINTS, 60).train.walk.state is None

    def test_are_squares_whose_pixels_are_means(self, monkeypatch):
        stripes = np.zeros((16, 12, 3), np.uint8)
        stripes[:, ::2] = 100
        monkeypatch.setattr(Paints, "render", lambda env: stripes)
        assert record_frames(PAINTS, 20, size=4).train.pixels.shape == (18, 3, 4, 4)
        assert record_frames(PAINTS, 20, size=6).train.pixels.unique().tolist() == [50]
        assert record_frames(PAINTS, 20, size=0).train.shape == (3, 16, 12)

    @pytest.mark.parametrize(("what", "channels"), [("colour", 3), ("grey", 1), ("channels first", 3), ("floats", 3), ("one of a Dict", 3)])
    def test_are_the_observations_where_these_are_images(self, what, channels, monkeypatch):
        made: list[str | None] = []
        init = Paints.__init__
        monkeypatch.setattr(
            Paints, "__init__", lambda env, what, render_mode=None: (made.append(render_mode), init(env, what, render_mode))[1]
        )
        data = record_frames(PAINTS, 20, env_kwargs={"what": what}, size=8)
        assert data.train.shape == (channels, 8, 8)
        assert set(made) == {None}  # nothing was drawn
        steps = [value[1] if channels == 3 else value[0] for value in values(data.train)]
        assert set(steps) == {1}

    def test_of_a_task_that_observes_a_stack_of_them_are_said_not_to_be_its_observations(self):
        with pytest.warns(UserWarning, match=r"bytes of shape \(16, 12, 4\), which are no single .* image, so the frames are what it"):
            assert record_frames(PAINTS, 20, env_kwargs={"what": "stack"}, size=0).train.shape == (3, 16, 12)
        with pytest.warns(UserWarning, match=r"\(16, 12, 3\) and \(16, 12, 3\), which are no single"):
            record_frames(PAINTS, 20, env_kwargs={"what": "two"}, size=0)

    @pytest.mark.parametrize("what", ["grey", "channels first", "floats", "one of a Dict"])
    def test_of_observations_are_what_an_encoder_is_given(self, what):
        images = record_frames(PAINTS, 20, env_kwargs={"what": what}, size=0).train
        view = view_of(Paints(what).observation_space, images.walk.source)
        assert view.shape == images.shape == (1 if what == "grey" else 3, 16, 12)

    def test_come_back_from_the_same_seed_and_hold_random_actions(self):
        first, again, other = (record_frames(PAINTS, 100, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(first.train.pixels, again.train.pixels)
        assert not torch.equal(first.train.pixels, other.train.pixels)
        env = Paints(render_mode="rgb_array")
        assert len({action for _, _, action in values(first.train)}) > 30 and env.action_space.n == 200

    def test_of_a_policy_show_its_actions(self, tmp_path):
        cell = config(tmp_path / "run", env=PAINTS, env_kwargs={"what": "draws"}, steps=64, eval_episodes=0)
        explore(cell, quiet=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = record_frames(PAINTS, 40, policy=cell.directory, env_kwargs={"what": "draws"})
        with pytest.warns(UserWarning, match="was trained with --env.what 'draws', but frames are recorded with no --env.NAME"):
            record_frames(PAINTS, 20, policy=cell.directory)
        with pytest.raises(
            RunError, match=r"'colour', which makes Box\(16, 12, 3\) with 576 numbers of Box\(2,\) with 2 numbers; give both"
        ):
            record_frames(PAINTS, 20, policy=cell.directory, env_kwargs={"what": "colour"})
        assert len({action for _, _, action in values(data.train)}) == 1  # its observations are all alike, and it draws nothing
        with pytest.raises(RunError, match=r"acts in tests/Paints-v0, not in CartPole-v1; write --data frames:tests/Paints-v0"):
            record_frames("CartPole-v1", 20, policy=cell.directory)


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestFramesOfAnArchive:
    TASK = "genrl/PixelMountainCar-v0"

    def first_states(self, data: Any) -> torch.Tensor:
        """Of each episode that is learnt from."""
        walk = data.train.walk
        return torch.stack([walk.state[walk.episode == i][0] for i in range(int(walk.episode.max()) + 1)])

    def test_begin_at_one_of_its_places_every_second_time(self):
        data = record_frames(self.TASK, 400, seed=3, archive=3_000)
        first = self.first_states(data)
        assert len(first) == 180  # of 200 stretches of two frames, a tenth of which is there to test on
        at_start, at_places = first[0::2, 0], first[1::2, 0]
        assert ((at_start > -0.61) & (at_start < -0.39)).all()  # where an episode of the task begins
        assert at_places.min() < -0.9
        assert at_places.max() > 0
        archive = Archive(make_env(self.TASK, {}), Look(make_env(self.TASK, {}), None), "held-8", 1.0, 3)
        archive.explore(3_000)
        places = np.array(list(archive.places.values()))
        away = np.abs(places[None, :, 0] - at_places.numpy()[:, None])
        assert (away.min(axis=1) < 0.08).all()  # a step further than the place

    def test_come_back_from_the_same_seed(self):
        one, other = (record_frames(self.TASK, 200, seed=4, archive=500) for _ in range(2))
        assert torch.equal(one.train.pixels, other.train.pixels)
        assert not torch.equal(one.train.pixels, record_frames(self.TASK, 200, seed=5, archive=500).train.pixels)

    def test_are_what_a_run_that_asks_for_them_learns_from(self):
        config = GenerateConfig(model="pca", data=f"frames:{self.TASK}", frames=200, seed=4, archive=500)
        asked = images_of(config, quiet=True)[0].data.train
        assert torch.equal(asked.pixels, record_frames(self.TASK, 200, seed=4, size=0, archive=500).train.pixels)
        assert not torch.equal(asked.pixels, images_of(replace(config, archive=None), quiet=True)[0].data.train.pixels)

    def test_need_two_numbers_that_tell_places_apart_and_actions_that_noise_can_take(self):
        with pytest.raises(RunError, match="two numbers that tell its places apart, as coverage_names; use --policy RUN"):
            record_frames(PAINTS, 50, env_kwargs={"what": "colour"}, archive=10)
        with pytest.raises(RunError, match="noise needs bounded Box actions"):
            record_frames(PAINTS, 50, archive=10)

    def test_are_recorded_by_nobody_else(self):
        with pytest.raises(RunError, match="--policy and --archive 100 were given, but one of them acts; leave one out"):
            GenerateConfig(data=f"frames:{PAINTS}", policy="runs/expert", archive=100)
        with pytest.raises(RunError, match="--archive was given, but --data mnist records nothing"):
            GenerateConfig(data="mnist", archive=100)


@pytest.mark.parametrize(
    ("env", "kwargs", "sentence"),
    [
        ("CarRacin-v3", {}, "there is no task 'CarRacin-v3'; did you mean CarRacing-v3"),
        (PAINTS, {"what": "nothing"}, "can.t be drawn: it has no render modes, and rgb_array is needed"),
        (PAINTS, {"what": "dark"}, "draws nothing in the render mode rgb_array"),
        (PAINTS, {"what": "fails"}, r"can't be drawn here \(no display\)"),
        (PAINTS, {"what": "breaks"}, r"failed while its frames were recorded \(ValueError: it broke\)"),
    ],
)
def test_what_has_no_frames_is_refused_in_one_sentence(env, kwargs, sentence):
    with pytest.raises(RunError, match=sentence):
        record_frames(env, 100, env_kwargs=kwargs)


def test_a_crop_that_leaves_nothing_is_no_failure_of_the_task():
    with pytest.raises(
        RunError, match=r"^frames of tests/Paints-v0: a crop of \(20, 0, 0, 0\) .* leaves nothing of 16 × 12 pixels; cut off less"
    ):
        record_frames(PAINTS, 20, crop=(20, 0, 0, 0))


def test_a_missing_package_says_what_to_install(monkeypatch):
    def missing(*args, **kwargs):
        raise gymnasium.error.DependencyNotInstalled('Box2D is not installed, run `pip install swig` and `pip install "gymnasium[box2d]"`')

    monkeypatch.setattr(gymnasium, "make", missing)
    with pytest.raises(RunError, match=r"CarRacing-v3 needs a package that is not installed; type: pip install 'gymnasium\[box2d\]'$"):
        record_frames("CarRacing-v3", 20)


class TestARunOnFrames:
    def make(self, out, **changes):
        return GenerateConfig(
            model="pixelcnn",
            data=f"frames:{PAINTS}",
            out=out,
            model_kwargs={"width": 4, "depth": 1},
            **{"frames": 40, "epochs": 1, "judge_images": 0, "pictures": False, "size": 8} | changes,
        )

    def test_keeps_them_and_goes_on_with_the_same(self, tmp_path, monkeypatch):
        made = self.make(tmp_path / "run")
        generate(made, quiet=True)
        assert made.name == "Paints-v0-pixelcnn-seed0"
        monkeypatch.setattr("genrl.generation.frames.record_frames", lambda *args, **kwargs: pytest.fail("recorded again"))
        assert resume_generation(made.directory, epochs=2, quiet=True)["epochs"] == 2

    def test_without_its_frames_is_refused(self, tmp_path):
        made = self.make(tmp_path / "run")
        generate(made, quiet=True)
        (made.directory / "frames.npz").unlink()
        with pytest.raises(RunError, match=r"has lost its frames, frames.npz"):
            resume_generation(made.directory, epochs=2)

    def test_sees_them_in_grey_and_few_levels_though_the_file_has_colours(self, tmp_path):
        source, made = images_of(self.make(tmp_path / "run"), quiet=True)
        assert (source.data.train.shape, made.levels, source.recorded.train.shape) == ((1, 8, 8), 8, (3, 8, 8))

    @pytest.mark.filterwarnings("ignore:.*RGB-array rendering")
    def test_that_cannot_be_drawn_writes_nothing(self, tmp_path):
        with pytest.raises(RunError, match="draws nothing"):
            generate(self.make(tmp_path / "run", env_kwargs={"what": "dark"}), quiet=True)
        assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_frames_of_car_racing():
    pytest.importorskip("Box2D")
    data = record_frames("CarRacing-v3", 20, size=32)
    assert (data.train.shape, len(data.test)) == ((3, 32, 32), 2)
    assert data.train.pixels.float().std() > 10


@pytest.mark.parametrize(("limit", "steps"), [(40, 40), (3, 3)])
def test_chance_acts_to_the_time_limit_of_the_task(limit: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("genrl.policies.dagger"), "LONGEST_EPISODE", 20)
    env = gymnasium.make("Pendulum-v1", max_episode_steps=limit)
    assert len(list(at_random(env, 0, 1)(env, 0))) == steps
