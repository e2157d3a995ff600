"""Files of one's own, in the spellings of others: what is in them is used, and what is not is missed by what needs it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO, SAC

from genrl.data import DemonstrationError, Demonstrations
from genrl.errors import RunError
from genrl.policies import Mixing, clone
from genrl.rewards import AIRL, GAIL, VAIL, GAIfO
from genrl.runs import ImitateConfig, imitate
from tests.data.walks import walk

LENGTHS = (4, 3, 5)
PARTS = [walk(k, steps) for k, steps in enumerate(LENGTHS)]
OBS = np.concatenate([part.observations[:-1] for part in PARTS])
NEXT = np.concatenate([part.observations[1:] for part in PARTS])
ACTIONS = np.concatenate([part.actions for part in PARTS])
REWARDS = np.concatenate([part.rewards for part in PARTS])
LAST = np.zeros(12, bool)
LAST[[3, 6, 11]] = True


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    return path


MARKS: dict[str, dict[str, Any]] = {
    "dones": {"dones": LAST},
    "dones as numbers in a column": {"dones": LAST[:, None].astype(float)},
    "done": {"done": LAST.astype(np.uint8)},
    "terminals": {"terminals": LAST},
    "terminated": {"terminated": LAST},
    "timeouts": {"timeouts": LAST},
    "truncations": {"truncations": LAST},
    "episode_starts": {"episode_starts": np.roll(LAST, 1)},
}
NAMES = [("observations", "actions"), ("obs", "acts"), ("states", "action"), ("observation", "actions")]


@pytest.mark.parametrize("ending", ["npz", "hdf5"])
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("names", NAMES, ids="-".join)
def test_any_mark_cuts_episodes_under_any_name(names: tuple[str, str], mark: str, ending: str, tmp_path: Path) -> None:
    demos = Demonstrations.load(saved(tmp_path / f"x.{ending}", dict(zip(names, (OBS, ACTIONS), strict=True)) | MARKS[mark]))
    batch = demos.transitions()
    assert batch.obs.tolist() == [[k, t] for k, steps in enumerate(LENGTHS) for t in range(steps - 1)]
    assert batch.next_obs.tolist() == [[k, t + 1] for k, steps in enumerate(LENGTHS) for t in range(steps - 1)]
    ends = {(episode.terminated, episode.truncated) for episode in demos.episodes}
    assert ends == {("term" in mark, "time" in mark or "trunc" in mark)}
    assert np.isnan(demos.returns).all()
    assert "return        unknown" in repr(demos)


@pytest.mark.parametrize(("name", "said"), [("timeouts", [False, False, True]), ("terminals", [True, True, False])])
def test_dones_beside_one_kind_of_end_tell_the_other(name: str, said: list[bool], tmp_path: Path) -> None:
    """A replay buffer of Stable-Baselines3 has dones and timeouts."""
    one = np.isin(np.arange(12), [t for t, is_one in zip((3, 6, 11), said, strict=True) if is_one])
    arrays = {"obs": OBS, "actions": ACTIONS, "next_obs": NEXT, "dones": LAST[:, None], name: one}
    demos = Demonstrations.load(saved(tmp_path / "x.npz", arrays))
    assert [episode.terminated for episode in demos.episodes] == [True, True, False]
    assert [episode.truncated for episode in demos.episodes] == [False, False, True]
    assert demos.transitions().terminated.tolist() == [t in (3, 6) for t in range(12)]


@pytest.mark.parametrize("mark", ["dones", "episode_starts", "terminals", "timeouts"])
def test_marks_of_several_environments_are_no_marks_of_steps(mark: str, tmp_path: Path) -> None:
    marks = np.zeros((12, 2), bool)
    marks[1, 0] = True
    with pytest.raises(DemonstrationError, match=r"of shape \(12, 2\), but needs one a step, \(12,\)"):
        Demonstrations.load(saved(tmp_path / "x.npz", {"obs": np.stack([OBS, OBS], 1), "actions": ACTIONS, mark: marks}))


@pytest.mark.parametrize("rewards", [REWARDS, REWARDS[:, None]])
def test_rewards_may_be_a_column(rewards: np.ndarray, tmp_path: Path) -> None:
    arrays = {"obs": OBS, "actions": ACTIONS, "next_obs": NEXT, "terminals": LAST, "rewards": rewards}
    assert Demonstrations.load(saved(tmp_path / "x.npz", arrays)).returns.tolist() == [4, 6, 15]


def test_a_row_for_each_episode_is_refused_with_what_joins_them(tmp_path: Path) -> None:
    arrays = {"observations": np.zeros((4, 10, 3)), "actions": np.zeros((4, 10, 2)), "rewards": np.ones((4, 10))}
    advice = r"rewards of shape \(4, 10\), but needs one a step, \(4,\); join rows that are episodes by reshape\(-1, \*field\.shape\[2:\]\)"
    with pytest.raises(DemonstrationError, match=advice) as refusal:
        Demonstrations.load(saved(tmp_path / "cube.npz", arrays))
    assert "terminations or truncations" in str(refusal.value)
    joined = {name: values.reshape(-1, *values.shape[2:]) for name, values in arrays.items()}
    demos = Demonstrations.load(saved(tmp_path / "flat.npz", joined | {"truncations": np.tile(np.arange(10) == 9, 4)}))
    assert demos.lengths.tolist() == [10] * 4 and demos.returns.tolist() == [10.0] * 4


@pytest.mark.parametrize("name", ["next_observations", "next_obs", "next_states"])
def test_next_observations_show_where_an_episode_ends(name: str, tmp_path: Path) -> None:
    demos = Demonstrations.load(saved(tmp_path / "x.npz", {"obs": OBS, "actions": ACTIONS, "rews": REWARDS, name: NEXT}))
    assert demos.lengths.tolist() == list(LENGTHS)
    assert demos.transitions().next_obs.tolist() == [[k, t + 1] for k, steps in enumerate(LENGTHS) for t in range(steps)]
    assert demos.returns.tolist() == [4, 6, 15]


@pytest.mark.parametrize("marks", [{}, {"timeouts": LAST}])
@pytest.mark.parametrize("kinds", [(np.float64, np.float32), (np.float32, np.float64)])
def test_doubles_are_followed_by_singles_and_the_other_way_round(kinds: Any, marks: dict[str, Any], tmp_path: Path) -> None:
    obs, following = ((rows.astype(float) + 0.1).astype(kind) for rows, kind in zip((OBS, NEXT), kinds, strict=True))
    demos = Demonstrations.load(saved(tmp_path / "x.npz", {"obs": obs, "actions": ACTIONS, "next_obs": following, "rews": REWARDS} | marks))
    assert demos.lengths.tolist() == list(LENGTHS)
    assert demos.returns.tolist() == [4, 6, 15]


def test_pairs_alone_are_pairs_alone(tmp_path: Path) -> None:
    demos = Demonstrations.load(saved(tmp_path / "x.npz", {"observations": OBS, "actions": ACTIONS}))
    assert demos.n_steps == 12
    batch = demos.transitions(successors=False)
    assert batch.obs.tolist() == OBS.tolist()
    assert batch.next_obs.isnan().all()
    with pytest.raises(DemonstrationError, match=r"x.npz does not tell what followed an action; add dones or next_observations to it, or"):
        demos.transitions()
    assert "not marked" in repr(demos)
    paid = Demonstrations.load(saved(tmp_path / "paid.npz", {"observations": OBS, "actions": ACTIONS, "rewards": REWARDS}))
    assert np.isnan(paid.returns).all()  # three episodes of 4, 6 and 15, and not one of 25
    assert "return        unknown" in repr(paid)
    train, rest = demos.split(0.25)
    assert (train.n_steps, rest.n_steps) == (9, 3)
    demos.subsample(every=3, offset=1).save(tmp_path / "y.npz")
    again = Demonstrations.load(tmp_path / "y.npz").transitions(successors=False)
    assert again.obs.tolist() == OBS[1::3].tolist()
    with pytest.raises(DemonstrationError, match="lacks last successors"):
        demos.save(tmp_path / "y.hdf5")


def pendulum(path: Path, **more: Any) -> Path:
    env = gymnasium.make("Pendulum-v1")
    env.action_space.seed(0)
    obs, actions = [env.reset(seed=0)[0]], []
    for _ in range(40):
        actions.append(env.action_space.sample())
        obs.append(env.step(actions[-1])[0])
    return saved(path, {"observations": np.stack(obs[:-1]), "actions": np.stack(actions)} | more)


def test_what_may_be_marks_under_another_name_is_named(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    Demonstrations.load(saved(tmp_path / "x.npz", {"obs": OBS, "acts": ACTIONS}))
    Demonstrations.load(saved(tmp_path / "y.npz", {"obs": OBS, "acts": ACTIONS, "dones": LAST, "speed": OBS}))
    assert not len(recwarn)
    with pytest.warns(UserWarning, match="marks no end of an episode, and ends is not read; the names of ends are terminations, trunc"):
        assert Demonstrations.load(saved(tmp_path / "z.npz", {"obs": OBS, "acts": ACTIONS, "ends": LAST})).n_episodes == 1


def test_pairs_alone_suffice_for_cloning_and_for_rewards_that_see_no_successor(tmp_path: Path) -> None:
    demos = Demonstrations.load(pendulum(tmp_path / "x.npz"))
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, seed=0)
    assert clone(model, demos, epochs=2)["epochs"] >= 1
    spaces = model.observation_space, model.action_space
    for reward in (GAIL, VAIL):
        assert reward(demos, *spaces).inputs(demos.transitions(successors=False)).isfinite().all()
    for reward in (GAIfO, AIRL):
        with pytest.raises(DemonstrationError, match="does not tell what followed an action"):
            reward(demos, *spaces)


def test_demonstrated_batches_need_successors_and_rewards(tmp_path: Path) -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=4, batch_size=8, buffer_size=100)
    with pytest.raises(DemonstrationError, match="does not tell what followed"):
        model.learn(20, callback=Mixing(Demonstrations.load(pendulum(tmp_path / "x.npz", rewards=np.ones(40)))))
    ends = np.arange(40) == 39
    without = Demonstrations.load(pendulum(tmp_path / "x.npz", dones=ends))
    with pytest.raises(DemonstrationError, match=r"x.npz has no rewards, which the batches hold; give demonstrations.paid\(0.0\)"):
        model.learn(20, callback=Mixing(without))
    model.learn(20, callback=Mixing(without.paid(0.0)))
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


def config(folder: Path, **changes: Any) -> ImitateConfig:
    values: dict[str, Any] = {
        "demos": folder / "x.npz", "env": "Pendulum-v1", "out": folder / "run", "pictures": False, "eval_episodes": 1, "n_envs": 1,
        "clone": 2, "critic_warmup": 0, "learner_kwargs": {"n_steps": 64, "batch_size": 32, "n_epochs": 1},
    }  # fmt: skip
    return ImitateConfig(**values | changes)


def test_an_imitation_takes_pairs_alone(tmp_path: Path) -> None:
    pendulum(tmp_path / "x.npz")
    result = imitate(config(tmp_path, steps=128), quiet=True)
    assert (result["status"], result["error"]) == ("finished", None)
    assert (result["imitation"]["expert_return"], result["imitation"]["pairs"]) == (None, 40)


OFF_POLICY = {"learner": "sac", "clone": 0, "steps": 60, "learner_kwargs": {"learning_starts": 20, "batch_size": 16, "buffer_size": 100}}


def test_off_policy_what_is_missing_is_said_before_a_step(tmp_path: Path) -> None:
    pendulum(tmp_path / "x.npz")
    with pytest.raises(RunError, match=r"does not tell what followed an action.* or gail, vail or diffail with --expert-fraction 0"):
        imitate(config(tmp_path, **OFF_POLICY), quiet=True)
    assert not (tmp_path / "run").exists()
    result = imitate(config(tmp_path, **OFF_POLICY, expert_fraction=0.0), quiet=True)
    assert (result["status"], result["error"]) == ("finished", None)


def test_missing_rewards_are_missed_only_where_the_task_s_own_count(tmp_path: Path) -> None:
    pendulum(tmp_path / "x.npz", dones=np.arange(40) == 39)
    with pytest.raises(RunError, match=r"has no rewards, which --extrinsic-weight 0.5 needs; leave it out, or type --expert-fraction 0"):
        imitate(config(tmp_path, **OFF_POLICY, extrinsic_weight=0.5), quiet=True)
    result = imitate(config(tmp_path, **OFF_POLICY), quiet=True)
    assert (result["status"], result["error"]) == ("finished", None)


def robomimic(path: Path, next_obs: bool = True, images: bool = False) -> Path:
    """Demonstrations whose observations are two arrays: where, and how long ago it began."""
    with h5py.File(path, "w") as file:
        for k in (10, 2, 0):
            part = walk(k, 3 + k % 3)
            demo = file.create_group(f"data/demo_{k}")
            for name, rows in (("obs", part.observations[:-1]), *([("next_obs", part.observations[1:])] if next_obs else [])):
                demo[f"{name}/b_time"], demo[f"{name}/a_walk"] = rows[:, 1:], rows[:, 0]
            demo["actions"], demo["rewards"], demo["dones"] = part.actions, part.rewards, np.ones(len(part), int)
            if images:
                demo["obs/camera"] = np.zeros((len(part), 4, 4, 3), np.uint8)
        file["mask/train"] = np.array([b"demo_0"])
        file["data"].attrs["env_args"] = '{"env_name": "Lift"}'
    return path


def test_robomimic_s_groups_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    demos = Demonstrations.load(robomimic(tmp_path / "x.hdf5"))
    assert demos.lengths.tolist() == [3, 5, 4]  # of 0, 2 and 10
    assert demos.transitions().obs.tolist() == [[k, t] for k, steps in ((0, 3), (2, 5), (10, 4)) for t in range(steps)]
    assert demos.transitions().next_obs.tolist() == [[k, t + 1] for k, steps in ((0, 3), (2, 5), (10, 4)) for t in range(steps)]
    assert not any(episode.terminated or episode.truncated for episode in demos.episodes)
    assert Demonstrations.load(robomimic(tmp_path / "y.hdf5", next_obs=False)).n_steps == 9


def test_what_robomimic_s_files_hold_that_genrl_takes_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemonstrationError, match=r"x.hdf5, demo_0 has obs/camera that is no row of numbers a step; leave images out"):
        Demonstrations.load(robomimic(tmp_path / "x.hdf5", images=True))
    with h5py.File(robomimic(tmp_path / "y.hdf5"), "a") as file:
        del file["data/demo_2/obs"]
    with pytest.raises(DemonstrationError, match=r"y.hdf5, demo_2 has no obs \(it has actions, dones, next_obs, rewards\)"):
        Demonstrations.load(tmp_path / "y.hdf5")
    with h5py.File(robomimic(tmp_path / "z.hdf5"), "a") as file:
        del file["data/demo_2/actions"]
        file["data/demo_2/actions"] = h5py.ExternalLink("elsewhere.hdf5", "/secret")
    with pytest.raises(DemonstrationError, match="is a link elsewhere"):
        Demonstrations.load(tmp_path / "z.hdf5")


def test_a_minari_id_is_looked_for_where_minari_keeps_its_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    Demonstrations.from_episodes([walk(0)]).save(tmp_path / "sets/me/walk/expert-v0")
    assert Demonstrations.load("me/walk/expert-v0").n_episodes == 1
    with pytest.raises(FileNotFoundError, match=r"at me/walk/expert-v1; .* or get the data set by `minari download me/walk/expert-v1`"):
        Demonstrations.load("me/walk/expert-v1")
    with pytest.raises(FileNotFoundError, match=r"at \.\./sets/me/walk/expert-v0; give an HDF5 or npz file, .* data set$"):
        Demonstrations.load("../sets/me/walk/expert-v0")


def test_a_field_that_is_not_needed_is_not_read_and_none_is_unpickled(tmp_path: Path) -> None:
    arrays = {"obs": OBS, "actions": ACTIONS, "dones": LAST, "infos": np.array([{}] * 12, dtype=object)}
    assert Demonstrations.load(saved(tmp_path / "x.npz", arrays)).n_episodes == 3
    with pytest.raises(DemonstrationError, match=r"x.npz has dones as pickled objects, which can run code and are never loaded"):
        Demonstrations.load(saved(tmp_path / "x.npz", arrays | {"dones": LAST.astype(object)}))


def test_a_reward_that_is_missing_here_and_there_is_refused(tmp_path: Path) -> None:
    rewards = np.where(LAST, np.nan, 1.0)
    with pytest.raises(DemonstrationError, match=r"has nan in rewards at step 3, which is not a finite float32"):
        Demonstrations.load(saved(tmp_path / "x.npz", {"obs": OBS, "actions": ACTIONS, "dones": LAST, "rewards": rewards}))


def test_discrete_actions_are_taken_in_a_column_of_floats_too_and_one_hot_ones_are_told_how(tmp_path: Path) -> None:
    env, last = gymnasium.make("CartPole-v1"), np.arange(6) % 3 == 2
    obs, actions = np.zeros((6, 4), np.float32), np.array([0, 1, 1, 0, 1, 0])
    column = Demonstrations.load(saved(tmp_path / "a.npz", {"obs": obs, "acts": actions[:, None].astype(np.float32), "dones": last}))
    taken = column.fitted(env.observation_space, env.action_space)[0].transitions(successors=False).action
    assert taken.tolist() == [0, 1, 0, 1]  # the last step of each episode has no successor
    one_hot = Demonstrations.load(saved(tmp_path / "b.npz", {"obs": obs, "acts": np.eye(2)[actions], "dones": last}))
    with pytest.raises(DemonstrationError, match=r"if these are one-hot, save actions.argmax\(1\)"):
        one_hot.fitted(env.observation_space, env.action_space)


def test_whole_numbers_in_a_column_are_actions_of_a_space_with_one_entry(tmp_path: Path) -> None:
    file = tmp_path / "own.npz"
    np.savez(file, observations=np.zeros((4, 2)), actions=np.array([[0], [2], [1], [0]]), rewards=np.ones(4), dones=[0, 0, 0, 1])
    for space in (spaces.MultiDiscrete([3]), spaces.Discrete(3)):
        fitted, _ = Demonstrations.load(file).fitted(spaces.Box(-1, 1, (2,)), space)
        assert fitted.action_shape == space.shape
        assert fitted.transitions().action.flatten().tolist() == [0, 2, 1]


def test_episodes_of_one_step_without_a_successor_say_what_is_missing(tmp_path: Path) -> None:
    rows = {"obs": np.zeros((6, 4)), "acts": np.zeros(6, int), "episode_starts": np.ones(6, bool)}
    with pytest.raises(DemonstrationError, match="no step of which it is known what followed; add next_observations"):
        Demonstrations.load(saved(tmp_path / "a.npz", rows)).subsample()


def test_bytes_of_pictures_are_not_taken_for_the_floats_that_a_task_gives(tmp_path: Path) -> None:
    """They would be 255 times as bright as what the policy sees later."""
    pictures = np.full((12, 8, 8, 1), 255, np.uint8)
    arrays = {"actions": ACTIONS, "dones": LAST}
    demos = Demonstrations.load(saved(tmp_path / "x.npz", {"obs": pictures} | arrays))
    task = spaces.Box(0, 1, (8, 8, 1)), spaces.Box(-9, 9, ACTIONS.shape[1:])
    with pytest.raises(DemonstrationError, match=r"has bytes up to 255, but the task gives floats up to 1; give observations / 255"):
        demos.fitted(*task)
    as_floats = Demonstrations.load(saved(tmp_path / "y.npz", {"obs": pictures / 255} | arrays))
    assert as_floats.fitted(*task)[0].episodes[0].observations.max() == 1
    assert demos.fitted(spaces.Box(0, 255, (8, 8, 1)), task[1])[0].episodes[0].observations.max() == 255
