"""Demonstrations in memory: which pairs they are, what they refuse."""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from genrl.data import DemonstrationError, Demonstrations, Episode
from tests.data.walks import fit, walk, walks


def pairs(demos: Demonstrations) -> list[tuple[int, int]]:
    """(episode, step) of each kept pair."""
    return [(int(k), int(t)) for k, t in demos.transitions().obs.tolist()]


class TestTransitions:
    def test_successors_are_true_also_at_an_episodes_end(self) -> None:
        obs, action, next_obs, _ = walks(3).transitions()
        assert torch.equal(next_obs, obs + torch.tensor([0.0, 1.0]))
        assert torch.equal(action[:, 0], obs[:, 1] + 0.25)
        assert next_obs[[4, 9, 14]].tolist() == [[0, 5], [1, 5], [2, 5]]

    def test_a_time_limit_terminates_nothing(self) -> None:
        terminated = walks(3).transitions().terminated
        assert terminated.dtype == torch.bool
        assert terminated.nonzero().flatten().tolist() == [9]  # the last step of episode 1, the only one that the task ended

    def test_an_end_by_the_task_and_the_clock_at_once_is_a_termination(self) -> None:
        demos = Demonstrations.from_episodes([walk(0, terminated=True, truncations=np.arange(5) == 4)])
        assert demos.transitions().terminated.tolist() == [False] * 4 + [True]
        assert (demos.episodes[0].terminated, demos.episodes[0].truncated) == (True, False)

    def test_a_termination_just_at_the_time_limit_is_the_limits_unless_both_are_marked(self) -> None:
        """Gymnasium's limit truncates its last step whatever ends there, so a mark of a termination alone can't tell the two apart."""
        wrong, both, early = walk(0, terminated=True), walk(1, terminated=True, truncations=np.arange(5) == 4), walk(2, 4, terminated=True)
        demos = Demonstrations.from_episodes([wrong, both, early]).subsample(every=2, offset=0)
        with pytest.warns(UserWarning, match=r"1 of 3 episodes that end at the task's time limit, 5 steps, and are marked as terminated"):
            limited = demos.within(5)
        assert [(e.terminated, e.truncated) for e in limited.episodes] == [(False, True), (True, False), (True, False)]
        assert pairs(limited) == pairs(demos)
        assert demos.within(None) is demos and demos.within(6) is demos

    def test_an_episode_that_is_longer_than_the_time_limit_may_be_several(self, tmp_path: Path) -> None:
        """As in a file with terminals, all false, and without timeouts: two episodes of 5 steps are one of 10, with a jump in it."""
        x = np.concatenate([np.arange(5.0), 100 + np.arange(5.0)])[:, None]
        np.savez(tmp_path / "joined.npz", observations=x, actions=np.ones((10, 1)), terminals=np.zeros(10, bool))
        joined = Demonstrations.load(tmp_path / "joined.npz")
        assert (joined.transitions().next_obs - joined.transitions().obs).flatten().tolist() == [1.0] * 4 + [96.0] + [1.0] * 4
        with pytest.warns(UserWarning, match=r"an episode of 10 steps, but the task ends one after 5; if it is several, mark where"):
            assert joined.within(5).lengths.tolist() == [10]
        np.savez(tmp_path / "pairs.npz", observations=x, actions=np.ones((10, 1)))  # without any mark they are single pairs
        with warnings.catch_warnings(action="error"):
            Demonstrations.load(tmp_path / "pairs.npz").within(5)
            joined.within(10)

    def test_floats_are_float32_and_discrete_actions_int64(self) -> None:
        double = walk(0, actions=np.arange(5.0)[:, None], observations=np.zeros((6, 2), np.uint8))
        assert [field.dtype for field in Demonstrations.from_episodes([double]).transitions()[:3]] == [torch.float32] * 3
        discrete = walks(1, discrete=True)
        assert discrete.transitions().action.dtype == torch.int64
        assert discrete.transitions().action.tolist() == [0, 1, 2, 0, 1]
        assert (discrete.discrete, discrete.action_shape, walks(1).discrete, walks(1).action_shape) == (True, (), False, (1,))

    def test_a_step_without_successor_is_no_pair_but_counts_in_return_and_length(self) -> None:
        whole = walk(2)
        demos = Demonstrations.from_episodes([dataclasses.replace(whole, observations=whole.observations[:-1], last_successor=False)])
        assert pairs(demos) == [(2, 0), (2, 1), (2, 2), (2, 3)]
        assert demos.transitions().next_obs[:, 1].tolist() == [1, 2, 3, 4]
        assert (demos.n_steps, demos.lengths.tolist(), demos.returns.tolist()) == (4, [5], [15])


