"""Workflows: steps that read each other's answers. What makes one whole, told before anything is spent on it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from asahi_core.errors import InvalidRequest

_REFERENCE = re.compile(r"\{\{\s*([A-Za-z0-9_-]+)\s*\}\}")
_DOCUMENT, _PROMPT = "document", "prompt"


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its template, and whose answers it reads."""

    id: str
    prompt: str
    depends_on: tuple[str, ...]


def require_whole(steps: Sequence[Step], *, has_document: bool) -> None:
    """Checks a workflow.

    Raises:
        InvalidRequest: an id is taken twice, a step reads or waits for what is not there, or steps wait for each other
            in a circle. The message names the steps, `param` the field.
    """
    places: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.id in (_DOCUMENT, _PROMPT):
            message = f"steps[{index}].id: {step.id!r} names what every step may read; call the step something else."
            raise InvalidRequest(message, param=f"steps[{index}].id")
        if step.id in places:
            message = f"steps[{index}].id: {step.id!r} is the id of steps[{places[step.id]}] already; ids are unique."
            raise InvalidRequest(message, param=f"steps[{index}].id")
        places[step.id] = index
    for step in steps:
        _require_known(step, places, has_document=has_document)
    _require_acyclic(steps)


def _require_known(step: Step, places: Mapping[str, int], *, has_document: bool) -> None:
    place = f"steps[{places[step.id]}]"
    for name in step.depends_on:
        if name not in places:
            known = ", ".join(places)
            raise InvalidRequest(
                f"{place}.depends_on: there is no step {name[:64]!r}; the steps are {known[:300]}.",
                param=f"{place}.depends_on",
            )
    for name in _REFERENCE.findall(step.prompt):
        if name == _PROMPT or name in step.depends_on or (name == _DOCUMENT and has_document):
            continue
        shown = f"{{{{{name[:64]}}}}}"
        if name == _DOCUMENT:
            fault = f"{shown} is read, but the request has no 'document'"
        elif name in places:
            fault = f"{shown} is read, but {name!r} is not in 'depends_on'; add it there"
        else:
            fault = f"{shown} is no step, nor {{{{document}}}} or {{{{prompt}}}}"
        raise InvalidRequest(f"{place}.prompt: {fault}.", param=f"{place}.prompt")


def _require_acyclic(steps: Sequence[Step]) -> None:
    graph = TopologicalSorter({step.id: step.depends_on for step in steps})
    try:
        graph.prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InvalidRequest(
            f"steps: {circle} is a circle of dependencies; leave one of them out.", param="steps"
        ) from error
