"""A film of a run's trained policy. Only tensors are loaded: nothing in the run directory can run code by being opened."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from genrl.errors import RunError, one_line
from genrl.runs.callbacks.progress import SECONDS_BETWEEN_LINES
from genrl.runs.config.run import RunConfig
from genrl.runs.directory import RunDirectory, film_name
from genrl.runs.interrupt import terminable
from genrl.runs.opening import load_config, trained, with_model
from genrl.runs.play import acted
from genrl.runs.session import Session
from genrl.runs.uses.rendering import choose_backend, follow, has_display, make_drawn, rendered
from genrl.runs.uses.watch_dream import frames as dreamed

__all__ = ["Film", "watch", "watch_live"]

GIF_BYTES = 3_000_000
GIF_FRAMES = 150
GIF_WIDTHS = (320, 240, 160, 120)


@dataclass(frozen=True)
class Film:
    """What :func:`watch` made."""

    paths: tuple[Path, Path]
    """The MP4 and the GIF."""
    returns: tuple[float, ...]
    """Return of each episode in the film."""
    frames: int


def watch(
    path: str | Path,
    *,
    episodes: int = 1,
    steps: int = 1000,
    fps: int = 30,
    size: int = 480,
    stochastic: bool = False,
    seed: int = 20_000,
    best: bool = False,
    average: bool = False,
    dream: bool = False,
    imports: Collection[str] = (),
    quiet: bool = True,
) -> Film:
    """Film ``episodes`` of the trained policy, ``steps`` at most, into watch.mp4 and watch.gif of the run directory.

    Args:
        path: the run directory.
        episodes: at most this many, with seeds from ``seed`` on.
        steps: at most this many environment steps in all.
        fps: frames per second; each step is a frame.
        size: width of the film, in pixels.
        stochastic: draw actions instead of the most likely ones.
        seed: seed of the first episode.
        best: take the model of the best evaluation, as in :func:`genrl.load`, into watch-best.mp4 and watch-best.gif.
        average: take the mean of the last policies, as in :func:`genrl.load`, into watch-average.mp4 and watch-average.gif.
        dream: show the run's model beside reality, from the same starts, into watch-dream.mp4 and watch-dream.gif; twice as wide.
        imports: modules that the run may import, as in :func:`resume`.
        quiet: show no progress on stderr.

    Raises:
        RunError: there is no run or no model, the task can't be drawn here, or a dream, or a policy that draws nothing, was to be
            ``stochastic``.
    """
    if dream and stochastic:
        raise RunError(
            "--dream and --stochastic were given, but in reality and in the dream the policy takes its most likely actions; leave "
            "--stochastic out"
        )
    run = RunDirectory.open(path)
    config = load_config(run, imports)
    run = with_model(run, config, best, average)
    choose_backend(config.env, config.env_kwargs, "genrl watch RUN")
    name = film_name(best, average, dream)
    paths = (run.path / f"{name}.mp4", run.path / f"{name}.gif")
    played = dreamed(run, config, episodes, steps, seed) if dream else _frames(run, config, episodes, steps, stochastic, seed)
    thumbnails, returns = _Thumbnails(), [0.0] * episodes
    with _whole(paths[0]) as temporary, _writer(temporary, fps) as writer:
        for episode, reward, frame in played if quiet else _told(played, steps):
            returns[episode] += reward
            picture = _resized(frame, 2 * size if dream else size)
            writer.append_data(np.asarray(picture))
            thumbnails.add(picture)
    _write_gif(paths[1], thumbnails, fps)
    return Film(paths, tuple(returns[: episode + 1]), thumbnails.seen)


def watch_live(
    path: str | Path,
    *,
    episodes: int = 1,
    steps: int = 1000,
    stochastic: bool = False,
    seed: int = 20_000,
    best: bool = False,
    average: bool = False,
    imports: Collection[str] = (),
) -> tuple[float, ...]:
    """Show ``episodes`` of the trained policy in a window that the task opens; nothing is written. Arguments are those of :func:`watch`.

    Returns:
        Return of each episode.

    Raises:
        RunError: there is no run or no model, or no window can be opened here.
    """
    run = RunDirectory.open(path)
    config = load_config(run, imports)
    if not has_display():
        raise RunError("there is no display here, so no window can be opened; leave --live out to film it")
    run = with_model(run, config, best, average)
    returns = [0.0] * episodes
    with trained(run, config) as session, _window(config) as env:
        seen = session.eyes.wrap_one(env)
        for episode, reward in islice(_played(session, seen, episodes, seed, stochastic), steps):
            returns[episode] += reward
    return tuple(returns[: episode + 1])


@contextmanager
def _window(config: RunConfig) -> Iterator[Any]:
    """The task in a window; what its library says of a display that can't be used is one sentence."""
    env = make_drawn(config.env, config.env_kwargs, "human")
    try:
        yield env
    except RunError:
        raise
    except Exception as error:  # OpenGL, pygame and the task's own drawing fail in their own ways
        raise RunError(f"{config.env} can't be shown in a window here ({one_line(error)[:200]}); leave --live out to film it") from error
    finally:
        env.close()


