"""What all answers share: what they accept, say, write, and show at the end of a cell."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from answer_cases import BOX, photographs, sites
from PIL import Image
from report_cases import HARM, SCRIPT_FILE, make_study, parse

from fidokit.exceptions import SettingsError, StoreError
from fidokit.figures.answers import cells_of, heads_of, with_box


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("answers"))


def test_a_row_has_its_examples(study):
    answer = sites(study)
    assert answer.examples_of(0)["image_id"].tolist() == [SCRIPT_FILE, "gone <i>.png"]
    assert answer.examples_of(0).iloc[0][list(BOX)].to_dict() == BOX
    assert answer.examples_of(0).iloc[1][list(BOX)].isna().all()
    assert answer.examples_of(2).empty
    rows = photographs(study)
    assert rows.examples_of(1)["caption"].tolist() == ["dark"]
    assert rows.examples_of(0)["image_id"].tolist() == ["b3.png"]  # no example, and shown all the same


def test_examples_belong_to_something(study):
    one = {"group": "ridge", "image_id": "b2.png", "caption": ""}
    for spoilt, words in [
        ({"group": "forest"}, "values of the table's column 'site'"),
        ({"image_id": "other.png"}, "no photograph 'other.png'"),
    ]:
        with pytest.raises(SettingsError, match=words):
            sites(study, examples=pd.DataFrame([one | spoilt]))
    with pytest.raises(SettingsError, match="lack the column 'caption'"):
        sites(study, examples=pd.DataFrame([one]).drop(columns="caption"))


def test_what_it_says_and_writes(study, tmp_path):
    answer = sites(study)
    assert answer.summary() == "Which site?\nOne of 3 sites.\nNote: Said by nobody."
    assert repr(answer) == "Answer('Which site?', 3 rows: One of 3 sites.)"
    copy = answer.to_frame()
    copy.loc[0, "n"] = 99
    assert answer.table["n"].iloc[0] == 4
    written = pd.read_csv(answer.to_csv(tmp_path / "new" / "sites.csv"))
    assert written["site"].tolist() == [HARM, "ridge", "'=1+1"]
    with pytest.raises(StoreError, match="cannot be written"):
        answer.to_csv(tmp_path / "new" / "sites.csv" / "below")


def test_cells_in_words(study):
    answer = sites(study)
    assert [head.name for head in heads_of(answer)] == ["site", "n", "background", "p_value", "found", "why"]
    assert [head.textual for head in heads_of(answer)] == [True, False, False, False, True, True]
    assert heads_of(answer)[2].remark == "share of the decision"
    first, second, third = ([(cell.text, cell.remark) for cell in row] for row in cells_of(answer, 10))
    assert first[1:] == [
        *(("4", ""), ("0.40", "0.30 – 0.50"), ("< 0.001", "")),
        *(("yes", ""), ("reeds; water", "")),
    ]
    assert second[4:] == [("no", ""), ("–", "")]
    assert third[2] == ("–", "")
    assert [cell.value for cell in cells_of(answer, 1)[0]] == [HARM, 4.0, 0.4, 0.0002, "yes", "reeds; water"]
    assert [head.name for head in heads_of(photographs(study))] == ["rank", "image_id"]


def test_a_box_is_outlined_around_what_is_in_it():
    photograph = Image.new("RGB", (400, 200), (90, 90, 90))
    pixels = np.asarray(with_box(photograph, BOX, 200)).astype(int)
    assert pixels.shape == (100, 200, 3)
    changed = (pixels != 90).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert 44 <= rows[0] < 50 <= rows[-1]
    assert (44 <= columns[0] < 50, 99 < columns[-1] <= 106) == (True, True)
    assert not changed[53:97, 53:96].any()
    bare = np.asarray(with_box(photograph, dict.fromkeys(BOX, np.nan), 200))
    assert (bare == 90).all()
    assert photograph.getpixel((100, 150)) == (90, 90, 90)


def test_at_the_end_of_a_cell(study):
    tree = parse(sites(study)._repr_html_())
    assert not tree.find("script")
    picture, _ = tree.find("img")  # the third photograph is gone
    encoded = picture.attributes["src"].partition(",")[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert ((pixels[..., :2] > 150).all(-1) & (pixels[..., 2] < 110)).any()  # the outline
    for words in (HARM, "the reeds decide & more", "0.40 0.30 – 0.50", "gone <i>.png: /"):
        assert words in tree.text
    assert tree.text.startswith("Which site?One of 3 sites.")
    assert "Note: Said by nobody." in tree.text


def test_an_answer_without_examples(study):
    tree = parse(sites(study, examples=pd.DataFrame(columns=["group", "image_id", "caption"]))._repr_html_())
    assert not tree.find("img")
    assert "ridge" in tree.text
