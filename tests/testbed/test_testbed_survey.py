"""`testbed.survey`: sites, bursts, and what is wrong with some of them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import fidokit.testbed as testbed
from fidokit.exceptions import SettingsError
from fidokit.testbed.sites import Faults, plan_survey
from fidokit.testbed.species import GENUS_OF, HOMES, MARK_OWNERS, congeners


def planned(n=360, seed=3, causes=None, sites=12, bursts=3, species=None, **faults):
    """(scenes, table) of a survey that nobody drew."""
    scenes, rows = plan_survey(n, seed, causes, sites, bursts, Faults(**faults), species, 64, 0.4)
    return scenes, pd.DataFrame(rows).assign(
        cause=[scene.cause for scene in scenes],
        species=[scene.species for scene in scenes],
        habitat=[scene.habitat for scene in scenes],
    )


def test_the_table_and_the_files(tmp_path):
    data = testbed.survey(14, 2, sites=2, stumps=1, blanks=0.2, wrong_labels=0.1, folder=tmp_path / "a", size=64)
    table = data.table
    assert (
        table["site"].tolist()
        == ["site 01"] * 3 + ["site 02"] * 3 + ["site 01"] * 3 + ["site 02"] * 3 + ["site 01"] * 2
    )
    assert table["sequence"].nunique() == 5
    assert (
        pd.to_datetime(table["datetime"]).groupby(table["sequence"]).agg(lambda t: t.max() - t.min()).dt.seconds.max()
        == 2
    )
    assert not any(name.startswith("planted_") for name in data.metadata().columns)
    blank = (table["planted_label"] == "blank").to_numpy()
    assert blank.sum() == 3
    assert table["box_x0"].isna().tolist() == blank.tolist()
    for i in range(len(data)):
        drawing = testbed.render(testbed.scene_of(data, i))
        assert (drawing.box is None) == blank[i]
        np.testing.assert_array_equal(np.asarray(data.open(i)), drawing.pixels)
    again = testbed.survey(14, 2, sites=2, stumps=1, blanks=0.2, wrong_labels=0.1, folder=tmp_path / "a", size=64)
    assert again.table.equals(table)
    with pytest.raises(SettingsError, match="holds other files"):
        testbed.survey(14, 2, sites=2, stumps=1, blanks=0.2, wrong_labels=0.2, folder=tmp_path / "a", size=64)


def test_the_frame_of_a_site_stays():
    scenes, table = planned(stumps=2, blanks=0.4)
    empty = table[table["cause"] == "blank"].groupby("site").head(2)
    # The light changes from day to day, and slowly across the picture; edges stay where they are.
    edges = {i: np.diff(testbed.render(scenes[i]).pixels.mean(2), axis=1).ravel() for i in empty.index[:16]}
    site = table["site"]
    alike: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.combinations(edges, 2):
        alike[site[i] == site[j]].append(np.corrcoef(edges[i], edges[j])[0, 1])
    assert len(alike[True]) >= 4
    assert min(alike[True]) > 0.7 > 0.4 > max(alike[False])


def test_who_comes_to_which_site():
    _, table = planned(shortcuts=3, stumps=2)
    sites = table.drop_duplicates("site")
    assert sites["planted_site"].value_counts().to_dict() == {"none": 7, "shortcut": 3, "stump": 2}
    assert table["site"].value_counts().eq(30).all()
    assert table.groupby("sequence")["species"].nunique().eq(1).all()
    home = table["species"].map(HOMES) == table["habitat"]
    pairs = zip(table["species"], table["habitat"], strict=True)
    congener = [habitat in [HOMES[other] for other in congeners(name)] for name, habitat in pairs]
    shortcut = table["planted_site"] == "shortcut"
    assert (home == ~shortcut).all()
    assert np.asarray(congener)[shortcut].all()
    assert (table["cause"] == "habitat").eq(shortcut).all()
    assert (table["cause"] == "stump").eq(table["planted_site"] == "stump").all()


def test_decoys_are_of_other_species_and_at_their_place():
    scenes, table = planned(stumps=4)
    for site, rows in table[table["planted_site"] == "stump"].groupby("site"):
        decoys = {scenes[i].decoy for i in rows.index}
        assert len(decoys) == 1
        assert GENUS_OF[decoys.pop()] in [GENUS_OF[s] for s in rows["species"]], site
    assert all(
        scene.decoy is None for scene, fault in zip(scenes, table["planted_site"], strict=True) if fault != "stump"
    )


def test_rates_are_met_over_all_photographs():
    causes = {"night": 0.2, "hidden_part": 0.1, "tiny": {"marl tit": 0.3}, "habitat": 0.1}
    _, table = planned(720, causes=causes, blanks=0.1, wrong_labels=0.05, wrong_reasons=0.05)
    shares = table["cause"].value_counts(normalize=True)
    # Blanks take some frames of the bursts at night; those for another reason hide their parts too.
    assert shares["blank"] == pytest.approx(0.1, abs=0.002)
    assert shares["night"] == pytest.approx(0.2 * 0.9, abs=0.03)
    assert shares["habitat"] == pytest.approx(0.1 * 0.9, abs=0.03)
    assert shares["hidden_part"] == pytest.approx(0.15, abs=0.01)
    assert (table.loc[table["cause"] == "tiny", "species"] == "marl tit").all()
    assert (table["label"] != table["planted_label"]).sum() == 72 + 36
    assert table.groupby("sequence")["cause"].agg(lambda c: (c != "blank").any()).all()
    night = table["cause"] == "night"
    hours = pd.to_datetime(table["datetime"]).dt.hour
    assert hours[night].isin([22, 23, 0, 1, 2, 3, 4]).all()
    assert table.loc[night].groupby("sequence").size().max() == 3


def test_right_for_a_wrong_reason():
    scenes, table = planned(shortcuts=2, stumps=2, wrong_reasons=0.2)
    chosen = table[table["planted_reason"] != "none"]
    assert len(chosen) == 72
    assert (chosen["cause"] == "hidden_part").all()
    assert (chosen["planted_site"] == "none").all()
    for i, row in chosen.iterrows():
        mark = scenes[i].mark
        assert (mark is not None) == (row["planted_reason"] == "background and stamp")
        assert mark is None or MARK_OWNERS[GENUS_OF[row["species"]].name, mark] == row["species"]
        assert scenes[i].habitat == HOMES[row["species"]]


def test_classifiers_are_fooled_as_planted(tmp_path):
    data = testbed.survey(72, 4, shortcuts=4, stumps=4, folder=tmp_path / "a", size=128)
    fault = data.table["planted_site"]
    right = {}
    for name in (None, "habitat"):
        classifier = testbed.classifier(name)
        images = torch.stack([data.load(i, classifier.preprocessing)[0] for i in range(len(data))])
        predicted = [classifier.class_names[k] for k in classifier.logits(images).argmax(1).tolist()]
        right[name] = (pd.Series(predicted) == data.table["planted_label"]).groupby(fault).mean()
    assert right[None]["none"] > 0.9
    assert right[None]["shortcut"] > 0.9
    assert right[None]["stump"] < 0.8
    assert right["habitat"]["none"] > 0.9
    assert right["habitat"]["shortcut"] < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": 0}, "sites is 0; it must be"),
        ({"bursts": 0}, "bursts is 0; it must be"),
        ({"shortcuts": -1}, "shortcuts is -1; it must be"),
        ({"shortcuts": 8, "stumps": 5}, "shortcuts and stumps are 13 sites of 12"),
        ({"blanks": 1.5}, "blanks is 1.5; it must be"),
        ({"blanks": 0.9}, "blanks at 0.9 are 324 of 360 photographs, but only 240"),
        ({"wrong_reasons": 0.9, "causes": {"night": 0.5}}, "wrong reasons at 0.9"),
        ({"causes": {"fog": 0.1}}, "unknown cause 'fog'"),
        ({"causes": {"habitat": {"marl tit": 0.1}}}, "'habitat' is one number for all species"),
        ({"causes": {"night": 0.5, "tiny": 0.5}, "blanks": 0.5}, "leave too few photographs"),
        (
            {"species": ["marl tit"], "causes": {"habitat": 0.5}},
            "none of these species has a congener at home in reeds",
        ),
        ({"species": ["dodo"]}, "unknown species 'dodo'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(SettingsError, match=message):
        planned(**options)
