import os
import signal
from typing import ClassVar

import gymnasium
import imageio.v2 as imageio
import mujoco
import numpy as np
import pytest
from genrl_envs import SparseMountainCarEnv
from PIL import Image

import genrl
from genrl.cli import main
from genrl.errors import RunError
from genrl.files import sweep
from genrl.runs import explore, watch
from genrl.runs.uses import rendering
from genrl.runs.uses import watch as watch_module
from tests.runs.tiny import config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A PPO run on the sparse mountain car, which needs no simulator to be drawn."""
    out = tmp_path_factory.mktemp("film") / "run"
    explore(config(out, env="genrl/SparseMountainCar-v0", steps=64, normalize_obs=True, eval_episodes=0), quiet=True)
    return out


def test_a_film_has_a_frame_for_each_step_and_unpickles_nothing(run, monkeypatch):
    monkeypatch.delattr("stable_baselines3.common.save_util.json_to_data")
    made = watch(run, steps=40, size=160)
    mp4, gif = made.paths
    frames = imageio.mimread(mp4, memtest=False)
    assert made.frames == len(frames) == 40
    assert frames[0].shape[1] == 160
    assert 1 < len(imageio.mimread(gif)) <= 40  # frames that do not differ are one longer frame


def test_what_a_killed_film_leaves_is_removed_later(tmp_path):
    with watch_module._whole(tmp_path / "watch.mp4") as half:
        half.write_bytes(b"half a film")
        assert half.suffix == ".mp4"
        sweep(tmp_path)  # as if the process were gone
        assert not list(tmp_path.iterdir())
        half.write_bytes(b"a film")
    assert [path.name for path in tmp_path.iterdir()] == ["watch.mp4"]


def test_a_film_that_sigterm_ends_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), watch_module._whole(tmp_path / "watch.mp4"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert not list(tmp_path.iterdir())


def test_a_missing_pygame_has_one_remedy():
    class Bare:
        def render(self):
            raise ImportError('pygame is not installed, run `pip install "gymnasium[classic-control]"`')

    with pytest.raises(RunError) as refused:
        rendering.rendered(Bare(), "CartPole-v1", "genrl watch RUN")
    remedy = "type: pip install 'gymnasium[classic-control]'"
    assert str(refused.value) == f"CartPole-v1 can't be drawn here (pygame is not installed); {remedy}"


def test_a_task_that_never_draws_is_told_so():
    with pytest.raises(RunError, match=r"X-v0 can't be drawn here \(NotImplementedError\); give its class a render\(\)"):
        rendering.rendered(gymnasium.Env(), "X-v0", "genrl watch RUN")


def test_a_long_film_is_a_small_gif(run):
    made = watch(run, steps=300, size=160)
    assert made.paths[1].stat().st_size < watch_module.GIF_BYTES
    assert len(imageio.mimread(made.paths[1])) <= watch_module.GIF_FRAMES


def test_a_film_that_takes_long_tells_of_its_frames(monkeypatch, capsys):
    monkeypatch.setattr(watch_module, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(watch_module._told(iter("abc"), 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == ["0 frames, of at most 3", "1 frames, of at most 3", "2 frames, of at most 3"]
    monkeypatch.setattr(watch_module, "SECONDS_BETWEEN_LINES", 10.0)
    assert list(watch_module._told(iter("abc"), 3)) == ["a", "b", "c"]
    assert not capsys.readouterr().err


def test_a_film_keeps_every_nth_small_frame_for_its_gif():
    thumbnails = watch_module._Thumbnails()
    for i in range(1000):
        thumbnails.add(Image.new("L", (640, 480), i * 255 // 1000))
        assert len(thumbnails.pictures) <= 2 * watch_module.GIF_FRAMES
    assert (thumbnails.seen, thumbnails.every) == (1000, 4)
    assert [picture.getpixel((0, 0)) for picture in thumbnails.pictures] == [i * 255 // 1000 for i in range(0, 1000, 4)]
    assert thumbnails.pictures[0].size == (320, 240)


@pytest.mark.filterwarnings("ignore:.*RGB-array rendering")
def test_a_frame_that_cannot_be_drawn_closes_the_environments_and_keeps_the_last_film(run, monkeypatch):
    watch(run, steps=2, size=160)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    closed = []
    monkeypatch.setattr(SparseMountainCarEnv, "render", lambda env: None)
    monkeypatch.setattr(SparseMountainCarEnv, "close", lambda env: closed.append(env.render_mode))
    with pytest.raises(RunError, match="draws nothing"):
        watch(run, steps=2, size=160)
    assert closed[-2:] == ["rgb_array", None]
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_machine_that_cannot_draw_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_works", lambda backend: False)
    explore(config(tmp_path / "run", env="InvertedPendulum-v5", steps=64, eval_episodes=0), quiet=True)
    with pytest.raises(RunError, match=r"neither EGL nor OSMesa is installed; type: apt-get install libegl1"):
        watch(tmp_path / "run")


def test_a_task_that_does_not_draw_with_mujoco_needs_no_renderer_of_it(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_works", lambda backend: False)
    rendering.choose_backend("genrl/SparseMountainCar-v0", {}, "genrl watch RUN")
    with pytest.raises(RunError, match="neither EGL nor OSMesa"):
        rendering.choose_backend("genrl/SparseHalfCheetah-v0", {}, "genrl watch RUN")


FOLLOWED = {"Hopper-v5": 2, "HalfCheetah-v5": 1, "genrl/SparseAnt-v0": 1}
"""Bodies that the camera goes with: the one that the task names, else the torso."""


@pytest.mark.parametrize("name", [*FOLLOWED, "InvertedPendulum-v5", "genrl/SwimmerGather-v0", "genrl/CartpoleSwingup-v0"])
def test_the_camera_goes_with_a_robot_and_stays_at_a_place(name):
    env = rendering.make_drawn(name, {})
    renderer = env.unwrapped.mujoco_renderer
    before = renderer.camera_id, dict(renderer.default_cam_config)
    rendering.follow(env)
    tracking = {"type": mujoco.mjtCamera.mjCAMERA_TRACKING, "trackbodyid": FOLLOWED.get(name)}
    assert renderer.camera_id == (None if name in FOLLOWED else before[0])
    assert renderer.default_cam_config == (before[1] | tracking if name in FOLLOWED else before[1])
    env.close()


def test_a_camera_that_somebody_chose_is_kept():
    env = rendering.make_drawn("HalfCheetah-v5", {"camera_name": "track"})
    chosen = env.unwrapped.mujoco_renderer.camera_id
    rendering.follow(env)
    assert env.unwrapped.mujoco_renderer.camera_id == chosen >= 0
    rendering.follow(gymnasium.make("CartPole-v1"))  # a task without MuJoCo has no such camera


class Blind(gymnasium.Env):
    """A task of one's own that nobody taught to draw."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}


