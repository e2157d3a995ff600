"""Demonstrations from files: they come back exactly, foreign ones are understood, bad ones are refused, and nothing in them is run."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from genrl.data import DemonstrationError, Demonstrations, _minari
from tests.data.walks import assert_same, walk, walks

SAVED = ["walks.hdf5", "walks.h5", "walks.npz", "below/walks-v0"]


def refused(path: Path, **keywords: Any) -> str:
    with pytest.raises(DemonstrationError) as refusal:
        Demonstrations.load(path, **keywords)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def minari_file(path: Path, n: int = 2, change: Callable[[h5py.File], None] = lambda file: None, **metadata: Any) -> Path:
    """``n`` walks as Minari writes them, then ``change``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for k in range(n):
            group = file.create_group(f"episode_{k}")
            group.attrs.update({"id": k, "seed": 1000 + k, "total_steps": 5})
            for name in ("observations", "actions", "rewards", "terminations", "truncations"):
                group[name] = getattr(walk(k), name)
        change(file)
    if metadata:
        path.with_name("metadata.json").write_text(json.dumps(metadata))
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("name", SAVED)
    @pytest.mark.parametrize(
        "demos", [walks(), walks(discrete=True), walks(4, 9).subsample(3, 4)], ids=["continuous", "discrete", "thinned"]
    )
    def test_all_that_was_saved_comes_back_in_its_dtype(self, name: str, demos: Demonstrations, tmp_path: Path) -> None:
        demos.save(tmp_path / name)
        loaded = Demonstrations.load(tmp_path / name)
        assert_same(loaded, demos)
        assert loaded.source == str(tmp_path / name)
        assert [episode.id for episode in loaded.episodes] == ([None] * 3 if name.endswith("npz") else [0, 1, 2])
        loaded.save(tmp_path / f"again-{Path(name).name}")
        assert_same(Demonstrations.load(tmp_path / f"again-{Path(name).name}"), demos)

    @pytest.mark.parametrize("name", SAVED)
    def test_images_metadata_and_lengths_come_back(self, name: str, tmp_path: Path) -> None:
        images = [np.random.default_rng(k).integers(0, 256, (k + 3, 90, 90, 3), dtype=np.uint8) for k in range(2)]
        space = {"type": "Box", "dtype": "uint8", "shape": [90, 90, 3]}  # its bounds as lists are above 64 kB
        space |= {side: np.full((90, 90, 3), limit).tolist() for side, limit in (("low", 0), ("high", 255))}
        metadata = {"observation_space": space, "author": ["A", "Ü"], "description": '[odd "one', "n": 3, "empty": "", "x": {"y": 0.5}}
        episodes = [walk(k, k + 2, observations=image) for k, image in enumerate(images)]
        demos = Demonstrations.from_episodes(episodes, "Walk-v0", metadata=metadata)
        demos.save(tmp_path / name)
        loaded = Demonstrations.load(tmp_path / name)
        assert_same(loaded, demos)
        assert {key: loaded.metadata[key] for key in metadata} == metadata
        assert loaded.lengths.tolist() == [2, 3]

    @pytest.mark.parametrize("name", SAVED)
    def test_metadata_that_say_nothing_come_back_as_nothing(self, name: str, tmp_path: Path) -> None:
        Demonstrations.from_episodes([walk(0)], "Walk-v0", metadata={"author": None}).save(tmp_path / name)
        assert Demonstrations.load(tmp_path / name).metadata.get("author") is None

    def test_lost_successors_and_unknown_ends_come_back_from_npz(self, tmp_path: Path) -> None:
        lost = dataclasses.replace(walk(1), observations=walk(1).observations[:-1], truncations=np.zeros(5, bool), last_successor=False)
        demos = Demonstrations.from_episodes([walk(0), lost])
        demos.save(tmp_path / "lost.npz")
        assert_same(Demonstrations.load(tmp_path / "lost.npz"), demos)

    @pytest.mark.parametrize("name", SAVED)
    def test_the_same_demonstrations_are_the_same_bytes(self, name: str, tmp_path: Path) -> None:
        walks().save(tmp_path / "a" / name)
        walks().save(tmp_path / "b" / name)
        for file in (tmp_path / "a").rglob("*"):
            if file.is_file():
                assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()

    @pytest.mark.parametrize("name", SAVED)
    def test_a_save_that_fails_leaves_what_was_there(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError("no space left on device")

        file = not name.endswith("v0")
        if file:
            walks(2).save(tmp_path / name)
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(OSError, match="no space"):
                walks(3).save(tmp_path / name)
        assert [path.name for path in (tmp_path / name).parent.iterdir()] == ([name] if file else [])
        if file:
            assert Demonstrations.load(tmp_path / name).n_episodes == 2

    def test_compressed_files_are_smaller_than_their_numbers(self, tmp_path: Path) -> None:
        demos = walks(4, 2000)
        demos.save(tmp_path / "x.hdf5")
        fields = ("observations", "actions", "rewards", "terminations", "truncations")
        raw = sum(getattr(episode, name).nbytes for episode in demos.episodes for name in fields)
        assert (tmp_path / "x.hdf5").stat().st_size < raw / 2


class TestMinari:
    def test_episodes_are_in_the_order_of_their_ids_not_of_their_names(self, tmp_path: Path) -> None:
        demos = Demonstrations.load(minari_file(tmp_path / "x.hdf5", 12))  # HDF5 lists episode_10 before episode_2
        assert [int(episode.observations[0, 0]) for episode in demos.episodes] == list(range(12))

        def renumber(file: h5py.File) -> None:
            for k in range(3):
                file[f"episode_{k}"].attrs["id"] = 10 - k

        demos = Demonstrations.load(minari_file(tmp_path / "y.hdf5", 3, renumber))
        assert [(episode.id, episode.seed) for episode in demos.episodes] == [(8, 1002), (9, 1001), (10, 1000)]

    def test_without_ids_and_seeds_the_names_number_them(self, tmp_path: Path) -> None:
        def strip(file: h5py.File) -> None:
            for group in file.values():
                del group.attrs["id"], group.attrs["seed"]

        demos = Demonstrations.load(minari_file(tmp_path / "x.hdf5", 11, strip))
        assert [(episode.id, episode.seed) for episode in demos.episodes] == [(k, None) for k in range(11)]

    @pytest.mark.parametrize("place", ["w-v0", "w-v0/data", "w-v0/data/main_data.hdf5"])
    @pytest.mark.parametrize("as_text", [True, False])
    def test_the_task_is_read_from_the_metadata_beside_the_file(self, place: str, as_text: bool, tmp_path: Path) -> None:
        spec = {"id": "Walk-v0", "entry_point": "os:abort", "kwargs": {"slow": True}}  # a name of code is a string like others
        minari_file(tmp_path / "w-v0/data/main_data.hdf5", env_spec=json.dumps(spec) if as_text else spec, total_steps=10, note="[1]")
        demos = Demonstrations.load(tmp_path / place)
        assert (demos.env_id, demos.env_kwargs, demos.n_steps) == ("Walk-v0", {"slow": True}, 10)
        assert demos.metadata == {"env_spec": spec, "note": "[1]"}  # without what follows from the episodes

    @pytest.mark.parametrize("kind", [str, str.encode, np.bytes_])
    def test_the_task_is_read_from_the_attributes_of_the_root(self, kind: Callable[[str], Any], tmp_path: Path) -> None:
        def describe(file: h5py.File) -> None:
            file.attrs["env_spec"] = kind(json.dumps({"id": "Walk-v0", "kwargs": {"slow": True}}))
            file.attrs["total_episodes"] = np.int64(2)

        minari_file(tmp_path / "x.hdf5", 2, describe, env_spec={"id": "Another-v0"})  # metadata.json of another file in this folder
        demos = Demonstrations.load(tmp_path / "x.hdf5")
        assert (demos.env_id, demos.env_kwargs, dict(demos.metadata).keys()) == ("Walk-v0", {"slow": True}, {"env_spec"})

    def test_attributes_of_any_kind_are_plain_data(self, tmp_path: Path) -> None:
        def describe(file: h5py.File) -> None:
            file.attrs.update({"names": ["a", "Ü"], "raw": np.array([b"x", b"y"]), "size": np.arange(2), "share": np.float32(0.5)})
            file.attrs.update({"empty": h5py.Empty("f"), "link": file["episode_0"].ref, "env_spec": "{}", "text": "{no JSON"})

        metadata = Demonstrations.load(minari_file(tmp_path / "x.hdf5", 1, describe)).metadata
        assert metadata == {"names": ["a", "Ü"], "raw": ["x", "y"], "size": [0, 1], "share": 0.5, "text": "{no JSON", "env_spec": {}}

    def test_a_time_limit_turns_ends_at_that_length_into_truncations(self, tmp_path: Path) -> None:
        demos = Demonstrations.from_episodes([walk(0, 5, terminated=True), walk(1, 4, terminated=True), walk(2, 5)])
        demos.save(tmp_path / "x.hdf5")
        limited = Demonstrations.load(tmp_path / "x.hdf5", time_limit=5)
        assert [(e.terminated, e.truncated) for e in limited.episodes] == [(False, True), (True, False), (False, True)]
        assert limited.transitions().terminated.nonzero().flatten().tolist() == [8]
        message = "x.hdf5, episode 0 has 5 steps, more than the time limit of 4; give the limit of the task that was recorded"
        assert message in refused(tmp_path / "x.hdf5", time_limit=4)


def nested(file: h5py.File) -> None:
    del file["episode_1/observations"]
    file["episode_1/observations/position"] = np.zeros((6, 2))


def without_rewards(file: h5py.File) -> None:
    del file["episode_1/rewards"]


def one_observation_short(file: h5py.File) -> None:
    del file["episode_1/observations"]
    file["episode_1/observations"] = np.zeros((5, 2))


def with_nan(file: h5py.File) -> None:
    file["episode_1/actions"][2] = np.nan


def elsewhere(file: h5py.File) -> None:
    del file["episode_1/rewards"]
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource("missing.hdf5", "rewards", (5,))
    file["episode_1"].create_virtual_dataset("rewards", layout)  # would read as zeros


def broken_link(file: h5py.File) -> None:
    del file["episode_1"]
    file["episode_1"] = h5py.SoftLink("/gone")


class TestMinariRefusals:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (nested, "x.hdf5, episode 1 has nested observations (position), but genrl takes one array; flatten them"),
            (
                without_rewards,
                "x.hdf5, episode 1 has no rewards (it has actions, observations, terminations, truncations); record it again",
            ),
            (
                one_observation_short,
                "x.hdf5, episode 1 has 5 observations, 5 actions, 5 rewards, 5 terminations, 5 truncations, but 5 steps",
            ),
            (with_nan, "x.hdf5, episode 1 has nan in actions at step 2, which is not a finite float32"),
            (elsewhere, "x.hdf5, episode 1 has rewards that lie in other files; copy them into this one"),
            (broken_link, "x.hdf5 has episode_1 that is a link elsewhere"),
            (
                h5py.File.clear,
                "x.hdf5 is HDF5 but has no episode_0, episode_1, … as Minari writes them (it has nothing); give one that has",
            ),
        ],
    )
    def test_bad_episodes_are_refused_by_name(self, change: Callable[[h5py.File], None], message: str, tmp_path: Path) -> None:
        assert message in refused(minari_file(tmp_path / "x.hdf5", 3, change))

    def test_a_truncated_file_is_refused_wherever_it_was_cut(self, tmp_path: Path) -> None:
        whole = minari_file(tmp_path / "x.hdf5").read_bytes()
        for share in range(1, 20):
            (tmp_path / "cut.hdf5").write_bytes(whole[: len(whole) * share // 20])
            assert "cut.hdf5 is not a whole HDF5 file" in refused(tmp_path / "cut.hdf5")

    def test_jpeg_images_are_refused(self, tmp_path: Path) -> None:
        path = minari_file(tmp_path / "x.hdf5", observation_space={"type": "Box", "dtype": "uint8", "shape": [9, 9, 3]})
        assert "has observations of shape (2,), but its metadata say (9, 9, 3); record images with jpeg_encoding=False" in refused(path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"env_spec": ', "metadata.json is not valid JSON (Expecting value: line 1 column 14 (char 13)); restore it from a copy"),
            ("[1]", "metadata.json holds a JSON list where an object is needed"),
            ('{"env_spec": "{\\"id\\": "}', "metadata.json has env_spec that is not a JSON object; restore it from a copy"),
            ('{"action_space": 3}', "metadata.json has action_space that is not a JSON object"),
        ],
    )
    def test_broken_metadata_are_refused(self, text: str, message: str, tmp_path: Path) -> None:
        minari_file(tmp_path / "x.hdf5")
        (tmp_path / "metadata.json").write_text(text)
        assert message in refused(tmp_path / "x.hdf5")

    def test_a_folder_without_data_is_refused_and_told_what_is_in_it(self, tmp_path: Path) -> None:
        assert "give a Minari data set in HDF5 format, or a file" in refused(tmp_path)
        minari_file(tmp_path / "expert-v0/data/main_data.hdf5")
        assert f"give one of the data sets in it: {tmp_path / 'expert-v0'}" in refused(tmp_path)

    def test_a_run_is_told_to_be_recorded(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        assert "is a run; record what its policy does, by `genrl record`, and give that file" in refused(tmp_path)


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def sb2(n: int = 3, steps: int = 5, **changes: Any) -> dict[str, Any]:
    parts = [walk(k, steps) for k in range(n)]
    return {
        "obs": np.concatenate([e.observations[:-1] for e in parts]),
        "actions": np.concatenate([e.actions for e in parts]),
        "rewards": np.concatenate([e.rewards for e in parts]),
        "episode_starts": np.arange(n * steps) % steps == 0,
        "episode_returns": np.array([e.rewards.sum() for e in parts]),
    } | changes


def imitation(lengths: tuple[int, ...] = (3, 5, 2), **changes: Any) -> dict[str, Any]:
    parts = [walk(k, steps) for k, steps in enumerate(lengths)]
    return {
        "obs": np.concatenate([e.observations for e in parts]),
        "acts": np.concatenate([e.actions for e in parts]),
        "rews": np.concatenate([e.rewards for e in parts]),
        "indices": np.cumsum(lengths)[:-1],
        "terminal": np.ones(len(parts), bool),
    } | changes


def d4rl(next_observations: bool = True, **changes: Any) -> dict[str, Any]:
    """Walk 0 terminates, walk 1 times out, walk 2 was not finished."""
    parts = [walk(0, 4, terminated=True), walk(1, 3), walk(2, 5, truncations=np.zeros(5, bool))]
    columns = {"actions": "actions", "rewards": "rewards", "terminals": "terminations", "timeouts": "truncations"}
    arrays = {key: np.concatenate([getattr(e, field) for e in parts]) for key, field in columns.items()}
    arrays["observations"] = np.concatenate([e.observations[:-1] for e in parts])
    if next_observations:
        arrays["next_observations"] = np.concatenate([e.observations[1:] for e in parts])
    return arrays | changes


def npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


class TestStableBaselines2:
    def test_the_last_step_of_each_episode_is_no_pair(self, tmp_path: Path) -> None:
        demos = Demonstrations.load(npz(tmp_path / "x.npz", sb2()))
        batch = demos.transitions()
        assert batch.obs.tolist() == [[k, t] for k in range(3) for t in range(4)]
        assert batch.next_obs.tolist() == [[k, t + 1] for k in range(3) for t in range(4)]  # never another episode's first
        assert not batch.terminated.any()
        assert (demos.returns.tolist(), demos.lengths.tolist()) == ([5, 10, 15], [5, 5, 5])
        assert [(e.terminated, e.truncated) for e in demos.episodes] == [(False, False)] * 3

    def test_a_column_of_discrete_actions_is_made_a_row(self, tmp_path: Path) -> None:
        demos = Demonstrations.load(npz(tmp_path / "x.npz", sb2(actions=np.arange(15)[:, None])))
        assert (demos.discrete, demos.transitions().action.tolist()[:5]) == (True, [0, 1, 2, 3, 5])

    def test_lengths_that_do_not_agree_are_refused(self, tmp_path: Path) -> None:
        message = "x.npz has 15 obs, 15 actions, 14 rewards, 15 episode_starts, but needs as many of each; save it again"
        assert message in refused(npz(tmp_path / "x.npz", sb2(rewards=np.ones(14))))


class TestImitation:
    def test_observations_are_cut_with_their_row_more_an_episode(self, tmp_path: Path) -> None:
        demos = Demonstrations.load(npz(tmp_path / "x.npz", imitation(terminal=np.array([True, False, True]))))
        batch = demos.transitions()
        assert batch.obs.tolist() == [[k, t] for k, steps in enumerate((3, 5, 2)) for t in range(steps)]
        assert batch.next_obs.tolist() == [[k, t + 1] for k, steps in enumerate((3, 5, 2)) for t in range(steps)]
        assert batch.terminated.nonzero().flatten().tolist() == [2, 9]
        assert [(e.terminated, e.truncated) for e in demos.episodes] == [(True, False), (False, True), (True, False)]
        limited = Demonstrations.load(tmp_path / "x.npz", time_limit=5)
        assert [e.terminated for e in limited.episodes] == [True, False, True]

    def test_pickled_infos_are_not_touched(self, tmp_path: Path) -> None:
        infos = np.array([Bomb(tmp_path / "boom")] * 10, dtype=object)
        assert Demonstrations.load(npz(tmp_path / "x.npz", imitation(infos=infos))).n_steps == 10
        assert not (tmp_path / "boom").exists()
        np.load(tmp_path / "x.npz", allow_pickle=True)["infos"]
        assert (tmp_path / "boom").exists()  # the bomb is a real one

    @pytest.mark.parametrize(
        "change", [{"indices": [3, 3]}, {"indices": [8, 3]}, {"indices": [3]}, {"terminal": [True]}, {"obs": np.ones((12, 2))}]
    )
    def test_fields_that_do_not_agree_are_refused(self, change: dict[str, Any], tmp_path: Path) -> None:
        message = refused(npz(tmp_path / "x.npz", imitation(**{name: np.array(values) for name, values in change.items()})))
        assert "10 acts, 10 rews" in message
        assert "n episodes have n - 1 ascending indices, n terminal, and n more obs than acts and rews; save it again" in message


class TestD4RL:
    @pytest.mark.parametrize("kind", ["npz", "hdf5"])
    def test_ends_are_told_apart_and_the_rest_is_an_unfinished_episode(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / f"x.{kind}"
        if kind == "npz":
            npz(path, d4rl())
        else:
            with h5py.File(path, "w") as file:
                file["infos/qpos"] = np.zeros(3)
                for name, values in d4rl().items():
                    file[name] = values
        demos = Demonstrations.load(path)
        batch = demos.transitions()
        assert batch.obs.tolist() == [[k, t] for k, steps in enumerate((4, 3, 5)) for t in range(steps)]
        assert batch.next_obs.tolist() == [[k, t + 1] for k, steps in enumerate((4, 3, 5)) for t in range(steps)]
        assert batch.terminated.nonzero().flatten().tolist() == [3]
        assert [(e.terminated, e.truncated) for e in demos.episodes] == [(True, False), (False, True), (False, False)]

    def test_without_next_observations_last_steps_are_no_pairs(self, tmp_path: Path) -> None:
        demos = Demonstrations.load(npz(tmp_path / "x.npz", d4rl(next_observations=False)))
        assert demos.transitions().next_obs.tolist() == [[k, t + 1] for k, steps in enumerate((4, 3, 5)) for t in range(steps - 1)]
        assert (demos.lengths.tolist(), demos.returns.tolist()) == ([4, 3, 5], [4, 6, 15])

    def test_an_end_that_is_not_marked_is_refused(self, tmp_path: Path) -> None:
        message = refused(npz(tmp_path / "x.npz", d4rl(timeouts=np.zeros(12, bool))))
        assert "x.npz, episode 1 has next_observations that are not the observations that follow; mark where its episodes end" in message


class TestNpzRefusals:
    @pytest.mark.parametrize("name", ["obs", "rewards", "episode_starts"])
    def test_a_field_that_is_needed_is_never_unpickled(self, name: str, tmp_path: Path) -> None:
        bombs = np.array([Bomb(tmp_path / "boom")] * 15, dtype=object)
        message = refused(npz(tmp_path / "x.npz", sb2(**{name: bombs})))
        assert f"x.npz has {name} as pickled objects, which can run code and are never loaded; save it as an array of numbers" in message
        assert not (tmp_path / "boom").exists()

    @pytest.mark.parametrize("name", ["genrl", "observations", "truncations"])
    def test_nor_in_genrls_own_layout(self, name: str, tmp_path: Path) -> None:
        walks().save(tmp_path / "x.npz")
        with np.load(tmp_path / "x.npz") as file:
            arrays = dict(file) | {name: np.array([Bomb(tmp_path / "boom")], dtype=object)}
        assert f"{name} as pickled objects" in refused(npz(tmp_path / "x.npz", arrays))
        assert not (tmp_path / "boom").exists()

    def test_a_pickle_is_not_opened(self, tmp_path: Path) -> None:
        for name in ("x.pkl", "x.npz", "x.hdf5"):
            (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
            assert f"{name} is a pickle, which can run code and is never loaded; save its arrays as npz" in refused(tmp_path / name)
        assert not (tmp_path / "boom").exists()

    def test_unknown_keys_and_two_of_a_kind_are_refused(self, tmp_path: Path) -> None:
        message = refused(npz(tmp_path / "x.npz", {"states": np.ones(3), "obs": np.ones(3)}))
        assert "x.npz has the keys states, obs, but needs actions (acts, action); rename them" in message
        both = refused(npz(tmp_path / "x.npz", {"states": np.ones(3), "obs": np.ones(3), "acts": np.ones(3)}))
        assert "x.npz has both obs and states, which mean the same; leave one out" in both

    def test_text_and_single_numbers_are_refused(self, tmp_path: Path) -> None:
        files = np.array([f"frame_{k}.png" for k in range(15)])  # how Stable-Baselines 2 keeps images
        assert "x.npz has obs of dtype <U12 and shape (15,); save it as an array of numbers" in refused(
            npz(tmp_path / "x.npz", sb2(obs=files))
        )
        assert "has rewards of dtype float64 and shape ()" in refused(npz(tmp_path / "x.npz", sb2(rewards=np.array(1.0))))

    def test_numbers_that_are_not_finite_are_refused_by_file_episode_field_and_step(self, tmp_path: Path) -> None:
        rewards = np.ones(15)
        rewards[7] = np.inf
        message = refused(npz(tmp_path / "x.npz", sb2(rewards=rewards)))
        assert message.startswith(f"{tmp_path / 'x.npz'}, episode 1 has inf in rewards at step 2, which is not a finite float32;")

    def test_no_episodes(self, tmp_path: Path) -> None:
        arrays = {name: values[:0] for name, values in sb2().items()}
        assert "x.npz: there are no episodes; record at least one" in refused(npz(tmp_path / "x.npz", arrays))

    @pytest.mark.parametrize("make", [sb2, imitation, d4rl, None])
    def test_a_truncated_file_is_refused_wherever_it_was_cut(self, make: Callable[[], dict[str, Any]] | None, tmp_path: Path) -> None:
        if make is None:
            walks().save(tmp_path / "x.npz")
        else:
            npz(tmp_path / "x.npz", make())
        whole = (tmp_path / "x.npz").read_bytes()
        for share in range(1, 20):
            (tmp_path / "cut.npz").write_bytes(whole[: len(whole) * share // 20])
            assert "cut.npz is not a whole npz file" in refused(tmp_path / "cut.npz")

    def test_a_header_that_does_not_fit_its_arrays_is_refused(self, tmp_path: Path) -> None:
        walks().save(tmp_path / "x.npz")
        with np.load(tmp_path / "x.npz") as file:
            arrays = dict(file)
        arrays["rewards"] = arrays["rewards"][:-1]
        assert "x.npz is not a whole npz file (14 rewards where its header says 15)" in refused(npz(tmp_path / "x.npz", arrays))

    @pytest.mark.parametrize("content", [b"", b"obs,act\n1,2\n", b"\x93NUMPY"])
    def test_foreign_files_are_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.hdf5").write_bytes(content)
        assert "x.hdf5 is neither HDF5 nor npz; give a Minari data set, or an npz" in refused(tmp_path / "x.hdf5")

    def test_nothing_there_is_said_so(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"there are no demonstrations at .*gone\.npz; give an HDF5 or npz file"):
            Demonstrations.load(tmp_path / "gone.npz")


def test_what_a_file_is_tells_its_content_not_its_name(tmp_path: Path) -> None:
    walks().save(tmp_path / "x.hdf5")
    walks().save(tmp_path / "x.npz")
    (tmp_path / "x.hdf5").rename(tmp_path / "y.npz")
    (tmp_path / "x.npz").rename(tmp_path / "y")
    for name in ("y.npz", "y"):
        assert_same(Demonstrations.load(tmp_path / name), walks())


def test_a_saved_file_has_no_strings_of_variable_length() -> None:
    content = _minari.file_content(walks().episodes, {"env_spec": {"id": "Walk-v0"}, "author": ["A"]})
    with h5py.File(io.BytesIO(content)) as file:
        assert all(value.dtype.kind in "Siu" for value in file.attrs.values())  # HDF5 1.14 can loop for ever on damaged ones
