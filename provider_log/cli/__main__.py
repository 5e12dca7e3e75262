"""What is `python -m provider_log.cli`? The turnlog command, for whoever has an interpreter and no scripts of it."""

from provider_log.cli.app import main

if __name__ == "__main__":
    main()
