"""Distances between sets of images: closed forms, values counted by hand, and refusals in one sentence."""

from __future__ import annotations

import math

import pytest
import torch

from genrl.generation import metrics
from genrl.generation.metrics import (
    Distances,
    compare,
    compare_with_floor,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
    psnr,
)

pytestmark = pytest.mark.usefixtures("double")


def exactly(mean: torch.Tensor, covariance: torch.Tensor, n: int = 50) -> torch.Tensor:
    """Features whose sample mean and covariance are these, not only on average."""
    x = torch.randn(n, len(mean))
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T @ x / (n - 1)), x.T, upper=False).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def rotation(n: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(n, n)).Q


class TestFrechetDistance:
    def test_of_diagonal_covariances_is_the_closed_form(self):
        mean_a, mean_b = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([1.0, 1.0, 2.0])
        std_a, std_b = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([3.0, 1.0, 0.5])
        a, b = exactly(mean_a, std_a.square().diag()), exactly(mean_b, std_b.square().diag(), 70)
        assert frechet_distance(a, b) == pytest.approx(1 + 16 + 4 + 1)

    def test_of_covariances_that_do_not_commute_is_the_closed_form_in_the_plane(self):
        a, b = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([[1.0, -0.5], [-0.5, 4.0]])
        root = math.sqrt((a @ b).trace() + 2 * math.sqrt(torch.det(a) * torch.det(b)))  # of 2 × 2 matrices, by their eigenvalues
        found = frechet_distance(exactly(torch.zeros(2), a), exactly(torch.zeros(2), b))
        assert found == pytest.approx(3 + 2 + 4 + 1 - 2 * root)

    @pytest.mark.parametrize("n", [5, 500])
    def test_of_a_set_from_itself_is_zero_with_fewer_images_than_features_too(self, n):
        x = torch.randn(n, 20) * torch.logspace(-6, 3, 20)
        assert 0 <= frechet_distance(x, x) < 1e-8

    def test_is_symmetric_and_does_not_change_with_a_rotation(self):
        a, b = torch.randn(40, 6), torch.randn(60, 6) * 2 + 1
        turn = rotation(6)
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
        assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b))

    def test_a_shift_adds_its_square(self):
        a, b = torch.randn(40, 2), torch.randn(60, 2)
        b = b - b.mean(0) + a.mean(0)
        assert frechet_distance(a, b + torch.tensor([3.0, 4.0])) == pytest.approx(frechet_distance(a, b) + 25)

    def test_is_computed_in_double_precision(self):
        x = torch.randn(100, 3).float()
        shifted = x + 1000  # in which float32 has 4 digits of the spread left
        assert frechet_distance(shifted, shifted.double() + 0.01) == pytest.approx(3e-4, rel=1e-6)

    def test_of_one_feature_is_that_of_two_normals(self):
        one = torch.ones(1, 1)
        assert frechet_distance(exactly(torch.zeros(1), one), exactly(torch.ones(1), 9 * one)) == pytest.approx(1 + 4)


class TestKernelDistance:
    def test_is_the_sum_over_pairs(self):
        """Two parts of two images each, by hand."""
        a, b = torch.randn(4, 3), torch.randn(4, 3)
        found, error = kernel_distance(a, b, subsets=2, seed=3)
        generator = torch.Generator().manual_seed(3)
        order_a, order_b = torch.randperm(4, generator=generator), torch.randperm(4, generator=generator)

        def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
            return float((x @ y / 3 + 1) ** 3)

        parts = []
        for start in (0, 2):
            (a0, a1), (b0, b1) = a[order_a[start : start + 2]], b[order_b[start : start + 2]]
            cross = kernel(a0, b0) + kernel(a0, b1) + kernel(a1, b0) + kernel(a1, b1)
            parts.append(kernel(a0, a1) + kernel(b0, b1) - cross / 2)
        assert found == pytest.approx(sum(parts) / 2)
        assert error == pytest.approx(abs(parts[0] - parts[1]) / 2)

    def test_is_unbiased_and_its_error_is_that_of_the_mean(self):
        """Over draws of one distribution: on average zero, scattered as the standard error says."""
        found, errors = zip(*(kernel_distance(torch.randn(40, 2), torch.randn(40, 2), subsets=5) for _ in range(400)), strict=True)
        means, spread = torch.tensor(found), torch.tensor(errors)
        assert abs(means.mean()) < 4 * means.std() / 20
        assert means.std().item() == pytest.approx(spread.square().mean().sqrt().item(), rel=0.2)
        assert (means < 0).any()

    def test_does_not_depend_on_the_order_of_the_images(self):
        """Sorted by class, each part would be a class if it were taken in order."""
        x = torch.cat([torch.randn(100, 2), torch.randn(100, 2) + 5])
        distance, error = kernel_distance(x, x.flip(0), subsets=4)
        assert abs(distance) < 4 * error

    def test_asks_for_the_images_that_its_parts_need(self):
        assert kernel_distance(torch.randn(30, 2), torch.randn(40, 2), subsets=3, size=10)
        with pytest.raises(ValueError, match="kernel_distance needs at least 33 images, but was given 30 and 40"):
            kernel_distance(torch.randn(30, 2), torch.randn(40, 2), subsets=3, size=11)
        with pytest.raises(ValueError, match="kernel_distance needs subsets of at least 2, but was given 1"):
            kernel_distance(torch.randn(30, 2), torch.randn(40, 2), subsets=1)


class TestPrecisionRecall:
    def test_of_one_mode_of_two_are_one_and_a_half(self):
        modes = torch.cat([torch.randn(50, 2), torch.randn(50, 2) + 100])
        one = modes[:50] + 1e-3
        assert precision_recall(modes, one) == (1.0, 0.5)
        assert precision_recall(one, modes) == (0.5, 1.0)

    def test_are_counted_by_hand_on_a_line(self):
        """Reals at 0, 1, 3 reach 1, 1, 2 for k = 1 (and 3, 2, 3 for k = 2); generated at -1.5, 0.5, 6 reach 2, 2, 5.5."""
        real, generated = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[-1.5], [0.5], [6.0]])
        assert precision_recall(real, generated, k=1) == pytest.approx((1 / 3, 1))
        assert precision_recall(real, generated, k=2) == pytest.approx((1, 1))
        assert precision_recall(generated, real, k=1) == pytest.approx((1, 1 / 3))

    def test_an_image_is_not_its_own_neighbour(self):
        real = torch.tensor([[0.0], [10.0]])
        assert precision_recall(real, torch.tensor([[9.0], [-9.0]]), k=1) == (1.0, 1.0)

    def test_of_copies_of_one_image_are_of_no_rounding(self):
        real = 1000 + torch.randn(20, 7)
        copies = real[:1].expand(10, 7)
        assert precision_recall(real, copies, k=3) == (1.0, 1 / 20)

    def test_in_pieces_are_the_same(self, monkeypatch):
        real, generated = torch.randn(50, 3), torch.randn(43, 3) + 1.5
        whole = precision_recall(real, generated)
        monkeypatch.setattr(metrics, "_ROWS", 8)
        assert precision_recall(real, generated) == whole
        assert 0 < whole[0] < 1 and 0 < whole[1] < 1

    def test_do_not_change_with_a_rotation_and_a_shift(self):
        real, generated, turn = torch.randn(60, 4), torch.randn(50, 4) * 1.5, rotation(4)
        assert precision_recall(real @ turn + 7, generated @ turn + 7) == precision_recall(real, generated)

    def test_need_more_images_than_neighbours(self):
        with pytest.raises(ValueError, match="precision_recall needs at least 4 images, but was given 9 and 3"):
            precision_recall(torch.randn(9, 2), torch.randn(3, 2))
        with pytest.raises(ValueError, match="precision_recall needs k of at least 1, but was given 0"):
            precision_recall(torch.randn(9, 2), torch.randn(3, 2), k=0)


class TestInceptionScore:
    def test_lies_between_one_and_the_number_of_classes(self):
        assert inception_score(50 * torch.eye(7).repeat(3, 1)) == pytest.approx(7)
        assert inception_score(torch.randn(1, 7)) == pytest.approx(1)  # one image has no variety
        assert inception_score(torch.randn(1, 7).expand(9, 7)) == pytest.approx(1)
        assert 1 < inception_score(torch.randn(100, 7)) < 7

    def test_is_the_mutual_information_by_hand(self):
        """Two images with the probabilities (3/4, 1/4) and (1/4, 3/4), (1/2, 1/2) on average."""
        p = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
        assert inception_score(p.log() + 5) == pytest.approx(math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5)))

    def test_needs_finite_logits_of_an_image(self):
        with pytest.raises(ValueError, match="inception_score needs at least 1 image, but was given 0"):
            inception_score(torch.zeros(0, 3))
        with pytest.raises(ValueError, match="inception_score needs finite numbers"):
            inception_score(torch.tensor([[0.0, -math.inf]]))


