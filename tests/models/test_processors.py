"""A transformers image processor is read by what it does to a picture, or refused; nothing is downloaded."""

from __future__ import annotations

import importlib.util
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fidokit.data.geometry import Geometry, Preprocessing, to_input
from fidokit.exceptions import ClassifierError
from fidokit.models.classifier import Classifier
from fidokit.models.configuration import from_timm
from fidokit.models.processors import read_processor

transformers = pytest.importorskip("transformers")
pytest.importorskip("torchvision")  # transformers' fast processors need it


def photograph(width, height, seed=1) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.full((1, 3, height, width), 0.5)
    for cells, contrast in ((3, 0.2), (17, 0.15), (90, 0.1)):
        noise = torch.randn(1, 3, cells, cells, generator=generator)
        pixels += contrast * nn.functional.interpolate(noise, size=(height, width), mode="bilinear")
    return Image.fromarray((255 * pixels[0].clamp(0, 1)).byte().permute(1, 2, 0).contiguous().numpy())


def gap(theirs, preprocessing, picture, bgr=False) -> torch.Tensor:
    """(3, H, W) differences to our pixels, of 255; where theirs are cropped after resizing, to half a pixel."""
    theirs = torch.as_tensor(np.asarray(theirs)).float()
    mean, std = (torch.tensor(getattr(preprocessing, name)).view(3, 1, 1) for name in ("mean", "std"))
    theirs = (theirs.flip(0) if bgr else theirs) * std + mean
    exact = preprocessing.geometry(*picture.size)
    x0, y0, x1, y1 = exact.window
    half = (y1 - y0) / preprocessing.size[0] / 2 if preprocessing.fit == "crop" else 0
    gaps = []
    for dx, dy in product((0, half, -half), (0, half, -half)):
        window = (x0 + dx, y0 + dy, x1 + dx, y1 + dy)
        moved = to_input(picture, Geometry(*picture.size, window, preprocessing.size), preprocessing.interpolation)
        assert moved.shape == theirs.shape
        gaps.append(255 * (theirs - moved).abs())
    return min(gaps, key=lambda g: float(g.mean()))


def processor(name, **options):
    return getattr(transformers, name)(**options)


def timm_wrapper(**options):
    timm = pytest.importorskip("timm")
    from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

    return TimmWrapperImageProcessor(timm.get_pretrained_cfg("resnet18").to_dict() | options)


TURNED_UP = {"rescale_factor": 1 / 127.5, "rescale_offset": True}
READ = {
    "ViT": ("ViTImageProcessor", {}),
    "ViT with PIL": ("ViTImageProcessorPil", {}),
    "ViT, not rescaled": ("ViTImageProcessor", {"do_rescale": False}),
    "ViT, not rescaled, not normalised": ("ViTImageProcessorPil", {"do_rescale": False, "do_normalize": False}),
    "ViT, not normalised": ("ViTImageProcessor", {"do_normalize": False}),
    "ViT, rescaled to -1 to 1": ("ViTImageProcessor", {"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1]}),
    "CLIP": ("CLIPImageProcessor", {}),
    "ConvNeXT": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    "ConvNeXT, squashed": ("ConvNextImageProcessorPil", {}),
    "DeiT": ("DeiTImageProcessor", {}),
    "MobileNet": ("MobileNetV2ImageProcessor", {}),
    "MobileViT": ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}),
    "MobileViT with PIL": ("MobileViTImageProcessorPil", {"size": {"shortest_edge": 288}}),
    "MobileViT, RGB": ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}, "do_flip_channel_order": False}),
    "EfficientNet": ("EfficientNetImageProcessor", {}),
    "EfficientNet with PIL": ("EfficientNetImageProcessorPil", {}),
    "EfficientNet, offset": ("EfficientNetImageProcessor", TURNED_UP),
    "EfficientNet, offset, no top": ("EfficientNetImageProcessorPil", TURNED_UP | {"include_top": False}),
    "LeViT": ("LevitImageProcessor", {}),
    "PoolFormer": ("PoolFormerImageProcessor", {}),
    "PPLCNet": ("PPLCNetImageProcessor", {}),
    "timm": (timm_wrapper, {}),
    "timm, squashed": (timm_wrapper, {"crop_mode": "squash", "crop_pct": 1.0}),
}


