"""No secret and no prompt is left anywhere by a whole run (`python -m tests.canaries`)."""

from pathlib import Path

from tests import canaries


async def test_a_run_leaves_secrets_and_prompts_nowhere_but_where_their_kind_belongs(data: Path) -> None:
    assert (await canaries.run(data)).faults() == []


def test_a_canary_in_a_wrong_place_is_named_without_its_text() -> None:
    run = canaries.Run(canaries.Places(), keys=["ask_12345678_0123456789"], signing_secret="whs_1")
    run.places.add("log edge.log", f"it was {canaries.PROVIDER_KEY}".encode())
    faults = run.faults()
    assert "the provider's key is in log edge.log" in faults
    assert not any(canaries.PROVIDER_KEY in fault for fault in faults)