class TestSubsample:
    def test_offsets_are_those_of_the_papers_generator(self) -> None:
        # numpy.random.RandomState(0).randint(0, 20, size=4) is 12, 15, 0, 3 (openai/imitation, imitate_mj.py, load_dataset)
        demos = walks(5, steps=50).subsample(episodes=4, every=20)
        assert pairs(demos) == [(0, 12), (0, 32), (1, 15), (1, 35), (2, 0), (2, 20), (2, 40), (3, 3), (3, 23), (3, 43)]

    @pytest.mark.parametrize(("n", "every", "seed"), [(3, 7, 0), (5, 10, 4), (1, 1, 2)])
    def test_offsets_are_drawn_below_every_one_an_episode(self, n: int, every: int, seed: int) -> None:
        offsets = np.random.RandomState(seed).randint(0, every, size=n)
        expected = [(k, t) for k, first in enumerate(offsets) for t in range(first, 30, every)]
        assert pairs(walks(5, steps=30).subsample(episodes=n, every=every, seed=seed)) == expected

    def test_successors_returns_and_lengths_are_of_the_full_episodes(self) -> None:
        demos = walks(2, steps=10).subsample(every=3, offset=0)
        assert pairs(demos) == [(k, t) for k in (0, 1) for t in (0, 3, 6, 9)]
        batch = demos.transitions()
        assert torch.equal(batch.next_obs, batch.obs + torch.tensor([0.0, 1.0]))  # the next step, not the next kept one
        assert batch.terminated.tolist() == [False] * 7 + [True]
        assert (demos.returns.tolist(), demos.lengths.tolist(), demos.n_steps) == ([10, 20], [10, 10], 8)

    def test_a_second_subsampling_thins_the_first(self) -> None:
        assert pairs(walks(1, steps=12).subsample(every=2, offset=1).subsample(every=3, offset=1)) == [(0, 3), (0, 9)]

    def test_an_episode_shorter_than_its_offset_gives_no_pair(self) -> None:
        demos = Demonstrations.from_episodes([walk(0, 3), walk(1, 30)]).subsample(every=20, offset=5)
        assert pairs(demos) == [(1, 5), (1, 25)]
        with pytest.raises(DemonstrationError, match="with every=20 no step is kept; take a smaller every"):
            walks(2, steps=3).subsample(every=20, offset=5)

    def test_more_episodes_than_there_are_is_refused_with_both_numbers(self) -> None:
        with pytest.raises(DemonstrationError, match="recording in memory has 3 episodes, but 4 are asked for; ask for at most 3"):
            walks(3).subsample(episodes=4)

    @pytest.mark.parametrize("keywords", [{"episodes": 0}, {"every": 0}, {"every": 5, "offset": 5}, {"every": 5, "offset": -1}])
    def test_numbers_that_cannot_be_are_refused(self, keywords: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="subsample needs episodes and every from 1 and an offset from 0 below every"):
            walks(3).subsample(**keywords)

    def test_what_was_there_stays_as_it_was(self) -> None:
        demos = walks(3)
        demos.subsample(episodes=1, every=2)
        assert (demos.n_episodes, demos.n_steps) == (3, 15)


