"""Names the operating system's user who runs a command."""

import os
import pwd
import socket
from collections.abc import Mapping

from ingest.audit.trail import Actor

SUDO_USER = "SUDO_USER"


def operator(environ: Mapping[str, str] = os.environ) -> Actor:
    """Return the user of this process and its host. Call it before a command changes its user.

    The name comes from the process's user id, as anybody can set LOGNAME. Only root's sudo user is added: root may
    claim anything anyway.
    """
    uid = os.getuid()
    name = f"user:{_name_of(uid)}"
    if uid == 0 and (behind := environ.get(SUDO_USER)):
        name += f" (sudo by {behind})"
    return Actor(name, socket.gethostname())


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
