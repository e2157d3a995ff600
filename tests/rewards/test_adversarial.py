"""Adversarial rewards: what the discriminator sees and learns, the three forms, absorbing states, shaping, the bottleneck."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from genrl.data import DemonstrationError, Demonstrations, Episode
from genrl.files import load_state, save_state
from genrl.policies import Mixing
from genrl.rewards import AIRL, GAIL, SQIL, VAIL, Constant, DiffAIL, GAIfO, RewardCallback, TransitionPool, Transitions
from genrl.rewards.adversarial import AdversarialReward, RewardForm, reward_from_logits

OBS, ACT = spaces.Box(-1, 1, (3,)), spaces.Box(-2, 2, (2,))
KINDS: list[type[AdversarialReward]] = [GAIL, GAIfO, AIRL, VAIL, DiffAIL]


def demonstrations(n: int = 200, shift: float = 0.5, terminated: bool = False, seed: int = 0) -> Demonstrations:
    """One episode of random numbers around ``shift``."""
    rng = np.random.default_rng(seed)
    obs, act = rng.normal(shift, 0.3, (n + 1, 3)), rng.uniform(-1, 1, (n, 2)) + shift
    ends = np.arange(n) == n - 1
    no = np.zeros(n, bool)
    episode = Episode(
        obs.astype(np.float32), act.astype(np.float32), np.ones(n, np.float32), ends if terminated else no, no if terminated else ends
    )
    return Demonstrations.from_episodes([episode])


def agent(n: int = 500, shift: float = -0.5, terminated: float = 0.0, seed: int = 1) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(n, size, generator=generator) * 0.3 + shift for size in (3, 2, 3)]
    return Transitions(*draw, torch.rand(n, generator=generator) < terminated)


def pool(transitions: Transitions) -> TransitionPool:
    memory = TransitionPool(10_000)
    memory.add(transitions)
    return memory


@pytest.mark.parametrize("kind", KINDS)
class TestEveryAdversarialReward:
    def test_has_the_shared_keywords_and_declares_them_only_where_the_default_differs(self, kind):
        shared, own = inspect.signature(AdversarialReward).parameters, inspect.signature(kind).parameters
        assert set(shared) <= set(own)
        differs = {name for name in shared if own[name].default != shared[name].default}
        assert {name for name in inspect.get_annotations(kind) if name in shared} == differs == ({"form"} if kind is AIRL else set())

    def test_learns_to_tell_the_expert_and_pays_for_it(self, kind):
        demos, memory = demonstrations(), pool(agent())
        reward = kind(demos, OBS, ACT, updates=1, learning_rate=1e-2, seed=0)
        first = reward.update(memory)
        reward.updates = 300
        last = reward.update(memory)
        assert last["loss"] < first["loss"]
        with torch.no_grad():  # without the draws of VAIL and DiffAIL
            expert, other = (reward.logits(reward.inputs(transitions)) for transitions in (demos.transitions(), memory.latest))
        assert float((expert > 0).float().mean()) > 0.9
        assert float((other < 0).float().mean()) > 0.9
        reward.eval()
        assert reward(demos.transitions()).mean() > reward(memory.latest).mean() + 0.5

    def test_gives_a_gradient_to_every_parameter(self, kind):
        reward = kind(demonstrations(), OBS, ACT, updates=1)
        before = [parameter.detach().clone() for parameter in reward.parameters()]
        reward.update(pool(agent()))
        assert all(not torch.equal(a, b) for a, b in zip(before, reward.parameters(), strict=True))

    def test_saves_and_restores_exactly(self, kind, tmp_path):
        one, other = (kind(demonstrations(), OBS, ACT, seed=seed) for seed in (0, 1))
        memory = pool(agent())
        one.update(memory)
        one(agent())
        save_state(tmp_path / "reward.safetensors", one.state_dict())
        other.load_state_dict(load_state(tmp_path / "reward.safetensors"))
        state = memory.state_dict()
        one.update(memory)
        memory.load_state_dict(state)
        other.update(memory)
        one.eval(), other.eval()
        assert torch.equal(one(agent(seed=5)), other(agent(seed=5)))

    def test_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone(self, kind):
        before = torch.get_rng_state()
        rewards = [kind(demonstrations(), OBS, ACT, seed=3) for _ in range(2)]
        for reward in rewards:
            reward.update(pool(agent()))
            reward.eval()
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(*(reward(agent()) for reward in rewards))

    def test_refuses_demonstrations_of_another_task(self, kind):
        with pytest.raises(DemonstrationError):
            kind(demonstrations(), spaces.Box(-1, 1, (4,)), ACT)
        with pytest.raises(DemonstrationError):
            kind(demonstrations(), OBS, spaces.Discrete(2))

    def test_takes_demonstrated_actions_inside_the_box(self, kind):
        narrow = spaces.Box(-0.1, 0.1, (2,))
        reward = kind(demonstrations(), OBS, narrow)
        clipped = demonstrations().clipped(-0.1, 0.1)[0]
        torch.testing.assert_close(reward._expert_inputs, kind(clipped, OBS, narrow)._expert_inputs)
        assert reward.inputs(clipped.transitions()).allclose(reward._expert_inputs)


class TestTheForms:
    def test_are_functions_of_the_probability(self):
        d = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        logits = d.log() - (1 - d).log()
        torch.testing.assert_close(reward_from_logits(logits, "softplus"), -(1 - d).log())
        torch.testing.assert_close(reward_from_logits(logits, "log-d"), d.log())
        torch.testing.assert_close(reward_from_logits(logits, "logit"), logits)

    def test_have_the_signs_that_decide_about_staying_alive(self):
        logits = torch.linspace(-5, 5, 11)
        assert (reward_from_logits(logits, "softplus") > 0).all()
        assert (reward_from_logits(logits, "log-d") < 0).all()

    def test_another_one_is_refused(self):
        with pytest.raises(ValueError, match="GAIL needs form to be one of softplus, log-d, logit, but was given 'linear'"):
            GAIL(demonstrations(), OBS, ACT, form="linear")  # type: ignore[arg-type]


class TestTheLoss:
    def reward(self, **values: Any) -> GAIL:
        """h(x) = w · x with a known w, on inputs of which only the first counts."""
        reward = GAIL(demonstrations(), OBS, ACT, hidden=(4,), **({"gradient_penalty": 0.0} | values))
        reward.network = nn.Sequential(nn.Linear(6, 1))
        with torch.no_grad():
            reward.network[0].weight.copy_(torch.tensor([[2.0, 0, 0, 0, 0, 0]]))
            reward.network[0].bias.zero_()
        reward.optimizer = torch.optim.Adam(reward.parameters(), reward.learning_rate)
        return reward

    def test_is_the_cross_entropy_with_expert_one(self):
        expert, agent_ = torch.zeros(4, 6), torch.zeros(4, 6)
        expert[:, 0], agent_[:, 0] = 0.5, -1.0  # logits 1 and -2
        found = self.reward()._step(expert, agent_)
        assert float(found["loss"]) == pytest.approx(math.log1p(math.exp(-1)) + math.log1p(math.exp(-2)))
        assert float(found["expert_loss"]) == pytest.approx(math.log1p(math.exp(-1)))
        assert float(found["expert_accuracy"]) == float(found["agent_accuracy"]) == 1.0

    def test_smooths_the_label_of_the_expert_only(self):
        expert, agent_ = torch.zeros(4, 6), torch.zeros(4, 6)
        expert[:, 0], agent_[:, 0] = 0.5, -1.0
        found = self.reward(label_smoothing=0.1)._step(expert, agent_)
        of_expert = 0.9 * math.log1p(math.exp(-1)) + 0.1 * math.log1p(math.exp(1))
        assert float(found["loss"]) == pytest.approx(of_expert + math.log1p(math.exp(-2)))

    def test_penalizes_a_gradient_that_is_not_one(self):
        reward = self.reward()
        assert reward._penalty(torch.randn(8, 6), torch.randn(8, 6)).item() == pytest.approx((2.0 - 1.0) ** 2)

    def test_the_entropy_bonus_keeps_the_discriminator_unsure(self):
        losses = {}
        for weight in (0.0, 10.0):
            reward = GAIL(demonstrations(), OBS, ACT, entropy=weight, updates=300, learning_rate=1e-2)
            reward.update(pool(agent()))
            losses[weight] = reward.update(pool(agent()))["loss"]
        assert losses[10.0] > losses[0.0] + 0.3

    @pytest.mark.parametrize("kind", KINDS)
    def test_spectral_norm_bounds_every_layer(self, kind):
        reward = kind(demonstrations(), OBS, ACT, spectral_norm=True, learning_rate=0.1, updates=100)
        reward.update(pool(agent()))
        layers = [layer for layer in reward.modules() if isinstance(layer, nn.Linear)]
        assert len(layers) == {GAIL: 3, GAIfO: 3, AIRL: 6, VAIL: 4, DiffAIL: 3}[kind]
        assert all(torch.linalg.matrix_norm(layer.weight, 2) < 1.2 for layer in layers)


class TestTheInputs:
    def test_are_standardised_by_the_demonstrations_and_never_again(self):
        reward = GAIL(demonstrations(), OBS, ACT)
        inputs = reward.inputs(demonstrations().transitions())
        torch.testing.assert_close(inputs.mean(0)[:5], torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(inputs.std(0, correction=0)[:5], torch.ones(5), atol=1e-4, rtol=0)
        before = reward.stats.mean.clone()
        reward.update(pool(agent()))
        reward(agent())
        assert torch.equal(reward.stats.mean, before)

    def test_a_number_that_does_not_vary_has_a_floor_and_a_clip(self):
        demos = demonstrations()
        demos.episodes[0].observations.setflags(write=True)
        demos.episodes[0].observations[:, 0] = 0.25
        reward = GAIL(demos, OBS, ACT, std_floor=0.1, clip=5.0)
        far = agent()._replace(obs=torch.tensor([[0.35, 0.5, 0.5], [90.0, 0.5, 0.5]]), action=torch.zeros(2, 2))
        inputs = reward.inputs(Transitions(far.obs, far.action, far.next_obs[:2], far.terminated[:2]))
        assert inputs[:, 0].tolist() == pytest.approx([1.0, 5.0])

    def test_gaifo_does_not_see_actions_and_gail_no_successors(self):
        one = agent()
        other_action, other_next = one._replace(action=one.action + 1), one._replace(next_obs=one.next_obs + 1)
        gail, gaifo = GAIL(demonstrations(), OBS, ACT, normalize=False), GAIfO(demonstrations(), OBS, ACT, normalize=False)
        assert torch.equal(gaifo(one), gaifo(other_action)) and not torch.equal(gail(one), gail(other_action))
        assert torch.equal(gail(one), gail(other_next)) and not torch.equal(gaifo(one), gaifo(other_next))

    def test_a_discrete_action_is_one_hot_and_stays_so(self):
        episode = Episode(
            np.random.default_rng(0).normal(size=(11, 3)), np.arange(10) % 2, np.ones(10), np.zeros(10, bool), np.arange(10) == 9
        )
        reward = GAIL(Demonstrations.from_episodes([episode]), OBS, spaces.Discrete(2))
        inputs = reward._expert_inputs
        assert inputs[:2, 3:5].tolist() == [[1.0, 0.0], [0.0, 1.0]]


class TestNoiseOnTheInputs:
    def test_moves_numbers_by_its_deviation_and_flags_not_at_all(self):
        episode = Episode(
            np.random.default_rng(0).normal(size=(11, 3)), np.arange(10) % 2, np.ones(10), np.zeros(10, bool), np.arange(10) == 9
        )
        reward = GAIL(Demonstrations.from_episodes([episode]), OBS, spaces.Discrete(2), input_noise=0.5)
        moved = reward._disturbed(torch.ones(20_000, 5)) - 1
        assert moved[:, :3].mean(0).tolist() == pytest.approx([0] * 3, abs=0.02)
        assert moved[:, :3].std(0).tolist() == pytest.approx([0.5] * 3, abs=0.02)
        assert not moved[:, 3:].any()

    def test_moves_what_is_learnt_from_and_nothing_that_is_scored(self):
        losses = []
        for noise in (0.0, 3.0):
            reward = GAIL(demonstrations(), OBS, ACT, input_noise=noise, learning_rate=1e-2, updates=100)
            losses.append(reward.update(pool(agent()))["loss"])
            reward.eval()
            assert torch.equal(reward(agent()), reward(agent()))
        assert losses[1] > losses[0] + 0.1

    def test_keeps_few_pairs_from_being_known_by_heart(self):
        """Ten pairs of the agent's own distribution: of a further one nothing tells whose it is, which a loss of log 2 says."""
        few, others = demonstrations(10, shift=0.0), demonstrations(200, shift=0.0, seed=7)
        agents = Transitions(*demonstrations(500, shift=0.0, seed=1).transitions()[:4])
        held_out = {}
        for noise in (0.0, 1.0):
            reward = GAIL(few, OBS, ACT, held_out=others, input_noise=noise, learning_rate=3e-3, updates=500)
            held_out[noise] = reward.update(pool(agents))["held_out_loss"]
        assert held_out[1.0] < 1.0 < 1.5 < held_out[0.0]


