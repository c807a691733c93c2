"""YAML that remembers on which line each value stands, so that a mistake can be shown where it was made."""

from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a build without libyaml: the same, five times slower
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]  # both are loaders


class WrongCatalog(Exception):
    """A catalog or provider file that cannot be used; the message names file, line and field."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A document's plain value, and the lines of what is in it."""

    file: str
    value: Any
    lines: dict[Path, int]

    def fault(self, path: Path, what: str) -> WrongCatalog:
        """The error that `what` is wrong at `path`, or at the nearest place around it that has a line."""
        place = path
        while place and place not in self.lines:
            place = place[:-1]
        field = ".".join(map(str, path))
        where = f"{self.file}, line {self.lines.get(place, 1)}"
        return WrongCatalog(f"{where}: {field}: {what}" if field else f"{where}: {what}")


def read_yaml(text: str, file: str) -> Marked:
    """The document in `text`; `file` is what errors call it.

    Raises:
        WrongCatalog: it is no YAML, or a mapping has a key twice.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        marked = Marked(file, None, lines)
        value = _plain(loader, node, (), marked) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise WrongCatalog(f"{file}, line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise WrongCatalog(f"{file}: {error}") from error
    finally:
        loader.dispose()
    return Marked(file, value, lines)


def _plain(loader: Any, node: yaml.Node, path: Path, marked: Marked) -> Any:
    marked.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            marked.lines[(*path, key)] = key_node.start_mark.line + 1
            if key in mapping:
                raise marked.fault((*path, key), "is there twice")
            mapping[key] = _plain(loader, value_node, (*path, key), marked)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, child, (*path, index), marked) for index, child in enumerate(node.value)]
    return loader.construct_object(node)
