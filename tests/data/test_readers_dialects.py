"""How tables are written: delimiters, quotes, encodings, line ends, and lines with too many or too few cells."""

import gzip
import json

import pytest
from PIL import Image
from test_readers_birds import cub
from test_readers_camtrap_dp import MEDIA_HEADER, OBSERVATIONS_HEADER, medium, package, seen

from fidokit.data.images import LabelledImages
from fidokit.data.readers.delimited import Dialect, Records
from fidokit.exceptions import SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")


def read(tmp_path, content):
    path = tmp_path / "birds.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return LabelledImages.from_csv(path)


class TestCells:
    @pytest.mark.parametrize(
        ("number", "row", "message"),
        [
            # A place with a comma and no quotes moves every cell after it: the label would be what the animal does.
            (
                1,
                "o1,d1,m1,e1,t,t,media,animal,,Vulpes, vulpes,1,,,,,,,,,human,S",
                "22 cells under 21 columns; put cells",
            ),
            (
                2,
                "o2,d1,m1,e1,t,t,media,animal,,Vulpes, vulpes,1,,,,,,,,,human,S",
                "22 cells under 21 columns; put cells",
            ),
            (1, "o1,d1,m1,e1,t,t,media,animal,,Vulpes vulpes,1,,,,,,,,,human,S,", "22 cells under 21 columns"),
            (1, "o1,d1,m1,e1", "4 cells under 21 columns; the line is cut off"),
            (2, "o2,d1,m1,e1,t,t,media,animal,,Vulpes\nvulpes,1,,,,,,,,,human,S", "10 cells under 21 columns"),
            (1, 'o1,d1,m1,e1,t,t,media,animal,,"Vulpes,1,,,,,,,,,human,S', "unexpected end of data"),
        ],
    )
    def test_camtrap_records_with_other_cells_than_columns(self, tmp_path, number, row, message):
        before = seen("o0", "m1", name="Lepus") if number == 2 else ""
        root = package(tmp_path, medium("m1"), f"{before}{row}\n")
        with pytest.raises(
            SettingsError, match=rf"observations\.csv cannot be read as CSV \(record {number}, line"
        ) as e:
            LabelledImages.from_camtrap_dp(root)
        assert message in str(e.value)

    @NO_WARNING
    def test_quoted_line_ends_and_a_delimiter_at_the_end_of_every_line(self, tmp_path):
        package(tmp_path, medium("m1"), "")
        header, row = OBSERVATIONS_HEADER.strip(), seen("o1", "m1", name='"Vulpes\nvulpes"').strip()
        (tmp_path / "observations.csv").write_text(f"{header},\n{row},\n")
        assert LabelledImages.from_camtrap_dp(tmp_path).table["label"].tolist() == ["Vulpes\nvulpes"]
        data = read(tmp_path, "path,label,\na.png,x,\nb.png,y,\n")
        assert data.table.columns.tolist() == ["image_id", "path", "label"]
        kept = read(tmp_path, ",path,label\n0,a.png,x\n1,b.png,y\n")
        assert kept.table[""].tolist() == [0, 1]

    def test_headers_alone(self, tmp_path):
        with pytest.warns(RuntimeWarning, match="1 photographs have no label"):
            data = LabelledImages.from_camtrap_dp(package(tmp_path, medium("m1"), ""))
        assert data.table["label"].tolist() == [None]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "path,label\na.png,Hill, north\n",
                r"line 2: 3 cells under 2 columns; put cells that contain ',' in quotes",
            ),
            ("path;label\na.png\n", "line 2: 1 cells under 2 columns; the line is cut off"),
            ('path,label\na.png,"x\nb.png,y\n', "line 3: unexpected end of data"),
            ('path,label\na.png,"x"y\n', "line 2: .*expected after"),
            ("path,label,\na.png,x,\nb.png,y\n", "line 3: 2 cells under 3 columns"),
        ],
    )
    def test_lines_of_a_csv(self, tmp_path, text, message):
        with pytest.raises(SettingsError, match=rf"birds\.csv, {message}"):
            read(tmp_path, text)


