"""A frozen image model with the preprocessing of its images and the scale of its codes: one object, one file, one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from genrl.data import Images
from genrl.encoders.preprocessing import Preprocessing
from genrl.errors import command, one_line
from genrl.files import load_state, save_state
from genrl.generators import forked_generators
from genrl.models.base import ImageModel, load_model, model_of, model_state
from genrl.models.capabilities import Encoder
from genrl.models.nn import device_of
from genrl.reading import FileError, read_json
from genrl.roles import attribute, image_models

__all__ = ["CLIP", "FILE", "ImageEncoder", "check_encoder", "encoder_of", "load_encoder"]

FILE = "encoder.safetensors"
"""Name of an encoder's file in a run directory."""
CLIP = 10.0
"""Codes are at most so many standard deviations from their mean, as observations under Stable-Baselines3's VecNormalize are."""
FLOOR = 0.05
"""Least standard deviation by which a number is divided, as a share of the largest: a latent number that means nothing stays small."""
MEASURED = 5_000
"""Images of which the statistics are taken."""
COLLAPSED = 1e-5
"""Standard deviation of codes, relative to their size, below which all images have the same."""


class ImageEncoder(nn.Module):
    r"""An image model as eyes: bytes of images in, scaled codes out.

    .. math:: c(x) = \mathrm{clip}\left(\frac{(f(p(x)) - \mu) B}{\sigma}, \pm 10\right)

    with the preprocessing p, the model's ``encode`` f, and the mean μ, the principal components B and the standard deviations σ of codes of
    the images that it learnt from. B is left out where f gives at most ``most`` numbers. Everything is fixed: the module is always in
    evaluation mode, and takes no gradient unless :func:`genrl.encoders.pretrained` asks for one.

    Args:
        model: with an ``encode``; it becomes a part of the encoder, frozen.
        preprocessing: of its images.
        mean: μ, ``(feature,)``.
        std: σ, ``(code,)``.
        basis: B, ``(feature, code)``, or ``None``.

    Raises:
        ValueError: a model without an ``encode`` or of another shape of images, or codes that are the same for every image.

    References:
        Ha, Schmidhuber, "World Models", 2018, arXiv:1803.10122 (codes of a pretrained model in place of images).

    Example:
        >>> from genrl.models import VAE
        >>> images, prepare = Images(torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8)), Preprocessing((3, 32, 32), size=16)
        >>> encoder = ImageEncoder.of(VAE((3, 16, 16), latent=4, hidden=(8,)), prepare, prepare.images(images))
        >>> encoder(images.pixels).shape, encoder.size
        (torch.Size([50, 4]), 4)
    """

    mean: Tensor
    std: Tensor
    basis: Tensor | None

    def __init__(self, model: ImageModel, preprocessing: Preprocessing, mean: Tensor, std: Tensor, basis: Tensor | None = None) -> None:
        super().__init__()
        _check_model(model, preprocessing)
        if not float(std.max()) > COLLAPSED * max(1.0, float(mean.abs().max())):
            raise ValueError(
                f"this {type(model).__name__} gives every image the same code (standard deviation {float(std.max()):.1e}), so it has not "
                "learnt; fit it longer or otherwise, by `genrl generate --help`"
            )
        self.model, self.preprocessing = model, preprocessing
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("basis", basis)
        self.requires_grad_(False)
        self.eval()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # the same codes, a tenth faster

    @classmethod
    def of(cls, model: ImageModel, preprocessing: Preprocessing, images: Images | Tensor | np.ndarray, *, most: int = 64) -> Self:
        """An encoder with the statistics of ``images``.

        Args:
            model: see above.
            preprocessing: see above.
            images: those that the model learnt from, cut, resized and grey as the preprocessing leaves them; at most 5,000 are looked at.
                An array or a tensor is of bytes, ``(image, channel, height, width)``.
            most: numbers of a code; a longer one is projected on so many principal components.

        Raises:
            ValueError: see above; or fewer than two images.
        """
        _check_model(model, preprocessing)
        images = images if isinstance(images, Images) else Images(torch.as_tensor(images))
        if len(images) < 2:
            raise ValueError(f"an encoder takes the scale of its codes from at least two images, but was given {len(images)}")
        if images.shape != preprocessing.shape:
            raise ValueError(f"these images are {images.shape}, but the preprocessing leaves {preprocessing.shape}; give what it made")
        shown = torch.linspace(0, len(images) - 1, min(MEASURED, len(images))).long()
        device = device_of(model)
        parts = (images[part].batch().to(device) for part in shown.split(250))
        with torch.no_grad():
            codes = torch.cat([model.encode(preprocessing.levelled(part).to(model.dtype)) for part in parts])  # type: ignore[operator]
        mean, basis = codes.mean(0), None
        if codes.shape[1] > most:
            with forked_generators():
                torch.manual_seed(0)
                rank = min(most + 8, *codes.shape)  # a few more, so that the last of them are exact too
                basis = torch.svd_lowrank(codes - mean, q=rank, niter=16)[2][:, :most].contiguous()
            codes = (codes - mean) @ basis
        std = codes.std(0)
        return cls(model, preprocessing, mean, std.clamp_min(FLOOR * float(std.max())), basis)

    @property
    def size(self) -> int:
        """Numbers of a code."""
        return len(self.std)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: a learner's ``train`` must not move batch norm nor let dropout draw."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Codes ``(batch, code)`` of bytes ``(batch, *preprocessing.source)``."""
        return self._scaled(self.preprocessing(pixels))

    def of_prepared(self, x: Tensor) -> Tensor:
        """Codes of images that are cut, resized and grey already, in [0, 1], ``(batch, *preprocessing.shape)``."""
        return self._scaled(self.preprocessing.levelled(x))

    def _scaled(self, x: Tensor) -> Tensor:
        code: Tensor = self.model.encode(x.to(self.model.dtype)) - self.mean  # type: ignore[operator]
        code = code if self.basis is None else code @ self.basis
        return (code / self.std).clamp(-CLIP, CLIP)

    def features(self, codes: Tensor) -> Tensor:
        """What codes ``(batch, code)`` tell of the model's features, ``(batch, feature)``, such as for its ``decode``: no more than their
        principal components."""
        scaled = codes * self.std
        return self.mean + (scaled if self.basis is None else scaled @ self.basis.T)

    @property
    def hash(self) -> str:
        """Sixteen characters of all that decides a code."""
        return _hash(self._state())

    def save(self, path: str | Path) -> None:
        """One safetensors file, whole or not at all; nothing is pickled."""
        state = self._state()
        save_state(path, state | {"hash": _hash(state)})

    def _state(self) -> dict[str, Any]:
        scale = {"mean": self.mean, "std": self.std, "basis": self.basis}
        return model_state(self.model) | {"preprocessing": self.preprocessing.to_dict(), "scale": scale}

    def extra_repr(self) -> str:
        return f"source={self.preprocessing.source}, size={self.size}, hash={self.hash}"


