"""A run with an encoder: it keeps its own copy, goes on bit for bit, is watched and recorded, and refuses another one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from genrl.cli import main
from genrl.data import Demonstrations, Episode, Images
from genrl.encoders import ImageEncoder, Preprocessing, StackedFrames, load_encoder
from genrl.encoders.demonstrations import stacked_demonstrations
from genrl.errors import RunError
from genrl.models import RandomNetwork
from genrl.reading import read_json
from genrl.runs import ExploreConfig, ImitateConfig, RunDirectory, explore, imitate, resume, watch
from genrl.runs.building import build
from genrl.runs.environments.make import coverage_names
from tests.encoders.eyes import PictureClock
from tests.runs.same_directory import assert_same_directory
from tests.runs.test_rewind import stopped_and_resumed
from tests.runs.tiny import SMALL, config

TASK = "genrl/PixelPendulum-v0"
SURPRISE = "tests.runs.tiny:Surprise"
TINY = ("tests.runs.tiny",)


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    return saved(tmp_path / "eyes")


def saved(path: Path, seed: int = 0, side: int = 32) -> Path:
    torch.manual_seed(seed)
    images = Images(torch.randint(256, (20, 3, side, side), dtype=torch.uint8))
    path.mkdir(parents=True)
    model = RandomNetwork((3, side, side), latent=4, width=4)
    ImageEncoder.of(model, Preprocessing((3, side, side)), images).save(path / "encoder.safetensors")
    return path


CASES: dict[str, dict[str, Any]] = {
    "ppo": {},
    "ppo, actions, normalised, two processes": {"past_actions": True, "normalize_obs": True, "n_envs": 2, "subproc": True},
    "ppo, a bonus": {"reward": SURPRISE},
    "ppo, finetuned": {"finetune": True, "history": 2},
    "sac": {"learner": "sac"},
    "sac, a bonus, actions": {"learner": "sac", "reward": SURPRISE, "past_actions": True, "normalize_obs": True, "update_every": 50},
    "sac, finetuned": {"learner": "sac", "finetune": True},
    "crossq, which has no policy for images, finetuned": {"learner": "crossq", "finetune": True},
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_run_that_was_never_stopped(case: str, eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"steps": 320, "env": TASK, "encoder": eyes} | CASES[case]
    cell = replace(config(tmp_path / "whole", values.pop("learner", "ppo"), **values), checkpoint_every=60.0)
    explore(cell, quiet=True)
    shutil.copytree(eyes, tmp_path / "gone")
    stopped = replace(cell, out=tmp_path / "stopped", encoder=tmp_path / "gone")
    stopped_and_resumed(stopped, 101 if cell.learner == "sac" else 2, monkeypatch)
    assert_same_directory(tmp_path / "whole", tmp_path / "stopped")


def test_the_learner_sees_codes_and_the_run_keeps_its_encoder(eyes: Path, tmp_path: Path) -> None:
    cell = config(tmp_path / "run", env=TASK, encoder=eyes, steps=64)
    assert build(cell).learner.observation_space.shape == (3 * 4,)
    assert build(replace(cell, history=2, past_actions=True)).learner.observation_space.shape == (2 * 4 + 1,)
    assert build(replace(cell, finetune=True)).learner.observation_space.shape == (9, 32, 32)
    result = explore(cell, quiet=True)
    assert result["status"] == "finished", result["error"]
    assert result["evaluation_error"] is None
    run = RunDirectory(tmp_path / "run")
    assert load_encoder(run.path).hash == load_encoder(eyes).hash == read_json(run.config)["about"]["encoder"]
    shutil.rmtree(eyes)
    assert resume(run.path, steps=128, quiet=True)["status"] == "finished"
    assert watch(run.path, steps=5).frames == 5


def test_a_device_that_is_chosen_by_itself_is_the_encoders_too(eyes: Path, tmp_path: Path) -> None:
    session = build(config(tmp_path / "run", env=TASK, encoder=eyes, steps=64, device="auto"))
    assert session.learner.env is not None
    assert session.learner.env.reset().shape == (1, 3 * 4)


def test_a_seed_can_have_an_encoder_of_its_own(tmp_path: Path) -> None:
    for seed in (0, 1):
        saved(tmp_path / f"eyes-{seed}", seed)
    cell = config(tmp_path / "run", env=TASK, encoder=tmp_path / "eyes-{seed}")
    hashes = [build(replace(cell, seed=seed)).eyes.encoder.hash for seed in (0, 1)]
    assert hashes == [load_encoder(tmp_path / f"eyes-{seed}").hash for seed in (0, 1)]


def test_frames_without_an_encoder_are_stacked_for_the_learners_own_networks(tmp_path: Path) -> None:
    session = build(config(tmp_path / "run", env=TASK, env_kwargs={"size": 40}, history=3))
    assert session.learner.observation_space.shape == (9, 40, 40)
    assert type(session.learner.policy.features_extractor).__name__ == "NatureCNN"
    first = session.env.reset()[0]
    assert np.array_equal(first[..., :3], first[..., 6:])
    following = session.env.step(np.ones((1, 1), np.float32))[0][0]
    assert np.array_equal(following[..., :6], first[..., :6])
    assert not np.array_equal(following[..., 6:], first[..., 6:])


def test_frames_are_stacked_in_the_channels_wherever_these_are() -> None:
    last, first = (StackedFrames(PictureClock(kind=kind), 2) for kind in ("last", "first"))
    assert first.observation_space.shape == (6, *last.observation_space.shape[:2])
    alone = PictureClock(kind="first")
    seen, frames = [(last.reset()[0], first.reset()[0])], [alone.reset()[0]]
    for _ in range(3):
        seen.append(tuple(env.step(np.zeros(2, np.float32))[0] for env in (last, first)))
        frames.append(alone.step(np.zeros(2, np.float32))[0])
    ended = np.arange(3) == 2
    episode = Episode(np.stack(frames), np.zeros((3, 2), np.float32), np.zeros(3), ended & False, ended)
    shown = stacked_demonstrations(Demonstrations.from_episodes([episode]), 2).episodes[0].observations
    for (channels_last, channels_first), demonstrated in zip(seen, shown, strict=True):
        assert np.array_equal(channels_first, channels_last.transpose(2, 0, 1))
        assert np.array_equal(demonstrated, channels_first)


@pytest.mark.parametrize("kind", ["last", "first", "floats", "dict"])
def test_no_places_are_counted_by_the_pixels_of_an_image(kind: str) -> None:
    assert coverage_names(PictureClock(kind=kind), None) == ()


def test_places_that_are_asked_for_by_an_index_are_of_what_the_learner_sees(eyes: Path, tmp_path: Path) -> None:
    cell = config(tmp_path / "run", env=TASK, encoder=eyes, coverage=("0", "11"))
    assert build(cell).coverage_names == ("0", "11")
    with pytest.raises(RunError, match=r"--coverage 12 is no observation and no key of info.*the indices below 12"):
        build(replace(cell, coverage=("0", "12")))


def test_frames_of_more_channels_than_pixels_a_side_are_refused(tmp_path: Path) -> None:
    """Stable-Baselines3 takes the shortest side for the channels: of 12 frames its convolutions would run over channels and columns."""
    cell = config(tmp_path / "run", env=TASK, env_kwargs={"size": 36}, history=11)
    assert build(cell).learner.observation_space.shape == (33, 36, 36)
    with pytest.raises(RunError, match=r"12 frames of 3 channels are 36 channels of 36 pixels a side.*type --history 11 or less"):
        build(replace(cell, history=12))


def test_demonstrations_of_images_are_imitated_through_codes(eyes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explore(config(tmp_path / "expert", env=TASK, encoder=eyes, steps=64, history=2, past_actions=True), quiet=True)
    assert main(["record", "--run", str(tmp_path / "expert"), "--out", str(tmp_path / "demos.hdf5"), "--episodes", "2"]) == 0
    seen = f"--encoder {tmp_path / 'expert'} --history 2 --past-actions"  # as the expert sees
    assert f"genrl imitate --demos {tmp_path / 'demos.hdf5'} {seen}" in " ".join(capsys.readouterr().out.split())
    kept = Demonstrations.load(tmp_path / "demos.hdf5")
    assert kept.obs_shape == (32, 32, 3)  # of images, for any encoder
    assert kept.episodes[0].observations.dtype == np.uint8
    cell = ImitateConfig(
        demos=tmp_path / "demos.hdf5", encoder=eyes, steps=64, n_envs=1, clone=2, critic_warmup=0, learner_kwargs=SMALL["ppo"],
        out=tmp_path / "run", eval_episodes=1, pictures=False, past_actions=True,
    )  # fmt: skip
    session = build(replace(cell, env=TASK))
    rows = session.loaded.demonstrations.episodes[0].observations
    assert rows.shape == (201, 3 * 4 + 2)
    env = session.eyes.wrap_one(gymnasium.make(TASK))
    obs, _ = env.reset(seed=1000)
    for t, action in enumerate(kept.episodes[0].actions[:20]):
        assert np.allclose(obs, rows[t], atol=1e-4)
        obs = env.step(action)[0]
    for steps in (64, 0):  # by a reward, and by cloning alone, which never steps the task
        part = replace(cell, steps=steps, out=tmp_path / f"run-{steps}")
        result = imitate(part, quiet=True)
        assert result["status"] == "finished", result["error"]
        assert resume(part.directory, steps=128, quiet=True)["status"] == "finished"


@pytest.mark.parametrize("finetune", [True, False])
def test_an_imitator_whose_networks_see_images_is_shown_demonstrations_as_it_sees_its_task(
    finetune: bool, eyes: Path, tmp_path: Path
) -> None:
    env = gymnasium.make(TASK)
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=0)[0]]
    actions = rng.uniform(-2, 2, (12, 1)).astype(np.float32)
    seen += [env.step(action)[0] for action in actions]
    last = np.arange(12) == 11
    episode = Episode(np.stack(seen), actions, np.zeros(12), last & False, last)
    Demonstrations.from_episodes([episode], env_id=TASK).save(tmp_path / "demos.hdf5")
    cell = ImitateConfig(
        env=TASK, demos=tmp_path / "demos.hdf5", encoder=eyes, finetune=finetune, steps=0, clone=1, out=tmp_path / "run",
        learner_kwargs=SMALL["ppo"], eval_episodes=1, pictures=False,
    )  # fmt: skip
    session = build(cell)
    assert session.config.normalize_obs is not finetune  # images are not normalised, and nobody needs to say so
    rows = session.loaded.demonstrations.episodes[0].observations
    look = session.eyes.wrap_one(gymnasium.make(TASK))
    assert np.allclose(look.reset(seed=0)[0], rows[0], atol=1e-4)
    for t, action in enumerate(actions, 1):
        assert np.allclose(look.step(action)[0], rows[t], atol=1e-4)
    assert imitate(cell, quiet=True)["status"] == "finished"


@pytest.mark.parametrize("reward", ["none", "rnd"])
def test_rewards_of_a_task_of_images_are_normalised_across_its_episodes(reward: str, tmp_path: Path) -> None:
    """The last image of an episode has its channels where the others have them."""
    kwargs = {"size": 40, "max_episode_steps": 20}
    cell = config(tmp_path / "run", env=TASK, env_kwargs=kwargs, reward=reward, reward_kwargs={}, normalize_reward=True, steps=64)
    result = explore(cell, quiet=True)
    assert (result["status"], result["episodes"]) == ("finished", 3), result["error"]
    env: Any = build(cell).learner.env
    assert env.reset().shape == (1, 3, 40, 40)
    assert env.get_original_obs().shape == (1, 3, 40, 40)
    assert resume(tmp_path / "run", steps=128, quiet=True)["status"] == "finished"


@pytest.mark.parametrize(("codes", "newest"), [(True, 4), (False, 3)])
def test_episodes_begin_where_a_demonstration_of_images_was(codes: bool, newest: int, eyes: Path, tmp_path: Path) -> None:
    """The last four numbers of two frames' codes, or the last three channels of two frames, are of the image that it begins with."""
    size: dict[str, Any] = {} if codes else {"size": 40}
    env = gymnasium.make(TASK, **size)
    seen = [env.reset(seed=5)[0]]
    actions = np.random.default_rng(0).uniform(-2, 2, (8, 1)).astype(np.float32)
    seen += [env.step(action)[0] for action in actions]
    last = np.arange(8) == 7
    episode = Episode(np.stack(seen), actions, np.zeros(8), last & False, last, seed=5)
    Demonstrations.from_episodes([episode], env_id=TASK).save(tmp_path / "demos.hdf5")
    session = build(
        ImitateConfig(
            env=TASK, env_kwargs=size, demos=tmp_path / "demos.hdf5", encoder=eyes if codes else None, history=2, normalize_obs=False,
            demonstrated_starts=1.0, n_envs=1, clone=0, learner_kwargs=SMALL["ppo"], reward="none",
        )
    )  # fmt: skip
    rows = session.loaded.demonstrations.episodes[0].observations[:8]
    for _ in range(4):
        begun = session.env.reset()[0]
        assert any(np.allclose(begun[..., -newest:], row[..., -newest:], atol=1e-4) for row in rows)