class TestAbsorbingStates:
    """A terminated episode goes on for ever in a state of which the best discriminator is known: the ratio of two frequencies."""

    def reward(self, expert_ends: bool = False, form: RewardForm = "logit", **values: Any) -> GAIL:
        return GAIL(demonstrations(terminated=expert_ends), OBS, ACT, absorbing=True, normalize=False, form=form, **values).eval()

    def ending(self, transitions: Transitions, ended: bool) -> Transitions:
        return transitions._replace(terminated=torch.full_like(transitions.terminated, ended))

    @pytest.mark.parametrize(("updates", "seed"), [(0, 0), (0, 1), (0, 2), (1, 0), (20, 0), (200, 0)])
    @pytest.mark.parametrize("form", get_args(RewardForm))
    def test_an_end_that_no_expert_makes_is_worth_no_more_than_any_other_step(self, form, updates, seed):
        """By value: a step that ends is paid once, any other one that and what follows it, which is never below zero."""
        reward = self.reward(form=form, updates=max(updates, 1), learning_rate=3e-3, seed=seed)
        memory = pool(agent(terminated=0.1))
        if updates:
            reward.update(memory)
        steps = reward(memory.latest)
        assert float((steps < -1e-6).float().mean()) < 0.02  # the range of the agent's logits is that of a sample
        still, discount = agent(1), 0.99
        going_on = reward(self.ending(still, False)) + discount * steps.mean() / (1 - discount)
        assert float(reward(self.ending(still, True))) <= float(going_on)

    @pytest.mark.parametrize("cls", [GAIL, DiffAIL])
    def test_before_the_first_update_all_rewards_are_zero(self, cls):
        """An untrained discriminator tells nothing apart; counted from the least logit there is, each step would earn 10."""
        reward = cls(demonstrations(), OBS, ACT, absorbing=True, normalize=False, form="logit").eval()
        steps = agent(20)
        assert not reward(steps).any()
        reward.update(pool(agent(terminated=0.1)))
        assert reward(steps).any()

    def test_an_end_is_worth_zero_beside_the_rewards_of_going_on(self):
        """r = h - h_end, and the end itself adds nothing, so that continuing pays more than an end by the sum of r."""
        reward = self.reward()
        reward.end_logit.fill_(-3.0)
        with torch.no_grad():
            expected = reward.logits(reward.inputs(agent(5))) + 3.0
        torch.testing.assert_close(reward(self.ending(agent(5), True)), expected)
        torch.testing.assert_close(reward(self.ending(agent(5), False)), expected)

    def test_counting_from_the_end_is_the_sum_over_all_that_follows_but_for_a_constant(self):
        """Five steps and an end, or for ever: both ways to pay differ by h_end / (1 - gamma), whatever the path and its length."""
        reward, gamma = self.reward(), 0.9
        reward.end_logit.fill_(-3.0)
        for n in (1, 5, 9):
            path = self.ending(agent(n), False)
            with torch.no_grad():
                plain = reward.logits(reward.inputs(path))
            discounts = gamma ** torch.arange(float(n))
            unrolled = (discounts * plain).sum() + gamma**n * -3.0 / (1 - gamma)
            torch.testing.assert_close((discounts * reward(path)).sum(), unrolled + 3.0 / (1 - gamma))

    @pytest.mark.parametrize(("share", "sign"), [(0.5, -1), (0.0, 1)])
    def test_an_agent_that_ends_more_often_than_the_expert_is_paid_for_going_on_and_the_reverse(self, share, sign):
        """The expert ends once in 200 steps: h_end = log(1/200) - log(share), within the range of the agent's logits."""
        reward = self.reward(expert_ends=True, updates=30, batch_size=400, learning_rate=1e-2)
        memory = pool(agent(2000, terminated=share))
        reward.update(memory)
        with torch.no_grad():
            least, most = (float(value) for value in torch.aminmax(reward.logits(reward.inputs(memory.latest))))
        expected = math.log(1 / 200) - math.log(share or 1 / 12_001)
        assert sign * expected > 0
        assert float(reward.end_logit) == pytest.approx(min(max(expected, least), most), abs=0.3)

    def test_the_expert_ends_as_often_as_its_whole_episodes_do(self):
        """Of this episode that is subsampled the last step is not kept."""
        some = demonstrations(terminated=True).subsample(every=20, offset=3)
        assert not some.transitions().terminated.any()
        reward = GAIL(some, OBS, ACT, absorbing=True, updates=20, batch_size=500)
        reward.network = nn.Linear(5, 1)
        with torch.no_grad():  # logits of a wide range around zero, so that nothing is cut off
            reward.network.weight.fill_(100.0)
            reward.network.bias.sub_(reward.network(reward.inputs(agent())).mean())
        reward.optimizer = torch.optim.SGD(reward.parameters(), 0.0)
        reward.update(pool(agent(2000, terminated=0.05)))
        assert float(reward.end_logit) == pytest.approx(math.log(1 / 200) - math.log(0.05), abs=0.3)

    def test_a_time_limit_is_no_end(self):
        reward = self.reward(expert_ends=False)
        assert reward._ends_per_step == 0

    def test_are_restored(self):
        one, other = self.reward(), self.reward()
        one.update(pool(agent(terminated=0.1)))
        other.load_state_dict(one.state_dict())
        assert float(one.end_logit) == float(other.end_logit) != -one.bound

    def test_rewards_are_bounded_however_sure_the_discriminator_is(self):
        reward = self.reward(bound=2.0)
        reward.end_logit.fill_(-2.0)
        with torch.no_grad():
            reward.network[-1].weight.mul_(1000)
        assert float(reward(agent()).min()) >= 0.0
        assert float(reward(agent()).max()) <= 4.0