class TestSplit:
    def test_the_parts_are_disjoint_complete_and_of_the_asked_sizes(self) -> None:
        demos = walks(4, steps=10).subsample(every=2, offset=1)
        train, held_out = demos.split(held_out=0.3, seed=0)
        assert (train.n_steps, held_out.n_steps) == (14, 6)
        assert sorted(pairs(train) + pairs(held_out)) == pairs(demos)
        for part in (train, held_out):
            assert torch.equal(part.transitions().next_obs[:, 1], part.transitions().obs[:, 1] + 1)
            assert part.returns.tolist() == demos.returns.tolist()

    def test_a_seed_repeats_it_and_another_changes_it(self) -> None:
        demos = walks(4, steps=10)
        assert pairs(demos.split(seed=3)[1]) == pairs(demos.split(seed=3)[1])
        assert pairs(demos.split(seed=3)[1]) != pairs(demos.split(seed=4)[1])

    @pytest.mark.parametrize("held_out", [0.0, 1.0, -0.5, 1.5, 0.01, 0.99])
    def test_an_empty_part_is_refused(self, held_out: float) -> None:
        with pytest.raises(DemonstrationError, match=rf"held_out={held_out} of 5 pairs leaves one part empty"):
            walks(1).split(held_out=held_out)


class TestClipped:
    def test_components_outside_are_moved_to_the_bound_and_counted(self) -> None:
        actions = np.array([[-2, 0.5], [-1, 1], [0, 1.5], [3, 3], [0, 0]], dtype=np.float32)
        demos = Demonstrations.from_episodes([walk(0, actions=actions), walk(1, actions=actions / 4)])
        inside, count = demos.clipped([-1, -1], np.ones(2, np.float32))
        assert count == 4  # -2, 1.5, 3, 3; what equals a bound is inside
        assert inside.transitions().action[:5].tolist() == [[-1, 0.5], [-1, 1], [0, 1], [1, 1], [0, 0]]
        assert inside.episodes[0].actions.dtype == np.float32
        assert demos.transitions().action.min() == -2
        assert inside.clipped(-1, 1)[1] == 0

    def test_a_bound_is_met_in_the_dtype_of_the_actions(self) -> None:
        bound = np.full((5, 1), 0.4, dtype=np.float32)  # 0.4000000059604645, above the double 0.4
        demos = Demonstrations.from_episodes([walk(0, actions=bound)])
        assert demos.clipped(-0.4, 0.4)[1] == 0

    def test_discrete_actions_are_refused(self) -> None:
        with pytest.raises(DemonstrationError, match="has discrete actions, which no box can clip"):
            walks(1, discrete=True).clipped(0, 1)


def sized(obs: int, env_kwargs: dict[str, Any] | None = None) -> Demonstrations:
    return Demonstrations.from_episodes([walk(0, observations=np.zeros((6, obs)))], env_kwargs=env_kwargs)


