"""A study of four runs of a second, and its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrl.studies import Study, read_study

TOML = """
[study]
seeds = 2
score = "training_return"
milestones = [256]

[run]
steps = 1024
learner = "ppo"
learner_kwargs = { n_steps = 128, batch_size = 64, n_epochs = 2, net_arch = [8] }
eval_episodes = 1
checkpoint_every = 0.0

[tasks.pendulum]
env = "Pendulum-v1"
threshold = -2000.0

[methods.none]
reward = "none"

[methods.rnd]
reward = "rnd"
"""


def study(directory: Path, text: str = TOML) -> Study:
    return Study.parse(text, "tiny", directory, "tiny.toml")


def numbers(directory: Path) -> dict[str, Any]:
    """All that the same run must give again, cell for cell."""
    return {
        item.cell.label: (item.status, item.result.get("training_return"), item.result.get("evaluation_returns"), item.episodes.tolist())
        for item in read_study(directory).cells
    }
