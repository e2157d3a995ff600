"""Frames of a task as images to learn from: its observations, where these are images, otherwise what it draws."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from genrl.data import ImageData, ImageError, Images, Walk
from genrl.encoders import Preprocessing
from genrl.encoders.code_stack import flat_actions
from genrl.encoders.view import SMALLEST, View, batch_of_one, picture_in
from genrl.errors import RunError, one_line
from genrl.generation.acting import at_random, by_policy, from_places
from genrl.runs.environments.make import getattr_or, make_env
from genrl.runs.uses.rendering import check_draws, choose_backend, rendered

__all__ = ["record_frames"]

EPISODES = 20
"""Fewest episodes; none has more than its share of the frames."""
HELD = 4
"""Steps for which a random action is held, so that what is steered gets somewhere."""
STRETCHES = 200
"""Number of episodes with an archive: many short ones, since each is of one place."""
HELD_OUT = 0.1
COMMAND = "genrl generate --data frames:TASK"


def record_frames(
    env_id: str,
    n: int,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: str | Path | None = None,
    imports: Collection[str] = (),
    seed: int = 0,
    crop: tuple[int, int, int, int] = (0, 0, 0, 0),
    size: int = 64,
    only_larger: bool = False,
    every: int | None = None,
    archive: int | None = None,
    quiet: bool = True,
) -> ImageData:
    """Record frames from the beginnings of at least 20 episodes; a tenth of the frames, of episodes of their own, are there to test on.

    Beside them stands what belongs to them (:class:`genrl.data.Walk`): episodes, the actions between frames and, where the task puts it
    into ``info["state"]`` as numbers, the true state.

    Args:
        env_id: any Gymnasium task; ``module:Id-v0`` imports the module that registers it first.
        n: number of frames, at least 20.
        env_kwargs: keywords of ``gymnasium.make``.
        policy: run directory of a trained policy that acts, without noise; by default an action is drawn for each four steps, or
            ``every`` if that is more.
        imports: modules that this run may import, as in :func:`genrl.runs.resume`.
        seed: seed of the first episode and of the random actions; later episodes have the seeds that follow.
        crop: pixels that are cut off first: top, bottom, left, right.
        size: pixels a side of the square frames, each pixel the mean of those that it covers; 0 leaves frames as they are.
        only_larger: leave frames as they are whose sides are at most ``size``.
        every: number of steps from one frame that is kept to the next; by default 1 in a task that tells its state, and 4 in others.
        archive: steps in which an :class:`~genrl.runs.screening.archive.Archive` explores the task first. Frames then are 200 stretches of
            random actions, every second of which begins at a place of the archive, so that they show what random actions seldom reach.
        quiet: show no progress on stderr.

    Returns:
        Images with three channels, or with one where the task observes such images.

    Raises:
        RunError: there is no such task, it can't be drawn here, or the policy is of another task; an archive of a task whose places are
            not told apart, or whose actions are no bounded ``Box``.
    """
    if n < EPISODES:
        raise RunError(f"--frames is {n}, but must be at least {EPISODES}")
    env_kwargs = dict(env_kwargs or {})
    longest = n // (EPISODES if archive is None else STRETCHES) or 1
    with ExitStack() as stack:
        env = stack.enter_context(_environment(env_id, env_kwargs))
        env.reset(seed=seed)
        every = every or (HELD if env.state is None else 1)
        if policy is not None:
            act = stack.enter_context(by_policy(Path(policy), env_id, env_kwargs, imports))
        else:
            held = max(every, HELD)
            act = at_random(env, seed, held) if archive is None else from_places(env, seed, held, archive)
        advance = stack.enter_context(_bar(n, f"frames of {env_id}", quiet))
        episodes: list[_Episode] = []
        while missing := n - sum(len(episode.frames) for episode in episodes):
            episode = _Episode(crop, size, only_larger)
            episode.fill(env, act(env, seed + len(episodes)), every, min(longest, missing), advance)
            if not episode.frames:
                raise RunError(f"an episode of {env_id} has no step; choose another task")
            episodes.append(episode)
        names = tuple(getattr_or(env, "state_names", ()))
    return _split(env_id, episodes, n, names)


class _Episode:
    """Frames of one episode, and what belongs to them."""

    def __init__(self, crop: tuple[int, int, int, int], size: int, only_larger: bool) -> None:
        self.crop, self.size, self.only_larger = crop, size, only_larger
        self.frames: list[Tensor] = []
        self.actions: list[Tensor] = []
        """Mean of what was done since the frame before; the first is of no use."""
        self.done: list[Tensor] = []
        """Each action since the last frame."""
        self.states: list[Tensor] = []
        self.source: tuple[int, int, int] = (0, 0, 0)

    def fill(self, env: _Watched, steps: Iterator[Any], every: int, most: int, advance: Callable[[], object]) -> None:
        """Keep the frame of each ``every``-th step, ``most`` of them at most; no step is made after the last one."""
        for step, _ in enumerate(steps):
            self.done.append(torch.from_numpy(flat_actions(env.action_space, np.asarray(env.action)[None])[0]))
            if step % every == 0:
                self.add(env)
                advance()
            if len(self.frames) == most:
                return

    def add(self, env: _Watched) -> None:
        """Keep the present frame, the actions that led to it, and the state."""
        frame = Images(env.frame()[None])
        self.source = frame.shape
        small = self.only_larger and max(Preprocessing(frame.shape, self.crop).shape[1:]) <= self.size
        self.frames.append(Preprocessing(frame.shape, self.crop, 0 if small else self.size).images(frame).pixels[0])
        self.actions.append(torch.stack(self.done).mean(0))
        self.done = []
        if env.state is not None:
            self.states.append(torch.from_numpy(env.state).reshape(-1))


def _split(env_id: str, episodes: list[_Episode], n: int, names: tuple[str, ...]) -> ImageData:
    """Keep whole episodes to test on: neighbouring frames are nearly equal, and would make the test a part of the training."""
    last = len(episodes)
    while sum(len(episode.frames) for episode in episodes[last:]) < HELD_OUT * n:
        last -= 1
    return ImageData(env_id, *(_joined(part, names) for part in (episodes[:last], episodes[last:])))


def _joined(episodes: list[_Episode], names: tuple[str, ...]) -> Images:
    pixels = torch.stack([frame for episode in episodes for frame in episode.frames])
    number = torch.cat([torch.full((len(episode.frames),), i) for i, episode in enumerate(episodes)])
    following = torch.cat([torch.stack([*episode.actions[1:], torch.zeros_like(episode.actions[0])]) for episode in episodes])
    sizes = {state.shape for episode in episodes for state in episode.states}
    known = len(sizes) == 1 and all(len(episode.states) == len(episode.frames) for episode in episodes)
    states = torch.stack([state for episode in episodes for state in episode.states]) if known else None
    if states is not None and len(names) != states.shape[1]:
        names = tuple(str(i) for i in range(states.shape[1]))
    return Images(pixels, walk=Walk(number, following, episodes[0].source, states, names if known else ()))


class _Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the newest observation, and returns the present frame."""

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, view: View | None) -> None:
        super().__init__(env)
        self._name, self._view, self._seen = name, view, None
        self.action: Any = None
        """What was done last."""
        self.state: np.ndarray | None = None
        """What the task says that it is in; ``None`` if it says nothing, or no numbers."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._seen, info = self.env.reset(seed=seed, options=options)
        self.state = _numbers(info.get("state"))
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._seen, reward, terminated, truncated, info = self.env.step(action)
        self.action, self.state = action, _numbers(info.get("state"))
        return self._seen, reward, terminated, truncated, info

    def frame(self) -> Tensor:
        """The present frame, uint8 ``(channel, height, width)``."""
        if self._view is not None:
            return torch.as_tensor(self._view.pixels(batch_of_one(self._seen))[0].copy())
        picture = np.asarray(rendered(self.env, self._name, COMMAND))
        picture = picture[..., None] if picture.ndim == 2 else picture
        if picture.ndim != 3 or picture.shape[2] not in (1, 3):
            raise RunError(f"{self._name} draws arrays of shape {picture.shape}, which are no images; choose another task")
        return torch.as_tensor(np.array(picture)).permute(2, 0, 1)


def _numbers(state: Any) -> np.ndarray | None:
    """A state as an array of its own; ``None`` where a task means something else by the word, such as the name of a phase."""
    found = np.array(state)
    return found.astype(np.float32) if found.dtype.kind in "biuf" else None


def _warn_of_stacks(env_id: str, space: gymnasium.Space[Any]) -> None:
    """Warn where a task observes bytes on three axes or more that are no single image: an encoder of what it draws won't see them."""
    parts = space.spaces.values() if isinstance(space, gymnasium.spaces.Dict) else [space]
    shapes = [part.shape or () for part in parts if part.dtype == np.uint8]
    if large := [str(shape) for shape in shapes if len(shape) >= 3 and sorted(shape)[-2] >= SMALLEST]:
        warnings.warn(
            f"{env_id} observes bytes of shape {' and '.join(large)}, which are no single grey or coloured image, so the frames are what "
            "it draws, and an encoder of them does not fit what it observes; if that is a stack of frames, name the task without "
            "the stacking",
            stacklevel=2,
        )


