"""Models of images and texts as classifiers, against the libraries' own zero-shot classification."""

from __future__ import annotations

import contextlib
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
import two_tower_models as towers
from nets import photographs
from PIL import Image

import fidokit as fk
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.classifier import Classifier

transformers = pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")

pytestmark = pytest.mark.filterwarnings("ignore:.*No pretrained weights:UserWarning")
FAST = {"device": "cpu", "precision": "float32", "micro_batch": 8}
NAMES = ["jay", "tit", "owl"]
SIZE = (towers.SIDE, towers.SIDE)
HF = {"clip": towers.clip, "siglip": towers.siglip, "patches": towers.siglip_of_patches}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Kind -> the folder of its model."""
    root = tmp_path_factory.mktemp("two towers")
    for kind, make in HF.items():
        make(root / kind)
    for kind in towers.OPEN_CLIP:
        towers.open_clip_folder(root / f"open {kind}", kind)
    return root


def named(folders, kind, **options):
    scheme = "hf" if kind in HF else "openclip"
    # transformers reads the tokenizer of a Siglip2Model as Gemma's, whatever its files say.
    own = {"tokenizer": towers.word_tokenizer(model_input_names=["input_ids"])} if kind == "patches" else {}
    return Classifier.load(f"{scheme}:{folders / kind}", **({"names": NAMES} | own | FAST | options))


KINDS = [*HF, *(f"open {kind}" for kind in towers.OPEN_CLIP)]


def normalised(classifier, images):
    p = classifier.preprocessing
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (p.mean, p.std))
    return (images - mean) / std


# The same logits as the library


def test_clip_of_transformers_gives_the_librarys_logits(folders):
    classifier = named(folders, "clip")
    model, tokenizer = transformers.CLIPModel.from_pretrained(folders / "clip").eval(), towers.word_tokenizer()
    images = photographs(4, SIZE)
    tokens = tokenizer([f"a photo of {name}." for name in NAMES], return_tensors="pt", padding=True)
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        expected = model(**tokens, pixel_values=normalised(classifier, images)).logits_per_image
    assert expected.std() > 0.1
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assert classifier.head == "softmax"
    assert classifier.class_names == NAMES


def test_siglip_of_transformers_keeps_its_bias(folders):
    classifier = named(folders, "siglip")
    model, tokenizer = transformers.SiglipModel.from_pretrained(folders / "siglip").eval(), towers.word_tokenizer()
    images = photographs(4, SIZE)
    texts = [f"a photo of {name}." for name in NAMES]
    tokens = tokenizer(texts, return_tensors="pt", padding="max_length", max_length=64)
    with torch.no_grad():
        expected = model(input_ids=tokens["input_ids"], pixel_values=normalised(classifier, images)).logits_per_image
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assert classifier.head == "sigmoid"
    goal = classifier.goal(expected, "owl")
    torch.testing.assert_close(goal.log_odds(expected), expected[:, 2])
    assert named(folders, "siglip", head="softmax").head == "softmax"


def test_siglip_of_patches_gives_the_librarys_logits(folders):
    classifier = named(folders, "patches")
    model = transformers.Siglip2Model.from_pretrained(folders / "patches").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folders / "patches")
    picture = Image.fromarray((photographs(1, SIZE)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8))
    tokens = towers.word_tokenizer()(
        [f"a photo of {name}." for name in NAMES], return_tensors="pt", padding="max_length", max_length=64
    )["input_ids"]
    with torch.no_grad():
        expected = model(input_ids=tokens, **processor(images=picture, return_tensors="pt")).logits_per_image
    torch.testing.assert_close(classifier.logits(picture), expected, rtol=0, atol=1e-4)
    assert "brought to 64 x 64 pixels" in repr(classifier)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_scores_of_a_photograph_are_those_of_the_librarys_pipeline(folders, kind, tmp_path):
    classifier = named(folders, kind, templates="this is a photo of {}.")
    path = tmp_path / "photo.png"
    Image.fromarray((photographs(1, (128, 192), seed=3)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    pipeline = transformers.pipeline("zero-shot-image-classification", model=str(folders / kind))
    found = pipeline(str(path), candidate_labels=NAMES, hypothesis_template="this is a photo of {}.")
    expected = torch.tensor([next(row["score"] for row in found if row["label"] == name) for name in NAMES])
    logits = classifier.logits([path])[0]
    scores = logits.softmax(0) if kind == "clip" else logits.sigmoid()
    torch.testing.assert_close(scores, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", [*towers.OPEN_CLIP])
def test_open_clip_gives_the_librarys_logits(folders, kind):
    classifier = named(folders, f"open {kind}")
    name = f"local-dir:{folders / f'open {kind}'}"
    model = open_clip.create_model_from_pretrained(name, return_transform=False).eval()
    tokens = open_clip.get_tokenizer(name)([f"a photo of {name}." for name in NAMES])
    images = photographs(4, SIZE)
    with torch.no_grad():
        features = model.encode_image(normalised(classifier, images), normalize=True)
        texts = model.encode_text(tokens, normalize=True)
        expected = model.logit_scale.exp() * features @ texts.T
        if model.logit_bias is not None:
            expected = expected + model.logit_bias
    assert expected.std() > 0.1
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assert classifier.head == ("sigmoid" if kind == "siglip" else "softmax")


def test_several_templates_and_names_are_averaged_as_the_field_does(folders):
    name = f"local-dir:{folders / 'open vit'}"
    model = open_clip.create_model_from_pretrained(name, return_transform=False).eval()
    tokenizer = open_clip.get_tokenizer(name)
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES[:5]
    classifier = Classifier.from_prompts(model, NAMES, templates=templates, tokenizer=tokenizer, **FAST)
    images = photographs(3, SIZE)
    with torch.no_grad():
        weights = open_clip.build_zero_shot_classifier(model, tokenizer, NAMES, templates)
        features = model.encode_image(normalised(classifier, images), normalize=True)
    torch.testing.assert_close(
        classifier.logits(images), model.logit_scale.exp().detach() * features @ weights, rtol=0, atol=1e-4
    )
    both = {"jay": ["jay", "garrulus glandarius"], "tit": ["parus major", "tit", "tit"]}
    classifier = Classifier.from_prompts(model, both, tokenizer=tokenizer, **FAST)
    with torch.no_grad():
        rows = []
        for texts in (["jay", "garrulus glandarius"], ["parus major", "tit"]):
            encoded = model.encode_text(tokenizer([f"a photo of {text}." for text in texts]), normalize=True)
            rows.append(torch.nn.functional.normalize(encoded.mean(0), dim=0))
    torch.testing.assert_close(classifier.module.head.embeddings, torch.stack(rows), rtol=0, atol=1e-6)
    assert "4 prompts such as 'a photo of tit.'" in repr(classifier)


# Preprocessing is the model's own


@pytest.mark.parametrize(
    ("kind", "preprocessing"),
    [("vit", {}), ("resnet", {}), ("siglip", {}), ("vit", {"interpolation": "random"})],
)
def test_open_clip_photographs_arrive_as_in_the_library(tmp_path, kind, preprocessing):
    folder = towers.open_clip_folder(tmp_path, kind, **preprocessing)
    _, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    classifier = Classifier.load(f"openclip:{folder}", names=NAMES, **FAST)
    array = (photographs(1, (150, 230), seed=5)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    array[::2, ::3] //= 2
    Image.fromarray(array).save(tmp_path / "photo.png")
    table = pd.DataFrame({"image_id": ["photo"], "path": [str(tmp_path / "photo.png")], "label": [None]})
    ours, _ = fk.LabelledImages(table, tmp_path).load(0, classifier.preprocessing)
    theirs = transform(Image.open(tmp_path / "photo.png"))
    std = torch.tensor(classifier.preprocessing.std).view(3, 1, 1)
    gap = (normalised(classifier, ours[None])[0] - theirs).abs() * std * 255
    assert gap.max() < 3
    assert gap.mean() < 0.5


# It is a classifier like any other


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_explained_in_every_precision(folders, kind):
    exact = named(folders, kind)
    images = photographs(2, SIZE)
    for precision in ("float32", "bfloat16", "bfloat16-autocast"):
        classifier = named(folders, kind, precision=precision)
        masks = fk.explain(classifier, images, "fido", steps=2)
        assert not masks.failures
        gap = (classifier.logits(images) - exact.logits(images)).abs().max()
        assert gap < (1e-4 if precision == "float32" else 0.5)
        with classifier.session() as session:
            assert session.module.head.embeddings.dtype == torch.float32


LAYERS = {
    "clip": ("tower.vision_model.encoder.layers.2.layer_norm1", (8, 8)),
    "siglip": ("tower.vision_model.post_layernorm", (8, 8)),
    "patches": ("tower.vision_model.post_layernorm", (8, 8)),
    "open vit": ("tower.transformer.resblocks.2.ln_1", (8, 8)),
    "open siglip": ("tower.transformer.resblocks.2.ln_1", (8, 8)),
    "open resnet": ("tower.layer4", (2, 2)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_the_layer_for_grad_cam_is_that_of_the_image_tower(folders, kind):
    from fidokit.methods.layers import find_layer

    classifier = named(folders, kind)
    layer, grid = LAYERS[kind]
    with classifier.session(exact=True) as session:
        images = photographs(1, SIZE)
        assert find_layer(session, session.normalise(images)).startswith(layer)
    masks = fk.explain(classifier, images, "grad-cam")
    assert not masks.failures
    assert masks.attribution.shape[1:] == grid


def test_precision_and_micro_batch_are_found(folders):
    classifier = Classifier.load(f"openclip:{folders / 'open resnet'}", names=NAMES, device="cpu")
    classifier.logits(photographs(2, SIZE))
    assert classifier.precision in ("float32", "bfloat16", "bfloat16-autocast")
    assert classifier.micro_batch >= 1
    assert classifier.folded  # batch normalisation, in the image tower


def test_the_model_is_left_as_it_was():
    model = towers.clip().train()
    model.text_model.embeddings.requires_grad_(False)
    before = {name: (p.requires_grad, p.clone()) for name, p in model.named_parameters()}
    tokenizer = towers.word_tokenizer()
    classifier = Classifier.from_prompts(model, NAMES, tokenizer=tokenizer, mean=0.5, std=0.5, **FAST)
    classifier.logits(photographs(1, SIZE))
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad == before[n][0] and torch.equal(p, before[n][1]) for n, p in model.named_parameters())
    # The text tower was needed once: copies of the classifier do not carry it along.
    assert not any("text_model" in name for name, _ in classifier.module.named_modules())


def test_a_processor_brings_tokenizer_and_preprocessing():
    processor = transformers.CLIPProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}, image_mean=[0.1, 0.2, 0.3]
        ),
        tokenizer=towers.word_tokenizer(),
    )
    classifier = Classifier.from_prompts(towers.clip(), NAMES, tokenizer=processor, **FAST)
    assert classifier.preprocessing.mean == (0.1, 0.2, 0.3)
    assert classifier.preprocessing.interpolation == "bicubic"
    assert classifier.size == SIZE


def test_a_model_of_transformers_knows_where_it_was_loaded_from(folders):
    model = transformers.CLIPModel.from_pretrained(folders / "clip")
    classifier = Classifier.from_prompts(model, NAMES, **FAST)
    images = photographs(2, SIZE)
    torch.testing.assert_close(classifier.logits(images), named(folders, "clip").logits(images))
    assert classifier.preprocessing == named(folders, "clip").preprocessing


def test_a_model_in_half_precision_is_computed_in_float32():
    tokenizer = towers.word_tokenizer()
    images = photographs(2, SIZE)
    exact, half = (
        Classifier.from_prompts(model, NAMES, tokenizer=tokenizer, mean=0.5, std=0.5, **FAST)
        for model in (towers.clip().to(torch.bfloat16).float(), towers.clip().to(torch.bfloat16))
    )
    assert half.module.head.embeddings.dtype == torch.float32
    torch.testing.assert_close(half.logits(images), exact.logits(images), rtol=0, atol=1e-4)


def test_one_class_of_siglip_is_a_single_logit(folders):
    classifier = named(folders, "siglip", names=["owl"])
    assert classifier.class_names == ["not owl", "owl"]
    expected = named(folders, "siglip").logits(photographs(2, SIZE))[:, 2]
    torch.testing.assert_close(classifier.logits(photographs(2, SIZE))[:, 1], expected, rtol=0, atol=1e-4)


def test_it_travels_to_other_processes(folders):
    classifier = named(folders, "siglip")
    twin = pickle.loads(pickle.dumps(classifier))
    images = photographs(2, SIZE)
    torch.testing.assert_close(twin.logits(images), classifier.logits(images))
    assert twin.prompts == classifier.prompts
    assert twin.fingerprint() == classifier.fingerprint()


# Which classifier it is


def test_the_fingerprint_knows_prompts_and_text_tower_but_not_rounding(folders):
    first = named(folders, "clip")
    assert named(folders, "clip").fingerprint() == first.fingerprint()
    assert named(folders, "clip", templates="this is {}.").fingerprint() != first.fingerprint()
    assert named(folders, "clip", names=["jay", "tit", "lynx"], class_names=NAMES).fingerprint() != first.fingerprint()
    # Another machine adds up the same text tower in another order.
    first.module.head.embeddings *= 1 + 1e-6
    assert named(folders, "clip").fingerprint() == first.fingerprint()
    model, tokenizer = towers.clip(), towers.word_tokenizer()
    options = {"tokenizer": tokenizer, "mean": 0.5, "std": 0.5} | FAST
    before = Classifier.from_prompts(model, NAMES, **options).fingerprint()
    with torch.no_grad():
        model.text_model.embeddings.token_embedding.weight[4, 0] += 1e-3
    assert Classifier.from_prompts(model, NAMES, **options).fingerprint() != before


@pytest.mark.parametrize("kind", ["clip", "open siglip"])
def test_a_study_goes_on_where_it_was(folders, kind, tmp_path):
    for i, image in enumerate(photographs(4, SIZE)):
        path = tmp_path / "photos" / NAMES[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    data = fk.LabelledImages.from_folder(tmp_path / "photos")
    prompts = {"jay": ["jay", "garrulus glandarius"], "tit": "tit", "owl": ["owl"]}
    options = {"names": prompts, "templates": ["this is {}.", "a photo of {}."]}
    classifier = named(folders, kind, **options)
    study = fk.run_study(classifier, data, ["grad-cam"], store=tmp_path / "run", progress=False)
    assert study.manifest["classifier"]["prompts"] == {
        "names": {"jay": ["jay", "garrulus glandarius"], "tit": ["tit"], "owl": ["owl"]},
        "templates": ["this is {}.", "a photo of {}."],
    }
    # Opened again without the classifier, it makes it again from its name and its prompts.
    opened = fk.open_study(tmp_path / "run")
    assert opened.classifier.prompts == classifier.prompts
    again = fk.run_study(
        named(folders, kind, **options), data, ["grad-cam", "saliency"], store=tmp_path / "run", progress=False
    )
    assert not again.status()["missing"].any()
    other = named(folders, kind, **(options | {"names": prompts | {"jay": "corvid"}}))
    with pytest.raises(
        fk.FidokitError, match=r"prompts of jay was \['jay', 'garrulus glandarius'\] and is \['corvid'\]"
    ):
        fk.run_study(other, data, ["grad-cam"], store=tmp_path / "run", progress=False)
    other = named(folders, kind, **(options | {"templates": "{}"}))
    with pytest.raises(fk.FidokitError, match=r"the first template that differs is number 1"):
        fk.run_study(other, data, ["grad-cam"], store=tmp_path / "run", progress=False)


# What hf: and openclip: find out


def test_hf_tells_a_classifier_from_two_towers(folders, tmp_path):
    config = transformers.CLIPConfig.from_pretrained(folders / "clip")
    config.id2label, config.label2id = dict(enumerate("abc")), {name: i for i, name in enumerate("abc")}
    transformers.CLIPForImageClassification(config).save_pretrained(tmp_path)
    transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}).save_pretrained(
        tmp_path
    )
    classifier = Classifier.load(f"hf:{tmp_path}", **FAST)
    assert classifier.class_names == list("abc")
    assert classifier.prompts is None
    assert Classifier.load(f"hf:{tmp_path}", names=NAMES, **FAST).class_names == NAMES
    with pytest.raises(SettingsError, match="takes no prompts, but names has some for 'jay'"):
        Classifier.load(f"hf:{tmp_path}", names={"jay": "a jay", "tit": "tit", "owl": "owl"})
    with pytest.raises(SettingsError, match="takes no texts; leave out templates"):
        Classifier.load(f"hf:{tmp_path}", names=NAMES, templates="a {}")
    with pytest.raises(ClassifierError, match=r"takes no texts; load it with fidokit.Classifier.load"):
        Classifier.from_prompts(f"hf:{tmp_path}", NAMES)
    with pytest.raises(SettingsError, match=r"no classes of its own; give names="):
        Classifier.load(f"hf:{folders / 'clip'}")


def test_names_of_open_clip(monkeypatch, folders, tmp_path):
    from fidokit.models.loading import _open_clip_name

    def name(text):
        return _open_clip_name(open_clip, text)

    folder = folders / "open vit"
    assert name(str(folder)) == name(f"local-dir:{folder}") == (f"local-dir:{folder}", None)
    assert name("imageomics/bioclip") == name("hf-hub:imageomics/bioclip") == ("hf-hub:imageomics/bioclip", None)
    assert name("ViT-B-32/laion2b_s34b_b79k") == ("ViT-B-32", "laion2b_s34b_b79k")
    assert name("RN50//data/weights.pt") == ("RN50", "/data/weights.pt")
    with pytest.raises(ClassifierError, match=r"names no weights; write openclip:RN50/TAG with one of openai, yfcc15m"):
        name("RN50")
    for wrong in ("", "no-such-model", "gone/away/far", "./gone", "/gone"):
        with pytest.raises(ClassifierError, match="is no folder, no name on the hub"):
            name(wrong)
    # An architecture of open_clip's own with the weights in a file.
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [*open_clip.factory._MODEL_CONFIG_PATHS])
    config, _ = towers.OPEN_CLIP["vit"]
    (tmp_path / "tiny-vit.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-vit.json")
    weights = folder / "open_clip_model.safetensors"
    classifier = Classifier.load(f"openclip:tiny-vit/{weights}", names=NAMES, **FAST)
    images = photographs(2, SIZE)
    torch.testing.assert_close(classifier.logits(images), named(folders, "open vit").logits(images))


def test_a_folder_without_weights_is_no_model(tmp_path):
    folder = towers.open_clip_folder(tmp_path, "vit")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ClassifierError, match=r"could not be loaded: .*weights"):
        Classifier.load(f"openclip:{folder}", names=NAMES)


# What cannot be used


def test_a_text_that_is_too_long_is_refused(folders):
    long = "garrulus glandarius " * 8
    for kind in ("clip", "open vit"):
        with pytest.raises(
            ClassifierError, match=r"the prompt 'a photo of garrulus .* has .*tokens, and the model reads 16"
        ):
            named(folders, kind, names=["jay", long])
    with pytest.raises(ClassifierError, match="has many more tokens"):
        named(folders, "open vit", names=["jay", long * 4])
    # What just fits is what the library makes of it.
    fitting = " ".join(["owl"] * 9)
    assert len(towers.word_tokenizer()(f"a photo of {fitting}.")["input_ids"]) == 15
    assert named(folders, "clip", names=["jay", fitting, f"{fitting} owl"]).class_names[0] == "jay"
    with pytest.raises(ClassifierError, match="17 tokens"):
        named(folders, "clip", names=["jay", f"{fitting} owl owl"])


def test_prompts_that_the_tokenizer_does_not_tell_apart(folders):
    with pytest.raises(
        ClassifierError, match=r"makes the same of 'a photo of jay.' for 'jay' and of 'a photo of JAY.'"
    ):
        named(folders, "clip", names=["jay", "JAY"])
    with pytest.raises(ClassifierError, match=r"makes the same of .*zilpzalp.* in words that it knows"):
        named(folders, "clip", names=["zilpzalp", "kuckuck"])


def test_a_missing_tokenizer(folders, tmp_path):
    with pytest.raises(ClassifierError, match=r"CLIPModel was not loaded from anywhere.*tokenizer=\.\.\."):
        Classifier.from_prompts(towers.clip(), NAMES)
    towers.clip(tmp_path)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ClassifierError, match=r"no tokenizer.*tokenizer.save_pretrained\(FOLDER\)"):
        Classifier.load(f"hf:{tmp_path}", names=NAMES)
    assert Classifier.load(f"hf:{tmp_path}", names=NAMES, tokenizer=towers.word_tokenizer(), **FAST).prompts is not None
    model = open_clip.create_model_from_pretrained(f"local-dir:{folders / 'open vit'}", return_transform=False)
    with pytest.raises(ClassifierError, match=r"CLIP does not know its tokenizer.*open_clip.get_tokenizer\(NAME\)"):
        Classifier.from_prompts(model, NAMES)
    with pytest.raises(ClassifierError, match=r"called as tokenizer\(texts, context_length=N\)"):
        Classifier.from_prompts(model, NAMES, tokenizer=str.split)
    big = open_clip.get_tokenizer("ViT-B-32")
    small = open_clip.create_model(f"local-dir:{folders / 'open siglip'}")
    with pytest.raises(ClassifierError, match="does the tokenizer belong to it"):
        Classifier.from_prompts(small, NAMES, tokenizer=big)


def test_a_model_without_a_text_tower(folders):
    vision = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**towers.VISION))
    for model in (vision, torch.nn.Linear(2, 3)):
        with pytest.raises(
            ClassifierError, match=rf"{type(model).__name__} has no text tower.*fidokit.Classifier\(module"
        ):
            Classifier.from_prompts(model, NAMES)
    with pytest.raises(ClassifierError, match=r"from_prompts"):
        Classifier(towers.clip(), size=64)
    model = open_clip.create_model_from_pretrained(f"local-dir:{folders / 'open vit'}", return_transform=False)
    with pytest.raises(ClassifierError, match=r"from_prompts"):
        Classifier(model, size=64)


def test_one_class_alone_is_no_choice(folders):
    with pytest.raises(SettingsError, match=r"'owl' is the only class.*could be instead"):
        named(folders, "clip", names=["owl"])


def test_photographs_that_the_library_pads(tmp_path):
    folder = towers.open_clip_folder(tmp_path, "vit", resize_mode="longest")
    with pytest.raises(ClassifierError, match=r"padded to a square .*fit='squash'"):
        Classifier.load(f"openclip:{folder}", names=NAMES)
    assert Classifier.load(f"openclip:{folder}", names=NAMES, fit="squash", **FAST).preprocessing.fit == "squash"


def test_weights_that_are_missing(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    towers.clip(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ClassifierError, match=r"has no weights for visual_projection.weight.*at random"):
        Classifier.load(f"hf:{tmp_path}", names=NAMES)


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    folder = towers.open_clip_folder(tmp_path / "open", "siglip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"]["trust_remote_code"] = True
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    towers.clip(tmp_path / "hf")
    for place in (folder, tmp_path / "hf"):
        own = json.loads((place / "tokenizer_config.json").read_text())
        own |= {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
        (place / "tokenizer_config.json").write_text(json.dumps(own))
        (place / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(ClassifierError, match="comes with code of its own"):
        Classifier.load(f"openclip:{folder}", names=NAMES)
    with contextlib.suppress(ClassifierError):  # or read as CLIP's own kind
        Classifier.load(f"hf:{tmp_path / 'hf'}", names=NAMES)
    assert not (tmp_path / "run").exists()
