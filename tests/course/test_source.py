import ast

import pytest

from course.errors import CourseError
from course.units.catalogue import exercises
from course.units.dependencies import files
from course.units.source import (
    cut_holes,
    import_closure,
    module_with_holes,
    parse_module,
)

MODULE = '''"""# Title"""

import math

LIMIT = 3


# above
@decorated
def f(x):
    """Doc."""
    y = x
    return y


class C:
    def __init__(self):
        self.a = 1

    def g(self, x):
        return x

    def h(self):
        return 2


def given():
    return f(1)
'''


def test_segments_lose_nothing(root):
    for unit in exercises(root):
        source = unit.module.read_text(encoding="utf-8")
        docstring, segments = parse_module(source)
        joined = "\n\n\n".join(segment.text for segment in segments)
        expected = ast.parse(source).body[1:]
        assert [ast.dump(node) for node in ast.parse(joined).body] == [ast.dump(node) for node in expected], unit.id
        assert docstring.startswith("# ")


def test_hole_keeps_signature_docstring_comment_and_decorator():
    text = next(s for s in parse_module(MODULE)[1] if s.name == "f").text
    assert cut_holes(text, ["f"]) == (
        '# above\n@decorated\ndef f(x):\n    """Doc."""\n    raise NotImplementedError("f: yours to write")'
    )


def test_hole_in_a_method_leaves_the_others():
    holed = module_with_holes(MODULE, ["C.g"])
    assert 'raise NotImplementedError("C.g: yours to write")' in holed
    assert "return 2" in holed
    assert "self.a = 1" in holed


def test_no_body_of_a_stub_is_left_in_a_notebook(root):
    for unit in exercises(root):
        holed = ast.parse(module_with_holes(unit.module.read_text(encoding="utf-8"), unit.stubs))
        raising = [node for node in ast.walk(holed) if isinstance(node, ast.Raise) and "yours to write" in ast.unparse(node)]
        assert len(raising) == len(unit.stubs), unit.id


@pytest.mark.parametrize(
    ("stub", "message"), [("nope", "not defined"), ("C.nope", "not defined"), ("C", "is a class: name one of its methods")]
)
def test_stub_that_cannot_be_cut_is_an_error(stub, message):
    with pytest.raises(CourseError, match=message):
        cut_holes(MODULE, [stub])


def test_a_decorator_that_begins_a_line_above_its_name_belongs_to_its_function():
    text = "X = 1\n\n\n# above\n@(\n    decorated\n)\ndef f(x):\n    return x\n"
    assert parse_module(text)[1][-1].text.startswith("# above\n@(\n    decorated\n)\ndef f")


def test_lines_end_where_they_end_for_python():
    strange = "def f(x):\n    # \u2028 \x0b \x85\n    return '\x0c'\n\n\nY = 2\n"
    assert parse_module(strange)[1][0].text == strange.partition("\n\n\n")[0]


def test_import_closure_follows_imports(root):
    unit = next(unit for unit in exercises(root) if unit.id == "image/vae")
    names = {path.relative_to(root).as_posix() for path in import_closure(unit.module, root)}
    assert {"reference_impl/image/vae.py", "reference_impl/data/digits.py", "reference_impl/runtime.py"} <= names
    assert not any(name.startswith(("course/", "tests/")) for name in names)


def test_reference_modules_import_neither_the_tools_nor_the_tests(root):
    for path in (root / "reference_impl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("course", "tests") for name in names), f"{path} imports {names}"


CODE = '''"""A module."""

NAME = "# no comment"  # a comment


class Box:
    """A box."""

    def open(self, key="key"):
        """Open it.

        Args: a key.
        """
        return """no docstring""", key
'''


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("# a comment", "# another"), True),
        (('"""A module."""', ""), True),
        (("Args: a key.", "Raises: nothing.\n\n        At all."), True),
        (('"""A box."""\n', '"""Ein Kästchen."""\n    # and more\n'), True),
        (("# no comment", "# nothing"), False),
        (("no docstring", "another text"), False),
        (('key="key"', 'key="door"'), False),
        (("        return", "        pass\n        return"), False),
    ],
)
def test_a_fingerprint_is_of_the_code_and_not_of_what_is_said_about_it(tmp_path, change, same):
    path = tmp_path / "box.py"
    path.write_text(CODE, encoding="utf-8")
    before = files([path], tmp_path)
    assert CODE.count(change[0]) == 1
    path.write_text(CODE.replace(*change), encoding="utf-8")
    assert (files([path], tmp_path) == before) == same


def test_a_fingerprint_is_of_every_byte_of_another_file_and_of_its_name(tmp_path):
    path, other = tmp_path / "weights.safetensors", tmp_path / "other.safetensors"
    path.write_bytes(b"# 1")
    other.write_bytes(b"# 1")
    before = files([path], tmp_path)
    assert files([other], tmp_path) != before
    path.write_bytes(b"# 2")
    assert files([path], tmp_path) != before
