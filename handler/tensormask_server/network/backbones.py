"""All backbones, by the name that a configuration gives in MODEL.BACKBONE.NAME."""

from collections.abc import Callable, Mapping

from tensormask_server.model_files.key_reader import KeyReader
from tensormask_server.network.backbone import BackboneConfig
from tensormask_server.network.resnet import parse_resnet

BACKBONES: Mapping[str, Callable[[KeyReader], BackboneConfig]] = {
    "build_retinanet_resnet_fpn_backbone": parse_resnet,
}


def parse_backbone(reader: KeyReader) -> BackboneConfig:
    """The configuration of the backbone that MODEL.BACKBONE.NAME names.

    Raises:
        ConfigError: the name isn't one of `BACKBONES`, or a key of the backbone has a value that isn't supported.
    """
    # the default is detectron2's, and isn't supported: a configuration must name its backbone
    name = reader.choice("MODEL.BACKBONE.NAME", "build_resnet_backbone", tuple(BACKBONES))
    return BACKBONES[name](reader)
