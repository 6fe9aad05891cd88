"""The networks of torchvision, timm, segmentation-models-pytorch and MONAI that burn-skip rebuilds."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import segmentation_models_pytorch as smp
import timm
import torchvision
from monai.networks.nets import AttentionUnet, BasicUNet, DynUNet, SegResNet, UNet, VNet
from timm.layers import DropPath
from timm.models.res2net import Bottle2neck
from timm.models.resnet import ResNet
from torch import nn


@dataclass(frozen=True)
class Network:
    """How a network is built, and the maps it is tried with.

    `damped` ends the name of the last norm of a residual block. `lr` is the rate of three steps of
    SGD: lower where batch norms over few values make the third loss a matter of rounding.
    """

    build: Callable[[], nn.Module]
    classes: int
    shapes: tuple[tuple[int, ...], ...]
    damped: str = ""
    train_shape: tuple[int, ...] = (2, 3, 64, 64)
    lr: float = 0.01
    classifier: bool = False

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.train_shape[1]


def _classifier(
    name: str, damped: str, lr: float, side: int = 64, **options: object
) -> Network:
    return Network(
        build=lambda: getattr(torchvision.models, name)(weights=None, num_classes=1000, **options),
        classes=1000,
        shapes=((1, 3, 224, 224), (1, 3, 193, 161)),
        damped=damped,
        train_shape=(2, 3, side, side),
        lr=lr,
        classifier=True,
    )


def _timm(name: str, damped: str, lr: float, side: int = 64) -> Network:
    """A classifier of timm, without dropout and stochastic depth, as timm builds it by default."""
    return Network(
        build=lambda: timm.create_model(name, num_classes=1000),
        classes=1000,
        shapes=((1, 3, 224, 224), (1, 3, 193, 161)),
        damped=damped,
        train_shape=(2, 3, side, side),
        lr=lr,
        classifier=True,
    )


def _res2net(**blocks: object) -> Network:
    """A shallow Res2Net of timm."""
    return replace(
        _timm("", "bn3.weight", 1e-4),
        build=lambda: ResNet(block=Bottle2neck, layers=(1, 2, 1, 2), **blocks),
        shapes=((1, 3, 96, 64), (1, 3, 65, 97)),
    )


def _smp_unet(encoder: str, damped: str) -> Network:
    return Network(
        build=lambda: smp.Unet(encoder, encoder_weights=None, classes=2),
        classes=2,
        shapes=((1, 3, 224, 224), (1, 3, 161, 193)),
        damped=damped,
        lr=1e-3,
    )


def _without_drop_path(model: nn.Module) -> nn.Module:
    """The model, whose blocks are never left out."""
    for module in model.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    return model


def _smp(
    build: Callable[..., nn.Module],
    encoder: str,
    damped: str,
    lr: float = 1e-3,
    side: int = 64,
    shapes: tuple[tuple[int, ...], ...] = ((1, 3, 192, 224), (1, 3, 96, 64)),
    **options: object,
) -> Network:
    """A network whose maps must be multiples of its strides, without dropout."""
    return Network(
        build=lambda: _without_drop_path(
            build(encoder, encoder_weights=None, classes=2, **options)
        ),
        classes=2,
        shapes=shapes,
        damped=damped,
        train_shape=(2, 3, side, side),
        lr=lr,
    )


def _with_classes(model: nn.Module) -> nn.Module:
    """The model, whose output is the sum of its logits of each position and those of the image."""
    model.register_forward_hook(lambda _model, _x, y: y[0] + y[1][:, :, None, None])
    return model


def _with_deep_supervision(model: nn.Module) -> nn.Module:
    """The model, whose output is the sum of its logits and of its heads', which it has in training alone."""
    model.register_forward_pre_hook(lambda model, _x: setattr(model, "training", True))
    model.register_forward_hook(lambda _model, _x, y: y.sum(dim=1))
    return model


def _basic_unet(
    *shapes: tuple[int, ...],
    dims: int = 2,
    features: tuple[int, ...] = (32, 32, 64, 128, 256, 32),
) -> Network:
    return Network(
        build=lambda: BasicUNet(dims, in_channels=1, out_channels=2, features=features),
        classes=2,
        shapes=shapes,
        train_shape=(2, 1, 64, 64) if dims == 2 else (2, 1, 32, 32, 32),
    )


