"""An encoder inside a policy, as Stable-Baselines3's features extractor: to finetune it, or to predict on raw images."""

from __future__ import annotations

from typing import Any, Self

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from genrl.encoders.encoder import ImageEncoder, check_encoder, encoder_of
from genrl.encoders.view import ROUNDING, View, view_of
from genrl.generators import forked_generators
from genrl.spaces import brief, is_image

__all__ = ["EncoderExtractor", "pretrained"]


def pretrained(encoder: ImageEncoder, *, train: bool = False) -> dict[str, Any]:
    """``policy_kwargs`` that give each network of a learner its own copy of an encoder, with its weights.

    The loaded weights survive the learner's construction (``ortho_init``). No two networks share a copy, except where the learner shares
    one by its own rule, as PPO's policy and value do; a target network's copy lags as its other layers do. What is not trained is no
    parameter: no optimiser has it, it stays bitwise the same, and it is always in evaluation mode. The learner's zip holds tensors and
    plain values of the encoder, no pickled module.

    Frames that are stacked in the channels (``VecFrameStack``) are encoded each by itself, oldest first; one frame shows no velocity.

    Args:
        encoder: of images as the task gives them.
        train: whether the learner trains the layers that a code comes from.

    Raises:
        ValueError: what is no encoder; when the learner is built, observations without such an image.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from genrl.encoders import load_encoder
        >>> kwargs = pretrained(load_encoder("runs/eyes"), train=True)  # doctest: +SKIP
        >>> model = PPO("CnnPolicy", "genrl/PixelPendulum-v0", policy_kwargs=kwargs)  # doctest: +SKIP
    """
    check_encoder(encoder)
    given = {"weights": _Weights(encoder), "trained": train}
    return {"features_extractor_class": EncoderExtractor, "features_extractor_kwargs": given}


class _Weights:
    """An encoder as an argument that stays out of files: a pickle of it has plain values alone, and a zip has the weights already."""

    def __init__(self, encoder: ImageEncoder) -> None:
        self._state: dict[str, Any] | None = encoder._state()
        self._plain = _plain(self._state)

    def build(self) -> tuple[ImageEncoder, bool]:
        """An encoder of its own, and whether it has its weights; without them it waits for those of a zip."""
        if self._state is not None:
            return encoder_of(_copied(self._state)), True
        return encoder_of(_blank(self._plain)), False

    @classmethod
    def _without(cls, plain: dict[str, Any]) -> Self:
        weights = cls.__new__(cls)
        weights._state, weights._plain = None, plain
        return weights

    def __reduce__(self) -> Any:
        return self._without, (self._plain,)

    def __deepcopy__(self, memo: Any) -> _Weights:
        return self

    def __repr__(self) -> str:
        return f"weights of {self._plain['model']}"


