"""Everything that is chosen by a name: the learners, rewards, worlds and image models of genrl, one row each.

Flags, ``--help``, ``genrl list``, runs, studies and the lists of what may be imported all read these tables. So

- a new learner, reward, world or image model is one file with its class, and one row here;
- a new socket is one file with a function that makes a :class:`~genrl.runs.sockets.Plug`, and edits of two: a :class:`Role` here, and the
  fields ``ROLE`` and ``ROLE_kwargs`` in the configuration of the commands that have it, which also names the role in ``roles``.

The module imports nothing but the standard library; a class is imported when :meth:`Role.load` is asked for it.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from genrl.errors import RunError, did_you_mean

__all__ = [
    "LEARNERS",
    "MODELS",
    "NONE",
    "REWARDS",
    "ROLES",
    "WORLDS",
    "Part",
    "Role",
    "attribute",
    "classes",
    "image_models",
    "import_module_of_user",
    "is_own",
    "plain_name",
    "without_module",
]

NONE = "none"
"""The name that leaves an optional role empty."""

Need = Literal["demonstrations", "a learner with a replay buffer", "labels", "an action mask"]


@dataclass(frozen=True)
class Part:
    """One row: a class that fills a role."""

    name: str
    """What is typed, such as ``prediction-error``; capitals, dashes and underscores make no difference."""
    path: str
    """Where the class is, ``module:Name``."""
    about: str
    """What it is, in one line."""
    also: tuple[str, ...] = ()
    """Other names that it goes by."""
    needs: tuple[Need, ...] = ()
    """What a run must have for it."""
    actions: tuple[str, ...] = ()
    """Kinds of Gymnasium action spaces that a learner takes."""
    off_policy: bool = False
    """Whether a learner has a replay buffer."""
    encodes: bool = True
    """Whether a run of an image model can be an encoder."""
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Keywords for which a command has a default of its own: by command, such as ``imitate``, or by command and kind of learner, such as
    ``imitate off-policy``."""

    def defaults_of(self, command: str, off_policy: bool) -> dict[str, Any]:
        """Defaults of ``command`` where they are not those of the class's constructor.

        Example:
            >>> REWARDS.part("gail").defaults_of("imitate", off_policy=True)
            {'form': 'logit', 'normalize': False}
        """
        return {**self.defaults.get(command, {}), **(self.defaults.get(f"{command} off-policy", {}) if off_policy else {})}


@dataclass(frozen=True)
class Role:
    """One kind of part: ``--reward NAME`` chooses it, and ``--reward.KEYWORD VALUE`` sets a keyword of its constructor."""

    name: str
    """The field in a configuration, and the flag."""
    base: str
    """The class that a user's own part must be derived from, ``module:Name``."""
    parts: tuple[Part, ...]
    plug: str = ""
    """The function that brings a part into a run, ``module:name``; see :mod:`genrl.runs.sockets`."""
    optional: bool = False
    """Whether ``none`` is an answer."""
    own: bool = True
    """Whether a user's own class, ``module:Name``, is an answer."""

    @property
    def names(self) -> list[str]:
        """Every name that can be typed, but for other spellings."""
        return [NONE] * self.optional + [part.name for part in self.parts]

    def part(self, name: str) -> Part:
        """The row called ``name``, in any spelling.

        Raises:
            RunError: there is none.
        """
        known = {plain_name(key): part for part in self.parts for key in (part.name, part.path.partition(":")[2], *part.also)}
        known |= {plain_name(part.name): part for part in self.parts}  # several rows may share a class: a row's own name counts first
        if plain_name(name) in known:
            return known[plain_name(name)]
        own = f", or module:Name for your own {self.base.partition(':')[2]}" if self.own else ""
        choices = f"; choose one of {', '.join(self.names)}{own}" if self.names else "; genrl has none yet"
        raise RunError(f"there is no {self.name} {name!r}{did_you_mean(name, self.names) or choices}")

    def find(self, name: str | None) -> Part | None:
        """The row called ``name``; ``None`` for ``none`` and for a user's own class, of which there is no row.

        Raises:
            RunError: there is no such row.
        """
        return None if self.is_empty(name) or is_own(name) else self.part(str(name))

    def is_empty(self, name: str | None) -> bool:
        """Whether ``name`` leaves the role empty."""
        return self.optional and (name is None or name.lower() == NONE)

    def load(self, name: str | None) -> type[Any] | None:
        """The class called ``name``, imported now; ``None`` if it leaves the role empty.

        Raises:
            RunError: there is none, it can't be imported, or it is not of this role.
        """
        if self.is_empty(name):
            return None
        if not (self.own and is_own(name)):
            return attribute(self.part(str(name)).path)
        found = _imported(str(name), self.name)
        base: type[Any] = attribute(self.base)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise RunError(f"the {self.name} {name!r} is not a subclass of {self.base.replace(':', '.')}")
        return found


