"""The environment socket: a learned model replaces the simulator."""

from genrl.models.bayesian_dynamics import BayesianDynamics
from genrl.models.dynamics import Dynamics, FitReport, Outcome, Prediction
from genrl.models.ensemble import Ensemble
from genrl.worlds.curiosity import Curiosity
from genrl.worlds.cycles import Cycle, learn_in_dreams
from genrl.worlds.dream import DreamVecEnv
from genrl.worlds.imagination import Imagination
from genrl.worlds.quality import Quality, measure_quality
from genrl.worlds.real import RealSteps

__all__ = [
    "BayesianDynamics",
    "Curiosity",
    "Cycle",
    "DreamVecEnv",
    "Dynamics",
    "Ensemble",
    "FitReport",
    "Imagination",
    "Outcome",
    "Prediction",
    "Quality",
    "RealSteps",
    "learn_in_dreams",
    "measure_quality",
]
