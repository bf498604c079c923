"""What can go wrong, as a user reads it."""

from pathlib import Path


class ClusterError(Exception):
    """Say in one line what failed and what to do."""


class NotPossibleError(ClusterError):
    """Say what this machine lacks and what to install or set."""


class SettingError(ClusterError):
    """Name the setting, its value and what would be right."""


class CommandError(ClusterError):
    """Carry the command, its exit code, where its log is, and the log's end."""

    def __init__(self, command: str, code: int, ending: str, log: Path | None = None) -> None:
        where = f" (log: {log})" if log else ""
        super().__init__(f"{command}: exit {code}{where}\n{ending}".rstrip())
        self.code = code
