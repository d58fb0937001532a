"""Event sources: telephony servers that post in their own formats. Each has a module, and a page in docs/clients."""