class HalfBlind(Blind):
    """One that draws in a window alone."""

    metadata: ClassVar = {"render_modes": ["human"]}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode


gymnasium.register("tests/Blind-v0", entry_point=Blind, max_episode_steps=20)
gymnasium.register("tests/HalfBlind-v0", entry_point=HalfBlind, max_episode_steps=20)


@pytest.mark.parametrize(("name", "has"), [("Blind", "it has no render modes"), ("HalfBlind", "its render modes are human")])
def test_a_task_that_cannot_draw_is_told_what_it_lacks(tmp_path, capsys, name, has):
    explore(config(tmp_path / "run", env=f"tests/{name}-v0", steps=64, eval_episodes=0), quiet=True)
    assert main(["watch", str(tmp_path / "run")]) == 2
    needs = "give its class metadata = {'render_modes': ['rgb_array']}, a constructor that takes render_mode, and a render()"
    assert capsys.readouterr().err == f"genrl: tests/{name}-v0 can't be drawn: {has}, and rgb_array is needed; {needs}\n"


class Windowed(SparseMountainCarEnv):
    """Opens no window, but counts what it would show; or finds that its display can't be used."""

    metadata: ClassVar = {"render_modes": ["human", "rgb_array"]}
    shown: ClassVar[list[str | None]] = []
    broken = False

    def step(self, action):
        if self.render_mode == "human":
            self.shown.append(self.render_mode)
            if self.broken:
                raise OSError("can't open display :7")
        return super().step(action)


gymnasium.register("tests/Windowed-v0", entry_point=Windowed, max_episode_steps=50)


class TestLive:
    @pytest.fixture
    def windowed(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DISPLAY", ":7")
        monkeypatch.setattr(Windowed, "shown", [])
        explore(config(tmp_path / "run", env="tests.runs.test_watch:tests/Windowed-v0", steps=64, eval_episodes=0), quiet=True)
        return tmp_path / "run"

    def test_each_step_is_shown_and_nothing_is_written(self, windowed, capsys):
        before = sorted(windowed.iterdir())
        assert main(["watch", str(windowed), "--live", "--steps", "70", "--episodes", "2", "--imports", "tests.runs.test_watch"]) == 0
        assert len(Windowed.shown) == 70
        returns = capsys.readouterr().out.removeprefix("return ").split(", ")
        assert len(returns) == 2
        assert float(returns[0]) == pytest.approx(genrl.load(windowed, ["tests.runs.test_watch"]).evaluate(1, seed=20_000)[0], abs=1e-3)
        assert sorted(windowed.iterdir()) == before

    def test_where_there_is_no_display_nothing_is_made(self, windowed, monkeypatch):
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setattr("sys.platform", "linux")
        with pytest.raises(RunError, match="there is no display here, so no window can be opened; leave --live out to film it"):
            watch_module.watch_live(windowed, imports=["tests.runs.test_watch"])
        assert not Windowed.shown

    def test_a_display_that_cannot_be_used_is_one_sentence(self, windowed, monkeypatch):
        monkeypatch.setattr(Windowed, "broken", True)
        with pytest.raises(RunError, match=r"can't be shown in a window here \(can't open display :7\); leave --live out to film it"):
            watch_module.watch_live(windowed, imports=["tests.runs.test_watch"])


def test_a_film_of_the_best_policy_leaves_that_of_the_last_one(tmp_path):
    explore(config(tmp_path / "run", env="genrl/SparseMountainCar-v0", steps=64, eval_every=32, eval_episodes=1), quiet=True)
    last = watch(tmp_path / "run", steps=5, size=160).paths
    before = [path.read_bytes() for path in last]
    best = watch(tmp_path / "run", steps=9, size=160, best=True)
    assert [path.name for path in best.paths] == ["watch-best.mp4", "watch-best.gif"]
    assert [path.read_bytes() for path in last] == before
