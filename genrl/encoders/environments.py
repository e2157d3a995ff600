"""Environments whose images are codes: for every learner, every reward and every world, which then know of no image."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from genrl.encoders.code_stack import CodeStack
from genrl.encoders.encoder import ImageEncoder
from genrl.encoders.view import batch_of_one
from genrl.files import as_state, from_state

__all__ = ["EncodedEnv", "EncodedVecEnv"]


class EncodedVecEnv(VecEnvWrapper):
    """Environments that observe the codes of their last frames in place of an image: one batched encode a step, in this process.

    Observations are a flat Box, see :class:`genrl.encoders.code_stack.CodeStack`. ``terminal_observation`` is encoded too, with its
    history, and the history starts anew in each episode. A ``VecNormalize`` belongs around it.

    Args:
        venv: environments that observe an image (bytes, or floats in [0, 1]; channels first, last or none), alone or in a Dict.
        encoder: fitted to images of this shape.
        history: number of codes of an observation; one frame shows no velocity.
        actions: whether the ``history`` - 1 actions between them are observed, too.

    Raises:
        ValueError: a single environment, what is no encoder, or observations without such an image or under a VecNormalize; one sentence
            says what to do.

    Example:
        >>> from stable_baselines3 import SAC
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> from genrl.encoders import load_encoder
        >>> env = EncodedVecEnv(make_vec_env("genrl/PixelPendulum-v0"), load_encoder("runs/eyes"), history=3)  # doctest: +SKIP
        >>> model = SAC("MlpPolicy", env).learn(8_000)  # doctest: +SKIP
    """

    def __init__(self, venv: VecEnv, encoder: ImageEncoder, history: int = 3, actions: bool = False) -> None:
        if not isinstance(venv, VecEnv):
            raise ValueError(
                f"EncodedVecEnv needs a VecEnv, but was given {type(venv).__name__}; take make_vec_env of Stable-Baselines3, or EncodedEnv "
                "for a single environment"
            )
        beneath: Any = venv
        while isinstance(beneath, VecEnvWrapper):
            if isinstance(beneath, VecNormalize) and beneath.norm_obs:
                raise ValueError("a VecNormalize would normalise the images; put it around: VecNormalize(EncodedVecEnv(...))")
            beneath = beneath.venv
        self.codes = CodeStack(encoder, venv.observation_space, venv.action_space, venv.num_envs, history, actions)
        super().__init__(venv, observation_space=self.codes.space)
        self._seen: Any = None

    def __repr__(self) -> str:
        return f"EncodedVecEnv({self.num_envs} environments that observe {self.codes.space.shape[0]} numbers)"

    def reset(self) -> VecEnvObs:
        """First observations of new episodes."""
        self._seen = self.venv.reset()
        return self.codes.begin(self._seen)

    def step_async(self, actions: np.ndarray) -> None:
        """The actions are passed on."""
        self.venv.step_async(actions)
        self.codes.act(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Observations are codes, also the last ones of an episode."""
        self._seen, rewards, dones, infos = self.venv.step_wait()
        if not np.count_nonzero(dones):  # cheaper than any()
            return self.codes.see(self._seen), rewards, dones, infos
        rows, terminal = self.codes.see_ends(self._seen, {int(i): infos[i]["terminal_observation"] for i in np.flatnonzero(dones)})
        infos = [info | {"terminal_observation": terminal[i]} if i in terminal else info for i, info in enumerate(infos)]
        return rows, rewards, dones, infos

    def state_dict(self) -> dict[str, Any]:
        """The history of codes, and the observations of the environments that it ends with; no such ones before the first reset."""
        seen = {} if self._seen is None else {"seen": as_state(self._seen)}
        return {"rows": torch.from_numpy(self.codes.rows.copy()), **seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse, for environments that stand where they stood."""
        self.codes.rows = state["rows"].numpy().copy()
        self._seen = from_state(state["seen"]) if "seen" in state else None


class EncodedEnv(gymnasium.Wrapper[np.ndarray, Any, Any, Any]):
    """An environment that observes the codes of its last frames, as :class:`EncodedVecEnv` does: for evaluation and for films.

    Args:
        env: observes an image, alone or in a Dict.
        encoder, history, actions: as in :class:`EncodedVecEnv`.

    Raises:
        ValueError: observations without such an image.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], encoder: ImageEncoder, history: int = 3, actions: bool = False) -> None:
        super().__init__(env)
        self.codes = CodeStack(encoder, env.observation_space, env.action_space, 1, history, actions)
        self.observation_space = self.codes.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The first observation of an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self.codes.begin(batch_of_one(obs))[0], info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """The observation after the action is codes."""
        self.codes.act(np.asarray(action)[None])
        obs, reward, terminated, truncated, info = self.env.step(action)
        return self.codes.see(batch_of_one(obs))[0], reward, terminated, truncated, info
