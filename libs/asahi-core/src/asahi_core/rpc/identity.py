"""Which service calls, and what it may call: one table, kept to by every server that is not on loopback alone.

A service proves itself with a certificate (mTLS) or a token. What either costs is paid only where it is set.
"""

import hmac
import inspect
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from structlog.typing import FilteringBoundLogger

from asahi_core.rpc.certificates import CertificateFiles, RenewingChannel, name_in_certificates, server_credentials
from asahi_core.settings import ServiceSettings

TOKEN_METADATA = "x-asahi-service-token"  # noqa: S105 - the metadata's name
_HEALTH = "/grpc.health.v1.Health/"
MAY_CALL: Mapping[str, tuple[str, ...]] = {
    "edge": (
        "/asahi.auth.v1.AuthService/",
        "/asahi.cache.v1.",
        "/asahi.router.v1.RouterService/",
        "/asahi.billing.v1.",
        _HEALTH,
    ),
    "router": (
        "/asahi.billing.v1.BillingService/RecordUsage",
        "/asahi.billing.v1.PriceService/ListPriceSheets",
        "/asahi.cache.v1.CacheService/CompareAnswers",
        "/asahi.cache.v1.CacheService/Embed",
    ),
    "operator": (_HEALTH, "/grpc.reflection."),
}
"""Who may call what: by a method's path, or by the beginning of paths. Who is not named may call nothing."""

_Context = grpc.aio.ServicerContext[Any, Any]
_HOW = (
    "set ASAHI_TLS_CERTIFICATE, ASAHI_TLS_KEY and ASAHI_TLS_CA, or ASAHI_ACCEPTED_SERVICE_TOKENS, "
    "or listen on 127.0.0.1 (ASAHI_GRPC_ADDRESS)"
)


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """How a service proves itself to others, and others to it."""

    certificates: CertificateFiles | None = None
    token: str = field(default="", repr=False)
    """`name:secret`, sent with each call; empty: none."""
    accepted_tokens: tuple[str, ...] = field(default=(), repr=False)
    """Tokens of callers; several of one name while they are rotated."""

    def asks_callers(self) -> bool:
        """Whether callers have to prove themselves."""
        return self.certificates is not None or bool(self.accepted_tokens)


ANONYMOUS = ServiceIdentity()
"""Proves nothing and asks for nothing: services on one machine, over loopback."""


def identity_of(settings: ServiceSettings) -> ServiceIdentity:
    """The identity that `settings` give.

    Raises:
        OSError: they contradict each other or the files cannot be used; the message names the variables.
    """
    token = settings.service_token.get_secret_value()
    accepted = tuple(filter(None, settings.accepted_service_tokens.get_secret_value().split(",")))
    files = (settings.tls_certificate, settings.tls_key, settings.tls_ca)
    certificate, key, ca = files
    if certificate is None or key is None or ca is None:
        if any(files):
            raise OSError("ASAHI_TLS_CERTIFICATE, ASAHI_TLS_KEY and ASAHI_TLS_CA go together: set all three or none")
        return ServiceIdentity(token=token, accepted_tokens=accepted)
    if token or accepted:
        raise OSError("certificates (ASAHI_TLS_…) and service tokens are both set; set the one or the other")
    certificates = CertificateFiles(certificate, key, ca)
    certificates.check()
    return ServiceIdentity(certificates)


def open_channel(
    service: str, target: str, options: list[tuple[str, Any]], identity: ServiceIdentity
) -> grpc.aio.Channel | RenewingChannel:
    """A channel to the service called `service`, on which the caller's certificate is shown if it has one."""
    if identity.certificates is None and not target.startswith("dns:"):  # on one machine, where no name is asked for
        return grpc.aio.insecure_channel(target, options=options)
    return RenewingChannel(service, target, options, identity.certificates)


def token_metadata(identity: ServiceIdentity) -> tuple[tuple[str, str], ...]:
    """What every call carries to prove who calls; empty where there is no token."""
    return ((TOKEN_METADATA, identity.token),) if identity.token else ()


def interceptors(
    address: str, identity: ServiceIdentity, *, public: bool, log: FilteringBoundLogger
) -> list[grpc.aio.ServerInterceptor]:
    """What keeps a server on `address` to the table; nothing where callers need not prove who they are.

    Raises:
        OSError: others than this machine could call and nobody would have to prove who they are.
    """
    if public:
        return []
    if identity.asks_callers():
        return [_Guard(identity, log)]
    if not is_loopback(address):
        raise OSError(f"{address} is not loopback and callers would not have to prove who they are; {_HOW}")
    return []


def listen(server: grpc.aio.Server, address: str, shown: CertificateFiles | None, log: FilteringBoundLogger) -> int:
    """Opens `address`, in plain text where no certificate is shown, and returns its port.

    Raises:
        OSError: the certificate cannot be used.
        RuntimeError: the address cannot be listened on.
    """
    if shown is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, server_credentials(shown, log))


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to `host:port`."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def may_call(services: Sequence[str], path: str) -> bool:
    """Whether a caller who is these services may call the method at `path`."""
    return any(_covers(rule, path) for service in services for rule in MAY_CALL.get(service, ()))


def _covers(rule: str, path: str) -> bool:
    return path.startswith(rule) if rule.endswith(("/", ".")) else path == rule


class _Guard(grpc.aio.ServerInterceptor):
    """Lets a call through if the table allows its caller the method."""

    def __init__(self, identity: ServiceIdentity, log: FilteringBoundLogger) -> None:
        self._identity = identity
        self._log = log
        self._guarded: dict[str, Any] = {}
        self._refused: set[tuple[tuple[str, ...], str]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler behind the check; grpc answers for methods that there are not."""
        path = handler_call_details.method
        guarded = self._guarded.get(path)
        if guarded is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            guarded = self._guarded[path] = self._behind_check(handler, path)
        return guarded

    def _behind_check(self, handler: Any, path: str) -> Any:
        kinds: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
            (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
            (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
            (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
            (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
        }
        kind, make = kinds[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, kind)

        async def answer(request: Any, context: _Context) -> Any:
            await self._check(context, path)
            return await behaviour(request, context)

        async def answers(request: Any, context: _Context) -> AsyncIterator[Any]:
            await self._check(context, path)
            async for message in behaviour(request, context):
                yield message

        return make(
            answers if inspect.isasyncgenfunction(behaviour) else answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def _check(self, context: _Context, path: str) -> None:
        callers = self._callers(context)
        if may_call(callers, path):
            return
        if (callers, path) not in self._refused:  # said once each: callers try again and again
            self._refused.add((callers, path))
            self._log.warning("caller_refused", caller=", ".join(callers) or "unknown", method=path)
        if callers:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "This service may not call this method.")
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The caller did not prove which service it is.")

    def _callers(self, context: _Context) -> tuple[str, ...]:
        if self._identity.certificates is not None:
            names = set(context.auth_context().get("x509_subject_alternative_name", ()))
            return tuple(name for name in MAY_CALL if name_in_certificates(name).encode("ascii") in names)
        sent = [value for name, value in context.invocation_metadata() or () if name == TOKEN_METADATA]
        if len(sent) != 1:
            return ()
        token = sent[0].encode() if isinstance(sent[0], str) else sent[0]
        # Compared with each, whether one has matched already or not.
        matching = [known for known in self._identity.accepted_tokens if hmac.compare_digest(known.encode(), token)]
        return tuple(dict.fromkeys(known.partition(":")[0] for known in matching))
