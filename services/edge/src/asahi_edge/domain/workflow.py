"""Workflows: steps that read each other's answers. What makes one whole, told before anything is spent on it.

How one is run is `domain.workflows`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from asahi_core.errors import AsahiError, InvalidRequest

_REFERENCE = re.compile(r"\{\{\s*([A-Za-z0-9_-]+)\s*\}\}")
DOCUMENT, PROMPT = "document", "prompt"


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its template, and whose answers it reads."""

    id: str
    prompt: str
    depends_on: tuple[str, ...] = ()
    kind: str = ""
    """The kind of work as the caller names it; empty: it is recognised."""
    quality_threshold: float | None = None
    """Least expected quality, 0 to 5; None: the request's."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names that its template refers to, each once."""
        return tuple(dict.fromkeys(_REFERENCE.findall(self.prompt)))

    def filled(self, contents: Mapping[str, str]) -> str:
        """The template with each reference replaced by its content, in which nothing is replaced again."""
        return _REFERENCE.sub(lambda reference: contents[reference[1]], self.prompt)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A whole workflow, and the texts that its steps may read beside each other's answers."""

    steps: tuple[Step, ...]
    given: Mapping[str, str]
    """By `prompt` and `document`."""

    @property
    def answering(self) -> Step:
        """The last step that no other depends on: its answer is the request's."""
        needed = {name for step in self.steps for name in step.depends_on}
        return [step for step in self.steps if step.id not in needed][-1]

    @property
    def made_from_document(self) -> frozenset[str]:
        """The steps that read the document, or the answer of one that does."""
        made: set[str] = set()
        for step in _ordered(self.steps):
            if any(name == DOCUMENT or name in made for name in step.inputs):
                made.add(step.id)
        return frozenset(made)

    @property
    def ordered(self) -> list[Step]:
        """Each step after those that it depends on."""
        return _ordered(self.steps)

    def place(self, step: Step) -> int:
        """Its index among the steps."""
        return self.steps.index(step)

    def named(self, step: Step, error: AsahiError) -> AsahiError:
        """The error as the step's: message and `param` name it."""
        return type(error)(
            f"Step {step.id!r}: {error.message}",
            param=f"steps[{self.place(step)}]",
            retry_after_s=error.retry_after_s,
        )

    @property
    def known_characters(self) -> int:
        """Characters of all prompts, without the answers of other steps."""
        given = {name: len(text) for name, text in self.given.items()}
        return sum(len(step.prompt) + sum(given.get(name, 0) for name in step.inputs) for step in self.steps)


def require_whole(steps: Sequence[Step], *, has_document: bool) -> None:
    """Checks a workflow.

    Raises:
        InvalidRequest: an id is taken twice, a step reads or waits for what is not there, or steps wait for each other
            in a circle. The message names the steps, `param` the field.
    """
    places: dict[str, int] = {}
    for index, step in enumerate(steps):
        if step.id in (DOCUMENT, PROMPT):
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
        if name == PROMPT or name in step.depends_on or (name == DOCUMENT and has_document):
            continue
        shown = f"{{{{{name[:64]}}}}}"
        if name == DOCUMENT:
            fault = f"{shown} is read, but the request has no 'document'"
        elif name in places:
            fault = f"{shown} is read, but {name!r} is not in 'depends_on'; add it there"
        else:
            fault = f"{shown} is no step, nor {{{{document}}}} or {{{{prompt}}}}"
        raise InvalidRequest(f"{place}.prompt: {fault}.", param=f"{place}.prompt")


def _ordered(steps: Sequence[Step]) -> list[Step]:
    """Each step after those that it depends on."""
    by_id = {step.id: step for step in steps}
    return [by_id[name] for name in TopologicalSorter({step.id: step.depends_on for step in steps}).static_order()]


def _require_acyclic(steps: Sequence[Step]) -> None:
    graph = TopologicalSorter({step.id: step.depends_on for step in steps})
    try:
        graph.prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InvalidRequest(
            f"steps: {circle} is a circle of dependencies; leave one of them out.", param="steps"
        ) from error
