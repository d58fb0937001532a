"""The service's settings: read once from the environment, checked together, shown without secrets."""

from ingest.settings.masking import mask_url, masked
from ingest.settings.model import PREFIX, RUN, WELL_KNOWN_TOKEN, Settings
from ingest.settings.reading import read_settings

__all__ = ["PREFIX", "RUN", "WELL_KNOWN_TOKEN", "Settings", "mask_url", "masked", "read_settings"]
