"""Fields are what f-strings take for fields, and everything else stays as it was typed."""

import ast
import contextlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmagic.errors import Interrupted, PromptError
from llmagic.prompt.interpolation import interpolate
from tests.prompt.interpolated import RED, red, run, text_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{x}", "3.14159"),
        ("a{x}b", "a3.14159b"),
        ("{ x }{\nx\n}", "3.141593.14159"),
        ("{x:.2f}", "3.14"),
        ("{x!r:>9}", "  3.14159"),
        ("{s!r} {s!s} {s!a}", r"'ü' ü '\xfc'"),
        ("{x:{w}.{n}f}", "   3.142"),
        ("{x:}", "3.14159"),
        ("{x + 1:.0f}", "4"),
        ("{x != 3} {x == 3} {x <= 3}", "True False False"),
        ("{d['k']}{d[\"k\"]}", "vv"),
        ('{d["a}b"]}', "brace"),
        ('{d["""a}b"""]}', "brace"),
        ("{d['it\\'s']}", "quote"),
        ("{d.get('!:{')}", "None"),
        ("{items[1:]} {items[::2]} {items[-1]}", "[2, 3] [1, 3] 3"),
        ("{f(1, key={'a': 2})}", "(1, {'a': 2})"),
        ("{f({1: [2]})[0]}", "{1: [2]}"),
        ("{f(\n  1,\n  key=2,\n)}", "(1, 2)"),
        ("{x\n+ 1}", "4.14159"),
        ("{items if x else 0}", "[1, 2, 3]"),
        ("{f(lambda: 3)[0]()}", "3"),
        ("{n, n}", "(3, 3)"),
        ("{s.upper().encode().hex()}", "c39c"),
        ("{변수}", "변수!"),
        ("{ﬁ}", "ligature"),  # Python reads the ligature as f and i
    ],
)
def test_fields_are_those_of_f_strings(text, expected):
    namespace = {
        "x": 3.14159,
        "n": 3,
        "w": 8,
        "s": "ü",
        "d": {"k": "v", "a}b": "brace", "it's": "quote"},
        "items": [1, 2, 3],
        "f": lambda *a, key=None: (*a, key),
        "변수": "변수!",
        "fi": "ligature",
    }
    assert text_of(text, **namespace) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}}',
        '[{"a": 1}, {"b": {"c": {}}}]',
        r"\sqrt{2}^{-1} {}^{14}C",
        "{} { } {1} {'x'} {(x)} {-x} {*x} {not x} {None} {True} {lambda: x}",
        "{x y} {x.} {x[} {x)} {x(}",
        "{x; x} {x = 1} {return x} {x # }",
        "{x for x in y} {x\nfor x in y}",
        "{f'x'} {rb'x'}",
        "{x!z} {x!} {x!rr} {x=}",
        '{x: {"y": 1}}',
        "{x:\n 1}",
        "{", "}", "{x", "x}", "a { 1 } c",
        "{x\\}", "{x['\n']}", "{x['}",
        "{ " * 200 + "x",
    ],
)  # fmt: skip
def test_what_is_no_field_stays_as_typed(text):
    assert text_of(text, x=1, f=1, rb=1, y=1) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{x}}", "{x}"),
        ("{{", "{"),
        ("}}", "}"),
        ("{{{x}}}", "{1}"),
        ("{{{{x}}}}", "{{x}}"),
        ("{x}}}", "1}"),
        ("{{}}", "{}"),
        ('{{"a": {{"b": {x}}}}}', '{"a": {"b": 1}}'),
        ('{{"a": {"b": {x}}}}', '{"a": {"b": 1}}'),
        ('{"a": {"b": {x}}}', '{"a": {"b": 1}}'),
        ('{"a": {{"b"}} }', '{"a": {"b"} }'),
        ("{{ } }}", "{ } }"),
        (":{ {{x}}", ":{ {x}"),
        (r"\frac{x}{{x}}", r"\frac1{x}"),
    ],
)
def test_double_braces_are_literal(text, expected):
    assert text_of(text, x=1) == expected


def test_without_expressions_no_brace_changes(folder):
    text = "{x} {{x}} }} {"
    assert run(text, expressions=False, x=1) == ([text], ())
    assert run("{x}![](a{b}.png)", folder, expressions=False, x=1) == (["{x}", red], ())


def test_undefined_names_stay_with_one_warning():
    text = r"{nme} {nme.x} {nme} \frac{alpha}{beta} {x:{width}} {len}"
    parts, warnings = run(text, x=1)
    assert parts == [text]
    assert warnings == (
        "{nme}, {alpha}, {beta}, {width} stay as typed: the names nme, alpha, beta, width are not "
        "defined in this notebook. Double the braces to mean them.",
        "{len} stays as typed: len is one of Python's own names, which count where they are "
        "called, as in {len(…)}. Double the braces to mean them.",
    )
    assert "stays as typed: the name nme is not defined" in run("{nme}")[1][0]


