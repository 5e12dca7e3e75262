"""Why does a test of upstream have no counterpart here? One sentence, and the tests it is said of."""

REASONS: dict[str, tuple[str, ...]] = {}
