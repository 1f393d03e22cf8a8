"""Taxonomies from every source, what stands in them, what is asked of them, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from nets import conv_net
from PIL import Image

import fidokit as fk
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.goals import any_of
from fidokit.models.prediction import roll_up
from fidokit.samples import efficientnet_lite0

OWLS = ["Strix aluco", "Strix nebulosa", "Bubo bubo", "Tyto alba", "Buteo buteo", "blank"]
TABLE = pd.DataFrame(
    {
        "class": OWLS,
        "genus": ["Strix", "Strix", "Bubo", "Tyto", "Buteo", None],
        "family": ["Strigidae", None, "Strigidae", "Tytonidae", "Accipitridae", None],
        "order": ["Strigiformes", "Strigiformes", "Strigiformes", "Strigiformes", "Accipitriformes", None],
    }
)
SPECIESNET = """\
a1;mammalia;carnivora;felidae;panthera;leo;lion
a2;mammalia;carnivora;felidae;felis;catus;domestic cat
a3;mammalia;carnivora;felidae;;;cat family
a4;mammalia;carnivora;;;;carnivorous mammal
a5;aves;strigiformes;strigidae;strix;aluco;tawny owl
a6;;;;;;animal
a7;;;;;;blank
a8;;;;;;vehicle
a9;no cv result;no cv result;no cv result;no cv result;no cv result;no cv result
"""
FIELD = Path(__file__).resolve().parents[3] / "shared" / "field"


def classifier(names, taxonomy=None, head="softmax", **options) -> fk.Classifier:
    return fk.Classifier(
        conv_net(len(names)), names, mean=0.5, std=0.25, size=32, head=head, device="cpu", precision="float32",
        taxonomy=taxonomy, **options,
    )  # fmt: skip


@pytest.fixture
def owls() -> fk.Taxonomy:
    return fk.Taxonomy.from_table(TABLE)


class TestSources:
    def test_a_table_orders_its_ranks_and_fills_in_what_a_row_leaves_open(self, owls):
        assert owls.ranks == ("order", "family", "genus")
        assert owls.members("Strigidae") == OWLS[:3]  # the family of Strix nebulosa is that of the other Strix
        assert owls.members("Strigiformes") == OWLS[:4]
        assert owls.without_taxon == ["blank"]
        assert owls.levels == ("order", "family", "genus", "species")

    def test_columns_that_are_no_usual_ranks_are_ordered_by_how_many_taxa_they_have(self):
        table = pd.DataFrame({"name": list("abcd"), "fine": list("wxyz"), "coarse": list("uuvv")})
        assert fk.Taxonomy.from_table(table).ranks == ("coarse", "fine")
        assert fk.Taxonomy.from_table(table, ranks=["coarse"]).ranks == ("coarse",)

    def test_a_csv_says_the_same_as_its_table(self, owls, tmp_path):
        for separator in ",;\t":
            TABLE.to_csv(tmp_path / "owls.csv", index=False, sep=separator)
            assert fk.Taxonomy.load(tmp_path / "owls.csv") == owls

    def test_a_table_of_seven_columns_is_no_speciesnet_file(self, owls, tmp_path):
        wide = TABLE.assign(kingdom="Animalia", phylum="Chordata", **{"suborder": None})
        wide.to_csv(tmp_path / "owls.csv", index=False, sep=";")
        assert fk.Taxonomy.load(tmp_path / "owls.csv").members("Strigidae") == owls.members("Strigidae")

    def test_binomials_have_a_genus_whatever_follows_them(self):
        names = [
            "background",
            "Athene cunicularia (Burrowing Owl)",
            "Canis lupus dingo",
            "Canis lupus",
            "Canis_latrans",
        ]
        taxonomy = fk.Taxonomy.from_binomials(names)
        assert taxonomy.members("Athene") == taxonomy.members("Athene cunicularia") == [names[1]]
        assert taxonomy.members("Canis") == names[2:]
        assert taxonomy.members("species Canis lupus") == names[2:4]  # "Canis lupus" is the class
        assert taxonomy.without_taxon == ["background"]

    def test_a_list_of_binomials_with_numbers_before_them_is_a_file_too(self, tmp_path):
        (tmp_path / "labels.txt").write_text("0 Strix aluco (Tawny Owl)\n1 Strix nebulosa\n2 background\n")
        assert fk.Taxonomy.load(tmp_path / "labels.txt").members("Strix") == [
            "Strix aluco (Tawny Owl)",
            "Strix nebulosa",
        ]

    def test_a_mapping_leaves_the_other_classes_by_themselves(self):
        taxonomy = fk.Taxonomy.from_mapping({"beagle": "dog", "pug": "dog"}).bound(["beagle", "pug", "teapot"])
        assert taxonomy.members("dog") == ["beagle", "pug"]
        assert taxonomy.at("teapot", "group") == "teapot"
        with pytest.raises(ClassifierError, match="'pugg', which the classifier does not know; did you mean 'pug'"):
            fk.Taxonomy.from_mapping({"beagle": "dog", "pugg": "dog"}).bound(["beagle", "pug"])

    def test_speciesnet_labels_are_what_they_are(self, tmp_path):
        (tmp_path / "labels.txt").write_text(SPECIESNET)
        lines = SPECIESNET.splitlines()
        whole = fk.Taxonomy.load(tmp_path / "labels.txt")
        assert whole.ranks == ("kingdom", "class", "order", "family", "genus", "species")
        assert whole.without_taxon == lines[6:]
        assert whole.members("Felidae") == lines[:3]
        assert whole.members("animal") == lines[:6]
        assert whole.members("Panthera leo") == lines[:1]
        # By line, uuid, common name or binomial: whatever the classifier calls its classes.
        names = [
            "a1",
            "Domestic Cat",
            "cat family",
            "carnivorous mammal",
            "strix aluco",
            "animal",
            "blank",
            "vehicle",
            "a9",
        ]
        taxonomy = whole.bound(names)
        assert taxonomy.members("Felidae") == names[:3]
        assert taxonomy.groups["cat family"] == set(names[:3])
        assert taxonomy.groups["carnivorous mammal"] == set(names[:4])
        assert taxonomy.members("kingdom animal") == names[:6]  # "animal" is the class
        assert taxonomy.at("cat family", "order") == "Carnivora"
        assert taxonomy.at("cat family", "genus") is None
        assert taxonomy.at("blank", "genus") == "blank"

    def test_a_class_that_is_called_like_its_taxon_is_that_taxon(self):
        table = pd.DataFrame({"name": ["Felidae", "lion", "wolf"], "family": ["Felidae", "Felidae", "Canidae"]})
        taxonomy = fk.Taxonomy.from_table(table)
        assert taxonomy.groups["Felidae"] == {"Felidae", "lion"}
        assert taxonomy.members("family Felidae") == ["Felidae", "lion"]

    def test_it_survives_being_written_down(self, owls):
        assert fk.Taxonomy.from_dict(owls.to_dict()) == owls
        assert repr(owls) == "Taxonomy(6 classes; 2 order, 3 family, 4 genus, 1 without a taxon)"
        assert owls.table()["genus"].tolist() == ["Strix", "Strix", "Bubo", "Tyto", "Buteo", None]


class TestRefusals:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([("a", "Strix", "owls"), ("b", "Strix", "hawks")], "'Strix' .genus. stands in two places of the tree"),
            ([("a", "Strix", "Strix"), ("b", "Bubo", "Strix")], "'Strix' stands in two places of the tree: as family"),
            ([("a", "Strix", "owls"), ("a", "Bubo", "owls")], "class 'a' stands in two rows with different taxa"),
            ([("a", "Strix", "owls"), ("", "Bubo", "owls")], "row 2 has no class"),
            ([], "needs rows with a class in the first column"),
        ],
    )
    def test_tables_that_are_no_trees(self, rows, message):
        with pytest.raises(SettingsError, match=message):
            fk.Taxonomy.from_table(pd.DataFrame(rows, columns=["class", "genus", "family"]))

    def test_names_that_are_no_binomials(self):
        with pytest.raises(SettingsError, match=r"'sea eagle', 'owl' are no binomials such as .*from_table"):
            fk.Taxonomy.from_binomials(["Strix aluco", "sea eagle", "owl"])

    def test_files_that_are_none(self, tmp_path):
        with pytest.raises(SettingsError, match=r"missing\.csv cannot be read: No such file"):
            fk.Taxonomy.load(tmp_path / "missing.csv")
        (tmp_path / "labels.txt").write_text(SPECIESNET + "a10;aves;owl\n")
        with pytest.raises(ClassifierError, match="line 10, is no taxon"):
            fk.Taxonomy.load(tmp_path / "labels.txt")
        (tmp_path / "bytes.csv").write_bytes(b"class,genus\n\xff\xfe,x\n")
        with pytest.raises(SettingsError, match="it is no UTF-8 text"):
            fk.Taxonomy.load(tmp_path / "bytes.csv")
        with pytest.raises(SettingsError, match="not int"):
            fk.Taxonomy.of(3)

    def test_classes_without_a_row(self, owls):
        with pytest.raises(ClassifierError, match="1 of 3 classes are not in the taxonomy: 'sea eagle'"):
            classifier(["Strix aluco", "sea eagle", "empty"], owls)
        # "empty" is no organism: it has no taxon and needs no row.
        assert classifier(["strix_aluco", "Bubo bubo (Eagle Owl)", "empty"], owls).taxonomy.without_taxon == ["empty"]

    def test_unknown_names(self, owls):
        clf = classifier(OWLS, owls)
        logits = torch.zeros(1, 6)
        with pytest.raises(SettingsError, match="no class or taxon 'Strigide'; did you mean 'Strigidae'"):
            clf.goal(logits, "Strigide")
        with pytest.warns(RuntimeWarning, match="'strigid' is taken to mean 'Strigidae'"):
            assert clf.goal(logits, "strigid").target_names(1) == ["Strigidae"]
        with pytest.warns(RuntimeWarning, match="'rest of strigid' is taken to mean 'rest of Strigidae'"):
            assert clf.goal(logits, OWLS[0], "rest of strigid").against_names(1) == ["rest of Strigidae"]
        with pytest.raises(SettingsError, match="no rank 'tribe'; it has order, family, genus, species"):
            clf.goal(logits, rank="tribe")
        with pytest.raises(SettingsError, match="'family' must be a coarser rank than 'order'"):
            clf.goal(logits, rank="order", within="family")
        with pytest.raises(SettingsError, match="needs a classifier with a taxonomy"):
            classifier(OWLS).goal(logits, rank="genus")
        with pytest.raises(SettingsError, match="`within` needs a `rank`"):
            clf.goal(logits, within="genus")
        with pytest.raises(SettingsError, match="give one of them"):
            clf.goal(logits, rank="genus", within="family", against="Tyto alba")
        with pytest.raises(SettingsError, match="needs classes as targets"):
            clf.goal(logits, lambda logits: logits[:, 0], rank="genus")

    def test_taxa_that_overlap(self, owls):
        clf = classifier(OWLS, owls)
        logits = torch.zeros(1, 6)
        with pytest.raises(SettingsError, match=r"'Strigidae' contains 'Strix aluco'.*against='rest of Strigidae'"):
            clf.goal(logits, "Strix aluco", "Strigidae")
        with pytest.raises(SettingsError, match="'Strigidae' contains 'Strix'"):
            clf.goal(logits, "Strigidae", "Strix")
        with pytest.raises(SettingsError, match="cannot be contrasted with itself"):
            clf.goal(logits, "Strigidae", "Strigidae")
        with pytest.raises(SettingsError, match="'Tyto alba' is not inside 'Strigidae'"):
            clf.goal(logits, "Tyto alba", "rest of Strigidae")

    def test_a_taxon_of_all_classes_has_nothing_to_be_told_from(self):
        names = ["Strix aluco", "Strix nebulosa"]
        clf = classifier(names, fk.Taxonomy.from_binomials(names))
        with pytest.raises(SettingsError, match="'Strix' holds all 2 classes"):
            clf.goal(torch.zeros(1, 2), "Strix")


class TestLogOdds:
    LOGITS = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 6

    def softmax_by_hand(self, inside, outside):
        p = self.LOGITS.softmax(1)
        return p[:, inside].sum(1).log() - p[:, outside].sum(1).log()

    def test_of_taxa_equal_sums_of_probabilities(self, owls):
        clf = classifier(OWLS, owls)
        for name, members in (("Strix", [0, 1]), ("Strigidae", [0, 1, 2]), ("Strigiformes", [0, 1, 2, 3])):
            goal = clf.goal(self.LOGITS, name)
            outside = [i for i in range(6) if i not in members]
            expected = self.softmax_by_hand(members, outside).float()
            torch.testing.assert_close(goal.log_odds(self.LOGITS), expected, rtol=1e-6, atol=1e-6)
            assert goal.target_names(40) == [name] * 40
        goal = clf.goal(self.LOGITS, "Strigidae", "Accipitridae")
        torch.testing.assert_close(
            goal.log_odds(self.LOGITS), self.softmax_by_hand([0, 1, 2], [4]).float(), rtol=1e-6, atol=1e-6
        )
        assert goal.against_names(40) == ["Accipitridae"] * 40

    def test_of_a_class_within_its_taxon(self, owls):
        goal = classifier(OWLS, owls).goal(self.LOGITS, "Strix aluco", "rest of Strigidae")
        torch.testing.assert_close(
            goal.log_odds(self.LOGITS), self.softmax_by_hand([0], [1, 2]).float(), rtol=1e-6, atol=1e-6
        )
        assert goal.against_names(40) == ["rest of Strigidae"] * 40

    def test_of_independent_classes_equal_every_combination(self, owls):
        logits = self.LOGITS.float() / 3
        p = torch.sigmoid(logits.double())
        any_strix = torch.zeros(40, dtype=torch.float64)
        for there in itertools.product([0, 1], repeat=3):
            if any(there):
                chances = [p[:, i] if one else 1 - p[:, i] for i, one in enumerate(there)]
                any_strix += torch.stack(chances).prod(0)
        clf = classifier(OWLS, owls, head="sigmoid")
        goal = clf.goal(logits, "Strigidae")
        torch.testing.assert_close(goal.score(logits).double(), any_strix, rtol=1e-5, atol=1e-6)
        contrast = clf.goal(logits, "Strigidae", "Tyto alba").log_odds(logits)
        torch.testing.assert_close(contrast, goal.log_odds(logits) - logits[:, 3])

    def test_any_of_one_class_is_its_logit_however_large(self):
        logits = torch.tensor([[-300.0, -17, -15, -1, 0, 1, 15, 80]]).T.repeat(1, 2).requires_grad_(True)
        one = torch.tensor([[True, False]]).expand(8, 2)
        torch.testing.assert_close(any_of(logits, one), logits[:, 0], rtol=1e-5, atol=1e-5)
        both = any_of(logits, torch.ones_like(one))
        assert float(both[0].detach()) == pytest.approx(-300 + np.log(2), abs=1e-4)
        (gradient,) = torch.autograd.grad(both.sum(), logits)
        assert torch.isfinite(gradient).all()

    def test_a_batch_may_ask_for_classes_and_taxa_at_once(self, owls):
        clf = classifier(OWLS, owls)
        logits = self.LOGITS[:3].float()
        mixed = clf.goal(logits, ["Strix aluco", "Strigidae", "Strix aluco"], [None, None, "rest of Strigidae"])
        alone = [
            clf.goal(logits[:1], "Strix aluco"),
            clf.goal(logits[:1], "Strigidae"),
            clf.goal(logits[:1], "Strix aluco", "rest of Strigidae"),
        ]
        for how in ("log-odds", "logit", "contrast"):
            expected = torch.cat([goal.value(logits[i : i + 1], how) for i, goal in enumerate(alone)])
            torch.testing.assert_close(mixed.value(logits, how), expected)
        expected = torch.cat([goal.class_logit(logits[i : i + 1]) for i, goal in enumerate(alone)])
        torch.testing.assert_close(mixed.class_logit(logits), expected)
        assert mixed.class_logit(logits)[0] == logits[0, 0]
        torch.testing.assert_close(
            mixed[[1, 2]].repeat(2).log_odds(logits[[1, 1, 2, 2]]), mixed.log_odds(logits)[[1, 1, 2, 2]]
        )
        assert mixed.against_names(3) == [None, None, "rest of Strigidae"]

    def test_a_single_class_stays_what_it_was(self, owls):
        with_taxa, without = classifier(OWLS, owls), classifier(OWLS)
        goal = with_taxa.goal(self.LOGITS, "Bubo bubo")
        assert goal.groups is None
        expected = without.goal(self.LOGITS, "Bubo bubo").log_odds(self.LOGITS)
        assert torch.equal(goal.log_odds(self.LOGITS), expected)
        genus = with_taxa.goal(self.LOGITS, "Bubo")  # of which it is the only one
        assert set(genus.target_names(40)) == {"Bubo"}
        torch.testing.assert_close(genus.log_odds(self.LOGITS), expected)


class TestAsked:
    @pytest.mark.parametrize(
        ("name", "rank", "within", "asked"),
        [
            ("Strix aluco", "family", None, ("Strigidae", None)),
            ("Strix aluco", "species", None, ("Strix aluco", "rest of Strix")),
            ("Strix aluco", "species", "family", ("Strix aluco", "rest of Strigidae")),
            ("Strix aluco", "species", "all", ("Strix aluco", None)),
            ("Bubo bubo", "species", None, ("Bubo bubo", "rest of Strigidae")),  # its genus holds nothing else
            ("Buteo buteo", "species", None, ("Buteo buteo", None)),  # nor do its genus, family and order
            ("Strix aluco", "family", "order", ("Strigidae", "rest of Strigiformes")),
            ("Strigidae", "order", None, ("Strigiformes", None)),
            ("Strigidae", "species", None, ("Strigidae", "rest of Strigiformes")),  # coarser than the rank
            ("blank", "family", None, ("blank", None)),
        ],
    )
    def test_what_is_asked_at_a_rank(self, owls, name, rank, within, asked):
        assert owls.asked(name, rank, within) == asked

    def test_a_class_keeps_its_name_at_its_own_rank(self):
        names = ["Strix aluco (Tawny Owl)", "Strix nebulosa (Great Grey Owl)", "Bubo bubo"]
        taxonomy = fk.Taxonomy.from_binomials(names)
        assert taxonomy.asked(names[0], "species") == (names[0], "rest of Strix")
        assert taxonomy.asked("Strix aluco", "species") == (names[0], "rest of Strix")
        assert taxonomy.asked("Bubo bubo", "genus") == ("Bubo", None)

    def test_a_species_of_several_classes_is_one_of_its_kind_as_well(self):
        names = ["Canis lupus dingo", "Canis lupus lupus", "Canis latrans", "Vulpes vulpes"]
        taxonomy = fk.Taxonomy.from_binomials(names)
        assert taxonomy.levels == ("genus", "species", "class")
        assert taxonomy.asked(names[0], "species") == ("Canis lupus", "rest of Canis")
        assert taxonomy.asked(names[0], "class") == (names[0], "rest of Canis lupus")

    def test_a_goal_asks_for_the_predicted_class_of_each_image(self, owls):
        logits = torch.eye(6)[[0, 4, 5]]
        goal = classifier(OWLS, owls).goal(logits, rank="species")
        assert goal.target_names(3) == ["Strix aluco", "Buteo buteo", "blank"]
        assert goal.against_names(3) == ["rest of Strix", None, None]


class TestPredictions:
    LABELS = ("Strix aluco", "strix", "Strigidae", "Tytonidae", "blank", "pigeon", None)

    def table(self, owls, tmp_path, head="softmax"):
        rng = np.random.default_rng(0)
        rows = []
        for i, label in enumerate(self.LABELS):
            path = tmp_path / f"{i}.png"
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
            rows.append({"image_id": str(i), "path": str(path), "label": label})
        clf = classifier(OWLS, owls, head=head)
        data = fk.LabelledImages.from_table(pd.DataFrame(rows))
        with pytest.warns(RuntimeWarning, match="does not know 1 of 6 labels.*'pigeon'"):
            return clf, clf.predict(data)

    def test_labels_are_judged_at_their_rank(self, owls, tmp_path):
        _, table = self.table(owls, tmp_path)
        (predicted,) = set(table["predicted"])  # a random net's noise looks all the same to it
        expected = [
            predicted == "Strix aluco", predicted in OWLS[:2], predicted in OWLS[:3], predicted == "Tyto alba",
            predicted == "blank", pd.NA, pd.NA,
        ]  # fmt: skip
        assert table["correct"].tolist() == expected
        assert table["label"].tolist()[:4] == ["Strix aluco", "Strix", "Strigidae", "Tytonidae"]

    @pytest.mark.parametrize(
        ("label", "predicted", "rank"),
        [
            ("Strix aluco", "Strix aluco", None),
            ("Strix aluco", "Strix nebulosa", "species"),
            ("Strix aluco", "Bubo bubo", "genus"),
            ("Strix aluco", "Tyto alba", "family"),
            ("Strix aluco", "Buteo buteo", "order"),
            ("Strigidae", "Bubo bubo", None),
            ("Strigidae", "Tyto alba", "family"),
            ("Strix", "Bubo bubo", "genus"),
            ("blank", "Bubo bubo", "order"),
        ],
    )
    def test_where_a_prediction_goes_wrong(self, owls, label, predicted, rank):
        assert owls.wrong_at(label, predicted) == rank

    def test_accuracy_and_errors_by_rank_by_hand(self, owls):
        pairs = [
            ("Strix aluco", "Strix aluco"), ("Strix aluco", "Strix nebulosa"), ("Strix aluco", "Bubo bubo"),
            ("Strigidae", "Bubo bubo"), ("Strigidae", "Tyto alba"), ("blank", "blank"),
        ]  # fmt: skip
        table = pd.DataFrame(pairs, columns=["label", "predicted"])
        table["correct"] = pd.array([True, False, False, True, False, True], dtype="boolean")
        found = owls.accuracy(table).set_index("rank")
        assert found["n"].to_dict() == {"order": 6, "family": 6, "genus": 4, "species": 4}
        assert found["right"].to_dict() == {"order": 6, "family": 5, "genus": 3, "species": 2}
        assert found.loc["species", "accuracy"] == 0.5
        # Wilson's interval of 2 in 4.
        assert found.loc["species", ["low", "high"]].tolist() == pytest.approx([0.150, 0.850], abs=1e-3)
        errors = owls.errors(table).set_index("rank")
        assert errors["n"].to_dict() == {"order": 0, "family": 1, "genus": 1, "species": 1}
        assert errors.loc["species", "pairs"] == "Strix aluco taken for Strix nebulosa (1)"

    @pytest.mark.parametrize(
        ("scores", "expected"),
        [
            ([0.7, 0.1, 0.1, 0.05, 0.03, 0.02], ("Strix aluco", "species", 0.7)),
            ([0.4, 0.3, 0.1, 0.1, 0.05, 0.05], ("Strix", "genus", 0.7)),
            ([0.3, 0.2, 0.2, 0.1, 0.1, 0.1], ("Strigidae", "family", 0.7)),
            # The best class is "blank", and yet the owls together are the likelier.
            ([0.2, 0.1, 0.15, 0.2, 0.05, 0.3], ("Strigiformes", "order", 0.65)),
            ([0.2, 0.1, 0.1, 0.1, 0.2, 0.3], (None, None, None)),
        ],
    )
    def test_the_roll_up_is_the_finest_taxon_that_is_sure_enough(self, owls, scores, expected):
        name, rank, score = roll_up(np.array(scores), False, owls, 0.65 - 1e-12)
        assert (name, rank) == expected[:2]
        assert np.isnan(score) if expected[2] is None else score == pytest.approx(expected[2])

    def test_the_roll_up_of_independent_classes_is_the_chance_of_any(self, owls):
        name, rank, score = roll_up(np.array([0.5, 0.5, 0.1, 0.0, 0.0, 0.0]), True, owls, 0.65)
        assert (name, rank, score) == ("Strix", "genus", pytest.approx(0.75))

    def test_predict_takes_the_threshold(self, owls, tmp_path):
        clf, table = self.table(owls, tmp_path)
        data = fk.LabelledImages.from_table(table[["image_id", "path"]])
        assert clf.predict(data, threshold=0.001)["rollup"].tolist() == table["predicted"].tolist()
        with pytest.raises(SettingsError, match="threshold"):
            clf.predict(data, threshold=1.5)


class TestClassifier:
    def test_it_is_given_as_anything_one_is_made_from(self, owls, tmp_path):
        TABLE.to_csv(tmp_path / "owls.csv", index=False)
        for given in (owls, TABLE, tmp_path / "owls.csv", str(tmp_path / "owls.csv")):
            assert classifier(OWLS, given).taxonomy == owls
        mapping = dict.fromkeys(OWLS[:4], "owl")
        assert classifier(OWLS, mapping).taxonomy.members("owl") == OWLS[:4]
        assert "Taxonomy(6 classes; 2 order, 3 family, 4 genus, 1 without a taxon)" in repr(classifier(OWLS, owls))

    def test_the_fingerprint_knows_it(self, owls):
        without = classifier(OWLS)
        prints = [clf.fingerprint() for clf in (without, classifier(OWLS, owls), without.with_taxonomy(owls))]
        assert prints[1] == prints[2] != prints[0]
        assert without.taxonomy is None
        assert classifier(OWLS, dict.fromkeys(OWLS[:2], "owl")).fingerprint() not in prints

    def test_load_takes_it(self, owls):
        names = fk.testbed.classifier().class_names
        clf = fk.Classifier.load("python:fidokit.testbed:classifier", taxonomy=dict.fromkeys(names[:4], "tit"))
        assert clf.taxonomy.members("tit") == names[:4]


@pytest.mark.skipif(not FIELD.is_dir(), reason="../shared/field is not there")
def test_coarse_labels_of_real_photographs_are_judged_by_a_short_mapping():
    clf = efficientnet_lite0()
    names = clf.class_names
    groups = {
        **dict.fromkeys(names[281:286], "cat"),
        **dict.fromkeys(names[151:269], "dog"),
        **dict.fromkeys(names[269:273], "wolf"),
        **dict.fromkeys(names[277:281], "fox"),
        # ImageNet has no deer; these are what stands nearest to them.
        **dict.fromkeys(names[351:354], "deer"),
    }
    photos = pd.read_csv(FIELD / "photos.csv")
    photos = photos[photos["label"].isin(["cat", "dog", "wolf", "fox", "deer"])]
    data = fk.LabelledImages.from_table(
        pd.DataFrame({"path": [str(FIELD / path) for path in photos["path"]], "label": photos["label"]})
    )
    table = clf.with_taxonomy(groups).predict(data)
    assert table["correct"].notna().all()
    assert len(table) == 33
    assert table["correct"].mean() > 0.6
