"""Generative models as parts of reinforcement learning.

Importing the package registers its tasks with Gymnasium as ``genrl/<Name>-v0``, and imports neither torch nor MuJoCo.
"""

import genrl_envs  # noqa: F401  (registers the tasks)

__version__ = "0.1.0"