def _played(session: Session, env: Any, episodes: int, seed: int, stochastic: bool) -> Iterator[tuple[int, float]]:
    """The number of the episode, and the reward, of each step."""
    for episode in range(episodes):
        for reward in acted(session, env, seed + episode, stochastic):
            yield episode, reward


class _Thumbnails:
    """Every n-th frame of a film, small, for the GIF. At most twice ``GIF_FRAMES`` are kept, however long the film is."""

    def __init__(self) -> None:
        self.pictures: list[Image.Image] = []
        self.seen, self.every = 0, 1

    def add(self, picture: Image.Image) -> None:
        if self.seen % self.every == 0:
            if len(self.pictures) == 2 * GIF_FRAMES:
                self.pictures, self.every = self.pictures[::2], 2 * self.every
            self.pictures.append(picture.resize((GIF_WIDTHS[0], max(1, round(picture.height * GIF_WIDTHS[0] / picture.width)))))
        self.seen += 1


def _frames(
    run: RunDirectory, config: RunConfig, episodes: int, steps: int, stochastic: bool, seed: int
) -> Iterator[tuple[int, float, np.ndarray]]:
    """The number of the episode, the reward and the picture of each step."""
    with trained(run, config) as session:
        env = make_drawn(config.env, config.env_kwargs)
        follow(env)
        try:
            seen = session.eyes.wrap_one(env)
            for episode, reward in islice(_played(session, seen, episodes, seed, stochastic), steps):
                yield episode, reward, rendered(env, config.env, "genrl watch RUN")
        finally:
            env.close()


def _told(played: Iterator[tuple[int, float, np.ndarray]], steps: int) -> Iterator[tuple[int, float, np.ndarray]]:
    """``played``, with a line on stderr for each ten seconds: a step of MuJoCo is soon made and slowly drawn."""
    shown = time.perf_counter()
    for made, step in enumerate(played):
        if (now := time.perf_counter()) - shown >= SECONDS_BETWEEN_LINES:
            shown = now
            print(f"{made:,} frames, of at most {steps:,}", file=sys.stderr, flush=True)
        yield step


def _resized(frame: np.ndarray, width: int) -> Image.Image:
    """The frame resized to ``width``, with an even height, which H.264 needs."""
    height = round(frame.shape[0] * width / frame.shape[1] / 2) * 2
    return Image.fromarray(frame).resize((width // 2 * 2, max(2, height)), Image.Resampling.LANCZOS)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary name with the ending of ``path``, by which ffmpeg knows what to write, renamed to it when that is complete. Neither
    Ctrl-C nor SIGTERM leaves it behind."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    try:
        with terminable():
            yield Path(name)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _writer(path: Path, fps: int) -> Any:
    import imageio.v2 as imageio

    return imageio.get_writer(path, fps=fps, macro_block_size=2, quality=8)


def _write_gif(path: Path, thumbnails: _Thumbnails, fps: int) -> None:
    """Write at most ``GIF_FRAMES`` frames, as wide as ``GIF_BYTES`` lets them be."""
    stride = -(-len(thumbnails.pictures) // GIF_FRAMES)
    chosen = thumbnails.pictures[::stride]
    milliseconds = max(20, round(1000 * thumbnails.every * stride / fps))
    for width in GIF_WIDTHS:
        height = max(1, round(chosen[0].height * width / chosen[0].width))
        first, *others = [picture.resize((width, height)).quantize(64) for picture in chosen]
        with _whole(path) as temporary:
            first.save(temporary, save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
        if path.stat().st_size < GIF_BYTES:
            return
