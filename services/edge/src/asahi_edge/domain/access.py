"""What a key opens."""

from asahi.auth.v1.auth_pb2 import Scope, Verdict
from asahi.type.v1.chat_pb2 import Answer
from asahi_core.errors import InsufficientScope, OrganizationMismatch
from asahi_core.globs import matches_any

_OPENED_BY = {
    Scope.SCOPE_INFER: {Scope.SCOPE_INFER, Scope.SCOPE_ADMIN, Scope.SCOPE_ALL},
    Scope.SCOPE_ANALYTICS: {Scope.SCOPE_ANALYTICS, Scope.SCOPE_ADMIN, Scope.SCOPE_ALL},
    Scope.SCOPE_ADMIN: {Scope.SCOPE_ADMIN, Scope.SCOPE_ALL},
}


def scope_name(scope: Scope.ValueType) -> str:
    """The scope as callers write it: `infer`, `analytics`, `admin`, `all`."""
    return Scope.Name(scope).removeprefix("SCOPE_").lower()


def require_scope(verdict: Verdict, scope: Scope.ValueType) -> None:
    """Raises InsufficientScope unless the key opens what `scope` opens."""
    if not _OPENED_BY[scope].intersection(verdict.scopes):
        held = ", ".join(scope_name(s) for s in verdict.scopes) or "none"
        raise InsufficientScope(f"This path needs the scope '{scope_name(scope)}'; the key has: {held}.")


def require_organization(verdict: Verdict, organization_id: str | None, param: str = "organization_id") -> None:
    """Raises OrganizationMismatch if the request names, in `param`, an organisation that the key does not act for."""
    if organization_id is not None and organization_id != verdict.organization_id:
        raise OrganizationMismatch(
            f"The key does not act for the organization named in '{param}'; leave the field out or send the "
            "organization of the key.",
            param=param,
        )


def may_use_model(verdict: Verdict, model: str) -> bool:
    """Whether the key and its organisation may use the model with the catalog id `model`."""
    allowed = verdict.allowed_models, verdict.policy.allowed_models
    return all(not patterns or matches_any(model, patterns) for patterns in allowed)


def may_use_answer(verdict: Verdict, answer: Answer) -> bool:
    """Whether the key and its organisation may be given what this model of this provider once answered."""
    providers = verdict.policy.allowed_providers
    return (not providers or answer.provider in providers) and may_use_model(verdict, answer.model)
