import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.heads.masks.merging import instances, masks_at_size, panoptic


def random_queries(seed: int, queries: int = 12, classes: int = 3, size: int = 12):
    generator = torch.Generator().manual_seed(seed)
    class_logits = 3 * torch.randn(2, queries, classes + 1, generator=generator)
    coarse = 4 * torch.randn(2, queries, 3, 4, generator=generator)
    return class_logits, F.interpolate(coarse, size=(size, size + 3), mode="bilinear")


def slow_instances(class_logits, mask_logits, min_score, max_instances, threshold):
    """Object by object and pixel by pixel, as the paper says it."""
    found = []
    for query in range(class_logits.shape[0]):
        probabilities = class_logits[query].softmax(0)[:-1].tolist()
        label = probabilities.index(max(probabilities))
        inside = [x for x in mask_logits[query].flatten().tolist() if x > threshold]
        if not inside:
            continue
        certainty = torch.tensor(inside).sigmoid().mean().item()
        score = max(probabilities) * certainty
        if score >= min_score:
            found.append((score, label, query))
    return sorted(found, key=lambda entry: -entry[0])[:max_instances]


def slow_panoptic(class_logits, mask_logits, min_score, min_area, overlap, stuff):
    """The same for segments: ids as nested lists and a list of (label, score)."""
    none = class_logits.shape[1] - 1
    height, width = mask_logits.shape[1:]
    candidates = []
    for query in range(class_logits.shape[0]):
        probabilities = class_logits[query].softmax(0).tolist()
        label = probabilities.index(max(probabilities))
        if label != none and max(probabilities) >= min_score:
            candidates.append((max(probabilities), label, mask_logits[query].sigmoid().tolist()))
    candidates.sort(key=lambda entry: -entry[0])
    ids = [[-1] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            best = max(
                range(len(candidates)),
                key=lambda i: candidates[i][0] * candidates[i][2][y][x],
                default=-1,
            )
            if best >= 0 and candidates[best][2][y][x] >= 0.5:
                ids[y][x] = best
    segments, table = [], {-1: -1}
    for i, (score, label, probability) in enumerate(candidates):
        held = sum(row.count(i) for row in ids)
        own = sum(p >= 0.5 for row in probability for p in row)
        if held == 0 or held < overlap * own or held < min_area * (height * width):
            table[i] = -1
            continue
        first = [k for k, segment in enumerate(segments) if segment[0] == label]
        if label in stuff and first:
            table[i] = first[0]
            continue
        table[i] = len(segments)
        segments.append((label, score))
    return [[table[i] for i in row] for row in ids], segments


class TestInstances:
    @given(
        st.integers(0, 1000),
        st.sampled_from([0.0, 0.3, 0.6]),
        st.integers(1, 12),
        st.sampled_from([-1.0, 0.0, 2.0]),
    )
    @settings(deadline=None, max_examples=20)
    def test_agrees_with_the_slow_way(self, seed, min_score, count, threshold):
        class_logits, mask_logits = random_queries(seed)
        found = instances(
            class_logits,
            mask_logits,
            min_score=min_score,
            max_instances=count,
            mask_threshold=threshold,
        )
        for image, classes, masks in zip(found, class_logits, mask_logits, strict=True):
            expected = slow_instances(classes, masks, min_score, count, threshold)
            assert image.queries.tolist() == [query for _, _, query in expected]
            assert image.labels.tolist() == [label for _, label, _ in expected]
            torch.testing.assert_close(
                image.scores, torch.tensor([score for score, _, _ in expected])
            )
            assert torch.equal(image.mask_logits, masks[image.queries])

    def test_empty_masks_and_no_objects(self):
        class_logits = torch.tensor([[[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]])
        mask_logits = torch.stack([torch.full((4, 4), x) for x in (-3.0, 3.0, 3.0)])[None]
        (found,) = instances(class_logits, mask_logits, min_score=0.0)
        assert found.queries.tolist() == [1, 2]
        (found,) = instances(class_logits, mask_logits - 9, min_score=0.0)
        assert found.mask_logits.shape == (0, 4, 4)
        assert len(found.labels) == len(found.scores) == 0

    def test_no_gradient_is_kept(self):
        class_logits, mask_logits = random_queries(3)
        found = instances(class_logits.requires_grad_(), mask_logits.requires_grad_())
        assert not found[0].scores.requires_grad
        assert not found[0].mask_logits.requires_grad


class TestPanoptic:
    @given(
        st.integers(0, 1000),
        st.sampled_from([0.0, 0.5]),
        st.sampled_from([0.0, 0.0625]),
        st.sampled_from([0.0, 0.5, 0.875]),
        st.sampled_from([(), (1,), (0, 2)]),
    )
    @settings(deadline=None, max_examples=25)
    def test_agrees_with_the_slow_way(self, seed, min_score, min_area, overlap, stuff):
        class_logits, mask_logits = random_queries(seed)
        found = panoptic(
            class_logits,
            mask_logits,
            min_score=min_score,
            min_area=min_area,
            overlap_threshold=overlap,
            stuff=stuff,
        )
        for image, classes, masks in zip(found, class_logits, mask_logits, strict=True):
            ids, segments = slow_panoptic(classes, masks, min_score, min_area, overlap, stuff)
            assert image.ids.tolist() == ids
            assert image.labels.tolist() == [label for label, _ in segments]
            torch.testing.assert_close(image.scores, torch.tensor([s for _, s in segments]))

    def test_nothing_found(self):
        class_logits = torch.tensor([[[0.0, 9.0]]])
        (found,) = panoptic(class_logits, torch.ones(1, 1, 3, 5))
        assert found.ids.dtype == torch.int64
        assert found.ids.tolist() == [[-1] * 5] * 3
        assert len(found.labels) == 0

    def test_the_surer_one_of_two_equal_masks_hides_the_other(self):
        class_logits = torch.tensor([[[2.0, 0.0], [5.0, 0.0]]])
        (found,) = panoptic(class_logits, torch.full((1, 2, 3, 3), 4.0))
        assert found.ids.tolist() == [[0] * 3] * 3
        assert found.scores.tolist() == pytest.approx([torch.tensor(5.0).sigmoid().item()])


class TestMasksAtSize:
    @given(
        st.integers(0, 1000),
        st.integers(1, 9),
        st.integers(1, 9),
        st.integers(1, 40),
        st.integers(1, 40),
        st.sampled_from([0.0, -0.7, 1.5]),
    )
    @settings(deadline=None, max_examples=60)
    def test_is_bilinear_upsampling_cut_at_the_threshold(self, seed, h, w, height, width, level):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(3, h, w, generator=generator) + torch.tensor([[[0.0]], [[-4]], [[9]]])
        full = F.interpolate(logits[None], size=(height, width), mode="bilinear")[0]
        masks = masks_at_size(logits, height, width, level)
        assert masks.shape == (3, height, width)
        assert masks.dtype == torch.bool
        clear = (full - level).abs() > 1e-5
        assert torch.equal(masks[clear], (full > level)[clear])

    def test_none_and_empty_ones(self):
        assert masks_at_size(torch.zeros(0, 4, 4), 8, 8).shape == (0, 8, 8)
        assert not masks_at_size(torch.full((2, 4, 4), -1.0), 8, 8).any()

    def test_half_precision(self):
        logits = torch.tensor([[[-1.0, 1.0]]], dtype=torch.bfloat16)
        assert masks_at_size(logits, 1, 4).tolist() == [[[False, False, True, True]]]


class TestErrors:
    @pytest.mark.parametrize(
        ("classes", "masks", "message"),
        [
            ((2, 3), (2, 3, 4, 4), r"expected class_logits \(B, N, K \+ 1\)"),
            ((1, 3, 2), (3, 4, 4), r"mask_logits \(B, N, h, w\)"),
            ((1, 3, 2), (1, 2, 4, 4), "agree in images and queries"),
            ((1, 3, 1), (1, 3, 4, 4), "at least one class"),
        ],
    )
    def test_shapes(self, classes, masks, message):
        with pytest.raises(InputError, match=message):
            instances(torch.zeros(classes), torch.zeros(masks))
        with pytest.raises(InputError, match=message):
            panoptic(torch.zeros(classes), torch.zeros(masks))

    @pytest.mark.parametrize("name", ["min_score", "min_area", "overlap_threshold"])
    def test_shares(self, name):
        with pytest.raises(InputError, match=rf"{name} must be in \[0, 1\], got 1.5"):
            panoptic(torch.zeros(1, 2, 2), torch.zeros(1, 2, 4, 4), **{name: 1.5})

    def test_other_options(self):
        with pytest.raises(InputError, match="max_instances must be at least 1"):
            instances(torch.zeros(1, 2, 2), torch.zeros(1, 2, 4, 4), max_instances=0)
        with pytest.raises(InputError, match="min_score"):
            instances(torch.zeros(1, 2, 2), torch.zeros(1, 2, 4, 4), min_score=float("nan"))

    def test_sizes(self):
        with pytest.raises(InputError, match=r"must be \(n, h, w\)"):
            masks_at_size(torch.zeros(4, 4), 8, 8)
        with pytest.raises(InputError, match="at least 1 px, got 0 and 8"):
            masks_at_size(torch.zeros(1, 4, 4), 0, 8)


@settings(deadline=None, max_examples=40)
@given(
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 999),
)
def test_sparse_masks_at_any_size_are_the_plain_ones(
    grid: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    """Masks of a pixel or two, enlarged and shrunk: rows and columns may be missed altogether."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.full((3, *grid), -5.0)
    for mask in logits:
        row = int(torch.randint(grid[0], (), generator=random))
        column = int(torch.randint(grid[1], (), generator=random))
        mask[row, column] = 5.0
    plain = torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear")[0]
    found = masks_at_size(logits, *size)
    clear = plain.abs() > 1e-4  # at the threshold itself rounding decides
    assert torch.equal(found[clear], (plain > 0)[clear])
