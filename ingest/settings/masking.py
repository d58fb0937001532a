"""Shows settings without their secrets."""

from urllib.parse import urlsplit, urlunsplit

from ingest.settings.model import PREFIX, Settings


def masked(settings: Settings) -> dict[str, str]:
    """Variable → effective value as text, with passwords and tokens replaced by `***`."""
    shown = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if name == "api_tokens":
            text = ",".join("***" for _ in settings.tokens)
        elif name == "client_secrets":
            text = ",".join(f"{secret.partition('=')[0]}=***" for secret in value)
        elif name.endswith("_url"):
            text = mask_url(value)
        else:
            text = str(value)
        shown[PREFIX + name.upper()] = text
    return shown


def mask_url(url: str) -> str:
    """The URL with its password, if any, replaced by `***`."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))