def load_encoder(path: str | Path) -> ImageEncoder:
    """The encoder of a run of `genrl generate`, of a run that used one, or of a file; no code runs.

    Args:
        path: a run directory, or a file that :meth:`ImageEncoder.save` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is broken, was changed since, or holds no encoder.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(_missing(Path(path)))
    saved = load_state(file)
    if not {"preprocessing", "scale", "hash"} <= saved.keys():
        raise ValueError(f"{file} holds no encoder; give {FILE} of a run of `genrl generate`, or what ImageEncoder.save wrote")
    given = saved.pop("hash")
    if _hash(saved) != given:
        raise ValueError(f"{file} was changed since it was written (its hash is not {given}); restore it from a copy")
    return encoder_of(saved, file)


def encoder_of(saved: Mapping[str, Any], path: str | Path = "this file") -> ImageEncoder:
    """The encoder of a state such as ``load_state`` gives."""
    try:
        scale = saved["scale"]
        return ImageEncoder(model_of(saved, path), Preprocessing.read(saved["preprocessing"]), scale["mean"], scale["std"], scale["basis"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is not what ImageEncoder.save wrote ({one_line(error)[:200]}); fit the encoder again") from error


def check_encoder(encoder: object) -> None:
    """Refuse what is no encoder, such as its path or its model.

    Raises:
        ValueError: says how to get one.
    """
    if not isinstance(encoder, ImageEncoder):
        raise ValueError(
            f"an ImageEncoder is needed, but was given {type(encoder).__name__}; take load_encoder(PATH), or of a model "
            "ImageEncoder.of(model, preprocessing, images)"
        )


def _check_model(model: ImageModel, preprocessing: Preprocessing) -> None:
    name = type(model).__name__
    if not isinstance(model, Encoder):
        raise ValueError(f"{name} encodes nothing; give a model with encode, such as `genrl generate --model vae`")
    if getattr(model, "conditional", False):
        raise ValueError(f"this {name} can't encode an image without its class; give a model that is not conditional")
    if tuple(model.image_shape) != preprocessing.shape:
        raise ValueError(f"this {name} encodes images of {tuple(model.image_shape)}, but the preprocessing gives {preprocessing.shape}")


def _missing(path: Path) -> str:
    if not path.is_dir():
        fit = command("generate", "--model", "jepa", "--data", "frames:TASK", "--out", path)
        return f"there is no encoder {path}; fit one with: {fit}"
    model = path / "model.safetensors"
    if model.is_file():
        another = "fit another model, such as: genrl generate --model vae"
        name = load_state(model).get("model")
        cls = attribute(image_models()[name]) if name in image_models() else None
        if cls is not None and not hasattr(cls, "encode"):
            return f"{path} holds a {name}, which encodes nothing; {another}"
        if getattr(load_model(model), "conditional", False):
            return f"{path} holds a {name} that was told classes, which leaves no encoder; {another}"
        if problem := _problem(path / "result.json"):
            return f"{path} has a model but no {FILE}: {problem}"
        return f"{path} has a model but no {FILE} yet; let it finish with: {command('resume', path)}"
    return f"{path} has no {FILE}; give the directory of a run of `genrl generate`"


def _problem(result: Path) -> str | None:
    """Why a finished run has left no encoder, as it said itself."""
    try:
        said = read_json(result).get("judging_error")
    except FileError:
        return None
    return one_line(ValueError(said))[:400] if isinstance(said, str) and "the encoder failed" in said else None


def _hash(state: Mapping[str, Any]) -> str:
    """Sixteen hex digits of SHA-256 over the plain values as JSON, and over each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256()

    def add(name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
            return None
        if isinstance(value, Mapping):
            return {str(key): add(f"{name}/{key}", value[key]) for key in sorted(value, key=str)}
        return value

    digest.update(json.dumps(add("", state), sort_keys=True).encode())
    return digest.hexdigest()[:16]