def is_own(name: str | None) -> bool:
    """Whether ``name`` is a user's own class, ``module:Name``."""
    return name is not None and ":" in name


def without_module(name: str) -> str:
    """A task or class without the module in front of it that registers or holds it.

    Example:
        >>> without_module("my_tasks:Line-v0"), without_module("Pendulum-v1")
        ('Line-v0', 'Pendulum-v1')
    """
    return name.rpartition(":")[2]


def import_module_of_user(name: str) -> ModuleType:
    """Import a module that the user has named. The current folder is searched last, so that no file in it takes the place of a library.

    Raises:
        ImportError: there is no such module, or it can't be imported.
    """
    here = str(Path.cwd())
    if here not in sys.path and importlib.util.find_spec(name.partition(".")[0]) is None:
        sys.path.append(here)
    return importlib.import_module(name)


def plain_name(name: str) -> str:
    """``name`` without its spelling.

    Example:
        >>> plain_name("QR-DQN") == plain_name("qr_dqn")
        True
    """
    return name.lower().replace("-", "").replace("_", "")


def image_models() -> dict[str, str]:
    """Import paths of all image models by class name: these alone can be saved and loaded."""
    return classes(MODELS) | {path.partition(":")[2]: path for path in PARTS_OF_MODELS}


def classes(*roles: Role) -> dict[str, str]:
    """Import paths of the classes of ``roles``, by class name: all that a file may name."""
    return {part.path.partition(":")[2]: part.path for role in roles for part in role.parts}


def attribute(path: str) -> Any:
    """What ``path``, ``module:name``, names; the module is imported now. Only for paths that stand in this file."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _imported(name: str, role: str) -> Any:
    """A user's own class."""
    module_name, _, class_name = name.partition(":")
    try:
        module = import_module_of_user(module_name)
    except ImportError as error:
        advice = f"run genrl from the folder that holds {module_name}"
        raise RunError(f"the {role} {name!r} could not be imported ({error}); {advice}") from error
    value = getattr(module, class_name, None)
    if value is None:
        raise RunError(f"module {module_name} has no {class_name!r}{did_you_mean(class_name, dir(module))}")
    return value


_ANY = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")
_ROLLOUTS: dict[str, dict[str, Any]] = {
    "imitate": {"n_steps": 128, "batch_size": 256, "net_arch": (128, 128)},
    "dream": {"n_steps": 500, "batch_size": 100, "gamma": 0.97, "learning_rate": 1e-3},
    "offline dream": {"n_steps": 32, "batch_size": 1024, "gamma": 0.97, "learning_rate": 1e-3},
}
_PPO = _ROLLOUTS | {"imitate": _ROLLOUTS["imitate"] | {"learning_rate": "lin_6e-4"}}
"""Steps that fall to zero: a discriminator keeps a policy moving, and the last one is what is kept."""
_SHORT_ROLLOUTS = {"imitate": {"n_steps": 32, "net_arch": (128, 128)}}
_DISCRETE: dict[str, Any] = {"actions": ("Discrete",), "off_policy": True}
_UPDATES: dict[str, dict[str, Any]] = {
    "imitate": {"gradient_steps": -1, "learning_starts": 1000},
    "dream": {"gradient_steps": 5, "learning_starts": 250, "net_arch": (64, 64)},
}
"""One update for each step, also with several environments; in a dream five, of networks that are cheap."""
_CONTINUOUS: dict[str, Any] = {"actions": ("Box",), "off_policy": True, "defaults": _UPDATES}
_SOFT = _CONTINUOUS | {
    "defaults": _UPDATES | {"imitate": _UPDATES["imitate"] | {"activation": "normed-relu", "ent_coef": "auto_0.1"}},
}
"""Critics that are asked about actions of no batch (Ball et al., "Efficient Online Reinforcement Learning with Offline Data", 2023), and an
entropy coefficient that begins as small as the reward is weighted."""

