"""A policy that is held still until its critic knows it: what a cloned policy needs to survive its first updates."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

__all__ = ["CriticWarmUp"]


class CriticWarmUp(BaseCallback):
    """Holds the policy of a learner still for its first steps, in which only the critic learns.

    A policy that was cloned meets a critic that knows nothing, whose first advantages push it anywhere. For ``steps`` environment steps its
    parameters and those that it shares with the critic take no gradient, and SAC's entropy coefficient stays; the learner itself is
    untouched.

    Args:
        steps: environment steps, counted from the learner's first.

    Raises:
        ValueError: ``steps`` below zero; when ``learn`` starts, a learner without a critic of its own (DQN, QRDQN), or that needs the
            policy's gradient for its step (TRPO).

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
        self._held: list[Tensor] = []
        self._entropy: Tensor | None = None

    def _init_callback(self) -> None:
        _of_the_policy(self.model)

    def _on_step(self) -> bool:
        return True

    # on_policy_algorithm.py and off_policy_algorithm.py, learn: train comes between the end of a rollout and the start of the next, and
    # ppo.py and sac.py, train: an optimizer leaves a parameter without a gradient alone.

    def _on_rollout_end(self) -> None:
        if self.num_timesteps <= self.steps:
            self._held = [parameter for parameter in _of_the_policy(self.model) if parameter.requires_grad]
            for parameter in self._held:
                parameter.requires_grad_(False)
            # sac.py, train: tuned by the entropy of a policy that can't answer; its loss needs the gradient, so it is put back afterwards.
            entropy = getattr(self.model, "log_ent_coef", None)
            self._entropy = entropy.detach().clone() if isinstance(entropy, Tensor) else None

    def _on_rollout_start(self) -> None:
        for parameter in self._held:
            parameter.requires_grad_(True)
        self._held = []
        if self._entropy is not None:
            self.model.log_ent_coef.data.copy_(self._entropy)  # type: ignore[attr-defined]
            self._entropy = None

    def _on_training_end(self) -> None:
        self._on_rollout_start()


def _of_the_policy(model: object) -> list[Tensor]:
    policy, name = model.policy, type(model).__name__  # type: ignore[attr-defined]
    if name == "TRPO" or not (hasattr(policy, "value_net") or hasattr(policy, "actor")):
        raise ValueError(f"{name} can't learn its critic alone; use CriticWarmUp with PPO, A2C, SAC, TQC, TD3, DDPG or CrossQ")
    if hasattr(policy, "actor"):
        return list(policy.actor.parameters())
    parts = [policy.value_net, getattr(policy.mlp_extractor, "value_net", None), getattr(policy, "lstm_critic", None)]
    parts += [] if policy.share_features_extractor else [policy.vf_features_extractor]
    critics = {id(parameter) for part in parts if part is not None for parameter in part.parameters()}
    return [parameter for parameter in policy.parameters() if id(parameter) not in critics]
