"""Ed25519 signatures. Imported only if a source signs with them, as its library takes long to import."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ingest.errors import SettingsError


class PublicKey:
    def __init__(self, secret: str) -> None:
        """`secret` is the key in base64. Raises `SettingsError`."""
        try:
            self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(secret, validate=True))
        except (binascii.Error, ValueError) as exc:
            raise SettingsError(
                "INGEST_CLIENT_SECRETS: a secret of a source with ed25519 must be a public key."
            ) from exc

    def signs(self, signature: bytes, text: bytes) -> bool:
        try:
            self._key.verify(signature, text)
        except InvalidSignature:
            return False
        return True
