"""`fidokit export`: each form from a shell, and what is refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from cli_cases import run
from study_cases import CLASSES, SIZE, Colours, make_data, register_counting

import fidokit as fk

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.filterwarnings("ignore::RuntimeWarning")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    register_counting("counting")
    clf = fk.Classifier(
        *(Colours(), CLASSES),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        size=(SIZE, SIZE),
        device="cpu",
        precision="float32",
        micro_batch=8,
    )
    data = make_data(folder / "data", 6)
    data = fk.LabelledImages.from_table(data.table.assign(datetime="2024-05-31 12:00:00"), root=data.root)
    fk.run_study(clf, data, ["counting"], store=folder / "run", progress=False)
    return folder / "run"


def export(capsys, *arguments):
    return run(capsys, "export", *arguments)


def test_timelapse_with_clusters_and_a_review(capsys, store, tmp_path):
    ids = fk.open_study(store).images["image_id"].tolist()
    pd.DataFrame({"cluster": [3], "systematic": [True], "sentence": ["all dark"]}).to_csv(tmp_path / "clusters.csv")
    pd.DataFrame({"image_id": ids[:2], "cluster": 3}).to_csv(tmp_path / "members.csv")
    pd.DataFrame({"image_id": ids[:1], "review": "confirmed"}).to_csv(tmp_path / "review.csv")
    out = tmp_path / "new" / "out.csv"
    given = ["--errors", tmp_path, "--review", tmp_path / "review.csv", "--mask", "counting:sdr"]
    code, said, err = export(capsys, store, "--to", "timelapse", "--out", out, *given)
    assert code == 0, err
    assert f"Written: {out}" in said
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert table["FidokitClusters"].tolist()[:3] == ["3", "3", ""]
    assert table["FidokitReview"].tolist()[:2] == ["confirmed", "open"]
    assert set(table["FidokitMask"]) <= {"enough and needed", "enough only", "needed only", "explains little"}
    code, _, err = export(capsys, store, "--to", "timelapse", "--out", out)
    assert code == 2
    assert "out.csv is there already; choose another name" in err
    arguments = ["--overwrite", "--columns", "prediction=Species,score=Sure"]
    assert export(capsys, store, "--to", "timelapse", "--out", out, *arguments)[0] == 0
    assert list(pd.read_csv(out).columns) == ["RelativePath", "File", "Species", "Sure"]


def test_a_new_camtrap_dp(capsys, store, tmp_path):
    project = {"title": "t", "samplingDesign": "targeted", "captureMethod": ["timeLapse"], "individualAnimals": False}
    (tmp_path / "about.json").write_text(json.dumps({"contributors": [{"title": "N"}], "project": project}))
    (tmp_path / "deployments.csv").write_text("deploymentID,latitude,longitude\nd1,1.5,2\n")
    (tmp_path / "names.csv").write_text("class,name\nred,Rufus rufus\n")
    out = tmp_path / "package"
    given = ["--descriptor", tmp_path / "about.json", "--deployments", tmp_path / "deployments.csv"]
    given += ["--names", tmp_path / "names.csv", "--timezone", "+02:00", "--copy-media", "--classified-by", "Net"]
    code, said, err = export(capsys, store, "--to", "camtrap-dp", "--out", out, *given)
    assert code == 0, err
    assert f"Written: {out / 'datapackage.json'}" in said
    table = pd.read_csv(out / "observations.csv", dtype=str)
    assert set(table["scientificName"]) == {"Rufus rufus", "green", "blue"}
    assert len(fk.LabelledImages.from_camtrap_dp(out)) == 6


def test_detections_and_label_studio(capsys, store, tmp_path):
    files = fk.open_study(store).images["image_id"].tolist()
    images = [{"file": file, "detections": []} for file in files]
    source = tmp_path / "md.json"
    source.write_text(json.dumps({"info": {"format_version": "1.5"}, "detection_categories": {}, "images": images}))
    out = tmp_path / "out.json"
    code, _, err = export(capsys, store, "--to", "detections", "--out", out, "--source", source)
    assert code == 0, err
    assert all(image["fidokit"] for image in json.loads(out.read_text())["images"])
    tasks = tmp_path / "tasks.json"
    code, said, err = export(
        capsys, store, "--to", "label-studio", "--out", tasks, "--shape", "rectangle", "--share", "0.2"
    )
    assert code == 0, err
    assert "tasks.xml" in said
    assert len(json.loads(tasks.read_text())) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "detections"], "say with --source which one"),
        (["--to", "timelapse", "--source", "x"], "--source belongs to --to camtrap-dp and detections"),
        (["--to", "timelapse", "--copy-media"], "--copy-media belongs to --to camtrap-dp; leave it out"),
        (["--to", "timelapse", "--mask", "ssr"], "write it as METHOD:KIND"),
        (["--to", "timelapse", "--columns", "prediction=A,score"], "give each field its DataLabel"),
        (["--to", "timelapse", "--review", "none.csv"], "none.csv cannot be read as CSV"),
        (["--to", "timelapse", "--errors", "none"], "members.csv cannot be read as CSV"),
        (["--to", "camtrap-dp"], "lacks contributors, project"),
        (["--to", "label-studio", "--url", "x"], "it must hold {path} once"),
    ],
)
def test_what_is_refused(capsys, store, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = export(capsys, store, "--out", "out", *arguments)
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []
