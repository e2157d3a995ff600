"""Settings of the runs that demos/bench_dreams.py measures: for each name the task, its target and what differs from the defaults."""

from __future__ import annotations

from typing import Any

__all__ = ["OFF_POLICY_TASKS", "PPO_TASKS"]

ALONE = "_alone"
"""Ending of the name of a run whose learner has no dream."""

WIDE: dict[str, Any] = {"n_envs": 512, "batch_size": 2048}
"""A wide dream, in which a gradient step has many rows, and so few steps are enough."""
CAREFUL: dict[str, Any] = {"learning_rate": 1e-3, "n_epochs": 5, "target_kl": 0.03}
"""Large steps, of which a rollout takes no more once the policy has moved far."""
CHEETAH: dict[str, Any] = {
    "env": "HalfCheetah-v5",
    "target": 3000.0,
    "steps": 40_000,
    "look": 2000,
    "practice": {"dreamed_steps": 300_000, "every": 1000, "horizon": 20, "fit": {"max_steps": 600}, **WIDE},
    "ppo": {**CAREFUL, "gamma": 0.98, "gae_lambda": 0.92, "n_steps": 1000, "batch_size": 500, "policy_kwargs": {"log_std_init": -1.0}},
    "normalize": {"norm_obs": True, "norm_reward": True, "gamma": 0.98},
}
LEAPER: dict[str, Any] = {
    "env": "Hopper-v5",
    "target": 1000.0,
    "steps": 16_000,
    "look": 2000,
    "practice": {"dreamed_steps": 300_000, "every": 1000, "horizon": 50, "margin": 1.0, "fit": {"max_steps": 600}, **WIDE},
    "ppo": {**CAREFUL, "gamma": 0.99, "n_steps": 1000, "batch_size": 500, "policy_kwargs": {"log_std_init": -1.0}},
    "normalize": {"norm_obs": True, "norm_reward": True, "gamma": 0.99},
}
"""A discount of 0.99, by which to leap and fall, 3 a step for 70 steps, is worth more than to stand, 1 a step for good."""

DREAMT: dict[str, dict[str, Any]] = {
    "inverted_pendulum": {
        "env": "InvertedPendulum-v5",
        "target": 1000.0,
        "steps": 2500,
        "practice": {"dreamed_steps": 200_000, "horizon": 40, "n_steps": 40, "margin": 1.0, "fit": {"max_steps": 500}},
        "ppo": {"gamma": 0.99, "policy_kwargs": {"log_std_init": -0.5}},
        "normalize": None,
    },
    "pendulum": {
        "env": "Pendulum-v1",
        "target": -200.0,
        "steps": 3000,
        "practice": {"dreamed_steps": 150_000, "horizon": 60, "fit": {"max_steps": 500}},
        "ppo": {"learning_rate": 1e-3, "gamma": 0.95},
        "normalize": {"norm_obs": False, "norm_reward": True, "gamma": 0.95},
    },
    "half_cheetah": CHEETAH,
    "half_cheetah_50": CHEETAH | {"practice": CHEETAH["practice"] | {"horizon": 50}},
    "half_cheetah_60k": CHEETAH | {"target": 8000.0, "steps": 60_000},
    "cartpole_swingup": {
        "env": "genrl/CartpoleSwingup-v0",
        "target": 700.0,
        "steps": 10_000,
        "look": 500,
        "practice": {"dreamed_steps": 200_000, "horizon": 100, "fit": {"max_steps": 500}, **WIDE},
        "ppo": {**CAREFUL, "gamma": 0.99, "batch_size": 250},
        "normalize": {"norm_obs": False, "norm_reward": True, "gamma": 0.99},
    },
    "hopper": LEAPER
    | {
        "steps": 40_000,
        "practice": LEAPER["practice"] | {"horizon": 100},
        "ppo": LEAPER["ppo"] | {"gamma": 0.999, "gae_lambda": 0.99, "policy_kwargs": {"log_std_init": -2.0}},
        "normalize": LEAPER["normalize"] | {"gamma": 0.999},
    },
    "hopper_leaps": LEAPER,
    "reacher": {
        "env": "Reacher-v5",
        "target": -4.7,
        "steps": 10_000,
        "look": 1000,
        "practice": {"dreamed_steps": 200_000, "every": 1000, "horizon": 50, "fit": {"max_steps": 500}, **WIDE},
        "ppo": {**CAREFUL, "gamma": 0.95, "n_steps": 1000, "batch_size": 500, "policy_kwargs": {"log_std_init": -1.0}},
        "normalize": {"norm_obs": True, "norm_reward": True, "gamma": 0.95},
    },
}
CONTROLS = {"shuffled": "shuffled actions", "untrained": "an untrained model"}
"""Models that know nothing, by the endings of the names of their runs: one is told the actions of other rows, one is not trained."""
PPO_TASKS: dict[str, dict[str, Any]] = {
    **DREAMT,
    **{f"{name}{ALONE}": task | {"practice": None, "look": task.get("look", 500)} for name, task in DREAMT.items()},
    **{f"pendulum_{world}": DREAMT["pendulum"] | {"world": world} for world in CONTROLS},
}
"""PPO, in dreams between its real rollouts; the same learner alone; and in the dreams of models that know nothing."""

