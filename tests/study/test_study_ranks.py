"""Studies over several ranks: what is stored, gone on with, refused, measured and shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from nets import PATCH_SIZE, TwoRanks, two_marks
from PIL import Image

import fidokit as fk
from fidokit.cli import main
from fidokit.errors.wrong_labels import likely_wrong_labels
from fidokit.exceptions import SettingsError, StoreError
from fidokit.study.ordering import mask_figures
from fidokit.study.run import open_study, run_study
from fidokit.study.verdicts import verdicts

SPECIES = ["Aa alba", "Aa nigra", "Bb alba", "Bb nigra"]
#: (genus, species) marks and the label of each photograph; one prediction in each rank is wrong.
PHOTOS = [
    (0, 0, "Aa alba"),
    (0, 1, "Aa"),
    (1, 0, "Bb alba"),
    (1, 1, "Bb alba"),
    (0, 0, "Bb"),
    (1, 1, "newt"),
]
RANKS = ["genus", "species"]


def classifier(**options) -> fk.Classifier:
    options = {"taxonomy": fk.Taxonomy.from_binomials(SPECIES)} | options
    return fk.Classifier(
        TwoRanks(), SPECIES, mean=0.0, std=1.0, size=PATCH_SIZE, device="cpu", precision="float32", micro_batch=8,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> fk.LabelledImages:
    folder = tmp_path_factory.mktemp("marks")
    rows = []
    for i, (genus, species, label) in enumerate(PHOTOS):
        pixels = (two_marks(genus, species)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        path = folder / f"{i}.png"
        Image.fromarray(pixels).save(path)
        rows.append({"image_id": str(i), "path": str(path), "label": label})
    return fk.LabelledImages.from_table(pd.DataFrame(rows))


pytestmark = pytest.mark.filterwarnings("ignore:the classifier does not know 1 of 5 labels")


@pytest.fixture(scope="module")
def study(photographs, tmp_path_factory) -> fk.Study:
    with pytest.warns(RuntimeWarning, match="does not know 1 of 5 labels.*'newt'"):
        return run_study(
            classifier(), photographs, ["saliency", "grad-cam"], store=tmp_path_factory.mktemp("ranks") / "run",
            ranks=RANKS, progress=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def measured(study) -> fk.Study:
    with pytest.warns(RuntimeWarning, match="2 mosaics"):
        study.metrics(progress=False)
    return study


class TestTable:
    def test_every_method_stands_there_at_every_rank(self, study):
        assert study.methods == ["saliency (genus)", "saliency (species)", "grad-cam (genus)", "grad-cam (species)"]
        masks = study.masks().set_index(["image_id", "method"])
        assert masks.loc[("3", "grad-cam (genus)"), "target"] == "Bb"
        assert pd.isna(masks.loc[("3", "grad-cam (genus)"), "against"])
        assert masks.loc[("3", "grad-cam (species)"), ["target", "against"]].tolist() == ["Bb nigra", "rest of Bb"]
        assert study.failures().empty

    def test_the_masks_are_those_of_explain(self, study, photographs):
        for rank in RANKS:
            alone = fk.explain(classifier(), photographs, "grad-cam", rank=rank).at("attribution")
            stored = study.mask_array(f"grad-cam ({rank})", "attribution")
            np.testing.assert_allclose(stored, alone.numpy(), atol=1e-3)

    def test_each_rank_has_settings_of_its_own(self, study):
        ids = [study.manifest["methods"][label]["settings_id"] for label in study.methods]
        assert len(set(ids)) == 4
        stored = study.masks(columns=["method", "settings_id"]).drop_duplicates()
        assert stored["settings_id"].tolist() == ids

    def test_labels_are_judged_at_their_rank(self, study):
        table = study.predictions()
        assert table["correct"].tolist() == [True, True, True, False, False, pd.NA]
        assert table["wrong_at"].tolist() == [None, None, None, "species", "genus", None]
        assert table["rollup"].tolist() == table["predicted"].tolist()
        shares = study.accuracy_by_rank().set_index("rank")
        assert shares["n"].to_dict() == {"genus": 5, "species": 3}
        assert shares["right"].to_dict() == {"genus": 4, "species": 2}
        assert study.errors_by_rank()["n"].tolist() == [1, 1]


class TestGoingOn:
    def test_more_ranks_and_methods_are_added(self, photographs, tmp_path):
        run_study(classifier(), photographs, "saliency", store=tmp_path, ranks="genus", progress=False)
        before = (tmp_path / "masks").stat().st_mtime_ns, sorted(p.name for p in (tmp_path / "masks").iterdir())
        more = run_study(classifier(), photographs, "saliency", store=tmp_path, ranks=RANKS, progress=False)
        assert more.methods == ["saliency (genus)", "saliency (species)"]
        assert set(before[1]) < {p.name for p in (tmp_path / "masks").iterdir()}
        plain = run_study(classifier(), photographs, "saliency", store=tmp_path, progress=False)
        assert plain.methods[-1] == "saliency"
        assert plain.masks("saliency")["target"].tolist() == plain.predictions()["predicted"].tolist()
        assert plain.check()["state"].eq("intact").all()

    def test_a_run_that_was_stopped_goes_on(self, photographs, study, tmp_path, capsys):
        looks = []
        stop = lambda snapshot: looks.append(snapshot) or len(looks) > 1  # noqa: E731
        options = {"store": tmp_path, "ranks": RANKS, "progress": False, "part_size": 2}
        quick = {"quick": ("fido", {"steps": 4, "check_every": 2})}
        run_study(classifier(), photographs, quick, on_progress=stop, **options)
        assert "Stopped." in capsys.readouterr().err
        gone_on = run_study(classifier(), photographs, quick, **options)
        assert gone_on.status()["missing"].sum() == 0
        for rank in RANKS:
            alone = fk.explain(classifier(), photographs, "fido", rank=rank, steps=4, check_every=2).at("joint")
            stored = gone_on.mask_array(f"quick ({rank})", "joint")
            np.testing.assert_allclose(stored, alone.numpy(), atol=1e-3)

    def test_the_same_label_with_another_question_is_refused(self, photographs, study):
        with pytest.raises(StoreError, match=r"'saliency \(species\)'.*within was 'genus' and is 'all'"):
            run_study(
                classifier(), photographs, "saliency", store=study.path, ranks=[("species", "all")], progress=False
            )

    def test_it_opens_again_with_its_taxonomy(self, study, photographs):
        again = open_study(study.path)
        assert again.taxonomy == classifier().taxonomy
        pd.testing.assert_frame_equal(again.predictions(), study.predictions())
        # The classifier as it is loaded everywhere, without a taxonomy, is the same one.
        assert open_study(study.path, classifier(taxonomy=None)).classifier.taxonomy == again.taxonomy

    def test_a_named_classifier_is_found_with_its_taxonomy(self, tmp_path):
        data = fk.testbed.load(4, folder=tmp_path / "birds")
        clf = fk.Classifier.load("python:fidokit.testbed:classifier")
        clf = clf.with_taxonomy(dict.fromkeys(clf.class_names[:4], "tit"))
        run_study(clf, data, "saliency", store=tmp_path / "run", ranks="group", progress=False)
        assert open_study(tmp_path / "run").classifier.taxonomy == clf.taxonomy

    def test_another_taxonomy_is_refused(self, study):
        other = {"Aa alba": "white", "Bb alba": "white"}
        with pytest.raises(StoreError, match="ranks of the taxonomy were genus, species and are group"):
            open_study(study.path, classifier(taxonomy=other))
        swapped = fk.Taxonomy({name: ("Aa", name) for name in SPECIES}, ("genus", "species"))
        with pytest.raises(StoreError, match="taxa of the class 'Bb alba' were"):
            open_study(study.path, classifier(taxonomy=swapped))

    def test_a_study_without_one_takes_that_of_the_classifier(self, photographs, tmp_path):
        with pytest.warns(RuntimeWarning, match="does not know 3 of 5 labels"):
            bare = run_study(classifier(taxonomy=None), photographs, "saliency", store=tmp_path, progress=False)
        assert bare.predictions()["correct"].isna().sum() == 3
        assert "rollup" not in bare.predictions()
        with pytest.raises(SettingsError, match="has no taxonomy; open it with a classifier that has one"):
            bare.accuracy_by_rank()
        assert open_study(tmp_path, classifier()).predictions()["correct"].isna().sum() == 1
        assert open_study(tmp_path).taxonomy is None  # opening it changes nothing
        with pytest.warns(RuntimeWarning, match="goes on with that of the classifier"):
            run_study(classifier(), photographs, "saliency", store=tmp_path, ranks=RANKS, progress=False)
        assert open_study(tmp_path).taxonomy == classifier().taxonomy
        assert open_study(tmp_path).check()["state"].eq("intact").all()


class TestTargets:
    def test_labels_that_are_taxa_are_explained_as_taxa(self, photographs, tmp_path):
        study = run_study(classifier(), photographs, "saliency", store=tmp_path, targets="label", progress=False)
        assert study.masks()["target"].tolist() == ["Aa alba", "Aa", "Bb alba", "Bb alba", "Bb"]
        assert study.failures()["reason"].tolist() == ["the classifier knows no class 'newt'"]

    def test_the_runner_up_at_a_rank_is_the_best_taxon_beside(self, photographs, tmp_path):
        study = run_study(
            classifier(), photographs, "saliency", store=tmp_path, against="runner-up", ranks="genus", progress=False
        )
        pairs = list(study.masks()[["target", "against"]].itertuples(index=False, name=None))
        assert pairs == [("Aa", "Bb"), ("Aa", "Bb"), ("Bb", "Aa"), ("Bb", "Aa"), ("Aa", "Bb"), ("Bb", "Aa")]

    def test_a_named_rival_is_contrasted_where_it_does_not_overlap(self, photographs, tmp_path):
        study = run_study(
            classifier(), photographs, "saliency", store=tmp_path, against="Bb", ranks="genus", progress=False
        )
        assert set(study.masks()["target"]) == {"Aa"}
        failures = study.failures()
        assert failures["image_id"].tolist() == ["2", "3", "5"]
        assert failures["stage"].eq("target").all()

    @pytest.mark.parametrize(
        ("ranks", "message"),
        [
            (["tribe"], "no rank 'tribe'; it has genus, species"),
            ([], "`ranks` is empty"),
            (["genus", "genus"], "stands twice"),
            ([("genus", "species")], "'species' must be a coarser rank"),
            ([3], "names of ranks, or pairs"),
        ],
    )
    def test_ranks_that_cannot_be(self, photographs, tmp_path, ranks, message):
        with pytest.raises(SettingsError, match=message):
            run_study(classifier(), photographs, "saliency", store=tmp_path, ranks=ranks, progress=False)
        with pytest.raises(SettingsError, match="needs a classifier with a taxonomy"):
            run_study(classifier(taxonomy=None), photographs, "saliency", store=tmp_path, ranks="genus", progress=False)

    def test_a_rank_of_one_taxon_is_refused(self, photographs, tmp_path):
        with pytest.raises(SettingsError, match="all classes are of one group, 'bird'"):
            run_study(
                classifier(taxonomy=dict.fromkeys(SPECIES, "bird")), photographs, "saliency", store=tmp_path,
                ranks="group", progress=False,
            )  # fmt: skip


class TestShown:
    def test_metrics_are_measured_for_what_each_mask_explains(self, measured):
        table = measured.metrics(progress=False).groupby("method")["deletion"].mean()
        # Without its mark a genus, and a species within it, falls to one half.
        assert (table < 0.75).all()
        figures = measured.metrics(progress=False).set_index(["image_id", "method"])
        assert figures["agreement"].notna().any()
        assert "rest of Aa" in set(mask_figures(measured)["against"])

    def test_methods_agree_with_others_of_their_rank_alone(self, measured):
        assert measured.comparable("saliency (genus)") == ["grad-cam (genus)"]

    def test_verdicts_compare_methods_of_one_rank(self, measured):
        told = [sentence for sentence in verdicts(measured) if ", deletion " in sentence]
        assert len(told) == 2
        for rank, other, sentence in zip(RANKS, RANKS[::-1], told, strict=True):
            assert f"grad-cam ({rank})" in sentence
            assert f"({other})" not in sentence

    def test_the_page_says_what_each_mask_explains(self, measured, tmp_path):
        page = fk.write_report(measured, tmp_path / "page.html").read_text(encoding="utf-8")
        assert "Aa alba rather than rest of Aa" in page
        assert "How far the predictions are right" in page
        assert "Bb alba taken for Bb nigra (1)" in page

    def test_the_widgets_show_ranks_side_by_side(self, measured):
        widget = fk.CompareWidget(measured, page_size=1)
        assert widget.panels == measured.methods
        assert [cell["asked"] for cell in widget._rows[0]["cells"]][:2] == ["Aa", "Aa alba rather than rest of Aa"]
        assert "Aa alba rather than rest of Aa" in widget._repr_mimebundle_()[0]["text/html"]

    def test_a_taxon_can_be_chosen_in_the_widget(self, photographs):
        widget = fk.ExplainWidget(classifier(), photographs, method="saliency", baselines=())
        assert widget._classes == SPECIES
        assert [name for name, *_ in widget._taxa] == ["Aa", "Bb"]
        widget.target = "Aa"
        widget.start()
        assert widget.wait(60)
        assert widget.result.target == ["Aa"]
        widget.target, widget.against = "Aa alba", "Aa"
        with pytest.raises(SettingsError, match="'Aa' contains 'Aa alba'"):
            widget.start()

    def test_errors_are_grouped_with_coarse_labels(self, measured):
        errors = fk.find_error_clusters(measured, method="grad-cam (species)", kind="attribution")
        assert errors.members.drop_duplicates("image_id")["correct"].eq(False).sum() <= 2
        assert fk.find_error_clusters(measured).outcome.wrong.sum() == 2


def test_the_command_line_takes_a_taxonomy_and_ranks(tmp_path, capsys):
    data = fk.testbed.load(6, folder=tmp_path / "birds")
    names = fk.testbed.classifier().class_names
    genera = [name.split()[-1] for name in names]
    pd.DataFrame({"class": names, "genus": genera}).to_csv(tmp_path / "taxa.csv", index=False)
    table = pd.DataFrame({"path": data.table["path"], "label": [label.split()[-1] for label in data.table["label"]]})
    table.to_csv(tmp_path / "labels.csv", index=False)
    model = ["--model", "python:fidokit.testbed:classifier", "--taxonomy", str(tmp_path / "taxa.csv")]
    done = main(
        [
            "study", str(tmp_path / "labels.csv"), *model, "--methods", "saliency", "--ranks", "genus,species",
            "--store", str(tmp_path / "run"), "--no-metrics",
        ]
    )  # fmt: skip
    told = capsys.readouterr().out
    assert done == 0
    assert "6 photographs: 6 right" in told
    assert "saliency (species)" in told
    assert "errors from here on" in told
    photo = str(data.table["path"].iloc[0])
    assert main(["explain", photo, *model, "--method", "saliency", "--rank", "genus", "--out", str(tmp_path)]) == 0
    assert genera[names.index(data.table["label"].iloc[0])] in capsys.readouterr().out


def test_answers_are_improved_and_labels_doubted_with_coarse_labels(photographs, tmp_path):
    study = run_study(classifier(), photographs, "grad-cam", store=tmp_path, progress=False)
    with pytest.warns(RuntimeWarning, match="1 of 6 photographs have no label that the classifier knows"):
        made = fk.classify_with_masks(study, "crop", folds=2, controls=(), progress=False)
    assert made.images["label"].tolist() == ["Aa alba", "Aa", "Bb alba", "Bb alba", "Bb"]
    assert made.images["correct_before"].tolist() == [True, True, True, False, False]
    pytest.importorskip("cleanlab", reason="needs the extra `labels`")
    assert set(likely_wrong_labels(study)["label"]) <= set(SPECIES)


def test_a_taxonomy_shows_itself():
    shown = classifier().taxonomy._repr_html_()
    assert "Taxonomy" in shown
    assert "Aa (2)" in shown
    assert "2 genus" in classifier()._repr_html_()
