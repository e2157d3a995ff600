"""Every learner, with and without normalised observations, seen as they are, as codes, or through an encoder inside the policy: a loaded
run and every export act as the run's own evaluation did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import genrl
from genrl.data import Images
from genrl.encoders import ImageEncoder, Preprocessing
from genrl.errors import RunError
from genrl.models import RandomNetwork
from genrl.roles import LEARNERS
from genrl.runs import ExploreConfig, explore, record
from genrl.runs.play import EVALUATION_SEED
from genrl.runs.uses.export import export_onnx, export_sb3, export_torchscript
from tests.runs import test_rewind
from tests.runs.tiny import config

SIDE, STEPS = 36, 8
DONE: dict[int, list[np.ndarray]] = {}
"""Actions of the latest episode that began with each seed."""


class Marked(gymnasium.Env[np.ndarray, Any]):
    """Episodes of 8 steps; what is seen, numbers or an image, is drawn from the seed. Actions are two numbers, or three choices of which
    the one of the step's number is not allowed."""

    def __init__(self, discrete: bool = False, image: bool = False) -> None:
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-2, np.array([3.0, 1.0], np.float32), (2,), np.float32)
        image_space = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.observation_space = image_space if image else spaces.Box(-5, 50, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        self.time, self.actions = 0, []
        DONE[-1 if seed is None else seed] = self.actions
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.actions.append(np.array(action))
        self.time += 1
        return self.observation_space.sample(), float(np.sum(action)), self.time == STEPS, False, {}

    def action_masks(self) -> np.ndarray:
        return np.arange(3) != self.time % 3


gymnasium.register("tests/Marked-v0", entry_point=Marked)

ROLLOUTS = {"n_steps": 16, "batch_size": 8, "n_epochs": 1}
OFF_POLICY = {"learning_starts": 8, "batch_size": 4, "buffer_size": 100}
KWARGS: dict[str, dict[str, Any]] = {"ppo": ROLLOUTS, "maskableppo": ROLLOUTS, "recurrentppo": ROLLOUTS}
KWARGS |= {"trpo": {"n_steps": 16, "batch_size": 8}, "a2c": {"n_steps": 16}}
CASES = [
    (part.name, normalize, sees)
    for part in LEARNERS.parts
    for normalize in (False, True)
    for sees in ("numbers", "codes", "images through an encoder")
    if not (sees.startswith("images") and normalize)  # images are not normalised
]


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eyes")
    images = Images(torch.randint(256, (20, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    ImageEncoder.of(RandomNetwork((3, SIDE, SIDE), latent=4, width=4), Preprocessing((3, SIDE, SIDE)), images).save(
        folder / "encoder.safetensors"
    )
    return folder


def evaluated(learner: str, normalize: bool, sees: str, eyes: Path, out: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """A tiny run, loaded; what its policy saw in the first episode of its evaluation, and what it did, by the task's own account."""
    discrete = LEARNERS.part(learner).actions == ("Discrete",) or learner == "maskableppo"
    explore(
        ExploreConfig(
            env="tests/Marked-v0", learner=learner, reward="none", steps=32, eval_episodes=1, pictures=False, out=out,
            normalize_obs=normalize, normalize_reward=normalize, encoder=None if sees == "numbers" else eyes, finetune="images" in sees,
            history=None if sees == "numbers" else 2, env_kwargs={"discrete": discrete, "image": sees != "numbers"},
            learner_kwargs=KWARGS.get(learner, OFF_POLICY) | {"net_arch": (8,)},
        ),
        quiet=True,
    )  # fmt: skip
    actions = [np.array(action) for action in DONE[EVALUATION_SEED]]
    run = genrl.load(out)
    assert run.evaluate(1) == run.result["evaluation_returns"]
    env = run.make_env()
    seen = [env.reset(seed=EVALUATION_SEED)[0]]
    seen += [env.step(action if np.ndim(action) else action.item())[0] for action in actions[:-1]]
    assert len(actions) == STEPS
    return run, np.stack(seen), np.stack(actions)


def test_observations_of_several_parts_are_refused_by_what_is_one_graph(tmp_path: Path):
    assert test_rewind.Dictionaries  # its module registers the task
    out = tmp_path / "run"
    explore(config(out, env="tests/Dictionaries-v0", steps=64, eval_episodes=0), quiet=True)
    run = genrl.load(out)
    for export, flag in ((export_torchscript, "--torchscript"), (export_onnx, "--onnx")):
        with pytest.raises(RunError, match=f"{flag} needs observations that are one tensor, but .* observes a Dict; use --sb3 DIR"):
            export(run, tmp_path / "policy")
    with pytest.raises(RunError, match="tests/Dictionaries-v0 observes a Dict, but demonstrations are rows of numbers or images"):
        record(out, tmp_path / "demos.npz")


def masks() -> np.ndarray:
    return np.stack([np.arange(3) != time % 3 for time in range(STEPS)])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(("learner", "normalize", "sees"), CASES)
def test_a_loaded_run_and_its_exports_act_as_the_evaluation_did(learner: str, normalize: bool, sees: str, eyes: Path, tmp_path: Path):
    run, seen, actions = evaluated(learner, normalize, sees, eyes, tmp_path / "run")
    given = {"action_masks": masks()} if learner == "maskableppo" else {}
    state = None
    for i, action in enumerate(actions):
        masked = {key: value[i] for key, value in given.items()}
        act, state = run.predict(seen[i], state, np.array([i == 0]), **masked)
        assert np.array_equal(act, action)
    if learner == "recurrentppo":
        for export in (export_torchscript, export_onnx):
            with pytest.raises(RunError, match="has a memory.*use --sb3 DIR" if sees == "numbers" else r"has a memory.*by genrl\.load"):
                export(run, tmp_path / "policy")
    else:
        obs = seen.transpose(0, 3, 1, 2) if seen.ndim == 4 else seen
        module = torch.jit.load(str(export_torchscript(run, tmp_path / "policy.pt")))
        np.testing.assert_allclose(module(*map(torch.as_tensor, (obs, *given.values()))).numpy(), actions, atol=1e-5)
        np.testing.assert_allclose(by_onnx(export_onnx(run, tmp_path / "policy.onnx"), obs, given), actions, atol=1e-5)
    if sees != "numbers":
        advice = r"by genrl\.load" if learner == "recurrentppo" else "by --torchscript"
        with pytest.raises(RunError, match=f"sees codes of an encoder.*{advice}"):
            export_sb3(run, tmp_path / "sb3")
    else:
        check_sb3(run, seen, actions, given, tmp_path / "sb3")


def by_onnx(file: Path, obs: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    assert [value.name for value in session.get_inputs()] == ["obs", *masks]
    (action,) = session.run(["action"], {"obs": obs} | masks)
    return action


def check_sb3(run: Any, seen: np.ndarray, actions: np.ndarray, masks: dict[str, np.ndarray], folder: Path) -> None:
    files = export_sb3(run, folder)
    name = type(run.learner).__name__
    model = getattr(stable_baselines3 if hasattr(stable_baselines3, name) else sb3_contrib, name).load(files[0])
    assert len(files) == (1 if run.normalize is None else 2)
    if run.normalize is not None:
        seen = VecNormalize.load(str(files[1]), DummyVecEnv([run.make_env])).normalize_obs(seen)
    state = None
    for i, action in enumerate(actions):
        masked = {key: value[i] for key, value in masks.items()}
        act, state = model.predict(seen[i], state, np.array([i == 0]), deterministic=True, **masked)
        assert np.array_equal(act, action)


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_one_sentence_says_what_to_type(missing: str, eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, _, _ = evaluated("ppo", False, "numbers", eyes, tmp_path / "run")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(RunError, match=rf"--onnx needs {missing}, which is not installed; type: pip install 'genrl-toolkit\[onnx\]'"):
        export_onnx(run, tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()
