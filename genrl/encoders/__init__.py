"""The encoder socket: a pretrained image model turns observations into features, for any learner, reward and world."""

from genrl.encoders.demonstrations import encoded_demonstrations
from genrl.encoders.encoder import ImageEncoder, load_encoder
from genrl.encoders.environments import EncodedEnv, EncodedVecEnv
from genrl.encoders.extractor import EncoderExtractor, pretrained
from genrl.encoders.frames import StackedFrames
from genrl.encoders.preprocessing import Preprocessing
from genrl.encoders.sight import Sight, what_it_sees

__all__ = [
    "EncodedEnv",
    "EncodedVecEnv",
    "EncoderExtractor",
    "ImageEncoder",
    "Preprocessing",
    "Sight",
    "StackedFrames",
    "encoded_demonstrations",
    "load_encoder",
    "pretrained",
    "what_it_sees",
]