ODD = ["\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]


class TestLineEnds:
    @NO_WARNING
    @pytest.mark.parametrize("character", ODD)
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_other_separators_are_characters(self, tmp_path, character, end):
        name = f"a{character}b.png"
        Image.new("RGB", (8, 8)).save(tmp_path / name)
        data = read(tmp_path, end.join(["path,label", f"{name},x{character}y", "c.png,z", ""]))
        assert data.table["image_id"].tolist() == [name, "c.png"]
        assert data.table["label"].tolist() == [f"x{character}y", "z"]
        assert data.open(0).size == (8, 8)

    @NO_WARNING
    @pytest.mark.parametrize("character", ODD)
    @pytest.mark.parametrize("end", ["\n", "\r"])
    def test_in_other_layouts(self, tmp_path, character, end):
        path = f"media/m{character}1.jpg"
        root = package(tmp_path, medium("m1", file=path), seen("o1", "m1", name=f"Vulpes{character}vulpes"))
        for file in root.glob("*.csv"):
            file.write_bytes(file.read_bytes().replace(b"\n", end.encode()))
        table = LabelledImages.from_camtrap_dp(root).table
        assert table["path"].tolist() == [str(root / path)]
        assert table["label"].tolist() == [f"Vulpes{character}vulpes"]
        changes = {"images": f"1 a{character}b.jpg\n2 c.jpg\n3 d.jpg\n", "classes": f"1 001.x{character}y\n112 z\n"}
        folder = cub(tmp_path, **{name: text.replace("\n", end) for name, text in changes.items()})
        table = LabelledImages.from_cub(folder).table
        assert table["path"].tolist()[0] == str(folder / "images" / f"a{character}b.jpg")
        assert table["label"].tolist() == [f"x{character}y", f"x{character}y", "z"]


class TestCsv:
    @NO_WARNING
    @pytest.mark.parametrize(
        "text",
        [
            "sep=;\npath;label\na,b.png;x\n",
            'SEP=;\r\npath;label\r\n"a,b.png";x\r\n',
            '"sep=|"\npath|label\na,b.png|x\n',
            "sep=\t\npath\tlabel\na,b.png\tx\n",
            'path;"label"\na,b.png;x\n',
            '\n"path";label\n"a,b.png";x\n',
        ],
    )
    def test_separators(self, tmp_path, text):
        table = read(tmp_path, text).table
        assert table["image_id"].tolist() == ["a,b.png"]
        assert table["label"].tolist() == ["x"]

    def test_lines_are_counted_with_the_first(self, tmp_path):
        with pytest.raises(SettingsError, match=r"birds\.csv, line 3: 1 cells under 2 columns"):
            read(tmp_path, "sep=;\npath;label\na.png,x\n")

    @NO_WARNING
    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
    def test_what_a_byte_order_mark_says(self, tmp_path, encoding):
        text = "path\tlabel\r\nZaunkönig.png\tReiher – grau\r\n"
        mark = "\ufeff" if encoding.endswith(("-le", "-be")) else ""
        table = read(tmp_path, (mark + text).encode(encoding)).table
        assert table["image_id"].tolist() == ["Zaunkönig.png"]
        assert table["label"].tolist() == ["Reiher – grau"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("path,label\na.png,x\n".encode("utf-16-le"), "line 1: not UTF-8, or damaged; save"),
            (b"\xff\xfep\0a\0t", "line 1: not UTF-16; save the file with the encoding UTF-8"),
            ("path,label\nZaunkönig.png,x\n".encode("cp1252"), "line 2: not UTF-8"),
        ],
    )
    def test_other_encodings_are_refused(self, tmp_path, content, message):
        with pytest.raises(SettingsError, match=rf"birds\.csv, {message}"):
            read(tmp_path, content)

    def test_a_coco_json_with_a_byte_order_mark(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"images": [{"id": 1, "file_name": "é.jpg"}]}), encoding="utf-16")
        assert LabelledImages.from_coco(path).table["image_id"].tolist() == ["1"]


