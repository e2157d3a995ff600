"""VIME: the bonus of a transition is the information that it gives about the weights of a Bayesian dynamics model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor

from genrl.errors import at_least, positive, require
from genrl.models.bayesian import BayesianNetwork
from genrl.models.information_gain import expected_information_gain, information_gain
from genrl.models.regression import Standardizer
from genrl.rewards.base import Memory, RewardModel
from genrl.transitions import Transitions

__all__ = ["VIME", "VIMEPreset"]


@dataclass(frozen=True)
class VIMEPreset:
    """What the two presets of :class:`VIME` disagree about."""

    gain: Literal["expected", "realised"]
    """Which information gain is paid: the one expected before the outcome is seen, or the outcome's own."""
    likelihood_std: float
    """Standard deviation of the Gaussian likelihood, in those of an observation; where it is learned, the least that it can become."""
    learn_likelihood: bool
    """Whether each observation dimension's likelihood is as wide as the errors there, so that noise which can't be predicted gives no
    information."""
    kl_weight: float
    """Weight of KL(posterior ‖ prior) beside the mean negative log-likelihood of a row."""
    initial_std: float
    """Standard deviation of every weight's posterior at the start."""
    fan_in: bool
    """Whether means start as N(0, 1/in) instead of N(0, 1)."""
    learning_rate: float
    """Adam's."""
    n_updates: int
    """Gradient steps an update."""
    batch_size: int
    """Transitions a gradient step."""
    n_train_draws: int
    """Noise draws of every transition in training."""
    max_bonus: float
    """Cap of the bonus, in medians; a realised gain goes with error² / likelihood⁴, so that one collision can be worth a million."""


RELEASED = VIMEPreset(
    gain="realised",
    likelihood_std=5.0,
    learn_likelihood=False,
    kl_weight=1 / 50,
    initial_std=0.5,
    fan_in=False,
    learning_rate=1e-4,
    n_updates=500,
    batch_size=10,
    n_train_draws=10,
    max_bonus=1e9,
)
"""The settings of the paper's code, where the loss of a minibatch of 10 is KL/5 − Σ log p."""

CALIBRATED = VIMEPreset(
    gain="expected",
    likelihood_std=0.02,
    learn_likelihood=True,
    kl_weight=2e-4,
    initial_std=0.13,
    fan_in=True,
    learning_rate=3e-3,
    n_updates=100,
    batch_size=256,
    n_train_draws=1,
    max_bonus=10.0,
)
"""Settings under which the network learns the dynamics: a likelihood as narrow as the errors, and a start that is not all noise.

Then the posterior is soon so narrow that the realised gain is the standardised squared error and little else (rank correlation 0.94 on
the sparse half cheetah after 40,000 steps): what the network can't fit is paid for ever. So the expected gain is paid, in which errors
have no part.
"""


