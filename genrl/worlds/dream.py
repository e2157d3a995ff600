"""A dynamics model as a vectorised environment."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from genrl.errors import at_least, callers_line, require
from genrl.models.dynamics import Dynamics
from genrl.spaces import brief
from genrl.transitions import Transitions

__all__ = ["DreamVecEnv"]

OUTSIDE = 0.1
"""Share of the entries of an observation that may not leave what was seen together; few of many do so by noise alone, such as forces."""
COUNTERS = ("steps", "ended", "horizon", "stopped", "clipped")


class DreamVecEnv(VecEnv):
    r"""Many rows of a dream, stepped in one batch; for any Stable-Baselines3 learner.

    .. math:: s_0 \sim \text{starts}, \qquad s_{t+1}, r_t \sim p_m(\cdot \mid s_t, a_t), \qquad \text{reward} = r_t + \eta\, u(s_t, a_t)

    Each row asks one member of the model, so that a policy cannot live on the errors of any; or all of them together, which is nearer to
    the truth, to measure a policy that has learned. Alone, a member may leave the possible states, such as the circle of a sine and a
    cosine, and nobody knows what is paid there.

    An episode *terminates* only where the model says that the task's would. It is *truncated*, with ``TimeLimit.truncated`` and
    ``terminal_observation`` so that learners bootstrap, after ``horizon`` steps, where the model knows too little, and where a tenth of an
    observation's entries, at least one, leave what was ever seen. No observation or reward is ever NaN or infinite.

    ``counters`` says how many steps were dreamed, and how many episodes ended by a termination, at the horizon, by a stop for uncertainty
    and by a clip.

    Args:
        dynamics: the model.
        starts: real observations in which episodes start, ``(row, obs)``, or the transitions that have them; see :meth:`set_starts`.
        n_envs: number of rows.
        horizon: most steps of an episode.
        eta: weight of the uncertainty in the reward; above 0 explores, below 0 is cautious.
        stop_quantile: quantile of the uncertainty at first steps, such as 0.95, above which an episode stops; ``None`` never stops.
        stop_scale: factor of that quantile.
        margin: share of each entry's range by which it may leave that range before it is clipped.
        noise: whether outcomes are drawn; without it they are the means of the row's member.
        together: whether each row asks all members together.
        seed: of all draws.

    Raises:
        ValueError: a value out of its range, or starts of another size than the model's.

    References:
        Sutton, "Dyna, an Integrated Architecture for Learning, Planning, and Reacting", 1991.
        Janner, Fu, Zhang, Levine, "When to Trust Your Model: Model-Based Policy Optimization", 2019, arXiv:1906.08253.
        Frauenknecht et al., "Trust the Model Where It Trusts Itself", 2024, arXiv:2405.19014 (the calibrated stop).

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.worlds import DreamVecEnv, Ensemble
        >>> world = Ensemble(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), members=2, hidden=(8,))
        >>> rows = Transitions(torch.rand(60, 3), torch.rand(60, 2), torch.rand(60, 3), torch.zeros(60, dtype=torch.bool))
        >>> _ = world.fit(rows, torch.rand(60), max_steps=10)
        >>> dream = DreamVecEnv(world, starts=rows, n_envs=4, horizon=5)
        >>> _ = PPO("MlpPolicy", dream, n_steps=10, batch_size=20).learn(40)
        >>> dream.counters["steps"]
        40
    """

    def __init__(
        self,
        dynamics: Dynamics,
        starts: Transitions | Tensor | np.ndarray | None = None,
        n_envs: int = 256,
        horizon: int = 20,
        *,
        eta: float = 0.0,
        stop_quantile: float | None = None,
        stop_scale: float = 1.0,
        margin: float = 0.25,
        noise: bool = True,
        together: bool = False,
        seed: int = 0,
    ) -> None:
        require(
            DreamVecEnv,
            *at_least(1, n_envs=n_envs, horizon=horizon),
            *at_least(0, margin=margin, stop_scale=stop_scale),
            ("eta", eta, np.isfinite(eta), "finite"),
            ("stop_quantile", stop_quantile, stop_quantile is None or 0 < stop_quantile <= 1, "None or in (0, 1]"),
        )
        self.dynamics, self.horizon, self.eta, self.margin, self.noise = dynamics, horizon, eta, margin, noise
        self.stop_quantile, self.stop_scale, self.together = stop_quantile, stop_scale, together
        self.generator = torch.Generator().manual_seed(seed)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.render_mode = None
        super().__init__(n_envs, dynamics.observation_space, dynamics.action_space)
        self._starts: Tensor | None = None
        self._follow()
        self._threshold, self._calibrated_on = 0.0, 0
        self._obs = self._like.new_zeros((n_envs, dynamics.obs_dim))
        self._time = torch.zeros(n_envs, dtype=torch.long, device=self._like.device)
        self._action = self._like.new_zeros(0)
        self._paid = self._like.new_zeros(n_envs)
        """What the last step was paid for by the task, as the model says, without the weighed uncertainty."""
        if starts is not None:
            self.set_starts(starts)

    def __repr__(self) -> str:
        starts = "no starts" if self._starts is None else f"{len(self._starts):,} starts"
        return f"DreamVecEnv({type(self.dynamics).__name__}, {starts}, n_envs={self.num_envs}, horizon={self.horizon})"

    def _follow(self) -> None:
        """Take the model's dtype, device and range as they are now; it may have been moved, or have learned."""
        model = self.dynamics
        self._like = next(item for item in model.state_dict().values() if torch.is_tensor(item) and item.dtype.is_floating_point)
        self._space_low, self._space_high = self._bounds(model.observation_space)
        self._action_bounds = self._bounds(model.action_space) if isinstance(model.action_space, spaces.Box) else ()
        self._bounded = bool(self._space_low.isfinite().any() or self._space_high.isfinite().any())
        # An entry that never varied may move by rounding; a model that was not fitted has an infinite range, and no bounds.
        reach = self.margin * (model.high - model.low).clamp_min(1e-3).nan_to_num(0.0, posinf=0.0)
        self._low, self._high = model.low - reach, model.high + reach
        if not np.issubdtype(self.observation_space.dtype, np.floating):  # a bound between two whole numbers would be seen as one of them
            self._low, self._high = self._low.ceil(), self._high.floor()
        self._starts = None if self._starts is None else self._starts.to(self._like)

    @property
    def _max_episode_steps(self) -> int:
        """The time limit, under the name of Gymnasium's ``TimeLimit``: callbacks, such as pink noise, look for it here."""
        return self.horizon

    def set_starts(self, starts: Transitions | Tensor | np.ndarray) -> None:
        """Start episodes in these real observations from now on; the model may have learned since, so the stop is calibrated anew.

        Raises:
            ValueError: starts of another shape than ``(row, obs)``, or ones that are NaN or infinite. A model that could learn and has not
                is warned of.
        """
        obs = torch.as_tensor(starts.obs if isinstance(starts, Transitions) else starts)
        if obs.dim() != 2 or obs.shape[1] != self.dynamics.obs_dim or len(obs) == 0:
            raise ValueError(
                f"a dream of {brief(self.observation_space)} needs starts of shape (rows, {self.dynamics.obs_dim}) with at least one row, "
                f"but was given {tuple(obs.shape)}; use observations of the same task"
            )
        if not obs.isfinite().all():
            raise ValueError("a dream was given starts that are NaN or infinite; leave those rows out")
        model = self.dynamics
        if type(model).fit is not Dynamics.fit and model.low.isinf().any():  # one that learns, and knows no range
            warnings.warn(
                f"{type(model).__name__} has not been fitted (a fit of your own ends with self.remember_range(transitions)), so that a "
                "policy would train in dynamics drawn at random; fit it to real transitions first: world.fit(transitions, reward)",
                stacklevel=callers_line(),
            )
        self._starts = obs
        self._threshold, self._calibrated_on = 0.0, 0
        self._follow()

    @property
    def threshold(self) -> float | None:
        """Uncertainty above which an episode stops now."""
        return self._threshold if self.stop_quantile is not None and self._calibrated_on else None

    def _bounds(self, space: Any) -> tuple[Tensor, Tensor]:
        return self._like.new_tensor(np.asarray(space.low)), self._like.new_tensor(np.asarray(space.high))

    def reset(self) -> np.ndarray:
        self._follow()
        self._obs = self._draw_starts(self.num_envs)
        self._time = torch.zeros(self.num_envs, dtype=torch.long, device=self._like.device)
        return self._array(self._obs)

    def step_async(self, actions: np.ndarray) -> None:
        action = torch.as_tensor(actions, device=self._like.device)
        if isinstance(self.action_space, spaces.Box):
            action = action.to(self._like).reshape(self.num_envs, *self.action_space.shape).clamp(*self._action_bounds)
        self._action = action

    @torch.no_grad()
    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        obs, action = self._obs, self._action
        outcome = self.dynamics.step(obs, action, self.generator if self.noise else None, together=self.together)
        next_obs, clipped = self._guarded(outcome.next_obs, obs)
        reward, stopped = outcome.reward, torch.zeros_like(clipped)
        if self.eta or self.stop_quantile is not None:
            uncertainty = self.dynamics.uncertainty(obs, action).nan_to_num(0.0, 0.0, 0.0)
            reward = reward + self.eta * uncertainty
            stopped = self._too_uncertain(uncertainty)
        clipped |= ~reward.isfinite()
        reward = reward.nan_to_num(0.0, 0.0, 0.0)
        self._paid = outcome.reward.nan_to_num(0.0, 0.0, 0.0) if self.eta else reward
        self._time += 1
        done, truncated = self._ends(*(each.cpu().numpy() for each in (outcome.terminated, clipped, stopped, self._time)))
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        shown, ended = next_obs, np.flatnonzero(done)
        if len(ended):
            terminal = self._array(next_obs)
            for row in ended.tolist():
                infos[row] = {"terminal_observation": terminal[row], "TimeLimit.truncated": bool(truncated[row])}
            shown, rows = next_obs.clone(), torch.from_numpy(ended).to(next_obs.device)
            shown[rows] = self._draw_starts(len(rows))
            self._time[rows] = 0
        self._obs = shown
        return self._array(shown), reward.float().cpu().numpy(), done, infos

    def _guarded(self, next_obs: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Observations that are finite, in the space and not far outside of what was seen; and which rows had to be truncated for it."""
        finite = next_obs.sum(1).isfinite()
        if not finite.all():  # hardly ever, and entry by entry it costs as much as all that follows
            next_obs = torch.where(next_obs.isfinite(), next_obs, obs)
        inside = next_obs.clamp(self._low, self._high)
        clipped = ((inside != next_obs).sum(1) >= max(1, OUTSIDE * obs.shape[1])) | ~finite
        return (inside.clamp(self._space_low, self._space_high) if self._bounded else inside), clipped

    def _too_uncertain(self, uncertainty: Tensor) -> Tensor:
        """Which rows stop; the threshold is the mean quantile of first steps, so these are looked at first."""
        if self.stop_quantile is None:
            return torch.zeros_like(uncertainty, dtype=torch.bool)
        first = uncertainty[self._time == 0]
        if len(first):
            quantile = self.stop_scale * float(first.double().quantile(self.stop_quantile))
            total = self._calibrated_on + len(first)
            self._threshold += (quantile - self._threshold) * len(first) / total
            self._calibrated_on = total
        return uncertainty > (self._threshold if self._calibrated_on else torch.inf)  # no first step since new starts were set

    def _ends(self, terminated: np.ndarray, clipped: np.ndarray, stopped: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which rows are done, and which of them truncated; each is counted once, a clip before a termination, a stop and the horizon."""
        terminated = terminated & ~clipped
        stopped = stopped & ~clipped & ~terminated
        sooner = terminated | clipped | stopped
        at_horizon = (time >= self.horizon) & ~sooner
        for name, rows in (("ended", terminated), ("horizon", at_horizon), ("stopped", stopped), ("clipped", clipped)):
            self.counters[name] += int(np.count_nonzero(rows))
        self.counters["steps"] += self.num_envs
        return sooner | at_horizon, clipped | stopped | at_horizon

    def _draw_starts(self, n: int) -> Tensor:
        if self._starts is None:
            raise ValueError("this dream has no starts; give it real observations first: dream.set_starts(transitions)")
        return self._starts[torch.randint(len(self._starts), (n,), generator=self.generator).to(self._starts.device)]

    def _array(self, obs: Tensor) -> np.ndarray:
        return obs.cpu().numpy().astype(self.observation_space.dtype)  # a copy, so that nobody holds the dream's own state

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed all draws; one seed is that of every row."""
        if seed is not None:
            self.generator.manual_seed(seed)
        return [seed] * self.num_envs

    def state_dict(self) -> dict[str, Any]:
        """Every row and all draws, but neither the model nor the starts, for :func:`genrl.files.save_state`."""
        stop = {"threshold": self._threshold, "calibrated_on": self._calibrated_on}
        return {"obs": self._obs, "time": self._time, "generator": self.generator.get_state(), "counters": dict(self.counters), **stop}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._obs, self._time = state["obs"].to(self._like), state["time"].to(self._like.device)
        self.generator.set_state(state["generator"])
        self.counters = dict(state["counters"])
        self._threshold, self._calibrated_on = state["threshold"], state["calibrated_on"]

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise AttributeError(f"a dream has no single environments whose {method_name} could be called; use the real task")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))