class TestFitted:
    def test_what_fits_passes(self) -> None:
        fit(walks(1), (2,), (1,))
        fit(walks(1, discrete=True), (2,), 3)

    @pytest.mark.parametrize(
        ("recorded", "task", "advice"),
        [
            (27, 105, "make the task with --env.include-cfrc-ext-in-observation False"),
            (105, 27, "make the task with --env.include-cfrc-ext-in-observation True"),
            (111, 105, "only Ant-v4 and older had 111: record demonstrations on the task"),
            (
                45,
                348,
                "make the task with --env.include-cinert-in-observation False --env.include-cvel-in-observation False --env.include-qfrc-a",
            ),
            (376, 348, "only Humanoid-v4 and older had 376: record demonstrations on the task"),
            (348, 45, "make Humanoid-v5 without keywords, which gives 348"),
            (18, 17, "make the task with --env.exclude-current-positions-from-observation False"),
            (17, 18, "make the task with --env.exclude-current-positions-from-observation True"),
            (12, 11, "make the task with --env.exclude-current-positions-from-observation False"),
            (17, 11, "give demonstrations of this task"),
        ],
    )
    def test_another_layout_of_observations_is_refused_with_the_keyword_that_gives_it(self, recorded: int, task: int, advice: str) -> None:
        message = f"recording in memory has observations of size {recorded}, but the task gives {task}; {advice}"
        with pytest.raises(DemonstrationError) as refusal:
            fit(sized(recorded), (task,), (1,))
        assert str(refusal.value).startswith(message)

    @pytest.mark.parametrize(
        ("task", "recorded"),
        [("Ant-v5", 27), ("Humanoid-v5", 45), ("HalfCheetah-v5", 18), ("Walker2d-v5", 18), ("Hopper-v5", 12)],
    )
    def test_the_advised_keywords_do_give_the_recorded_size(self, task: str, recorded: int) -> None:
        with gymnasium.make(task) as plain, pytest.raises(DemonstrationError) as refusal:
            fit(sized(recorded), plain.observation_space.shape or (), (1,))
        keywords = re.findall(r"--env\.(\S+) (True|False)", str(refusal.value))
        with gymnasium.make(task, **{name.replace("-", "_"): value == "True" for name, value in keywords}) as env:
            fit(sized(recorded), env.observation_space.shape or (), (1,))

    def test_an_unknown_layout_is_advised_from_the_keywords_it_was_recorded_with(self) -> None:
        advice = "make the task as it was recorded: --env.n-rays 3 --env.size 1 2 --env.seen False"
        with pytest.raises(DemonstrationError, match=f"size 7, but the task gives 5; {advice}"):
            fit(sized(7, {"n_rays": 3, "size": [1, 2], "seen": False}), (5,), (1,))
        with pytest.raises(DemonstrationError, match=r"size 7, but the task gives \(4, 4, 1\); give demonstrations of this task"):
            fit(sized(7), (4, 4, 1), (1,))

    @pytest.mark.parametrize(
        ("discrete", "action", "message"),
        [
            (False, (2,), "has actions of size 1, but the task takes actions of size 2"),
            (False, 3, r"has actions that are not whole numbers, but the task takes Discrete\(3\)"),
            (True, (1,), "has discrete actions, but the task takes actions of size 1"),
            (True, (), r"has discrete actions, but the task takes actions of size \(\)"),
            (True, 2, "has discrete actions from 0 to 2, but the task has 2, 0 to 1"),
        ],
    )
    def test_other_actions_are_refused(self, discrete: bool, action: Any, message: str) -> None:
        with pytest.raises(DemonstrationError, match=f"{message}; give demonstrations of "):
            fit(walks(2, discrete=discrete), (2,), action)

    def test_several_whole_numbers_an_action_are_not_one_of_n(self) -> None:
        demos = Demonstrations.from_episodes([walk(0, actions=np.zeros((5, 2), np.int64))])
        assert (demos.discrete, demos.action_shape, demos.transitions().action.dtype) == (False, (2,), torch.int64)
        fit(demos, (2,), (2,))
        with pytest.raises(DemonstrationError, match="of size 2, but the task takes one of 3 discrete ones"):
            fit(demos, (2,), 3)

    def test_negative_discrete_actions_are_refused(self) -> None:
        with pytest.raises(DemonstrationError, match="from -1 to 3, but the task has 4, 0 to 3"):
            fit(Demonstrations.from_episodes([walk(0, actions=np.arange(5) - 1)]), (2,), 4)


