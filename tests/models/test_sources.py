"""What a fit can learn from: arrays, data sets and loaders give the same fit; what it can't use is refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from genrl.models.sources import DatasetSource, as_source
from genrl.models.training import fit
from tests.models.test_training import Conditional, Noisy

BYTES = torch.randint(256, (30, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
FLOATS = BYTES.float() / 255
CLASSES = torch.arange(30) % 3


class Pairs(Dataset[Any]):
    """As torchvision's: an image and its class, a whole number."""

    def __len__(self) -> int:
        return 30

    def __getitem__(self, i: int) -> Any:
        return FLOATS[i], int(CLASSES[i])


class Arrays(Pairs):
    def __getitem__(self, i: int) -> Any:
        return BYTES[i].numpy()


SAME: dict[str, Any] = {
    "float32": FLOATS,
    "float64": FLOATS.double(),
    "bytes in numpy": BYTES.numpy(),
    "floats in numpy": FLOATS.numpy(),
    "float64 in numpy": FLOATS.numpy().astype(np.float64),
    "a data set of floats": TensorDataset(FLOATS),
    "a data set of bytes": TensorDataset(BYTES),
    "a data set of arrays": Arrays(),
    "a data set of pairs": Pairs(),
    "a loader": DataLoader(Pairs(), batch_size=7, shuffle=True),
    "a part of a whole": Subset(ConcatDataset([Pairs(), Pairs()]), range(30)),
}


def losses(images: Any) -> list[float]:
    return [row["loss"] for row in fit(Noisy(), images, held_out=images, epochs=2, batch_size=8, seed=3, progress=False)]


@pytest.mark.parametrize("kind", SAME)
def test_the_same_images_in_any_form_are_the_same_fit(kind: str) -> None:
    assert losses(SAME[kind]) == pytest.approx(losses(BYTES), rel=1e-6)


def test_classes_of_a_data_set_reach_a_conditional_model() -> None:
    assert as_source(Pairs()).needed_labels.tolist() == CLASSES.tolist()
    model = Conditional()
    fit(model, DataLoader(Pairs(), batch_size=4), epochs=300, batch_size=30, learning_rate=0.05, average=0, progress=False)
    means = torch.stack([FLOATS[k == CLASSES].mean(0) for k in range(3)])
    assert torch.allclose(model.logits.sigmoid(), means, atol=0.02)
    with pytest.raises(ValueError, match=r"this data set has no classes, .* its items have to be \(image, class\)"):
        fit(Conditional(), TensorDataset(FLOATS), epochs=1, progress=False)


def test_a_loader_s_own_way_of_collecting_is_used() -> None:
    loader = DataLoader(Pairs(), collate_fn=lambda items: torch.stack([1 - image for image, _ in items]))
    assert torch.equal(as_source(loader).batch(torch.tensor([2, 5])), 1 - FLOATS[[2, 5]])


def test_items_of_several_tensors_stay_together() -> None:
    one, two = as_source(TensorDataset(BYTES, FLOATS, torch.rand(30, 2))).batch(torch.tensor([4]))[::2]
    assert torch.equal(one, FLOATS[[4]])
    assert two.shape == (1, 2)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from FLOATS


class Pictures(Pairs):
    def __getitem__(self, i: int) -> Any:
        from PIL import Image

        return Image.new("L", (4, 4)), 0


class Late(Pairs):
    """Only its last image has other values."""

    def __getitem__(self, i: int) -> Any:
        return FLOATS[i] * (255 if i == 29 else 1)


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (Stream(), TypeError, "fit needs a data set with a length, but was given Stream"),
    (DataLoader(Stream()), TypeError, "fit needs a data set with a length, but was given Stream"),
    (Pictures(), TypeError, "give the data set a transform that makes tensors"),
    (TensorDataset(FLOATS[:0]), ValueError, "fit needs at least one image, but TensorDataset is empty"),
    (TensorDataset(255 * FLOATS), ValueError, r"as floats in \[0, 1\], but was given float32 from .*; rescale them, such as x / 255"),
    (TensorDataset(2 * FLOATS - 1), ValueError, r"as floats in \[0, 1\]"),
    (TensorDataset(BYTES.long()), ValueError, "but was given int64"),
    (Late(), ValueError, r"as floats in \[0, 1\]"),
    ({"images": BYTES}, TypeError, "fit learns from an array of images, a data set, or what has len and batch, but was given dict"),
]


@pytest.mark.parametrize(("images", "error", "sentence"), REFUSED)
def test_what_a_fit_can_not_learn_from_is_refused(images: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        fit(Noisy(), images, epochs=1, progress=False)


def test_float_images_have_the_model_s_dtype() -> None:
    assert DatasetSource(TensorDataset(BYTES), dtype=torch.float64).batch(torch.tensor([0])).dtype == torch.float64
