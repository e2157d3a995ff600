"""One model that is curious and dreams: its uncertainty as a bonus on real steps."""

from __future__ import annotations

import torch
from torch import Tensor

from genrl.models.dynamics import Dynamics
from genrl.rewards import RewardModel
from genrl.transitions import Transitions

__all__ = ["Curiosity"]


class Curiosity(RewardModel):
    r"""The uncertainty of a dynamics model about a transition's outcome, as a bonus.

    .. math:: r(s, a) = u(s, a)

    It is the same number that :class:`~genrl.worlds.DreamVecEnv` weighs by η. The reward itself learns nothing: whoever dreams with the
    model fits it, once a cycle.

    Args:
        dynamics: the model; an ensemble gives the disagreement of its members, a Bayesian one the expected information gain.

    Example:
        >>> from gymnasium import spaces
        >>> from genrl.worlds import Ensemble
        >>> world = Ensemble(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), members=3, hidden=(8,))
        >>> rows = Transitions(torch.randn(4, 3), torch.randn(4, 2), torch.randn(4, 3), torch.zeros(4, dtype=torch.bool))
        >>> bool((Curiosity(world)(rows) == world.uncertainty(rows.obs, rows.action)).all())
        True
    """

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__(dynamics.observation_space, dynamics.action_space)
        self.dynamics = dynamics

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Tensor:
        """u(s, a) per transition, ``(batch,)``."""
        return self.dynamics.uncertainty(transitions.obs, transitions.action)
