"""What it costs that nothing is lost: a run of PPO with checkpoints and a limit on its steps, over one without either.

Seconds of the processor, of one torch thread, with those of the process that oversees the steps; the sides take turns. Writes
demos/results/bench_runs.json.

    python demos/bench_runs.py          # about three minutes of one core
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measured import spread, write

from genrl.runs import ExploreConfig, explore
from genrl.runs import training as runs

SIDES: dict[str, dict[str, Any]] = {
    "checkpoints every 60 s, as by default": {},
    "checkpoints every 5 s and --step-timeout 60": {"step_timeout": 60.0, "checkpoint_every": 5.0},
}
"""What is compared with a run that saves nothing at all, neither at its start nor at its end."""
PPO = {"n_envs": 8, "learner_kwargs": {"n_steps": 256, "batch_size": 256, "n_epochs": 4}}
"""Settings with which a step costs little, so that what is measured weighs more."""


def seconds(steps: int, env: str, saves: bool, **changes: Any) -> float:
    """Processor seconds of one run."""
    folder = Path(tempfile.mkdtemp())
    before = _spent()
    with mock.patch.object(runs, "save_checkpoint", runs.save_checkpoint if saves else lambda *arguments: None):
        about: dict[str, Any] = {"env": env, "learner": "ppo", "reward": "none", "steps": steps, "eval_episodes": 0, "pictures": False}
        result = explore(ExploreConfig(**about | PPO | changes, out=folder / "run"), quiet=True)
    assert result["status"] == "finished", result["error"]
    shutil.rmtree(folder)
    return _spent() - before


def _spent() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="times that each side is measured (default: 5)")
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps of each run (default: 50,000)")
    parser.add_argument("--env", default="HalfCheetah-v5", help="the task (default: HalfCheetah-v5)")
    flags = parser.parse_args()
    seconds(4096, flags.env, True)  # imports, and first touches
    bare: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for repeat in range(flags.repeats):
        order = ["bare", *SIDES]
        for name in order[repeat % len(order) :] + order[: repeat % len(order)]:
            (bare if name == "bare" else times[name]).append(seconds(flags.steps, flags.env, name != "bare", **SIDES.get(name, {})))
        print(
            f"repeat {repeat + 1} of {flags.repeats}:",
            [round(bare[-1], 2), *(round(values[-1], 2) for values in times.values())],
            flush=True,
        )
    ratios = {name: spread([mine / other for mine, other in zip(values, bare, strict=True)]) for name, values in times.items()}
    found = {"env": flags.env, "steps": flags.steps, "repeats": flags.repeats, "seconds_without": statistics.median(bare)}
    write("bench_runs", found | {"processor_time_over_a_run_that_saves_nothing": ratios})


if __name__ == "__main__":
    main()
