"""TiO-Depth on DINOv2 (arXiv 2309.00933): one network for one eye and for two."""

from rangemask.models.two_in_one.decoder import Decoded, Decoder
from rangemask.models.two_in_one.published import load_published_decoder

__all__ = ["Decoded", "Decoder", "load_published_decoder"]
