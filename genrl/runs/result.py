"""What a run leaves behind: the model and its companions, result.json and the pictures."""

from __future__ import annotations

import io
import resource
import sys
from typing import Any

import numpy as np

from genrl.models.state import save_state, write_whole
from genrl.runs import pictures
from genrl.runs.callbacks import Recorder
from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory, read_csv
from genrl.runs.interrupt import Interrupt
from genrl.runs.rollout import evaluate
from genrl.runs.session import Session

__all__ = ["write_artefacts", "write_result"]

EVALUATION_SEED = 10_000
"""Seed of the first evaluation episode; training seeds are small, so the episodes are others."""


def write_artefacts(session: Session, run: RunDirectory, recorder: Recorder, state: dict[str, Any]) -> None:
    """model.zip as SB3 saves it (it loads without genrl), the reward, the normalisation and the visited histogram."""
    buffer = io.BytesIO()
    session.learner.save(buffer)
    write_whole(run.model, buffer.getvalue())
    if state["reward"] is not None:
        save_state(run.reward, state["reward"])
    if state["vecnormalize"] is not None:
        save_state(run.vecnormalize, state["vecnormalize"])
    if recorder.coverage is not None:
        write_coverage(run, recorder.coverage)


def write_coverage(run: RunDirectory, coverage: Coverage) -> None:
    """The histogram: ``counts``, and the names and edges of its axes."""
    axes = {f"edges_{name}": edges for name, edges in zip("xy", coverage.edges(), strict=False)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, counts=coverage.counts, names=np.array(coverage.names), **axes)
    write_whole(run.coverage, buffer.getvalue())


def write_result(
    session: Session, run: RunDirectory, recorder: Recorder, status: str, error: str | None, steps_now: int, interrupt: Interrupt
) -> dict[str, Any]:
    """Evaluate (a finished run), draw, and write result.json."""
    recorder.flush()
    steps, seconds, seconds_now = session.learner.num_timesteps, recorder.seconds, recorder.seconds - recorder.seconds_before
    episodes = run.read_episodes()
    returns = [float(row["return"]) for row in episodes]
    evaluation = evaluate(session, EVALUATION_SEED, interrupt) if status == "finished" and session.config.eval_episodes else []
    result = {
        "status": status,
        "error": error,
        "env": session.config.env,
        "learner": session.config.learner,
        "reward": session.config.reward,
        "seed": session.config.seed,
        "steps": steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(steps_now / seconds_now, 1) if seconds_now else None,
        "episodes": len(episodes),
        "first_reward_step": recorder.first_reward_step,
        "training_return": _mean(returns[-20:]),
        "evaluation_return": _mean(evaluation),
        "evaluation_returns": evaluation,
        "bonus_mean": _bonus_mean(run),
        "coverage": _coverage(recorder.coverage),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2), 1),
    }
    run.write_json(run.result, result)
    if session.config.pictures:
        pictures.draw(run)
    return result


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _bonus_mean(run: RunDirectory) -> float | None:
    rows = read_csv(run.progress) if run.progress.is_file() else []
    return _mean([float(row["reward/bonus_mean"]) for row in rows if row.get("reward/bonus_mean")])


def _coverage(coverage: Coverage | None) -> dict[str, Any] | None:
    if coverage is None:
        return None
    return {"names": list(coverage.names), "bins": coverage.visited, "bin_widths": coverage.width.tolist()}
