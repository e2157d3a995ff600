"""What genrl saves, Minari loads; what Minari records, genrl loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from genrl.data import Demonstrations, Episode
from tests.data.walks import walk, walks

minari = pytest.importorskip("minari")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def assert_equal(dataset: Any, demos: Demonstrations) -> None:
    assert (dataset.total_episodes, dataset.total_steps) == (demos.n_episodes, demos.lengths.sum())
    for k, (theirs, ours) in enumerate(zip(dataset.iterate_episodes(), demos.episodes, strict=True)):
        assert theirs.id == k
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            x, y = getattr(theirs, name), getattr(ours, name)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "demos",
    [
        walks(12),
        walks(discrete=True),
        walks().subsample(2, 3),
        Demonstrations.from_episodes([walk(0, observations=np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))]),
        Demonstrations.from_episodes([walk(0, actions=np.zeros((5, 2), np.int64), observations=np.zeros((6, 1), bool))]),
    ],
    ids=["continuous", "discrete", "thinned", "images", "whole numbers"],
)
def test_minari_loads_what_was_saved(demos: Demonstrations, root: Path) -> None:
    demos.save(root / "walk/expert-v0")
    dataset = minari.load_dataset("walk/expert-v0")
    assert_equal(dataset, demos)
    assert (dataset.spec.namespace, dataset.spec.dataset_name, dataset.spec.version) == ("walk", "expert", 0)
    assert all(dataset.observation_space.contains(obs) for obs in dataset[0].observations)
    assert all(dataset.action_space.contains(action) for action in dataset[0].actions)
    if demos.env_id is not None:
        assert (dataset.env_spec.id, dataset.env_spec.kwargs) == (demos.env_id, demos.env_kwargs)
    assert list(minari.list_local_datasets()) == ["walk/expert-v0"]


def recorded(env: gymnasium.Env[Any, Any], n: int) -> list[Episode]:
    episodes = []
    for seed in range(n):
        obs, steps, ended = [env.reset(seed=seed)[0]], [], False
        while not ended:
            action = np.int64(seed % 2)
            new, *rest, _ = env.step(action)
            obs.append(new)
            steps.append((action, *rest))
            ended = rest[1] or rest[2]
        actions, rewards, terminations, truncations = (np.array(column) for column in zip(*steps, strict=True))
        episodes.append(Episode(np.array(obs), actions, rewards, terminations, truncations, seed=seed))
    return episodes


def test_minari_makes_the_environment_again(root: Path) -> None:
    env = gymnasium.make("CartPole-v1", max_episode_steps=7)
    assert env.spec is not None
    demos = Demonstrations.from_episodes(recorded(env, 3), metadata={"env_spec": json.loads(env.spec.to_json())})
    demos.save(root / "cartpole-v0")
    dataset = minari.load_dataset("cartpole-v0")
    assert_equal(dataset, demos)
    again = dataset.recover_environment()
    assert again.spec.max_episode_steps == 7
    assert demos.env_id == "CartPole-v1"


def test_what_minari_writes_is_loaded_and_saved_again(root: Path) -> None:
    from minari.data_collector import EpisodeBuffer  # DataCollector.step would need jax

    env = gymnasium.make("CartPole-v1")
    episodes = recorded(env, 12)
    fields = ("observations", "actions", "rewards", "terminations", "truncations")
    lists = [{name: list(getattr(episode, name)) for name in fields} for episode in episodes]
    buffers = [EpisodeBuffer(id=k, seed=k, infos={"extra": [0.0]}, **columns) for k, columns in enumerate(lists)]
    minari.create_dataset_from_buffers("cartpole/constant-v0", buffers, env, env, author="me", author_email="a@b", code_permalink="c")
    demos = Demonstrations.load(root / "cartpole/constant-v0")
    assert (demos.env_id, demos.n_episodes, demos.metadata["dataset_id"]) == ("CartPole-v1", 12, "cartpole/constant-v0")
    for k, (ours, expected) in enumerate(zip(demos.episodes, episodes, strict=True)):
        assert (ours.id, ours.seed) == (k, k)
        for name in fields:
            np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))
    demos.subsample(4).save(root / "cartpole/four-v1")
    assert_equal(minari.load_dataset("cartpole/four-v1"), demos.subsample(4))
    assert minari.load_dataset("cartpole/four-v1").recover_environment().spec.id == "CartPole-v1"


def test_outside_of_minaris_root_the_name_is_the_id(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "elsewhere"))
    walks().save(root / "a" / "walk-v3")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "a"))
    assert minari.load_dataset("walk-v3").spec.dataset_id == "walk-v3"
