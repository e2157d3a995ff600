"""An environment whose image is its own clock, and an encoder whose codes can be read back as the numbers of that clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from genrl.data import Images
from genrl.encoders import ImageEncoder, Preprocessing
from genrl.models import PCA, VAE
from tests.rewards.clock import DISCRETE, ON_POLICY, Clock
from tests.rewards.clock import learner as plain_learner

SIDE = 8
SHAPE = (3, SIDE, SIDE)
SPACES = {
    "last": spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8),
    "first": spaces.Box(0, 255, (3, SIDE, SIDE), np.uint8),
    "floats": spaces.Box(0.0, 1.0, (SIDE, SIDE, 3), np.float32),
    "dict": spaces.Dict(
        {"speed": spaces.Box(-1.0, 1.0, (2,)), "eyes": spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8), "mode": spaces.Discrete(3)}
    ),
}


class PictureClock(Clock):
    """The upper left pixel is (time, episode, index of the environment); with a Dict, "speed" is (time / 10, -1) and "mode" time mod 3."""

    def __init__(self, index: int = 0, actions: str = "box", kind: str = "last") -> None:
        super().__init__(index, actions)
        self.kind, self.observation_space = kind, SPACES[kind]

    def _observe(self, action: Any) -> Any:
        picture = np.full((SIDE, SIDE, 3), 200, np.uint8)
        picture[0, 0] = self.time, self.episode, self.index
        if self.kind == "first":
            self.obs = picture.transpose(2, 0, 1)
        elif self.kind == "floats":
            self.obs = (picture / 255).astype(np.float32)
        elif self.kind == "dict":
            speed = np.array([self.time / 10, -1], np.float32)
            return {"speed": speed, "eyes": picture, "mode": np.int64(self.time % 3)}
        else:
            self.obs = picture
        return self.obs

    def reset(self, **kwargs: Any) -> Any:
        obs, info = super().reset(**kwargs)
        return obs, info | {"state": np.array([self.time, self.index], np.float32)}


def reader() -> ImageEncoder:
    """Its codes are the three numbers of the upper left pixel, over 25.5."""
    model = PCA(SHAPE, latent=3)
    for channel in range(3):
        model.components[channel, channel * SIDE * SIDE] = 1.0
    return ImageEncoder(model, Preprocessing(SHAPE), torch.zeros(3), torch.full((3,), 0.1))


def read(codes: np.ndarray) -> np.ndarray:
    """The numbers of the clock."""
    return np.rint(25.5 * codes).astype(int)


def picture_clocks(n_envs: int, vec_env: Callable[..., VecEnv] = DummyVecEnv, **kwargs: Any) -> VecEnv:
    def make(index: int) -> Callable[[], gymnasium.Env[Any, Any]]:
        return lambda: Monitor(PictureClock(index, **kwargs))

    return vec_env([make(index) for index in range(n_envs)])


def small_vae(seed: int = 0) -> ImageEncoder:
    """Convolutions, batch norm and linear layers, and a decoder that no code needs."""
    torch.manual_seed(seed)
    images = torch.randint(256, (64, *SHAPE), dtype=torch.uint8)
    vae = VAE(SHAPE, latent=4, channels=(4,), hidden=(8,))
    with torch.no_grad():
        for _ in range(3):
            vae.loss(images.float().div(255).round())  # moves batch norm
    return ImageEncoder.of(vae, Preprocessing(SHAPE), Images(images))


def learner(name: str, env: VecEnv, kwargs: dict[str, Any] | None = None, **rest: Any) -> Any:
    """A tiny learner on images whose features come from ``kwargs``; on flat observations without."""
    if kwargs is None:
        return plain_learner(name, env, **rest)
    policy = "MultiInput" if isinstance(env.observation_space, spaces.Dict) else "Mlp" if name == "CrossQ" else "Cnn"
    policy += "LstmPolicy" if name == "RecurrentPPO" else "Policy"
    built = plain_learner.__globals__
    algorithm: Any = (built["ON_POLICY"] | built["OFF_POLICY"])[name]
    policy_kwargs = {"net_arch": [8]} | kwargs | ({"lstm_hidden_size": 4} if name == "RecurrentPPO" else {})
    if name in ON_POLICY:
        rest = {"n_steps": 16, **rest} | ({} if name == "A2C" else {"batch_size": 16})
    else:
        rest = {"learning_starts": 10, "batch_size": 8, "buffer_size": 200, "train_freq": (4, "step"), **rest}
        policy_kwargs |= {"n_critics": 1} if name in {"SAC", "TD3", "TQC", "CrossQ"} else {}
    return algorithm(policy, env, policy_kwargs=policy_kwargs, seed=0, device="cpu", **rest)


def actions_of(name: str) -> str:
    return "discrete" if name in DISCRETE else "box"
