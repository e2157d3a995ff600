"""The environment socket: a learned model replaces the simulator."""

from genrl.models.bayesian_dynamics import BayesianDynamics
from genrl.models.dynamics import Dynamics, FitReport, Outcome, Prediction
from genrl.models.ensemble import Ensemble
from genrl.worlds.agreement import Agreement, blurred, measure_agreement
from genrl.worlds.curiosity import Curiosity
from genrl.worlds.dream import DreamVecEnv
from genrl.worlds.imagination import Imagination
from genrl.worlds.practice import Practice
from genrl.worlds.quality import Quality, measure_quality
from genrl.worlds.real import Record

__all__ = [
    "Agreement",
    "BayesianDynamics",
    "Curiosity",
    "DreamVecEnv",
    "Dynamics",
    "Ensemble",
    "FitReport",
    "Imagination",
    "Outcome",
    "Practice",
    "Prediction",
    "Quality",
    "Record",
    "blurred",
    "measure_agreement",
    "measure_quality",
]
