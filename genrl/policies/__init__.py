"""The data socket: what a learner's behaviour comes from, beside its own policy."""

from genrl.policies.cloning import clone
from genrl.policies.dagger import dagger
from genrl.policies.noise import HeldNoise

__all__ = ["HeldNoise", "clone", "dagger"]
