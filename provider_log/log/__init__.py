"""Which logs can a provider stand on? The log port and its adapters."""