LEARNERS = Role(
    "learner",
    "stable_baselines3.common.base_class:BaseAlgorithm",
    (
        Part("ppo", "stable_baselines3:PPO", "proximal policy optimisation", actions=_ANY, defaults=_PPO),
        Part("trpo", "sb3_contrib:TRPO", "trust region policy optimisation", actions=_ANY, defaults=_ROLLOUTS),
        Part("a2c", "stable_baselines3:A2C", "synchronous advantage actor-critic", actions=_ANY, defaults=_SHORT_ROLLOUTS),
        Part("recurrentppo", "sb3_contrib:RecurrentPPO", "PPO whose policy has a memory (LSTM)", actions=_ANY),
        Part(
            "maskableppo",
            "sb3_contrib:MaskablePPO",
            "PPO that never takes an invalid action",
            needs=("an action mask",),
            actions=("Discrete", "MultiDiscrete", "MultiBinary"),
            defaults=_PPO,
        ),
        Part("sac", "stable_baselines3:SAC", "soft actor-critic", **_SOFT),
        Part("td3", "stable_baselines3:TD3", "twin delayed deterministic policy gradient", **_CONTINUOUS),
        Part("tqc", "sb3_contrib:TQC", "SAC with a distributional critic (truncated quantiles)", **_SOFT),
        Part("crossq", "sb3_contrib:CrossQ", "SAC with batch normalisation, without target networks", **_CONTINUOUS),
        Part("ddpg", "stable_baselines3:DDPG", "deep deterministic policy gradient", **_CONTINUOUS),
        Part("dqn", "stable_baselines3:DQN", "deep Q network", **_DISCRETE),
        Part("qrdqn", "sb3_contrib:QRDQN", "DQN with a distributional critic (quantile regression)", **_DISCRETE),
    ),
)

_LOGIT = {"imitate off-policy": {"form": "logit", "normalize": False}}
"""Form of "Discriminator-Actor-Critic" (2018). It is not normalised, since an agent's first rewards are all alike, and their standard
deviation would make those of an expert huge."""

REWARDS = Role(
    "reward",
    "genrl.rewards:RewardModel",
    (
        Part("vime", "genrl.rewards.vime:VIME", "information gained about the dynamics, by a Bayesian network"),
        Part(
            "prediction-error",
            "genrl.rewards.prediction_error:PredictionError",
            "error of a learned model of the dynamics",
            also=("error",),
        ),
        Part("icm", "genrl.rewards.icm:ICM", "error of a model of the dynamics in features that predict the action"),
        Part("rnd", "genrl.rewards.rnd:RND", "error in predicting a random network's features of the state"),
        Part("disagreement", "genrl.rewards.disagreement:Disagreement", "disagreement of an ensemble of models of the dynamics"),
        Part(
            "state-entropy",
            "genrl.rewards.state_entropy:StateEntropy",
            "distance to the nearest visited states (RE3)",
            also=("re3", "entropy"),
        ),
        Part("e3b", "genrl.rewards.episodic:E3B", "features in directions that the episode has not had (elliptical)"),
        Part("ngu", "genrl.rewards.episodic:NGU", "features far from those of the episode, times what is new in the agent's life"),
        Part("counts", "genrl.rewards.counts:SimHashCounts", "counts of hashed states", also=("hash-counts",)),
        Part("gail", "genrl.rewards.gail:GAIL", "a discriminator of state and action", needs=("demonstrations",), defaults=_LOGIT),
        Part("gaifo", "genrl.rewards.gail:GAIfO", "a discriminator of states alone", needs=("demonstrations",), defaults=_LOGIT),
        Part(
            "airl",
            "genrl.rewards.airl:AIRL",
            "a discriminator that yields a reward, of the state alone with state_only",
            needs=("demonstrations",),
            defaults=_LOGIT,
        ),
        Part("vail", "genrl.rewards.vail:VAIL", "GAIL through an information bottleneck", needs=("demonstrations",), defaults=_LOGIT),
        Part(
            "sqil",
            "genrl.rewards.sqil:SQIL",
            "1 for demonstrated transitions, 0 for the learner's own",
            needs=("demonstrations", "a learner with a replay buffer"),
        ),
        Part("diffail", "genrl.rewards.diffail:DiffAIL", "GAIL by a diffusion model", needs=("demonstrations",), defaults=_LOGIT),
        Part("pwil", "genrl.rewards.pwil:PWIL", "optimal transport to the demonstrations, nothing trained", needs=("demonstrations",)),
        Part("constant", "genrl.rewards.sqil:Constant", "the same for every step: the control of every imitation"),
    ),
    plug="genrl.runs.sockets:reward",
    optional=True,
)

