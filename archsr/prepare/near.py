import numpy as np


def thumbnail(image):
    return np.asarray(image.convert("L").resize((64, 64)))


def near_pairs(thumbs):
    return []
