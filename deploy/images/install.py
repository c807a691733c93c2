"""`python install.py SERVICE [EXTRA]`, in the build stage of a service's image: makes /opt/venv.

It holds the service and what it needs, at the versions and hashes of requirements.lock: no compiler, no pip, no
address of an index, nor what packages bring for their own tests, for building and for downloads. The bill of materials
is sbom.cdx.json in it. /opt/data is an empty folder for the service's data.
"""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

VENV = Path("/opt/venv")
_DATA = Path("/opt/data")
_LOCAL = ("asahi-protos", "asahi-core")
_EXCLUDED = ("huggingface-hub",)
"""What packages name and none of ours needs: a tokenizer is read from its file."""
_UNUSED = (
    "**/tests",
    "numpy/distutils",
    "numpy/f2py",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "zstandard/_cffi*.so",  # beside the backend in C, which CPython takes
)
_PIN = re.compile(r"^([a-z0-9-]+)==([^ ;\\]+)", re.MULTILINE)


def main(service: str, extra: str = "") -> None:
    """Installs, and ends with an error if anything is not as the lock says."""
    _run(sys.executable, "-m", "venv", "/opt/tools")
    pip = ("/opt/tools/bin/pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:")
    _run(*pip, "--requirement", "requirements-bootstrap.txt")
    uv = "/opt/tools/bin/uv"
    _run(uv, "venv", "--quiet", "--python", sys.executable, str(VENV))
    own = f"./services/{service}" + (f"[{extra}]" if extra else "")
    # uv takes the hashes of constraints as binding.
    install = (uv, "pip", "install", "--quiet", "--python", str(VENV), "--link-mode", "copy", "--compile-bytecode")
    libraries = [f"./libs/{name}" for name in _LOCAL]
    Path("excluded.txt").write_text("\n".join(_EXCLUDED), encoding="utf-8")
    _run(*install, "--no-sources", "--constraint", "requirements.lock", "--excludes", "excluded.txt", *libraries, own)
    installed = sorted(distributions(path=[str(_packages())]), key=lambda one: one.name.lower())
    pinned = set(_PIN.findall(Path("requirements.lock").read_text(encoding="utf-8")))
    ours = {*_LOCAL, f"asahi-{service}"}
    stray = [one.name for one in installed if (_normal(one.name), one.version) not in pinned and one.name not in ours]
    if stray:
        sys.exit(f"not in requirements.lock: {', '.join(stray)}; run 'make lock'")
    for where in _packages().glob("asahi_*.dist-info/direct_url.json"):  # folders of this build
        where.unlink()
    for pattern in _UNUSED:
        for found in [*_packages().glob(pattern)]:
            if found.is_dir():
                shutil.rmtree(found)
            elif found.exists():  # not in a folder that went
                found.unlink()
    _DATA.mkdir()
    (VENV / "sbom.cdx.json").write_text(json.dumps(bill_of_materials(service, installed), indent=1), encoding="utf-8")


def bill_of_materials(service: str, installed: list[Distribution]) -> dict[str, Any]:
    """What is installed, in CycloneDX 1.6."""
    own = f"asahi-{service}"
    components = {_normal(one.name): _component(one) for one in installed}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": components.pop(own) | {"type": "application"}},
        "components": list(components.values()),
    }


def _component(one: Distribution) -> dict[str, Any]:
    name = _normal(one.name)
    purl = f"pkg:pypi/{name}@{one.version}"
    licence = one.metadata.json.get("license_expression")
    return {"type": "library", "bom-ref": purl, "name": name, "version": one.version, "purl": purl} | (
        {"licenses": [{"expression": licence}]} if licence else {}
    )


def _packages() -> Path:
    return next(VENV.glob("lib/python3.*/site-packages"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
