"""Write the CRDs and their reference pages, or check that they are as the models say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from modelramp.api.crd import RESOURCES, definition_yaml
from modelramp.api.reference import reference


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the files are as generated, 1 when `--check` finds one that is not."""
    parser = argparse.ArgumentParser(prog="python -m modelramp.api", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    parser.add_argument("--into", type=Path, default=Path(), help="root of the repository (default: here)")
    chosen = parser.parse_args(arguments)
    different = [path for path, text in _texts(chosen.into).items() if _differs(path, text)]
    for path in different:
        print(f"{path} {'is not as generated: run python -m modelramp.api' if chosen.check else 'written'}")
    if chosen.check:
        return 1 if different else 0
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_texts(chosen.into)[path], encoding="utf-8")
    return 0


def _texts(root: Path) -> dict[Path, str]:
    crds = root / "crds"
    chart = root / "charts" / "modelramp" / "files" / "crds"
    texts = {into / f"{each.singular}.yaml": definition_yaml(each) for each in RESOURCES for into in (crds, chart)}
    pages = {root / "docs" / "reference" / f"{each.singular}.md": reference(each) for each in RESOURCES}
    return texts | pages


def _differs(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    sys.exit(main())