def with_media(tmp_path, text, **resource):
    """A package whose table of media is this text, and described so."""
    resources = [
        {"name": "deployments", "path": "deployments.csv"},
        {"name": "media", "path": "m.csv"} | resource,
        {"name": "observations", "path": "observations.csv"},
    ]
    package(tmp_path, "", seen("o1", "m1", name="Vulpes vulpes") + seen("o2", "m2", name="Lepus"), resources=resources)
    (tmp_path / "m.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return LabelledImages.from_camtrap_dp(tmp_path)


class TestDataPackages:
    @NO_WARNING
    @pytest.mark.parametrize(
        ("dialect", "text"),
        [
            ({"delimiter": ";"}, 'mediaID;deploymentID;filePath\nm1;d1;"a;1.jpg"\nm2;d1;b.jpg\n'),
            ({"delimiter": "\t"}, "mediaID\tdeploymentID\tfilePath\nm1\td1\ta;1.jpg\nm2\td1\tb.jpg\n"),
            ({"delimiter": "|", "quoteChar": "'"}, "mediaID|deploymentID|filePath\n'm1'|d1|'a;1.jpg'\nm2|d1|b.jpg\n"),
            ({"quoteChar": "'"}, "mediaID,deploymentID,filePath,x\nm1,d1,a;1.jpg,'a, b'\nm2,d1,b.jpg,'it''s'\n"),
            (
                {"quoteChar": "'", "doubleQuote": False, "escapeChar": "\\"},
                "mediaID,deploymentID,filePath,x\nm1,d1,a;1.jpg,'it\\'s, so'\nm2,d1,b.jpg,\n",
            ),
            (
                {"commentChar": "#"},
                '#made by hand, "\nmediaID,deploymentID,filePath,x\n# m0,d1\n'
                'm1,d1,a;1.jpg,"#\n# no comment"\nm2,d1,b.jpg,#\n',
            ),
            ({"skipInitialSpace": True}, 'mediaID, deploymentID, filePath\nm1, d1, "a;1.jpg"\nm2, d1, b.jpg\n'),
            ({"quoteChar": None}, 'mediaID,deploymentID,filePath,x\nm1,d1,a;1.jpg,6" snow\nm2,d1,b.jpg,"\n'),
            ({"lineTerminator": "\r"}, "mediaID,deploymentID,filePath\rm1,d1,a;1.jpg\rm2,d1,b.jpg\r"),
        ],
    )
    @pytest.mark.parametrize("in_a_file", [False, True])
    def test_dialects(self, tmp_path, dialect, text, in_a_file):
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "dialect.json").write_text(json.dumps(dialect))
        data = with_media(tmp_path, text, dialect="d/dialect.json" if in_a_file else dialect)
        assert data.table["image_id"].tolist() == ["m1", "m2"]
        assert data.table["path"].tolist() == [str(tmp_path / "a;1.jpg"), str(tmp_path / "b.jpg")]
        assert data.table["label"].tolist() == ["Vulpes vulpes", "Lepus"]

    @NO_WARNING
    def test_a_table_without_a_header_and_one_with_tabs(self, tmp_path):
        fields = [{"name": name, "type": "string"} for name in ("filePath", "mediaID", "deploymentID")]
        rows = "a.jpg,m1,d1\nb.jpg,m2,d1\n"
        data = with_media(tmp_path, rows, dialect={"header": False}, schema={"fields": fields})
        assert data.table["image_id"].tolist() == ["m1", "m2"]
        tabs = "mediaID\tdeploymentID\tfilePath\nm1\td1\ta,1.jpg\nm2\td1\tb.jpg\n"
        assert with_media(tmp_path, tabs, format="tsv").table["image_id"].tolist() == ["m1", "m2"]

    @pytest.mark.parametrize("mark", [";", "\t"])
    def test_another_separator_than_the_package_says_is_told(self, tmp_path, mark):
        text = mark.join(
            ["mediaID", "deploymentID", "filePath", "x\nm1", "d1", "a.jpg", "1,5\nm2", "d1", "b.jpg", "2\n"]
        )
        with pytest.warns(RuntimeWarning, match=r"m\.csv is separated by .*, which the package does not say"):
            data = with_media(tmp_path, text)
        assert data.table["image_id"].tolist() == ["m1", "m2"]
        with pytest.raises(SettingsError, match="no column mediaID"):
            with_media(tmp_path, text, dialect={"delimiter": ","})

    @NO_WARNING
    def test_encodings(self, tmp_path):
        text = "mediaID,deploymentID,filePath\nm1,d1,Zaunkönig.jpg\nm2,d1,b.jpg\n"
        for encoding, said in (
            ("latin-1", "ISO-8859-1"),
            ("cp1252", "windows-1252"),
            ("utf-16", "utf-8"),
            ("utf-8-sig", "latin1"),
        ):
            data = with_media(tmp_path, text.encode(encoding), encoding=said)
            assert data.table["path"].tolist()[0] == str(tmp_path / "Zaunkönig.jpg")

    @pytest.mark.parametrize(
        ("resource", "message"),
        [
            ({"dialect": {"delimiter": ";;"}}, "the dialect's delimiter is ';;'; it must be one character"),
            ({"dialect": {"quoteChar": 1}}, "the dialect's quoteChar is 1"),
            ({"dialect": {"doubleQuote": "no"}}, "the dialect's doubleQuote is 'no'; it must be true or false"),
            ({"dialect": {"header": False}}, "the table has no header, and its schema lists no fields"),
            ({"dialect": {"header": False}, "schema": {"fields": [3]}}, "its schema lists no fields"),
            ({"dialect": {"lineTerminator": "$"}}, r"lines end in '\$', which cannot be read"),
            ({"dialect": {"headerRows": [1, 2]}}, r"headerRows \[1, 2\] cannot be read"),
            ({"dialect": [";"]}, "the dialect is .*; it must be a JSON object"),
            ({"dialect": "no.json"}, r"no\.json cannot be read"),
            ({"dialect": "../d.json"}, "leads out of the dataset"),
            ({"dialect": "https://a.eu/d.json"}, "lies on a server"),
            ({"encoding": "klingon"}, r"m\.csv: there is no encoding 'klingon'"),
            ({"encoding": 8}, "the encoding is 8"),
        ],
    )
    def test_what_cannot_be_used(self, tmp_path, resource, message):
        with pytest.raises(SettingsError, match=message):
            with_media(tmp_path, "mediaID,deploymentID,filePath\nm1,d1,a.jpg\n", **resource)


