"""Generative adversarial imitation learning, from states and actions or from states alone."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from genrl.models.nn import mlp
from genrl.rewards.adversarial import AdversarialReward
from genrl.transitions import Transitions

__all__ = ["GAIL", "GAIfO"]


@dataclass(eq=False, repr=False)
class GAIL(AdversarialReward):
    r"""Pays for state-action pairs that look like the expert's: :math:`r(s, a)` from a discriminator :math:`D(s, a)`.

    Give it to a learner with ``extrinsic_weight=0``; any learner will do. On-policy, ``on_latest=True`` is the paper's way.

    Differences from the paper: the discriminator is trained by minibatches with a gradient penalty, on all that is kept instead of the
    newest rollout, and inputs have one fixed normalisation instead of a second, running one.

    Args and errors are those of :class:`AdversarialReward`.

    References:
        Ho, Ermon, "Generative Adversarial Imitation Learning", 2016, arXiv:1606.03476.

    Example:
        >>> import numpy as np
        >>> from gymnasium import spaces
        >>> from genrl.data import Demonstrations, Episode
        >>> no = np.zeros(3, bool)
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((4, 2)), np.zeros((3, 1)), np.zeros(3), no, np.arange(3) == 2)])
        >>> GAIL(demos, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))).inputs(demos.transitions()).shape
        torch.Size([3, 3])
    """

    def _build(self) -> None:
        self.network = mlp([self.stats.mean.numel(), *self.hidden, 1], nn.Tanh)

    def logits(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch"]:
        """Logits ``(batch,)`` of standardised inputs ``(batch, inputs)``."""
        logits: Tensor = self.network(inputs).squeeze(1)
        return logits


@dataclass(eq=False, repr=False)
class GAIfO(GAIL):
    r"""GAIL from states alone: the discriminator sees :math:`(s, s')`, so the demonstrations' actions need not be right.

    Differences from the paper are those of :class:`GAIL`; args and errors are those of :class:`AdversarialReward`.

    References:
        Torabi, Warnell, Stone, "Generative Adversarial Imitation from Observation", 2018, arXiv:1807.06158.

    Example:
        >>> import numpy as np
        >>> from stable_baselines3 import PPO
        >>> from genrl.data import Demonstrations, Episode
        >>> from genrl.rewards import GAIfO, RewardCallback
        >>> last = np.arange(8) == 7
        >>> demos = Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), last & False, last)])
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> gaifo = GAIfO(demos, model.observation_space, model.action_space)
        >>> _ = model.learn(64, callback=RewardCallback(gaifo, extrinsic_weight=0.0))
    """

    def _columns(self, transitions: Transitions) -> list[Tensor]:
        return [self.flat_obs(transitions.obs), self.flat_obs(transitions.next_obs)]
