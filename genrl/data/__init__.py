"""Data: what others or a model recorded, as arrays. No environments and no learners here."""

from genrl.data.demonstrations import DemonstrationError, Demonstrations, Episode
from genrl.data.image_files import load_images
from genrl.data.images import ImageData, ImageError, Images
from genrl.data.walks import Walk

__all__ = ["DemonstrationError", "Demonstrations", "Episode", "ImageData", "ImageError", "Images", "Walk", "load_images"]
