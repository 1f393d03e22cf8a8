"""The layer that is found in the families of timm, transformers and torchvision: it lies where the network ends."""

import re
import warnings

import pytest
import torch
from torch import nn

import fidokit as fk
from fidokit.methods import layers
from fidokit.methods.layers import find_layer
from fidokit.models.classifier import Classifier

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("quick")]

#: In order of size, what the names of small models have in them.
SMALL = [
    *(
        "test_",
        "atto",
        "femto",
        "pico",
        "nano",
        "xxs",
        "xxt",
        "xs",
        "tiny",
        "_t0",
        "_s0",
        "_m0",
        "_b0",
        "mini",
        "small",
    ),
    *("s12", "_s1", "_t", "_xt", "_n", "_s", "050", "18", "_0"),
]
#: Parameters; candidates that are built to be counted.
MOST, TRIES = 15e6, 3
#: Families without a small model, made small.
THIN = {"embed_dim": 48, "depth": 3, "num_heads": 3}
MADE_SMALL = {
    "beit": ("beit_base_patch16_224", THIN),
    "deepseek_vit": ("deepseek_vit_412m", THIN),
    "hiera": ("hiera_tiny_224", {"embed_dim": 24}),
    "naflexvit": ("naflexvit_base_patch16_gap", THIN),
    "swin_transformer": ("swin_tiny_patch4_window7_224", {"embed_dim": 24}),
    "swin_transformer_v2": ("swinv2_tiny_window8_256", {"embed_dim": 24}),
    "twins": ("twins_svt_small", {"embed_dims": (16, 32, 64, 128)}),
    "vision_transformer_sam": ("samvit_base_patch16_224", THIN),
}
#: Of a family, what differs in its tokens from the model above.
TOKENS = [
    ("vit_medium_patch16_reg4_gap_256", THIN),
    ("vit_small_patch16_dinov3", THIN),
    ("vit_base_patch16_siglip_224", THIN),
    ("vit_base_patch14_dinov2", THIN | {"img_size": 126}),
]


def size_by_name(name):
    return min((i for i, word in enumerate(SMALL) if word in name), default=len(SMALL)), len(name), name


def smallest(family):
    """Name and options of a small model of a timm family; None if there is none."""
    if family in MADE_SMALL:
        return MADE_SMALL[family]
    for name in sorted(timm.list_models(module=family), key=size_by_name)[:TRIES]:
        with torch.device("meta"):
            net = timm.create_model(name)
        if sum(parameter.numel() for parameter in net.parameters()) < MOST:
            return name, {}
    return None


def awake(net):
    """The net, with what it begins with at zero (heads, gates, layer scales) set to something."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim and parameter.abs().max() < 1e-3:
            nn.init.normal_(parameter, std=0.1)
    return net.eval()


def check_family(net, size=None):
    """That the layer lies in the last stage and last block, and that Grad-CAM and FIDO run with it."""
    options = {"device": "cpu", "precision": "float32", "micro_batch": 2}
    clf = Classifier(awake(net), **options, **({} if size is None else {"size": size}))
    image = torch.rand(1, 3, *clf.size, generator=torch.Generator().manual_seed(0))
    with clf.session(), clf.session(exact=True) as session:
        layer = find_layer(session, session.normalise(image))
        probe = layers._probes[session.counter]
        called = list(probe.shapes)
        modules = dict(session.module.named_modules())
        layout = probe.layouts[layer]
        cam = fk.explain(clf, image, "grad-cam")
        masks = fk.explain(clf, image, "fido", steps=1, samples=2)
    # Where the class token alone is read, it is the first normalisation of the last block; there are three or more.
    assert called.index(layer) / len(called) > (0.55 if len(called) < 100 else 0.8), (layer, called[-20:])
    assert_last_of_its_kind(layer, called, modules)
    assert layout.height <= clf.size[0] / 8
    assert layout.width <= clf.size[1] / 8
    assert cam.raw.shape[2:] == layout.grid
    assert masks.notes == {}
    return layer, layout


def assert_last_of_its_kind(layer, called, modules):
    """No stage or block with a higher number beside it, or beside what it is in, is called."""
    parts = layer.split(".")
    for depth, part in enumerate(parts):
        number = re.search(r"\d+$", part)
        is_block = next(modules[".".join(parts[: depth + 1])].children(), None) is not None
        if number is None or not (part.isdigit() or is_block):
            continue
        stem, parent = part[: number.start()], "".join(f"{above}." for above in parts[:depth])
        pattern = re.compile(re.escape(parent + stem) + r"(\d+)(\.|$)")
        beside = {int(match[1]) for name in called if (match := pattern.match(name))}
        holders = [modules[f"{parent}{stem}{n}"] for n in beside]
        later = [n for n, module in zip(beside, holders, strict=True) if next(module.children(), None) is not None]
        assert int(number[0]) >= max(later, default=0), layer


@pytest.mark.parametrize("family", timm.list_modules())
def test_timm(family):
    found = smallest(family)
    if found is None:
        pytest.skip(f"no model of {family} is small")
    name, options = found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = timm.create_model(name, num_classes=5, **options)
    check_family(net)


@pytest.mark.parametrize(("name", "options"), TOKENS)
def test_timms_kinds_of_tokens(name, options):
    net = timm.create_model(name, num_classes=5, **options)
    layer, layout = check_family(net, options.get("img_size"))
    assert layer.startswith(("blocks", "norm"))
    assert layout.order == "tokens"
    assert layout.prefix == net.num_prefix_tokens


HF = {
    "ViT": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64},
    "DeiT": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64},
    "Dinov2": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 112},
    "Dinov2WithRegisters": {
        **{"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 112},
        "num_register_tokens": 9,
    },
    "Swin": {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]},
    "Swinv2": {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]},
    "ConvNext": {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 2, 1]},
    "Beit": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64},
    "MobileViT": {},
    "Pvt": {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 80, 128]},
    "PvtV2": {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 80, 128]},
    "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1], "layer_type": "basic"},
    "Segformer": {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 128]},
    "Cvt": {"embed_dim": [16, 32, 64], "depth": [1, 2, 3], "num_heads": [1, 1, 2]},
    "LevitForImage": {},
    "PoolFormer": {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 128]},
}


@pytest.mark.parametrize("family", HF)
def test_transformers(family):
    stem = family.removesuffix("ForImage")
    config = getattr(transformers, f"{stem}Config")(num_labels=5, **HF[family])
    net = getattr(transformers, f"{stem}ForImageClassification")(config)
    size = getattr(config, "image_size", 224)
    check_family(net, size if isinstance(size, int) else size[0])


TORCHVISION = [
    *("resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *("densenet121", "regnet_x_400mf", "mnasnet0_5"),
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    check_family(getattr(torchvision.models, name)(num_classes=5), 224)


def test_torchvisions_transformers():
    models = torchvision.models
    vit = models.VisionTransformer(
        image_size=64, patch_size=8, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=5
    )
    layer, layout = check_family(vit, 64)
    assert layer == "encoder.layers.encoder_layer_2.ln_1"
    assert layout.prefix == 1
    swin = models.SwinTransformer([4, 4], 24, [1, 1, 2, 1], [1, 2, 4, 8], [7, 7], num_classes=5)
    assert check_family(swin, 224)[1].order in ("channels_first", "channels_last")