class TestAIRL:
    def test_is_a_reward_plus_shaping_that_telescopes(self):
        """Along a path the discounted sum of h is that of g, but for the potentials of its two ends."""
        reward = AIRL(demonstrations(), OBS, ACT, normalize=False, form="logit", gamma=0.9, clip=1e6)
        path = agent(21).obs
        steps = Transitions(path[:-1], agent(20).action, path[1:], torch.zeros(20, dtype=torch.bool))
        with torch.no_grad():
            discount = 0.9 ** torch.arange(20.0)
            shaped, plain = (discount * reward(steps)).sum(), (discount * reward.recovered(steps)).sum()
            _, here, there, _ = reward._split(reward.inputs(steps))
            ends = 0.9**20 * reward.potential(there[-1:]) - reward.potential(here[:1])
        torch.testing.assert_close(shaped - plain, ends.squeeze(), atol=1e-4, rtol=1e-4)

    def test_shaping_telescopes_into_the_end_too(self):
        """With g = 0 all that is left of an episode that ended is the potential of its first state."""
        reward = AIRL(demonstrations(terminated=True), OBS, ACT, normalize=False, form="logit", gamma=0.9, clip=1e6)
        for parameter in reward.reward_network.parameters():
            nn.init.zeros_(parameter)
        path = agent(6).obs
        steps = Transitions(path[:-1], agent(5).action, path[1:], torch.arange(5) == 4)
        with torch.no_grad():
            shaped = (0.9 ** torch.arange(5.0) * reward(steps)).sum()
            first = reward.potential(reward._split(reward.inputs(steps))[1][:1])
        torch.testing.assert_close(shaped, -first.squeeze(), atol=1e-4, rtol=1e-4)

    def test_a_terminal_state_has_no_potential(self):
        reward = AIRL(demonstrations(), OBS, ACT, normalize=False)
        one = agent(5)
        ended = one._replace(terminated=torch.ones(5, dtype=torch.bool))
        moved = ended._replace(next_obs=ended.next_obs + 1)
        torch.testing.assert_close(reward(ended), reward(moved))
        assert not torch.allclose(reward(one), reward(one._replace(next_obs=one.next_obs + 1)))

    def test_a_state_only_reward_does_not_see_the_action(self):
        reward = AIRL(demonstrations(), OBS, ACT, state_only=True, normalize=False)
        one = agent(5)
        assert torch.equal(reward(one), reward(one._replace(action=one.action + 1)))


