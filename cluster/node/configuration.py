"""The components' configuration files, filled in from the templates."""

import dataclasses
from pathlib import Path
from string import Template

from cluster.node.spec import NodeSpec
from cluster.settings import SOURCE

_TEMPLATES = SOURCE / "node" / "templates"
_TARGETS = {"cni.conflist": "cni/10-pods.conflist"}  # the others keep their names


def write_configuration(spec: NodeSpec, images: list[Path]) -> None:
    """Fill in every template under `etc/`, and list the image archives that the node imports at its start."""
    etc = spec.directory / "etc"
    values = dataclasses.asdict(spec)
    for template in sorted(_TEMPLATES.iterdir()):
        target = etc / _TARGETS.get(template.name, template.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(template.read_text()).substitute(values))
    (etc / "images").write_text("".join(f"{path}\n" for path in images))
