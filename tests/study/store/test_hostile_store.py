"""A study's folder that came from a stranger: it can run nothing, read nothing else and write nowhere else."""

import base64
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from study_cases import make_classifier, make_data, register_counting, run

import fidokit as fk
from fidokit import cli
from fidokit.exceptions import FidokitError, StoreError
from fidokit.models.classifier import Classifier
from fidokit.study.store import checksummed, trust
from fidokit.study.store.store import Store, part_name, slug

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    data = make_data(folder / "data", 6)
    register_counting("counting")
    run(make_classifier(), data, folder / "s")
    return folder / "s", data


@pytest.fixture
def store(made, tmp_path):
    """A copy of the study, as it came by mail."""
    shutil.copytree(made[0], tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """From here on this machine has another user, who began no study."""
    monkeypatch.setattr(trust, "_list_path", lambda: tmp_path / "other" / "studies.txt")


def edit(store, path, value):
    manifest = json.loads((store / "study.json").read_text())
    *parents, last = path
    node = manifest
    for key in parents:
        node = node[key]
    node[last] = value
    (store / "study.json").write_text(json.dumps(manifest))


def use_all(store, page):
    """What a user would do with it; the errors, all of them our own."""
    try:
        study = fk.open_study(store)
    except FidokitError as error:
        return [error]
    errors = []
    for act in (
        study.masks,
        lambda: list(study.iter_masks()),
        study.predictions,
        study.failures,
        study.status,
        study.check,
        lambda: study.summary(10),
        lambda: study.mask_array("counting", "ssr"),
        lambda: study.classifier,
        lambda: study.data,
        lambda: fk.write_report(study, page),
    ):
        try:
            act()
        except FidokitError as error:
            errors.append(error)
    return errors


# Code.


class Exploit:
    def __reduce__(self):
        return Path.touch, (Path(Exploit.target),)


@pytest.mark.parametrize(
    "name", ["study.json", "images.parquet", "masks", "predictions", "failures", "metrics", ".lock"]
)
def test_pickles_are_never_loaded(store, tmp_path, name):
    Exploit.target = str(tmp_path / "was-run")
    content = pickle.dumps(Exploit())
    path = store / name
    if path.is_dir():
        path = path / (f"part-{slug('counting')}-00000.parquet" if name != "predictions" else "part-00000.parquet")
    path.write_bytes(content)
    use_all(store, tmp_path / "page.html")
    assert not (tmp_path / "was-run").exists()
    if name != ".lock":
        states = fk.open_study(store).check()["state"] if name != "study.json" else pd.Series(["damaged"])
        assert states.isin(["damaged", "foreign"]).any()


@pytest.mark.parametrize(
    "name",
    [
        *("python:os:system", "python:fidokit.cli:main", "python:fidokit.samples:photographs", "weights.pt2", ""),
        *("hf:/srv/model", "timm:hf-hub:me/evil", "timm:local-dir:/srv", "python:fidokit.testbed:os.system"),
        "file:///etc/passwd",
    ],
)
def test_a_model_that_a_stranger_names_is_not_loaded(store, stranger, monkeypatch, name):
    monkeypatch.setattr(Classifier, "load", lambda *_args, **_options: pytest.fail("was loaded"))
    edit(store, ["classifier", "name"], name)
    with pytest.raises(StoreError, match="only run if you say so"):
        _ = fk.open_study(store).classifier


@pytest.mark.parametrize("name", ["weights.pt2", "hf:model", "timm:hf-hub:me/mine"])
def test_a_model_of_ones_own_study_is_loaded_unless_its_name_was_changed(made, store, monkeypatch, name):
    monkeypatch.setattr(Classifier, "load", lambda *_args, **_options: make_classifier())
    edit(store, ["classifier", "name"], name)
    with pytest.raises(StoreError, match="only run if you say so"):
        _ = fk.open_study(store).classifier
    assert fk.open_study(store, trust=True).classifier.class_names == make_classifier().class_names
    manifest = json.loads((store / "study.json").read_text())
    Store(store).remember(manifest)
    assert fk.open_study(store).classifier.class_names == make_classifier().class_names


def test_functions_are_not_run_for_trust(store):
    edit(store, ["classifier", "name"], "python:os:abort")
    with pytest.raises(StoreError, match="Python function"):
        _ = fk.open_study(store, trust=True).classifier


# What it could have shown.


def private(store, tmp_path):
    """The store names a private picture in place of the first photograph."""
    secret = tmp_path / "private.png"
    Image.fromarray(np.full((16, 16, 3), (1, 254, 77), np.uint8)).save(secret)
    table = pq.read_table(store / "images.parquet")
    paths = table["path"].to_pylist()
    paths[0] = str(secret)
    table = table.set_column(table.column_names.index("path"), "path", pa.array(paths))
    (store / "images.parquet").write_bytes(checksummed.encode(table))


def pictures(page):
    return [
        base64.b64decode(text) for text in re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page.read_text())
    ]


