"""Erasing an organisation or one of its end users from every store, with what was erased and what is kept."""

from dataclasses import dataclass

from asahi.auth.v1.auth_pb2 import Actor, DeleteOrganizationRequest, EraseUserRequest
from asahi_edge.domain.acts import audited
from asahi_edge.domain.governance_ports import Governance, Ledger
from asahi_edge.domain.ports import AnswerCache, Matching, Outcomes
from asahi_edge.domain.stored_responses import ResponseStore
from asahi_edge.domain.verdicts import Verdicts

_AUDIT = "The audit chain is append-only: it keeps who did what when, end users under pseudonyms."
_USAGE = "Usage records, without prompts and answers, and without who asked."
_SPOOL = "Usage records on their way to the ledger, until it has them."
_BILLS = "Own prices and imported cost reports: they name nobody."
KEPT_OF_ORGANIZATION = {
    "auth.audit": _AUDIT,
    "billing.usage": _USAGE,
    "billing.prices_and_reports": _BILLS,
    "edge.usage_on_its_way": _SPOOL,
}
KEPT_OF_USER = {
    "auth.audit": f"{_AUDIT} The key of this end user's pseudonym is erased: it leads back to nobody.",
    "billing.usage": _USAGE,
    "edge.usage_on_its_way": _SPOOL,
}


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased, rows by store, and what is kept, reasons by store."""

    act_id: str
    organization_id: str
    user_id: str
    erased: dict[str, int]
    kept: dict[str, str]


class Eraser:
    """Erases from every store that can; each erasure is an act in the audit chain and can be repeated."""

    def __init__(
        self,
        governance: Governance,
        cache: AnswerCache,
        responses: ResponseStore,
        ledger: Ledger,
        outcomes: Outcomes,
        *,
        verdicts: Verdicts,
    ) -> None:
        self._governance = governance
        self._cache = cache
        self._responses = responses
        self._ledger = ledger
        self._outcomes = outcomes
        self._verdicts = verdicts

    async def erase_organization(self, actor: Actor, organization_id: str) -> Erasure:
        """Deletes an organisation: its keys first, so that nothing new comes meanwhile.

        Raises:
            NotFound: the organisation is unknown.
        """
        async with audited(self._governance, actor, organization_id, "organization.erase") as act:
            request = DeleteOrganizationRequest(actor=actor, organization_id=organization_id)
            deleted = await self._governance.delete_organization(request)
            self._verdicts.forget_organization(organization_id)
            answers = await self._cache.invalidate(organization_id)
            replays = await self._cache.erase_replays(organization_id)
            responses = await self._responses.erase_responses(organization_id)
            evidence = await self._cache.erase_evidence(organization_id)
            records, alerts = await self._ledger.erase_identities(organization_id)
            outcomes, examples = await self._outcomes.erase_outcomes(organization_id)
            erased = {f"auth.{store}": count for store, count in deleted.erased.items()}
            erased |= {"cache.answers": answers, "cache.replays": replays, "cache.responses": responses}
            erased |= {"cache.evidence": evidence}
            erased |= {"billing.names": records, "billing.alerts": alerts}
            erased |= {"router.outcomes": outcomes, "router.examples": examples}
            act.results.update(erased)
        return Erasure(act.id, organization_id, "", erased, dict(KEPT_OF_ORGANIZATION))

    async def erase_user(self, actor: Actor, organization_id: str, user_id: str) -> Erasure:
        """Erases what is kept of one end user; of one whom nobody knows there is nothing to erase.

        Raises:
            NotFound: the organisation is unknown.
        """
        async with audited(self._governance, actor, organization_id, "user.erase", user_id=user_id) as act:
            answers = await self._cache.invalidate(organization_id, Matching(user_id=user_id))
            replays = await self._cache.erase_replays(organization_id, user_id)
            responses = await self._responses.erase_responses(organization_id, user_id)
            records, alerts = await self._ledger.erase_identities(organization_id, user_id)
            outcomes, examples = await self._outcomes.erase_outcomes(organization_id, user_id)
            request = EraseUserRequest(actor=actor, organization_id=organization_id, user_id=user_id)
            done = await self._governance.erase_user(request)
            self._verdicts.forget_organization(organization_id)
            erased = {f"auth.{store}": count for store, count in done.erased.items()}
            erased |= {"cache.answers": answers, "cache.replays": replays, "cache.responses": responses}
            erased |= {"billing.names": records, "billing.alerts": alerts}
            erased |= {"router.outcomes": outcomes, "router.examples": examples}
            act.results.update(erased)
        return Erasure(act.id, organization_id, user_id, erased, dict(KEPT_OF_USER))
