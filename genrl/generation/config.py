"""What one run of a generative model is. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from genrl.errors import RunError
from genrl.generation.recipes import recipe_of
from genrl.runs.options import Config

__all__ = ["AUTO", "FRAMES", "GenerateConfig"]

AUTO = -1
"""Of a field: what does well with the chosen model and images."""
FRAMES = "frames:"
"""What the data of a task begin with."""
Given = Literal["quadrants-1", "quadrants-2", "quadrants-3", "hole", "noise", "coarse"]


@dataclass(frozen=True)
class GenerateConfig(Config):
    """Train a generative model on images, measure it beside a trivial one, and keep everything about it in a run directory."""

    command = "generate"
    roles = ("model",)
    kwargs_help = "Keywords of the task whose frames are recorded"

    model: str = "vae"
    """naive-bayes, vae, pixelcnn, realnvp, conditional-vae, vq-vae (with a transformer for a prior), gan, dcgan, conditional-gan, infogan,
    semi-supervised (a classifier of few labels), energy, or diffusion."""
    data: str = "mnist"
    """mnist, fashion-mnist, an npz, a folder of images, or `frames:TASK`, frames of any Gymnasium task, such as frames:CarRacing-v3."""
    epochs: int = AUTO
    """Passes over the images; -1 takes what does well with the model and the number of images."""
    batch_size: int = AUTO
    """Images a step of the optimiser; -1 takes what does well with the model."""
    learning_rate: float = AUTO
    """Of Adam, at the beginning; -1 takes what does well with the model."""
    size: int = AUTO
    """Resize images to a square of so many pixels; 0 leaves them as they are, -1 resizes those that are too large for the model, and frames
    of a task to the largest that it takes."""
    levels: int = AUTO
    """Levels of grey or colour that the model sees, 2 to 256; 2 draws each pixel black or white, with its grey level as probability, anew
    every time; -1 takes what does well with the model, for small grey images often 2."""
    given: Given | None = None
    """What a conditional-vae is given of an image, to make the rest: one (the default), two or three quadrants, all but a hole, or all of
    it, noisy or coarse."""
    labels: int = AUTO
    """Images with labels that a semi-supervised model learns from beside all the others, equally many of each class; -1 takes ten of
    each, or as many as the smallest class has."""
    seed: int = 0
    """One seed for the model, the fit and the frames; the same seed and threads repeat a run bit for bit."""
    data_root: Path | None = None
    """Folder with the folders mnist and fashion-mnist; by default what GENRL_DATA names, then the user's cache."""
    out: Path | None = None
    """The run directory; by default runs/<data>-<model>-seed<seed>."""
    frames: int = 2000
    """How many frames of a task are recorded."""
    policy: Path | None = None
    """A run directory whose trained policy acts while frames are recorded; by default actions are random."""
    samples: int = 64
    """Images in the grid of samples."""
    judge_images: int = 1000
    """Images of the test set, drawn at random, that measure the model, and as many samples beside them; 0 measures nothing at the end."""
    judge_samples: int = AUTO
    """Draws for each image in an importance-weighted bound: of a VAE's latent vector (-1 takes 500, or 100 for large images), of RealNVP's
    noise (-1 takes 10)."""
    threads: int = 1
    """Threads of torch; more are faster for convolutions."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`bfloat16` trains in half the bits; `auto` does so where the processor is made for it."""
    pictures: bool = True
    """Draw the curves, samples, reconstructions and interpolations."""
    imports: tuple[str, ...] = ()
    """Modules of your own that the run of --policy may import."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of gymnasium.make for the task whose frames are recorded: `--env.NAME VALUE`."""
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the model's constructor: `--model.NAME VALUE`."""

    def __post_init__(self) -> None:
        recipe = recipe_of(self.model)
        self.check_least(seed=0, samples=1, judge_images=0, threads=1, frames=20)
        for name, least in (("epochs", 1), ("batch_size", 1), ("size", 0), ("levels", 2), ("labels", 1), ("judge_samples", 1)):
            if getattr(self, name) != AUTO:
                self.check_least(**{name: least})
        if self.learning_rate != AUTO and not 0 < self.learning_rate < float("inf"):
            raise RunError(f"--learning-rate is {self.learning_rate}, but must be positive and finite")
        if recipe.counts:
            for name, of_no_use in (("epochs", self.epochs not in (AUTO, 1)), ("batch_size", True), ("learning_rate", True)):
                if of_no_use and (value := getattr(self, name)) != AUTO:
                    flag = f"--{name.replace('_', '-')}"
                    raise RunError(f"{flag} is {value}, but --model {self.model} counts once; leave {flag} out")
        if 0 < self.size < 4:
            raise RunError(f"--size is {self.size}, but must be at least 4, or 0 for images as they are")
        low, high = recipe.fewest_levels, recipe.most_levels
        if self.levels != AUTO and not low <= self.levels <= high:
            need = f"{low}" if low == high else f"between {low} and {high}"
            raise RunError(f"--levels is {self.levels}, but must be {need} for --model {self.model}")
        if self.given is not None and not recipe.completes:
            raise RunError(f"--given is {self.given}, but --model {self.model} is given nothing; write --model conditional-vae")
        if self.labels != AUTO and not recipe.few_labels:
            raise RunError(f"--labels is {self.labels}, but --model {self.model} has no use for a few; write --model semi-supervised")
        if self.seed >= 2**63:
            raise RunError(f"--seed is {self.seed}, but must be below 2 to the 63")
        if self.task is not None and recipe.needs_labels:
            raise RunError(f"--model {self.model} needs labels, and frames have none; write another --model, or --data with labels")
        if self.data == FRAMES:
            raise RunError(f"--data is {self.data!r}, but needs a task behind the colon, such as frames:CarRacing-v3")
        if self.task is None:
            for name, given in (("--policy", self.policy), *((f"--env.{key}", True) for key in self.env_kwargs)):
                if given:
                    raise RunError(f"{name} was given, but --data {self.data} records nothing; write --data frames:TASK")

    @property
    def task(self) -> str | None:
        """The task whose frames are recorded, if there is one."""
        return self.data.removeprefix(FRAMES) if self.data.startswith(FRAMES) else None

    @property
    def subject(self) -> str:
        """The images in one word."""
        return re.split("[:/]", self.task)[-1] if self.task else Path(self.data).stem

    @property
    def name(self) -> str:
        """The run in words that a file name can hold."""
        return f"{self.subject}-{self.model.lower()}-seed{self.seed}"

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> GenerateConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            RunError: a run of another command, a name that it has not, or a value of the wrong type.
        """
        values = dict(values)
        if values.pop("command", None) != GenerateConfig.command:
            raise RunError("this is no run of `genrl generate`")
        return GenerateConfig.read(values)
