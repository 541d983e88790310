"""A text with fields and images, as its parts."""

from PIL import Image

from llmagic.prompt.images import picture
from llmagic.prompt.interpolation import interpolate
from llmagic.prompt.parts import ImagePart, TextPart

RED, BLUE = Image.new("RGB", (2, 3), "red"), Image.new("RGB", (3, 2), "blue")


def run(text, base=None, *, expressions=True, attachments=None, **namespace):
    """The parts as str and picture, and the warnings."""
    made = interpolate(
        text,
        namespace,
        evaluate=lambda expression: eval(expression, dict(namespace)),
        base=base,
        attachments=attachments or {},
        expressions=expressions,
    )
    for part in made.parts:
        assert isinstance(part, ImagePart) or part.text
    pairs = zip(made.parts, made.parts[1:], strict=False)
    assert not any(isinstance(a, TextPart) and isinstance(b, TextPart) for a, b in pairs)
    assert all(len(line.splitlines()) == 1 for line in made.warnings)
    parts = [p.text if isinstance(p, TextPart) else p.picture for p in made.parts]
    return parts, made.warnings


def text_of(text, **namespace):
    parts, warnings = run(text, **namespace)
    assert warnings == ()
    assert all(isinstance(part, str) for part in parts)
    return "".join(parts)


red, blue = picture(RED), picture(BLUE)
