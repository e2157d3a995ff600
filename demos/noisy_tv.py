"""How much of each bonus a television that shows noise earns, in NoisyTVMountainCar, where every reward learns from the same behaviour.

The agent holds a remote control: a step on which it presses the button draws four new channels, a quiet step keeps them. The share of the
bonus b that goes to the noise is what pressed steps earn above quiet ones: Σ (b − mean of quiet b) over pressed steps / Σ b over all steps.

    python demos/noisy_tv.py    # a few minutes; writes demos/results/noisy_tv.json
"""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium
import numpy as np
import torch
from measured import read, spread, write

import genrl  # noqa: F401  (registers the task)
from genrl.rewards import (
    ICM,
    RND,
    VIME,
    Disagreement,
    PredictionError,
    RewardModel,
    SimHashCounts,
    StateEntropy,
    TransitionPool,
    Transitions,
)

ENV = "genrl/NoisyTVMountainCar-v0"
ROLLOUTS, STEPS, SEEDS = 60, 1024, 10
METHODS: dict[str, tuple[type[RewardModel], dict[str, Any]]] = {
    "prediction-error": (PredictionError, {}),
    "vime": (VIME, {}),
    "vime-realised": (VIME, {"gain": "realised"}),
    "vime-released": (VIME, {"preset": "released"}),
    "vime-uncapped": (VIME, {"gain": "realised", "max_bonus": 1e9}),
    "vime-one-width": (VIME, {"gain": "realised", "learn_likelihood": False, "likelihood_std": 0.2}),
    "disagreement": (Disagreement, {}),
    "icm": (ICM, {}),
    "rnd": (RND, {}),
    "state-entropy": (StateEntropy, {}),
    "counts": (SimHashCounts, {}),
}


def behaviour(env: gymnasium.Env, seed: int) -> Transitions:
    """Transitions of random actions, each held for 8 steps so that the car moves; a coin decides on the button at every step."""
    obs, _ = env.reset(seed=seed)
    env.action_space.seed(seed)
    rows = []
    held = env.action_space.sample()
    for step in range(ROLLOUTS * STEPS):
        fresh = env.action_space.sample()
        held = fresh if step % 8 == 0 else held
        action = np.append(held[:-1], fresh[-1])
        next_obs, _, terminated, truncated, _ = env.step(action)
        rows.append((obs, action, next_obs, terminated))
        obs = env.reset()[0] if terminated or truncated else next_obs
    obs_, action_, next_obs_, terminated_ = (torch.as_tensor(np.array(field)) for field in zip(*rows, strict=True))
    return Transitions(obs_.float(), action_.float(), next_obs_.float(), terminated_)


def share_on_noise(reward: RewardModel, data: Transitions) -> float:
    """Share of the bonus of the second half of the rollouts that pressed steps earn above quiet ones."""
    pool, above, total = TransitionPool(100_000), 0.0, 0.0
    for rollout in range(ROLLOUTS):
        batch = data.rows(slice(rollout * STEPS, (rollout + 1) * STEPS))
        pool.add(batch)
        bonus = reward.train()(batch)
        reward.update(pool)
        if rollout >= ROLLOUTS // 2:
            pressed = batch.action[:, -1] > 0
            above += float((bonus[pressed] - bonus[~pressed].mean()).sum())
            total += float(bonus.sum())
    return above / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rewards",
        nargs="+",
        choices=METHODS,
        metavar="REWARD",
        default=list(METHODS),
        help=f"measure these, and keep what the file says of the others; of {', '.join(METHODS)} (default: all)",
    )
    chosen = parser.parse_args().rewards
    torch.set_num_threads(1)
    env = gymnasium.make(ENV)
    before = read("noisy_tv").get("methods", {})
    shares: dict[str, list[float]] = {name: [] if name in chosen else before[name]["shares"] for name in METHODS}
    for seed in range(SEEDS):
        data = behaviour(env, seed)
        for name in chosen:
            reward, keywords = METHODS[name]
            shares[name].append(share_on_noise(reward(env.observation_space, env.action_space, seed=seed, **keywords), data))
        print(f"seed {seed}:", {name: round(shares[name][-1], 3) for name in chosen}, flush=True)
    reference = statistics.median(shares["prediction-error"])
    methods = {
        name: {
            **spread(values),
            "shares": values,
            "of_prediction_errors": statistics.median(values) / reference,
            "seeds_at_most_a_third": sum(value <= reference / 3 for value in values),
        }
        for name, values in shares.items()
    }
    write("noisy_tv", {"env": ENV, "rollouts": ROLLOUTS, "steps_a_rollout": STEPS, "seeds": SEEDS, "methods": methods})


if __name__ == "__main__":
    main()
