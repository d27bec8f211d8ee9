"""The image of the tests, made on the spot from the machine's static busybox; nothing is pulled."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Host(Protocol):
        """Where an engine is: a private host, or a machine that one of these runs."""

        def path(self, inside: str, /) -> Path: ...
        def docker(self, *argv: str) -> str: ...


IMAGE = "dockercni-test"

# The distribution's busybox has no server for UDP: such containers borrow the machine's Python.
_PYTHON = Path(sys.executable).resolve()
PYTHON_FLAGS = (
    "--volume=/usr:/usr:ro",
    *(() if _PYTHON.is_relative_to("/usr") else (f"--volume={sys.base_prefix}:{sys.base_prefix}:ro",)),
    f"--volume={Path(__file__).with_name('netcat.py')}:/netcat.py:ro",
)

_CGI = r"""#!/bin/sh
peer=${REMOTE_ADDR#\[}
peer=${peer%\]}
printf 'Content-Type: text/plain\r\n\r\npeer=%s name=%s\n' "${peer#::ffff:}" "$(hostname)"
"""


def serve_tcp(port: int) -> tuple[str, ...]:
    """A container's command that answers HTTP with `peer=ADDRESS name=HOSTNAME`."""
    return ("busybox", "httpd", "-f", "-p", str(port), "-h", "/www")


def serve_udp(port: int) -> tuple[str, ...]:
    """A container's command that answers datagrams with `peer=ADDRESS local=ADDRESS name=HOSTNAME`.

    The container has to be run with PYTHON_FLAGS.
    """
    return (str(_PYTHON), "-I", "-S", "/netcat.py", "serve", "udp", str(port))


def import_image(host: Host) -> None:
    """Make the image in the engine of this host."""
    archive = host.path("/run/private/image.tar")
    write_archive(archive)
    host.docker("load", "--input", "/run/private/image.tar")
    archive.unlink()


def write_archive(archive: Path) -> None:
    """Make what `docker load` takes; containers of the image end at once when they are stopped.

    It is loaded, since `docker import` cannot be told a stop signal, and process 1 ignores SIGTERM.
    """
    layer = _layer()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["sleep", "86400"], "Env": ["PATH=/bin"], "StopSignal": "SIGKILL"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "tests/hosts/image.py"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [f"{IMAGE}:latest"], "Layers": ["layer/layer.tar"]}]
    with tarfile.open(archive, mode="w") as tar:
        _add(tar, "layer", tarfile.DIRTYPE, 0o755)
        _add(tar, "layer/layer.tar", content=layer)
        _add(tar, "config.json", content=json.dumps(config).encode())
        _add(tar, "manifest.json", content=json.dumps(manifest).encode())


def _layer() -> bytes:
    busybox = _static_busybox()
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name in ("bin", "etc", "usr", "www", "www/cgi-bin", "root", "proc", "sys", "dev"):
            _add(tar, name, tarfile.DIRTYPE, 0o755)
        _add(tar, "tmp", tarfile.DIRTYPE, 0o1777)
        _add(tar, "bin/busybox", content=busybox.read_bytes(), mode=0o755)
        for applet in applets:
            if applet != "busybox":
                _add(tar, f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
        for name in ("lib", "lib64"):  # for the machine's /usr, where it is mounted
            _add(tar, name, tarfile.SYMTYPE, link=f"usr/{name}")
        _add(tar, "etc/passwd", content=b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/false\n")
        _add(tar, "etc/group", content=b"root:x:0:\nnogroup:x:65534:\n")
        _add(tar, "www/cgi-bin/index.cgi", content=_CGI.encode(), mode=0o755)
    return output.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
    content: bytes = b"",
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname, member.size = kind, mode, link, len(content)
    tar.addfile(member, io.BytesIO(content))


def _static_busybox() -> Path:
    found = shutil.which("busybox", path=f"/bin:/usr/bin:{os.environ.get('PATH', '')}")
    assert found, "no busybox: install busybox-static"
    head = Path(found).read_bytes()[:4096]
    assert b"/ld-" not in head, f"{found} is not static: install busybox-static"
    return Path(found)
