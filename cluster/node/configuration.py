"""The components' configuration files, filled in from the templates."""

import dataclasses
from collections.abc import Iterable
from string import Template

from cluster.images.naming import Image
from cluster.images.oci import read_digest
from cluster.node.spec import NodeSpec
from cluster.settings import SOURCE

_TEMPLATES = SOURCE / "node" / "templates"
_TARGETS = {"cni.conflist": "cni/10-pods.conflist"}  # the others keep their names


def write_configuration(spec: NodeSpec, images: Iterable[Image]) -> None:
    """Fill in every template under `etc/`, and list the images that the node must have before its first pod."""
    etc = spec.directory / "etc"
    values = dataclasses.asdict(spec)
    for template in sorted(_TEMPLATES.iterdir()):
        target = etc / _TARGETS.get(template.name, template.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(template.read_text()).substitute(values))
    rows = (f"{image.reference} {read_digest(image.archive)} {image.archive}\n" for image in images)
    (etc / "images").write_text("".join(rows))
