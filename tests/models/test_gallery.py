"""`Gallery`: logits against brute force, the query left out of its own references, what is said of bad references."""

from __future__ import annotations

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import fidokit as fk
from fidokit import testbed
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models import similarity
from fidokit.models.classifier import with_precision
from fidokit.models.similarity import References, embeddings_of, picture_of

SIDE = 64
OPTIONS = {"mean": 0.5, "std": 0.25, "size": SIDE, "device": "cpu", "precision": "float32", "micro_batch": 8}


def network(width: int = 12) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, width, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Nine pictures of three individuals."""
    return testbed.individuals(9, 11, 3, size=SIDE, folder=tmp_path_factory.mktemp("birds") / "drawn")


@pytest.fixture(scope="module")
def queries(tmp_path_factory):
    return testbed.individuals(4, 12, 3, size=SIDE, folder=tmp_path_factory.mktemp("queries") / "drawn")


@pytest.fixture(scope="module")
def gallery(birds):
    return fk.Gallery(network(), birds, **OPTIONS)


def inputs(data, classifier):
    return torch.stack([data.load(i, classifier.preprocessing)[0] for i in range(len(data))])


def unit(images):
    with torch.no_grad():
        return nn.functional.normalize(network()((images - 0.5) / 0.25), dim=1)


@pytest.mark.parametrize("rule", ["nearest", "mean"])
def test_logits_are_scaled_cosines(birds, queries, rule):
    made = fk.Gallery(network(), birds, rule=rule, temperature=0.2, **OPTIONS)
    cosines = unit(inputs(queries, made)) @ unit(inputs(birds, made)).T
    expected = torch.empty(len(queries), 3)
    for i in range(len(queries)):
        for k, name in enumerate(made.class_names):
            own = [float(cosines[i, j]) for j in range(len(birds)) if birds.table["label"].iloc[j] == name]
            expected[i, k] = max(own) if rule == "nearest" else sum(own) / len(own)
    assert torch.allclose(made.logits(queries), expected / 0.2, atol=1e-4)
    assert torch.allclose(made.similarities(queries), cosines, atol=1e-5)
    assert made.class_names == ["bird 01", "bird 02", "bird 03"]


@pytest.mark.parametrize("rule", ["nearest", "mean"])
def test_the_query_is_left_out_of_the_references(birds, rule):
    made = fk.Gallery(network(), birds, rule=rule, temperature=0.2, **OPTIONS)
    images = inputs(birds, made)
    with pytest.warns(RuntimeWarning, match="among its own references"):
        logits = made.logits(birds)
    similarities = made.similarities(images)
    assert torch.equal(torch.isnan(similarities), torch.eye(len(birds), dtype=torch.bool))
    for i in range(3):
        others = fk.Gallery(
            network(), birds.subset([j for j in range(9) if j != i]), rule=rule, temperature=0.2, **OPTIONS
        )
        assert torch.allclose(logits[i], others.logits(images[i : i + 1])[0], atol=1e-5)
    # Said once a gallery, not once an image.
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        made.predict(birds)


def test_an_only_reference_leaves_its_individual_as_far_as_can_be(birds):
    few = birds.subset(birds.table["label"].drop_duplicates().index.tolist())
    made = fk.Gallery(network(), few, temperature=0.5, **OPTIONS)
    with pytest.warns(RuntimeWarning, match="left out"):
        logits = made.logits(few)
    own = [made.class_names.index(label) for label in few.table["label"]]
    assert logits[range(3), own].tolist() == [-2.0] * 3


@pytest.mark.filterwarnings("ignore:photographs that the gallery")
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("grad-cam", {}),
        ("fido", {"steps": 3}),
        ("integrated-gradients", {}),
        ("occlusion", {}),
        ("rise", {"samples": 32}),
    ],
)
def test_masks_are_those_of_a_gallery_without_the_query(birds, gallery, method, settings):
    """Whatever a method makes of the query, the reference that it is does not come back."""
    rows = [0, 4]
    several = birds.subset([*rows, 5])
    together = fk.explain(gallery, several, method, targets=list(several.table["label"]), **settings)
    assert together.image_ids == several.table["image_id"].tolist()
    for place, row in enumerate(rows):
        without = birds.subset([j for j in range(9) if j != row])
        other = fk.Gallery(network(), without, temperature=gallery.temperature, **OPTIONS)
        one = birds.subset([row])
        alone = fk.explain(other, one, method, targets=list(one.table["label"]), **settings)
        for kind, mask in alone.kinds.items():
            assert torch.allclose(together[kind][place], mask[0], atol=2e-3), (method, kind)
            assert torch.allclose(together.score_kept[kind][place], alone.score_kept[kind][0], atol=1e-4)
            assert torch.allclose(together.score_dropped[kind][place], alone.score_dropped[kind][0], atol=1e-4)
        assert torch.allclose(together.score_full[place], alone.score_full[0], atol=1e-4)


@pytest.mark.filterwarnings("ignore:photographs that the gallery")
def test_regions_metrics_and_second_looks_leave_the_query_out(birds, gallery, tmp_path):
    row = 0
    other = fk.Gallery(
        network(), birds.subset([j for j in range(9) if j != row]), temperature=gallery.temperature, **OPTIONS
    )
    one = birds.subset([row])
    several = birds.subset([row, 5])
    masks = fk.explain(gallery, several, "grad-cam")
    expected = fk.explain(other, one, "grad-cam")
    regions, alone = (fk.find_regions(*pair).to_frame() for pair in ((gallery, masks), (other, expected)))
    mine = regions[regions["image_id"] == one.table["image_id"].iloc[0]]
    assert mine["area"].tolist() == alone["area"].tolist()
    assert np.allclose(mine["score"], alone["score"], atol=1e-3)
    values = []
    for made, data, name in ((gallery, several, "a"), (other, one, "b")):
        study = fk.run_study(made, data, ["grad-cam"], store=tmp_path / name, progress=False)
        values.append(study.metrics(progress=False).iloc[0])
    for name in ("insertion", "deletion", "road"):
        assert values[0][name] == pytest.approx(values[1][name], abs=1e-3), name
    scores = [
        fk.MaskGuidedClassifier(made, method="grad-cam", gate=1.0, weight=0.5).scores(data)[0]
        for made, data in ((gallery, several), (other, one))
    ]
    assert torch.allclose(*scores, atol=1e-3)


def test_a_context_says_what_is_left_out(birds, gallery):
    images = inputs(birds, gallery)
    with pytest.warns(RuntimeWarning) if not gallery._made._met.told else warnings.catch_warnings():
        found = gallery.left_out(images)
    assert found == [(i,) for i in range(9)]
    changed = (images[:1] * 0.7 + 0.1).clamp(0, 1)
    assert gallery.left_out(changed) == [()]
    with gallery.leaving_out(found[0]):
        inside = gallery.logits(changed)
    without = fk.Gallery(network(), birds.subset(range(1, 9)), temperature=gallery.temperature, **OPTIONS)
    assert torch.allclose(inside, without.logits(changed), atol=1e-5)
    assert not torch.allclose(inside, gallery.logits(changed), atol=1e-5)
    # Another gallery inside the context is not concerned.
    with gallery.leaving_out(found[0]):
        assert torch.equal(without.logits(changed), inside)


def test_the_same_photograph_is_recognised_and_another_is_not(birds, gallery, tmp_path):
    photograph = birds.open(2)
    photograph.save(tmp_path / "copy.jpg", quality=80)
    as_jpeg = torch.from_numpy(np.array(Image.open(tmp_path / "copy.jpg"))).permute(2, 0, 1)[None].float() / 255
    assert gallery.left_out(as_jpeg) == [(2,)]
    assert gallery.left_out(as_jpeg.flip(3)) == [()]
    # The next frame of a burst: the same place, and the bird without its mark.
    without = torch.from_numpy(np.array(testbed.without_part(birds, 2, "mark"))).permute(2, 0, 1)[None].float() / 255
    assert gallery.left_out(without) == [()]
    # Dark pictures are told apart as well as bright ones.
    dark = torch.stack([0.01 * torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    pictures = picture_of((dark - 0.5) / 0.25)
    made = References(
        torch.eye(2),
        torch.arange(2),
        2,
        pictures,
        rule="nearest",
        temperature=1.0,
        names=["a", "b"],
        digest="",
        scale=4.0,
    )
    assert torch.equal(made.same(pictures), torch.eye(2, dtype=torch.bool))


def test_equal_pictures_among_thousands_by_brute_force():
    generator = torch.Generator().manual_seed(5)
    pictures = torch.randn(1500, 1024, generator=generator) * torch.rand(1500, 1, generator=generator)
    pictures = torch.cat([pictures, pictures[:40] + 0.02 * torch.randn(40, 1024, generator=generator), pictures[:3]])
    made = References(
        torch.rand(len(pictures), 4),
        torch.zeros(len(pictures), dtype=torch.int64),
        1,
        pictures,
        **{"rule": "nearest", "temperature": 1.0, "names": [], "digest": "", "scale": 4.0},
    )
    asked = pictures[:50]
    distance = (asked.double()[:, None] - (pictures * 1024).round().double() / 1024).square().mean(2).sqrt()
    limit = (asked.double().std(1, correction=0) * 0.1).clamp(max=4 * 2 / 255) + 1 / 1024
    expected = distance <= limit[:, None]
    assert torch.equal(made.same(asked), expected)
    assert 53 < int(expected.sum()) < 110


def test_gradients_are_those_of_the_nearest_reference(gallery, queries):
    image = inputs(queries, gallery)[:1]
    normalised = ((image - 0.5) / 0.25).requires_grad_(True)
    (gradient,) = torch.autograd.grad(gallery.module(normalised)[0, 1], normalised)
    again = normalised.detach().requires_grad_(True)
    cosines = nn.functional.normalize(gallery.module.module(again), dim=1) @ gallery._made.embeddings.T
    own = cosines[0, gallery._made.individual == 1].max() / gallery.temperature
    (expected,) = torch.autograd.grad(own, again)
    assert torch.allclose(gradient, expected, atol=1e-6)
    assert float(gradient.abs().max()) > 0


def test_temperature_by_brute_force(birds):
    made = fk.Gallery(network(), birds, **OPTIONS)
    units = unit(inputs(birds, made))
    cosines = (units @ units.T).double()
    labels = birds.table["label"].tolist()
    losses = {}
    for k in range(49):
        t = round(0.01 * 1.1**k, 4)
        total = 0.0
        for i in range(9):
            scores = torch.tensor(
                [
                    max(float(cosines[i, j]) for j in range(9) if j != i and labels[j] == name)
                    for name in made.class_names
                ]
            )
            target = torch.full((3,), (1 - 10 / 11) / 2, dtype=torch.float64)
            target[made.class_names.index(labels[i])] = 10 / 11
            total -= float((target * (scores.double() / t).log_softmax(0)).sum())
        losses[t] = total
    assert made.temperature == min(losses, key=losses.get)
    assert "each left out in turn" in repr(made)
    few = birds.subset(birds.table["label"].drop_duplicates().index.tolist())
    lonely = fk.Gallery(network(), few, **OPTIONS)
    assert lonely.temperature == 0.07
    assert "no individual has two references" in repr(lonely)


def test_low_precision_keeps_the_cosines(birds, queries, gallery):
    low = with_precision(gallery, "bfloat16", 8)
    assert isinstance(low, fk.Gallery)
    with low.session() as session:
        made = similarity.similarities_in(session.module).references
        assert made.embeddings.dtype == torch.float32
        assert made.pictures.dtype == torch.int16
    assert torch.allclose(
        low.logits(queries) * low.temperature, gallery.logits(queries) * gallery.temperature, atol=0.02
    )


def test_a_copy_in_another_process_is_the_same(gallery, queries, birds):
    again = pickle.loads(pickle.dumps(gallery))
    assert torch.equal(again.logits(queries), gallery.logits(queries))
    assert again.fingerprint() == gallery.fingerprint() == fk.Gallery(network(), birds, **OPTIONS).fingerprint()


def test_the_fingerprint_covers_all_references(birds, gallery, tmp_path):
    others = {
        "one less": fk.Gallery(network(), birds.subset(range(8)), temperature=gallery.temperature, **OPTIONS),
        "temperature": fk.Gallery(network(), birds, temperature=0.3, **OPTIONS),
        "rule": fk.Gallery(network(), birds, rule="mean", temperature=gallery.temperature, **OPTIONS),
    }
    # A reference that no query is nearest to, so that logits alone would not tell.
    table = birds.table.copy()
    Image.fromarray(255 - np.asarray(birds.open(8))).save(tmp_path / "other.png")
    table.loc[8, "path"] = str(tmp_path / "other.png")
    others["another photograph"] = fk.Gallery(
        network(), fk.LabelledImages(table, birds.root), temperature=gallery.temperature, **OPTIONS
    )
    prints = [gallery.fingerprint(), *(made.fingerprint() for made in others.values())]
    assert len(set(prints)) == len(prints)


def test_study_resumes_opens_again_and_refuses_other_references(birds, queries, tmp_path):
    made = fk.Gallery(network(), birds, **OPTIONS)
    first = fk.run_study(made, queries, ["grad-cam"], against="runner-up", store=tmp_path / "s", progress=False)
    masks = first.masks()
    assert not first.failures().shape[0]
    assert (masks["target"] != masks["against"]).all()
    logits = made.logits(queries)
    expected = [made.class_names[i] for i in logits.topk(2).indices[:, 1].tolist()]
    assert masks["against"].tolist() == expected
    again = fk.Gallery(network(), birds, **OPTIONS)
    study = fk.run_study(
        again, queries, ["grad-cam", "occlusion"], against="runner-up", store=tmp_path / "s", progress=False
    )
    assert study.methods == ["grad-cam", "occlusion"]
    opened = fk.open_study(tmp_path / "s", classifier=fk.Gallery(network(), birds, **OPTIONS), data=queries)
    assert opened.metrics(progress=False)["insertion"].notna().any()
    with pytest.raises(fk.FidokitError, match="differ"):
        fk.open_study(tmp_path / "s", classifier=fk.Gallery(network(), birds.subset(range(8)), **OPTIONS))
    page = fk.write_report(study, tmp_path / "report.html")
    assert "bird 01" in page.read_text(encoding="utf-8")


def made_by_function():
    """What ``python:module:function`` names."""
    from study_cases import GALLERY

    return fk.Gallery(network(), GALLERY["birds"], **OPTIONS)


def test_a_function_names_a_gallery(birds, gallery, monkeypatch):
    import study_cases

    monkeypatch.setattr(study_cases, "GALLERY", {"birds": birds}, raising=False)
    loaded = fk.Classifier.load(f"python:{__name__}:made_by_function")
    assert isinstance(loaded, fk.Gallery)
    assert loaded.fingerprint() == gallery.fingerprint()
    with pytest.raises(SettingsError, match="python:module:function"):
        fk.Gallery.load("timm:resnet18")


# What a module may return


class Backbone(nn.Module):
    """A transformers backbone without its library."""

    def __init__(self, output):
        super().__init__()
        self.output = output
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))

    def forward(self, x):
        return self.output


def test_embeddings_of_what_modules_return():
    tokens, plane, plain = torch.rand(2, 5, 4), torch.rand(2, 4, 3, 3), nn.Identity()
    pooled = torch.rand(2, 4)
    assert embeddings_of(pooled, plain) is pooled
    assert torch.allclose(embeddings_of(plane, plain), plane.mean((2, 3)))
    both = SimpleNamespace(last_hidden_state=tokens, pooler_output=pooled)
    assert embeddings_of(both, plain) is pooled
    # Convolutional backbones of transformers give (B, D, 1, 1).
    assert torch.equal(embeddings_of({"pooler_output": pooled[:, :, None, None]}, plain), pooled)
    assert torch.equal(embeddings_of(SimpleNamespace(last_hidden_state=tokens), plain), tokens.mean(1))
    unpooled = SimpleNamespace(last_hidden_state=tokens, pooler_output=None)
    assert torch.equal(embeddings_of(unpooled, Backbone(None)), tokens[:, 0])
    for output, message in (
        (SimpleNamespace(logits=pooled), "scores of classes, not embeddings"),
        ({"logits": pooled}, "scores of classes"),
        ({"a": pooled}, "a dict with 'a'"),
        ((pooled, tokens), "returned tuple"),
        (torch.zeros(2, 4, dtype=torch.int64), "int64 values"),
        (torch.zeros(2), r"shape \(2,\)"),
    ):
        with pytest.raises(ClassifierError, match=message):
            embeddings_of(output, plain)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_backbones_of_timm_and_transformers(birds, queries):
    timm = pytest.importorskip("timm", reason="needs timm, the extra `timm`")
    transformers = pytest.importorskip("transformers", reason="needs transformers, the extra `transformers`")
    options = {name: value for name, value in OPTIONS.items() if name not in ("mean", "std", "size")}
    torch.manual_seed(0)
    resnet = timm.create_model("resnet18", num_classes=0)
    made = fk.Gallery(resnet, birds, size=SIDE, **options)
    assert made.preprocessing.mean == tuple(resnet.pretrained_cfg["mean"])
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    assert fk.Gallery(swin, birds.subset([0, 1, 2]), **options).size == (224, 224)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=SIDE
    )
    vit = transformers.ViTModel(config, add_pooling_layer=False)
    made = fk.Gallery(vit, birds, **options)
    assert made.size == (SIDE, SIDE)
    images = (inputs(queries, made) - torch.tensor(made.preprocessing.mean).view(1, 3, 1, 1)) / torch.tensor(
        made.preprocessing.std
    ).view(1, 3, 1, 1)
    with torch.no_grad():
        tokens = nn.functional.normalize(vit.eval()(images).last_hidden_state[:, 0], dim=1)
    assert torch.allclose(made.similarities(queries), tokens @ made._made.embeddings.T, atol=1e-4)
    with pytest.warns(UserWarning, match="head of 1000 classes"):
        fk.Gallery(timm.create_model("resnet18"), birds.subset([0, 1, 2]), size=SIDE, **options)
    headed = transformers.ViTForImageClassification(config)
    with pytest.raises(ClassifierError, match="scores of classes, not embeddings"):
        fk.Gallery(headed, birds, **options)


def test_a_module_of_one_channel_and_a_layer(birds, queries):
    grey = nn.Sequential(nn.Conv2d(1, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made = fk.Gallery(grey, birds, layer="0", **OPTIONS)
    assert "one channel" in repr(made)
    with pytest.warns(RuntimeWarning, match="left out"):
        assert bool(torch.isnan(made.similarities(birds)).diag().all())
    assert made.left_out(inputs(birds, made)[3:4]) == [(3,)]
    assert len(fk.explain(made, queries, "grad-cam")) == len(queries)


# Bad references


def test_references_that_cannot_be_used(birds, tmp_path):
    table = birds.table.copy()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    table.loc[0, "path"] = str(tmp_path / "broken.png")
    table.loc[1, "path"] = str(tmp_path / "nowhere.png")
    table.loc[2, "label"] = None
    first, second = (birds.table["label"].iloc[i] for i in range(2))
    with pytest.warns(RuntimeWarning, match="3 references cannot be used"):
        made = fk.Gallery(network(), fk.LabelledImages(table, birds.root), **OPTIONS)
    assert made.failures["image_id"].tolist() == birds.table["image_id"].iloc[:3].tolist()
    assert made.failures["label"].iloc[:2].tolist() == [first, second]
    assert "broken.png" in made.failures["reason"][0]
    assert "nowhere.png" in made.failures["reason"][1]
    assert "no label" in made.failures["reason"][2]
    assert len(made.references) == 6
    assert "6 references (3 could not be used)" in repr(made)


def test_an_individual_none_of_whose_references_can_be_read(birds, queries, tmp_path):
    table = birds.table.copy()
    table.loc[table["label"] == "bird 02", "path"] = str(tmp_path / "nowhere.png")
    with pytest.warns(RuntimeWarning, match="1 individuals have no other and are no answer of the gallery: 'bird 02'"):
        made = fk.Gallery(network(), fk.LabelledImages(table, birds.root), **OPTIONS)
    assert made.class_names == ["bird 01", "bird 03"]
    assert made.logits(queries).shape == (4, 2)
    with pytest.warns(RuntimeWarning, match="does not know 1 of"):
        made.predict(queries)
    table.loc[table["label"] == "bird 03", "path"] = str(tmp_path / "nowhere.png")
    with pytest.warns(RuntimeWarning), pytest.raises(ClassifierError, match="only 'bird 01' has a reference"):
        fk.Gallery(network(), fk.LabelledImages(table, birds.root), **OPTIONS)


def test_individuals_asked_for(birds):
    made = fk.Gallery(network(), birds, individuals=["bird 03", "bird 01"], **OPTIONS)
    assert made.class_names == ["bird 03", "bird 01"]
    assert set(made.references.table["label"]) == {"bird 01", "bird 03"}
    with pytest.raises(SettingsError, match="'bird 09' has no reference"):
        fk.Gallery(network(), birds, individuals=["bird 01", "bird 09"], **OPTIONS)
    with pytest.raises(SettingsError, match="twice"):
        fk.Gallery(network(), birds, individuals=["bird 01", "bird 01"], **OPTIONS)


def test_a_single_individual(birds):
    with pytest.raises(ClassifierError, match="only one individual, 'bird 01'"):
        fk.Gallery(network(), birds.subset(birds.table["label"] == "bird 01"), **OPTIONS)
    nobody = birds.table.assign(label=None)
    with pytest.raises(ClassifierError, match="no labelled photograph"):
        fk.Gallery(network(), fk.LabelledImages(nobody, birds.root), **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "median"}, "unknown rule 'median'; choose nearest or mean"),
        ({"temperature": 0}, "temperature"),
        ({"class_names": ["a", "b"]}, "takes no class_names"),
        ({"head": "sigmoid"}, "takes no head"),
    ],
)
def test_options_that_cannot_be_used(birds, options, message):
    with pytest.raises(SettingsError, match=message):
        fk.Gallery(network(), birds, **OPTIONS | options)


def test_arguments_of_other_types(birds):
    with pytest.raises(SettingsError, match="LabelledImages"):
        fk.Gallery(network(), birds.table, **OPTIONS)
    with pytest.raises(ClassifierError, match=r"torch\.nn\.Module"):
        fk.Gallery("resnet", birds, **OPTIONS)


def test_embeddings_that_are_no_numbers(birds):
    class Broken(nn.Module):
        def forward(self, x):
            pooled = x.mean((2, 3))
            return torch.where(x.mean((1, 2, 3))[:, None] > limit, pooled, torch.nan)

    limit = -1e9
    means = ((inputs(birds, fk.Gallery(network(), birds, **OPTIONS)) - 0.5) / 0.25).mean((1, 2, 3))
    limit = float(means.sort().values[:2].mean())
    with pytest.warns(RuntimeWarning, match="1 references cannot be used"):
        made = fk.Gallery(Broken(), birds, **OPTIONS)
    assert made.failures["reason"].str.contains("NaN").all()


def test_one_photograph_of_two_individuals(birds):
    table = pd.concat([birds.table, birds.table.iloc[[0]].assign(image_id="again", label="bird 99")], ignore_index=True)
    with pytest.warns(RuntimeWarning, match="references of two individuals, such as .* 'bird 99': one of these labels"):
        fk.Gallery(network(), fk.LabelledImages(table, birds.root), **OPTIONS)


def test_names_of_strangers_are_escaped(birds, queries, tmp_path):
    bad = "<script>alert(1)</script>"
    table = birds.table.assign(label=birds.table["label"].replace("bird 01", bad))
    made = fk.Gallery(network(), fk.LabelledImages(table, birds.root), **OPTIONS)
    assert bad in made.class_names
    assert bad not in made._repr_html_()
    study = fk.run_study(made, queries, ["grad-cam"], store=tmp_path / "s", progress=False)
    assert bad not in fk.write_report(study, tmp_path / "r.html").read_text(encoding="utf-8")