IMAGINED: dict[str, Any] = {"share": 0.9, "every": 250, "start": 250, "branches": 5000, "fit": {"max_steps": 500}}
PENDULUM: dict[str, Any] = {"env": "Pendulum-v1", "target": -200.0, "steps": 3000, "updates": 5}
INVERTED: dict[str, Any] = {"env": "InvertedPendulum-v5", "target": 1000.0, "steps": 5000, "updates": 5, "look": 250, "stops": True}
HOPPER: dict[str, Any] = {
    "env": "Hopper-v5",
    "target": 1000.0,
    "steps": 20_000,
    "learner": "CrossQ",
    "updates": 1,
    "look": 2000,
    "settings": {"learning_starts": 1000, "net_arch": [256, 256]},
}
WITH_IMAGINATION: dict[str, dict[str, Any]] = {
    "alone": {"imagination": None},
    "imagination": {"imagination": IMAGINED},
    "shuffled": {"imagination": IMAGINED, "world": "shuffled"},
    "untrained": {"imagination": IMAGINED, "world": "untrained"},
    "untrained_believed": {"imagination": IMAGINED | {"least_skill": None}, "world": "untrained"},
}
OFF_POLICY_TASKS: dict[str, dict[str, Any]] = {
    **{f"pendulum_sac_{name}": PENDULUM | settings for name, settings in WITH_IMAGINATION.items()},
    "inverted_pendulum_sac": {**INVERTED, "imagination": None},
    "inverted_pendulum_sac_imagination": {**INVERTED, "imagination": IMAGINED},
    "cartpole_swingup_sac": {
        "env": "genrl/CartpoleSwingup-v0",
        "target": 700.0,
        "steps": 10_000,
        "updates": 1,
        "look": 1000,
        "imagination": None,
    },
    "half_cheetah_sac": {
        "env": "HalfCheetah-v5",
        "target": 3000.0,
        "steps": 40_000,
        "updates": 1,
        "look": 2000,
        "stops": True,
        "settings": {"learning_starts": 1000},
        "imagination": None,
    },
    "reacher_sac": {"env": "Reacher-v5", "target": -4.7, "steps": 30_000, "updates": 1, "look": 2500, "imagination": None},
    "hopper_crossq": {**HOPPER, "imagination": None},
    "hopper_crossq_imagination": {**HOPPER, "imagination": {"every": 500, "start": 1000, "branches": 10_000, "fit": {"max_steps": 500}}},
}
"""SAC or CrossQ, with a model's imagination in its batches or without; ``updates`` is the number of its updates a step."""
