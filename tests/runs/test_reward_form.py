"""How a task ends, as its demonstrations and random actions show it, and the reward that follows from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from genrl.data import Demonstrations, Episode
from genrl.errors import RunError
from genrl.roles import REWARDS
from genrl.runs import ImitateConfig, imitate
from genrl.runs.building import resolve
from genrl.runs.imitation.reward_form import Ends, choose_reward, observe_ends, with_suitable_reward

NEVER, SURVIVAL, GOAL = Ends(0.0, 0.0, 0.0), Ends(0.0, 0.0, 1 / 20), Ends(1 / 100, 1.0, 0.0)


class Walk(gymnasium.Env[np.ndarray, int]):
    """A line: 0 steps back, 1 steps on. It ends at ``goal``, or left of zero where there is a ``cliff``."""

    observation_space = gymnasium.spaces.Box(-100, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, goal: float = 1e9, cliff: bool = False) -> None:
        self.goal, self.cliff, self.x = goal, cliff, 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = 1.0
        return np.full(1, self.x, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.x += 2 * action - 1
        return np.full(1, self.x, np.float32), float(self.x), self.x >= self.goal or (self.cliff and self.x < 0), False, {}


gymnasium.register("tests/Walk-v0", entry_point=Walk, max_episode_steps=50)


def walked(n: int = 20, ends: bool = False, paid: float | None = None) -> Demonstrations:
    """An expert that steps on, ``n`` times."""
    no, last = np.zeros(n, bool), np.arange(n) == n - 1
    rewards = np.arange(1.0, n + 1) if paid is None else np.full(n, paid)
    x = np.arange(1.0, n + 2, dtype=np.float32)[:, None]
    episode = Episode(x, np.ones(n, np.int64), rewards, *((last, no) if ends else (no, last)))
    return Demonstrations.from_episodes([episode, episode], "tests/Walk-v0")


def chosen(ends: Ends, learner: str = "ppo", reward: str = "gail", **given: Any) -> dict[str, Any]:
    config = ImitateConfig(demos=Path("d.npz"), learner=learner, reward=reward, reward_kwargs=given)
    return dict(choose_reward(resolve(config)[0], given, ends)[0].reward_kwargs)


class TestTheLook:
    @pytest.mark.parametrize(
        ("kwargs", "demonstrations", "kind"),
        [
            ({}, walked(), "never"),
            ({"cliff": True}, walked(), "survival"),
            ({"cliff": True}, walked(500, ends=True), "survival"),  # the expert falls too, but later
            ({"goal": 21}, walked(20, ends=True), "goal"),
            ({}, walked(20, ends=True), "goal"),
        ],
    )
    def test_tells_what_an_end_means(self, kwargs, demonstrations, kind):
        assert observe_ends(demonstrations, gymnasium.make("tests/Walk-v0", **kwargs)).kind == kind

    @pytest.mark.parametrize("length", [3, 7, 600])
    def test_an_episode_that_always_ends_at_the_same_step_is_no_goal(self, length):
        """A thousand random steps end within one, which was counted as if it went on: 333 ends of 1,000 steps are fewer than 1 of 3."""

        class Timed(Walk):
            def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
                self.steps += 1
                return (*super().step(action)[:2], self.steps == length, False, {})

            def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
                self.steps = 0
                return super().reset(**kwargs)

        found = observe_ends(walked(length, ends=True), Timed())
        assert (found.random, found.kind) == (1 / length, "survival")
        assert found.words == "episodes can end, and the demonstrations do so no sooner than random actions"

    def test_counts_ends_per_step_and_no_time_limits(self):
        found = observe_ends(walked(20, ends=True), gymnasium.make("tests/Walk-v0"))
        assert (found.demonstrated, found.share, found.random) == (1 / 20, 1.0, 0.0)

    def test_says_so_where_the_file_does_not_say_why_an_episode_ended(self):
        assert observe_ends(walked(), gymnasium.make("tests/Walk-v0")).words == "no episode was seen to end by itself"
        silent = replace(walked(), episodes=tuple(replace(episode, truncations=0 * episode.truncations) for episode in walked().episodes))
        found = observe_ends(silent, gymnasium.make("tests/Walk-v0"))
        assert found.words == "no episode is known to end by itself (terminations in the file of the demonstrations would tell)"
        can_end = observe_ends(silent, gymnasium.make("tests/Walk-v0", cliff=True)).words
        assert can_end.startswith("episodes can end, and it is not known whether the demonstrated ones did (terminations in the file")

    def test_is_the_same_for_the_same_seed(self):
        assert observe_ends(walked(), Walk(cliff=True), seed=3) == observe_ends(walked(), Walk(cliff=True), seed=3)


class TestTheChoice:
    @pytest.mark.parametrize("reward", ["gail", "gaifo", "vail", "airl"])
    @pytest.mark.parametrize("learner", ["ppo", "sac", "dqn"])
    @pytest.mark.parametrize("ends", [NEVER, SURVIVAL, GOAL], ids=["never", "survival", "goal"])
    def test_never_pays_for_the_wrong_thing_and_so_never_warns(self, recwarn, reward, learner, ends):
        found = chosen(ends, learner, reward)
        if ends is GOAL:
            assert found["form"] == "log-d"
        if ends is SURVIVAL:
            assert found["form"] == "softplus" or found["absorbing"]
        assert found["absorbing"] == (found["form"] == "logit")
        assert not list(recwarn)

    def test_of_a_learner_with_a_replay_buffer_has_no_scale(self):
        assert chosen(SURVIVAL, "sac") | {"form": "logit", "absorbing": True, "normalize": False} == chosen(SURVIVAL, "sac")
        assert chosen(SURVIVAL, "ppo")["normalize"]

    def test_leaves_what_was_asked_for(self):
        with pytest.warns(UserWarning, match="log-d"):
            assert chosen(GOAL, form="softplus")["form"] == "softplus"
        assert chosen(SURVIVAL, form="logit")["absorbing"]

    @pytest.mark.parametrize(
        ("ends", "given", "cure"),
        [
            (GOAL, {"form": "softplus"}, "if the end is the goal, type --reward.form log-d"),
            (SURVIVAL, {"form": "log-d"}, "type --reward.absorbing, or --reward.form softplus"),
            (SURVIVAL, {"form": "logit", "absorbing": False}, "type --reward.absorbing, or --reward.form softplus"),
            (NEVER, {"absorbing": True}, "no episode was seen to end by itself on .*; it changes nothing but the sign of rewards"),
        ],
    )
    def test_warns_of_what_pays_for_the_wrong_thing_with_the_flag_that_cures_it(self, ends, given, cure):
        with pytest.warns(UserWarning, match=cure):
            chosen(ends, **given)

    @pytest.mark.parametrize("learner", ["ppo", "sac"])
    @pytest.mark.parametrize("ends", [NEVER, SURVIVAL, GOAL], ids=["never", "survival", "goal"])
    def test_does_not_warn_of_its_own_choice_where_a_run_goes_on(self, recwarn, learner, ends):
        """A run's configuration has all keywords, those that were asked for and those that were chosen."""
        found = chosen(ends, learner)
        assert chosen(ends, learner, **found) == found
        assert not list(recwarn)

    @pytest.mark.parametrize("reward", ["pwil", "sqil"])
    @pytest.mark.parametrize("ends", [True, False])
    def test_warns_of_a_reward_that_can_only_pay_for_going_on_where_the_end_is_the_goal(self, recwarn, reward, ends):
        config, classes = resolve(ImitateConfig(demos=Path("d.npz"), env="tests/Walk-v0", learner="dqn", reward=reward))
        with_suitable_reward(config, classes, {}, walked(20, ends=ends), gymnasium.make("tests/Walk-v0"))
        assert any("if the end is the goal, type --reward gail" in str(item.message) for item in recwarn) is ends

    @pytest.mark.parametrize("steps", [20_480, 20_481])
    def test_tells_where_a_cloned_policy_is_held_still_to_the_end(self, recwarn, steps):
        config, classes = resolve(ImitateConfig(demos=Path("d.npz"), env="tests/Walk-v0", steps=steps))
        with_suitable_reward(config, classes, {}, walked(), gymnasium.make("tests/Walk-v0"))
        assert any("the policy is as it was cloned" in str(item.message) for item in recwarn) is (steps == 20_480)

    @pytest.mark.parametrize(("paid", "told"), [(1.0, "--reward constant$"), (-1.0, "--reward constant --reward.value -1$"), (None, "")])
    def test_tells_where_the_control_would_do_as_well(self, recwarn, paid, told):
        config, classes = resolve(ImitateConfig(demos=Path("d.npz"), env="tests/Walk-v0"))
        if told:
            with pytest.warns(UserWarning, match=told):
                with_suitable_reward(config, classes, {}, walked(paid=paid), Walk())
        else:
            with_suitable_reward(config, classes, {}, walked(paid=paid), Walk())
            assert not list(recwarn)


