"""What the rigs of alerts and pages rest on: time that runs faster, a fault for each alert, commands found in pages."""

import yaml

from tests.k8s.monitored.__main__ import not_made
from tests.k8s.monitored.prometheus import faster, faster_query, faster_rules
from tests.k8s.operated.pages import OPERATIONS, commands_of
from tests.k8s.operated.protobuf import decoded
from tests.k8s.rendering import Charts


def test_windows_and_ages_run_faster_and_shares_and_times_of_calls_do_not() -> None:
    assert (faster("15s"), faster("5m"), faster("6h"), faster("0m")) == ("250ms", "5000ms", "360000ms", "0ms")
    assert faster_query("rate(a_total[5m]) > 0.01") == "rate(a_total[5000ms]) > 0.01"
    assert faster_query('max(a_age_seconds{job="edge"}) > 300') == 'max(a_age_seconds{job="edge"}) > 5'
    assert faster_query("a_duration_seconds > 0.25") == "a_duration_seconds > 0.25"


def test_a_fault_is_made_for_every_alert_of_the_charts(charts: Charts) -> None:
    objects = charts.objects("asahi", {}, profile="production")
    assert not not_made(objects)
    assert len(faster_rules(objects)["groups"]) == 5


def test_the_commands_of_a_page_are_its_indented_blocks_by_section() -> None:
    found = commands_of(OPERATIONS / "install.md")
    assert found[0].text.startswith("make manifests")
    (upgrading,) = [one for one in found if one.section == "Upgrade"]
    assert upgrading.text.splitlines()[-1].startswith("helm rollback asahi")
    (values,) = [one for one in found if one.section == "Values"]
    text = values.text.partition("<<'END'\n")[2].rpartition("\nEND")[0]
    assert yaml.safe_load(text)["edge"]["ingress"]["enabled"] is True


def test_a_secret_is_read_as_kubectl_sends_it() -> None:
    meta = b"\x0a\x05asahi\x1a\x01n"
    entry = b"\x0a\x03url\x12\x01x"
    secret = b"\x0a" + bytes([len(meta)]) + meta + b"\x12" + bytes([len(entry)]) + entry + b"\x1a\x06Opaque"
    kind = b"\x0a\x02v1\x12\x06Secret"
    body = b"k8s\0" + b"\x0a" + bytes([len(kind)]) + kind + b"\x12" + bytes([len(secret)]) + secret
    assert decoded(body) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "asahi", "namespace": "n"},
        "data": {"url": "eA=="},
        "type": "Opaque",
    }