class TestRefusals:
    def refuse(self, words: str, out: Path, **values: Any) -> None:
        with pytest.raises(RunError, match=words):
            explore(ExploreConfig(**{"env": TASK, "reward": "none", "learner": "ppo", "out": out / "run"} | values), quiet=True)
        assert not (out / "run").exists()

    def test_before_anything_is_trained(self, eyes: Path, tmp_path: Path) -> None:
        self.refuse(r"--encoder: there is no encoder .*nowhere; fit one with: genrl generate", tmp_path, encoder=tmp_path / "nowhere")
        self.refuse("encoder .*Pendulum-v1: an encoder needs observations with an image", tmp_path, encoder=eyes, env="Pendulum-v1")
        other = saved(tmp_path / "other", side=16)
        for finetune in (False, True):
            self.refuse(r"fitted to images of 3 × 16 × 16.*gives 32 × 32 × 3.*generate", tmp_path, encoder=other, finetune=finetune)
        self.refuse("it would normalise images; type --no-normalize-obs, or see them as codes", tmp_path, normalize_obs=True)
        self.refuse(
            r"PPO's own CnnPolicy need images of at least 36 pixels a side, but .* gives Box\(.*32.*by --encoder RUN, .*--env.size 64",
            tmp_path,
        )
        self.refuse(
            "CrossQ has no CnnPolicy to look at images with; let it see codes, by --encoder RUN",
            tmp_path,
            learner="crossq",
            env_kwargs={"size": 40},
        )
        self.refuse("2 frames can be stacked of images.*type --history 1", tmp_path, env="Pendulum-v1", history=2)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"finetune": True}, "--finetune was given, but there is no --encoder"),
            ({"past_actions": True}, "--past-actions was given, but there is no --encoder"),
            ({"encoder": Path("eyes"), "past_actions": True, "finetune": True}, "leave one of them out"),
            ({"encoder": Path("eyes"), "past_actions": True, "history": 1}, "--history is 1.*type --history 3"),
            ({"history": 0}, "--history is 0, but must be at least 1"),
        ],
    )
    def test_of_flags_that_do_not_go_together(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(RunError, match=words):
            ExploreConfig(**values)

    def test_of_a_run_whose_encoder_is_gone_changed_or_another(self, eyes: Path, tmp_path: Path) -> None:
        explore(config(tmp_path / "run", env=TASK, encoder=eyes, steps=64, eval_episodes=0), quiet=True)
        own = tmp_path / "run" / "encoder.safetensors"
        shutil.copy(saved(tmp_path / "second", 1) / "encoder.safetensors", own)
        for attempt in (lambda: resume(tmp_path / "run", steps=128), lambda: watch(tmp_path / "run")):
            with pytest.raises(RunError, match=r"is another encoder than .*run began with \(its hash is .*restore it from a copy"):
                attempt()
        own.write_bytes(own.read_bytes()[:-4] + b"\0\0\0\0")
        with pytest.raises(RunError, match="was changed since it was written"):
            resume(tmp_path / "run", steps=128)
        own.unlink()
        with pytest.raises(RunError, match=r"has lost its encoder, encoder.safetensors; copy it back from .*eyes"):
            resume(tmp_path / "run", steps=128)


@pytest.mark.parametrize(("frames_of", "warned"), [("genrl/PixelReacher-v0", True), ("a_module:" + TASK, False)])
def test_a_warning_tells_that_an_encoder_was_fitted_to_frames_of_another_task(
    frames_of: str, warned: bool, eyes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (eyes / "config.json").write_text(f'{{"data": "frames:{frames_of}"}}')
    asked = ["explore", "--env", TASK, "--encoder", str(eyes), "--learner", "ppo", "--reward", "none", "--steps", "16"]
    asked += [
        "--eval-episodes",
        "0",
        "--no-pictures",
        "--out",
        str(tmp_path / "run"),
        "--learner.n-steps",
        "8",
        "--learner.batch-size",
        "8",
    ]
    assert main(asked) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "frames of" in line]
    assert len(lines) == warned
    if warned:
        assert lines[0].startswith(f"genrl: warning: --encoder {eyes} was fitted to frames of genrl/PixelReacher-v0, but --env is {TASK};")
        assert f"genrl generate --model pca --data frames:{TASK} --out " in lines[0]
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "run"), "--steps", "32"]) == 0
    assert "frames of" not in capsys.readouterr().err  # it was said once
