"""MAE: it is shown some patches, judged on the others, and small."""

from __future__ import annotations

import pytest
import torch

from genrl.models import MAE, fit

SHAPE = (3, 16, 16)


def model(**kwargs: object) -> MAE:
    torch.manual_seed(0)
    return MAE(SHAPE, width=16, depth=1, decoder_width=16, **kwargs)  # type: ignore[arg-type]


def order_of(n: int = 2) -> torch.Tensor:
    return torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i)) for i in range(n)])


def with_patch(x: torch.Tensor, image: int, patch: int) -> torch.Tensor:
    other = x.clone()
    row, column = divmod(int(patch), 4)
    other[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.123
    return other


def test_patches_are_parts_of_the_image_row_by_row() -> None:
    x = torch.rand(1, *SHAPE)
    assert torch.equal(model().cut(x)[0, 5], x[0, :, 4:8, 4:8].flatten())


def test_what_is_hidden_does_not_reach_what_is_drawn_and_what_is_shown_does() -> None:
    mae, x, order = model(), torch.rand(2, *SHAPE), order_of()
    drawn = mae.drawn(mae.cut(x), order)
    for patch in order[0]:
        other = mae.drawn(mae.cut(with_patch(x, 0, patch)), order)
        hidden = patch in order[0, -mae.hidden :]
        assert torch.equal(other[0], drawn[0]) == hidden
        assert torch.equal(other[1], drawn[1])


def test_the_loss_is_the_mean_squared_error_of_hidden_patches_only() -> None:
    mae, x, order = model(), torch.rand(2, *SHAPE), order_of()
    patches, drawn = mae.cut(x), mae.drawn(mae.cut(x), order)
    expected = torch.stack([(drawn[i, j] - patches[i, j]).square().mean() for i in range(2) for j in order[i, -mae.hidden :]]).mean()
    assert torch.isclose(mae.loss(x, order), expected)
    assert mae.hidden == 12


def test_a_code_sees_every_patch() -> None:
    mae, x = model(), torch.rand(1, *SHAPE)
    for patch in range(16):
        assert not torch.allclose(mae.encode(x), mae.encode(with_patch(x, 0, patch)))


def test_every_parameter_gets_a_gradient() -> None:
    mae = model()
    mae.loss(torch.rand(4, *SHAPE)).backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in mae.parameters())


def test_it_has_at_most_half_a_million_parameters() -> None:
    assert sum(item.numel() for item in MAE((3, 64, 64)).parameters()) < 500_000


def test_it_learns_to_draw_what_it_was_not_shown() -> None:
    x = torch.linspace(0, 1, 16).view(1, 1, 1, 16) * torch.rand(200, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    images = (255 * x.expand(-1, -1, 16, -1)).byte()
    mae = model()
    rows = fit(mae, images, held_out=images[:50], epochs=120, batch_size=50, learning_rate=3e-3, average=0, progress=False)
    assert rows[-1]["held_out_loss"] < 0.1 * float((images / 255).var())


@pytest.mark.parametrize(("name", "value"), [("patch", 5), ("width", 20), ("masked", 1.0), ("depth", 0)])
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"MAE needs {name} to be"):
        MAE(SHAPE, **{name: value})  # type: ignore[arg-type]
