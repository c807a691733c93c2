"""`AuthenticatePerson` of `asahi.auth.v1.AuthService`."""

from typing import Any

import grpc

from asahi.auth.v1 import auth_pb2 as pb
from asahi_auth.domain.people import People, Person
from asahi_auth.domain.scopes import Scope

_SCOPES = {
    Scope.ANALYTICS: pb.Scope.SCOPE_ANALYTICS,
    Scope.ADMIN: pb.Scope.SCOPE_ADMIN,
    Scope.ALL: pb.Scope.SCOPE_ALL,
}
"""What a person can have: tokens of people never open inference."""


class PeopleMethods:
    """The part of the servicer that knows people."""

    _people: People

    async def AuthenticatePerson(
        self, request: pb.AuthenticatePersonRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.AuthenticatePersonResponse:
        """The verdict on a token; raises InvalidApiKey."""
        return pb.AuthenticatePersonResponse(verdict=_verdict_of(await self._people.authenticate(request.token)))


def _verdict_of(person: Person) -> pb.Verdict:
    verdict = pb.Verdict(
        organization_id=person.organization_id,
        scopes=[_SCOPES[scope] for scope in person.scopes if scope in _SCOPES],
        user_id=person.subject,
        principal_id=f"person:{person.subject}",
    )
    verdict.expires_at.FromDatetime(person.expires_at)
    return verdict