class TestRefusals:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
    @pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
    def test_a_number_that_is_not_finite_is_named_with_episode_field_and_step(self, field: str, bad: float) -> None:
        values = np.array(getattr(walk(1), field), dtype=np.float64)
        values[3] = bad
        with pytest.raises(DemonstrationError) as refusal:
            Demonstrations.from_episodes([walk(0), dataclasses.replace(walk(1), **{field: values})], source="x.npz")
        expected = (
            f"x.npz, episode 1 has {bad} in {field} at step 3, which is not a finite float32; leave the episode out or record it again"
        )
        assert str(refusal.value) == expected

    def test_the_largest_half_and_single_are_finite(self) -> None:
        for dtype in (np.float16, np.float32):
            Demonstrations.from_episodes([walk(0, observations=np.full((6, 1), np.finfo(dtype).max, dtype))])

    @pytest.mark.parametrize("field", ["observations", "actions", "rewards", "terminations", "truncations"])
    def test_lengths_that_do_not_agree_are_refused_with_all_lengths(self, field: str) -> None:
        short = dataclasses.replace(walk(0), **{field: getattr(walk(0), field)[:-1]})
        counts = {"observations": 6, "actions": 5, "rewards": 5, "terminations": 5, "truncations": 5}
        counts[field] -= 1
        given = ", ".join(f"{count} {name}" for name, count in counts.items())
        steps = counts["actions"]
        rule = f"{steps} steps need {steps + 1} observations and {steps} of each other field"
        with pytest.raises(DemonstrationError, match=f"memory, episode 0 has {given}, but {rule}; record it again"):
            Demonstrations.from_episodes([short])

    @pytest.mark.parametrize(
        ("episodes", "message"),
        [
            ([], "there are no episodes; record at least one"),
            ([walk(0, 0)], "episode 0 has no steps; leave it out"),
            ([walk(0, id=7, rewards=np.ones((5, 1)))], r"episode 7 has rewards of shape \(5, 1\), but needs one number a step, \(5,\)"),
            ([walk(0, actions=np.array(list("abcde")))], "episode 0 has actions of dtype <U1 and shape"),
            ([walk(0, actions=np.array(None))], r"episode 0 has actions of dtype object and shape \(\)"),
            ([walk(0, terminations=np.arange(5) == 2)], "episode 0 ends at step 2 of 5 in terminations or truncations, but goes on; split"),
            (
                [walk(0), walk(1), walk(2, observations=np.ones((6, 3)))],
                r"observations of shape \(2,\) .* 0 but of shape \(3,\) .* episode 2",
            ),
            (
                [walk(0), walk(1, discrete=True)],
                r"actions of shape \(1,\) and dtype float32 in episode 0 but of shape \(\) and dtype int64 in",
            ),
            ([walk(0, kept=np.array([0, 5]))], "episode 0 keeps steps that it doesn't have, or not in order; .* below 5"),
            ([walk(0, kept=np.array([2, 1]))], "keeps steps that it doesn't have, or not in order"),
            ([walk(0, kept=np.array([-1, 1]))], "keeps steps that it doesn't have, or not in order"),
            ([walk(0, kept=np.array([0.5]))], "keeps steps that it doesn't have, or not in order"),
        ],
    )
    def test_episodes_that_cannot_be_used_are_refused(self, episodes: list[Episode], message: str) -> None:
        with pytest.raises(DemonstrationError, match=message):
            Demonstrations.from_episodes(episodes)

    def test_metadata_that_no_file_could_hold_are_refused(self) -> None:
        with pytest.raises(DemonstrationError, match=r"metadata that are no plain data .*; give strings, numbers, lists"):
            Demonstrations.from_episodes([walk(0)], env_kwargs={"size": np.ones(2)})

    @pytest.mark.parametrize("spec", ["Walk-v0", {"id": 3}, {"id": "Walk-v0", "kwargs": [1]}])
    def test_a_task_that_is_no_id_with_keywords_is_refused(self, spec: Any) -> None:
        with pytest.raises(DemonstrationError, match="has an env_spec that is not an object with an id and kwargs"):
            Demonstrations.from_episodes([walk(0)], metadata={"env_spec": spec})

    def test_a_refusal_is_a_value_error_of_one_sentence(self) -> None:
        with pytest.raises(ValueError) as refusal:
            walks(1).subsample(episodes=2)
        assert isinstance(refusal.value, DemonstrationError)
        assert "\n" not in str(refusal.value)


def test_nobodys_arrays_change() -> None:
    episode = walk(0)
    demos = Demonstrations.from_episodes([episode])
    with pytest.raises(ValueError, match="read-only"):
        demos.episodes[0].observations[0] = 7
    episode.observations[0] = 0  # the recorder's own array is as it was
    for changed in (demos.clipped(0, 1)[0], demos.subsample(every=2)):
        assert not changed.episodes[0].actions.flags.writeable
    demos.transitions().obs.zero_()
    assert demos.transitions().obs[1].tolist() == [0, 1]


