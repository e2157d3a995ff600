"""Generative adversarial imitation learning, from states and actions or from states alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium import spaces
from torch import Tensor, nn

from genrl.data import Demonstrations
from genrl.errors import positive, require
from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward, RewardForm, spectrally_normalized
from genrl.transitions import Transitions

__all__ = ["GAIL", "GAIfO"]


class GAIL(AdversarialReward):
    r"""Pays for state-action pairs that look like the expert's: :math:`r(s, a)` from a discriminator :math:`D(s, a)`.

    Give it to a learner with ``extrinsic_weight=0``; any learner will do. On-policy, ``on_latest=True`` is the paper's way.

    Differences from the paper: the discriminator is trained by minibatches with a gradient penalty, on all that is kept instead of the
    newest rollout, and inputs have one fixed normalisation instead of a second, running one.

    Args:
        demonstrations: of the task.
        observation_space, action_space, seed: see :class:`RewardModel`.
        form: ``softplus`` (:math:`-\log(1-D)`, the paper's for locomotion), ``log-d`` (where an early end is good) or ``logit``
            (of either sign, so that an early end pays while the agent is told apart: with ``absorbing``, where a task can end early).
        hidden: widths of the discriminator's hidden layers, tanh units.
        spectral_norm: divide its weights by their largest singular value.
        learning_rate, batch_size, updates, gradient_penalty, entropy, label_smoothing, on_latest, normalize, absorbing, gamma, std_floor,
            clip, held_out: see :class:`AdversarialReward`.

    Raises:
        ValueError: a space it can't take, demonstrations of other sizes, a value out of its range.

    References:
        Ho, Ermon, "Generative Adversarial Imitation Learning", 2016, arXiv:1606.03476.

    Example:
        >>> import numpy as np
        >>> from genrl.data import Episode
        >>> no = np.zeros(3, bool)
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(3), no, np.arange(3) == 2)])
        >>> GAIL(demos, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))).inputs(demos.transitions()).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        form: RewardForm = "softplus",
        hidden: Sequence[int] = (128, 128),
        spectral_norm: bool = False,
        learning_rate: float = 3e-4,
        batch_size: int = 256,
        updates: int = 20,
        gradient_penalty: float = 1.0,
        entropy: float = 0.0,
        label_smoothing: float = 0.0,
        on_latest: bool = False,
        normalize: bool = True,
        absorbing: bool = False,
        gamma: float = 0.99,
        std_floor: float = 1e-2,
        clip: float = 10.0,
        held_out: Demonstrations | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            demonstrations, observation_space, action_space, form=form, learning_rate=learning_rate, batch_size=batch_size,
            updates=updates, gradient_penalty=gradient_penalty, entropy=entropy, label_smoothing=label_smoothing, on_latest=on_latest,
            normalize=normalize, absorbing=absorbing, gamma=gamma, std_floor=std_floor, clip=clip, held_out=held_out, seed=seed,
        )  # fmt: skip
        require(type(self), *positive(hidden=hidden))
        with self.own_randomness():
            self.network = mlp([self.stats.mean.numel(), *hidden, 1], nn.Tanh)
            if spectral_norm:
                spectrally_normalized(self.network)
        self._finish()

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits ``(batch,)`` of standardised inputs."""
        logits: Tensor = self.network(inputs).squeeze(1)
        return logits


class GAIfO(GAIL):
    r"""GAIL from states alone: the discriminator sees :math:`(s, s')`, so the demonstrations' actions are not needed to be right.

    References:
        Torabi, Warnell, Stone, "Generative Adversarial Imitation from Observation", 2018, arXiv:1807.06158.
    """

    def _columns(self, transitions: Transitions) -> list[Tensor]:
        return [transitions.obs, transitions.next_obs]
