"""The reward socket: generative models that score transitions, and the callback that plugs them into a learner."""

from genrl.rewards.adversarial import AdversarialReward
from genrl.rewards.airl import AIRL
from genrl.rewards.base import Memory, RewardModel
from genrl.rewards.callback import RewardCallback
from genrl.rewards.counts import SimHashCounts
from genrl.rewards.diffail import DiffAIL
from genrl.rewards.disagreement import Disagreement
from genrl.rewards.episodic import E3B, NGU, EpisodicReward
from genrl.rewards.gail import GAIL, GAIfO
from genrl.rewards.icm import ICM
from genrl.rewards.memory import TransitionPool
from genrl.rewards.prediction_error import PredictionError
from genrl.rewards.pwil import PWIL
from genrl.rewards.rnd import RND
from genrl.rewards.sqil import SQIL, Constant
from genrl.rewards.state_entropy import StateEntropy
from genrl.rewards.vail import VAIL
from genrl.rewards.vime import VIME, VIMEPreset
from genrl.rewards.weight import AutoWeight
from genrl.transitions import Transitions

__all__ = [
    "AIRL",
    "E3B",
    "GAIL",
    "ICM",
    "NGU",
    "PWIL",
    "RND",
    "SQIL",
    "VAIL",
    "VIME",
    "AdversarialReward",
    "AutoWeight",
    "Constant",
    "DiffAIL",
    "Disagreement",
    "EpisodicReward",
    "GAIfO",
    "Memory",
    "PredictionError",
    "RewardCallback",
    "RewardModel",
    "SimHashCounts",
    "StateEntropy",
    "TransitionPool",
    "Transitions",
    "VIMEPreset",
]
