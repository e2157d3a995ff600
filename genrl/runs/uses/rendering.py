"""The picture that a task draws of itself, on machines with and without a display."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from genrl.errors import RunError, one_line
from genrl.runs.environments.make import make_env

__all__ = ["check_draws", "choose_backend", "follow", "has_display", "make_drawn", "rendered"]


def make_drawn(env_id: str, env_kwargs: Mapping[str, Any], mode: str = "rgb_array") -> gymnasium.Env[Any, Any]:
    """The task, made to draw itself in a render mode.

    Raises:
        RunError: it has no such mode, or can't be made.
    """
    plain = make_env(env_id, env_kwargs)
    plain.close()
    check_draws(plain, env_id, mode)
    return make_env(env_id, env_kwargs, render_mode=mode)


def check_draws(env: gymnasium.Env[Any, Any], env_id: str, mode: str = "rgb_array") -> None:
    """Refuse a task that can't draw itself in a render mode, before it is made to.

    Raises:
        RunError: says what it lacks.
    """
    modes = env.metadata.get("render_modes") or []
    if mode not in modes:
        has = f"its render modes are {', '.join(modes)}" if modes else "it has no render modes"
        raise RunError(
            f"{env_id} can't be drawn: {has}, and {mode} is needed; give its class metadata = {{'render_modes': ['{mode}']}}, "
            f"a constructor that takes render_mode, and a render()"
        )


def follow(env: gymnasium.Env[Any, Any]) -> None:
    """Let the camera of a MuJoCo robot go with it, from where the task put it; a task that looks at a place goes on doing so."""
    renderer = getattr(env.unwrapped, "mujoco_renderer", None)
    if renderer is None or getattr(env.unwrapped, "camera_id", None) is not None or getattr(env.unwrapped, "camera_name", None) is not None:
        return
    chosen = dict(renderer.default_cam_config or {})
    body = chosen.get("trackbodyid", 0 if "lookat" in chosen else 1)
    if body < 1:  # the world
        return
    import mujoco

    # gymnasium/envs/mujoco/mujoco_rendering.py: a camera that nobody named stands still in each frame; None keeps its type.
    renderer.default_cam_config = chosen | {"type": mujoco.mjtCamera.mjCAMERA_TRACKING, "trackbodyid": body}
    renderer.camera_id = None


def rendered(env: Any, name: str, command: str) -> np.ndarray:
    """The current frame, uint8, ``(height, width, 3)``.

    Args:
        env: made with the render mode rgb_array.
        name: name of the task, for the error.
        command: what was typed, for the advice.

    Raises:
        RunError: it can't be drawn here.
    """
    try:
        frame = env.render()
    except Exception as error:  # OpenGL, pygame and the task's own drawing fail in their own ways
        said = one_line(error)[:200].partition(", run `pip install")[0]  # Gymnasium's own remedy, which is the same
        raise RunError(f"{name} can't be drawn here ({said}); {_install_hint(error, command)}") from error
    if frame is None:
        raise RunError(f"{name} draws nothing in the render mode rgb_array; choose another task, or let its render() return an array")
    return np.asarray(frame, dtype=np.uint8)


def _install_hint(error: BaseException, command: str) -> str:
    if isinstance(error, NotImplementedError):  # gymnasium/core.py, Env.render
        return "give its class a render()"
    text = str(error).lower()
    if "pygame" in text or "no module" in text:
        return "type: pip install 'gymnasium[classic-control]'"
    return f"type: apt-get install libosmesa6, then MUJOCO_GL=osmesa {command}"


def has_display() -> bool:
    """Whether this machine, or the one that one sits at, has a screen for windows."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def choose_backend(env: str, env_kwargs: Mapping[str, Any], command: str) -> None:
    """Pick MuJoCo's off-screen renderer that works on a machine without a display: EGL, else OSMesa. Another task needs none.

    Args:
        env: the task.
        env_kwargs: its keywords.
        command: what was typed, for the advice.

    Raises:
        RunError: none works, or there is no such task.
    """
    if has_display():
        return
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    asked = os.environ.get("MUJOCO_GL")
    needed = _needs_mujoco(env, env_kwargs, asked)
    for backend in [asked] if asked else ["egl", "osmesa"]:
        if _works(backend):
            os.environ["MUJOCO_GL"] = backend
            return
    if not needed:
        return
    what = f"MUJOCO_GL={asked} does not work" if asked else "neither EGL nor OSMesa is installed"
    raise RunError(
        f"{env} can't be drawn without a display: {what}; type: apt-get install libegl1 (or libosmesa6, then MUJOCO_GL=osmesa {command})"
    )


def _needs_mujoco(name: str, env_kwargs: Mapping[str, Any], asked: str | None) -> bool:
    """Whether the task, or one that it holds, draws with MuJoCo."""
    try:
        env = make_env(name, env_kwargs).unwrapped
    except RunError:
        if asked and not _works(asked):
            return True  # with a MUJOCO_GL that does not work, MuJoCo can't even be imported
        raise
    needed = any(hasattr(part, "mujoco_renderer") for part in (env, *vars(env).values()))
    env.close()
    return needed


def _works(backend: str) -> bool:
    """Whether MuJoCo can draw with ``backend``; asked in another process, where a failure breaks nothing."""
    code = (
        "import mujoco; m = mujoco.MjModel.from_xml_string('<mujoco/>'); "
        "r = mujoco.Renderer(m, 32, 32); r.update_scene(mujoco.MjData(m)); r.render()"
    )
    environment = {**os.environ, "MUJOCO_GL": backend}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60, check=False).returncode == 0