def _monai(
    build: Callable[..., nn.Module],
    *shapes: tuple[int, ...],
    train: tuple[int, ...],
    lr: float = 0.01,
    damped: str = "",
    **options: object,
) -> Network:
    """A network of MONAI from one channel to two, over as many axes as its maps have."""
    return Network(
        build=lambda: build(
            spatial_dims=len(train) - 2, in_channels=1, out_channels=2, **options
        ),
        classes=2,
        shapes=shapes,
        damped=damped,
        train_shape=train,
        lr=lr,
    )


def _vnet(**sizes: object) -> nn.Module:
    """V-Net, whose dropout is not an option everywhere, without dropout."""
    model = VNet(**sizes)
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.Dropout3d)):
            module.p = 0.0
    return model


def _dynunet(*shapes: tuple[int, ...], **options: object) -> Network:
    strides = options["strides"]

    def build(**sizes: object) -> nn.Module:
        model = DynUNet(upsample_kernel_size=strides[1:], **sizes)
        return _with_deep_supervision(model) if model.deep_supervision else model

    return _monai(build, *shapes, **options)


NETWORKS: dict[str, Network] = {
    "resnet18": _classifier("resnet18", "bn2.weight", 1e-2),
    "resnet34": _classifier("resnet34", "bn2.weight", 1e-2),
    "resnet50": _classifier("resnet50", "bn3.weight", 1e-4),
    "resnet101": _classifier("resnet101", "bn3.weight", 1e-5),
    "resnext50": _classifier("resnext50_32x4d", "bn3.weight", 1e-4),
    "wide_resnet50": _classifier("wide_resnet50_2", "bn3.weight", 1e-4),
    "densenet121": _classifier("densenet121", "", 1e-4, side=128),
    "mobilenet_v2": _classifier("mobilenet_v2", "conv.3.weight", 1e-5, side=128, dropout=0.0),
    "mobilenet_v3_large": _classifier(
        "mobilenet_v3_large", "block.3.1.weight", 1e-5, side=128, dropout=0.0
    ),
    "efficientnet_b0": _classifier(
        "efficientnet_b0",
        "block.3.1.weight",
        1e-3,
        side=128,
        dropout=0.0,
        stochastic_depth_prob=0.0,
    ),
    "convnext_tiny": _classifier("convnext_tiny", "", 1e-3, stochastic_depth_prob=0.0),
    "timm_mobilenetv2_100": _timm("mobilenetv2_100", "bn3.weight", 1e-5, side=128),
    "timm_efficientnet_b0": _timm("efficientnet_b0", "bn3.weight", 1e-3, side=128),
    "timm_mobilenetv3_large_100": _timm("mobilenetv3_large_100", "bn3.weight", 1e-5, side=128),
    "timm_convnext_tiny": _timm("convnext_tiny", "", 1e-3),
    "seresnet18": _timm("seresnet18", "bn2.weight", 1e-3),
    "timm_res2net": _res2net(base_width=26, block_args={"scale": 4}),
    "timm_res2next": _res2net(base_width=4, cardinality=8, block_args={"scale": 3}),
    "smp_unet_resnet18": _smp_unet("resnet18", "bn2.weight"),
    "smp_unet_resnet34": _smp_unet("resnet34", "bn2.weight"),
    "smp_unet_resnet50": _smp_unet("resnet50", "bn3.weight"),
    "smp_unet_resnet18_aux": replace(
        _smp_unet("resnet18", "bn2.weight"),
        build=lambda: _with_classes(
            smp.Unet(
                "resnet18",
                encoder_weights=None,
                classes=2,
                aux_params={"classes": 2, "pooling": "avg", "dropout": 0.0},
            )
        ),
    ),
    "smp_unet_plus_plus_resnet18": _smp(smp.UnetPlusPlus, "resnet18", "bn2.weight"),
    "smp_linknet_resnet18": _smp(smp.Linknet, "resnet18", "bn2.weight"),
    "smp_fpn_resnet18": _smp(smp.FPN, "resnet18", "bn2.weight", decoder_dropout=0.0),
    "smp_fpn_resnet50": _smp(smp.FPN, "resnet50", "bn3.weight", lr=1e-5, decoder_dropout=0.0),
    "smp_psp_resnet18": _smp(smp.PSPNet, "resnet18", "bn2.weight", psp_dropout=0.0),
    "smp_upernet_resnet18": _smp(smp.UPerNet, "resnet18", "bn2.weight"),
    "smp_segformer_resnet18": _smp(smp.Segformer, "resnet18", "bn2.weight"),
    "smp_segformer_mit_b0": _smp(smp.Segformer, "mit_b0", ""),
    "smp_deeplab_v3_resnet18": _smp(
        smp.DeepLabV3, "resnet18", "bn2.weight", decoder_aspp_dropout=0.0
    ),
    "smp_deeplab_v3_plus_resnet18": _smp(
        smp.DeepLabV3Plus, "resnet18", "bn2.weight", decoder_aspp_dropout=0.0
    ),
    "smp_pan_resnet18": _smp(
        smp.PAN, "resnet18", "bn2.weight", 1e-5, side=128, shapes=((1, 3, 192, 224), (1, 3, 128, 160))
    ),
    "smp_manet_resnet18": _smp(smp.MAnet, "resnet18", "bn2.weight"),
    "smp_unet_mobilenet_v2": _smp(smp.Unet, "mobilenet_v2", "conv.3.weight", 1e-5, side=128),
    "smp_unet_vgg11": _smp(smp.Unet, "vgg11", "", 1e-4, shapes=((1, 3, 96, 64),)),
    "smp_unet_vgg16_bn": _smp(smp.Unet, "vgg16_bn", "", 1e-4),
    "smp_unet_timm_efficientnet_b0": _smp(
        smp.Unet, "timm-efficientnet-b0", "bn3.weight", 1e-4, side=128
    ),
    "smp_unet_densenet121": _smp(
        smp.Unet, "densenet121", "", 1e-5, shapes=((1, 3, 96, 64),)
    ),
    "smp_unet_densenet121_of_4": _smp(
        smp.Unet,
        "densenet121",
        "",
        1e-5,
        shapes=((1, 3, 96, 64),),
        encoder_depth=4,
        decoder_channels=(128, 64, 32, 16),
    ),
    "smp_unet_tu_mobilenet_v3_large": _smp(
        smp.Unet, "tu-mobilenetv3_large_100", "bn3.weight", 1e-5, side=128
    ),
    "smp_deeplab_v3_plus_mobilenet_v2": _smp(
        smp.DeepLabV3Plus,
        "mobilenet_v2",
        "conv.3.weight",
        1e-6,
        side=128,
        decoder_aspp_dropout=0.0,
    ),
    "monai_basic_unet": _basic_unet((1, 1, 224, 224), (1, 1, 97, 131)),
    "monai_basic_unet_3d": _basic_unet((1, 1, 32, 40, 33), dims=3, features=(4, 4, 8, 16, 32, 6)),
    "monai_basic_unet_wide": _basic_unet((1, 1, 64, 80), features=(8, 16, 24, 32, 40, 12)),
    "monai_segresnet": _monai(
        SegResNet, (1, 1, 64, 96), (1, 1, 40, 56), train=(2, 1, 48, 32), damped="norm2.weight"
    ),
    "monai_segresnet_3d": _monai(
        SegResNet,
        (1, 1, 16, 24, 20),
        (1, 1, 12, 8, 16),
        train=(2, 1, 16, 16, 12),
        damped="norm2.weight",
        blocks_down=(1, 1, 2),
        blocks_up=(1, 2),
        upsample_mode="deconv",
    ),
    "monai_unet": _monai(
        UNet,
        (1, 1, 64, 96),
        (1, 1, 40, 56),
        train=(2, 1, 48, 32),
        channels=(8, 16, 32, 64),
        strides=(2, 2, 2),
        num_res_units=2,
    ),
    "monai_unet_3d": _monai(
        UNet,
        (1, 1, 16, 24, 20),
        (1, 1, 12, 8, 16),
        train=(2, 1, 16, 16, 12),
        channels=(4, 8, 16),
        strides=(2, 2),
    ),
    "monai_dynunet": _dynunet(
        (1, 1, 64, 41),
        (1, 1, 40, 23),
        train=(2, 1, 32, 21),
        kernel_size=(3, 3, (3, 1), 3),
        strides=(1, (2, 1), (2, 1), (2, 1)),
        filters=(8, 16, 24, 32),
        res_block=True,
        deep_supervision=True,
        deep_supr_num=2,
    ),
    "monai_dynunet_3d": _dynunet(
        (1, 1, 9, 32, 24),
        (1, 1, 15, 16, 20),
        train=(2, 1, 9, 16, 12),
        kernel_size=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (3, 2, 2)),
        filters=(4, 8, 16),
        trans_bias=True,
    ),
    "monai_attention_unet": _monai(
        AttentionUnet,
        (1, 1, 64, 96),
        (1, 1, 40, 56),
        train=(2, 1, 48, 32),
        channels=(8, 16, 32),
        strides=(2, 2),
    ),
    "monai_vnet": _monai(
        _vnet,
        (1, 1, 64, 96),
        (1, 1, 32, 48),
        train=(2, 1, 64, 48),
        damped="conv_block.adn.N.weight",
    ),
}
