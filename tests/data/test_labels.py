"""Labels of a dataset and class names of a classifier: what means what, and what is said where nothing does."""

import unicodedata
import warnings
from collections import Counter

import pandas as pd
import pytest
from nets import conv_net
from PIL import Image
from study_cases import make_classifier, make_data

import fidokit as fk
from fidokit.cli import main
from fidokit.data.images import LabelledImages
from fidokit.data.labels import LabelMatch, label_notes, match_labels
from fidokit.exceptions import SettingsError
from fidokit.models.classifier import Classifier

NO_WARNING = pytest.mark.filterwarnings("error")
ALBATROSSES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
READABLE = ["Black footed Albatross", "Laysan Albatross", "Sooty Albatross"]


@pytest.mark.parametrize(
    ("label", "class_names", "expected"),
    [
        # CUB's folders against names that can be read, both ways.
        ("Laysan Albatross", ALBATROSSES, ALBATROSSES[1]),
        ("002.Laysan_Albatross", READABLE, READABLE[1]),
        ("2. Laysan Albatross", READABLE, READABLE[1]),
        ("laysan albatross", ALBATROSSES, ALBATROSSES[1]),
        # The name counts, not a number that another list gives it.
        ("7.Laysan_Albatross", ALBATROSSES, ALBATROSSES[1]),
        # Case and what stands between words.
        ("Vulpes vulpes", ["meles_meles", "vulpes_vulpes"], "vulpes_vulpes"),
        ("red fox", ["Red fox", "Badger"], "Red fox"),
        ("RED-FOX ", ["Red fox", "Badger"], "Red fox"),
        ("Brewers Sparrow", ["Brewer's sparrow"], "Brewer's sparrow"),
        ("Brewer’s Sparrow", ["Brewer's sparrow"], "Brewer's sparrow"),
        ("white_tailed deer", ["White-tailed  Deer", "Deer"], "White-tailed  Deer"),
        (" deer", ["deer", "white-tailed deer"], "deer"),
        ("straße", ["STRASSE"], "STRASSE"),
        # Forms of accents, but not their absence.
        (unicodedata.normalize("NFD", "Bärenmaki"), ["Bärenmaki", "Barenmaki"], "Bärenmaki"),
        (unicodedata.normalize("NFC", "Señorita"), [unicodedata.normalize("NFD", "señorita")], None),
        # Numbers, where each class has one.
        ("2", ALBATROSSES, ALBATROSSES[1]),
        ("002", ALBATROSSES, ALBATROSSES[1]),
        ("07", ["7", "8"], "7"),
    ],
)
def test_a_label_means_the_only_class_that_is_called_alike(label, class_names, expected):
    expected = class_names[0] if expected is None else expected
    assert match_labels([label], class_names).classes == {label: expected}


@pytest.mark.parametrize(
    ("label", "class_names"),
    [
        # Several classes are called alike.
        ("red fox", ["Red fox", "red_fox"]),
        ("Oak Titmouse", ["295 Oak Titmouse", "817 Oak Titmouse"]),
        ("1", ["1.a", "01.b"]),
        # A number is no position: nobody knows where it begins.
        ("1", ["deer", "fox"]),
        ("2", ["1.deer", "fox", "2 x 4"]),
        # Another class, however near.
        ("fox", ["Red fox", "Arctic fox"]),
        ("Bar", ["Bär"]),
        ("?", ["-", "_"]),
        ("…", ["deer"]),
        ("12", ["3 deer", "4 fox"]),
    ],
)
def test_a_label_that_could_mean_several_classes_or_none_means_none(label, class_names):
    match = match_labels([label], class_names)
    assert match.classes == {}
    assert match.unknown == [label]
    assert match[label] == label
    assert match[None] is None


def test_the_same_name_goes_before_one_alike():
    names = ["fox", "Fox", "1.fox"]
    assert match_labels(["fox", "Fox", "FOX", None, float("nan")], names) == LabelMatch(
        {"fox": "fox", "Fox": "Fox"}, ["FOX"], names
    )


def test_what_a_label_means_does_not_depend_on_others():
    labels = ["Laysan Albatross", "laysan_albatross", "2", "gull", *ALBATROSSES]
    together = match_labels(labels, ALBATROSSES)
    for label in labels:
        assert match_labels([label], ALBATROSSES)[label] == together[label]


