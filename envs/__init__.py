"""The tasks that ship with genrl, registered with Gymnasium by `import genrl_envs`.

| id | task | reward |
| --- | --- | --- |
| `genrl/SparseMountainCar-v0` | an underpowered car in a valley | 1 at the goal |
| `genrl/SparseCartpoleSwingup-v0` | a pole that starts hanging down | 1 while cos θ > 0.8 |
| `genrl/SparseHalfCheetah-v0` | dt 0.05, x hidden | 1 while x > 5 |
| `genrl/SparseHalfCheetahFine-v0` | the paper's: dt 0.01, x observed | 1 while x > 5 |
| `genrl/SparseWalker2d-v0`, `genrl/SparseHopper-v0`, `genrl/SparseHumanoid-v0` | a fall ends the episode | 1 while x > 1 |
| `genrl/SparseAnt-v0` | a fall ends the episode | 1 while further than 10 from the start |
| `genrl/SparseSwimmer-v0` | a three-link swimmer | 1 while \\|x\\| > 2.5 |
| `genrl/CartpoleSwingup-v0` | DeepMind Control Suite's, paid all the way up | up to 1 a frame, upright, in the middle and still |
| `genrl/CartpoleSwingupSparse-v0` | DeepMind Control Suite's, with an action cost on request | 1 a frame at the top and in the middle |
| `genrl/AcrobotSwingupSparse-v0` | DeepMind Control Suite's | 1 a frame with the tip at the top |
| `genrl/SwimmerGather-v0` | apples and bombs, seen by range sensors | ±1 for each one caught |
| `genrl/NoisyTVMountainCar-v0` | SparseMountainCar with a television | 1 at the goal |
| `genrl/PointMaze-v0`, `genrl/AntMaze-v0` | a fixed start and a far goal (`pip install "genrl-toolkit[mazes]"`) | 1 at the goal |
| `genrl/MiniGrid-v0` | rooms of cells with doors and keys, seen as a picture (`pip install "genrl-toolkit[grids]"`) | up to 1 at the goal |
| `genrl/PixelPendulum-v0` | Gymnasium's pendulum, drawn | Pendulum-v1's |
| `genrl/PixelCartPoleSwingUp-v0` | a pole that starts hanging down, drawn | (1 + cos θ) / 2 |
| `genrl/PixelReacher-v0` | an arm and a random target, drawn | Reacher-v5's |
| `genrl/PixelMountainCar-v0` | SparseMountainCar, drawn | 1 at the goal |

An episode lasts 500 steps at most (PixelPendulum 200, PixelReacher 50); the time limit truncates. Every task has `coverage_names` (the
two names, of an observation dimension or of a key of `info`, that make the best map of where an agent has been) and, unless it observes
pixels, `observation_names` (one name per observation dimension). A pixel task and a grid have the true state in `info["state"]` and its
names in `state_names`. Read them with `env.get_wrapper_attr("observation_names")`, which also sees the dimensions a `NoisyTV` adds.

Example:
    >>> import gymnasium
    >>> env = gymnasium.make("genrl_envs:genrl/SparseMountainCar-v0", goal_position=0.4)
    >>> env.get_wrapper_attr("coverage_names")
    ('position', 'velocity')
"""

from importlib import import_module
from typing import Any

import gymnasium

MAX_EPISODE_STEPS = 500

_ENTRY_POINTS = {
    "genrl/SparseMountainCar-v0": "mountain_car:SparseMountainCarEnv",
    "genrl/SparseCartpoleSwingup-v0": "cartpole:SparseCartpoleSwingupEnv",
    "genrl/SparseHalfCheetah-v0": "locomotion:SparseHalfCheetahEnv",
    "genrl/SparseHalfCheetahFine-v0": "locomotion:SparseHalfCheetahFineEnv",
    "genrl/SparseWalker2d-v0": "locomotion:SparseWalker2dEnv",
    "genrl/SparseHopper-v0": "locomotion:SparseHopperEnv",
    "genrl/SparseAnt-v0": "locomotion:SparseAntEnv",
    "genrl/SparseHumanoid-v0": "locomotion:SparseHumanoidEnv",
    "genrl/SparseSwimmer-v0": "locomotion:SparseSwimmerEnv",
    "genrl/CartpoleSwingup-v0": "swingup:CartpoleSwingupEnv",
    "genrl/CartpoleSwingupSparse-v0": "swingup:CartpoleSwingupSparseEnv",
    "genrl/AcrobotSwingupSparse-v0": "swingup:AcrobotSwingupSparseEnv",
    "genrl/SwimmerGather-v0": "gather:SwimmerGatherEnv",
    "genrl/NoisyTVMountainCar-v0": "noisy_tv:noisy_tv_mountain_car",
    "genrl/PointMaze-v0": "mazes:point_maze",
    "genrl/AntMaze-v0": "mazes:ant_maze",
    "genrl/MiniGrid-v0": "grids:MiniGridEnv",
    "genrl/PixelPendulum-v0": "pixels:PixelPendulumEnv",
    "genrl/PixelCartPoleSwingUp-v0": "pixels:PixelCartPoleSwingUpEnv",
    "genrl/PixelReacher-v0": "pixels:PixelReacherEnv",
    "genrl/PixelMountainCar-v0": "pixels:PixelMountainCarEnv",
}

_LIMITS = {"genrl/PixelPendulum-v0": 200, "genrl/PixelReacher-v0": 50}

TASKS = tuple(_ENTRY_POINTS)

_MODULES = {
    **{name: module for module, name in (entry.split(":") for entry in _ENTRY_POINTS.values())},
    "NoisyTV": "noisy_tv",
    "PointMazeEnv": "mazes",
    "AntMazeEnv": "mazes",
    "Coverage": "mazes",
    "MAZES": "mazes",
    "range_readings": "gather",
    "PixelEnv": "pixels",
    "ReacherEnv": "reacher",
}

__all__ = ["MAX_EPISODE_STEPS", "TASKS", *sorted(_MODULES)]

for _id, _entry_point in _ENTRY_POINTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=f"{__name__}.{_entry_point}", max_episode_steps=_LIMITS.get(_id, MAX_EPISODE_STEPS))


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import genrl_envs` itself loads neither MuJoCo nor mazes and grids (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
