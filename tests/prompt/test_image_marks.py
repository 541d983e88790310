"""What counts as an image of Markdown, and how long it takes to look."""

import base64
import builtins
import time

import numpy as np
import pytest
from PIL import Image

from llmagic.errors import ImageError
from llmagic.prompt.fields import field_at
from llmagic.prompt.interpolation import interpolate
from llmagic.prompt.markdown import image_marks
from tests.prompt.interpolated import BLUE, RED, blue, red, run
from tests.prompt.pixels import encoded


@pytest.mark.parametrize(
    "mark",
    [
        "![](a.png)",
        "![alt text](a.png)",
        "![a [b] c](a.png)",
        "![a \\] c](a.png)",
        "![a `]` c](a.png)",
        "![two\nlines](a.png)",
        "![](  a.png  )",
        "![](\na.png\n)",
        '![a](a.png "title")',
        "![a](a.png 'it\"s')",
        "![a](a.png (title))",
        '![a](a.png "a \\" ) b")',
        "![](<a.png>)",
        "![](<a b.png>)",
        '![](<a b.png> "title")',
        "![](a%20b.png)",
        "![](a(1).png)",
        "![](a\\(1\\).png)",
        "![](<a(1).png>)",
        "![](ü.png)",
        "![](%C3%BC.png)",
        "![](a\\_b.png)",
        "![](x].png)",
        "![](3\u202fPM.png)",  # as macOS names its screenshots
        "![](a&#46;png)",
        "![](a&period;png)",
        "![](a{b}.png)",
        "![](attachment:pasted%20image.png)",
        "![](<attachment:pasted image.png>)",
        f"![](data:image/png;base64,{base64.b64encode(encoded(RED)).decode()})",
    ],
)
def test_image_marks(folder, mark):
    attachments = {"pasted image.png": encoded(RED)}
    for before, after in [("", ""), ("a ", " b"), ("[", "](link)"), ("!", "!"), ("\\\\", "`")]:
        parts, _ = run(before + mark + after, folder, attachments=attachments)
        assert parts == [part for part in (before, red, after) if part]


@pytest.mark.parametrize(
    "text",
    [
        "\\![](a.png)",
        "!\\[](a.png)",
        "![](a.png",
        "![]()",
        "![](<>)",
        "![a]",
        "![a][b]",
        "![a] (a.png)",
        "[](a.png)",
        "![](a.png 'x",
        "![a\n\nb](a.png)",
        "![a\r\n\r\nb](a.png)",
        "![a](a(.png)",
        "`![](a.png)`",
        "``a ` ![](a.png)``",
        "`a\n![](a.png)`",
        "```\n![](a.png)\n```",
        "```md\n`\n![](a.png)\n````",
        "~~~\n![](a.png)\n```\n",
        "```\n![](a.png)\n``` no end\n![](a.png)",
        "  ```\n![](a.png)",
        "> ```\n> ![](a.png)\n> ```",
        "- ```\n  ![](a.png)\n  ```",
        "```\r\n![](a.png)\r\n```\r\n",
    ],
)
def test_what_is_no_image_mark(folder, text):
    assert run(text, folder) == ([text], ())


@pytest.mark.parametrize(
    "text",
    [
        "`` ` ``![](a.png)",
        "`![](a.png)",
        "\\`![](a.png)`",
        "`a\n\n![](a.png)`",
        "```\ncode\n```\n![](a.png)",
        "```\r\ncode\r\n```\r\n![](a.png)",
        "~~~ `\ncode\n~~~\n![](a.png)",
        "``` inline ``` ![](a.png)",
        "```a`b\n![](a.png)",
        "![a](b c) ![](a.png)"[10:],
    ],
)
def test_images_stand_beside_code(folder, text):
    parts, _ = run(text, folder)
    assert red in parts


def test_a_space_in_a_target_is_warned_about(folder):
    parts, warnings = run("![x](a b.png) ![x](a.png)", folder)
    assert parts == ["![x](a b.png) ", red]
    assert len(warnings) == 1
    assert "angle brackets" in warnings[0]


def test_a_target_may_hold_fields(folder):
    assert run("![x]({n}.png)", folder, n="a")[0] == [red]
    assert run("![x](<{n} b.png>)", folder, n="a")[0] == [red]
    assert run("![x]({i})", folder, i=BLUE)[0] == [blue]
    assert run("![x]({p})", folder, p=folder / "a.png")[0] == [red]
    assert run("![x]({p})", folder, p="a b.png")[0] == [red]
    assert run("![x](a{{b}}.png)", folder)[0] == [red]
    assert run("![{n}](a.png)", folder, n="a")[0] == [red]
    with pytest.raises(ImageError, match="mixes"):
        run("![x]({i}.png)", folder, i=BLUE)


def test_a_target_that_cannot_be_read_is_named_with_its_folder(folder):
    with pytest.raises(ImageError) as caught:
        run("![](none.png)", folder)
    assert "'none.png'" in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "absolute path" in str(caught.value)


def test_code_in_braces_is_not_an_image(folder):
    assert run("{f('![](no.png)')}![](a.png)", folder, f=str)[0] == ["![](no.png)", red]


@pytest.mark.parametrize(
    "piece",
    [
        "word ", "{", "}", "{{", "}}", "{x}", "{x", "{x[", "{x(", "{x+", "{x'", '{x"""', "{ ",
        "{y}",
        "{x:{", "{x ", "{x'\\''", "![", "![](", "![](a", "![](<", '![](a "', "![](a (", "![](((((",
        "[", "]", "[]", "`", "``` ", "\n```\n", "`\\", "\\", "\n", "\n ", " ", "\t>", "*", "a\n\n",
        "![a](b c) ", "(", "\0", "\ud800", "👩‍👧", "\u202e", "é",
    ],
)  # fmt: skip
def test_the_time_is_linear_in_the_text(piece):
    def seconds(length):
        text = (piece * length)[:length]
        began = time.process_time()
        made = interpolate(text, {"x": 1}, evaluate=lambda _: "1", base=None)
        assert made.parts
        return time.process_time() - began

    small, large = seconds(5_000), seconds(50_000)
    assert large < 0.3 or large < 25 * small  # square would be 100


def test_a_megabyte_in_one_target_alt_or_field():
    data = base64.b64encode(encoded(Image.fromarray(np.random.default_rng(0).integers(
        0, 255, (600, 600, 3), np.uint8)))).decode()  # fmt: skip
    assert len(data) > 1_000_000
    assert len(run(f"![](data:image/png;base64,{data})")[0]) == 1
    assert len(image_marks(f"![{'a' * 1_000_000}](b)")) == 1
    assert list(image_marks("![a ![b](c) d](e) ![f](g)")) == [0, 18]
    assert field_at("{x" + "+x" * 500_000 + "}", 0) is None
    assert field_at("{x" + "+x" * 1000 + "}", 0).is_expression
    assert not field_at("{x" + "+(" * 20 + "}", 0)


def test_nothing_of_builtins_is_run_while_looking(monkeypatch):
    monkeypatch.setattr(builtins, "eval", None)
    text = "{x.__class__} {x()} {x[y()]}"
    seen = []
    interpolate(text, {"x": 1}, evaluate=lambda e: seen.append(e) or "", base=None)
    assert seen == ["x.__class__", "x()", "x[y()]"]