WORLDS = Role(
    "world",
    "genrl.worlds:Dynamics",
    (
        Part("ensemble", "genrl.models.ensemble:Ensemble", "an ensemble of probabilistic networks that predict the next observation"),
        Part(
            "bayesian",
            "genrl.models.bayesian_dynamics:BayesianDynamics",
            "networks drawn from the posterior of a Bayesian one, VIME's",
            also=("bnn",),
        ),
    ),
    plug="genrl.runs.dreams.world:world",
    optional=True,
)

MODELS = Role(
    "model",
    "genrl.models:ImageModel",
    (
        Part(
            "naive-bayes",
            "genrl.models.naive_bayes:NaiveBayes",
            "independent pixels in each class: the control, fitted by counting",
            encodes=False,
        ),
        Part("vae", "genrl.models.vae:VAE", "variational autoencoder, with inverse autoregressive flows if asked for"),
        Part("pixelcnn", "genrl.models.pixelcnn:PixelCNN", "pixels one after the other, by masked convolutions"),
        Part("realnvp", "genrl.models.realnvp:RealNVP", "normalising flow of affine coupling layers"),
        Part(
            "conditional-vae", "genrl.models.conditional_vae:ConditionalVAE", "makes the rest of an image from a part of it", encodes=False
        ),
        Part("gan", "genrl.models.gan:GAN", "generator against discriminator, dense networks"),
        Part("dcgan", "genrl.models.gan:GAN", "generator against discriminator, convolutional networks"),
        Part("conditional-gan", "genrl.models.gan:GAN", "a DCGAN that is told the class", needs=("labels",), encodes=False),
        Part("infogan", "genrl.models.gan:GAN", "a DCGAN with codes that can be read back from its images"),
        Part(
            "semi-supervised",
            "genrl.models.semi_supervised:SemiSupervisedGAN",
            "a classifier of a few labels, beside a generator",
            needs=("labels",),
        ),
        Part("diffusion", "genrl.models.diffusion:Diffusion", "removes noise step by step"),
        Part("energy", "genrl.models.energy:EnergyModel", "an energy, low for images; samples by Langevin dynamics"),
        Part("vq-vae", "genrl.models.code_prior:CodePrior", "autoencoder with discrete codes, and a transformer as their prior"),
        Part("mae", "genrl.models.mae:MAE", "masked autoencoder: a small transformer that draws the patches it is not shown"),
        Part("jepa", "genrl.models.jepa:JEPA", "codes that predict the next code from the action; learns from frames of a task"),
        Part("pca", "genrl.models.pca:PCA", "principal components: the linear control of an encoder"),
        Part("random", "genrl.models.random_network:RandomNetwork", "a network that never learns: the control of an encoder"),
    ),
    own=False,
)

PARTS_OF_MODELS = ("genrl.models.vqvae:VQVAE",)
"""Image models that no command trains by a name, because they are a part of another one."""

ROLES: Mapping[str, Role] = {role.name: role for role in (LEARNERS, REWARDS, WORLDS, MODELS)}
"""Every role, by its name in a configuration, in the order in which a run is built. An encoder has no row: it is a run of a model."""
