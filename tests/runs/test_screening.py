"""The screen counts what noise alone does, on a task whose answer is known."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from genrl.cli import main
from genrl.errors import RunError
from genrl.runs.screening.archive import explore_by_archive
from genrl.runs.screening.noise import NOISES, screen
from genrl.runs.screening.state_noise import StateNoise


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point on a line moves by its action, in [0, 10] where 5 is rest, from near 0; paid beyond ``goal``, costly elsewhere."""

    coverage_names = ("x", "last")
    observation_names = ("x",)
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, goal: float = 1e9) -> None:
        self.goal, self.x = goal, 0.0
        self.observation_space, self.action_space = spaces.Box(-np.inf, np.inf, (1,)), spaces.Box(0.0, 10.0, (1,))

    def progress(self) -> float:
        return self.x

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = float(self.np_random.uniform(-1e-3, 1e-3))
        return np.zeros(1, np.float32), {"last": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.x += float(action[0]) - 5
        return np.array([self.x], np.float32), 1.0 if self.x > self.goal else -1.0, False, False, {"last": float(action[0])}


class Forgetful(Line):
    """Tells of its action in the first step of an episode alone."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        begun = abs(self.x) > 1e-3
        *found, info = super().step(action)
        return *found, {} if begun else info  # type: ignore[return-value]


class LineInADict(Line):
    """Tells of its place in two ways."""

    coverage_names = ()

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Dict({"x": self.observation_space, "ahead": spaces.Discrete(2)})  # type: ignore[assignment]

    def _told(self, x: np.ndarray) -> Any:
        return {"x": x, "ahead": int(x[0] > 0)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed, options=options)
        return self._told(obs), info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, *rest = super().step(action)
        return self._told(obs), *rest  # type: ignore[return-value]


class LineWithANumber(Line):
    """Has a number of its own by the name of the method that tells how far a task has come."""

    progress = 0.5  # type: ignore[assignment]


gymnasium.register("tests/LineWithANumber-v0", entry_point=LineWithANumber, max_episode_steps=50)
gymnasium.register("tests/LineInADict-v0", entry_point=LineInADict, max_episode_steps=50)
gymnasium.register("tests/Line-v0", entry_point=Line, max_episode_steps=50)
gymnasium.register("tests/Forgetful-v0", entry_point=Forgetful, max_episode_steps=50)


def test_a_number_of_a_task_s_own_is_not_taken_for_how_far_it_has_come() -> None:
    assert screen("tests/LineWithANumber-v0", steps=60, noises=("white",))["white"].best_progress is None
    assert explore_by_archive("tests/LineWithANumber-v0", steps=60)[0].best_progress is None


def test_noise_that_is_held_longer_gets_further() -> None:
    reached = screen("tests/Line-v0", 2000)
    assert tuple(reached) == NOISES
    best = [reached[noise].best_progress or 0.0 for noise in ("white", "held-8", "held-32")]
    assert best[0] < best[1] < best[2]
    assert reached["pink"].best_progress > best[0]  # type: ignore[operator]
    assert reached["white"].visited < reached["held-32"].visited


def test_noise_of_gsde_is_a_function_of_the_state_by_a_fresh_policy() -> None:
    """θᵀ z(s) on normalised observations, of which the policy's mean is next to nothing; θ is drawn anew every so many steps."""
    before = torch.get_rng_state()
    noise, thetas = StateNoise(gymnasium.make("tests/Line-v0"), steps=3, std=0.05, seed=1), []
    for x in (0.5, -3.0, 2.0, 2.0, -1.0, 0.5):
        done = noise(np.array([x], np.float32))
        thetas.append(noise.policy.action_dist.exploration_mat)
        with torch.no_grad():
            z = noise.policy.mlp_extractor.forward_actor(noise.seen(torch.tensor([[x]], dtype=torch.float64)))
            assert done == pytest.approx(float(z @ thetas[-1] + noise.policy.action_net(z)), abs=1e-5)
    assert noise.seen.mean.item() == pytest.approx(np.mean([0.5, -3.0, 2.0, 2.0, -1.0, 0.5]))
    assert [thetas[i] is thetas[i + 1] for i in range(5)] == [True, True, False, True, True]
    assert torch.stack([thetas[0], thetas[3]]).detach().std().item() == pytest.approx(0.05, rel=0.25)
    assert torch.equal(torch.get_rng_state(), before)


def test_gsde_is_screened_where_observations_are_dicts() -> None:
    reached = [screen("tests/LineInADict-v0", 120, ("gsde-4",), seed=seed)["gsde-4"] for seed in (0, 0, 1)]
    assert reached[0] == reached[1] != reached[2]
    assert (reached[0].steps, reached[0].episodes) == (120, 3)


def test_it_counts_episodes_rewards_and_returns() -> None:
    (reach,) = screen("tests/Line-v0", 120, ("held-50",), env_kwargs={"goal": 0.0}, seed=1).values()
    assert (reach.steps, reach.episodes) == (120, 3)  # two of 50 steps, and 20 of a third
    # Held for an episode, x grows or falls all along: an episode is paid in every step or in none.
    assert reach.rewarded_episodes > 0
    assert reach.first_reward is not None and reach.first_reward % 50 == 1
    assert reach.best_return == 50.0


def test_a_task_that_never_pays_says_so() -> None:
    (reach,) = screen("tests/Line-v0", 100, ("white",)).values()
    assert (reach.rewarded_episodes, reach.first_reward, reach.best_return) == (0, None, -50.0)


def test_an_episode_that_was_cut_short_has_no_return_unless_it_is_the_only_one() -> None:
    (one,) = screen("tests/Line-v0", 10, ("white",)).values()
    (two,) = screen("tests/Line-v0", 60, ("white",)).values()
    assert (one.best_return, two.best_return) == (-10.0, -50.0)


def test_an_episode_that_was_cut_short_and_never_charged_counts_as_it_is() -> None:
    """Held for an episode, the first two are charged in each of 50 steps, and the third is paid in each of the 20 that are left of 120."""
    (reach,) = screen("tests/Line-v0", 120, ("held-50",), env_kwargs={"goal": 0.0}, seed=4).values()
    assert (reach.first_reward, reach.rewarded_episodes, reach.episodes) == (101, 1, 3)
    assert reach.best_return == 20.0


def test_ranges_are_those_of_the_named_quantities() -> None:
    (reach,) = screen("tests/Line-v0", 500, ("white",), std=10.0).values()
    assert list(reach.ranges) == ["x", "last"]
    assert reach.ranges["last"] == (0.0, 10.0)  # clipped to the task's bounds
    assert reach.ranges["x"][1] == pytest.approx(reach.best_progress)


def test_the_same_seed_gives_the_same_numbers_whatever_else_is_screened() -> None:
    alone, among = screen("tests/Line-v0", 300, ("pink",), seed=3), screen("tests/Line-v0", 300, ("white", "pink"), seed=3)
    assert alone["pink"].ranges == among["pink"].ranges == screen("tests/Line-v0", 300, ("pink",), seed=3)["pink"].ranges
    assert screen("tests/Line-v0", 300, ("pink",), seed=4)["pink"].ranges != alone["pink"].ranges


@pytest.mark.parametrize(
    ("env", "keywords", "reason"),
    [
        ("CartPole-v1", {}, r"noise needs bounded Box actions, but CartPole-v1 has Discrete\(2\)"),
        ("tests/Line-v0", {"noises": ("brown",)}, "there is no noise 'brown'; choose white, pink, held-N, such as held-8, or gsde-N"),
        ("tests/Line-v0", {"steps": 0}, "at least one step"),
        ("tests/Line-v0", {"noises": ()}, "at least one noise and a seed from 0 on, but was given 0 noises and seed 0"),
        ("tests/Line-v0", {"seed": -1}, "a seed from 0 on"),
        ("tests/Forgetful-v0", {"coverage": ("0", "last")}, "tests/Forgetful-v0 failed at step 1: 'last'"),
        ("tests/Line-v0", {"std": float("nan")}, "positive, finite std"),
        ("tests/Lin-v0", {}, "there is no task"),
    ],
)
def test_what_can_not_be_screened_is_refused(env: str, keywords: dict[str, Any], reason: str) -> None:
    with pytest.raises(RunError, match=reason):
        screen(env, **keywords)


class TestCommand:
    def test_it_shows_a_table_writes_json_and_names_the_next_command(self, tmp_path, capsys) -> None:
        words = ["screen", "--env", "genrl/SparseMountainCar-v0", "--steps", "1500", "--noises", "white", "held-16"]
        assert main([*words, "--env.goal-position", "0.3", "--out", str(tmp_path / "a" / "screen.json")]) == 0
        shown, begun = capsys.readouterr()
        assert begun == "genrl/SparseMountainCar-v0: 1,500 steps of each of white, held-16\n"
        assert "held-16" in shown and "position" in shown
        last = shown.strip().splitlines()[-1]
        assert last.endswith("genrl explore --env genrl/SparseMountainCar-v0 --env.goal-position 0.3 --reward none --noise held-16")
        content = json.loads((tmp_path / "a" / "screen.json").read_text())
        assert content["noises"]["white"]["first_reward"] is None
        assert content["noises"]["held-16"]["rewarded_episodes"] > 0

    @pytest.mark.parametrize(
        ("flags", "ending"),
        [
            (["--noises", "held-8"], "--reward none --noise held-8 --noise-std 5"),
            (["--noises", "held-8", "--std", "0.5"], "--reward none --noise held-8 --noise-std 2.5"),
            (["--noises", "held-8", "--std", "0.2"], "--reward none --noise held-8"),  # 1 in the task's units, a fresh policy's own
            (["--noises", "white"], "--reward none --noise own --learner.log-std-init 1.61"),
            (
                ["--noises", "gsde-4"],
                "--reward none --normalize-obs --learner.use-sde --learner.sde-sample-freq 4 --learner.log-std-init 1.61",
            ),
        ],
    )
    def test_the_next_command_has_a_noise_as_wide_as_what_was_screened(self, flags, ending, capsys) -> None:
        assert main(["screen", "--env", "tests/Line-v0", "--env.goal", "0.5", "--steps", "400", *flags]) == 0
        assert capsys.readouterr().out.strip().splitlines()[-1].endswith(ending)

    def test_it_says_where_a_fresh_policy_acts_elsewhere_than_the_noise(self, capsys) -> None:
        """The line's actions are about 5, and a fresh policy's about 0, the least of them: only the noise was seen to get anywhere."""
        for env, goal, elsewhere in (("tests/Line-v0", ("--env.goal", "0.5"), True), ("genrl/SparseMountainCar-v0", (), False)):
            assert main(["screen", "--env", env, *goal, "--steps", "1500", "--noises", "held-16"]) == 0
            last = " ".join(capsys.readouterr().out.split())
            assert ("but a fresh policy acts about 0" in last and "RescaleAction(env, -1, 1); try it" in last) is elsewhere

    def test_its_help_says_how_the_task_is_given_keywords(self, capsys) -> None:
        with pytest.raises(SystemExit):
            main(["screen", "--help"])
        assert "Keywords of the task itself: --env.NAME VALUE." in capsys.readouterr().out

    def test_a_file_that_is_there_is_not_overwritten(self, tmp_path, capsys, monkeypatch) -> None:
        monkeypatch.setattr("genrl.runs.screening.noise.screen", lambda *arguments, **keywords: pytest.fail("it has begun to act"))
        (tmp_path / "screen.json").write_text("mine")
        assert main(["screen", "--out", str(tmp_path / "screen.json")]) == 2
        assert "screen.json exists; choose another --out" in capsys.readouterr().err
        assert (tmp_path / "screen.json").read_text() == "mine"

    def test_one_file_for_the_numbers_and_the_episodes_is_refused(self, tmp_path, capsys) -> None:
        file = str(tmp_path / "both.hdf5")
        assert main(["screen", "--steps", "300", "--noises", "white", "--out", file, "--archive", file]) == 2
        assert f"--out and --archive are both {file}; give each a file of its own" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_where_no_noise_is_rewarded_it_says_to_try_a_bonus(self, capsys) -> None:
        assert main(["screen", "--steps", "300", "--noises", "white"]) == 0
        assert "no noise was rewarded above 0; try a bonus: genrl explore --env genrl/SparseMountainCar-v0" in capsys.readouterr().out

    def test_a_reward_that_is_never_above_0_is_not_called_sparse(self, capsys) -> None:
        assert main(["screen", "--env", "Pendulum-v1", "--steps", "200", "--noises", "white"]) == 0
        said = capsys.readouterr().out
        assert (
            "rewards were below 0: where they lead to the goal, a learner alone may do: genrl explore --env Pendulum-v1 --reward none"
            in said
        )
