"""A policy that is held still until its critic knows it: what a cloned policy needs to survive its first updates."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

from genrl.sb3.plugged import companions, refuse_events

__all__ = ["CriticWarmUp"]


class CriticWarmUp(BaseCallback):
    """Holds the policy of a learner still for its first steps, in which only the critic learns.

    A policy that was cloned meets a critic that knows nothing, whose first advantages push it anywhere. For ``steps`` environment steps its
    parameters and those that it shares with the critic take no gradient, and the statistics of its layers (CrossQ's batch norm) and SAC's
    entropy coefficient stay; the learner itself is untouched.

    Args:
        steps: number of environment steps, counted by the learner's ``num_timesteps``: a second ``learn`` counts from 0 again, unless it is
            given ``reset_num_timesteps=False``.

    Raises:
        ValueError: ``steps`` below zero; when it is given to another callback than a list; when ``learn`` starts, a learner without a
            critic of its own (DQN, QRDQN), or that needs the policy's gradient for its step (TRPO), or a callback beside it that trains
            the policy (``Practice``).

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
        >>> _ = model.learn(64, callback=CriticWarmUp(32))
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"CriticWarmUp needs steps of at least 0, but was given {steps}")
        self.steps = steps

    def __repr__(self) -> str:
        return f"CriticWarmUp(steps={self.steps})"

    @staticmethod
    def check(model: BaseAlgorithm) -> None:
        """Raise a ValueError for a learner whose critic can't learn alone, as ``learn`` would."""
        _of_the_policy(model)

    def _init_callback(self) -> None:
        self.check(self.model)

    def _on_training_start(self) -> None:
        refuse_events(self, self.parent)
        others = [type(other).__name__ for other in companions(self) if getattr(other, "trains_policy", False)]
        if others and self.num_timesteps < self.steps:
            raise ValueError(
                f"CriticWarmUp holds the policy still for {self.steps} steps, but {others[0]} trains it in its dreams; "
                "leave one of the two out"
            )

    def _on_step(self) -> bool:
        return True

    # on_policy_algorithm.py and off_policy_algorithm.py, learn: `self.train` is called between the end of a rollout and the start of the
    # next. Only that one call finds the instance's own `train`, which takes itself away before anything else can see it.

    def _on_rollout_end(self) -> None:
        if self.num_timesteps <= self.steps:
            vars(self.model)["train"] = self._train

    def _on_rollout_start(self) -> None:
        vars(self.model).pop("train", None)

    def _on_training_end(self) -> None:
        self._on_rollout_start()

    def _train(self, *args: Any, **kwargs: Any) -> None:
        """The learner's training with its policy held still, which is let go whatever happens."""
        vars(self.model).pop("train", None)
        tensors = _of_the_policy(self.model)
        held = [parameter for parameter in tensors if parameter.requires_grad]
        # crossq.py, train: moves the running statistics of the actor. sac.py, train: tunes the coefficient by the entropy of a policy that
        # can't answer; its loss needs the gradient. Both are put back afterwards.
        moved = [tensor for tensor in tensors if not isinstance(tensor, nn.Parameter)]
        moved += [entropy] if isinstance(entropy := getattr(self.model, "log_ent_coef", None), Tensor) else []
        before = [tensor.detach().clone() for tensor in moved]
        try:
            # ppo.py and sac.py, train: an optimizer leaves a parameter without a gradient alone.
            for parameter in held:
                parameter.requires_grad_(False)
            self.model.train(*args, **kwargs)  # type: ignore[attr-defined]
        finally:
            for parameter in held:
                parameter.requires_grad_(True)
            for tensor, value in zip(moved, before, strict=True):
                tensor.data.copy_(value)


def _of_the_policy(model: object) -> list[Tensor]:
    """Parameters and buffers of the policy, and those that it shares with the critic."""
    policy, name = model.policy, type(model).__name__  # type: ignore[attr-defined]
    if name == "TRPO" or not (hasattr(policy, "value_net") or hasattr(policy, "actor")):
        raise ValueError(f"{name} can't learn its critic alone; use CriticWarmUp with PPO, A2C, SAC, TQC, TD3, DDPG or CrossQ")
    if hasattr(policy, "actor"):
        return [*policy.actor.parameters(), *policy.actor.buffers()]
    # sb3_contrib's recurrent policies: the critic has a memory of its own, or a layer in its place.
    parts = [policy.value_net, getattr(policy.mlp_extractor, "value_net", None)]
    parts += [getattr(policy, name, None) for name in ("lstm_critic", "critic")]
    parts += [] if policy.share_features_extractor else [policy.vf_features_extractor]
    critics = {id(tensor) for part in parts if part is not None for tensor in (*part.parameters(), *part.buffers())}
    return [tensor for tensor in (*policy.parameters(), *policy.buffers()) if id(tensor) not in critics]
