"""`/governance/prices`: an organisation's own prices over the list prices, in versions."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from msgspec import UNSET

from asahi.auth.v1.auth_pb2 import Actor, GetPolicyRequest
from asahi.billing.v1.prices_pb2 import OverridingPrice, PriceSheet, SetPriceSheetRequest, TokenRates
from asahi.type.v1.usage_pb2 import ServiceTier
from asahi_core.errors import InvalidRequest
from asahi_core.money import nanos_from_dollars
from asahi_edge.api.authentication import authorize_governance, is_operator
from asahi_edge.api.bodies import read_body
from asahi_edge.api.governance.policies import expected_version
from asahi_edge.api.json import Dollars, convert, decode_object, json_response
from asahi_edge.api.openapi.components import ALWAYS, header_references, parameters
from asahi_edge.api.openapi.operations import documented
from asahi_edge.api.schemas.governance.prices import (
    PriceBody,
    Prices,
    PricesAnswer,
    PricesBody,
    PriceView,
    RatesBody,
    RatesView,
)
from asahi_edge.api.services import services_of
from asahi_edge.api.times import rfc3339
from asahi_edge.domain.acts import audited

router = APIRouter()
_OrgId = Annotated[str, Path(description="The id of the organization: a key's own.")]
_STANDARD = "standard"


def _documented_change() -> dict[str, Any]:
    arguments = documented(
        summary="Set an organization's own prices",
        body=PricesBody,
        answer=PricesAnswer,
        errors=(400, 401, 403, 404, 409, 413, 415, 503),
    )
    arguments["responses"][200]["headers"] = header_references((*ALWAYS, "etag"))
    arguments["openapi_extra"]["parameters"] = parameters("if-match")
    return arguments


def _documented_read() -> dict[str, Any]:
    arguments = documented(
        summary="An organization's own prices", answer=PricesAnswer, errors=(400, 401, 403, 404, 503)
    )
    arguments["responses"][200]["headers"] = header_references((*ALWAYS, "etag"))
    return arguments


@router.get("/governance/prices/{org_id}", tags=["Governance"], **_documented_read())
async def get_prices(request: Request, org_id: _OrgId) -> Response:
    """An organization's own prices in their present version: discounts, agreed prices, models that it hosts."""
    services = services_of(request)
    _, organization = await authorize_governance(request, org_id, param="org_id")
    if is_operator(request):  # auth alone knows which organizations there are
        await services.governance.get_policy(GetPolicyRequest(organization_id=organization))
    return _answer(await services.prices.get(organization))


@router.put("/governance/prices/{org_id}", tags=["Governance"], **_documented_change())
async def set_prices(request: Request, org_id: _OrgId) -> Response:
    """Set an organization's own prices in place of all before; every edge charges by them within two seconds.

    Records keep the prices that they were made with. With `If-Match` or `version` only if the prices are at that
    version; otherwise 409, and nothing changes.
    """
    services = services_of(request)
    raw = await read_body(request)
    actor, organization = await authorize_governance(request, org_id, param="org_id")
    body = convert(decode_object(raw), PricesBody)
    wanted = SetPriceSheetRequest(
        organization_id=organization,
        prices=[_price(price, f"prices[{index}]") for index, price in enumerate(body.prices)],
        expected_version=expected_version(request, None if body.version is UNSET else body.version),
        updated_by=_name(actor),
    )
    async with audited(services.governance, actor, organization, "prices.set") as act:
        sheet = await services.prices.set(wanted)
        act.results.update({"version": sheet.version, "prices": len(sheet.prices)})
    return _answer(sheet)


def _price(body: PriceBody, place: str) -> OverridingPrice:
    if (body.rates is None) == (body.factor is None):
        raise InvalidRequest(f"{place}: give either rates or a factor.", param=place)
    price = OverridingPrice(models=body.models, since=body.since or "", until=body.until or "")
    if body.service_tier is not None:
        name = "UNSPECIFIED" if body.service_tier == _STANDARD else body.service_tier.upper()
        price.service_tier = ServiceTier.Value(f"SERVICE_TIER_{name}")
    if body.rates is not None:
        price.rates.CopyFrom(_rates(body.rates, f"{place}.rates"))
    else:
        price.factor = f"{Decimal(repr(body.factor)):f}"
    return price


def _rates(body: RatesBody, place: str) -> TokenRates:
    written = body.cache_write_5m if body.cache_write_5m is not None else body.input
    amounts = {
        "input": body.input,
        "output": body.output,
        "cache_read": body.cache_read if body.cache_read is not None else body.input,
        "cache_write_5m": written,
        "cache_write_1h": body.cache_write_1h if body.cache_write_1h is not None else written,
    }
    return TokenRates(**{name: _nanos(amount, f"{place}.{name}") for name, amount in amounts.items()})


def _nanos(amount: float, place: str) -> int:
    try:
        return nanos_from_dollars(repr(amount))
    except ValueError as error:
        raise InvalidRequest(f"{place}: {error}.", param=place) from error


def _name(actor: Actor) -> str:
    match actor.WhichOneof("actor"):
        case "api_key_id":
            return actor.api_key_id
        case "person":
            return f"person:{actor.person.subject}"
        case _:
            return "operator"


def _answer(sheet: PriceSheet) -> Response:
    given = sheet.HasField("updated_at")
    prices = Prices(
        organization_id=sheet.organization_id,
        version=sheet.version,
        updated_at=rfc3339(sheet.updated_at) if given else None,
        updated_by=sheet.updated_by or None,
        prices=[_view(price) for price in sheet.prices],
    )
    return json_response(PricesAnswer(prices), headers={"etag": f'"{sheet.version}"'})


def _view(price: OverridingPrice) -> PriceView:
    tier = ServiceTier.Name(price.service_tier).removeprefix("SERVICE_TIER_").lower()
    rates = price.rates
    return PriceView(
        models=price.models,
        rates=RatesView(
            input=Dollars(rates.input),
            output=Dollars(rates.output),
            cache_read=Dollars(rates.cache_read),
            cache_write_5m=Dollars(rates.cache_write_5m),
            cache_write_1h=Dollars(rates.cache_write_1h),
        )
        if price.HasField("rates")
        else None,
        factor=float(price.factor) if price.HasField("factor") else None,
        since=price.since or None,
        until=price.until or None,
        service_tier=(_STANDARD if tier == "unspecified" else tier) if price.HasField("service_tier") else None,
    )
