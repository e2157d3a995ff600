"""What the rewards of adversarial imitation share: a discriminator between the expert's transitions and the agent's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from gymnasium import spaces
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from genrl.data import Demonstrations
from genrl.data.demonstrations import check_demonstrations
from genrl.errors import Check, at_least, positive, require
from genrl.models.nn import gradient_step
from genrl.models.normalization import RunningMeanStd
from genrl.rewards.base import Memory, RewardModel
from genrl.transitions import Transitions

__all__ = ["AdversarialReward", "RewardForm", "reward_from_logits"]

RewardForm = Literal["softplus", "log-d", "logit"]


def reward_from_logits(logits: Float[Tensor, "*batch"], form: RewardForm) -> Float[Tensor, "*batch"]:
    r"""A reward of transitions with logit :math:`h = \log D - \log(1 - D)`, expert = 1.

    - ``softplus``: :math:`-\log(1 - D) = \log(1 + e^h)`, positive: it pays for staying alive.
    - ``log-d``: :math:`\log D = -\log(1 + e^{-h})`, negative: it pays for an early end.
    - ``logit``: :math:`h`, of either sign (AIRL's).

    Example:
        >>> [round(float(reward_from_logits(torch.zeros(1), form)), 4) for form in get_args(RewardForm)]
        [0.6931, -0.6931, 0.0]
    """
    if form == "softplus":
        return F.softplus(logits)
    return -F.softplus(-logits) if form == "log-d" else logits


@dataclass(eq=False, repr=False)
class AdversarialReward(RewardModel):
    r"""Rewards transitions that a discriminator takes for the expert's; a subclass says what it sees and which network it is.

    The discriminator :math:`D = \sigma(h)`, expert = 1, minimises

    .. math:: -\mathbb{E}_E[\log D] - \mathbb{E}_\pi[\log(1 - D)] + c\,\mathbb{E}[(\lVert \nabla_x h \rVert - 1)^2]
              - \lambda\,\mathbb{E}[H(D)],

    with the penalty at random points between expert and agent. It learns before new transitions are scored, as in the paper's algorithm 1.
    One fixed statistic standardises its inputs: that of the demonstrations, with a floor under the standard deviation and a clip. Without
    them, a number that hardly varies in the demonstrations would tell the expert by its size alone.

    With ``input_noise`` the discriminator learns from inputs that noise has moved, the expert's and the agent's alike. Two distributions
    that differ still differ then, but a few pairs can't be known by heart, and a near miss earns something.

    With ``absorbing``, a terminated episode goes on for ever in one last state, "ended", and the discriminator judges that state too, so
    that how often an expert's episodes end is part of what is imitated. Its best logit is known, because it is a single state: a step of
    the expert leads there with frequency :math:`p_E`, and one of the agent with :math:`p_\pi`, so

    .. math:: h_{\text{end}} = \log p_E - \log p_\pi, \text{ within the range of the agent's own logits}, \qquad
              r = f(h(x)) - f(h_{\text{end}}).

    Every reward is counted from that of the state "ended", which thus earns 0, and a learner needs no more than to stop at the end, as it
    does anyway. Where no demonstration ends, :math:`h_{\text{end}}` is the least of the agent's logits, so from the first update on an end
    is worth no more than to go on. Before it nothing is known of ends, and all rewards are 0. A time limit is no end.

    The keywords are fields, so that each is declared once for every subclass; a subclass declares only those that it adds, or whose default
    differs, and is a dataclass too.

    Args:
        demonstrations: demonstrations of the task, with actions in its units.
        observation_space, action_space, seed: see :class:`RewardModel`.
        form: how a logit becomes a reward: ``softplus``, -log(1 - D), is positive (the paper's for locomotion); ``log-d``, log D, is
            negative (right where an early end is good); ``logit`` is of either sign (an early end pays while the agent is told apart, so
            use it with ``absorbing`` where a task can end).
        hidden: widths of the hidden layers, of tanh units.
        spectral_norm: divide the weight matrix of each linear layer by its largest singular value.
        learning_rate: step size of Adam.
        batch_size: transitions of each kind, the expert's and the agent's, per gradient step.
        updates: gradient steps per ``update``.
        gradient_penalty: weight c of the gradient penalty; 0 turns it off.
        entropy: weight λ of the discriminator's entropy, in nats.
        label_smoothing: the expert's label is 1 minus this, which is in [0, 1).
        input_noise: standard deviation of Gaussian noise on standardised inputs while the discriminator learns; a flag stays as it is.
        on_latest: learn from the newest transitions only, as in the paper, instead of from all that are kept.
        normalize: divide the reward by its running standard deviation.
        absorbing: judge a terminated episode too, as a last state that earns 0 for ever, and count all rewards from it; for ``logit``
            where a task can end.
        bound: logits are clipped to plus or minus this before they become a reward.
        std_floor: smallest standard deviation that an input is divided by, in the task's units.
        clip: standardised inputs are clipped to plus or minus this.
        held_out: demonstrations that it does not learn from, for ``held_out_accuracy`` in the log.

    Raises:
        ValueError: a space it can't take, demonstrations of other sizes (:class:`genrl.data.DemonstrationError`), a value out of its range.

    References:
        Ho, Ermon, "Generative Adversarial Imitation Learning", 2016, arXiv:1606.03476.
        Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, arXiv:1704.00028 (the penalty).
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018, arXiv:1802.05957.
        Kostrikov et al., "Discriminator-Actor-Critic", 2018, arXiv:1809.02925 (absorbing states, learning from a replay buffer).
        Sønderby et al., "Amortised MAP Inference for Image Super-resolution", 2017, arXiv:1610.04490 (noise on the inputs).
        Orsini et al., "What Matters for Adversarial Imitation Learning?", 2021, arXiv:2106.00672.
    """

    centres_observations = True

    demonstrations: InitVar[Demonstrations]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    _: KW_ONLY
    form: RewardForm = "softplus"
    hidden: Sequence[int] = (128, 128)
    spectral_norm: bool = False
    learning_rate: float = 3e-4
    batch_size: int = 256
    updates: int = 20
    gradient_penalty: float = 1.0
    entropy: float = 0.0
    label_smoothing: float = 0.0
    input_noise: float = 0.0
    on_latest: bool = False
    normalize: bool = True
    absorbing: bool = False
    bound: float = 10.0
    std_floor: float = 1e-2
    clip: float = 10.0
    held_out: InitVar[Demonstrations | None] = None
    seed: int = 0

    learns_first: ClassVar[bool] = True

    def __post_init__(self, demonstrations: Demonstrations, held_out: Demonstrations | None) -> None:
        check_demonstrations(type(self), demonstrations)
        super().__init__(self.observation_space, self.action_space, self.seed)
        require(type(self), *self._checks())
        expert = demonstrations.fitted(self.observation_space, self.action_space)[0]
        self._ends_per_step = sum(episode.terminated for episode in expert.episodes) / sum(map(len, expert.episodes))
        raw = self._raw_inputs(expert.transitions(successors=False))
        if raw.isnan().any():  # the reward looks at what followed, and the demonstrations do not tell it
            expert.transitions()  # raises the error that says so
        self.stats = RunningMeanStd((raw.shape[1],), std_floor=self.std_floor, clip=self.clip)
        self._set_statistics(raw)
        self._expert_inputs = nn.Buffer(self.stats(raw), persistent=False)
        others = None if held_out is None else held_out.fitted(self.observation_space, self.action_space)[0].transitions(successors=False)
        self._held_out_inputs = None if others is None else nn.Buffer(self.inputs(others), persistent=False)
        self.scale = RunningMeanStd(std_floor=1e-2) if self.normalize else None
        self.end_logit = nn.Buffer(torch.tensor(math.inf))  # before the first update
        with self.own_randomness():
            self._build()
            for layer in list(self.modules()):
                if self.spectral_norm and isinstance(layer, nn.Linear):
                    nn.utils.parametrizations.spectral_norm(layer)
        self.optimizer = torch.optim.Adam(self.parameters(), self.learning_rate, fused=True)

    def _checks(self) -> Iterator[Check]:
        """What the keywords need to be; a subclass adds checks of its own."""
        forms, smoothing = get_args(RewardForm), self.label_smoothing
        yield "form", self.form, self.form in forms, f"one of {', '.join(forms)}"
        yield "label_smoothing", smoothing, 0 <= smoothing < 1, "in [0, 1)"
        yield from positive(learning_rate=self.learning_rate, batch_size=self.batch_size, updates=self.updates, hidden=self.hidden)
        yield from positive(std_floor=self.std_floor, clip=self.clip, bound=self.bound)
        yield from at_least(0, gradient_penalty=self.gradient_penalty, entropy=self.entropy, input_noise=self.input_noise)

    # --- what a subclass says ---

    def _columns(self, transitions: Transitions) -> list[Tensor]:
        """What the discriminator sees, in the task's units: ``(batch, …)`` each."""
        return [self.flat_obs(transitions.obs), self.flat_action(transitions.action)]

    def _build(self) -> None:
        """Make the discriminator's networks; torch's global generator is seeded for it."""
        raise NotImplementedError

    def logits(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch"]:
        """Logits ``(batch,)`` of standardised inputs ``(batch, inputs)``."""
        raise NotImplementedError

    def regularizer(self) -> Tensor | float:
        """Added to the loss of the step whose ``logits`` came last."""
        return 0.0

    # --- inputs ---

    def _raw_inputs(self, transitions: Transitions) -> Tensor:
        """Inputs in the task's units."""
        columns = self._columns(transitions)
        return torch.cat([column if column.is_floating_point() else column.float() for column in columns], dim=1)

    def _set_statistics(self, raw: Tensor) -> None:
        """Take the demonstrations' statistics; a one-hot action and a flag stay as they are."""
        self.stats.update(raw)
        fixed = torch.tensor([set(column.unique().tolist()) <= {0.0, 1.0} for column in raw.T], device=raw.device)
        self.stats.mean[fixed], self.stats.var[fixed] = 0.0, 1.0
        self._noise_std = nn.Buffer(self.input_noise * (~fixed).float(), persistent=False)

    def inputs(self, transitions: Transitions) -> Float[Tensor, "batch inputs"]:
        """Standardised inputs ``(batch, inputs)``."""
        return self.stats(self._raw_inputs(transitions))

    def _of_expert(self, n: int) -> Tensor:
        """``n`` inputs of the demonstrations."""
        return self._expert_inputs[torch.randint(len(self._expert_inputs), (n,), generator=self.generator)]

    # --- the socket ---

    @torch.no_grad()
    def forward(self, transitions: Transitions) -> Float[Tensor, "batch"]:
        """Reward, ``(batch,)``."""
        reward = self._paid(self.logits(self.inputs(transitions)))
        if self.absorbing:  # from an end_logit of -bound a fresh critic would learn that each step earns the bound
            reward = torch.where(self.end_logit.isinf(), 0.0, reward - self._paid(self.end_logit))
        if self.scale is None:
            return reward
        if self.training:
            self.scale.update(reward)
        return reward / self.scale.std.to(reward.dtype)

    def _paid(self, logits: Tensor) -> Tensor:
        return reward_from_logits(logits.clamp(-self.bound, self.bound), self.form)

    @torch.enable_grad()
    def update(self, memory: Memory) -> dict[str, float]:
        """Tell the expert from the agent a little better; returns losses and accuracies, means over the gradient steps."""
        draw = self._from_latest(memory.latest) if self.on_latest else memory.sample
        drawn = [draw(self.batch_size) for _ in range(self.updates)]
        steps = [self._step(self._of_expert(self.batch_size), self.inputs(transitions)) for transitions in drawn]
        metrics = {name: float(torch.stack([step[name] for step in steps]).mean()) for name in steps[0]}
        if self.absorbing:
            metrics["end_logit"] = self._judge_ends(drawn)
        if self._held_out_inputs is not None:
            with torch.no_grad():
                logits = self.logits(self._held_out_inputs)
            metrics |= {"held_out_accuracy": float((logits > 0).float().mean()), "held_out_loss": float(F.softplus(-logits).mean())}
        return metrics

    @torch.no_grad()
    def _judge_ends(self, drawn: Sequence[Transitions]) -> float:
        """The absorbing state's logit, by the share of the agent's transitions that terminated, and by the range of its logits."""
        ended = torch.cat([transitions.terminated for transitions in drawn])
        frequency = (float(ended.sum()) + 1) / (len(ended) + 1)
        agent = self.logits(self.inputs(drawn[-1]))
        ratio = math.log(self._ends_per_step / frequency) if self._ends_per_step else -math.inf
        self.end_logit.fill_(min(max(ratio, float(agent.min())), float(agent.max())))
        return float(self.end_logit)

    def _from_latest(self, latest: Transitions) -> Callable[[int], Transitions]:
        return lambda n: latest.rows(torch.randint(latest.batch_size, (n,), generator=self.generator))

    def _disturbed(self, inputs: Tensor) -> Tensor:
        if not self.input_noise:
            return inputs
        return inputs + self._noise_std * torch.randn(inputs.shape, generator=self.generator).to(inputs)

    def _step(self, expert: Tensor, agent: Tensor) -> dict[str, Tensor]:
        expert, agent = self._disturbed(expert), self._disturbed(agent)
        logits = self.logits(torch.cat([expert, agent]))
        regularizer = self.regularizer()
        of_expert, of_agent = logits[: len(expert)], logits[len(expert) :]
        target = torch.full_like(of_expert, 1 - self.label_smoothing)
        loss = F.binary_cross_entropy_with_logits(of_expert, target) + F.softplus(of_agent).mean()
        total = loss + regularizer
        if self.entropy:
            total = total - self.entropy * (F.softplus(logits) - torch.sigmoid(logits) * logits).mean()
        if self.gradient_penalty:
            total = total + self.gradient_penalty * self._penalty(expert, agent)
        gradient_step(self.optimizer, total)
        accuracies = {"expert_accuracy": (of_expert > 0).float().mean(), "agent_accuracy": (of_agent < 0).float().mean()}
        return {"loss": loss.detach(), "expert_loss": F.softplus(-of_expert.detach()).mean(), **accuracies}

    def _penalty(self, expert: Tensor, agent: Tensor) -> Tensor:
        mix = torch.rand(len(expert), 1, generator=self.generator).to(expert)
        between = (mix * expert + (1 - mix) * agent).requires_grad_()
        (gradient,) = torch.autograd.grad(self.logits(between).sum(), between, create_graph=True)
        return (gradient.norm(dim=1) - 1).square().mean()

    def extra_repr(self) -> str:
        return f"pairs={len(self._expert_inputs)}, inputs={self.stats.mean.numel()}, form={self.form}"
