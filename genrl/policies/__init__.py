"""The data socket: what a learner's behaviour comes from, beside its own policy."""

from genrl.policies.average import PolicyAverage
from genrl.policies.cloning import clone, normalize_like
from genrl.policies.dagger import dagger
from genrl.policies.mixing import Mixing
from genrl.policies.noise import HeldNoise, PinkNoise
from genrl.policies.starts import DemonstratedStarts
from genrl.policies.warmup import CriticWarmUp

__all__ = [
    "CriticWarmUp",
    "DemonstratedStarts",
    "HeldNoise",
    "Mixing",
    "PinkNoise",
    "PolicyAverage",
    "clone",
    "dagger",
    "normalize_like",
]
