"""Who acts, and whether they may: checked in the transaction of what they do."""

from dataclasses import dataclass
from datetime import datetime

from asahi_auth.domain.authentication import REFUSED, SUSPENDED
from asahi_auth.domain.organizations import ActingKey, ActingOperator, ActingPerson, Actor, ApiKey, Organization
from asahi_auth.domain.scopes import check_governs
from asahi_auth.domain.store import Transaction
from asahi_core.errors import InsufficientScope, InvalidApiKey, OrganizationMismatch, OrganizationSuspended


@dataclass(frozen=True, slots=True)
class Acting:
    """An actor who may govern an organisation."""

    organization: Organization
    key: ApiKey | None = None
    """The key that acts; None: the operator or a person, whose own limits are none."""


def acting(transaction: Transaction, actor: Actor, organization_id: str, now: datetime) -> Acting:
    """The actor and the organisation, which nobody else changes until the transaction ends.

    Raises:
        InvalidApiKey: the acting key is not valid (any more).
        InsufficientScope: the actor may not govern.
        OrganizationMismatch: there is no such organisation, or it is not the actor's.
        OrganizationSuspended: it is suspended, and the actor is not the operator.
    """
    organization = transaction.organization(organization_id)
    if isinstance(actor, ActingOperator):
        return Acting(_there(organization))
    if isinstance(actor, ActingKey):
        key = transaction.key(actor.api_key_id)
        if key is None or not key.is_valid(now):
            raise InvalidApiKey(REFUSED)
        owner, scopes = key.organization_id, key.scopes
    else:
        key, owner, scopes = None, actor.organization_id, actor.scopes
    if owner != organization_id:
        raise no_organization()
    check_governs(scopes)
    there = _there(organization)
    if there.suspended_at is not None:
        raise suspended()
    return Acting(there, key)


def check_operator(actor: Actor) -> None:
    """Raises InsufficientScope unless the operator acts."""
    if isinstance(actor, ActingKey | ActingPerson):
        raise InsufficientScope("Only the operator of the installation may do this (header X-Admin-Secret).")


def no_organization() -> OrganizationMismatch:
    """The same words for an unknown, a deleted and a foreign organisation."""
    return OrganizationMismatch(
        "There is no organization with the id in 'organization_id' that the caller may act for.",
        param="organization_id",
    )


def suspended() -> OrganizationSuspended:
    """What everybody of a suspended organisation hears."""
    return OrganizationSuspended(SUSPENDED)


def _there(organization: Organization | None) -> Organization:
    if organization is None or organization.deleted_at is not None:
        raise no_organization()
    return organization
