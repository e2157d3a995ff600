"""The reward socket: generative models that score transitions, and the callback that plugs them into a learner."""

from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.callback import RewardCallback
from genrl.rewards.memory import TransitionPool
from genrl.rewards.vime import VIME, VIMEPreset
from genrl.transitions import Transitions

__all__ = ["VIME", "Memory", "RewardCallback", "RewardModel", "TransitionPool", "Transitions", "VIMEPreset"]
