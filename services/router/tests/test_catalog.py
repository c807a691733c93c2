"""The catalog: the shipped one is sound, and a wrong one is refused with line and field."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from asahi.type.v1.routing_pb2 import LatencyPreference
from asahi_core.prices import load_price_book
from asahi_router.catalog.loader import load_catalog
from asahi_router.catalog.marked_yaml import WrongCatalog, read_yaml
from asahi_router.catalog.serving import own_endpoints, serve_models, simulator_endpoints, vendor_endpoints
from asahi_router.domain.kinds import KINDS

MODEL = """
  - id: llama-4
    vendor: meta
    context_window: 128000
    max_output_tokens: 8000
    capabilities: [tools]
    quality: {chat: 4.0, code: 3.5}
    quality_source: our own tests of November 2026
    first_token_ms: 200
    output_tokens_per_second: 50
    latency_source: our own machine
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own.yaml"


def test_every_shipped_model_has_a_price_today() -> None:
    prices, now = load_price_book(), datetime.now(UTC)
    unpriced = [model for model in load_catalog().models if prices.rates(model, 1, now) is None]
    assert unpriced == []


def test_windows_agree_with_the_price_book() -> None:
    prices = load_price_book()
    for model in load_catalog().models.values():
        price = prices.model(model.id)
        assert price is not None
        assert price.vendor == model.vendor
        assert price.context_window == model.context_window


def test_every_shipped_model_has_a_quality_for_every_kind_of_work_and_says_where_from() -> None:
    for model in load_catalog().models.values():
        assert model.quality.keys() == KINDS
        assert model.quality_source.startswith(("whatmodel.sh composite", "prior: placed"))


def test_the_catalog_has_lengths_for_every_kind_of_work_and_limits_for_preferences() -> None:
    catalog = load_catalog()
    assert catalog.median_output_tokens.keys() == KINDS
    assert catalog.baseline == "gpt-6.1-sol"
    limits = catalog.latency_limits_ms
    assert LatencyPreference.LATENCY_PREFERENCE_SLOW not in limits
    instant, fast = LatencyPreference.LATENCY_PREFERENCE_INSTANT, LatencyPreference.LATENCY_PREFERENCE_FAST
    assert limits[instant] < limits[fast] < limits[LatencyPreference.LATENCY_PREFERENCE_NORMAL]


def test_some_shipped_model_meets_every_preference() -> None:
    catalog = load_catalog()
    for limit in catalog.latency_limits_ms.values():
        assert any(m.first_token_ms <= limit and m.quality["chat"] >= 4.5 for m in catalog.models.values())


