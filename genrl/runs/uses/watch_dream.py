"""The same start and policy in reality and in the dream, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from genrl.errors import RunError
from genrl.runs.config.dream import DreamConfig
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory
from genrl.runs.dreams.comparison import LONGEST, Acting
from genrl.runs.dreams.world import kept_model
from genrl.runs.opening import trained
from genrl.runs.uses.rendering import follow, make_drawn, rendered
from genrl.worlds import DreamVecEnv

__all__ = ["frames"]

COMMAND = "genrl watch RUN --dream"


def frames(run: RunDirectory, config: RunConfig, episodes: int, steps: int, seed: int) -> Iterator[tuple[int, float, np.ndarray]]:
    """The number of the episode, the real reward and both pictures of each step, until the real episode has ended.

    Raises:
        RunError: a run without a model, or a task that can't be drawn from an observation.
    """
    if not isinstance(config, DreamConfig) or not (run.path / "world.safetensors").is_file():
        raise RunError(f"{run.path} has no model of its task, in which to dream; make one with `genrl dream`, or leave --dream out")
    with trained(run, config) as session:
        shown = [make_drawn(config.env, config.env_kwargs) for _ in range(2)]
        for env in shown:
            follow(env)
        try:
            model = kept_model(run, config, session)
            for episode in range(episodes):
                for reward, picture in _episode(session, model, shown, config.env, seed + episode):
                    yield episode, reward, picture
                    steps -= 1
                    if not steps:
                        return
        finally:
            for env in shown:
                env.close()


def _episode(session: Any, model: Any, shown: list[Any], name: str, seed: int) -> Iterator[tuple[float, np.ndarray]]:
    """Both episodes from one start; the one that ends first keeps its last picture."""
    real, drawn = shown
    obs, _ = real.reset(seed=seed)
    drawn.reset(seed=seed)
    painter = Painter(drawn, name, obs)
    dream = DreamVecEnv(model, torch.as_tensor(np.asarray(obs))[None], 1, LONGEST + 1, margin=10.0, together=True)
    dreamed = dream.reset()
    totals, alive, waking, asleep = [0.0, 0.0], [True, True], Acting(session), Acting(session)
    pictures = [rendered(real, name, COMMAND), painter.picture(dreamed[0])]
    for _ in range(LONGEST):
        reward = 0.0
        if alive[0]:
            action = waking(obs[None])[0]
            obs, reward, terminated, truncated, _ = real.step(action if np.ndim(action) else action.item())
            totals[0], alive[0] = totals[0] + float(reward), not (terminated or truncated)
            pictures[0] = rendered(real, name, COMMAND)
        if alive[1]:
            chosen = asleep(dreamed)
            dream.step_async(chosen)
            dreamed, paid, done, infos = dream.step_wait()
            totals[1], alive[1] = totals[1] + float(paid[0]), not done[0]
            pictures[1] = painter.picture(infos[0]["terminal_observation"] if done[0] else dreamed[0], chosen[0])
        yield float(reward), _beside(pictures, totals, alive)
        if not alive[0]:  # a dream goes on for as long as reality did
            return


class Painter:
    """Draws a task in the state that an observation says.

    Args:
        env: the task, just reset.
        name: its name, for the error.
        obs: what it observed at the reset.

    Raises:
        RunError: the observations of the task do not say the state.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, obs: Any) -> None:
        task: Any = env.unwrapped
        self.env, self.name, self.task = env, name, task
        # Positions that MuJoCo's tasks do not observe: how far they went.
        hidden = int(getattr(self.task, "observation_structure", {}).get("skipped_qpos", 0))
        self._travelled = np.array(self.task.data.qpos[:hidden]) if self._simulated else np.zeros(0)
        self._speed = np.array(self.task.data.qvel[:hidden]) if self._simulated else np.zeros(0)
        said, there = self._said(np.asarray(obs, dtype=np.float64)), self.state()
        if there.size == 0:
            needed = "its class needs an attribute state, from which render() draws and which is what it observes"
            raise RunError(f"{name} can't be drawn in the state of a dream: {needed}; add one, or film it without --dream")
        if said.shape != there.shape or not np.allclose(said, there, atol=1e-4):
            raise RunError(f"{name} can't be drawn from its observations, which are not its whole state; film it without --dream")

    @property
    def _simulated(self) -> bool:
        return hasattr(self.task, "set_state") and hasattr(self.task, "model")

    def picture(self, obs: np.ndarray, action: Any = None) -> np.ndarray:
        """The task in the state of ``obs``, ``(height, width, 3)``; an action shows where the task draws it."""
        self.place(obs)
        if action is not None and hasattr(self.task, "last_u"):
            self.task.last_u = float(np.ravel(action)[0])
        return rendered(self.env, self.name, COMMAND)

    def place(self, obs: np.ndarray) -> None:
        """Move the task to the state of ``obs``; hidden positions are summed up from their velocities."""
        said = self._said(np.asarray(obs, dtype=np.float64))
        if not self._simulated:
            self.task.state = said
            return
        hidden = len(self._travelled)
        position, velocity = np.split(said, [self.task.model.nq - hidden])
        self._travelled = self._travelled + (self._speed + velocity[:hidden]) / 2 * self.task.dt
        self._speed = velocity[:hidden]
        self.task.set_state(np.concatenate([self._travelled, position]), velocity)

    def state(self) -> np.ndarray:
        """The state in which the task is, without hidden positions; empty if nobody knows."""
        if self._simulated:
            return np.concatenate([self.task.data.qpos[len(self._travelled) :], self.task.data.qvel])
        return np.asarray(getattr(self.task, "state", ()), dtype=np.float64)

    def _said(self, obs: np.ndarray) -> np.ndarray:
        """The state that an observation says; of another shape if it says none."""
        if self._simulated:
            return obs[: self.task.model.nq - len(self._travelled) + self.task.model.nv]
        # Pendulum observes (cos θ, sin θ, θ′) of its state (θ, θ′).
        return np.array([np.arctan2(obs[1], obs[0]), obs[2]]) if obs.shape == (3,) and self.state().shape == (2,) else obs


def _beside(pictures: list[np.ndarray], totals: list[float], alive: list[bool]) -> np.ndarray:
    """Both pictures with their names and returns so far; grey where the episode is over."""
    height, width = pictures[0].shape[:2]
    bar = max(16, height // 16)
    whole = Image.new("RGB", (2 * width, height + bar), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(size=bar * 0.7)
    for side, (name, picture) in enumerate(zip(("reality", "dream"), pictures, strict=True)):
        image = Image.fromarray(picture)
        whole.paste(image if alive[side] else image.convert("L").convert("RGB"), (side * width, bar))
        draw.text((side * width + bar // 3, bar // 8), f"{name}  {totals[side]:.1f}", fill="black", font=font)
    return np.asarray(whole)
