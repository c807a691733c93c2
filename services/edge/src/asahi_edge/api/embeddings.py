"""`POST /v1/embeddings`: OpenAI's API. What a model is asked is always for base64; callers get what they asked for."""

from functools import partial

from fastapi import APIRouter, Request, Response

from asahi.auth.v1.auth_pb2 import Scope
from asahi_edge.api.answering import Told, answer
from asahi_edge.api.authentication import authorize
from asahi_edge.api.bodies import read_body
from asahi_edge.api.embedding_answers import embeddings_answer
from asahi_edge.api.embedding_questions import embeddings_question
from asahi_edge.api.json import decode_object
from asahi_edge.api.openapi.operations import documented_embeddings

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.post("/embeddings", **documented_embeddings())
async def embeddings(request: Request) -> Response:
    """Embed texts. An input that was embedded before is neither computed nor paid for again."""
    verdict = await authorize(request, Scope.SCOPE_INFER)
    body = await read_body(request)
    decoded = decode_object(body)
    inference = embeddings_question(verdict, decoded, request.headers)
    as_numbers = decoded.get("encoding_format") != "base64"
    told = Told(whole=partial(embeddings_answer, inference, as_numbers=as_numbers))
    return await answer(request, inference, body, told)