class TestNotes:
    def test_of_labels_that_were_matched(self):
        (note,) = label_notes([*READABLE, None, READABLE[0]], ALBATROSSES, "are left out")
        assert note == (
            "3 of 3 labels are written otherwise than the classifier's classes and were matched: "
            "'Black footed Albatross' is '001.Black_footed_Albatross', 'Laysan Albatross' is '002.Laysan_Albatross', "
            "'Sooty Albatross' is '003.Sooty_Albatross'"
        )

    def test_of_labels_that_mean_nothing(self):
        (note,) = label_notes(
            ["Lysan Albatros", "Lysan Albatros", "qqqqq", ALBATROSSES[0]], ALBATROSSES, "are left out"
        )
        assert note.startswith(
            "the classifier does not know 2 of 3 labels; photographs so labelled (3 in all) are left out: "
            "'Lysan Albatros' (2), 'qqqqq' (1)."
            " The classes nearest in spelling are 'Lysan Albatros': '002.Laysan_Albatross'"
        )
        assert note.endswith("or a taxonomy where a label is coarser than its classes")

    def test_where_no_label_means_anything(self):
        (note,) = label_notes(["deer"] * 4, [str(i) for i in range(5)], "are left out")
        assert "1 of 1 labels, so that no label is the name of a class; photographs so labelled (4 in all)" in note
        assert "Its classes are '0', '1', '2', ...; rename" in note

    @NO_WARNING
    def test_nothing_to_say(self):
        assert label_notes([None, "deer"], ["deer", "fox"], "") == label_notes([None], ["deer"], "") == []

    def test_of_many_and_long_names(self):
        labels = [f"{'x' * 100}{i}" for i in range(30)]
        (note,) = label_notes(labels, ["deer"], "are left out")
        assert len(note) < 1200
        assert ", ..." in note
        match = match_labels(labels, ["deer"])
        assert match.told_unknown(Counter(labels), "go") in note.replace("are left out", "go")
        assert match.told_renamed() == ""


def photographs(tmp_path, labels):
    for i in range(len(labels)):
        Image.new("RGB", (16, 16), (90 * i % 256, 60, 20)).save(tmp_path / f"{i}.png")
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(len(labels))], "label": labels})
    return LabelledImages.from_table(frame, root=tmp_path)


class TestClassifier:
    NAMES = ("vulpes_vulpes", "meles_meles", "lepus_europaeus", "001.Sus_scrofa")

    def classifier(self):
        return Classifier(conv_net(classes=4), self.NAMES, size=16, device="cpu", precision="float32")

    @pytest.mark.parametrize("labels", [["Vulpes vulpes", "Sus scrofa"], ["VULPES VULPES", "1.sus scrofa"]])
    def test_answers_are_judged(self, tmp_path, labels):
        data = photographs(tmp_path, [*labels, "Meles martes", None, "meles_meles"])
        with pytest.warns(RuntimeWarning) as caught:
            table = self.classifier().predict(data)
        assert table["label"].tolist() == ["vulpes_vulpes", "001.Sus_scrofa", "Meles martes", None, "meles_meles"]
        expected = [
            None if not known else bool(predicted == label)
            for predicted, label, known in zip(
                table["predicted"], table["label"], [True, True, False, False, True], strict=True
            )
        ]
        assert [None if pd.isna(value) else bool(value) for value in table["correct"]] == expected
        said = " ".join(str(warning.message) for warning in caught)
        assert "2 of 4 labels are written otherwise" in said
        assert (
            "does not know 1 of 4 labels; photographs so labelled (1 in all) count neither "
            "as right nor as wrong: 'Meles martes'" in said
        )
        assert "'Meles martes': 'meles_meles'" in said
        assert caught[0].filename == __file__
        assert data.table["label"].tolist()[:2] == labels

    @NO_WARNING
    def test_the_names_of_the_classes_are_not_worth_a_word(self, tmp_path):
        table = self.classifier().predict(photographs(tmp_path, [*self.NAMES, None]))
        assert table["correct"].isna().tolist() == [False] * 4 + [True]


