"""What a newcomer gives by mistake in Python is named, with what to give instead, before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from genrl.data import Demonstrations, Episode, Images
from genrl.encoders import EncodedEnv, EncodedVecEnv, ImageEncoder, Preprocessing, pretrained
from genrl.models import PCA, fit
from genrl.policies import DemonstratedStarts, Mixing, clone, dagger, normalize_like
from genrl.rewards import GAIL, PWIL, RND, RewardCallback
from genrl.worlds import Ensemble, Practice, Record, measure_agreement

OBS, ACT = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,))
FRAMES = np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
LAST = np.arange(8) == 7


def demos() -> Demonstrations:
    return Demonstrations.from_episodes([Episode(np.zeros((9, 3)), np.zeros((8, 1)), np.zeros(8), LAST & False, LAST)])


def pixels() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("genrl/PixelPendulum-v0")


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "one environment": (lambda: EncodedVecEnv(pixels(), None), "needs a VecEnv, but was given TimeLimit; take make_vec_env"),
    "path as encoder": (lambda: EncodedEnv(pixels(), "runs/eyes"), "ImageEncoder is needed, but was given str; take load_encoder"),
    "model as encoder": (lambda: pretrained(PCA((3, 8, 8))), "was given PCA; take load_encoder(PATH), or of a model ImageEncoder.of("),
    "channels last": (lambda: fit(PCA((3, 8, 8)), FRAMES), "PCA has no loss(x), which fit needs; it learns in one pass, by model.count("),
    "frames to a model": (lambda: PCA((3, 8, 8)).encode(torch.rand(2, 8, 8, 3)), "torch.as_tensor(images).permute(0, 3, 1, 2)"),
    "arrays as demonstrations": (
        lambda: Demonstrations(np.zeros((9, 3)), np.zeros((8, 1)), "mine"),
        "Demonstrations.from_episodes([Episode(",
    ),
    "spaces first": (lambda: GAIL(OBS, ACT, demos()), "GAIL was given Box as its demonstrations; give Demonstrations, such as"),
    "path to a reward": (lambda: PWIL("demos.hdf5", OBS, ACT), "PWIL was given str as its demonstrations"),
    "path to a normalisation": (
        lambda: normalize_like(VecNormalize(make_vec_env("Pendulum-v1")), "demos.hdf5"),
        "normalize_like was given str as its demonstrations; give Demonstrations, such as Demonstrations.load(FILE)",
    ),
    "path to starts": (
        lambda: DemonstratedStarts(gymnasium.make("Pendulum-v1"), "demos.hdf5"),
        "but was given str; give Demonstrations.load(FILE).episodes",
    ),
    "path object to starts": (
        lambda: DemonstratedStarts(gymnasium.make("Pendulum-v1"), Path("demos.hdf5")),
        "but was given PosixPath; give",
    ),
    "demonstrations to starts": (lambda: DemonstratedStarts(gymnasium.make("Pendulum-v1"), demos()), "but was given Demonstrations; give"),
    "path to batches": (lambda: Mixing("demos.hdf5"), "Mixing was given str as its demonstrations"),
    "demonstrations first": (lambda: clone(demos(), SAC("MlpPolicy", "Pendulum-v1")), "clone was given SAC as its demonstrations"),
    "class as reward": (
        lambda: RewardCallback(RND),
        "needs reward to be a reward, such as RND(model.observation_space, model.action_space)",
    ),
    "reward as callback": (
        lambda: PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8).learn(8, callback=RND(OBS, ACT)),
        "RND is a reward, and learn was given it as a callback; type callback=RewardCallback(rnd)",
    ),
    "learner as expert": (
        lambda: dagger(PPO("MlpPolicy", "Pendulum-v1"), PPO("MlpPolicy", "Pendulum-v1"), gymnasium.make("Pendulum-v1")),
        "such as lambda obs: model.predict(obs, deterministic=True)[0], but was given 'PPO'",
    ),
    "learner as policy": (
        lambda: measure_agreement(Ensemble(OBS, ACT), {"ppo": PPO("MlpPolicy", "Pendulum-v1")}, gymnasium.make("Pendulum-v1")),
        'such as {"trained": lambda obs: model.predict(obs, deterministic=True)[0]}',
    ),
    "policy without a name": (
        lambda: measure_agreement(Ensemble(OBS, ACT), [lambda obs: obs], gymnasium.make("Pendulum-v1")),
        "at least one function of observations by its name",
    ),
    "step of one environment": (lambda: Record().add(np.zeros(3), np.zeros(1), np.zeros(3), False, 0.0), "obs[None], action[None]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_first_mistake_is_named_with_what_to_give(mistake: str) -> None:
    given, said = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=re.escape(said)):
        given()


def test_an_encoder_takes_the_scale_of_its_codes_from_an_array_too() -> None:
    model, prepare, frames = PCA((3, 8, 8), latent=4), Preprocessing((3, 8, 8)), FRAMES.transpose(0, 3, 1, 2)
    model.count([(Images(frames).batch(), None)])
    assert ImageEncoder.of(model, prepare, frames).hash == ImageEncoder.of(model, prepare, Images(frames)).hash


@pytest.mark.filterwarnings("error:You have specified a mini-batch size:UserWarning")
def test_a_small_dream_has_no_larger_minibatch_than_its_rollout() -> None:
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=64)
    world = Ensemble(model.observation_space, model.action_space, members=2, hidden=(8,))
    model.learn(128, callback=Practice(world, dreamed_steps=32, every=64, n_envs=4, n_steps=8, fit={"max_steps": 2}))
