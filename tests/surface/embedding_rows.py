"""The rows of the table of errors that hold for `/v1/embeddings`, and those that it has alone."""

from dataclasses import replace

from tests.surface.rows import EMBEDDINGS, ROWS, Question, Row

_MODEL = "text-embedding-3-small"
_AS_THEY_ARE = frozenset(
    {
        *("invalid_api_key", "insufficient_scope", "organization_mismatch", "organization_suspended"),
        *("rate_limit_exceeded", "method_not_allowed", "request_too_large", "unsupported_media_type"),
        *("headers_too_large", "idempotency_conflict", "service_unavailable"),
    }
)
_BY_A_MODEL = frozenset({"insufficient_quota", "idempotency_replay_unavailable"})
_TOLD_OF_A_MODEL = frozenset({"provider_error", "overloaded", "deadline_exceeded"})
"""Their words name the model."""


def _here(row: Row) -> Row:
    question = row.question
    if row.code in _BY_A_MODEL | _TOLD_OF_A_MODEL:
        question = replace(question, model=_MODEL)
    says = tuple(_MODEL if word == row.question.model else word for word in row.says)
    return replace(row, question=question, says=says, paths=(EMBEDDINGS,), streams=(False,))


def _asked(code: str, status: int, kind: str, question: Question, param: str, *says: str) -> Row:
    return Row(code, status, kind, question, param, says, paths=(EMBEDDINGS,), streams=(False,))


def _invalid(field: str, value: object, *says: str, param: str = "") -> Row:
    return _asked(
        "invalid_request", 400, "invalid_request_error", Question(fields={field: value}), param or field, *says
    )


EMBEDDING_ROWS = (
    *(_here(row) for row in ROWS if row.code in _AS_THEY_ARE | _BY_A_MODEL | _TOLD_OF_A_MODEL),
    _invalid("input", [], "0 entries", "2048"),
    _invalid("input", ["x"] * 2049, "2049 entries"),
    _invalid("input", ["a", ""], "input[1]", "empty", param="input"),
    _invalid("input", ["a", 1], "input[1]", "list of them", param="input"),
    _invalid("input", 7, "input"),
    _invalid("encoding_format", "int8", "'int8'", "base64"),
    _invalid("dimensions", 0, "dimensions"),
    replace(_invalid("stream", True, "one piece"), streams=(True,)),
    _invalid("model", "asahi/high", "'asahi/high'", "name a model"),
    _asked(
        "unsupported_by_model", 400, "invalid_request_error", Question(fields={"input": [1, 2]}), "input",
        "all-MiniLM-L6-v2", _MODEL,
    ),
    _asked(
        "unsupported_by_model", 400, "invalid_request_error", Question(fields={"dimensions": 12}), "dimensions",
        "384", _MODEL,
    ),
    _asked(
        "context_length_exceeded", 400, "invalid_request_error", Question(text="word " * 600), "input",
        "input[0]", "256",
    ),
    _asked("model_not_found", 404, "not_found_error", Question(model="text-embedding-3-smal"), "model", _MODEL),
    _asked(
        "model_not_found", 404, "not_found_error", Question(model="gpt-4.1-nano"), "model", "that embeds texts", _MODEL,
    ),
    _asked(
        "model_not_allowed", 403, "permission_error",
        Question(model=_MODEL, key={"scopes": ["infer"], "allowed_models": ["claude-*"]}), "model", _MODEL, "claude-*",
    ),
    _asked(
        "no_model_satisfies", 422, "invalid_request_error", Question(model=_MODEL, routing={"cost_budget": 1e-9}),
        "cost_budget", _MODEL, "cost_budget",
    ),
)  # fmt: skip
