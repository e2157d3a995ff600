"""What an encoder sees of the true state, before any learning: a linear probe of stacked codes, and the pictures that it can draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from genrl.data import Images
from genrl.encoders.encoder import ImageEncoder
from genrl.models.capabilities import Decoder

__all__ = ["Sight", "predicted_state", "what_it_sees"]

RIDGE = 1e-3
"""Penalty of the probe, a share of the variance of a standardised code."""
GOOD, BAD = 0.8, 0.5
"""R² from which something is seen well, and below which it is as good as lost."""
MOVES = 0.05
"""Change of a pixel from one frame to the next, in [0, 1], from which it counts as moving."""
MULTIPLIED = 16
"""Most principal components of a code whose products with those of the frame before are probed."""
STILL = 1e-6
"""Standard deviation of a number of the state, as a share of its size, below which there is nothing to see but rounding; and that of what a
probe is given, as a share of the largest."""


@dataclass(frozen=True)
class Sight:
    """How much of a task's state, and of its pictures, is in an encoder's codes: R² on episodes that no probe and no model learnt from."""

    state: dict[str, float]
    """R² of a linear probe of the stacked codes for each number of the state, the worst first; 1 is perfect, 0 is its mean."""
    one_frame: dict[str, float]
    """R² of a linear probe of the code of one frame: where it is bad and ``state`` is good, the number is a velocity."""
    history: int
    """Number of codes that are stacked."""
    frames: int
    """Number of rows that were probed."""
    drawn: float | None
    """Share of the pixels' variance around the mean image that decoded codes explain; ``None`` of a model that decodes nothing."""
    moving: float | None
    """Share of that variance in the pixels that changed since the last frame; ``None`` where nothing is decoded or changed."""
    products: Mapping[str, float] = field(default_factory=dict)
    """R² of the probe that is given the products of the last two codes as well: codes that go around a circle with an angle have its speed
    in products alone, cos θ · Δ sin θ − sin θ · Δ cos θ, which a learner's network finds and a linear probe can't."""
    still: tuple[str, ...] = ()
    """Numbers of the state that never change in these episodes, of which no probe can say anything."""

    @property
    def worst(self) -> tuple[str, float]:
        """Name and R² of what is seen worst, by the better of the two probes; something of the state must change."""
        best = {name: max(r2, self.products.get(name, r2)) for name, r2 in self.state.items()}
        return min(best.items(), key=lambda item: item[1])

    @property
    def verdict(self) -> str:
        """One sentence: what is seen, what is lost, and what to type against it."""
        if not self.state:
            return "nothing of the state changes in the frames that were kept back, so nothing is known of what the codes see"
        if not self.still:
            return self._seen()
        verb = "changes" if len(self.still) == 1 else "change"
        return f"{self._seen()}; {', '.join(self.still)} never {verb} in the frames that were kept back"

    def _seen(self) -> str:
        name, least = self.worst
        by = " by products of codes" if self.products.get(name, -math.inf) > self.state[name] else ""
        lost = [name for name, r2 in self.state.items() if max(r2, self.products.get(name, r2)) < BAD]
        if not lost:
            curved = [name for name, r2 in self.state.items() if r2 < BAD]
            how = f"; a linear probe misses {', '.join(curved)}, as it does a speed around a circle" if curved else ""
            return f"the codes of {self.history} frames tell the whole state; {name} is seen worst, R² {least:.2f}{by}{how}"
        gone = f"{', '.join(lost)} ({f'R² {least:.2f}{by}' if least > 0 else 'no better than their mean'} at worst)"
        if self.drawn is not None and self.drawn > GOOD:
            small = "" if self.moving is None else f", but {max(self.moving, 0):.0%} of what moves"
            return (
                f"the pictures are good ({self.drawn:.0%} of their variance{small}) and yet the codes lose {gone}: something small that "
                "matters is lost; type --model vae --moving 20, which weighs its error by where frames change, or --model jepa, which "
                "draws nothing"
            )
        slow = [name for name in lost if self.one_frame[name] < BAD <= GOOD < max(self.state.values())]
        if slow and all(self.state[other] >= BAD for other in self.state if other not in slow):
            return f"the codes lose {gone}, which one frame does not show; stack more of them, by --history {self.history + 2}"
        return f"the codes lose {gone}; try another --model, more frames (--frames), or a longer fit of a model that learns in epochs"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the verdict."""
        return asdict(self) | {"verdict": self.verdict}


@torch.no_grad()
def what_it_sees(encoder: ImageEncoder, train: Images, test: Images, *, history: int = 3) -> Sight:
    """Probe an encoder for the true state.

    Args:
        encoder: of frames such as these.
        train: frames with their states (``Images.walk``) that the probe is fitted to, as the encoder's preprocessing gives them.
        test: frames of other episodes, with theirs.
        history: number of codes that are stacked.

    Raises:
        ValueError: frames without states, or episodes that are shorter than ``history``.
    """
    walks = train.walk, test.walk
    if walks[0] is None or walks[1] is None or walks[0].state is None or walks[1].state is None:
        raise ValueError("these frames have no true states; record a task that puts its state into info['state']")
    codes = [_codes(encoder, images) for images in (train, test)]
    states = [walk.state for walk in walks if walk is not None]
    rows = [walk.stacks(history) for walk in walks if walk is not None]
    if min(map(len, rows)) < 2:
        raise ValueError(f"no episode has {history} frames in a row; type history=1")

    def probed(k: int, multiplied: bool = False) -> Tensor:
        x = _stacked(codes, [index[:, -k:] for index in rows], multiplied)
        return _probed(*x, *(state[index[:, -1]] for state, index in zip(states, rows, strict=True)))  # type: ignore[index]

    found = probed(history)
    order = [i for i in found.argsort().tolist() if not found[i].isnan()]
    each = [found, probed(1), probed(history, True) if history > 1 else found]
    stacked, single, products = ({walks[0].state_names[i]: round(float(r2[i]), 4) for i in order} for r2 in each)
    still = tuple(walks[0].state_names[i] for i in found.isnan().nonzero().flatten().tolist())
    return Sight(stacked, single, history, len(rows[1]), *_drawn(encoder, train, test), products, still)


def _stacked(codes: Sequence[Tensor], rows: Sequence[Tensor], multiplied: bool) -> list[Tensor]:
    """What the probe is given, ``(row, number)``, of training and of test frames: the codes at ``rows (row, history)``, and products of the
    last two if asked."""
    stacks = [part[index] for part, index in zip(codes, rows, strict=True)]
    flat = [part.flatten(1) for part in stacks]
    return [torch.cat(parts, dim=1) for parts in zip(flat, _products(*stacks), strict=True)] if multiplied else flat


def _products(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Products of the last code's first principal components with those of the code before, ``(row, n²)``, of stacks of codes."""
    last = train[:, -1] - train[:, -1].mean(0)
    basis = torch.linalg.eigh(last.T @ last)[1][:, -MULTIPLIED:]
    first, second = ((stacks - train[:, -1].mean(0)) @ basis for stacks in (train, test))
    return tuple((part[:, -1, :, None] * part[:, -2, None, :]).flatten(1) for part in (first, second))