class VIME(RewardModel):
    r"""Variational information maximising exploration.

    .. math:: r_{\text{int}}(s, a, s') = \frac{D_{\text{KL}}\left[q(\theta; \phi') \,\|\, q(\theta; \phi)\right]}{\text{running median}},

    q the posterior over the weights of a Bayesian network that predicts s′ from (s, a), φ′ what the transition makes of φ. By default the
    numerator is the divergence that is expected before s′ is seen,
    :func:`~genrl.models.information_gain.expected_information_gain`; with ``gain`` "realised", as in the paper's code, that of one
    natural-gradient step on the transition, :func:`~genrl.models.information_gain.information_gain`. The denominator is the mean of the
    last ten batches' medians, so that a typical bonus is about 1 (while a learned likelihood still narrows, gains grow, and it is up to
    a few).
    The bonus comes from the posterior and the input statistics *before* the transition is learned from. It is zero until the first update,
    and for a learner with a replay buffer until the second, which is the first to score what the network has learned.

    Args:
        observation_space, action_space, seed: see :class:`~genrl.rewards.RewardModel`.
        preset: ``"calibrated"`` or ``"released"`` (the settings of the paper's code); a keyword below that is not ``None`` goes before
            the preset.
        hidden: widths of the Bayesian network's hidden layers.
        n_draws: noise draws over which the information gain averages (K), at least 2.
        step_size: size of the natural-gradient step of a realised gain (λ).
        prior_std: standard deviation of the prior over every weight.
        min_transitions: transitions in memory from which on ``update`` learns.
        input_clip: standard deviations to which observations and actions are clipped.
        gain: ``"expected"``, before the outcome is seen, or ``"realised"``, the outcome's own.
        likelihood_std: standard deviation of the Gaussian likelihood, in standard deviations of an observation; the least that it can
            become where ``learn_likelihood`` is true.
        learn_likelihood: whether the likelihood of each observation dimension becomes as wide as the errors there.
        kl_weight: weight of KL(posterior ‖ prior) beside the mean negative log-likelihood of a row.
        initial_std: standard deviation of every weight's posterior at the start.
        fan_in: whether the means start as N(0, 1/in) instead of N(0, 1).
        learning_rate: learning rate of Adam.
        n_updates: gradient steps per ``update``.
        batch_size: transitions per gradient step.
        n_train_draws: noise draws of every transition in training.
        max_bonus: largest bonus, in medians of the information gain.

    Raises:
        ValueError: an unknown preset, a space that the reward can't take, a size that is not positive.

    References:
        Houthooft, Chen, Duan, Schulman, De Turck, Abbeel, "VIME: Variational Information Maximizing Exploration", 2016, arXiv:1605.09674.

    Example:
        >>> from gymnasium import spaces
        >>> from genrl.rewards import VIME
        >>> VIME(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), preset="released").preset.likelihood_std
        5.0
    """

    centres_observations = True

    median_history: Tensor
    n_medians: Tensor
    updates: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        preset: Literal["calibrated", "released"] = "calibrated",
        seed: int = 0,
        hidden: Sequence[int] = (32,),
        n_draws: int = 10,
        step_size: float = 0.01,
        prior_std: float = 0.5,
        min_transitions: int = 500,
        input_clip: float = 10.0,
        gain: Literal["expected", "realised"] | None = None,
        likelihood_std: float | None = None,
        learn_likelihood: bool | None = None,
        kl_weight: float | None = None,
        initial_std: float | None = None,
        fan_in: bool | None = None,
        learning_rate: float | None = None,
        n_updates: int | None = None,
        batch_size: int | None = None,
        n_train_draws: int | None = None,
        max_bonus: float | None = None,
    ) -> None:
        super().__init__(observation_space, action_space, seed)
        presets = {"calibrated": CALIBRATED, "released": RELEASED}
        if preset not in presets:
            raise ValueError(f"VIME has no preset {preset!r}; use 'calibrated' or 'released'")
        if gain not in (None, "expected", "realised"):
            raise ValueError(f"VIME has no gain {gain!r}; use 'expected' or 'realised'")
        given: dict[str, Any] = {
            "gain": gain,
            "likelihood_std": likelihood_std,
            "learn_likelihood": learn_likelihood,
            "kl_weight": kl_weight,
            "initial_std": initial_std,
            "fan_in": fan_in,
            "learning_rate": learning_rate,
            "n_updates": n_updates,
            "batch_size": batch_size,
            "n_train_draws": n_train_draws,
            "max_bonus": max_bonus,
        }
        self.preset = VIMEPreset(**asdict(presets[preset]) | {name: value for name, value in given.items() if value is not None})
        numbers = {name: value for name, value in asdict(self.preset).items() if not isinstance(value, bool | str)}
        sizes = positive(step_size=step_size, prior_std=prior_std, input_clip=input_clip, hidden=hidden, **numbers)
        require(VIME, *sizes, *at_least(2, n_draws=n_draws), *at_least(0, min_transitions=min_transitions))
        self.n_draws, self.step_size, self.min_transitions = n_draws, step_size, min_transitions

        with self.own_randomness():
            self.network = BayesianNetwork(
                self.obs_dim + self.action_dim,
                self.obs_dim,
                hidden,
                1.0 if self.preset.learn_likelihood else self.preset.likelihood_std,
                prior_std,
                self.preset.initial_std,
                self.preset.fan_in,
            )
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.preset.learning_rate, fused=True)
        self.standardizer = Standardizer(self.obs_dim, self.action_dim, input_clip)
        self.register_buffer("median_history", torch.zeros(10))
        self.register_buffer("n_medians", torch.zeros((), dtype=torch.long))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Bonus per transition, ``(batch,)``, in medians of the information gain; in training mode the batch's own median enters first."""
        if self.updates == 0:
            return torch.zeros(transitions.batch_size, device=transitions.obs.device)
        gain = self.information_gain(transitions).clamp(0, 1000)  # the released code's clip
        if self.training:
            self.median_history[self.n_medians % len(self.median_history)] = gain.median()
            self.n_medians += 1
        if self.n_medians == 0:
            return torch.zeros_like(gain)
        scale = self.median_history[: int(self.n_medians)].mean()
        return (gain / scale if scale > 0 else gain).clamp_max(self.preset.max_bonus)

    def information_gain(self, transitions: Transitions) -> Tensor:
        """Information gain per transition, ``(batch,)``, nats; not normalised."""
        inputs, targets = self._regression(transitions)
        noise = self.network.noise(self.n_draws, len(inputs), self.generator)
        if self.preset.gain == "expected":
            return expected_information_gain(self.network.layers, inputs, noise, self.network.likelihood_std)
        return information_gain(self.network.layers, inputs, targets, noise, self.network.likelihood_std, self.step_size)

    def update(self, memory: Memory) -> dict[str, float]:
        """Merge the newest transitions into the input statistics, then minimise the free energy on samples of the memory."""
        latest = memory.latest
        self.standardizer.update(self.flat_obs(latest.obs), self.flat_action(latest.action))
        if len(memory) < self.min_transitions:
            return {}
        p = self.preset
        inputs, targets = self._regression(memory.sample(p.n_updates * p.batch_size))
        batches = zip(inputs.split(p.batch_size), targets.split(p.batch_size), strict=True)
        loss = self.network.fit(self.optimizer, batches, p.n_train_draws, p.kl_weight, self.generator)
        self.updates += 1
        error = self.network.squared_error(inputs[:2048], targets[:2048])
        if p.learn_likelihood:
            self.network.narrow_likelihood(error, p.likelihood_std)
        return {"likelihood_loss": loss, "prediction_error": float(error.mean()), "kl": float(self.network.kl().detach())}

    def _regression(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """The network's inputs and targets, ``(batch, obs + act)`` and ``(batch, obs)``."""
        inputs = self.standardizer.inputs(self.flat_obs(transitions.obs), self.flat_action(transitions.action))
        return inputs, self.standardizer.obs(self.flat_obs(transitions.next_obs))

    def extra_repr(self) -> str:
        return f"{self.preset}, n_draws={self.n_draws}, step_size={self.step_size}"
