"""Objects through a clip: the same as with everything kept, in bounded memory."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from rangemask.backends.masks.sam2.image import image_batch
from rangemask.backends.masks.sam2.video import Sam2Track, Sam2Video
from rangemask.errors import InputError
from rangemask.models.sam2.presets import SIZES, video_config
from rangemask.structures import MaskSet
from support.sam2 import NANO, nano_sam2_video, picture

HEIGHT, WIDTH = 60, 90
BANK = video_config(SIZES["nano"]).max_object_pointers_in_encoder
"""Frames of which anything is remembered."""
PROMPT: dict[str, Any] = {
    "points": [[(20, 20)], [(50, 40), (10, 10)]],
    "point_labels": [[1], [1, 0]],
}


@pytest.fixture(scope="module")
def video() -> Sam2Video:
    return Sam2Video(nano_sam2_video())


def clip(count: int) -> list[Any]:
    """A picture that moves to the right."""
    image = picture(HEIGHT, WIDTH)
    return [np.roll(image, 2 * index, axis=1) for index in range(count)]


def test_one_mask_per_object_in_a_fixed_order(video: Sam2Video) -> None:
    track = video.start(clip(1)[0], **PROMPT)
    assert track.ids == (0, 1)
    for image in clip(4)[1:]:
        masks = track.step(image)
        assert isinstance(masks, MaskSet)
        assert masks.labels == ("object", "object")
        assert (masks.height, masks.width) == (HEIGHT, WIDTH)
        assert all(0 <= score <= 1 for score in masks.scores)
        assert all(rle.area for rle in masks.rles)
    # Swapped prompts, swapped masks: they are told apart by their place.
    swapped = {name: value[::-1] for name, value in PROMPT.items()}
    other = video.start(clip(1)[0], **swapped)
    assert other.first.rles == track.first.rles[::-1]
    assert track.first.rles[0] != track.first.rles[1]


def test_what_is_dropped_is_not_missed(video: Sam2Video) -> None:
    """As transformers' own session, which keeps every frame, gives it."""
    frames = clip(BANK + 6)
    network = video.network
    session = Sam2VideoInferenceSession(video_height=HEIGHT, video_width=WIDTH, dtype=torch.float32)
    scale = torch.tensor([128 / WIDTH, 128 / HEIGHT])
    for index, points in enumerate(PROMPT["points"]):
        session.obj_id_to_idx(index)
        places = torch.tensor(points) * scale
        marks = torch.tensor(PROMPT["point_labels"][index])
        given = {"point_coords": places[None, None], "point_labels": marks[None, None]}
        session.add_point_inputs(index, 0, given)
    session.obj_with_new_inputs = [0, 1]
    found = video.propagate(iter(frames), **PROMPT)
    for image, masks in zip(frames, found, strict=True):
        with torch.inference_mode():
            output = network(session, frame=image_batch(network, image))
        wide = F.interpolate(output.pred_masks, (HEIGHT, WIDTH), mode="bilinear")
        expected = wide[:, 0].numpy() > 0
        assert expected.any()
        assert (masks.dense() != expected).mean() < 1e-3


def test_memory_stops_growing(video: Sam2Video) -> None:
    """Three times more frames than anything is remembered of."""
    frames = clip(3 * BANK)
    track = video.start(frames[0], **PROMPT)
    held = [track.state_bytes]
    for image in frames[1:]:
        track.step(image)
        held.append(track.state_bytes)
    assert held[1] > held[0]
    assert len(set(held[BANK:])) == 1
    # Seven frames of memory per object, and pointers of sixteen.
    config = video.network.config
    memory = config.num_maskmem * 8 * 8 * 64 * (2 + 4)
    pointers = BANK * config.memory_attention_hidden_size * 4
    assert held[-1] <= 2 * (memory + pointers) + 1000


def test_frames_are_read_one_at_a_time(video: Sam2Video) -> None:
    read = []

    def frames() -> Any:
        for index, image in enumerate(clip(5)):
            read.append(index)
            yield image

    masks = video.propagate(frames(), boxes=[[10, 10, 50, 40]])
    assert read == []
    for index in range(5):
        assert len(next(masks)) == 1
        assert read == list(range(index + 1))
    assert next(masks, None) is None


def test_boxes_and_points_together(video: Sam2Video) -> None:
    box = [[10, 10, 50, 40]]
    image = clip(1)[0]
    plain = video.start(image, boxes=box).first
    both = video.start(image, boxes=box, points=[[(80, 50)]], point_labels=[[0]]).first
    assert plain.rles != both.rles


def test_masks_start_as_they_are_given(video: Sam2Video) -> None:
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 10:40, 10:50] = True
    masks[1, 30:55, 60:85] = True
    track = video.start(clip(1)[0], masks=masks, labels=["cup", "box"])
    assert track.first.labels == ("cup", "box")
    overlap = (track.first.dense() & masks).sum((1, 2)) / masks.sum((1, 2))
    assert (overlap > 0.9).all()
    given = MaskSet.from_dense(masks, labels=["a", "b"], scores=[1, 1])
    again = video.start(clip(1)[0], masks=given)
    assert again.first.rles == track.first.rles
    assert again.labels == ("a", "b")
    assert len(track.step(clip(2)[1])) == 2


def test_what_is_hidden_has_an_empty_mask() -> None:
    network = nano_sam2_video()
    track = Sam2Video(network).start(clip(1)[0], **PROMPT)
    with torch.no_grad():
        network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-20.0)
    masks = track.step(clip(2)[1])
    assert [rle.area for rle in masks.rles] == [0, 0]
    assert max(masks.scores) < 0.01
    with torch.no_grad():
        network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(20.0)
    assert all(rle.area for rle in track.step(clip(3)[2]).rles)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({}, "nothing is asked"),
        ({"points": [[(100, 3)]]}, "outside of the image of 90 x 60 px"),
        ({"points": [[(3, 3)]], "masks": np.ones((1, 60, 90), bool)}, "not both"),
        ({"masks": np.zeros((2, 60, 90), bool)}, "mask 0 is empty: there is nothing to follow"),
        ({"masks": np.ones((1, 30, 90), bool)}, r"masks must be \(N, 60, 90\) bool"),
        ({"masks": np.ones((0, 60, 90), bool)}, "with one mask at least"),
        ({"boxes": [[1, 1, 9, 9]], "labels": ["a", "b"]}, "expected 1 labels, one per object"),
    ],
)
def test_impossible_starts_are_refused(
    video: Sam2Video, prompt: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        video.start(clip(1)[0], **prompt)


def test_impossible_frames_are_refused(video: Sam2Video) -> None:
    track: Sam2Track = video.start(clip(1)[0], **PROMPT)
    with pytest.raises(InputError, match=r"first was 90 x 60 px, frame 1 is 80 x 60 px"):
        track.step(picture(HEIGHT, 80))
    with pytest.raises(InputError, match=r"must be \(H, W, 3\) uint8 RGB"):
        track.step(np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(InputError, match="there are no frames"):
        next(video.propagate([], **PROMPT))


def test_it_is_loaded_by_name(video: Sam2Video, tmp_path: Any) -> None:
    nano_sam2_video().save_pretrained(tmp_path)
    loaded = Sam2Video.load(NANO, checkpoint=tmp_path, device="cpu")
    expected = video.start(clip(1)[0], **PROMPT).first
    assert loaded.start(clip(1)[0], **PROMPT).first == expected
