"""What an inverse model loses: it tells from two observations which action was taken between them."""

from __future__ import annotations

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from genrl.spaces import Space, choices

__all__ = ["inverse_loss"]


def inverse_loss(space: Space, output: Float[Tensor, "batch act"], action: Float[Tensor, "batch act"]) -> Tensor:
    """Loss of an inverse model's output against flat actions, one-hot where they are discrete.

    The cross-entropy in nats of Discrete and MultiDiscrete actions (summed over components) and of MultiBinary ones; the mean squared error
    of Box actions, in the units that they are given in.

    Example:
        >>> inverse_loss(spaces.Discrete(2), torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))  # log 2
        tensor(0.6931)
    """
    if isinstance(space, spaces.Box):
        return F.mse_loss(output, action)
    if isinstance(space, spaces.MultiBinary):
        return F.binary_cross_entropy_with_logits(output, action, reduction="none").sum(1).mean()
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
    log_prob = torch.cat([logits.log_softmax(1) for logits in output.split(choices(space), dim=1)], dim=1)
    return -(action * log_prob).sum(1).mean()
