"""A RabbitMQ server that speaks TLS, with a certificate of the tests, beside its other ports."""

import os

from tests.certificates import HOST, certify
from tests.services import free_port
from tests.services.rabbitmq import PrivateRabbitMQ, place_of

_TLS_CONFIG = """\
listeners.ssl.default = 127.0.0.1:{amqps}
stream.listeners.ssl.1 = 127.0.0.1:{stream}
stream.advertised_host = {host}
stream.advertised_tls_host = {host}
stream.advertised_tls_port = {stream}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/cert.pem
ssl_options.keyfile = {folder}/key.pem
ssl_options.verify = verify_none
"""
"""`verify_none` concerns clients, which need no certificate."""


class TLSRabbitMQ(PrivateRabbitMQ):
    """A server of the version that INGEST_TEST_SERVERS names."""

    def __init__(self) -> None:
        super().__init__(*place_of(os.environ.get("INGEST_TEST_SERVERS") or "debian"))
        self.tls_port, self.tls_stream_port = free_port(), free_port()
        self.ca_path = certify(self.sandbox.folder("tls"))

    def url(self, scheme: str, ca: object, host: str = HOST) -> str:
        """Return the URL. The scheme is `amqps` or `rabbitmq-stream+tls`."""
        port = self.tls_port if scheme == "amqps" else self.tls_stream_port
        return f"{scheme}://guest:guest@{host}:{port}/?cafile={ca}"

    def _config(self) -> str:
        return super()._config() + _TLS_CONFIG.format(
            amqps=self.tls_port, stream=self.tls_stream_port, host=HOST, folder=self.inside("tls")
        )