def test_an_array_that_may_be_meant_otherwise_gives_a_note():
    parts, notes = run("{e}", e=np.eye(3))
    assert [type(part).__name__ for part in parts] == ["Picture"]
    assert notes == ("{e} is shown as a 3 x 3 picture; {e!s} gives its text.",)
    assert run("{e!s}", e=np.eye(3)) == ([str(np.eye(3))], ())
    assert run("{e}", e=np.eye(8))[1] == ()
    gap = np.eye(9)
    gap[0, 0] = np.nan
    parts, notes = run("{g}", g=gap)
    assert parts == [str(gap)]
    assert notes == (
        "{g} is given as text, not as a picture: 1 of its values are NaN or infinite. "
        "numpy.nan_to_num replaces them; {g!s} says that text is meant.",
    )
    assert run("{g!s} {g:}", g=gap)[1] == ()
    assert run("{g}", g=gap * 7)[1] == (), "numbers, whatever stands in the gaps"


def test_in_a_fenced_block_a_field_counts_alone_on_its_line():
    code = 'print(f"{x}")  # {{x}}\nd = {x: {y}}\n{\n}}\n'
    text = f"Explain {{x}}:\n```python\n{code}  {{x}}\n{{x}};\n{{x.\nreal}}\n```\n{{{{x}}}} {{x}}"
    expected = f"Explain 1:\n```python\n{code}  1\n{{x}};\n1\n```\n{{x}} 1"
    assert run(text, x=1) == ([expected], ())
    assert text_of("> ```\n> {x}\n> a{x}\n", x=1) == "> ```\n> 1\n> a{x}\n"
    assert run("~~~\n{y}\n~~~ {y}")[1][0].startswith("{y} stays as typed")
    assert text_of("`{x}`", x=1) == "`1`", "a span of code is text like any other"
    assert run("```\n{red}\n```", red=RED)[0][1] == red


def test_a_long_line_in_a_fence_takes_linear_time():
    text = "```\n" + "{x}" * 50_000 + "\n```\n{x}"
    assert text_of(text, x=1) == text[:-3] + "1"
    text = "```\n" + "{x}\n" * 20_000
    assert text_of(text, x=1) == "```\n" + "1\n" * 20_000


def test_builtins_count_where_they_are_called():
    assert run("{len(x)} {max(x)} {max}", x=[1, 5])[0] == ["2 5 {max}"]
    assert run("{max(1, 2)}", max=min)[0] == ["1"]


def test_many_undefined_names_do_not_flood():
    (line,) = run("".join(f"{{n{i}}}" for i in range(50)))[1]
    assert line.count(" and 40 more ") == 2
    assert "\n" not in line
    assert len(line) < 400


def test_builtins_count_only_where_they_are_defined():
    assert text_of("{len([1])}", len=len) == "1"
    assert run("{open}")[0] == ["{open}"]


def test_fields_are_evaluated_once_from_left_to_right():
    seen = []
    interpolate(
        "{a} {a} {b:{a}}", {"a": 1, "b": 1}, evaluate=lambda e: seen.append(e) or 1, base=None
    )
    assert seen == ["a", "a", "b", "a"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{x / 0}", ZeroDivisionError),
        ("{x.nope}", AttributeError),
        ("{x + undefined}", NameError),
        ("{x:%%%}", ValueError),
        ("{s:d}", ValueError),
        ("{bad}", RuntimeError),
        ("{bad!r}", RuntimeError),
        ("{x:{x / 0}}", ZeroDivisionError),
    ],
)
def test_an_exception_names_its_expression_and_is_the_cause(text, cause):
    class Bad:
        def __str__(self):
            raise RuntimeError("no text")

        __repr__ = __str__

    with pytest.raises(PromptError) as caught:
        run(text, x=1, s="s", bad=Bad())
    assert isinstance(caught.value.__cause__, cause)
    assert f"{text} in the prompt raised {cause.__name__}" in str(caught.value)
    assert f"{{{text}}}" in str(caught.value)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, Interrupted])
def test_an_interrupt_stays_one(interrupt):
    def evaluate(expression):
        raise interrupt

    with pytest.raises(interrupt):
        interpolate("{x}", {"x": 1}, evaluate=evaluate, base=None)


ANY = st.text(st.characters() | st.sampled_from("{}![]()\"'`\\:!x \n"))


@given(st.text(st.characters(exclude_characters="{}!")) | st.sampled_from(["a! b", "![", "![]()"]))
def test_text_without_markup_comes_back(text):
    assert run(text, x=1) == ([text] if text else [], ())


@given(ANY)
@example("{x!r:{x}} {x['}']} {{x}} {y}")
def test_nothing_is_evaluated_that_does_not_begin_with_a_defined_name(text):
    seen = []
    text = text.replace("![", "!")
    with contextlib.suppress(PromptError):  # formats that a str does not know
        interpolate(text, {"x": 1}, evaluate=lambda e: seen.append(e) or "V", base=None)
    for expression in seen:
        tree = ast.parse(expression, mode="eval")
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        assert min(names, key=lambda node: (node.lineno, node.col_offset)).id == "x"
    bare = interpolate(text, {}, evaluate=lambda _: 1 / 0, base=None)
    expected = text if "{{" not in text and "}}" not in text else None
    assert expected is None or "".join(part.text for part in bare.parts) == expected


@given(ANY)
def test_doubling_the_braces_gives_any_text_back(text):
    text = text.replace("![", "!")
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert text_of(doubled, x=1) == text


@given(
    st.recursive(
        st.none() | st.integers() | st.text("ab{}"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
    )
)
@example({"a": {"b": {}}})
def test_json_survives(value):
    import json
    import re

    text = json.dumps(value)
    if not re.search(r'"[^"]*[{}][^"]*"', text):  # braces in its strings may be no pairs
        assert text_of(text, a=1, b=1) == text
