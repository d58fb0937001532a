"""Describes a Python: version, compiler, and whether it was built with PGO and LTO, which save an eighth of the CPU."""

import json
import subprocess

import msgspec

_TELL = """
import json, platform, sysconfig
flags = [str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "PY_CORE_CFLAGS", "PY_CORE_LDFLAGS")]
debian = "deb_system" in sysconfig.get_scheme_names()
print(json.dumps([platform.python_version(), platform.python_compiler(), " ".join(flags), debian]))
"""


class Interpreter(msgspec.Struct, frozen=True):
    version: str
    compiler: str
    flags: str
    """The arguments of `configure`, and the flags of compiler and linker, as sysconfig has them."""
    by_debian: bool

    @property
    def build(self) -> str:
        """Debian builds with PGO and LTO, and removes the flags from sysconfig (its changelog, bug 934771)."""
        if self.by_debian:
            return f"PGO and LTO, as Debian builds; {self.compiler}"
        pgo = "--enable-optimizations" in self.flags or "-fprofile-use" in self.flags
        lto = "--with-lto" in self.flags.replace("--with-lto=no", "") or "-flto" in self.flags
        names = [name for name, used in (("PGO", pgo), ("LTO", lto)) if used]
        return f"{' and '.join(names) or 'neither PGO nor LTO'}; {self.compiler}"

    def __str__(self) -> str:
        return f"{self.version} ({self.build})"


def interpreter(python: str) -> Interpreter:
    """Ask a Python about itself."""
    done = subprocess.run([python, "-c", _TELL], check=True, capture_output=True, text=True)
    return Interpreter(*json.loads(done.stdout))
