"""The directory of a study that nobody trained: the files that runs would have left, with made-up numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrl.runs.directory import RunDirectory
from genrl.studies.cells import CellState
from genrl.studies.directory import FORMAT
from genrl.studies.matrix import Cell, Study

__all__ = ["make_study"]

STEPS = 50_000
ABOUT = {"versions": {"genrl-toolkit": "0.1.0", "torch": "2.13.0+cpu"}, "machine": {"system": "Linux-6", "cpus": 2, "threads": 1}}


def make_study(
    directory: Path,
    tasks: Sequence[str] = ("car", "pole"),
    methods: Sequence[str] = ("none", "vime", "rnd"),
    seeds: int = 10,
    *,
    title: str = "",
    threshold: float | None = 0.9,
    reference: tuple[float, float] | None = None,
    milestones: Sequence[int] = (),
    episodes: int = 60,
    coverage: bool = True,
    envs: Sequence[str] = (),
    status: Callable[[Cell], str] = lambda cell: "finished",
) -> Study:
    """Write tasks × methods × seeds; later methods are better.

    Args:
        directory: of the study.
        tasks: names; the environments are made up.
        methods: names; the first is the baseline.
        seeds: runs of each.
        title: of the report.
        threshold: of every task.
        reference: of every task.
        milestones: steps.
        episodes: of each run.
        coverage: whether the runs have counted where they were.
        envs: the environment of each task; by default made up.
        status: of a cell: `finished`, `failed`, `stopped`, `waiting`, `running`, or `nan` (finished, with a return that is none).
    """
    text = _toml(tasks, methods, seeds, envs=envs, title=title, threshold=threshold, reference=reference, milestones=milestones)
    study = Study.parse(text, directory.name, directory)
    directory.mkdir(parents=True)
    (directory / "study.toml").write_text(text)
    about = {"format": FORMAT, "token": "0", "name": directory.name, "file": f"{directory.name}.toml"}
    (directory / "study.json").write_text(json.dumps(about))
    for number, cell in enumerate(study.cells):
        _write_cell(cell, status(cell), list(methods).index(cell.method), np.random.default_rng(number), episodes, coverage)
    return study


def _toml(tasks: Sequence[str], methods: Sequence[str], seeds: int, **values: Any) -> str:
    title, threshold, reference = values["title"], values["threshold"], values["reference"]
    lines = ["[study]", f"seeds = {seeds}", 'score = "training_return"', f"milestones = {list(values['milestones'])}"]
    lines += [f"title = {json.dumps(title)}", "[run]", f"steps = {STEPS}"]
    for number, name in enumerate(tasks):
        lines += [f"[tasks.{json.dumps(name)}]", f'env = "{values["envs"][number] if values["envs"] else f"synthetic/Task{number}-v0"}"']
        lines += [f"threshold = {threshold}"] * (threshold is not None) + [f"reference = {list(reference or ())}"] * (reference is not None)
    for number, name in enumerate(methods):
        lines += [f"[methods.{json.dumps(name)}]", f'reward = "{"vime" if number else "none"}"', f"weight = {number + 1}e-3"]
    return "\n".join(lines) + "\n"


def _write_cell(cell: Cell, status: str, rank: int, rng: np.random.Generator, episodes: int, coverage: bool) -> None:
    run, state = RunDirectory(cell.path), CellState(cell.path)
    if status == "failed":
        state.change(failures=["ValueError: it <b>broke</b>"] * 3)
    if status == "running":
        state.change(runner={"host": "another machine", "pid": 1})
    if status in ("waiting", "running"):
        return
    run.path.mkdir(parents=True)
    run.config.write_text(json.dumps(cell.config.to_dict() | {"about": ABOUT}))
    if status in ("stopped", "failed"):
        return
    steps = np.linspace(0, STEPS, episodes + 1)[1:].astype(int)
    returns = _returns(rank, rng, episodes)
    if status == "nan":
        returns[episodes // 2] = np.nan
    rows = [f"{step},0,{value:.6f},200,{step / 3000:.3f}" for step, value in zip(steps, returns, strict=True)]
    run.episodes.write_text("\n".join([",".join(run.EPISODE_COLUMNS), *rows]) + "\n")
    visited = _write_coverage(run, rank, rng) if coverage else None
    run.result.write_text(json.dumps(_result(cell, steps, returns, visited)))


def _returns(rank: int, rng: np.random.Generator, episodes: int) -> np.ndarray:
    """0 until the reward is found, then near 1."""
    found = rng.uniform(0.1, 1.3 - min(rank, 9) / 10)
    learned = 1 / (1 + np.exp(-20 * (np.linspace(0, 1, episodes) - found)))
    returns: np.ndarray = (rng.random(episodes) < learned).astype(float)
    return returns


def _write_coverage(run: RunDirectory, rank: int, rng: np.random.Generator) -> dict[str, Any]:
    counts, *edges = np.histogram2d(*rng.normal(0, 0.3 + 0.05 * rank, (2, 3000)), bins=32, range=[[-2, 2], [-2, 2]])
    np.savez_compressed(run.coverage, counts=counts.astype(np.int64), names=np.array(["x", "y"]), edges_x=edges[0], edges_y=edges[1])
    return {"names": ["x", "y"], "bins": int(np.count_nonzero(counts)), "bin_widths": [0.125, 0.125]}


def _result(cell: Cell, steps: np.ndarray, returns: np.ndarray, coverage: dict[str, Any] | None) -> dict[str, Any]:
    last = float(returns[-20:].mean())
    return {
        "status": "finished", "error": None, "diverged": False, "env": cell.config.env, "learner": cell.config.learner,
        "reward": cell.config.reward, "seed": cell.seed, "steps": STEPS, "seconds": 16.5, "steps_per_second": 3000.0,
        "episodes": len(steps), "first_reward_step": int(steps[returns > 0][0]) if (returns > 0).any() else None,
        "training_return": last if np.isfinite(last) else None, "evaluation_return": round(last), "evaluation_returns": [round(last)] * 2,
        "evaluation_error": None, "bonus_mean": 1.0, "coverage": coverage, "task_coverage": None, "peak_rss_mb": 300.0,
    }  # fmt: skip