def made(name):
    maker, options = READ[name]
    if not callable(maker):
        if not hasattr(transformers, maker):
            pytest.skip(f"this transformers has no {maker}")
        return processor(maker, **options)
    return maker(**options)


@pytest.mark.parametrize("name", READ)
def test_photographs_reach_the_model_as_the_processor_makes_them(name):
    theirs = made(name)
    reading = read_processor(theirs)
    # Sides that the processor need not round, so that its pixels lie where ours do.
    for width, height in ((1024, 512), (512, 1024), (512, 512)):
        picture = photograph(width, height)
        wanted = theirs(images=picture, return_tensors="pt")["pixel_values"][0]
        differs = gap(wanted, Preprocessing(**reading.options), picture, reading.bgr)
        assert float(differs.max()) <= 2.05
        assert float((differs > 1.05).float().mean()) < 1e-3


def test_what_was_read():
    assert read_processor(made("MobileViT")).bgr
    assert not read_processor(made("MobileViT, RGB")).bgr
    assert read_processor(made("EfficientNet")).options["std"] == pytest.approx((0.25,) * 3)
    assert read_processor(made("EfficientNet, offset")).options["mean"] == pytest.approx((0.75,) * 3)
    assert read_processor(made("ViT, not rescaled")).options["mean"] == pytest.approx((0.5 / 255,) * 3)
    assert read_processor(made("LeViT")).options["crop_share"] == pytest.approx(0.875)
    assert read_processor(made("timm")).options["crop_share"] == pytest.approx(224 / 235)


@pytest.mark.parametrize(
    ("maker", "options", "names"),
    [
        ("MobileViTImageProcessor", {}, ["MobileViTImageProcessor", "crop_size 256, which is larger than size 224"]),
        ("ViTImageProcessor", {"do_resize": False}, ["do_resize=False"]),
        ("ViTImageProcessor", {"resample": 1}, ["resample=lanczos", "differ from fidokit's by up to"]),
        ("ViTImageProcessorPil", {"resample": 0}, ["resample=nearest"]),
        ("CLIPImageProcessor", {"do_pad": True, "pad_size": {"height": 300, "width": 300}}, ["do_pad=True"]),
        ("TextNetImageProcessor", {}, ["TextNetImageProcessor", "size_divisor=32"]),
        ("Siglip2ImageProcessor", {}, ["Siglip2ImageProcessor", "max_num_patches=256"]),
        ("ImageGPTImageProcessor", {}, ["ImageGPTImageProcessor", "Clusters must be provided"]),
        ("VivitImageProcessor", {}, ["VivitImageProcessor", "(1, 3, 224, 224)"]),
    ],
)
def test_a_processor_that_does_something_else_is_refused_by_name(maker, options, names):
    if not hasattr(transformers, maker):
        pytest.skip(f"this transformers has no {maker}")
    theirs = processor(maker, **options)
    with pytest.raises(ClassifierError) as caught:
        read_processor(theirs)
    for name in (*names, "give mean, std and size"):
        assert name in str(caught.value)
    own = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 64}
    read_processor(theirs, own)
    with pytest.raises(ClassifierError):
        read_processor(theirs, {"mean": (0, 0, 0)})


class Odd:
    """A processor that says one thing and does another."""

    image_mean, image_std, size = [0.5] * 3, [0.5] * 3, {"height": 40, "width": 48}

    def __init__(self, change) -> None:
        self.change = change

    def __call__(self, images, return_tensors):
        pixels = np.asarray(images.resize((48, 40), Image.Resampling.BILINEAR), np.float32) / 255
        assert return_tensors == "pt"
        return {"pixel_values": self.change((pixels - 0.5) / 0.5).transpose(2, 0, 1)[None]}


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 0.02,
        lambda x: 1.03 * x,
        lambda x: x[:, ::-1].copy(),
        lambda x: np.roll(x, 1, axis=1),
        lambda x: np.repeat(x.mean(2, keepdims=True), 3, axis=2),
    ],
    ids=["brighter", "more contrast", "mirrored", "moved by a pixel", "grey"],
)
def test_a_small_difference_is_enough(change):
    assert read_processor(Odd(lambda x: x)).options["size"] == (40, 48)
    with pytest.raises(ClassifierError, match="the image processor Odd does what fidokit does not: its pixels differ"):
        read_processor(Odd(change))


