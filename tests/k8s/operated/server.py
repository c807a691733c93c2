"""An API server on loopback that real helm and kubectl speak to: discovery, objects, watches, logs of pods."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import yaml
from aiohttp import web

from tests.k8s.operated.kinds import KINDS, Kind, groups, openapi
from tests.k8s.operated.objects import Objects, Refused, chosen
from tests.k8s.operated.protobuf import MEDIA_TYPE, decoded
from tests.k8s.rendering import Object

_APPLIED = "application/apply-patch+yaml"
_INITIAL_END = "k8s.io/initial-events-end"


class Machine(Protocol):
    """What runs pods."""

    def log(self, pod: str, container: str) -> str:
        """What a container of a pod has said."""
        ...

    def usage(self) -> list[Object]:
        """PodMetrics of all pods."""
        ...


class Api:
    """The handlers."""

    def __init__(self, objects: Objects, machine: Machine) -> None:
        self._objects = objects
        self._machine = machine

    def app(self) -> web.Application:
        """Everything, as a web application."""
        app = web.Application(middlewares=[_as_status], client_max_size=64 * 1024 * 1024)
        told: dict[str, Any] = {
            "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.1"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*one) for one in groups().items()]},
            "/openapi/v3": {
                "paths": {base.strip("/"): {"serverRelativeURL": f"/openapi/v3{base}"} for base in _bases()}
            },
        }
        for base, version in _bases().items():
            resources = [told for one in KINDS if one.base == base for told in one.described()]
            told[base] = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": resources,
            }
            told[f"/openapi/v3{base}"] = openapi(version)
        for path, body in told.items():
            app.router.add_get(path, _tells(body))
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", self._log)
        for kind in KINDS:
            scopes = ["", "/namespaces/{namespace}"] if kind.namespaced else [""]
            for scope in scopes:
                app.router.add_get(f"{kind.base}{scope}/{kind.plural}", self._for(kind, self._list))
            many = f"{kind.base}{scopes[-1]}/{kind.plural}"
            app.router.add_post(many, self._for(kind, self._create))
            app.router.add_get(f"{many}/{{name}}", self._for(kind, self._get))
            app.router.add_put(f"{many}/{{name}}", self._for(kind, self._put))
            app.router.add_patch(f"{many}/{{name}}", self._for(kind, self._patch))
            app.router.add_delete(f"{many}/{{name}}", self._for(kind, self._delete))
            if kind.scales:
                app.router.add_get(f"{many}/{{name}}/scale", self._for(kind, self._get_scale))
                app.router.add_put(f"{many}/{{name}}/scale", self._for(kind, self._put_scale))
                app.router.add_patch(f"{many}/{{name}}/scale", self._for(kind, self._put_scale))
        return app

    def _for(self, kind: Kind, handle: Callable[[Kind, web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.StreamResponse:
            found: web.StreamResponse = await handle(kind, request)
            return found

        return handler

    async def _list(self, kind: Kind, request: web.Request) -> web.StreamResponse:
        namespace, query = request.match_info.get("namespace", ""), request.query
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        if kind.kind == "PodMetrics":
            found = [one for one in self._machine.usage() if chosen(one, labels, fields)]
        else:
            found = self._objects.list(kind, namespace, labels, fields)
        if query.get("watch") in ("1", "true"):
            return await self._watch(kind, request, found)
        meta = {"resourceVersion": self._objects.version}
        return web.json_response(
            {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": found}
        )

    async def _watch(self, kind: Kind, request: web.Request, there: list[Object]) -> web.StreamResponse:
        query, namespace = request.query, request.match_info.get("namespace", "")
        queue = self._objects.watch(kind)
        answer = web.StreamResponse(headers={"content-type": "application/json"})
        await answer.prepare(request)

        async def tell(event: str, one: Object) -> None:
            await answer.write(json.dumps({"type": event, "object": one}).encode() + b"\n")

        try:
            since = query.get("resourceVersion", "")
            initial = query.get("sendInitialEvents") == "true"
            for one in there:
                if initial or since in ("", "0") or int(one["metadata"]["resourceVersion"]) > int(since):
                    await tell("ADDED", one)
            if initial:
                meta = {"resourceVersion": self._objects.version, "annotations": {_INITIAL_END: "true"}}
                await tell("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta})
            while True:
                event, one = await queue.get()
                if namespace in ("", one["metadata"].get("namespace")) and chosen(
                    one, query.get("labelSelector", ""), query.get("fieldSelector", "")
                ):
                    await tell(event, one)
        except ConnectionError:  # who watched has gone
            return answer
        finally:
            self._objects.unwatch(queue)

    async def _get(self, kind: Kind, request: web.Request) -> web.Response:
        return web.json_response(self._objects.get(kind, *_place(request)))

    async def _create(self, kind: Kind, request: web.Request) -> web.Response:
        made = self._objects.create(kind, request.match_info.get("namespace", ""), await _body(request))
        return web.json_response(made, status=201)

    async def _put(self, kind: Kind, request: web.Request) -> web.Response:
        return web.json_response(self._objects.put(kind, _place(request)[0], await _body(request)))

    async def _patch(self, kind: Kind, request: web.Request) -> web.Response:
        body, (namespace, name) = await _body(request), _place(request)
        if request.content_type == _APPLIED:
            return web.json_response(self._objects.apply(kind, namespace, body))
        if "$" in json.dumps(body) and any(
            f'"${word}' in json.dumps(body) for word in ("patch", "setElement", "retain")
        ):
            raise Refused(422, "Invalid", "this server knows no directives of strategic patches")
        return web.json_response(self._objects.patch(kind, namespace, name, body))

    async def _delete(self, kind: Kind, request: web.Request) -> web.Response:
        return web.json_response(self._objects.delete(kind, *_place(request)))

    async def _get_scale(self, kind: Kind, request: web.Request) -> web.Response:
        return web.json_response(_scale(self._objects.get(kind, *_place(request))))

    async def _put_scale(self, kind: Kind, request: web.Request) -> web.Response:
        part = {"spec": {"replicas": (await _body(request))["spec"]["replicas"]}}
        return web.json_response(_scale(self._objects.patch(kind, *_place(request), part)))

    async def _log(self, request: web.Request) -> web.Response:
        lines = self._machine.log(request.match_info["name"], request.query.get("container", "")).splitlines()
        if tail := request.query.get("tailLines"):
            lines = lines[max(len(lines) - int(tail), 0) :]
        return web.Response(text="".join(f"{line}\n" for line in lines))


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[str]:
    """The server's address."""
    runner = web.AppRunner(api.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@web.middleware
async def _as_status(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except Refused as error:
        return _status(error.status, error.reason, error.message)
    except web.HTTPNotFound:
        return _status(404, "NotFound", "the server could not find the requested resource")
    return answer


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return web.json_response(body, status=code)


def _tells(body: Any) -> Callable[[web.Request], Any]:
    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(body)

    return tell


def _bases() -> dict[str, str]:
    return {one.base: one.api_version for one in KINDS}


def _group(name: str, versions: list[str]) -> Object:
    told = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": told, "preferredVersion": told[0]}


def _scale(one: Object) -> Object:
    replicas = one["spec"].get("replicas", 1)
    meta = {name: one["metadata"][name] for name in ("name", "namespace", "resourceVersion", "uid")}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": {"replicas": replicas},
            "status": {"replicas": (one.get("status") or {}).get("replicas", 0)}}  # fmt: skip


def _place(request: web.Request) -> tuple[str, str]:
    return request.match_info.get("namespace", ""), request.match_info["name"]


async def _body(request: web.Request) -> Object:
    if request.content_type == MEDIA_TYPE:
        return decoded(await request.read())
    text = await request.text()
    body: Object = yaml.safe_load(text) if "yaml" in request.content_type else json.loads(text)
    return body
