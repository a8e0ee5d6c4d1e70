"""Commands under a tracer: what they try to reach beyond this machine."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

STRACE = shutil.which("strace")
CALLS = "connect,sendto,sendmsg,sendmmsg"
# As strace writes an address: sin_port=htons(53), sin_addr=inet_addr("10.0.0.2"), and of IPv6.
ADDRESS = re.compile(
    r"sin6?_port=htons\((\d+)\).*?"
    r"(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\""
)
NAME_LOOKUP = 53


def can_trace() -> bool:
    if STRACE is None:
        return False
    tried = subprocess.run([STRACE, "-f", "-o", os.devnull, "true"], capture_output=True)
    return tried.returncode == 0


traced_only = pytest.mark.skipif(
    not can_trace(), reason="did not run: strace is missing, or may not trace here"
)


def own_addresses() -> set[str]:
    return {each.address for card in psutil.net_if_addrs().values() for each in card}


def reached(log: Path) -> list[str]:
    """Return what was tried beyond this machine: addresses, and name look-ups at any address."""
    own, found = own_addresses(), []
    for line in log.read_text(errors="replace").splitlines():
        for port, written in ADDRESS.findall(line):
            address = ipaddress.ip_address(written)
            address = getattr(address, "ipv4_mapped", None) or address
            here = address.is_loopback or str(address) in own
            if not here or int(port) == NAME_LOOKUP:
                found.append(f"{address}:{port}")
    return found


def trace_to(log: Path) -> list[str]:
    """Return what goes before a command to have its calls written down."""
    return [str(STRACE), "-f", "--seccomp-bpf", "-qq", "-e", f"trace={CALLS}", "-o", str(log)]


def traced(log: Path, *command: object, check: bool = True) -> subprocess.Popen:
    """Start a command of this environment under the tracer, in the log's folder."""
    name, *rest = map(str, command)
    program = Path(sys.executable).with_name(name)
    started = subprocess.Popen(
        [*trace_to(log), str(program), *rest],
        cwd=log.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check:
        said, _ = started.communicate()
        assert started.returncode == 0, said
    return started
