"""What a reward is: a module that scores transitions, and learns from a memory of them."""

from __future__ import annotations

from itertools import chain
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Shaped
from torch import Tensor

from genrl.models.stateful import Stateful
from genrl.spaces import FLATTENED, Space, brief, flat, flat_action, flat_size, is_image, leaves
from genrl.transitions import Floats, Transitions

__all__ = ["Memory", "RewardModel"]


class Memory(Protocol):
    """What a reward learns from: the newest transitions, and a sample of all that are kept."""

    @property
    def latest(self) -> Transitions:
        """The transitions since the last update, in the order they were made; on-policy, the rollout."""

    def sample(self, batch_size: int) -> Transitions:
        """Transitions drawn uniformly, with replacement, from all that are kept (``latest`` included)."""

    def __len__(self) -> int:
        """How many transitions are kept."""


class RewardModel(Stateful):
    r"""Base of every reward: ``forward`` scores transitions, ``update`` learns from a memory.

    A subclass needs no more than ``forward``. In training mode ``forward`` may keep statistics of what it scores (a running scale,
    counts), as batch normalisation does; in evaluation mode it must not. :class:`~genrl.rewards.RewardCallback` scores each *new*
    transition once in training mode, and replayed ones in evaluation mode.

    Optimisers and generators that are attributes are part of ``state_dict``, so that a restored reward goes on exactly where it stopped.

    Args:
        observation_space: the learner's; ``Box``, ``Discrete``, ``MultiDiscrete``, ``MultiBinary``, or a ``Dict`` of them. A reward sees it
            as ``obs_dim`` numbers, by ``flat_obs``. Images need an encoder, or a reward that ``takes_images``.
        action_space: the learner's; ``Box`` of any shape, ``Discrete``, ``MultiDiscrete`` or ``MultiBinary``.
        seed: seed of ``self.generator``, from which every random draw of the model comes.

    Raises:
        ValueError: a space that the reward can't take.
    """

    learns_first: ClassVar[bool] = False
    """Whether new transitions are scored after ``update`` (an adversarial reward) or before it (curiosity: the bonus is the surprise)."""

    centres_observations: ClassVar[bool] = False
    """Whether it centres observations before it casts them (by a ``RunningMeanStd``, say), so that it is given doubles where the task
    gives doubles; any other reward is given them in the dtype of its parameters."""

    needs_expert_batches: ClassVar[bool] = False
    """Whether it makes no sense without demonstrations in the learner's batches (SQIL)."""

    latest_only: ClassVar[bool] = False
    """Whether ``update`` reads the newest transitions alone, or none, so that no others need to be kept for it."""

    fewest_at_once: int = 1
    """Transitions that must be scored together, for a reward that compares them with each other. A batch of fewer different ones, as a
    replay buffer gives at first, is paid 0."""

    min_transitions: int = 0
    """Transitions that must be in memory before ``update`` learns."""

    pays_for_going_on: ClassVar[bool] = False
    """Whether it is never negative and has no form that is, so that an agent that ends sooner is paid less."""

    scored_once: ClassVar[bool] = False
    """Whether a transition's reward depends on those before it in its episode. Then it is scored once, when it is made and in the order of
    time, also beside a learner with a replay buffer; ``tell`` is called before."""

    takes_images: ClassVar[bool] = False
    """Whether it has convolutions for observations that are images."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0) -> None:
        super().__init__(seed)
        _refuse_spaces(type(self), observation_space, action_space)
        self.observation_space: spaces.Space[Any] = observation_space
        self.action_space: spaces.Space[Any] = action_space
        self.obs_dim = flat_size(observation_space)
        self.action_dim = flat_size(action_space)

    @property
    def device(self) -> torch.device:
        """Where it computes: the device of its parameters and buffers."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def floats(self) -> Floats:
        """Dtype and device of the transitions that it is given: those of its parameters, or float32 on the CPU without any. Where it
        ``centres_observations``, doubles stay doubles."""
        dtype = next((parameter.dtype for parameter in self.parameters()), torch.float32)
        return Floats(dtype, exact=self.centres_observations, device=self.device)

    @classmethod
    def pays_lent(cls, demonstrated: bool) -> bool:
        """Whether it can pay transitions that did not come with their episode: those that were lent to a learner's batch, or demonstrated
        ones."""
        return not cls.scored_once or (demonstrated and cls.of_expert is not RewardModel.of_expert)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``forward`` gives.

        Raises:
            TypeError: it was given to ``learn`` in place of a callback.
        """
        if args and isinstance(args[0], dict):  # common/callbacks.py, ConvertCallback: called with locals() and globals() at each step
            name = type(self).__name__
            raise TypeError(f"{name} is a reward, and learn was given it as a callback; type callback=RewardCallback({name.lower()})")
        return super().__call__(*args, **kwargs)

    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Reward per transition, ``(batch,)``."""
        raise NotImplementedError

    def of_expert(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Reward of demonstrated transitions in a learner's batch, ``(batch,)``; by default the same as of any others."""
        reward: Tensor = self(transitions)
        return reward

    def tell(self, envs: np.ndarray, ended: np.ndarray) -> None:
        """Called before new transitions are scored, with the environment that made each of them. Only a ``scored_once`` reward needs it.

        Args:
            envs: number of the environment, ``(batch,)``.
            ended: whether the episode ended there, by a time limit too, ``(batch,)``.
        """

    def forget(self) -> None:
        """Called when all environments begin new episodes in the middle of others. Only a ``scored_once`` reward needs it."""

    def update(self, memory: Memory) -> dict[str, float]:
        """Learn from ``memory``; returns numbers for the log."""
        return {}

    def flat_obs(self, obs: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch obs"]:
        """Observations as ``(batch, obs_dim)`` floats: matrices flattened, discrete ones one-hot; those of a Dict are flat already."""
        return obs if isinstance(self.observation_space, spaces.Dict) else flat(self.observation_space, obs)

    def flat_action(self, action: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch act"]:
        """Actions as ``(batch, action_dim)`` floats: Box flattened, discrete ones one-hot."""
        return flat_action(self.action_space, action)


def _refuse_spaces(cls: type[RewardModel], observation_space: Space, action_space: Space) -> None:
    plain = spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
    if not all(isinstance(leaf, plain) for leaf in leaves(observation_space)):
        raise ValueError(
            f"{cls.__name__} takes Box, Discrete, MultiDiscrete, MultiBinary or Dict observations, but was given "
            f"{brief(observation_space)}; wrap the environment in {FLATTENED}"
        )
    if any(is_image(leaf) for leaf in leaves(observation_space)) and not (cls.takes_images and is_image(observation_space)):
        raise ValueError(
            f"{cls.__name__} takes no images, but was given {brief(observation_space)}; give it the codes of an encoder: "
            "EncodedVecEnv(venv, load_encoder('RUN')) from genrl.encoders, or --encoder RUN without --finetune"
        )
    if not isinstance(action_space, plain):
        raise ValueError(f"{cls.__name__} takes Box, Discrete, MultiDiscrete or MultiBinary actions, but was given {brief(action_space)}")
