"""What does the turnlog command do?"""

from provider_log.cli.app import main

__all__ = ["main"]
