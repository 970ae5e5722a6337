"""Reads the `sidekiq.yml` a Ruby shop has: ERB, `:symbols`, aliases, sections by environment.

Ruby twin: Sidekiq::CLI#parse_config. Nothing of the file is run, and no object but plain data is made.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from sidekiq_py import erb
from sidekiq_py.errors import InvalidConfig
from sidekiq_py.file_options import FileOptions, Lines, read_mapping
from sidekiq_py.ruby_expression import Scope

MAX_NODES: Final = 10_000  # of a file with every alias written out

_SYMBOL = re.compile(r":.+\Z", re.DOTALL)


def load(path: str | Path, environment: str, environ: Mapping[str, str]) -> FileOptions:
    """The options in a YAML file, those of the environment's section apart.

    `environ` is what the file's ERB sees as ENV. Raises InvalidConfig, which names file and line.
    """
    name = str(path)
    try:
        source = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{name} can't be read: {getattr(error, 'strerror', None) or error}") from None
    scope = Scope(environ=environ, hostname=socket.gethostname(), file=name, path=Path(path).absolute())
    return _parse(erb.render(source, scope), name, environment)


def _parse(rendered: erb.Rendered, path: str, environment: str) -> FileOptions:
    data, notices = _plain_data(rendered, path)
    if data is None:
        return FileOptions(path=path)
    if not isinstance(data, Mapping):
        raise InvalidConfig(f"{path} must hold keys and values such as `concurrency: 5`, got {data!r:.80}")
    options = read_mapping(data, path, environment)
    options.notices.extend(notices)
    return options


def _plain_data(rendered: erb.Rendered, path: str) -> tuple[object, list[str]]:
    """The document, None when the file is empty, and what to say about it."""
    try:
        loader = _Loader(rendered, path)
        return loader.data(), loader.notices
    except yaml.MarkedYAMLError as error:
        line = rendered.source_line(error.problem_mark.line + 1) if error.problem_mark else 1
        raise InvalidConfig(f"{path}:{line}: {_sentence(error)}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidConfig(f"{path} can't be read as YAML: {error}") from None


def _sentence(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part.strip() for part in (error.context, error.problem) if part) or "this isn't YAML"


class _Loader(yaml.SafeLoader):
    """Plain data and nothing else; `:name` is the text `name`, as key and as value."""

    def __init__(self, rendered: erb.Rendered, path: str) -> None:
        super().__init__(rendered.text)
        self.notices: list[str] = []
        self._rendered = rendered
        self._path = path

    def data(self) -> object:
        """The one document, or None when there is nothing in it."""
        node = self.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return self.construct_document(node)

    def lined_map(self, node: yaml.MappingNode) -> Iterator[Lines]:
        """Builds a mapping in two steps, so that aliases to it work."""
        data = Lines()
        yield data
        self._notice_duplicates(node)
        self.flatten_mapping(node)
        for key_node, value_node in node.value:
            key = self._key(key_node)
            data.lines[key] = self._line(key_node.start_mark)
            data[key] = self.construct_object(value_node)

    def symbol(self, node: yaml.ScalarNode) -> str:
        """`:name` and `!ruby/symbol name`."""
        name = str(node.value).removeprefix(":")
        return name[1:-1] if name[:1] in ("'", '"') and name[:1] == name[-1:] else name

    def refuse_tag(self, node: yaml.Node) -> Any:
        """Ruby's safe loader refuses them too; unlike it, we say where."""
        raise yaml.constructor.ConstructorError(
            None, None, f"the tag {node.tag} asks for an object, which is not made", node.start_mark
        )

    def _key(self, node: yaml.Node) -> str:
        key = self.construct_object(node, deep=True)
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", node.start_mark)
        # YAML reads a bare `on` or `1` as something else; as a key it is the word that was written.
        return key if isinstance(key, str) else str(node.value)

    def _notice_duplicates(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue
            name, line = self.symbol(key_node), self._line(key_node.start_mark)
            if name in seen:
                self.notices.append(
                    f"{self._path}:{line}: {name} is given twice, first in line {seen[name]}; the last counts"
                )
            seen[name] = line

    def _line(self, mark: yaml.Mark) -> int:
        return self._rendered.source_line(mark.line + 1)


_Loader.add_implicit_resolver("!ruby/symbol", _SYMBOL, [":"])
_Loader.add_constructor("!ruby/symbol", _Loader.symbol)
_Loader.add_constructor("!ruby/sym", _Loader.symbol)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.lined_map)
_Loader.add_constructor(None, _Loader.refuse_tag)


def _check_size(root: yaml.Node) -> None:
    """Refuse a file whose aliases, written out, would be huge or would never end."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise yaml.constructor.ConstructorError(None, None, "an alias points at itself", node.start_mark)
        if known:
            return known
        sizes[id(node)] = None
        total = 1 + sum(size(child) for child in _children(node))
        if total > MAX_NODES:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"with its aliases written out this is more than {MAX_NODES} values",
                node.start_mark,
            )
        sizes[id(node)] = total
        return total

    size(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
