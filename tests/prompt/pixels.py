"""Pictures and their pixels."""

import io

import numpy as np

from llmagic.prompt.images import picture

RAMP = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


def pixels(value, **keywords):
    made = picture(value, **keywords)
    return np.frombuffer(made.pixels, np.uint8).reshape(made.height, made.width, 3)


def encoded(image, format="PNG", **keywords):
    stream = io.BytesIO()
    image.save(stream, format, **keywords)
    return stream.getvalue()