def predicted_state(encoder: ImageEncoder, train: Images, test: Images, history: int, multiplied: bool = False) -> tuple[Tensor, Tensor]:
    """The state of ``test`` and what the probe says of it, ``(row, state)`` each; ``multiplied`` as in ``Sight.products``."""
    assert train.walk is not None and test.walk is not None and train.walk.state is not None and test.walk.state is not None
    rows = [images.walk.stacks(history) for images in (train, test)]  # type: ignore[union-attr]
    x = _stacked([_codes(encoder, images) for images in (train, test)], rows, multiplied)
    target, known = train.walk.state[rows[0][:, -1]].double(), test.walk.state[rows[1][:, -1]].double()
    return known, _ridge(x[0], target, x[1])


def _codes(encoder: ImageEncoder, images: Images) -> Tensor:
    parts = (images[part].batch().to(encoder.std.device) for part in torch.arange(len(images)).split(250))
    return torch.cat([encoder.of_prepared(part).cpu() for part in parts])


def _probed(x: Tensor, test_x: Tensor, y: Tensor, test_y: Tensor) -> Tensor:
    """R² of each number, ``(state,)``; NaN where it never changes."""
    y, test_y = y.double(), test_y.double()
    error = (_ridge(x, y, test_x) - test_y).square().mean(0)
    variance = test_y.var(0, unbiased=False)
    return torch.where(variance.sqrt() > STILL * test_y.abs().amax(0), 1 - error / variance, torch.nan)


def _ridge(x: Tensor, y: Tensor, test_x: Tensor) -> Tensor:
    """Linear regression with a small penalty, float64; of what never changes but by rounding nothing is learnt."""
    x, test_x = x.double(), test_x.double()
    mean, std = x.mean(0), x.std(0)
    std = std.where(std > STILL * std.max(), math.inf)
    x, test_x = (x - mean) / std, (test_x - mean) / std
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ (y - y.mean(0)))
    return y.mean(0) + test_x @ weights


def _drawn(encoder: ImageEncoder, train: Images, test: Images) -> tuple[float | None, float | None]:
    """Share of the variance around the mean image that is drawn: of all pixels, and of those that move."""
    if not isinstance(encoder.model, Decoder):
        return None, None
    x = encoder.preprocessing.levelled(test.batch())
    parts = (part.to(encoder.std.device) for part in x.split(250))
    made = torch.cat([encoder.model.decode(encoder.features(encoder.of_prepared(part))).cpu() for part in parts])
    floor = (x - encoder.preprocessing.levelled(train.batch()).mean(0)).square()
    error = (x - made).square()
    whole = round(float(1 - error.sum() / floor.sum().clamp_min(1e-12)), 4)
    pairs = test.walk.stacks(2) if test.walk is not None else torch.zeros(0, 2, dtype=torch.long)
    changed = (x[pairs[:, 1]] - x[pairs[:, 0]]).abs() > MOVES
    if not changed.any():
        return whole, None
    return whole, round(float(1 - error[pairs[:, 1]][changed].sum() / floor[pairs[:, 1]][changed].sum().clamp_min(1e-12)), 4)
