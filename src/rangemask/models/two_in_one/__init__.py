"""TiO-Depth on DINOv2 (arXiv 2309.00933): one network for one eye and for two."""

from rangemask.models.two_in_one.config import TwoInOneConfig
from rangemask.models.two_in_one.decoder import Decoded, Decoder, read_logits
from rangemask.models.two_in_one.encoder import DinoEncoder, build_encoder
from rangemask.models.two_in_one.flipping import flipped_depth
from rangemask.models.two_in_one.network import TwoInOne, build_two_in_one
from rangemask.models.two_in_one.pretrained import load_two_in_one, save_two_in_one
from rangemask.models.two_in_one.published import load_published, load_published_decoder
from rangemask.models.two_in_one.starting import start_encoder
from rangemask.models.two_in_one.swin import SwinEncoder

__all__ = [
    "Decoded",
    "Decoder",
    "DinoEncoder",
    "SwinEncoder",
    "TwoInOne",
    "TwoInOneConfig",
    "build_encoder",
    "build_two_in_one",
    "flipped_depth",
    "load_published",
    "load_published_decoder",
    "load_two_in_one",
    "read_logits",
    "save_two_in_one",
    "start_encoder",
]
