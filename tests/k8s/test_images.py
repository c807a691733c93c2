"""What the rig of images finds in a layer, and how Dockerfiles follow the charts."""

import io
import re
import tarfile

import pytest

from deploy.k8s.generate import SERVICES
from tests.documents import ROOT
from tests.k8s.images import faults_of_files

_PEM = "-----BEGIN {0}-----\n" + "A" * 64 + "\n-----END {0}-----\n"


def _layer(name: str, content: str) -> tarfile.TarFile:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as files:
        for path, text in ((name, content), ("opt/venv/sbom.cdx.json", "{}")):
            member = tarfile.TarInfo(path)
            member.size = len(text)
            files.addfile(member, io.BytesIO(text.encode()))
    return tarfile.open(fileobj=io.BytesIO(written.getvalue()))


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("opt/venv/bin/pip", "", "it holds opt/venv/bin/pip"),
        ("usr/bin/gcc", "", "it holds usr/bin/gcc"),
        ("opt/venv/x.dist-info/direct_url.json", "{}", "it holds opt/venv/x.dist-info/direct_url.json"),
        ("opt/venv/key.txt", _PEM.format("EC PRIVATE KEY"), "a private key is in opt/venv/key.txt"),
        ("etc/ssl/certs/own.crt", _PEM.format("CERTIFICATE"), "a certificate is in etc/ssl/certs/own.crt"),
        ("etc/pip.conf", "[global]\nindex-url = https://x", "the address of an index is in etc/pip.conf"),
    ],
)
def test_what_must_not_be_in_an_image_is_found(name: str, content: str, fault: str) -> None:
    assert list(faults_of_files(_layer(name, content))) == [fault]


def test_public_authorities_of_packages_may_be_there() -> None:
    name = "opt/venv/lib/python3.11/site-packages/grpc/_cython/_credentials/roots.pem"
    assert not list(faults_of_files(_layer(name, _PEM.format("CERTIFICATE"))))


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_as_the_user_that_its_chart_names(service: str) -> None:
    dockerfile = (ROOT / "services" / service / "Dockerfile").read_text()
    chart = (ROOT / "deploy" / "k8s" / "charts" / "library" / "templates" / "_pod.tpl").read_text()
    user, group = (re.search(rf"{name}: (\d+)", chart) for name in ("runAsUser", "runAsGroup"))
    assert user is not None
    assert group is not None
    assert f"USER {user[1]}:{group[1]}\n" in dockerfile
    assert f'CMD ["python", "-m", "asahi_{service}"]' in dockerfile
