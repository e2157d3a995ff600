"""An archive goes back to what it reached, and what it finds is an episode that can be lived again."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from genrl.cli import main
from genrl.errors import RunError
from genrl.runs.screening.archive import Archive, explore_by_archive
from genrl.runs.screening.noise import Look, screen


class Corridor(gymnasium.Env[Any, Any]):
    """A line of which each step goes at most 1; a reward at 130, and the episode ends."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Box(-1, 1, (1,))
    repeats = True

    def __init__(self, trouble: str = "", goal: float = 130, length: float = 130, fee: float = 0.0) -> None:
        self.trouble, self.goal, self.length, self.fee, self.began, self.steps = trouble, goal, length, fee, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed if self.repeats else None)
        self.began += 1
        if self.trouble == "once" and self.began > 1:
            raise RuntimeError("it begins once")
        self.x = float(self.np_random.normal() if self.repeats else self.np_random.integers(-120, 120))
        return np.array([self.x, 0.0], dtype=np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.x += float(action[0])
        self.steps += 1
        trouble = self.trouble if self.steps > 50 else ""
        if trouble == "raises":
            raise RuntimeError("the simulator broke")
        obs = np.array([np.nan if trouble == "place" else self.x, 0.0], dtype=np.float32)
        return obs, np.nan if trouble == "reward" else float(self.x > self.goal) - self.fee, self.x > self.length, False, {}


class Jumping(Corridor):
    repeats = False


class Nowhere(Corridor):
    observation_space: Any = spaces.Dict({"x": spaces.Box(-np.inf, np.inf, (2,))})


gymnasium.register("test/Nowhere-v0", Nowhere, max_episode_steps=400)
gymnasium.register("test/Corridor-v0", lambda **keywords: Corridor(**keywords), max_episode_steps=400)
gymnasium.register("test/Jumping-v0", lambda **keywords: Jumping(**keywords), max_episode_steps=400)
PLACES: Any = {"coverage": ("0", "1")}


class TestTheArchive:
    def test_it_finds_what_noise_does_not(self):
        reached = screen("test/Corridor-v0", 30_000, ("white", "held-8"), **PLACES)
        assert [reach.rewarded_episodes for reach in reached.values()] == [0, 0]
        reach, found = explore_by_archive("test/Corridor-v0", 30_000, **PLACES)
        assert found is not None
        assert reach.rewarded_episodes > 0
        assert reach.steps == 30_000

    def test_what_it_found_can_be_lived_again(self):
        _, found = explore_by_archive("test/Corridor-v0", 30_000, **PLACES)
        assert found is not None
        for episode in found.episodes:
            env = gymnasium.make("test/Corridor-v0")
            assert np.array_equal(env.reset(seed=episode.seed)[0], episode.observations[0])
            lived = [env.step(action) for action in episode.actions]
            assert np.array_equal(np.array([step[0] for step in lived]), episode.observations[1:])
            assert episode.rewards.tolist() == [step[1] for step in lived]
            assert episode.rewards[-1] == 1.0
            assert episode.terminations[-1]

    def test_what_a_task_observes_in_one_array_all_the_time_is_kept_of_each_step(self):
        class InOneArray(Corridor):
            place = np.zeros(2, np.float32)

            def reset(self, **kwargs):
                self.place[:], info = super().reset(**kwargs)
                return self.place, info

            def step(self, action):
                self.place[:], *others = super().step(action)
                return self.place, *others

        actions = np.ones((5, 1), np.float32)
        lived = [
            Archive(env, Look(env, ("0", "1")), "white", 1.0, 0).live(actions)
            for env in (kind(goal=-200) for kind in (Corridor, InOneArray))
        ]
        np.testing.assert_array_equal(lived[0].observations, lived[1].observations)
        np.testing.assert_allclose(np.diff(lived[1].observations[:, 0]), 1, atol=1e-5)

    def test_its_ways_lead_to_their_places(self):
        env = gymnasium.make("test/Corridor-v0")
        archive = Archive(env, Look(env, ("0", "1")), "held-8", 1.0, seed=3)
        archive.explore(5000)
        for place, way in archive.ways.items():
            env.reset(seed=3)
            obs = [env.step(action)[0] for action in way][-1]
            assert tuple(np.floor(obs / archive.map.width).astype(int)) == place

    def test_the_same_seed_finds_the_same(self):
        first, second = (explore_by_archive("test/Corridor-v0", 3000, seed=5, **PLACES)[0] for _ in range(2))
        assert first == second

    def test_a_task_whose_every_step_ends_its_episode_has_no_place_to_go_back_to(self):
        reach, found = explore_by_archive("test/Corridor-v0", 20, env_kwargs={"length": -1e9}, **PLACES)
        assert (reach.steps, reach.episodes, found) == (20, 20, None)

    def test_an_episode_that_it_leaves_early_is_not_the_best_where_each_step_is_charged_for(self):
        """An episode has 400 steps, of which each costs 1; a burst from the start has 64."""
        env = gymnasium.make("test/Corridor-v0", fee=1.0)
        archive = Archive(env, Look(env, ("0", "1")), "held-8", 1.0, seed=0)
        archive.explore(64)
        assert archive.reach.best_return == -64  # none has ended
        archive.burst = 500
        archive.explore(2000)
        assert archive.reach.best_return == -400

    def test_several_starts_share_the_steps_and_each_has_its_ways(self):
        reach, found = explore_by_archive("test/Corridor-v0", 60_001, seed=4, starts=2, **PLACES)
        assert reach.steps == 60_001
        seeds = [episode.seed for episode in found.episodes]
        assert (seeds, 5 < len(seeds) <= 10) == ([4] * 5 + [5] * (len(seeds) - 5), True)  # the second start had fewer
        assert reach.best_return == 1.0
        alone = [explore_by_archive("test/Corridor-v0", 30_000, seed=4, **PLACES)[1].episodes[0]]
        np.testing.assert_array_equal(found.episodes[0].actions, alone[0].actions)  # the first start's archive is that of one start
        starts = [gymnasium.make("test/Corridor-v0").reset(seed=episode.seed)[0] for episode in found.episodes]
        np.testing.assert_array_equal(starts, [episode.observations[0] for episode in found.episodes])

    def test_starts_without_steps_are_refused(self):
        with pytest.raises(RunError, match="an archive needs at least one step for each of 3 starts, but was given 2"):
            explore_by_archive("test/Corridor-v0", 2, starts=3, **PLACES)

    def test_the_way_back_counts(self):
        env = gymnasium.make("test/Corridor-v0")
        archive = Archive(env, Look(env, ("0", "1")), "held-8", 1.0, seed=0)
        archive.explore(1000)
        assert len(archive.points) == archive.reach.steps == 1000


class TestWhatIsRefused:
    def test_a_task_that_does_not_repeat(self):
        with pytest.raises(RunError, match="does not repeat"):
            explore_by_archive("test/Jumping-v0", 40_000, **PLACES)

    def test_a_task_that_does_not_repeat_though_it_rewards_every_step(self):
        with pytest.raises(RunError, match="does not repeat"):
            explore_by_archive("test/Jumping-v0", 1000, env_kwargs={"goal": -1e9}, **PLACES)

    @pytest.mark.parametrize(
        ("trouble", "said"),
        [
            ("once", "Corridor-v0 can't begin an episode: it begins once"),
            ("raises", "Corridor-v0 failed at step 50: the simulator broke"),
            ("reward", "Corridor-v0 gave nan as its reward at step 50; check the task"),
            ("place", "Corridor-v0 gave nan as its 0 at step 50; check the task"),
        ],
    )
    @pytest.mark.parametrize("by", [screen, explore_by_archive])
    def test_a_task_that_fails_is_one_sentence(self, by, trouble, said):
        with pytest.raises(RunError, match=said):
            by("test/Corridor-v0", 1000, env_kwargs={"trouble": trouble}, **PLACES)

    def test_a_name_of_a_file_that_can_not_be_before_anything_is_explored(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("genrl.runs.screening.noise.screen", lambda *args, **keywords: pytest.fail("it was explored"))
        assert main(["screen", "--env", "test/Corridor-v0", "--archive", str(tmp_path / "found.txt")]) == 2
        assert "found.txt ends in .txt; save to .hdf5" in capsys.readouterr().err

    def test_an_archive_that_found_nothing_says_that_it_wrote_nothing(self, tmp_path, capsys):
        file = tmp_path / "found.npz"
        words = ["--steps", "100", "--noises", "white", "--env.goal", "1e9", "--coverage", "0", "1", "--archive", str(file)]
        assert main(["screen", "--env", "test/Corridor-v0", *words]) == 0
        assert f"the archive found no reward, so {file} was not written\n" in capsys.readouterr().out
        assert not file.exists()

    @pytest.mark.parametrize(("goal", "rewarded"), [("1", True), ("60", False)])
    def test_an_archive_that_found_a_reward_hides_no_noise_that_did(self, goal, rewarded, tmp_path, capsys):
        words = ["--steps", "8000", "--noises", "white", "--env.goal", goal, "--coverage", "0", "1", "--archive", str(tmp_path / "a.npz")]
        assert main(["screen", "--env", "test/Corridor-v0", *words]) == 0
        printed = capsys.readouterr().out
        assert "the archive found a reward" in printed
        assert ("try it before a bonus: genrl explore" in printed) == rewarded
        assert "no noise was rewarded" not in printed

    def test_a_task_without_places_before_any_noise_has_acted(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("genrl.runs.screening.noise.screen", lambda *args, **keywords: pytest.fail("it was explored"))
        assert main(["screen", "--env", "test/Nowhere-v0", "--archive", str(tmp_path / "a.npz")]) == 2
        assert "an archive needs two numbers that tell places apart; name them: --coverage NAME NAME" in capsys.readouterr().err

    def test_what_the_noises_reached_is_shown_where_the_archive_fails(self, tmp_path, capsys):
        words = ["--steps", "2000", "--noises", "white", "--env.goal", "-1e9", "--coverage", "0", "1", "--archive", str(tmp_path / "a.npz")]
        assert main(["screen", "--env", "test/Jumping-v0", *words]) == 2
        said = capsys.readouterr()
        assert "does not repeat" in said.err
        assert "rewarded" in said.out

    def test_discrete_actions(self):
        with pytest.raises(RunError, match="noise needs bounded Box actions, but CartPole-v1 has"):
            explore_by_archive("CartPole-v1", 100, **PLACES)

    def test_no_steps(self):
        with pytest.raises(RunError, match="at least one step"):
            explore_by_archive("test/Corridor-v0", 0, **PLACES)
