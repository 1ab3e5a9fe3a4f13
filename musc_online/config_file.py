"""A configuration's YAML as plain values: what is ambiguous in it is an error that says where, not a guess.

A key that stands twice is refused, and so are files that stand for more values than anyone writes (aliases of
aliases). Numbers are as in YAML 1.2: `010` is ten and `1:30` is text.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from musc_online import text_file
from musc_online.errors import ConfigError

_MOST_BYTES = 2**20
_MOST_VALUES = 100_000
_DEEPEST = 50


def read(path: Path) -> Any:
    """What a YAML file says.

    Raises:
        ConfigError: it cannot be read, is not YAML, has a key twice, or is beyond all measure.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: has more than {_MOST_BYTES} bytes; expected a configuration in YAML")
        text = text_file.read(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file") from None
    except ValueError as error:
        raise ConfigError(f"{path}: is not YAML: {error}") from None
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{path}: {_where(error)}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep; expected a configuration") from None


class _Loader(yaml.SafeLoader):
    """YAML's plain values, each key once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._checked: set[int] = set()

    def get_single_node(self) -> Any:
        """The document, unless what it stands for is out of all proportion."""
        node = super().get_single_node()
        if node is not None:
            _Measure().size(node, 0)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<`, once the keys as they were written are known to differ."""
        if id(node) not in self._checked:  # after the first time, what was merged stands in it too
            self._checked.add(id(node))
            self._each_once(node)
        super().flatten_mapping(node)

    def _each_once(self, node: yaml.MappingNode) -> None:
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            # `<<` and `=` have no value of their own.
            plain = key_node.tag not in _MEANT
            key = self.construct_object(key_node, deep=True) if plain else key_node.value
            if not isinstance(key, Hashable):
                continue  # PyYAML says so
            line = key_node.start_mark.line + 1
            if key in lines:
                twice = (
                    f"key {str(key)!r} stands twice, in lines {lines[key]} and {line}; leave one of them out"
                )
                raise yaml.constructor.ConstructorError(problem=twice)
            lines[key] = line


_MEANT = {"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"}

# YAML 1.1 reads 010 as eight, 1:30 as ninety; nobody who writes a configuration means that.
_INTEGER = re.compile(r"^[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in patterns if tag not in _NUMBERS]
    for first, patterns in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


class _Measure:
    """How many values a document stands for, each alias counted as what it repeats."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def size(self, node: yaml.Node, depth: int) -> int:
        """Values in a node and all below it.

        Raises:
            yaml.MarkedYAMLError: too many, too deep, or it is part of itself.
        """
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        if id(node) in self._open:
            raise yaml.MarkedYAMLError(
                problem="an alias stands within what it names", problem_mark=node.start_mark
            )
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deep", problem_mark=node.start_mark)
        self._open.add(id(node))
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        size = 1 + sum(self.size(part, depth + 1) for part in parts)
        self._open.discard(id(node))
        if size > _MOST_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"aliases make more than {_MOST_VALUES} values of it", problem_mark=node.start_mark
            )
        self._sizes[id(node)] = size
        return size


def _where(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join((error.problem or error.context or "cannot be understood").split())
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    hint = "; indent with spaces" if "\\t" in problem else ""
    return problem if "stands twice" in problem else f"is not YAML: {place}{problem}{hint}"
