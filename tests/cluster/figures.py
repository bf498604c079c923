"""What was measured, printed after the tests."""

FIGURES: list[str] = []


def note(what: str, measured: object) -> None:
    """Keep one line for the end of the session."""
    FIGURES.append(f"{what}: {measured}")
