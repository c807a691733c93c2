"""Who serves which model here: the vendors whose keys there are, the operator's own providers, or the simulator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from asahi_router.catalog.entries import ProviderEntry
from asahi_router.catalog.loader import CatalogFile, check, read_file
from asahi_router.catalog.marked_yaml import Marked, WrongCatalog
from asahi_router.domain.embedding import LOCAL, EmbeddingModel, ServedEmbedding
from asahi_router.domain.models import PROTOCOLS, Catalog, CatalogModel, ServedModel

SIMULATOR = "simulator"
_DEFAULT_MAX_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that answers in one protocol."""

    provider: str
    """Id of the provider. The simulator's endpoints share one."""
    protocol: str
    """A key of `PROTOCOLS`."""
    base_url: str
    key_variable: str = ""
    """Environment variable of its key; empty: it needs none."""
    models: Mapping[str, str] | None = None
    """Its own names by catalog id; None: it serves all models of the vendor that its protocol is named after."""
    default_max_tokens: int = _DEFAULT_MAX_TOKENS
    responses: bool = False
    """Whether it speaks OpenAI's responses beside `protocol`."""

    def name_of(self, model: CatalogModel | EmbeddingModel) -> str | None:
        """What it calls the model; None: it does not serve it."""
        if self.models is None:
            return model.id if model.vendor == self.protocol else None
        return self.models.get(model.id)


def vendor_endpoints(openai_url: str, anthropic_url: str, *, responses: bool = True) -> list[Endpoint]:
    """The vendors' own servers at these URLs; an empty one: not called. `responses`: whether OpenAI's speaks those."""
    found = []
    if openai_url:
        found.append(Endpoint("openai", "openai", openai_url, "OPENAI_API_KEY", responses=responses))
    if anthropic_url:
        found.append(Endpoint("anthropic", "anthropic", anthropic_url, "ANTHROPIC_API_KEY"))
    return found


def simulator_endpoints(url: str) -> list[Endpoint]:
    """The simulator, which answers for both vendors."""
    return [
        Endpoint(SIMULATOR, "openai", f"{url.rstrip('/')}/v1", responses=True),
        Endpoint(SIMULATOR, "anthropic", url),
    ]


def own_endpoints(path: Path, known: CatalogFile, has_key: Callable[[str], bool]) -> list[Endpoint]:
    """The providers of a file; `has_key`: whether an environment variable holds something.

    Raises:
        WrongCatalog: the file cannot be used.
    """
    document = read_file(path)
    raw = document.value.get("providers") if isinstance(document.value, dict) else None
    if not isinstance(raw, list):
        raise document.fault((), "is no mapping that holds a list 'providers'")
    endpoints: list[Endpoint] = []
    for index, value in enumerate(raw):
        entry = check(ProviderEntry, value, document, ("providers", index))
        _check(entry, index, document, known, has_key)
        if any(endpoint.provider == entry.id for endpoint in endpoints):
            raise document.fault(("providers", index, "id"), f"{entry.id!r} is there twice")
        endpoints.append(
            Endpoint(
                entry.id,
                entry.protocol,
                entry.base_url,
                entry.api_key_env or "",
                entry.names,
                entry.default_max_tokens,
                entry.responses,
            )
        )
    return endpoints


def serve_models(known: CatalogFile, endpoints: list[Endpoint], baseline: str) -> Catalog:
    """The catalog, each model with the first endpoint that serves it; `baseline`: empty: the catalog's own.

    Raises:
        WrongCatalog: there is no such baseline model.
    """
    if baseline and baseline not in known.models:
        raise WrongCatalog(f"ASAHI_BASELINE_MODEL: the catalog has no model {baseline!r}")
    return Catalog(
        models=tuple(_serve(model, endpoints) for model in known.models.values()),
        baseline=baseline or known.baseline,
        latency_limits_ms=known.latency_limits_ms,
        median_output_tokens=known.median_output_tokens,
    )


def serve_embeddings(known: CatalogFile, endpoints: list[Endpoint], *, local: bool) -> tuple[ServedEmbedding, ...]:
    """The models that embed texts, each with the first endpoint that serves it; `local`: so does the cache service."""
    speaking = [endpoint for endpoint in endpoints if endpoint.protocol == "openai"]
    return tuple(_serve_embedding(model, speaking, local=local) for model in known.embeddings.values())


def _check(
    entry: ProviderEntry, index: int, document: Marked, known: CatalogFile, has_key: Callable[[str], bool]
) -> None:
    path = ("providers", index)
    if entry.id in (SIMULATOR, LOCAL) or entry.id in PROTOCOLS:
        raise document.fault((*path, "id"), f"{entry.id!r} is taken; choose another")
    if entry.responses and entry.protocol != "openai":
        raise document.fault((*path, "responses"), "goes with protocol openai")
    for model in entry.names:
        if model in known.embeddings:
            if entry.protocol != "openai":
                raise document.fault((*path, "models", model), "embeds texts, which only protocol openai can ask for")
        elif model not in known.models:
            what = f"the catalog has no model {model!r}; describe it in ASAHI_CATALOG_FILE"
            raise document.fault((*path, "models", model), what)
    if entry.api_key_env is not None and not has_key(entry.api_key_env):
        raise document.fault((*path, "api_key_env"), f"the variable {entry.api_key_env} is not set")


def _serve(model: CatalogModel, endpoints: list[Endpoint]) -> ServedModel:
    for endpoint in endpoints:
        name = endpoint.name_of(model)
        if name is not None:
            bound = endpoint.default_max_tokens if endpoint.protocol == "anthropic" else None
            return ServedModel(model, endpoint.provider, name, endpoint.protocol, bound, endpoint.responses)
    return ServedModel(model)


def _serve_embedding(model: EmbeddingModel, endpoints: list[Endpoint], *, local: bool) -> ServedEmbedding:
    if model.vendor == LOCAL:
        return ServedEmbedding(model, LOCAL, model.id) if local else ServedEmbedding(model)
    for endpoint in endpoints:
        name = endpoint.name_of(model)
        if name is not None:
            return ServedEmbedding(model, endpoint.provider, name)
    return ServedEmbedding(model)