# From a folder


def saved(folder, model, theirs):
    model.save_pretrained(folder)
    theirs.save_pretrained(folder)
    return f"hf:{folder}"


def tiny(**options):
    return transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        **options,
    )  # fmt: skip


NAMES = {"id2label": {0: "deer", 1: "fox", 2: "hare"}, "label2id": {"deer": 0, "fox": 1, "hare": 2}}
FAST = {"device": "cpu", "precision": "float32", "micro_batch": 4}


def test_a_model_that_wants_bgr(tmp_path):
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(tiny(**NAMES, initializer_range=0.3)).eval()
    theirs = transformers.MobileViTImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
    classifier = Classifier.load(saved(tmp_path, model, theirs), **FAST)
    assert classifier.class_names == ["deer", "fox", "hare"]
    assert "BGR: red and blue are exchanged" in repr(classifier)
    picture, p = photograph(144, 72), classifier.preprocessing
    pixels = theirs(images=picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted, swapped = model(pixels).logits, model(pixels.flip(1)).logits
    got = classifier.logits(to_input(picture, p.geometry(*picture.size), p.interpolation)[None])
    assert (got - wanted).abs().max() < 0.1 * (swapped - wanted).abs().max()


def test_a_timm_model_in_transformers(tmp_path):
    timm = pytest.importorskip("timm")
    own = timm.get_pretrained_cfg("resnet18").to_dict()
    config = transformers.TimmWrapperConfig(architecture="resnet18", num_labels=3, do_pooling=True, pretrained_cfg=own)
    model = transformers.TimmWrapperForImageClassification(config)
    model.save_pretrained(tmp_path)
    classifier = Classifier.load(f"hf:{tmp_path}", **FAST)
    assert classifier.preprocessing.interpolation == "bicubic"
    assert classifier.preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))
    assert classifier.preprocessing.size == (224, 224)
    direct = Classifier(model, **FAST)
    assert direct.preprocessing.mean == classifier.preprocessing.mean


def test_a_processor_that_is_refused_ends_the_loading(tmp_path):
    name = saved(
        tmp_path,
        transformers.ViTForImageClassification(tiny(**NAMES)),
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}, resample=1),
    )
    with pytest.raises(ClassifierError, match="ViTImageProcessor does what fidokit does not"):
        Classifier.load(name, **FAST)
    own = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "size": 32}
    assert Classifier.load(name, **own, **FAST).class_names == ["deer", "fox", "hare"]


@pytest.mark.parametrize("body", ["ViTModel", "ViTForMaskedImageModeling"])
def test_a_checkpoint_without_a_head_is_not_given_a_random_one(tmp_path, body):
    name = saved(
        tmp_path,
        getattr(transformers, body)(tiny()),
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
    )
    with pytest.raises(ClassifierError, match=r"no weights for classifier.bias, classifier.weight: it is no trained"):
        Classifier.load(name, **FAST)


# timm's and torchvision's own transforms


TIMM = ["resnet18", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_100", "beit_base_patch16_224"]
TORCHVISION = ["resnet18", "vit_b_16", "swin_v2_t", "convnext_tiny", "efficientnet_v2_s", "maxvit_t"]


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", TIMM)
def test_timm_transforms(name):
    import timm

    config = timm.get_pretrained_cfg(name).to_dict()
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(config), is_training=False)
    for picture in (photograph(1000, 500), photograph(500, 1000)):
        # timm cuts the side before the crop to whole pixels, so that the share is not quite crop_pct.
        assert float(gap(theirs(picture), Preprocessing(**from_timm(config)), picture).mean()) < 2


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_transforms(name, monkeypatch):
    import torchvision

    weights = torchvision.models.get_model_weights(name).DEFAULT
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_args, **_options: Thousand())
    p = Classifier.load(f"torchvision:{name}", **FAST).preprocessing
    for picture in (photograph(1000, 500), photograph(500, 1000)):
        assert float(gap(weights.transforms()(picture), p, picture).max()) <= 2.05


class Thousand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1000)

    def forward(self, x):
        return self.head(x.mean(dim=(2, 3)))
