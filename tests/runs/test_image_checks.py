"""Images that are not what their space says are refused before anything is trained; later, they end a run that can go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from genrl.data import Demonstrations, Episode
from genrl.encoders.view import view_of
from genrl.errors import RunError
from genrl.runs import ImitateConfig, explore, resume
from genrl.runs.building import build
from genrl.runs.environments.make import make_env
from tests.runs.test_vision import saved
from tests.runs.tiny import SMALL, config


class Glows(gymnasium.Env[Any, Any]):
    """Half bright for ``at`` steps of an episode of 300, then what ``turns`` says."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)
    broken = True

    def __init__(self, turns: str, at: int, floats: bool = False, named: bool = False, side: int = 32) -> None:
        self.turns, self.at, self.named = turns, at, named
        shape = (side, side, 3)
        image = spaces.Box(0.0, 1.0, shape, np.float32) if floats else spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = spaces.Dict({"eyes": image}) if named else image  # type: ignore[assignment]
        self.usual = np.full(image.shape, 0.5 if floats else 128, image.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self._seen(), 0.0, False, self.time == 300, {}

    def _seen(self) -> Any:
        others = {
            "brighter": 3 * self.usual, "NaN": np.nan * self.usual, "floats": self.usual / np.float32(255), "smaller": self.usual[:16],
            "int64": self.usual.astype(np.int64), "beyond": self.usual.astype(np.int64) + 200,
        }  # fmt: skip
        image = (others[self.turns] if self.time >= self.at and Glows.broken else self.usual).copy()
        return {"eyes": image} if self.named else image


gymnasium.register("tests/Glows-v0", Glows)
GLOWS = "tests.runs.test_image_checks:tests/Glows-v0"


@pytest.mark.parametrize("finetune", [False, True])
@pytest.mark.parametrize(
    ("glows", "words"),
    [
        ({"turns": "brighter", "at": 150, "floats": True}, r"must be in \[0, 1\], but have 1.5 to 1.5; clip them, or give bytes"),
        ({"turns": "brighter", "at": 150, "floats": True, "named": True}, r"must be in \[0, 1\], but have 1.5 to 1.5"),
        ({"turns": "NaN", "at": 150, "floats": True}, "have nan to nan; find out where the NaN comes from"),
        ({"turns": "smaller", "at": 150, "floats": True}, r"an image of shape \(16, 32, 3\), but its space says \(32, 32, 3\)"),
        ({"turns": "floats", "at": 0}, r"float32 with values from 0.502 to 0.502, but its space says bytes.*by \(255 \* image\).astype"),
        ({"turns": "floats", "at": 0, "named": True}, "float32 with values from 0.502 to 0.502"),
        ({"turns": "beyond", "at": 0}, "int64 with values from 328 to 328"),
    ],
)
def test_what_the_first_steps_show_is_refused_before_anything_is_trained(
    glows: dict[str, Any], words: str, finetune: bool, tmp_path: Path
) -> None:
    cell = config(tmp_path / "run", env=GLOWS, encoder=saved(tmp_path / "eyes"), env_kwargs=glows, finetune=finetune, history=1)
    with pytest.raises(RunError, match=f"tests/Glows-v0: .*{words}"):
        explore(cell, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_learner_that_looks_at_images_by_itself_is_not_shown_floats_as_black_bytes(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the task gives an image of float32 with values from 0\.502 to 0\.502"):
        explore(config(tmp_path / "run", env=GLOWS, env_kwargs={"turns": "floats", "at": 0, "side": 40}), quiet=True)


@pytest.mark.parametrize(
    ("glows", "words"),
    [
        ({"turns": "brighter", "at": 250, "floats": True}, r"at step 249: float images must be in \[0, 1\], but have 1.5 to 1.5; clip"),
        ({"turns": "floats", "at": 250}, "at step 249: the task gives an image of float32 with values from 0.502 to 0.502"),
    ],
)
def test_what_comes_later_ends_a_run_that_goes_on_once_the_task_is_repaired(
    glows: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = config(tmp_path / "run", env=GLOWS, encoder=saved(tmp_path / "eyes"), env_kwargs=glows, steps=320)
    for result in (explore(cell, quiet=True), resume(cell.directory, imports=(__name__,), quiet=True)):
        assert result["status"] == "failed"
        assert re.search(words, result["error"])
        assert "\n" not in result["error"]
    monkeypatch.setattr(Glows, "broken", False)
    result = resume(cell.directory, imports=(__name__,), quiet=True)
    assert (result["status"], result["steps"]) == ("finished", 320)


def test_whole_numbers_that_fit_into_bytes_are_bytes() -> None:
    env = make_env(GLOWS, {"turns": "int64", "at": 0, "named": True})
    image = env.reset(seed=0)[0]["eyes"]
    assert (image.dtype, int(image.min()), int(image.max())) == (np.uint8, 128, 128)
    assert env.step(env.action_space.sample())[0]["eyes"].dtype == np.uint8


def test_what_rounds_to_a_byte_is_no_float_outside_of_its_range() -> None:
    view = view_of(spaces.Box(0.0, 1.0, (2, 3, 1), np.float32), (1, 2, 3))
    image = np.array([-1e-4, 0.0, 0.5, 1.0, 1.0 + 1e-6, 1.0009], np.float32).reshape(1, 2, 3, 1)
    assert view.pixels(image).ravel().tolist() == [0, 0, 128, 255, 255, 255]
    with pytest.raises(ValueError, match=r"have -0.0001 to 1.002; clip them"):
        view.pixels(np.where(image > 1.0005, np.float32(1.002), image))


def test_demonstrations_of_floats_outside_of_their_range_are_refused(tmp_path: Path) -> None:
    last = np.arange(12) == 11
    observations = np.full((13, 32, 32, 3), 0.5, np.float32)
    observations[7] = 1.5
    episode = Episode(observations, np.zeros((12, 1), np.float32), np.zeros(12), last & False, last)
    Demonstrations.from_episodes([episode], env_id="tests/Glows-v0").save(tmp_path / "demos.hdf5")
    cell = ImitateConfig(
        env=GLOWS, env_kwargs={"turns": "floats", "at": 999, "floats": True}, demos=tmp_path / "demos.hdf5",
        encoder=saved(tmp_path / "eyes"), learner_kwargs=SMALL["ppo"], out=tmp_path / "run",
    )  # fmt: skip
    with pytest.raises(RunError, match=r"--demos: float images must be in \[0, 1\], but have 0.5 to 1.5; clip them"):
        build(cell)