def test_records_name_their_lines_and_numbers():
    def error(line, record, what):
        return SettingsError(f"{line} {record} {what}")

    records = Records('a,b\n\n1,"x\ny"\n ,\n3,4\n5\n', Dialect(), error)
    assert [records.header, records.header_line, records.delimiter] == [["a", "b"], 1, ","]
    found = iter(records)
    assert [next(found), next(found)] == [(4, ["1", "x\ny"]), (6, ["3", "4"])]
    with pytest.raises(SettingsError, match=r"^7 3 1 cells"):
        next(found)
    assert Records("", Dialect(), error).header == []
    assert len(MEDIA_HEADER.split(",")) == 11


class TestPathsOfWindows:
    @pytest.mark.parametrize("paths", [["sub\\a.png"], ["sub\\deep\\b.png", "c.png"], ["sub\\a.png", "sub/d.png"]])
    def test_backslashes_are_turned_and_said(self, tmp_path, paths):
        for path in paths:
            file = tmp_path / path.replace("\\", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 8)).save(file)
        said = r"1 paths have backslashes, which are taken for slashes \(first: .*line 2"
        with pytest.warns(RuntimeWarning, match=said):
            data = read(tmp_path, "path,label\n" + "".join(f"{path},x\n" for path in paths))
        expected = [str(tmp_path / path.replace("\\", "/")) for path in paths]
        assert data.table["path"].tolist() == expected
        assert [data.open(i).size for i in range(len(paths))] == [(9, 8)] * len(paths)

    @NO_WARNING
    def test_a_file_whose_name_has_a_backslash_is_found(self, tmp_path):
        Image.new("RGB", (9, 8)).save(tmp_path / "a\\b.png")
        assert read(tmp_path, "path,label\na\\b.png,x\n").open(0).size == (9, 8)

    @pytest.mark.parametrize("path", ["C:\\birds\\a.png", "d:/birds/a.png", "\\\\server\\share\\a.png"])
    def test_drives_and_servers_are_said(self, tmp_path, path):
        said = "1 paths are those of a drive or server under Windows; make them relative"
        with pytest.warns(RuntimeWarning, match=said):
            read(tmp_path, f"path,label\n{path},x\n")


