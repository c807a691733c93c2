"""The cache service's tables."""

from sqlalchemy import BigInteger, Index, MetaData, Table, Text
from sqlmodel import Field, SQLModel


class CacheTable(SQLModel):
    """Tables of the cache service's own, whatever others are loaded."""

    metadata = MetaData()


class ReplayRow(CacheTable, table=True):
    """A request that is to be made once; columns are the fields of `domain.replays.Replay`."""

    __tablename__ = "replays"
    __table_args__ = (Index("replays_by_expiry", "expires_at_ns"),)

    organization_id: str = Field(primary_key=True, sa_type=Text)
    digest: bytes = Field(primary_key=True)
    body_digest: bytes
    request_id: str = Field(sa_type=Text)
    user_id: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    leased_until_ns: int = Field(sa_type=BigInteger)
    expires_at_ns: int = Field(sa_type=BigInteger)
    answer: bytes


class StoredResponseRow(CacheTable, table=True):
    """A response that is kept; columns are the fields of `domain.stored_responses.StoredResponse`."""

    __tablename__ = "stored_responses"
    __table_args__ = (
        Index("stored_responses_by_conversation", "organization_id", "conversation_id", "expires_at_ns"),
        Index("stored_responses_by_expiry", "expires_at_ns"),
        Index("stored_responses_by_user", "organization_id", "user_id"),
    )

    organization_id: str = Field(primary_key=True, sa_type=Text)
    response_id: str = Field(primary_key=True, sa_type=Text)
    conversation_id: str = Field(sa_type=Text)
    """Id of the first response of its conversation."""
    previous_response_id: str = Field(sa_type=Text)
    user_id: str = Field(sa_type=Text)
    created_at_ns: int = Field(sa_type=BigInteger)
    expires_at_ns: int = Field(sa_type=BigInteger)
    input: bytes
    output: bytes
    response: bytes


class SemanticOutcomeRow(CacheTable, table=True):
    """Whether a stored answer served a question; columns are the fields of `domain.semantic.evidence_log.Outcome`."""

    __tablename__ = "semantic_outcomes"
    __table_args__ = (
        Index("semantic_outcomes_by_request", "organization_id", "request_id"),
        Index("semantic_outcomes_by_age", "at_ns"),
    )

    organization_id: str = Field(primary_key=True, sa_type=Text)
    number: int = Field(primary_key=True, sa_type=BigInteger)
    rule: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    stratum: int
    stored: bytes
    wrong: bool
    propensity: float
    at_ns: int = Field(sa_type=BigInteger)


class SemanticLedgerRow(CacheTable, table=True):
    """A ledger's state, and the number of the outcome that it was last brought to."""

    __tablename__ = "semantic_ledgers"

    organization_id: str = Field(primary_key=True, sa_type=Text)
    rule: str = Field(primary_key=True, sa_type=Text)
    false_hit_bound: float = Field(primary_key=True)
    folded: int = Field(sa_type=BigInteger)
    state: str = Field(sa_type=Text)


class SemanticHitRow(CacheTable, table=True):
    """An answer that tier 2 served; columns are the fields of `domain.semantic.evidence_log.ServedHit`."""

    __tablename__ = "semantic_hits"
    __table_args__ = (Index("semantic_hits_by_age", "at_ns"),)

    organization_id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(primary_key=True, sa_type=Text)
    stratum: int
    stored: bytes
    false_hit_bound: float
    at_ns: int = Field(sa_type=BigInteger)


REPLAYS: Table = ReplayRow.metadata.tables["replays"]
STORED_RESPONSES: Table = StoredResponseRow.metadata.tables["stored_responses"]
SEMANTIC_OUTCOMES: Table = CacheTable.metadata.tables["semantic_outcomes"]
SEMANTIC_LEDGERS: Table = CacheTable.metadata.tables["semantic_ledgers"]
SEMANTIC_HITS: Table = CacheTable.metadata.tables["semantic_hits"]