class TestVAIL:
    def test_the_multiplier_grows_while_the_code_tells_too_much(self):
        reward = VAIL(demonstrations(), OBS, ACT, information=0.01, beta_step=0.1, updates=20)
        reward.update(pool(agent()))
        assert float(reward.beta) > 0
        roomy = VAIL(demonstrations(), OBS, ACT, information=1e6, updates=20)
        roomy.update(pool(agent()))
        assert float(roomy.beta) == 0

    def test_a_tight_bottleneck_keeps_the_discriminator_from_telling(self):
        losses = {}
        for information in (0.01, 100.0):
            reward = VAIL(demonstrations(), OBS, ACT, information=information, beta_step=0.5, updates=300, learning_rate=3e-3)
            reward.update(pool(agent()))
            losses[information] = reward.update(pool(agent()))["loss"]
        assert losses[0.01] > losses[100.0] + 0.3

    def test_scores_do_not_depend_on_a_draw(self):
        reward = VAIL(demonstrations(), OBS, ACT).eval()
        assert torch.equal(reward(agent()), reward(agent()))


class TestDiffAIL:
    def test_is_sure_of_what_it_predicts_and_of_what_it_does_not(self):
        """h = -log(e^L - 1): a network that predicts zero is off by the noise itself, of which the mean square is about one."""
        reward = DiffAIL(demonstrations(), OBS, ACT)
        for parameter in reward.network.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            logits = reward.logits(reward.inputs(agent(50)))
        expected = -math.log(math.exp(float(reward.noise.square().mean())) - 1)
        assert logits.tolist() == pytest.approx([expected] * 50, rel=1e-4)

    def test_its_loss_of_the_expert_is_that_of_a_diffusion_model(self):
        reward = DiffAIL(demonstrations(), OBS, ACT)
        inputs, level = reward._of_expert(200), torch.arange(200) % 10
        error = reward._error(inputs, level, torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)))
        logits = -torch.expm1(error).log()
        torch.testing.assert_close(nn.functional.softplus(-logits), error)  # -log D = L

    def test_adds_no_noise_at_first_and_leaves_none_of_the_input_at_last(self):
        kept = DiffAIL(demonstrations(), OBS, ACT).kept
        assert (kept.diff() < 0).all()
        assert float(kept[0]) > 0.9
        assert float(kept[-1]) < 0.02

    def test_scores_do_not_depend_on_a_draw(self):
        reward = DiffAIL(demonstrations(), OBS, ACT).eval()
        assert torch.equal(reward(agent()), reward(agent()))


