"""The routes of every capability, in the order in which the documentation shows them."""

from fastapi import APIRouter

from asahi_edge.api.governance import (
    alerts,
    api_keys,
    audit,
    cache,
    compliance,
    invites,
    organizations,
    policies,
    prices,
    reconciliations,
    repricings,
    signup,
    usage,
    users,
)

router = APIRouter()
for module in (
    signup,
    api_keys,
    organizations,
    invites,
    policies,
    prices,
    repricings,
    usage,
    alerts,
    reconciliations,
    cache,
    audit,
    compliance,
    users,
):
    router.include_router(module.router)