class TestBoxesOfOtherNames:
    @pytest.mark.parametrize(
        ("header", "cells"),
        [
            ("xmin,ymin,xmax,ymax", "4,4,20,30"),
            ("bbox_x,bbox_y,bbox_width,bbox_height", "4,4,20,30"),
            ("X,Y,W,H", "4,4,20,30"),
            ("left,top,right,bottom", "4,4,20,30"),
            ("bbox", '"[4, 4, 20, 30]"'),
        ],
    )
    def test_they_are_not_guessed_and_it_is_said_once(self, tmp_path, header, cells):
        with pytest.warns(RuntimeWarning, match=rf"{header.replace(',', ', ')} (is|are) not read as boxes") as caught:
            data = read(tmp_path, f"path,label,{header}\na.png,x,{cells}\n")
        assert str(caught[0].message).count("not read as boxes") == 1
        assert not data.boxed.any()

    @NO_WARNING
    @pytest.mark.parametrize(("header", "cells"), [("x0,y0,x1,y1,bbox", "4,4,20,30,a"), ("x,y", "1,2"), ("width", "3")])
    def test_other_columns_need_no_word(self, tmp_path, header, cells):
        assert len(read(tmp_path, f"path,label,{header}\na.png,x,{cells}\n")) == 1


def test_what_the_columns_are_taken_for_is_said_once(tmp_path):
    with pytest.warns(RuntimeWarning, match="rename one of 'species', 'common_name' to label") as caught:
        read(tmp_path, "path,species,common_name\na.png,x,y\n")
    assert str(caught[0].message).count("rename one of") == 1


class TestValuesAndFiles:
    @pytest.mark.parametrize("where", ["inline", "file", "objects"])
    def test_missing_values_of_the_schema(self, tmp_path, where):
        values = ["", "NULL", "-"] if where != "objects" else [{"value": "NULL", "label": "none"}, {"value": "-"}]
        schema = {"missingValues": values}
        (tmp_path / "schema.json").write_text(json.dumps(schema))
        resources = [
            {"name": name, "path": f"{name}.csv", "schema": "schema.json" if where == "file" else schema}
            for name in ("deployments", "media", "observations")
        ]
        rows = seen("o1", "m1", name="NULL") + seen("o2", "m2", name="Vulpes vulpes", box="-,-,-,-")
        root = package(tmp_path, medium("m1") + medium("m2"), rows, resources=resources)
        with pytest.warns(RuntimeWarning, match="1 photographs have no label") as caught:
            data = LabelledImages.from_camtrap_dp(root)
        assert data.table["label"].tolist() == [None, "Vulpes vulpes"]
        assert "boxes" not in str(caught[0].message)

    @NO_WARNING
    def test_compressed_tables_that_are_not_called_so(self, tmp_path):
        root = package(tmp_path, medium("m1"), seen("o1", "m1", name="Vulpes vulpes"))
        for name in ("media", "observations"):
            file = tmp_path / f"{name}.csv"
            file.write_bytes(gzip.compress(file.read_bytes()))
        assert LabelledImages.from_camtrap_dp(root).table["label"].tolist() == ["Vulpes vulpes"]
