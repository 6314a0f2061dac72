"""On which line a key stands, for any valid TOML."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeep.config.toml_lines import key_lines


def paths(value, above=()):
    """Every key, table and array element of a parsed document."""
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    else:
        return
    for key, below in members:
        yield (*above, key)
        yield from paths(below, (*above, key))


def place(path, lines):
    return lines[tuple(path)]


WRITTEN = '''# a comment with [brackets] and key = 1
top = 1

[session]   # [not.this]
store = "sq#lite"
"ttl" = """
[fake]
x = 1 \\""" y"""
'it.em' = \'\'\'
[fake]\'\'\'
[session . sqlite]
path.to."the db" = { a = [1, # one ]
  { b = "}" }, ], c.d = 2 }
[[pool]]
n = 1
[[pool.part]]
[pool.part.deep]
k = 1979-05-27 07:32:00
[[pool.part]]
[[pool]]
"\\u0041" = inf
'''


def test_each_way_of_writing_a_key_is_found():
    """Dotted and quoted keys, inline tables, arrays of tables; not what strings and comments hold."""
    lines = key_lines(WRITTEN)
    assert set(lines) == set(paths(tomllib.loads(WRITTEN)))
    expected = {
        ("top",): 2,
        ("session",): 4,
        ("session", "store"): 5,
        ("session", "ttl"): 6,
        ("session", "it.em"): 9,
        ("session", "sqlite"): 11,
        ("session", "sqlite", "path", "to", "the db", "a", 0): 12,
        ("session", "sqlite", "path", "to", "the db", "a", 1, "b"): 13,
        ("session", "sqlite", "path", "to", "the db", "c", "d"): 13,
        ("pool", 0, "n"): 15,
        ("pool", 0, "part", 0, "deep", "k"): 18,
        ("pool", 0, "part", 1): 19,
        ("pool", 1, "A"): 21,
    }
    assert {path: lines[path] for path in expected} == expected


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a=1", 'a = ""\r\n[b]\r\nc = []'])
def test_small_texts(text):
    """Nothing, comments, no line end, Windows line ends."""
    assert set(key_lines(text)) == set(paths(tomllib.loads(text)))


KEYS = st.text(min_size=0, max_size=4).map(lambda text: text.encode("utf-8", "replace").decode())
TEXTS = st.one_of(
    st.text(max_size=12), st.sampled_from(["[a]", "#", '"', "'", "]]", "}", "\n[x]\n", "=", "\\"])
)
SCALARS = st.one_of(TEXTS, st.integers(-(2**60), 2**60), st.booleans(), st.floats(allow_nan=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
TABLES = st.dictionaries(
    KEYS,
    st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=3)),
    max_size=4,
)


def quoted(text):
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


class Writer:
    """Writes a document in the styles that `draw` chooses, and keeps on which line each key went."""

    def __init__(self, draw):
        self.draw = draw
        self.text = ""
        self.expected = {}

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def put(self, text):
        self.text += text

    def line(self):
        return self.text.count("\n") + 1

    def key(self, key):
        if (
            key
            and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
            and self.choose(True, False)
        ):
            return key
        if not set("'\n\r\x7f") & set(key) and key.isprintable() and self.choose(True, False):
            return f"'{key}'"
        return quoted(key)

    def blank(self):
        self.put(self.choose("", "\n", "# [x] y = 1\n", " \t\n"))

    def value(self, value, path):
        if isinstance(value, dict):
            self.put("{")
            for place, (key, below) in enumerate(value.items()):
                self.put(", " if place else " ")
                self.pair(key, below, path)
            self.put("}")
        elif isinstance(value, list):
            self.put("[")
            for place, below in enumerate(value):
                self.put(self.choose("", "\n", " # ]\n"))
                self.expected[*path, place] = self.line()
                self.value(below, (*path, place))
                self.put(",")
            self.put(self.choose("", "\n") + "]")
        elif isinstance(value, str):
            plain = value.isprintable() and "'" not in value
            self.put(
                self.choose(
                    quoted(value),
                    '"""\n' + quoted(value)[1:-1].replace("\\n", "\n") + '"""',
                    f"'{value}'" if plain else quoted(value),
                    f"'''\n{value}'''" if plain else quoted(value),
                )
            )
        else:
            self.put(str(value).lower() if isinstance(value, bool) else repr(value))

    def pair(self, key, value, path):
        start = self.line()
        while isinstance(value, dict) and len(value) == 1 and self.choose(True, False):
            path = (*path, key)
            self.expected[path] = start
            self.put(self.key(key) + self.choose(".", " . "))
            [(key, value)] = value.items()
        self.expected[*path, key] = start
        self.put(self.key(key) + self.choose("=", " = "))
        self.value(value, (*path, key))

    def body(self, table, path):
        """A table's own keys first, then tables below it under headers of their own."""
        later = []
        for key, value in table.items():
            tables = isinstance(value, list) and value and all(isinstance(x, dict) for x in value)
            if (isinstance(value, dict) or tables) and self.choose(True, False):
                later.append((key, value))
                continue
            self.blank()
            self.pair(key, value, path)
            self.put(self.choose("\n", " # = [ \n"))
        for key, value in later:
            for place, below in enumerate(value if isinstance(value, list) else [value]):
                here = (*path, key)
                header = ".".join(self.key(part) for part in here if isinstance(part, str))
                self.blank()
                if isinstance(value, list):
                    self.expected.setdefault(here, self.line())
                    here = (*here, place)
                    self.expected[here] = self.line()
                    self.put(f"[[{header}]]")
                else:
                    self.expected[here] = self.line()
                    self.put(f"[{header}]")
                self.put(self.choose("\n", " # ]\n"))
                self.body(below, here)


@given(TABLES, st.data())
def test_lines_are_those_that_were_written(tables, data):
    """For any document in any mixture of styles, and for the same keys that tomllib reads."""
    writer = Writer(data.draw)
    writer.body(tables, ())
    read = tomllib.loads(writer.text)
    assert read == tables
    lines = key_lines(writer.text)
    assert set(lines) == set(paths(read))
    assert lines == writer.expected