class TestARun:
    def config(self, path: Path, demonstrations: Demonstrations, **values: Any) -> ImitateConfig:
        demonstrations.save(path / "d.npz")
        small = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "net_arch": (8,)}
        return ImitateConfig(
            **{"demos": path / "d.npz", "out": path / "run", "steps": 64, "n_envs": 2, "clone": 1, "eval_episodes": 0, "pictures": False}
            | {"learner_kwargs": small, "reward_kwargs": {"updates": 1, "batch_size": 16}}
            | values
        )

    def test_says_its_choice_and_records_it(self, tmp_path, capsys):
        imitate(self.config(tmp_path, walked(20, ends=True)))
        said = (
            "40 pairs of 2 episodes, returns from 210 to 210; gail of form log-d, because the demonstrations end by themselves, sooner than"
        )
        said += " random actions do"
        assert said in capsys.readouterr().err.splitlines()
        assert json.loads((tmp_path / "run" / "config.json").read_text())["reward_kwargs"]["form"] == "log-d"
        assert json.loads((tmp_path / "run" / "imitation.json").read_text())["choice"] == said

    def test_ends_that_are_the_time_limits_are_no_goal(self, tmp_path, capsys):
        """50 steps are the task's limit; a recorder that knows nothing of limits has marked them as terminations."""
        with pytest.warns(UserWarning, match=r"2 of 2 episodes that end at the task's time limit, 50 steps, and are marked as terminated"):
            imitate(self.config(tmp_path, walked(50, ends=True)))
        assert "of form softplus, because no episode was seen to end by itself" in capsys.readouterr().err

    def test_one_episode_is_no_episodes(self, tmp_path, capsys):
        imitate(self.config(tmp_path, walked(20, ends=True).subsample(episodes=1), steps=0))
        assert "20 pairs of 1 episode, returns" in capsys.readouterr().err

    def test_refuses_statistics_that_do_not_fit_the_task(self, tmp_path):
        """Observations that were normalised, or are of other units, put the task's own at the clip."""
        shifted = [Episode(e.observations + 1000, e.actions, e.rewards, e.terminations, e.truncations) for e in walked().episodes]
        wide = Walk()
        wide.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (1,), np.float32)
        demonstrations = Demonstrations.from_episodes(shifted, "tests/Walk-v0")
        config, classes = resolve(ImitateConfig(demos=Path("d.npz"), env="tests/Walk-v0"))
        with pytest.raises(
            RunError, match=r"1 of the 1 numbers that tests/Walk-v0 begins with .* so these can't normalise them; .*--any-task"
        ):
            with_suitable_reward(config, classes, {}, demonstrations, wide)
        for values in ({"any_task": True}, {"normalize_obs": False}):
            allowed, classes = resolve(ImitateConfig(demos=Path("d.npz"), env="tests/Walk-v0", **values))
            with_suitable_reward(allowed, classes, {}, demonstrations, wide)


def test_the_rewards_with_forms_are_those_of_a_discriminator():
    names = ("gail", "gaifo", "airl", "vail", "diffail")
    assert [part.name for part in REWARDS.parts if "form" in part.defaults_of("imitate", off_policy=True)] == list(names)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("halfcheetah", "never"),
        ("reacher", "never"),
        ("hopper", "survival"),
        ("walker2d", "survival"),
        ("humanoid", "survival"),
        ("cartpole", "survival"),  # its experts fall too, most of them, but twenty times later
        ("invertedpendulum", "survival"),
        ("mountaincar", "goal"),
        ("acrobot", "goal"),
    ],
)
def test_what_an_end_means_on_the_tasks_of_the_gail_paper(shared, task, kind):
    folder = next((shared / "data" / "demonstrations" / "experts" / task).glob("*-v0"))
    demonstrations = Demonstrations.load(folder).subsample(episodes=4)
    assert observe_ends(demonstrations, gymnasium.make(demonstrations.env_id or "", **demonstrations.env_kwargs)).kind == kind
