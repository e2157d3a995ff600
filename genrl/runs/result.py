"""What a run leaves behind: the model and its companions, result.json and the pictures."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genrl.errors import RunError, StepTimeout, one_line
from genrl.files import save_state, write_json, write_whole
from genrl.reading import read_json
from genrl.roles import WORLDS
from genrl.runs import pictures
from genrl.runs.averages import mean
from genrl.runs.callbacks.evaluations import best_evaluation
from genrl.runs.callbacks.recorder import Recorder
from genrl.runs.config.run import RunConfig
from genrl.runs.coverage import Coverage
from genrl.runs.directory import RunDirectory, peak_rss_mb, read_csv
from genrl.runs.imitation.demonstrations import fingerprint
from genrl.runs.interrupt import Interrupt
from genrl.runs.opening import trained
from genrl.runs.play import evaluate
from genrl.runs.session import Session

__all__ = [
    "EVALUATION_INTERRUPTED",
    "Ending",
    "begin_imitation",
    "check_same_demonstrations",
    "evaluate_clone",
    "finish_result",
    "is_complete",
    "trained_result",
    "write_artefacts",
    "write_result",
]

EVALUATION_INTERRUPTED = "the evaluation was interrupted"
DRAWING_INTERRUPTED = "the drawing was interrupted"
OTHERS = {"averaged": "the last policies' mean", "best": "the best model"}
"""What else of a run is evaluated at its end."""


class Ending(NamedTuple):
    """How a training ended."""

    status: str
    """`finished`, `interrupted` or `failed`."""
    steps: int
    """Environment steps that it has made and, if it was interrupted, saved."""
    error: str | None = None
    """One sentence about what failed."""
    diverged: bool = False
    """Whether it met NaN or infinite numbers, which the same run would meet again."""


def write_artefacts(session: Session, run: RunDirectory, recorder: Recorder, state: dict[str, Any]) -> None:
    """model.zip as SB3 saves it (it loads without genrl), the files of the sockets, the normalisation and the visited histogram.

    Nothing of it is read by resume, which has the whole ``state`` in the checkpoint.
    """
    buffer = io.BytesIO()
    session.learner.save(buffer)
    write_whole(run.model, buffer.getvalue())
    for name, content in (item for plug in session.plugs for item in plug.files().items()):
        if content is None:
            (run.path / name).unlink(missing_ok=True)
        else:
            save_state(run.path / name, content)
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


def begin_imitation(session: Session, run: RunDirectory, interrupt: Interrupt) -> float:
    """Clone if asked to, and write down what the imitation is compared with: the returns of the expert and of the cloned policy.

    Returns:
        Seconds of cloning.
    """
    if session.loaded is None:
        return 0.0
    start = time.perf_counter()
    metrics = session.clone()
    seconds = time.perf_counter() - start
    demonstrations = session.loaded.demonstrations
    content: dict[str, Any] = {
        "demonstrations": Path(str(demonstrations.source)).name,
        "episodes": demonstrations.n_episodes,
        "pairs": demonstrations.n_steps,
        "expert_return": float(demonstrations.returns.mean()),
        "expert_return_std": float(demonstrations.returns.std()),
        "expert_return_min_max": [float(demonstrations.returns.min()), float(demonstrations.returns.max())],
        "disturbed": bool(demonstrations.metadata.get("disturb")),
        "demos_seed": getattr(session.config, "seed_of_demos", None),
        "choice": session.choice,
        "cloned_return": None,
        "cloning": metrics,
        "fingerprint": fingerprint(demonstrations),
    }
    write_json(run.imitation, content)
    evaluate_clone(session, run, interrupt)
    return seconds


def evaluate_clone(session: Session, run: RunDirectory, interrupt: Interrupt) -> None:
    """Write down the return of a cloned policy that has made no step, if it is not there: its evaluation may have been interrupted."""
    content = read_json(run.imitation) if session.loaded is not None and session.learner.num_timesteps == 0 else {}
    if not content.get("cloning") or content["cloned_return"] is not None or not session.config.eval_episodes:
        return
    try:
        returns = evaluate(session, interrupt)
    except StepTimeout:
        raise
    except Exception as failure:  # whatever a task or a policy may raise; the training will meet it again, or not
        warnings.warn(f"the cloned policy could not be evaluated ({type(failure).__name__}: {one_line(failure)})", stacklevel=2)
        return
    if len(returns) == session.config.eval_episodes:
        write_json(run.imitation, content | {"cloned_return": _mean(returns)})


def check_same_demonstrations(session: Session, run: RunDirectory) -> None:
    """Refuse to go on with other demonstrations than the run began with.

    Raises:
        RunError: they are others.
    """
    if session.loaded is None or not run.imitation.is_file():
        return
    known = read_json(run.imitation).get("fingerprint")
    if known is not None and known != fingerprint(session.loaded.demonstrations):
        demos = getattr(session.config, "demos", None)
        raise RunError(f"{demos} holds other demonstrations than {run.path} began with; say where those are now by --demos")


def write_result(session: Session, run: RunDirectory, recorder: Recorder, ending: Ending, steps_now: int) -> dict[str, Any]:
    """Write result.json before the evaluation, so that it is on the disk if the evaluation fails; :func:`finish_result` adds that."""
    recorder.flush()
    seconds, seconds_now = recorder.seconds, recorder.seconds - recorder.seconds_before
    episodes = run.read_episodes()
    returns = [float(row["return"]) for row in episodes]
    result: dict[str, Any] = {
        "status": ending.status,
        "error": ending.error,
        "diverged": ending.diverged,
        "env": session.config.env,
        **{role: getattr(session.config, role) for role in session.config.roles},
        "seed": session.config.seed,
        "steps": ending.steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(steps_now / seconds_now, 1) if steps_now and seconds_now else None,
        "episodes": len(episodes),
        "first_reward_step": recorder.first_reward_step if session.sees_returns else None,
        "training_return": _mean(returns[-20:]),
        "evaluation_return": None,
        "evaluation_returns": [],
        "evaluation_error": "it is not evaluated yet" if ending.status == "finished" and session.config.eval_episodes else None,
        "best": best_evaluation(run),
        "bonus_mean": _bonus_mean(run),
        "coverage": _coverage(recorder.coverage),
        "task_coverage": recorder.task_coverage,
        "peak_rss_mb": peak_rss_mb(),
    }
    result |= _imitation(run)
    write_json(run.result, result)
    return result


def finish_result(session: Session, run: RunDirectory, result: dict[str, Any], interrupt: Interrupt) -> dict[str, Any]:
    """Evaluate a finished run into result.json, and draw; what fails is its ``evaluation_error``, and `genrl resume` does it again."""
    evaluation: list[float] = []
    errors = []
    if result["status"] == "finished":
        try:
            evaluation = evaluate(session, interrupt) if session.config.eval_episodes else []
            if len(evaluation) < session.config.eval_episodes:
                errors.append(f"{EVALUATION_INTERRUPTED} after {len(evaluation)} of {session.config.eval_episodes} episodes")
            else:
                for whose, found in _of_others(session, run, interrupt):
                    result = result | {f"{whose}_return": _mean(found), f"{whose}_returns": found}
                    if len(found) < session.config.eval_episodes:
                        errors.append(f"{EVALUATION_INTERRUPTED} at {OTHERS[whose]}")
                        break
        except KeyboardInterrupt:  # the second one; the first is honoured at the next step
            return _add(run, result, [], [EVALUATION_INTERRUPTED])
        except Exception as failure:  # whatever a task or a policy may raise: the training is done and must be kept
            errors.append(f"the evaluation failed ({type(failure).__name__}: {one_line(failure)})")
    if session.config.pictures:
        try:
            pictures.draw(run)
        except KeyboardInterrupt:
            errors.append(DRAWING_INTERRUPTED)
        except Exception as failure:
            errors.append(f"the pictures could not be drawn ({type(failure).__name__}: {one_line(failure)})")
    return _add(run, result, evaluation, errors)


def _of_others(session: Session, run: RunDirectory, interrupt: Interrupt) -> Iterator[tuple[str, list[float]]]:
    """Returns of the mean of the last policies, and of the policy of the best evaluation, where a run has them: in the episodes of the last
    one, by which none was chosen.
    """
    if session.average is not None and session.config.eval_episodes:
        with session.average.applied(session.learner):
            returns = evaluate(session, interrupt)
        yield "averaged", returns
    if run.best.is_file() and session.config.eval_episodes:
        with trained(run.with_best(), session.config) as best:
            returns = evaluate(best, interrupt)
        yield "best", returns


def _add(run: RunDirectory, result: dict[str, Any], evaluation: list[float], errors: list[str]) -> dict[str, Any]:
    evaluated = {"evaluation_return": _mean(evaluation), "evaluation_returns": evaluation}
    result = result | evaluated | _imitation(run) | {"evaluation_error": "; ".join(errors) or None}
    write_json(run.result, result)
    return result


def trained_result(run: RunDirectory, steps: int) -> dict[str, Any] | None:
    """What is in result.json of a training that finished after ``steps``; ``None`` if it was written before, or not at all."""
    result = read_json(run.result) if run.result.is_file() else {}
    return result if (result.get("status"), result.get("steps")) == ("finished", steps) else None


def is_complete(run: RunDirectory, steps: int, config: RunConfig) -> bool:
    """Whether a run that was trained to its end, ``steps``, has its whole result too."""
    result = trained_result(run, steps)
    if result is None or result.get("evaluation_error") or (config.eval_episodes and not result["evaluation_returns"]):
        return False
    return WORLDS.is_empty(getattr(config, "world", None)) or "dream" in result


def _imitation(run: RunDirectory) -> dict[str, Any]:
    return {"imitation": read_json(run.imitation)} if run.imitation.is_file() else {}


def _mean(values: list[float]) -> float | None:
    return mean(values) if values else None


def _bonus_mean(run: RunDirectory) -> float | None:
    return _mean([float(row["reward/bonus_mean"]) for row in read_csv(run.progress) if row.get("reward/bonus_mean")])


def _coverage(coverage: Coverage | None) -> dict[str, Any] | None:
    """How much was visited; ``None`` where nothing could be counted, as in a dream of a task that tells its places in ``info`` alone."""
    if coverage is None or not coverage.counts.size:
        return None
    return {"names": list(coverage.names), "bins": coverage.visited, "bin_widths": coverage.width.tolist()}
