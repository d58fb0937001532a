"""A Prometheus server for tests."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from .places import Host
from .ports import free_port
from .server import PrivateServer

ANSWER_SECONDS = 60.0
HISTORY_SECONDS = 60.0


class PrometheusServer(PrivateServer):
    """This machine's prometheus with the given configuration (YAML text)."""

    def __init__(self, config_text: str, history: str = "") -> None:
        """`history` is OpenMetrics text, which the server imports before its start."""
        super().__init__("prometheus", Host())
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config_text = config_text
        self._history = history

    def query(self, expression: str, time: float | None = None) -> list[dict[str, Any]]:
        """Evaluate an expression at a Unix time, or now. Return the API's `result`, one `{metric, value}` per series.

        Raises urllib.error.HTTPError if the expression is wrong.
        """
        at = {} if time is None else {"time": f"{time:.3f}"}
        arguments = urllib.parse.urlencode({"query": expression, **at})
        reply = json.loads(self._get(f"/api/v1/query?{arguments}"))
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result

    def _prepare(self) -> None:
        (self.sandbox.path / "prometheus.yml").write_text(self._config_text)
        if self._history:
            (self.sandbox.path / "history.om").write_text(self._history)
            command = ["tsdb", "create-blocks-from", "openmetrics", self.inside("history.om"), self.inside("data")]
            self.sandbox.run(self._argv(self._place.find("usr/bin/promtool"), *command), HISTORY_SECONDS)

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [
            self._place.find("usr/bin/prometheus"),
            f"--config.file={self.inside('prometheus.yml')}",
            f"--storage.tsdb.path={self.inside('data')}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        return self.sandbox.spawn(self._argv(*command), self.log)

    def _answers(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        # The server is on this machine, so the environment's proxy does not apply.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=ANSWER_SECONDS) as reply:
            body: bytes = reply.read()
        return body