class TestStudy:
    def study(self, tmp_path, **options):
        data = make_data(tmp_path / "data", 6)
        renamed = LabelledImages.from_table(
            data.table.assign(label=[f"{i % 3 + 1}.{label.upper()}" for i, label in enumerate(data.table["label"])]),
            root=data.root,
        )
        with pytest.warns(RuntimeWarning, match=r"labels are written otherwise .*'1\.\w+' is"):
            study = fk.run_study(
                make_classifier(), renamed, ["grad-cam"], store=tmp_path / "s", progress=False, **options
            )
        return study, data, renamed

    def test_judges_and_explains_by_the_classes_and_keeps_the_labels(self, tmp_path, quick):
        study, data, renamed = self.study(tmp_path, targets="label")
        predictions = study.predictions()
        assert predictions["label"].tolist() == data.table["label"].tolist()
        assert predictions["correct"].notna().all()
        assert study.failures().empty
        assert study.masks()["target"].tolist() == data.table["label"].tolist()
        assert study.images["label"].tolist() == renamed.table["label"].tolist()
        recorded = study.manifest["dataset"]["matched_labels"]
        assert recorded == dict(zip(renamed.table["label"], data.table["label"], strict=True))
        again = fk.open_study(study.path, make_classifier(), renamed)
        assert again.predictions()["label"].tolist() == data.table["label"].tolist()

    def test_its_masks_are_judged_by_the_classes(self, tmp_path, quick):
        study, data, _ = self.study(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fk.classify_with_masks(study, method="grad-cam", how="crop", folds=2)
        assert result.images["label"].tolist() == data.table["label"].tolist()

    def test_no_label_is_known(self, tmp_path, quick):
        data = make_data(tmp_path / "data", 3)
        unknown = LabelledImages.from_table(data.table.assign(label="Gren"), root=data.root)
        with pytest.warns(
            RuntimeWarning, match=r"so that no label is the name of a class; photographs .*'Gren': 'green'"
        ):
            study = fk.run_study(make_classifier(), unknown, ["grad-cam"], store=tmp_path / "s", progress=False)
        assert study.predictions()["correct"].isna().all()
        assert "matched_labels" not in study.manifest["dataset"]
        with pytest.raises(SettingsError, match=r"no photograph has a label that .*'Gren': 'green'"):
            fk.classify_with_masks(study, method="grad-cam")


class TestColumns:
    def read(self, tmp_path, text):
        path = tmp_path / "t.csv"
        path.write_text(text)
        return LabelledImages.from_csv(path)

    @pytest.mark.parametrize(
        "column",
        ["Label", "LABEL", " label ", "Species", "species", "scientificName", "class", "Category", "common_name"],
    )
    def test_of_labels(self, tmp_path, column):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = self.read(tmp_path, f"path,{column},site\na.png,007,x\nb.png,,y\n")
        assert data.table["label"].tolist() == ["007", None]
        assert data.metadata().columns.tolist() == ["image_id", "site"]
        said = [] if column.strip() == "label" else [f"the column {column!r} is taken for label"]
        assert [str(warning.message).split("line 1: ")[1] for warning in caught] == said

    @NO_WARNING
    def test_a_label_leaves_the_others_alone(self, tmp_path):
        data = self.read(tmp_path, "path,label,Species,Label\na.png,x,y,z\n")
        assert data.table["label"].tolist() == ["x"]
        assert data.metadata()["Species"].tolist() == ["y"]

    def test_several_that_could_hold_it(self, tmp_path):
        with pytest.warns(RuntimeWarning, match=r"no column label.*; rename one of 'species', 'class' to label"):
            data = self.read(tmp_path, "path,species,class\na.png,x,y\n")
        assert data.table["label"].tolist() == [None]
        with pytest.warns(RuntimeWarning, match="the column 'Label' is taken for label"):
            assert self.read(tmp_path, "path,species,Label\na.png,x,y\n").table["label"].tolist() == ["y"]

    @pytest.mark.parametrize(
        ("text", "paths"),
        [
            ("Path,label\na/b.png,x\n", ["a/b.png"]),
            ("RelativePath,File,label\na\\c,b.png,x\n,d.png,y\n", ["a/c/b.png", "d.png"]),
            ("File,Relative Path,Species\nb.png,a,x\n", ["a/b.png"]),
        ],
    )
    def test_of_paths(self, tmp_path, text, paths):
        with pytest.warns(RuntimeWarning, match="taken for path"):
            data = self.read(tmp_path, text)
        assert data.table["path"].tolist() == [str(tmp_path / path) for path in paths]
        assert data.table["label"].tolist()[0] == "x"

    def test_no_path(self, tmp_path):
        with pytest.raises(SettingsError, match=r"t\.csv, line 1: no column path among file, label"):
            self.read(tmp_path, "file,label\na.png,x\n")

    def test_of_a_frame(self, tmp_path):
        with pytest.warns(
            RuntimeWarning, match="'Path' is taken for path; the table: the column 'Species' is"
        ) as caught:
            data = LabelledImages.from_table(pd.DataFrame({"Path": ["a.png"], "Species": ["x"]}))
        assert data.table["label"].tolist() == ["x"]
        assert caught[0].filename == __file__

    def test_on_the_command_line(self, tmp_path, capsys):
        (tmp_path / "t.csv").write_text("path,Species\na.png,x\n")
        assert main(["study", str(tmp_path / "t.csv"), "--model", "no"]) != 0
        assert "line 1: the column 'Species' is taken for label" in capsys.readouterr().err