def test_the_task_comes_from_what_is_given_above_the_metadata() -> None:
    metadata = {"env_spec": {"id": "Old-v0", "kwargs": {"a": 1}, "entry_point": "somewhere:Task"}, "author": "me"}
    demos = Demonstrations.from_episodes([walk(0)], metadata=metadata)
    assert (demos.env_id, demos.env_kwargs) == ("Old-v0", {"a": 1})
    newer = Demonstrations.from_episodes([walk(0)], "New-v0", {"b": 2}, metadata)
    assert (newer.env_id, newer.env_kwargs, newer.metadata["env_spec"]["entry_point"]) == ("New-v0", {"b": 2}, "somewhere:Task")
    assert metadata["env_spec"] == {"id": "Old-v0", "kwargs": {"a": 1}, "entry_point": "somewhere:Task"}
    nothing = Demonstrations.from_episodes([walk(0)])
    assert (nothing.env_id, nothing.env_kwargs) == (None, {})


class TestSummary:
    def test_it_says_all_that_one_asks_first(self) -> None:
        expected = """\
recording in memory
  task          Walk-v0 --env.slow True
  episodes      3 (1 terminated, 2 truncated)
  steps         15 recorded, 7 kept as pairs
  observations  2, float32
  actions       1, float32
  return        10.0 ± 4.1 [5.0, 15.0]"""
        assert str(walks(3).subsample(every=2, offset=0).split(0.2)[0]) == expected

    def test_ends_that_look_like_a_time_limit_and_lost_successors_are_noted(self) -> None:
        ended = Demonstrations.from_episodes([walk(k, 5, terminated=True) for k in range(3)])
        assert "3 episodes terminate after exactly 5 steps; if that is a time limit, load with time_limit=5" in str(ended)
        once = Demonstrations.from_episodes([walk(k, 1, terminated=True) for k in range(3)])
        assert "3 episodes terminate after exactly 1 step; if" in str(once)
        assert "note" not in str(Demonstrations.from_episodes([walk(k, 5 + k, terminated=True) for k in range(3)]))
        assert "note" not in str(walks(3))
        never = np.zeros(5, dtype=bool)
        lost = walk(0, observations=np.zeros((5, 2)), truncations=never, last_successor=False)
        text = str(Demonstrations.from_episodes([lost]))
        assert "1 (0 terminated, 0 truncated, 1 of unknown end)" in text
        assert "5 recorded, 4 kept as pairs" in text
        assert "the file lacks what the last action of an episode led to" in text


class TestSaveRefuses:
    def test_another_ending(self, tmp_path: Path) -> None:
        with pytest.raises(DemonstrationError, match=r"walks.pkl ends in .pkl; save to .hdf5, .h5, .npz, or for Minari to a folder"):
            walks().save(tmp_path / "walks.pkl")

    @pytest.mark.parametrize("name", ["lost.hdf5", "lost-v0"])
    def test_lost_successors_in_minaris_layout(self, name: str, tmp_path: Path) -> None:
        lost = Demonstrations.from_episodes([walk(0, observations=np.zeros((5, 2)), last_successor=False)])
        with pytest.raises(DemonstrationError, match=r"lacks last successors, which Minari's layout needs; save it to .*\.npz"):
            lost.save(tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_minari_cannot_name_or_that_is_there(self, tmp_path: Path) -> None:
        with pytest.raises(DemonstrationError, match=r"out can't be a Minari data set, whose names end in a version; save to out-v0, or"):
            walks().save(tmp_path / "out")
        (tmp_path / "there-v0").mkdir()
        with pytest.raises(DemonstrationError, match="there-v0 is there already; delete it or save to another name"):
            walks().save(tmp_path / "there-v0")


def test_single_pairs_that_claim_a_last_successor_are_refused() -> None:
    no = np.zeros(3, bool)
    episode = Episode(np.zeros((4, 1)), np.zeros((3, 1)), np.zeros(3), no, no, ordered=False)
    with pytest.raises(DemonstrationError, match="does not tell what followed an action, but has last_successor=True; give False"):
        Demonstrations.from_episodes([episode])
