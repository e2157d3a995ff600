"""Speed, as ratios in one run: the information gain against a loop of autograd, and PPO with each reward against PPO alone.

The sides take turns, so that a machine that slows down slows both. One torch thread. Writes demos/results/bench.json.

    python demos/bench.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from measured import read, spread, write
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from torch.nn import functional as F

from genrl.models.bayesian import BayesianNetwork
from genrl.models.information_gain import Layer, information_gain
from genrl.rewards import ICM, RND, VIME, Disagreement, RewardCallback, RewardModel

ROLLOUT = {"n_envs": 8, "n_steps": 256}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def gain_by_autograd(
    layers: Sequence[Layer], inputs: torch.Tensor, targets: torch.Tensor, noise: list[torch.Tensor], likelihood_std: float, step_size: float
) -> torch.Tensor:
    """The definition of the information gain: autograd through the mean of the K draws for each transition, then the sum over weights."""
    leaves = [tensor.detach().clone().requires_grad_() for layer in layers for tensor in layer]
    gains = []
    for row in range(len(inputs)):
        activation = inputs[row : row + 1]
        for index in range(len(layers)):
            weight_mean, weight_rho, bias_mean, bias_rho = leaves[4 * index : 4 * index + 4]
            variance = activation.square() @ F.softplus(weight_rho).square() + F.softplus(bias_rho).square()
            activation = activation @ weight_mean + bias_mean + variance.sqrt() * noise[index][:, row : row + 1]
            activation = activation.relu() if index + 1 < len(layers) else activation
        loss = (activation - targets[row]).square().sum(-1).mean() / (2 * likelihood_std**2)
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            total = torch.zeros(())
            for rho, g_mean, g_rho in zip(leaves[1::2], gradients[::2], gradients[1::2], strict=True):
                total += (F.softplus(rho).square() * (g_mean.square() + g_rho.square() / (2 * rho.sigmoid().square()))).sum()
        gains.append(0.5 * step_size**2 * total)
    return torch.stack(gains)


def bench_gain(repeats: int) -> dict[str, object]:
    """Time of the information gain of 2,048 transitions in a network 26-[32]-20 with K = 10 draws, in closed form and by autograd."""
    torch.manual_seed(0)
    network = BayesianNetwork(26, 20, (32,))
    inputs, targets, noise = torch.randn(2048, 26), torch.randn(2048, 20), network.noise(10, 2048)
    arguments = (network.layers, inputs, targets, noise, 5.0, 0.01)
    closed = information_gain(*arguments)
    fast, slow = (lambda: information_gain(*arguments)), (lambda: gain_by_autograd(*arguments))
    pairs = [(seconds(lambda: [fast() for _ in range(20)]) / 20, seconds(slow)) for _ in range(repeats)]
    error = (slow() / closed - 1).abs().max()
    return {
        "closed_form_ms": 1e3 * statistics.median(fast for fast, _ in pairs),
        "autograd_loop_ms": 1e3 * statistics.median(slow for _, slow in pairs),
        "times_faster": spread([slow / fast for fast, slow in pairs]),
        "relative_difference_float32": float(error),
    }


def learn(reward: type[RewardModel] | None, rollouts: int) -> float:
    """Seconds that PPO takes to learn from ``rollouts`` rollouts of HalfCheetah-v5, after a first one that does not count."""
    model = PPO("MlpPolicy", make_vec_env("HalfCheetah-v5", ROLLOUT["n_envs"], seed=0), n_steps=ROLLOUT["n_steps"], seed=0, device="cpu")
    callback = None if reward is None else RewardCallback(reward(model.observation_space, model.action_space), weight=1e-3)
    steps = ROLLOUT["n_envs"] * ROLLOUT["n_steps"]
    model.learn(steps, callback=callback)
    return seconds(lambda: model.learn(rollouts * steps, callback=callback, reset_num_timesteps=False))


def bench_overhead(repeats: int, rollouts: int = 6) -> dict[str, object]:
    """Wall time of PPO with a reward over PPO alone."""
    rewards: list[type[RewardModel]] = [VIME, RND, ICM, Disagreement]
    times: dict[str, list[float]] = {name: [] for name in ["none", *(reward.__name__ for reward in rewards)]}
    for repeat in range(repeats):
        order: list[type[RewardModel] | None] = [None, *rewards]
        for reward in order[repeat % len(order) :] + order[: repeat % len(order)]:  # each of them is first once
            times[reward.__name__ if reward else "none"].append(learn(reward, rollouts))
        print(f"repeat {repeat + 1} of {repeats}:", {name: round(values[-1], 2) for name, values in times.items()}, flush=True)
    report: dict[str, object] = {"ppo_steps_per_second": rollouts * 2048 / statistics.median(times["none"])}
    for reward in rewards:
        ratios = [mine / bare for mine, bare in zip(times[reward.__name__], times["none"], strict=True)]
        report[reward.__name__] = spread(ratios)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="times that each side is measured (default: 5)")
    parser.add_argument("--only", choices=["gain", "overhead"], help="measure one of the two, and keep what the file says of the other")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    found = read("bench") | {"repeats": flags.repeats}
    if flags.only != "overhead":
        found["information_gain_2048_26_32_20_K10"] = bench_gain(flags.repeats)
    if flags.only != "gain":
        found["ppo_wall_time_over_bare_HalfCheetah_8x256"] = bench_overhead(flags.repeats)
    write("bench", found)


if __name__ == "__main__":
    main()
