"""Which files a Dockerfile copies: they, and nothing else of the tree, decide whether an image is rebuilt."""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COPYING = re.compile(r"(?:COPY|ADD)\s+(.*)", re.IGNORECASE)
_BIND_MOUNT = re.compile(r"--mount=(\S*type=bind\S*)")


@dataclass(frozen=True)
class Ignored:
    """The patterns of a .dockerignore, the last match wins."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...]  # and whether it brings a file back

    def covers(self, path: str) -> bool:
        """Answer whether a path of the context stays out of it."""
        out = False
        for pattern, brings_back in self.patterns:
            if pattern.fullmatch(path):
                out = not brings_back
        return out


def read_ignored(context: Path) -> Ignored:
    """Read the .dockerignore of a build context; none means that nothing is left out."""
    path = context / ".dockerignore"
    lines = path.read_text().splitlines() if path.exists() else []
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return Ignored(tuple((_translated(rule.removeprefix("!")), rule.startswith("!")) for rule in rules))


def _translated(pattern: str) -> re.Pattern[str]:
    """Return a pattern of .dockerignore as a regular expression; it covers what is below a match too."""
    text = re.escape(pattern.strip("/"))
    for escaped, meaning in ((r"\*\*/", "(?:.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*"), (r"\?", "[^/]")):
        text = text.replace(escaped, meaning.replace("*", "\0"))
    return re.compile(text.replace("\0", "*") + "(?:/.*)?")


def copied_sources(dockerfile: str) -> list[str]:
    """Return the sources, in the build context, of every COPY, ADD and bind mount of all stages."""
    sources: list[str] = []
    for instruction in _instructions(dockerfile):
        if copying := _COPYING.fullmatch(instruction):
            sources += _operands(copying[1])[:-1]
        for mount in _BIND_MOUNT.findall(instruction):
            options = dict(part.partition("=")[::2] for part in mount.split(","))
            if "from" not in options:
                sources.append(options.get("source") or options.get("src") or ".")
    return sources


def _instructions(dockerfile: str) -> Iterator[str]:
    lines = (line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for instruction in re.split(r"(?<!\\)\n", "\n".join(lines)):
        yield re.sub(r"\\\n", " ", instruction).strip()


def _operands(text: str) -> list[str]:
    words = shlex.split(text) if not text.rstrip().endswith("]") else []
    flags = [word for word in (words or text.split()) if word.startswith("--")]
    if any(flag.startswith("--from=") for flag in flags):
        return []
    if not words:
        return [str(word) for word in json.loads(text[text.index("[") :])]
    return [word for word in words if word not in flags]


def context_hash(context: Path, sources: list[str]) -> str:
    """Hash the path, the mode and the content of every file that the sources name and .dockerignore lets in."""
    digest = hashlib.sha256()
    for path in sorted(set(_files(context, sources))):
        name = path.relative_to(context).as_posix()
        digest.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(context: Path, sources: list[str]) -> Iterator[Path]:
    ignored = read_ignored(context)
    for source in sources:
        pattern = source.strip("/").removeprefix("./") or "."
        for found in [context] if pattern == "." else context.glob(pattern):
            for path in [found] if found.is_file() else found.rglob("*"):
                if path.is_file() and not ignored.covers(path.relative_to(context).as_posix()):
                    yield path
