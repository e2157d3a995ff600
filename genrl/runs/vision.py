"""How the learner of a run sees images: through an encoder, by its own networks that begin as one, or by its own alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import VecEnv

from genrl.encoders import EncodedEnv, EncodedVecEnv, ImageEncoder, StackedFrames, encoded_demonstrations, load_encoder, pretrained
from genrl.encoders.code_stack import CodeStack
from genrl.encoders.demonstrations import stacked_demonstrations
from genrl.encoders.encoder import FILE
from genrl.encoders.view import batch_of_one, view_of
from genrl.errors import RunError, command, one_line
from genrl.reading import FileError, read_json
from genrl.roles import without_module
from genrl.runs.config.base import FRAMES, device_of
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.environments.make import shows_image
from genrl.runs.imitation.demonstrations import Loaded
from genrl.runs.sockets import Plug

__all__ = ["Eyes", "kept_encoder", "open_eyes"]

LOOKED = 200
"""Steps of random actions in which float images are looked at before anything is trained."""


@dataclass
class Eyes:
    """What a run does to images before its learner sees them."""

    config: RunConfig
    encoder: ImageEncoder | None
    encoded: EncodedVecEnv | None = None
    """The environments of the run, once they are built."""

    @property
    def plugs(self) -> list[Plug]:
        """What it brings into the run: codes in place of images."""
        return [Plug("encoder", state=self, wrap=self._wrap)] if self.config.observes_codes else []

    def _wrap(self, env: VecEnv) -> VecEnv:
        assert self.encoder is not None
        self.encoded = EncodedVecEnv(env, self.encoder, self.config.frames, self.config.past_actions)
        return self.encoded

    def wrap_one(self, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
        """Put the same wrapper around one environment.

        Raises:
            RunError: it observes no image of the encoder's size.
        """
        try:
            if self.encoder is not None and self.config.observes_codes:
                return EncodedEnv(env, self.encoder, self.config.frames, self.config.past_actions)
            if self.encoder is not None:
                view_of(env.observation_space, self.encoder.preprocessing.source, stacked=True)
            return StackedFrames(env, self.config.frames) if self.config.frames > 1 else env
        except ValueError as error:
            whose = f"--encoder {self.config.encoder} on " if self.encoder is not None else ""
            raise RunError(f"{whose}{self.config.env}: {error}") from error

    def look_first(self, env: gymnasium.Env[Any, Any]) -> None:
        """Look at the task's first image, or at those of 200 random steps if they are floats, so that a wrong one is refused at once.

        Raises:
            RunError: an image that is not what its space says, or floats outside [0, 1].
        """
        view = None if self.encoder is None else view_of(env.observation_space, self.encoder.preprocessing.source, stacked=True)
        if view is None and not shows_image(env.observation_space):
            return
        try:
            obs, _ = env.reset(seed=self.config.seed)
            env.action_space.seed(self.config.seed)
            for _ in range(LOOKED if view is not None and view.floats else 0):
                view.pixels(batch_of_one(obs))  # type: ignore[union-attr]
                obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
                obs = env.reset()[0] if terminated or truncated else obs
        except ValueError as error:
            raise RunError(f"{self.config.env}: {one_line(error)}") from error

    def policy_kwargs(self) -> dict[str, Any]:
        """What the learner's policy is built with."""
        return pretrained(self.encoder, train=True) if self.encoder is not None and self.config.finetune else {}

    def demonstrations(self, loaded: Loaded, env: gymnasium.Env[Any, Any]) -> Loaded:
        """Demonstrations as the learner sees them; ``env`` is the task itself.

        Raises:
            RunError: float images outside [0, 1].
        """
        frames = self.config.frames
        if self.encoder is not None and self.config.observes_codes:
            stack = CodeStack(self.encoder, env.observation_space, env.action_space, 1, frames, self.config.past_actions)
            seen = partial(encoded_demonstrations, codes=stack)
        elif frames > 1:
            seen = partial(stacked_demonstrations, frames=frames)
        else:
            return loaded
        try:
            return Loaded(seen(loaded.demonstrations), None if loaded.held_out is None else seen(loaded.held_out))
        except ValueError as error:
            raise RunError(f"--demos: {one_line(error)}") from error

    def keep(self, run: RunDirectory) -> dict[str, Any]:
        """Copy the encoder into the run's directory; what the configuration says about it."""
        if self.encoder is None:
            return {}
        self.encoder.save(run.path / FILE)
        return {"encoder": self.encoder.hash}

    def state_dict(self) -> dict[str, Any]:
        """The history of the codes."""
        return {} if self.encoded is None else self.encoded.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.encoded is not None:
            self.encoded.load_state_dict(state)


def open_eyes(config: RunConfig) -> Eyes:
    """The encoder of a configuration, if it has one; a warning tells that it was fitted to frames of another task.

    Raises:
        RunError: there is no such encoder, or its file is broken or changed.
    """
    path = config.own_encoder
    if path is None:
        return Eyes(config, None)
    try:
        encoder = load_encoder(path)
    except (FileNotFoundError, ValueError) as error:
        raise RunError(f"--encoder: {error}") from error
    fitted_to = _task_of_frames(path)
    if fitted_to not in (None, without_module(config.env)):
        fit = command("generate", "--model", "pca", "--data", f"frames:{config.env}", "--out", f"{path}-of-this-task")
        warnings.warn(
            f"--encoder {path} was fitted to frames of {fitted_to}, but --env is {config.env}; if that is not meant, type: {fit}",
            stacklevel=2,
        )
    return Eyes(config, encoder.to(device_of(config.device)))


def _task_of_frames(path: Path) -> str | None:
    """The task whose frames the run of an encoder learnt from; ``None`` of other images, and of a file by itself."""
    try:
        data = read_json(path / "config.json").get("data")
    except FileError:
        return None
    return without_module(data.removeprefix(FRAMES)) if isinstance(data, str) and data.startswith(FRAMES) else None


def kept_encoder(config: RunConfig, run: RunDirectory, about: Mapping[str, Any]) -> RunConfig:
    """A run's configuration with its own copy of its encoder.

    Raises:
        RunError: the copy is missing, or is another encoder than the run began with.
    """
    if config.encoder is None:
        return config
    own: Path = run.path / FILE
    if not own.is_file():
        raise RunError(f"{run.path} has lost its encoder, {FILE}; copy it back from where it came from, {config.encoder}")
    found = replace(config, encoder=own)
    encoder = open_eyes(found).encoder
    if encoder is not None and encoder.hash != about.get("encoder"):
        raise RunError(
            f"{own} is another encoder than {run.path} began with (its hash is {encoder.hash}, not {about.get('encoder')}); "
            "restore it from a copy"
        )
    return found