@contextmanager
def _environment(env_id: str, env_kwargs: Mapping[str, Any]) -> Iterator[_Watched]:
    """The task, drawn only where its observations are no images; what fails in it is one sentence."""
    choose_backend(env_id, env_kwargs, COMMAND)
    env = make_env(env_id, env_kwargs)
    view = picture_in(env.observation_space)
    if view is None:
        _warn_of_stacks(env_id, env.observation_space)
        env.close()
        check_draws(env, env_id)
        env = make_env(env_id, env_kwargs, render_mode="rgb_array")
    watched = _Watched(env, env_id, view)
    try:
        yield watched
    except RunError:
        raise
    except ImageError as error:  # of what is done to its frames
        raise RunError(f"frames of {env_id}: {one_line(error)}") from error
    except Exception as error:  # whatever a task does
        raise RunError(f"{env_id} failed while its frames were recorded ({type(error).__name__}: {one_line(error)})") from error
    finally:
        watched.close()


@contextmanager
def _bar(n: int, words: str, quiet: bool) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    terminal = sys.stderr.isatty() and not quiet
    if not quiet and not terminal:
        print(f"recording {n:,} {words}", file=sys.stderr, flush=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(words), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not terminal, transient=True) as bar:
        task = bar.add_task("", total=n)
        yield lambda: bar.update(task, advance=1)
