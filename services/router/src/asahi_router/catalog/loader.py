"""Reads the shipped catalog and the operator's own on top of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from asahi.type.v1.routing_pb2 import LatencyPreference
from asahi_router.catalog.entries import CatalogEntry, EmbeddingEntry, LatencyLimits, ModelEntry
from asahi_router.catalog.marked_yaml import Marked, WrongCatalog, read_yaml
from asahi_router.domain.embedding import EmbeddingModel
from asahi_router.domain.kinds import KINDS
from asahi_router.domain.models import CatalogModel

EntryT = TypeVar("EntryT", bound=BaseModel)
_SHIPPED = "models.yaml"
_LISTS = frozenset({"models", "embedding_models"})
_PREFERENCES = {
    "slow": LatencyPreference.LATENCY_PREFERENCE_SLOW,
    "normal": LatencyPreference.LATENCY_PREFERENCE_NORMAL,
    "fast": LatencyPreference.LATENCY_PREFERENCE_FAST,
    "instant": LatencyPreference.LATENCY_PREFERENCE_INSTANT,
}


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """What catalog files say."""

    models: dict[str, CatalogModel]
    """By id, in the order of the ids."""
    embeddings: dict[str, EmbeddingModel]
    """Those that embed texts, the same."""
    baseline: str
    latency_limits_ms: dict[LatencyPreference.ValueType, float]
    median_output_tokens: dict[str, int]


def load_catalog(own: Path | None = None) -> CatalogFile:
    """The shipped catalog; `own`: the operator's, whose entries add models, or replace the fields that they name.

    Raises:
        WrongCatalog: a file cannot be used.
    """
    shipped = read_yaml((files("asahi_router.catalog") / _SHIPPED).read_text(), _SHIPPED)
    documents = [shipped] if own is None else [shipped, read_file(own)]
    merged = _merge(documents)
    models = {entry.id: _model(entry) for entry in sorted(merged, key=lambda entry: entry.id)}
    embeddings = {one.id: _embedding(one) for one in sorted(_embeddings_in(documents), key=lambda one: one.id)}
    _check_names(models, embeddings, documents[-1])
    general = _general(documents)
    if general.baseline_model not in models:
        raise documents[-1].fault(("baseline_model",), f"there is no model {general.baseline_model!r}")
    return CatalogFile(
        models=models,
        embeddings=embeddings,
        baseline=general.baseline_model,
        latency_limits_ms=_limits(general.latency_limits_ms),
        median_output_tokens=general.median_output_tokens,
    )


def read_file(path: Path) -> Marked:
    """A YAML file.

    Raises:
        WrongCatalog: it cannot be read.
    """
    try:
        return read_yaml(path.read_text(), str(path))
    except OSError as error:
        raise WrongCatalog(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrongCatalog(f"cannot read {path}: it is not UTF-8") from error


def check(shape: type[EntryT], value: Any, document: Marked, path: tuple[str | int, ...] = ()) -> EntryT:
    """`value`, which stands at `path` of the document, as an entry.

    Raises:
        WrongCatalog: it is none; names the first fault.
    """
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise document.fault((*path, *first["loc"]), first["msg"]) from error


def _merge(documents: list[Marked]) -> list[ModelEntry]:
    """The models of all documents, later ones replacing fields of earlier ones."""
    entries: dict[str, ModelEntry] = {}
    for entry, document, path in _entries(ModelEntry, "models", documents):
        entries[entry.id] = entry
        unknown = entry.quality.keys() - KINDS
        if unknown:
            what = f"{min(unknown)!r} is no kind of work; known are {', '.join(sorted(KINDS))}"
            raise document.fault((*path, "quality", min(unknown)), what)
    return list(entries.values())


def _embeddings_in(documents: list[Marked]) -> list[EmbeddingEntry]:
    """The same of models that embed texts."""
    entries: dict[str, EmbeddingEntry] = {}
    for entry, document, path in _entries(EmbeddingEntry, "embedding_models", documents):
        entries[entry.id] = entry
        if entry.least_dimensions > entry.dimensions:
            raise document.fault((*path, "least_dimensions"), f"is over {entry.dimensions}, the dimensions")
    return list(entries.values())


def _entries(
    shape: type[EntryT], name: str, documents: list[Marked]
) -> Iterator[tuple[EntryT, Marked, tuple[str | int, ...]]]:
    """Every entry of the lists of that name with its place, each over the fields of earlier ones with its id."""
    fields: dict[str, dict[str, Any]] = {}
    for document in documents:
        named: set[str] = set()
        for index, raw in enumerate(_list_in(document, name)):
            path = (name, index)
            if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
                raise document.fault(path, "is no model: it needs an 'id'")
            if raw["id"] in named:
                raise document.fault((*path, "id"), f"{raw['id']!r} is there twice")
            named.add(raw["id"])
            fields[raw["id"]] = fields.get(raw["id"], {}) | raw
            yield check(shape, fields[raw["id"]], document, path), document, path


def _list_in(document: Marked, name: str) -> list[Any]:
    if not isinstance(document.value, dict):
        raise document.fault((), "is no mapping; it holds 'models'")
    found = document.value.get(name, [])
    if not isinstance(found, list):
        raise document.fault((name,), "is no list")
    return found


def _general(documents: list[Marked]) -> CatalogEntry:
    fields: dict[str, Any] = {}
    for document in documents:
        fields |= {name: value for name, value in document.value.items() if name not in _LISTS}
        general = check(CatalogEntry, fields, document)
    return general


def _check_names(models: dict[str, CatalogModel], embeddings: dict[str, EmbeddingModel], document: Marked) -> None:
    for both in models.keys() & embeddings.keys():
        raise document.fault(("embedding_models",), f"{both!r} is a model that answers, too")
    everything: list[CatalogModel | EmbeddingModel] = [*models.values(), *embeddings.values()]
    taken = {model.id: model.id for model in everything}
    for model in everything:
        for alias in model.aliases:
            if taken.setdefault(alias, model.id) != model.id:
                raise document.fault(("models",), f"{alias!r} names both {taken[alias]} and {model.id}")


def _limits(limits: LatencyLimits) -> dict[LatencyPreference.ValueType, float]:
    return {_PREFERENCES[name]: limit for name, limit in limits if limit is not None}


def _embedding(entry: EmbeddingEntry) -> EmbeddingModel:
    return EmbeddingModel(**entry.model_dump())


def _model(entry: ModelEntry) -> CatalogModel:
    return CatalogModel(
        id=entry.id,
        vendor=entry.vendor,
        aliases=entry.aliases,
        context_window=entry.context_window,
        max_output_tokens=entry.max_output_tokens,
        capabilities=entry.capabilities,
        refuses=entry.refuses,
        refuses_while_reasoning=entry.refuses_while_reasoning,
        default_reasoning_effort=entry.default_reasoning_effort or "",
        tools_only_without_reasoning=entry.tools_only_without_reasoning,
        median_reasoning_tokens=entry.median_reasoning_tokens,
        quality=entry.quality,
        quality_source=entry.quality_source,
        first_token_ms=entry.first_token_ms,
        output_tokens_per_second=entry.output_tokens_per_second,
    )