def test_a_file_of_the_operators_adds_models_and_changes_fields(own: Path) -> None:
    own.write_text(f"baseline_model: llama-4\nmodels:{MODEL}\n  - id: gpt-6-luna\n    first_token_ms: 77\n")
    catalog = load_catalog(own)
    assert catalog.baseline == "llama-4"
    assert catalog.models["llama-4"].quality_at("math") == 3.5
    luna, shipped = catalog.models["gpt-6-luna"], load_catalog().models["gpt-6-luna"]
    assert luna.first_token_ms == 77
    assert luna.quality == shipped.quality
    assert list(catalog.models) == sorted(catalog.models)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("models:\n  - id: gpt-6-luna\n    context_window: 0\n", "line 3: models.0.context_window: Input should be gr"),
        ("models:\n  - id: gpt-6-luna\n    contxt: 5\n", "line 3: models.0.contxt: Extra inputs are not permitted"),
        ("models:\n  - id: new-one\n    vendor: x\n", "line 2: models.0.context_window: Field required"),
        ("models:\n  - vendor: x\n", "line 2: models.0: is no model: it needs an 'id'"),
        ("models:\n  - id: gpt-6-luna\n    quality:\n      chat: 5.5\n", "line 4: models.0.quality.chat: Input should"),
        (
            "models:\n  - id: gpt-6-luna\n    quality: {cooking: 5}\n",
            "line 3: models.0.quality.cooking: 'cooking' is no",
        ),
        ("models:\n  - id: gpt-6-luna\n    quality: {chat: .nan}\n", "line 3: models.0.quality.chat: Input should be"),
        (
            "models:\n  - id: gpt-6-luna\n    capabilities: [magic]\n",
            "line 3: models.0.capabilities.0: Input should be",
        ),
        ("models:\n  - id: gpt-6-luna\n    id: gpt-6-sol\n", "line 3: models.0.id: is there twice"),
        ("models:\n  - id: gpt-6-luna\n  - id: gpt-6-luna\n", "line 3: models.1.id: 'gpt-6-luna' is there twice"),
        ("models:\n  - id: gpt-6-luna\n    aliases: [gpt-6-sol]\n", "line 1: models: 'gpt-6-sol' names both"),
        ("models: 5\n", "line 1: models: is no list"),
        ("- a\n", "line 1: is no mapping"),
        ("a: [1\nb: 2\n", "line 2: did not find expected"),
        ("baseline_model: nobody\n", "line 1: baseline_model: there is no model 'nobody'"),
        ("latency_limits_ms: {slow: null}\n", "line 1: latency_limits_ms.normal: Field required"),
        ("surprise: 1\n", "line 1: surprise: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_catalog_is_refused_with_line_and_field(own: Path, text: str, where: str) -> None:
    own.write_text(text)
    with pytest.raises(WrongCatalog) as raised:
        load_catalog(own)
    assert str(raised.value).startswith(f"{own}, {where}")


def test_a_catalog_that_cannot_be_read_is_told(own: Path) -> None:
    with pytest.raises(WrongCatalog, match="No such file"):
        load_catalog(own)
    own.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(WrongCatalog, match="not UTF-8"):
        load_catalog(own)


def test_yaml_values_keep_their_lines() -> None:
    marked = read_yaml("a:\n  b:\n    - 1\n    - c: x\n", "f")
    assert marked.value == {"a": {"b": [1, {"c": "x"}]}}
    assert marked.lines["a", "b", 1, "c"] == 4


def test_each_vendor_serves_its_own_models() -> None:
    known = load_catalog()
    catalog = serve_models(known, vendor_endpoints("https://api.openai.com/v1", "", responses=True), "")
    served = {model.model.id: model.provider for model in catalog.models}
    assert served["gpt-6-luna"] == "openai"
    assert served["claude-haiku-5-5"] == ""


def test_the_simulator_serves_everything_each_in_its_own_protocol() -> None:
    catalog = serve_models(load_catalog(), simulator_endpoints("http://127.0.0.1:1"), "")
    protocols = {(model.provider, model.model.vendor, model.protocol) for model in catalog.models}
    assert protocols == {("simulator", "openai", "openai"), ("simulator", "anthropic", "anthropic")}


def test_the_operators_baseline_must_exist() -> None:
    known = load_catalog()
    assert serve_models(known, [], "gpt-6-luna").baseline == "gpt-6-luna"
    with pytest.raises(WrongCatalog, match="ASAHI_BASELINE_MODEL: the catalog has no model 'nobody'"):
        serve_models(known, [], "nobody")


def test_a_provider_of_the_operators_serves_the_models_that_it_lists(own: Path) -> None:
    own.write_text(
        "providers:\n  - id: own\n    protocol: openai\n    base_url: http://10.0.0.7:8000/v1\n"
        "    api_key_env: LOCAL_KEY\n    models: {gpt-6-luna: luna-quantised}\n"
    )
    known = load_catalog()
    endpoints = own_endpoints(own, known, lambda name: name == "LOCAL_KEY")
    catalog = serve_models(known, endpoints + vendor_endpoints("https://api.openai.com/v1", "", responses=True), "")
    luna, sol = catalog.find("gpt-6-luna"), catalog.find("gpt-6.1-sol")
    assert luna is not None
    assert (luna.provider, luna.provider_model) == ("own", "luna-quantised")
    assert sol is not None
    assert sol.provider == "openai"


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        ("id: own, protocol: grpc", "line 2: providers.0.protocol: Input should be 'openai' or 'anthropic'"),
        ("id: openai, protocol: openai", "line 2: providers.0.id: 'openai' is taken; choose another"),
        ("id: own, protocol: openai, api_key_env: NOT_SET", "line 2: providers.0.api_key_env: the variable NOT_SET"),
        (
            "id: own, protocol: openai, models: [nobody]",
            "line 2: providers.0.models.nobody: the catalog has no model",
        ),
        (
            "id: own, protocol: openai, base_url: 'http://me:pw@x'",
            "line 2: providers.0.base_url: String should match",
        ),
        ("id: Local, protocol: openai", "line 2: providers.0.id: String should match"),
        ("id: own, protocol: anthropic, responses: true", "line 2: providers.0.responses: goes with protocol openai"),
    ],
)
def test_a_wrong_provider_is_refused_with_line_and_field(own: Path, entry: str, where: str) -> None:
    fields = {"models": "[gpt-6-luna]", "base_url": "http://x/v1"}
    rest = "".join(f", {name}: {value}" for name, value in fields.items() if f"{name}:" not in entry)
    own.write_text(f"providers:\n  - {{{entry}{rest}}}\n")
    with pytest.raises(WrongCatalog) as raised:
        own_endpoints(own, load_catalog(), lambda _name: False)
    assert str(raised.value).startswith(f"{own}, {where}")


def test_a_provider_is_listed_once(own: Path) -> None:
    one = "  - {id: own, protocol: openai, base_url: 'http://x/v1', models: [gpt-6-luna]}\n"
    own.write_text("providers:\n" + 2 * one)
    with pytest.raises(WrongCatalog, match=r"line 3: providers\.1\.id: 'own' is there twice"):
        own_endpoints(own, load_catalog(), lambda _name: False)