class TestHeldOutDemonstrations:
    def test_are_not_learnt_from_and_are_in_the_log(self):
        reward = GAIL(demonstrations(), OBS, ACT, held_out=demonstrations(50, seed=7), updates=100, learning_rate=1e-2)
        assert len(reward._expert_inputs) == 200
        metrics = reward.update(pool(agent()))
        assert metrics["held_out_accuracy"] > 0.9
        assert 0 < metrics["held_out_loss"] < math.log(2)
        assert "held_out_accuracy" not in GAIL(demonstrations(), OBS, ACT).update(pool(agent()))

    def test_are_measured_as_those_that_are_learnt_from_are(self):
        one = demonstrations(1)
        metrics = GAIL(one, OBS, ACT, held_out=one, updates=1, learning_rate=1e-12).update(pool(agent()))
        assert metrics["held_out_loss"] == pytest.approx(metrics["expert_loss"], rel=1e-5)


class Counting(GAIL):
    """Remembers what it was given, and whether it had learnt by then."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.order: list[str] = []

    def forward(self, transitions: Transitions) -> torch.Tensor:
        self.order.append(f"score {transitions.batch_size}")
        return super().forward(transitions)

    def update(self, memory: Any) -> dict[str, float]:
        self.order.append("learn")
        return super().update(memory)


def pendulum_demonstrations(n: int = 60) -> Demonstrations:
    rng = np.random.default_rng(0)
    episode = Episode(
        rng.normal(size=(n + 1, 3)).astype(np.float32), rng.uniform(-2, 2, (n, 1)).astype(np.float32), np.full(n, 7.0, np.float32),
        np.zeros(n, bool), np.arange(n) == n - 1,
    )  # fmt: skip
    return Demonstrations.from_episodes([episode])


class Draw(BaseCallback):
    """Draws one batch of 16, once."""

    def __init__(self, batches: list[Any]) -> None:
        super().__init__()
        self.batches = batches

    def _on_step(self) -> bool:
        if self.num_timesteps == 60:
            self.batches.append(self.model.replay_buffer.sample(16))
        return True


class TestInALearner:
    def test_the_discriminator_learns_first_and_then_the_whole_rollout_is_scored(self):
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64, batch_size=32, n_epochs=1)
        reward = Counting(pendulum_demonstrations(), model.observation_space, model.action_space, updates=1)
        model.learn(128, callback=RewardCallback(reward, extrinsic_weight=0.0))
        assert reward.order[-4:] == ["learn", "score 64", "learn", "score 64"]

    def test_off_policy_a_batch_holds_demonstrations_rewarded_by_the_same_model(self):
        model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=32, batch_size=16, buffer_size=500, policy_kwargs={"net_arch": [8]})
        reward = Counting(pendulum_demonstrations(), model.observation_space, model.action_space, updates=1)
        demos = pendulum_demonstrations()
        callback = [RewardCallback(reward, extrinsic_weight=0.0), Mixing(demos, 0.25)]
        seen: list[Any] = []

        model.learn(64, callback=[*callback, Draw(seen)])
        (batch,) = seen
        assert batch.observations.shape == (16, 3)
        rows = {tuple(row) for row in demos.transitions().obs.tolist()}
        demonstrated = [tuple(row) in rows for row in batch.observations.tolist()]
        assert demonstrated == [False] * 12 + [True] * 4
        expert = batch.observations[12:]
        index = [[tuple(row) for row in demos.transitions().obs.tolist()].index(tuple(row)) for row in expert.tolist()]
        expected = reward.eval()(demos.transitions().rows(torch.tensor(index)))
        torch.testing.assert_close(batch.rewards[12:, 0], expected)
        torch.testing.assert_close(batch.actions[12:] * 2, demos.transitions().action[index])  # Pendulum's box is ± 2
        assert type(model.replay_buffer).__name__ == "ReplayBuffer"

    def test_sqil_pays_one_for_the_expert_and_nothing_for_the_agent(self):
        model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=32, batch_size=16, buffer_size=500, policy_kwargs={"net_arch": [8]})
        reward = SQIL(model.observation_space, model.action_space)
        batches: list[Any] = []
        callback = [RewardCallback(reward, extrinsic_weight=0.0), Mixing(pendulum_demonstrations())]
        model.learn(64, callback=[*callback, Draw(batches)])
        assert batches[0].rewards[:, 0].tolist() == [0.0] * 8 + [1.0] * 8

    def test_sqil_without_demonstrations_in_the_batches_is_refused(self):
        for model in (PPO("MlpPolicy", "Pendulum-v1"), SAC("MlpPolicy", "Pendulum-v1", buffer_size=10)):
            with pytest.raises(ValueError, match="SQIL needs demonstrations in the batches of an off-policy learner"):
                model.learn(10, callback=RewardCallback(SQIL(model.observation_space, model.action_space)))
            assert model.num_timesteps == 0

    def test_the_constant_control_pays_the_same_for_everything(self):
        reward = Constant(OBS, ACT, value=-0.5)
        assert reward(agent(7)).tolist() == [-0.5] * 7