class TestPsnr:
    def test_of_a_known_error_is_known(self):
        a = torch.rand(3, 1, 4, 4) * 0.5
        error = torch.tensor([0.1, 0.01, 0.5]).view(3, 1, 1, 1)
        torch.testing.assert_close(psnr(a, a + error), torch.tensor([20.0, 40.0, 20 * math.log10(2)]))
        half = a.clone()
        half[..., :2] += 0.1  # half of the pixels, half of the mean square
        torch.testing.assert_close(psnr(a, half), torch.full((3,), 20 + 10 * math.log10(2)))

    def test_of_the_same_images_is_infinite(self):
        a = torch.rand(2, 3, 4, 4)
        assert torch.equal(psnr(a, a), torch.full((2,), math.inf))

    @pytest.mark.parametrize("wrong", [-1.0, 2.0, math.nan])
    def test_levels_out_of_range_are_refused(self, wrong):
        with pytest.raises(ValueError, match=r"psnr needs grey levels in \[0, 1\], but was given some from"):
            psnr(torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), wrong))

    def test_shapes_that_differ_are_refused(self):
        with pytest.raises(ValueError, match="psnr needs images of one shape"):
            psnr(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


class TestCompare:
    def test_is_the_distances_of_the_features(self):
        real, generated = torch.rand(60, 1, 2, 2), torch.rand(50, 1, 2, 2).square()
        found = compare(flat, real, generated, k=2, seed=1)
        a, b = flat(real), flat(generated)
        kid, error = kernel_distance(a, b, seed=1)
        assert found == Distances(frechet_distance(a, b), kid, error, *precision_recall(a, b, 2))

    def test_features_are_made_in_batches_without_gradients(self):
        sizes = []

        def features_of(x: torch.Tensor) -> torch.Tensor:
            sizes.append((len(x), torch.is_grad_enabled()))
            return flat(x)

        compare(features_of, torch.rand(501, 1, 2, 2), torch.rand(20, 1, 2, 2))
        assert sizes == [(500, False), (1, False), (20, False)]

    def test_the_floor_is_train_against_test_with_as_many_images(self):
        test, generated = torch.rand(100, 1, 2, 2), torch.rand(100, 1, 2, 2) * 0.5
        train = torch.rand(100, 1, 2, 2)
        found, floor = compare_with_floor(flat, train, test, generated)
        assert found.fid == pytest.approx(frechet_distance(flat(test), flat(generated)))
        assert floor.fid == pytest.approx(frechet_distance(flat(test), flat(train)))
        assert found.fid > 3 * floor.fid

    def test_all_sets_are_cut_to_the_smallest_drawn_at_random(self):
        seen = []

        def features_of(x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return flat(x)

        test, generated = torch.rand(70, 1, 2, 2), torch.rand(40, 1, 2, 2)
        train = torch.linspace(0, 1, 90).view(90, 1, 1, 1).expand(90, 1, 2, 2)  # sorted
        found = compare_with_floor(features_of, train, test, generated)
        assert [len(x) for x in seen] == [40, 40, 40]
        assert seen[0].max() > 0.6
        assert found == compare_with_floor(flat, train, test, generated)
        assert found != compare_with_floor(flat, train, test, generated, seed=1)

    def test_says_how_many_images_it_needs(self):
        with pytest.raises(ValueError, match="needs at least 20 images, but was given 19 and 30"):
            compare(flat, torch.rand(19, 1, 2, 2), torch.rand(30, 1, 2, 2))

    def test_prints_on_one_line(self):
        assert str(Distances(12.345, -0.00012, 0.00034, 0.5, 1.0)) == "FID 12.3, KID -0.00012 ± 0.00034, precision 0.500, recall 1.000"


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance, precision_recall])
class TestRefusals:
    def test_features_that_differ_in_number(self, distance):
        with pytest.raises(ValueError, match=r"the same number of features, but was given \(30, 2\) and \(30, 3\)"):
            distance(torch.randn(30, 2), torch.randn(30, 3))
        with pytest.raises(ValueError, match=r"needs \(image, feature\)"):
            distance(torch.randn(30, 1, 4, 4), torch.randn(30, 1, 4, 4))

    def test_features_that_are_not_finite(self, distance):
        broken = torch.randn(30, 2)
        broken[3, 0], broken[5, 1] = math.nan, math.inf
        with pytest.raises(ValueError, match="needs finite numbers, but those of 2 of 30 images are NaN or infinite"):
            distance(torch.randn(30, 2), broken)

    def test_no_images(self, distance):
        with pytest.raises(ValueError, match="needs at least"):
            distance(torch.randn(0, 2), torch.randn(30, 2))
