"""Runs that are killed at random moments and resumed, again and again, end as the run that nobody killed.

`GENRL_KILLS=60 pytest tests/runs/test_kills.py -m slow` kills each run more often.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runs.same_directory import assert_same_directory

KILLS = int(os.environ.get("GENRL_KILLS", "12"))
"""Kills over all runs, at least."""
SMALL_PPO = ["--learner", "ppo", "--learner.n-steps", "64", "--learner.batch-size", "32", "--learner.n-epochs", "2"]
SMALL_SAC = ["--learner", "sac", "--learner.learning-starts", "32", "--learner.batch-size", "16", "--learner.buffer-size", "500"]
EXPLORE = ["explore", "--env", "Pendulum-v1", "--no-pictures", "--eval-episodes", "1", "--checkpoint-every", "0"]
GENERATE = ["generate", "--no-pictures", "--judge-images", "0", "--epochs", "4"]
RUNS: dict[str, list[str]] = {
    "ppo, vime": [*EXPLORE, *SMALL_PPO, "--reward", "vime", "--steps", "1024"],
    "ppo, rnd, normalised": [*EXPLORE, *SMALL_PPO, "--reward", "rnd", "--n-envs", "2", "--normalize-obs", "--steps", "2048"],
    "sac, disagreement": [*EXPLORE, *SMALL_SAC, "--reward", "disagreement", "--update-every", "50", "--steps", "300"],
    "vae": [*GENERATE, "--model", "vae"],
    "gan": [*GENERATE, "--model", "gan"],
}


def start(words: list[str], resumed: bool, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from genrl.cli import main; sys.exit(main())"]
    command += ["resume", str(out)] if resumed else [*words, "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)


def finish(process: subprocess.Popen[bytes]) -> None:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RUNS))
def test_a_run_that_is_killed_at_random_ends_as_one_that_is_not(name: str, tmp_path: Path) -> None:
    words, rng = list(RUNS[name]), random.Random(name)
    if words[0] == "generate":
        words += ["--data", str(images(tmp_path / "images.npz"))]
    begun = time.monotonic()
    finish(start(words, False, tmp_path / "whole"))
    seconds = time.monotonic() - begun
    killed = tmp_path / "killed"
    for _ in range(-(-KILLS // len(RUNS))):
        process = start(words, (killed / "config.json").is_file(), killed)
        try:
            process.wait(rng.uniform(0.2, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    if not done(killed):
        finish(start(words, (killed / "config.json").is_file(), killed))
    assert_same_directory(tmp_path / "whole", killed)


def done(run: Path) -> bool:
    """Whether nothing is left to do."""
    process = start([], True, run)
    said, _ = process.communicate(timeout=600)
    return process.returncode == 0 or b"has all its" in said


def images(path: Path) -> Path:
    """A few hundred small images."""
    import numpy as np

    made: Any = np.random.default_rng(0).integers(0, 256, (400, 28, 28), dtype=np.uint8)
    np.savez(path, images=made)
    return path
