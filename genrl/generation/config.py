"""The configuration of `genrl generate`, which is its help and its flags as well. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from genrl.errors import RunError
from genrl.generation.recipes import Recipe, recipe_of
from genrl.runs.config.base import FRAMES, Config, check_positive

__all__ = ["GenerateConfig", "Given", "settled"]

Given = Literal["quadrants-1", "quadrants-2", "quadrants-3", "hole", "noise", "coarse"]
Value = TypeVar("Value")


def settled(value: Value | None) -> Value:
    """A field that has been decided, as :func:`genrl.generation.building.build` decides all that are ``None``."""
    assert value is not None
    return value


@dataclass(frozen=True)
class GenerateConfig(Config):
    """Train a generative model on images, measure it beside a trivial one, and keep everything about it in a run directory."""

    command = "generate"
    roles = ("model",)
    kwargs_help = "Keywords of the task whose frames are recorded"

    model: str = "vae"
    """The model: naive-bayes, vae, pixelcnn, realnvp, conditional-vae, vq-vae (with a transformer for a prior), gan, dcgan,
    conditional-gan, infogan, semi-supervised (a classifier of few labels), energy, diffusion, mae, jepa, pca, or random."""
    data: str = "mnist"
    """The images: mnist, fashion-mnist, an npz, a folder of images, or `frames:TASK`, frames of any Gymnasium task, such as
    frames:CarRacing-v3."""
    epochs: int | None = None
    """Passes over the images; by default what does well with the model and the number of images."""
    batch_size: int | None = None
    """Images in a step of the optimiser; by default what does well with the model."""
    learning_rate: float | None = None
    """Learning rate of Adam at the beginning; by default what does well with the model."""
    images: int | None = None
    """Number of images of a data set that are learnt from, drawn at random by the seed; by default all of them."""
    size: int | None = None
    """Pixels a side of the square to which images are resized; 0 leaves them as they are. By default images that are too large for the
    model are resized, and frames of a task get the largest size that it takes."""
    levels: int | None = None
    """Levels of grey or colour that the model sees, 2 to 256. With 2, each pixel is drawn black or white anew every time, with its grey
    level as probability. By default what does well with the model, for small grey images often 2."""
    grey: bool = False
    """Turn colours grey, also for a model that takes colours."""
    crop: tuple[int, int, int, int] | None = None
    """Pixels that are cut off each image first: top, bottom, left, right."""
    given: Given | None = None
    """The part of an image that a conditional-vae is given to make the rest: one (the default), two or three quadrants, all but a hole, or
    all of it, noisy or coarse."""
    labels: int | None = None
    """Images with labels that a semi-supervised model learns from beside all the others, equally many of each class; by default ten of
    each, or as many as the smallest class has."""
    seed: int = 0
    """Seed of the model, the fit and the frames; the same seed and threads repeat a run bit for bit."""
    data_root: Path | None = None
    """Folder that holds the folders mnist and fashion-mnist; by default the one that GENRL_DATA names, then the user's cache."""
    out: Path | None = None
    """The run directory; by default runs/<data>-<model>-seed<seed>."""
    frames: int = 2000
    """Number of frames of a task that are recorded."""
    every: int | None = None
    """Keep every so many-th frame of an episode; by default each one where the task tells its state or the model learns from actions, and
    each fourth otherwise."""
    archive: int | None = None
    """Steps in which an archive explores the task before its frames are recorded, such as 20000: half of the frames then are of the places
    that it has found, which random actions seldom reach. By default all are of random actions from the start."""
    moving: float = 0.0
    """Additional weight of a vae's error where a frame differs from the one before, so that small things that move are not lost."""
    history: int = 3
    """Number of frames whose codes are probed for the task's state."""
    code: int = 64
    """Most numbers of a code; a longer one is projected on so many principal components."""
    policy: Path | None = None
    """Run directory of a trained policy that acts while frames are recorded; by default actions are random."""
    samples: int = 64
    """Images in the grid of samples."""
    judge_images: int = 1000
    """Number of test images, drawn at random, and of samples that measure the model; 0 measures nothing at the end."""
    judge_samples: int | None = None
    """Importance samples per image in the bound; by default 500 for a VAE (100 for large images), and 10 for RealNVP."""
    threads: int = 1
    """Threads of torch; more are faster for convolutions."""
    device: str = "cpu"
    """Device on which the model learns, such as cpu, cuda or cuda:1; it is measured on the CPU. A device that is not there is refused."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of training: `bfloat16` computes in half the bits; `auto` does so where the processor is made for it, and not on a GPU."""
    pictures: bool = True
    """Draw the curves, samples, reconstructions and interpolations."""
    imports: tuple[str, ...] = ()
    """Your own modules that the run of --policy may import."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of gymnasium.make for the task whose frames are recorded, `--env.NAME VALUE`."""
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the model's constructor, `--model.NAME VALUE`."""

    def __post_init__(self) -> None:
        recipe = recipe_of(self.model)
        self._check_numbers()
        self._check_fit(recipe)
        self._check_images(recipe)

    def _check_numbers(self) -> None:
        """Refuse a number out of its range."""
        self.check_least(seed=0, samples=1, judge_images=0, threads=1, frames=20)
        self.check_most(threads=1024, samples=10_000, size=4096, frames=10_000_000)
        self.check_least(images=1, epochs=1, batch_size=1, size=0, levels=2, labels=1)
        self.check_least(judge_samples=1, every=1, archive=1, history=1, code=1, moving=0)
        check_positive(learning_rate=self.learning_rate)
        if self.size is not None and 0 < self.size < 4:
            raise RunError(f"--size is {self.size}, but must be at least 4, or 0 for images as they are")
        if self.seed >= 2**63:
            raise RunError(f"--seed is {self.seed}, but must be below 2 to the 63")

    def _check_fit(self, recipe: Recipe) -> None:
        """Refuse what this model has no use for."""
        if recipe.counts:
            for name, value in (("epochs", self.epochs), ("batch-size", self.batch_size), ("learning-rate", self.learning_rate)):
                if value is not None and (name, value) != ("epochs", 1):
                    raise RunError(f"--{name} is {value}, but --model {self.model} counts once; leave --{name} out")
            if self.device not in ("cpu", "auto"):
                raise RunError(f"--device is {self.device}, but --model {self.model} counts on the CPU; leave --device out")
            if self.precision == "bfloat16":
                raise RunError(f"--precision is bfloat16, but --model {self.model} counts in float32; leave --precision out")
        low, high = recipe.fewest_levels, recipe.most_levels
        if self.levels is not None and not low <= self.levels <= high:
            need = f"{low}" if low == high else f"between {low} and {high}"
            raise RunError(f"--levels is {self.levels}, but must be {need} for --model {self.model}")
        if self.given is not None and not recipe.completes:
            raise RunError(f"--given is {self.given}, but --model {self.model} is given nothing; write --model conditional-vae")
        if self.labels is not None and not recipe.few_labels:
            raise RunError(f"--labels is {self.labels}, but --model {self.model} has no use for a few; write --model semi-supervised")

    def _check_images(self, recipe: Recipe) -> None:
        """Refuse images that this model can't learn from, and flags that have no say in where these images come from."""
        if self.imports and self.policy is None:
            raise RunError("--imports was given, but there is no run of a policy that may import them; add --policy RUN")
        if self.data == FRAMES:
            raise RunError(f"--data is {self.data!r}, but needs a task behind the colon, such as frames:CarRacing-v3")
        if self.task is not None:
            if self.images is not None:
                raise RunError(f"--images is {self.images}, but --data {self.data} records frames; write --frames {self.images}")
            if recipe.needs_labels:
                raise RunError(f"--model {self.model} needs labels, and frames have none; write another --model, or --data with labels")
            if self.policy is not None and self.archive is not None:
                raise RunError(f"--policy and --archive {self.archive} were given, but one of them acts; leave one out")
            return
        for name, given in (
            ("--policy", self.policy),
            ("--every", self.every),
            ("--archive", self.archive),
            ("--frames", self.frames != GenerateConfig.frames),
            ("--history", self.history != GenerateConfig.history),
            *((f"--env.{key}", True) for key in self.env_kwargs),
        ):
            if given:
                raise RunError(f"{name} was given, but --data {self.data} records nothing; write --data frames:TASK")

    @property
    def task(self) -> str | None:
        """The task whose frames are recorded, or none."""
        return self.data.removeprefix(FRAMES) if self.data.startswith(FRAMES) else None

    @property
    def subject(self) -> str:
        """The images in one word."""
        return re.split("[:/]", self.task)[-1] if self.task else Path(self.data).stem

    @property
    def name(self) -> str:
        """A name for the run that can be a file name."""
        return f"{self.subject}-{self.model.lower()}-seed{self.seed}"

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> GenerateConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            RunError: the values are of another command, or one has an unknown name or the wrong type.
        """
        values = dict(values)
        if values.pop("command", None) != GenerateConfig.command:
            raise RunError("this is no run of `genrl generate`")
        return GenerateConfig.read(values)