class EncoderExtractor(BaseFeaturesExtractor):
    """Codes of the frames of an image; with a Dict, its other entries behind them, as Stable-Baselines3 preprocesses them.

    Args:
        observation_space: the policy's.
        weights: from :func:`pretrained`.
        trained: see there.
    """

    def __init__(self, observation_space: spaces.Space[Any], weights: _Weights, trained: bool) -> None:
        encoder, ready = weights.build()
        view = view_of(observation_space, encoder.preprocessing.source, stacked=True)
        _check_scaled(observation_space if view.key is None else observation_space[view.key], view)  # type: ignore[index]
        others = {key: item for key, item in observation_space.items() if key != view.key} if view.key is not None else {}  # type: ignore[attr-defined]
        super().__init__(observation_space, view.frames * encoder.size + sum(map(spaces.flatdim, others.values())))
        self.view, self.trained = view, trained
        self.others = tuple(others)
        """Keys of the other entries of a Dict, in its order; ``predict`` may be given them in another, such as a plain environment's."""
        self.register_buffer("ready", torch.tensor(ready))
        self.encoder = encoder.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # as SB3 lays its images out
        _freeze(encoder, _used(encoder) if trained else set())

    def forward(self, observations: Any) -> Tensor:
        """Features ``(batch, features_dim)`` of what ``preprocess_obs`` gives: levels in [0, 1], or a dict with such an entry."""
        if not self.ready:
            raise ValueError(
                "these policy_kwargs come from a file, without weights; load the learner from its zip, or call pretrained again"
            )
        images = observations if self.view.key is None else observations[self.view.key]
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            codes = self.encoder(self._frames(images)).unflatten(0, (-1, self.view.frames)).flatten(1).to(images.dtype)
        return torch.cat([codes, *(observations[key].flatten(1).float() for key in self.others)], dim=1) if self.others else codes

    def _frames(self, images: Tensor) -> Tensor:
        """Bytes of all frames, ``(batch * frames, channel, height, width)``."""
        if len(images) and not (images.min() >= -ROUNDING and images.max() <= 1 + ROUNDING):
            raise ValueError(
                f"the encoder needs images in [0, 1], but the policy gives {float(images.min()):.4g} to {float(images.max()):.4g}; "
                "leave normalize_images as it is, and no VecNormalize over images"
            )
        if self.view.layout == "channels last":
            images = images.movedim(-1, 1)
        pixels = (255 * images).round().to(torch.uint8)
        return pixels.reshape(-1, *self.view.shape)

    def apply(self, fn: Any) -> Self:
        """Do nothing: ``ortho_init`` would overwrite the weights (Stable-Baselines3, common/policies.py, ActorCriticPolicy._build)."""
        return self


def _check_scaled(image: spaces.Space[Any], view: View) -> None:
    """Refuse bytes that Stable-Baselines3 gives a policy as they are: it divides those alone that it knows for an image by 255."""
    if not view.floats and not is_image(image):
        raise ValueError(
            f"the networks of Stable-Baselines3 see images as bytes from 0 to 255 on three axes, but these are {brief(image)}; give them "
            "an axis of channels and these bounds, or learn on codes, without --finetune"
        )


def _used(encoder: ImageEncoder) -> set[nn.Parameter]:
    """Parameters that a code depends on, such as those of no decoder."""
    parameters = list(encoder.model.parameters())
    for item in parameters:
        item.requires_grad_(True)
    with torch.enable_grad(), forked_generators():
        torch.manual_seed(0)
        pixels = torch.randint(256, (2, *encoder.preprocessing.source), dtype=torch.uint8)
        x = encoder.preprocessing(pixels).to(encoder.std.device, encoder.model.dtype)
        code = encoder.model.encode(x)  # type: ignore[operator]
        found = torch.autograd.grad(code.sum(), parameters, allow_unused=True) if code.requires_grad else [None] * len(parameters)
    used = {item for item, gradient in zip(parameters, found, strict=True) if gradient is not None}
    if not used:
        raise ValueError(
            f"{type(encoder.model).__name__} has no layers that a learner could train; type train=False, or leave --finetune out"
        )
    return used


def _freeze(encoder: ImageEncoder, trained: set[nn.Parameter]) -> None:
    """Make buffers of all other parameters, which are saved and loaded like them but which no optimiser and no average sees."""
    for module in encoder.modules():
        for name, item in list(module._parameters.items()):
            if item is not None and item not in trained:
                del module._parameters[name]
                module.register_buffer(name, item.detach())


def _plain(value: Any) -> Any:
    """Tensors as their shapes and types."""
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _blank(plain: dict[str, Any]) -> dict[str, Any]:
    """A state with ones in place of weights."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"shape", "dtype"}:
            return torch.ones(value["shape"], dtype=getattr(torch, value["dtype"]))
        return {key: filled(item) for key, item in value.items()} if isinstance(value, dict) else value

    return {key: filled(item) for key, item in plain.items()}


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)  # from where the learner moves its networks to its own device
    return {key: _copied(item) for key, item in state.items()} if isinstance(state, dict) else state