def test_photographs_that_a_stranger_names_are_not_shown(store, tmp_path):
    """The table was changed, so it is not the user's own study any more."""
    assert pictures(fk.write_report(fk.open_study(store), tmp_path / "before.html"))
    private(store, tmp_path)
    study = fk.open_study(store)
    assert not study.is_own
    with pytest.raises(StoreError, match=r"not begun by you .* data=\.\.\.\), or, if you know .* trust=True"):
        _ = study.data
    page = fk.write_report(study, tmp_path / "page.html")
    assert pictures(page) == []
    assert "was not begun by you on this machine" in page.read_text()
    assert "<img" in page.read_text()  # the masks


def test_a_study_of_somebody_else_opens_and_shows_what_is_given(store, stranger, made, tmp_path):
    study = fk.open_study(store)
    assert len(study.masks()) == 12
    assert len(study.summary(10)) == 2
    assert pictures(fk.write_report(study, tmp_path / "page.html")) == []
    given = fk.open_study(store, data=made[1])
    assert len(pictures(fk.write_report(given, tmp_path / "page.html"))) == 6
    trusted = fk.open_study(store, trust=True)
    assert len(pictures(fk.write_report(trusted, tmp_path / "page.html"))) == 6


def test_the_command_reads_them_if_it_is_told_to(store, stranger, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert cli.main(["report", str(store), "--out", str(page)]) == 0
    assert pictures(page) == []
    assert cli.main(["report", str(store), "--out", str(page), "--trust"]) == 0
    assert len(pictures(page)) == 6


def test_a_study_is_known_again_by_all_that_it_names(stranger, tmp_path):
    manifest = {"dataset": {"root": "/x"}, "classifier": {"name": None}}
    assert not trust.is_remembered(b"table", manifest)
    trust.remember(b"another", manifest)
    trust.remember(b"table", manifest)
    assert trust.is_remembered(b"table", manifest | {"methods": {}})
    assert not trust.is_remembered(b"other", manifest)
    assert not trust.is_remembered(b"table", manifest | {"dataset": {"root": "/"}})
    assert not trust.is_remembered(b"table", manifest | {"classifier": {"name": "weights.pt2"}})
    (tmp_path / "other" / "studies.txt").write_bytes(b"\0\xff\n")
    assert not trust.is_remembered(b"table", manifest)


def test_a_study_whose_table_is_written_anew_names_only_what_was_given(store, stranger, made):
    """A stranger's study without its table: with a table of the user's own, his other names are not taken over."""
    edit(store, ["classifier", "name"], "weights.pt2")
    edit(store, ["dataset", "root"], "/secret")
    (store / "images.parquet").unlink()
    register_counting("counting")
    run(make_classifier(), made[1], store)
    study = fk.open_study(store)
    assert study.manifest["classifier"]["name"] is None
    assert study.manifest["dataset"]["root"] == str(made[1].root)
    assert len(study.data) == 6


def test_without_a_place_for_the_list_a_study_is_made_and_asks_for_its_photographs(made, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(trust, "_list_path", lambda: tmp_path / "file" / "studies.txt")
    register_counting("counting")
    study = run(make_classifier(), made[1], tmp_path / "s")
    assert len(study.data) == 6
    with pytest.raises(StoreError, match="data="):
        _ = fk.open_study(tmp_path / "s").data


# Ways out of the folder.


@pytest.mark.filterwarnings("ignore:.*is a symbolic link:RuntimeWarning")
@pytest.mark.parametrize("name", ["study.json", "images.parquet", "masks", "predictions", "metrics", "damaged"])
def test_links_are_not_followed(store, made, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    if (store / name).is_file():
        (store / name).rename(outside / "file")
        (store / name).symlink_to(outside / "file")
    else:
        if (store / name).exists():
            shutil.rmtree(store / name)
        (store / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*")}
    if name == "damaged":
        (store / part_name("masks", slug("counting"), 0)).write_bytes(b"x")
    register_counting("counting")
    if name == "images.parquet":
        # The link itself is set aside, like any part that is not the study's own.
        run(make_classifier(), made[1], store)
        assert not (store / name).is_symlink()
    else:
        with pytest.raises(StoreError, match="symbolic link"):
            run(make_classifier(), made[1], store)
    use_all(store, tmp_path / "page.html")
    assert {path: path.read_bytes() for path in outside.rglob("*")} == before


@pytest.mark.parametrize("name", ["report.html", "errors", "errors/clusters.csv"])
def test_commands_do_not_write_through_links(store, tmp_path, capsys, name):
    profile = tmp_path / "profile"
    if name == "errors":
        profile.mkdir()
    else:
        profile.write_text("mine")
    (store / name).parent.mkdir(exist_ok=True)
    (store / name).symlink_to(profile)
    command = ["report", str(store)] if name == "report.html" else ["errors", str(store), "--no-verify"]
    assert cli.main(command) == 2
    assert "symbolic link" in capsys.readouterr().err
    assert list(profile.iterdir()) == [] if profile.is_dir() else profile.read_text() == "mine"


def test_labels_are_no_paths(store, tmp_path):
    manifest = json.loads((store / "study.json").read_text())
    entry = manifest["methods"]["counting"]
    labels = [
        "../../../escape",
        "/etc/passwd",
        "a/../../b",
        "..",
        "CON",
        "a\0b",
        "\ud800".encode("utf-8", "replace").decode(),
    ]
    edit(store, ["methods"], dict.fromkeys(labels, entry))
    before = sorted(tmp_path.rglob("*"))
    errors = use_all(store, tmp_path / "page.html")
    assert set(tmp_path.rglob("*")) - set(before) <= {tmp_path / "page.html"}
    assert not any("passwd" in str(error) and "root:" in str(error) for error in errors)


# Absurd values.


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["dataset", "n"], 2**62),
        (["dataset", "n"], -1),
        (["dataset", "n"], 6.5),
        (["dataset", "n"], True),
        (["dataset", "root"], None),
        (["options", "part_size"], 0),
        (["options", "part_size"], 2**40),
        (["options", "part_size"], "4"),
        (["options", "targets"], "all"),
        (["classifier", "class_names"], []),
        (["classifier", "class_names"], [1, 2]),
        (["classifier", "precision"], "int1"),
        (["classifier", "micro_batch"], 10**12),
        (["classifier", "prompts"], []),
        (["classifier", "prompts"], {"names": {}, "templates": ["{}"]}),
        (["classifier", "prompts"], {"names": {"jay": "jay"}, "templates": ["{}"]}),
        (["classifier", "prompts"], {"names": {"jay": ["jay"]}, "templates": []}),
        (["classifier", "preprocessing"], {}),
        (["classifier", "preprocessing", "size"], [2**31, 2**31]),
        (["classifier", "preprocessing", "size"], [-1, 4]),
        (["classifier", "preprocessing", "std"], [0, 0, 0]),
        (["classifier", "preprocessing", "interpolation"], ["a"]),
        (["classifier", "preprocessing", "more"], 1),
        (["methods"], []),
        (["methods"], {}),
        (["methods", "counting"], None),
        (["methods", "counting", "kinds"], ["everything"]),
        (["methods", "counting", "settings"], []),
    ],
)
def test_absurd_manifests_are_refused_when_they_are_opened(store, path, value):
    edit(store, path, value)
    with pytest.raises(StoreError, match=r"study\.json is damaged: (classifier|dataset|methods|options)"):
        fk.open_study(store)


@pytest.mark.parametrize("value", [10**400, float("nan"), "1"])
def test_absurd_shares_of_metrics_are_refused(store, value):
    edit(store, ["metrics"], {"panel": [], "shares": [value], "road_shares": [0.5]})
    with pytest.raises(StoreError, match=r"study\.json is damaged: metrics\.shares"):
        fk.open_study(store)


@pytest.mark.parametrize("path", ["classifier.name", "classifier.layer", "classifier.micro_batch", "options.against"])
def test_what_may_be_none_may_be_missing(store, tmp_path, path):
    group, name = path.split(".")
    manifest = json.loads((store / "study.json").read_text())
    del manifest[group][name]
    (store / "study.json").write_text(json.dumps(manifest))
    study = fk.open_study(store)
    assert study.manifest[group][name] is None
    use_all(store, tmp_path / "page.html")


def test_a_manifest_that_counts_other_photographs(store):
    edit(store, ["dataset", "n"], 5)
    with pytest.raises(StoreError, match="names 6 photographs in its table and 5 in its manifest"):
        fk.open_study(store).masks()


@pytest.mark.parametrize(
    "content", [b"[" * 10**6, b'{"a":' * 10**5, b"9" * 10**6, b'{"schema_version": 1e999}', b"null"]
)
def test_manifests_that_exhaust_a_parser(store, content):
    (store / "study.json").write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        fk.open_study(store)


def test_a_manifest_of_a_terabyte_is_not_read(store):
    with (store / "study.json").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(StoreError, match="at most"):
        fk.open_study(store)


@pytest.mark.parametrize("name", ["image_id", "path", "label"])
@pytest.mark.parametrize("value", [[1.0, 2.0], 7, {"a": 1}])
def test_a_table_of_photographs_whose_names_are_no_texts(store, name, value):
    path = store / "images.parquet"
    table = pq.read_table(path)
    odd = table.set_column(table.column_names.index(name), name, pa.array([value] * len(table)))
    path.write_bytes(checksummed.encode(odd))
    with pytest.raises(StoreError, match="is not the table of a dataset"):
        fk.open_study(store).predictions()


@pytest.mark.parametrize("height", [2**31 - 1, -4, 0, None])
def test_absurd_sizes_of_masks(store, tmp_path, height):
    path = store / part_name("masks", slug("counting"), 0)
    table = pq.read_table(path).drop_columns(["area"])  # else a summary reads no masks, and no sizes
    heights = pa.array([height] * len(table), pa.int32())
    path.write_bytes(checksummed.encode(table.set_column(table.column_names.index("height"), "height", heights)))
    study = fk.open_study(store)
    for act in (
        study.masks,
        study.summary,
        lambda: study.mask_array("counting", "ssr"),
        lambda: list(study.iter_masks()),
    ):
        with pytest.raises(StoreError, match="fidokit check"):
            act()
    assert (study.check()["state"] == "damaged").sum() == 1


def test_names_with_markup_stay_names(store, tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    edit(store, ["classifier", "class_names"], [evil, "green", "blue"])
    edit(store, ["classifier", "module"], evil)
    edit(store, ["dataset", "root"], f"/{evil}")
    path = store / part_name("predictions", "", 0)
    table = pq.read_table(path)
    for name in ("predicted", "runner_up"):
        table = table.set_column(table.column_names.index(name), name, pa.array([evil] * len(table)))
    path.write_bytes(checksummed.encode(table))
    study = fk.open_study(store)
    page = fk.write_report(study, tmp_path / "page.html").read_text()
    for text in (page, study._repr_html_()):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in page
