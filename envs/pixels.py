"""Known tasks seen as small pictures, drawn in numpy: thousands of frames a second, no OpenGL and no pygame."""

import math
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control import PendulumEnv
from gymnasium.spaces import Box

from ._pixels import Distraction, Painter, Shape, chosen, disc, palette
from .cartpole import MAX_POSITION, SparseCartpoleSwingupEnv
from .mountain_car import SparseMountainCarEnv
from .reacher import LINKS, ReacherEnv

SIZES = 16, 512
RENDER_SIZE = 256
OBSERVES = ("pixels", "state")


class PixelEnv(gymnasium.Env):
    """A task whose observation is replaced by a drawing of its state; actions, dynamics, reward and end are its own.

    `info["state"]` has, at reset and at each step, what the task itself observes, float32, named by `state_names`: what a probe of
    an encoder should find. A frame shows no velocity; a learner needs two or more of them.

    The distractors of an episode have a generator of their own, which follows from the state of `np_random` at its start and draws
    nothing from it. So the same seed and the same actions give the same frames, and distractors change neither states nor rewards,
    in no episode.

    Args:
        task: what is drawn.
        size: the picture's height and width in pixels, 16 to 512. The convolutions of Stable-Baselines3's `CnnPolicy` need 36.
        colours: `"default"`, or the seed of another palette, for a shift after pretraining.
        distractors: any of `"background"` (random, new behind every frame), `"moving"` (a moving pattern behind every frame),
            `"thing"` (a second thing of the same kind that does not matter) and `"light"` (brightness, slope and tint that drift).
        observe: `"pixels"`, or `"state"` for `info["state"]` itself, with nothing drawn: the upper bound of every encoder.
        render_mode: `"rgb_array"` draws the same picture with 256 × 256 pixels.

    Raises:
        ValueError: a keyword outside of its range.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (as gymnasium.Env declares it)
    state_names: tuple[str, ...]
    coverage_names: tuple[str, str]
    centre = 0.0, 0.0
    reach: float
    """The picture shows the world this far from `centre` on each side."""

    def __init__(
        self,
        task: gymnasium.Env,
        size: int = 32,
        colours: str | int = "default",
        distractors: str | Iterable[str] = (),
        observe: str = "pixels",
        render_mode: str | None = None,
    ):
        if isinstance(size, bool) or not isinstance(size, int) or not SIZES[0] <= size <= SIZES[1]:
            raise ValueError(f"size must be a whole number of pixels from {SIZES[0]} to {SIZES[1]}, got {size!r}.")
        if observe not in OBSERVES:
            raise ValueError(f"observe must be one of {', '.join(OBSERVES)}, got {observe!r}.")
        self.task, self.observe, self.render_mode = task, observe, render_mode
        self.distractors, self._colours = chosen(distractors), palette(colours)
        self.action_space = task.action_space
        self.observation_space = Box(0, 255, (size, size, 3), np.uint8) if observe == "pixels" else task.observation_space
        self._distraction = Distraction(self.distractors, np.random.default_rng(0))
        self._painter = self._prepared(size)
        self._large: Painter | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.task.np_random = self.np_random
        state, info = self._begin(*self.task.reset(options=options))
        # Hashed, for a generator that has only jumped would give the last episode's numbers again, a few of them later.
        seed = np.random.Generator(self.np_random.bit_generator.jumped()).integers(2**63, size=2)
        self._distraction = Distraction(self.distractors, np.random.default_rng(seed))
        return self._observed(state), self._with_state(info, state)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        state, reward, terminated, truncated, info = self.task.step(action)
        self._distraction.advance()
        return self._observed(state), self._reward(float(reward)), terminated, truncated, self._with_state(info, state)

    def render(self) -> np.ndarray | None:
        """The observed picture with more pixels; it draws no random number."""
        if self.render_mode is None:
            return None
        self._large = self._large or self._prepared(RENDER_SIZE)
        return self._picture(self._large)

    def _observed(self, state: np.ndarray) -> np.ndarray:
        return self._picture(self._painter) if self.observe == "pixels" else state

    def _with_state(self, info: dict[str, Any], state: np.ndarray) -> dict[str, Any]:
        return {**info, **dict(zip(self.coverage_names, self._where(), strict=True)), "state": state.copy()}

    def _picture(self, painter: Painter) -> np.ndarray:
        decoy = self._decoy(*self._distraction.turns.tolist()) if "thing" in self.distractors else []
        return painter.draw([*decoy, *self._things()], self._distraction)

    def _prepared(self, size: int) -> Painter:
        painter = Painter(size, self.centre, self.reach, self._colours)
        self._set_scene(painter)
        return painter

    def _begin(self, state: np.ndarray, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """The first state of an episode and its info, from those of the task."""
        return state, info

    def _set_scene(self, painter: Painter) -> None:
        """Put what never moves into the picture."""

    def _reward(self, reward: float) -> float:
        """The reward, from that of the task."""
        return reward

    def _where(self) -> tuple[float, float]:
        """The values of `coverage_names`."""
        raise NotImplementedError

    def _things(self) -> list[Shape]:
        """What moves and matters, from back to front."""
        raise NotImplementedError

    def _decoy(self, first: float, second: float) -> list[Shape]:
        """A second thing of the same kind, posed by two angles that wander."""
        raise NotImplementedError


class PixelPendulumEnv(PixelEnv):
    """Gymnasium's Pendulum, seen.

    | | |
    | --- | --- |
    | observation | `Box(0, 255, (32, 32, 3))` uint8: a rod with a ball at its end, and its hinge |
    | state | cos θ, sin θ, θ̇ (rad/s); θ = 0 is upright |
    | action | `Box(-2, 2, (1,))`: torque |
    | reward | Pendulum-v1's: −(θ² + 0.1 θ̇² + 0.001 torque²), before the step |
    | end | registered with a limit of 200 steps |
    | source | Gymnasium's Pendulum-v1 |

    Args:
        g: gravity.
        drawing: the keywords of `PixelEnv`.
    """

    state_names = ("cos_theta", "sin_theta", "theta_dot")
    coverage_names = ("theta", "theta_dot")
    reach = 1.3

    def __init__(self, g: float = 10.0, **drawing: Any):
        super().__init__(PendulumEnv(g=g), **drawing)

    def _where(self) -> tuple[float, float]:
        return math.remainder(self.task.state[0], 2 * math.pi), float(self.task.state[1])

    def _things(self) -> list[Shape]:
        return [*_rod(0.0, 0.0, 1.0, float(self.task.state[0]), 0.1, 0.22, "limb", "tip"), disc(0, 0, 0.12, "scenery")]

    def _decoy(self, first: float, second: float) -> list[Shape]:
        return _rod(0.5, -0.5, 0.75, first, 0.1, 0.2, "decoy", "decoy_tip")


def _rod(x: float, y: float, length: float, theta: float, radius: float, ball: float, limb: str, tip: str) -> list[Shape]:
    """A rod from (x, y) with a ball at its end, `theta` to the left of upright."""
    end = x - length * math.sin(theta), y + length * math.cos(theta)
    return [Shape(x, y, *end, radius, limb), disc(*end, ball, tip)]


class PixelCartPoleSwingUpEnv(PixelEnv):
    """The swing-up of `SparseCartpoleSwingupEnv`, seen, with a reward on the way as well.

    | | |
    | --- | --- |
    | observation | `Box(0, 255, (32, 32, 3))` uint8: a cart on its track, and its pole, drawn at 2.2 m instead of 1 m so that its angle can be read |
    | state | x (m), ẋ (m/s), cos θ, sin θ, θ̇ (rad/s); θ = 0 is upright |
    | action | `Box(-1, 1, (1,))`: force on the cart, in units of 10 N |
    | reward | (1 + cos θ) / 2; with a `threshold`, 1 while cos θ exceeds it, else 0 |
    | end | terminates when \\|x\\| > 3 m; registered with a limit of 500 steps of 0.05 s |
    | start | `"hanging"`: as in the task's source; `"anywhere"`: uniform, \\|x\\| < 2.5 m, \\|ẋ\\| < 2 m/s, any θ, \\|θ̇\\| < 4 rad/s |
    | source | `genrl/SparseCartpoleSwingup-v0`, which random actions almost never see a reward of |

    Args:
        threshold: the least cos θ that pays, in (-1, 1); `None` pays everywhere.
        start: where an episode begins. Random actions hardly ever show a pole that stands; an encoder needs frames of it.
        drawing: the keywords of `PixelEnv`.

    Raises:
        ValueError: a keyword outside of its range.
    """  # noqa: E501 (a table's row)

    state_names = SparseCartpoleSwingupEnv.observation_names
    coverage_names = SparseCartpoleSwingupEnv.coverage_names
    reach = 3.8
    starts = "hanging", "anywhere"

    def __init__(self, threshold: float | None = None, start: str = "hanging", **drawing: Any):
        if start not in self.starts:
            raise ValueError(f"start must be one of {', '.join(self.starts)}, got {start!r}.")
        self.threshold, self.start = threshold, start
        super().__init__(SparseCartpoleSwingupEnv(**({} if threshold is None else {"threshold": threshold})), **drawing)

    def _set_scene(self, painter: Painter) -> None:
        painter.add_scenery(painter.coverage([Shape(-MAX_POSITION, 0, MAX_POSITION, 0, 0.08, "scenery")])[0], "scenery")

    def _begin(self, state: np.ndarray, info: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        if self.start == "hanging":
            return state, info
        low, high = np.array([(-2.5, 2.5), (-2, 2), (-math.pi, math.pi), (-4, 4)]).T
        self.task.state = tuple(self.np_random.uniform(low, high).tolist())
        return self.task._obs(), self.task._info()

    def _reward(self, reward: float) -> float:
        return reward if self.threshold is not None else (1 + math.cos(self.task.state[2])) / 2

    def _where(self) -> tuple[float, float]:
        return math.remainder(self.task.state[2], 2 * math.pi), self.task.state[3]

    def _things(self) -> list[Shape]:
        x, _, theta, _ = self.task.state
        return _cart(x, theta, "limb", "tip")

    def _decoy(self, first: float, second: float) -> list[Shape]:
        return _cart(0.8 * MAX_POSITION * math.sin(first), second, "decoy", "decoy_tip")


def _cart(x: float, theta: float, limb: str, tip: str) -> list[Shape]:
    """A cart at x whose pole leans `theta` to the right of upright."""
    return [Shape(x - 0.45, 0, x + 0.45, 0, 0.28, limb), *_rod(x, 0.0, 2.2, -theta, 0.15, 0.36, limb, tip)]


class PixelReacherEnv(PixelEnv):
    """Reacher, seen from above.

    | | |
    | --- | --- |
    | observation | `Box(0, 255, (32, 32, 3))` uint8: an arm of two links, its fingertip, and the target |
    | state | Reacher-v5's observation: cosines and sines of both angles, target (m), angular velocities (rad/s), from target to tip (m) |
    | action | `Box(-1, 1, (2,))`: torques, in units of 200 N m |
    | reward | Reacher-v5's: −\\|tip − target\\| − \\|action\\|², after the step |
    | end | registered with a limit of 50 steps of 0.02 s |
    | source | Gymnasium's Reacher-v5, with the equations of `ReacherEnv` in place of MuJoCo's |

    Args:
        drawing: the keywords of `PixelEnv`.
    """

    state_names = ReacherEnv.observation_names
    coverage_names = ("tip_x", "tip_y")
    reach = 0.25

    def __init__(self, **drawing: Any):
        super().__init__(ReacherEnv(), **drawing)

    def _where(self) -> tuple[float, float]:
        return self.task.tip

    def _things(self) -> list[Shape]:
        arm = _arm(0.0, 0.0, *self.task.angles, "limb", "tip")
        return [disc(0, 0, 0.02, "scenery"), disc(*self.task.target, 0.03, "goal"), *arm]

    def _decoy(self, first: float, second: float) -> list[Shape]:
        return _arm(0.1, -0.1, first, second, "decoy", "decoy_tip")


def _arm(x: float, y: float, shoulder: float, elbow: float, limb: str, tip: str) -> list[Shape]:
    """Two links from (x, y) with a fingertip."""
    middle = x + LINKS[0] * math.cos(shoulder), y + LINKS[0] * math.sin(shoulder)
    end = middle[0] + LINKS[1] * math.cos(shoulder + elbow), middle[1] + LINKS[1] * math.sin(shoulder + elbow)
    return [Shape(x, y, *middle, 0.015, limb), Shape(*middle, *end, 0.012, limb), disc(*end, 0.022, tip)]


class PixelMountainCarEnv(PixelEnv):
    """`SparseMountainCarEnv`, seen.

    | | |
    | --- | --- |
    | observation | `Box(0, 255, (32, 32, 3))` uint8: a car in a valley, and a flag at the goal |
    | state | position in [-1.2, 0.6], velocity in [-0.07, 0.07] per step |
    | action | `Box(-1, 1, (1,))`: force; it costs nothing |
    | reward | 1 on reaching the goal, else 0 |
    | end | terminates at the goal; registered with a limit of 500 steps |
    | source | `genrl/SparseMountainCar-v0`, with the dynamics of Gymnasium's MountainCarContinuous |

    Args:
        goal_position: in (-0.4, 0.6).
        goal_velocity: the least velocity at the goal, in [-0.07, 0.07].
        power: velocity that a full force adds in one step, in (0, 0.0025); with 0.0003, no noise that `genrl screen` has reaches the goal.
        drawing: the keywords of `PixelEnv`.
    """

    state_names = SparseMountainCarEnv.observation_names
    coverage_names = SparseMountainCarEnv.coverage_names
    centre = -0.3, 0.65
    reach = 1.0

    def __init__(self, goal_position: float = 0.45, goal_velocity: float = 0.0, power: float = 0.0015, **drawing: Any):
        super().__init__(SparseMountainCarEnv(goal_position=goal_position, goal_velocity=goal_velocity, power=power), **drawing)

    def _set_scene(self, painter: Painter) -> None:
        x = self.task.goal_position
        foot = float(self.task._height(x))
        flag = [Shape(x, foot, x, foot + 0.3, 0.03, "limb"), Shape(x, foot + 0.3, x + 0.12, foot + 0.25, 0.07, "goal")]
        for share, shape in zip(painter.coverage(flag), flag, strict=True):
            painter.add_scenery(share, shape.colour)
        # The ground lets a little of what is behind it through, or a background would leave half of the picture alone.
        painter.add_scenery(0.7 * painter.below(self.task._height(painter.columns), _slope(painter.columns)), "scenery")

    def _where(self) -> tuple[float, float]:
        return float(self.task.state[0]), float(self.task.state[1])

    def _things(self) -> list[Shape]:
        return [self._car(float(self.task.state[0]), "tip")]

    def _decoy(self, first: float, second: float) -> list[Shape]:
        return [self._car(-0.3 + 0.85 * math.sin(first), "decoy_tip")]

    def _car(self, x: float, colour: str) -> Shape:
        """A capsule that stands on the ground at `x`, along it."""
        height, steepness = float(self.task._height(x)), float(_slope(x))
        along = np.array((1, steepness)) / math.hypot(1, steepness)
        middle = np.array((x, height)) + 0.08 * np.array((-along[1], along[0]))
        return Shape(*(middle - 0.06 * along), *(middle + 0.06 * along), 0.08, colour)


def _slope(x: np.ndarray | float) -> np.ndarray:
    """The derivative of MountainCarContinuous's height, 0.45 sin(3x) + 0.55."""
    return 1.35 * np.cos(3 * x)
