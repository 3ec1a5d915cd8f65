"""archsr fine-tunes Real-ESRGAN for photographs of architecture."""

__version__ = "0.1.0"
