"""Observations of media and of events in a Camtrap DP: `observationLevel` decides."""

import pytest
from test_readers_camtrap_dp import MEDIA_HEADER, OBSERVATIONS_HEADER, event, medium, package, photograph, seen

from fidokit.data.images import LabelledImages

NO_WARNING = pytest.mark.filterwarnings("error")


def at(second):
    return f"2020-05-30T10:00:{second:02}Z"


def observation(key, level, medium="", name="", start="", end="", number="", kind="animal", box=",,,"):
    return f"{key},d1,{medium},{number},{start},{end},{level},{kind},,{name},1,,,,,{box},human,Someone\n"


def lapse(key, time, **options):
    return medium(key, time, **options).replace("activityDetection", "timeLapse")


def labels(tmp_path, media, observations):
    return LabelledImages.from_camtrap_dp(package(tmp_path, media, observations)).table["label"].tolist()


class TestLevel:
    MEDIA = medium("m0", at(0)) + medium("m1", at(5)) + medium("m2", at(10)) + medium("m3", at(50))

    @NO_WARNING
    def test_an_event_that_carries_a_medium_reaches_all_media_of_the_event(self, tmp_path):
        observations = observation("o1", "event", "m1", "Vulpes vulpes", at(0), at(10), "e1") + observation(
            "o2", "event", "", "blank", at(50), at(50), "e2", kind="blank"
        ).replace(",blank,1", ",,1")
        assert labels(tmp_path, self.MEDIA, observations) == ["Vulpes vulpes"] * 3 + ["blank"]

    @NO_WARNING
    def test_it_counts_after_the_observations_of_the_medium(self, tmp_path):
        observations = observation("o1", "event", "m1", "Vulpes vulpes", at(0), at(10), "e1") + "".join(
            observation(f"p{i}", "media", f"m{i}", name, at(0), at(10), "e1")
            for i, name in ((1, "Meles meles"), (3, "Lepus"))
        )
        assert labels(tmp_path, self.MEDIA, observations) == ["Vulpes vulpes", "Meles meles", "Vulpes vulpes", "Lepus"]

    @NO_WARNING
    def test_a_medium_outside_of_the_event_that_names_it(self, tmp_path):
        observations = observation("o1", "event", "m3", "Vulpes vulpes", at(0), at(10), "e1") + observation(
            "o2", "media", "m3", "Lepus"
        )
        assert labels(tmp_path, self.MEDIA, observations) == ["Vulpes vulpes"] * 3 + ["Lepus"]

    @pytest.mark.parametrize(("start", "time"), [("", at(5)), (at(0), "noon")])
    def test_an_event_without_times_is_the_medium_that_it_names(self, tmp_path, start, time):
        media = medium("m0", at(0)) + medium("m1", time)
        observations = observation("o1", "event", "m1", "Vulpes vulpes", start, at(4), "e1")
        assert labels(tmp_path, media, observations)[1] == "Vulpes vulpes"

    def test_an_observation_of_a_medium_that_names_none(self, tmp_path):
        observations = observation("o1", "media", "", "Vulpes vulpes", at(0), at(10), "e1")
        with pytest.warns(
            RuntimeWarning, match=r"1 observations of media have no mediaID .*observations\.csv, record 1"
        ):
            assert labels(tmp_path, self.MEDIA, observations) == [None] * 4

    def test_levels_that_are_none(self, tmp_path):
        observations = observation("o1", "photo", "m0", "Vulpes vulpes") + observation("o2", "", "m1", "Lepus")
        observations += observation("o3", "sequence", "", "Meles meles", at(10), at(10))
        with pytest.warns(RuntimeWarning, match="2 observations have an observationLevel other than media and event"):
            assert labels(tmp_path, self.MEDIA, observations)[:3] == ["Vulpes vulpes", "Lepus", "Meles meles"]

    def test_a_box_of_an_event_is_not_that_of_a_photograph(self, tmp_path):
        photograph(tmp_path / "media" / "m0.jpg", (100, 100))
        observations = observation("o1", "event", "m0", "Vulpes vulpes", at(0), at(10), box="0,0,1,1")
        with pytest.warns(RuntimeWarning, match="1 observations of events have boxes, which belong to no photograph"):
            data = LabelledImages.from_camtrap_dp(package(tmp_path, self.MEDIA, observations))
        assert not data.boxed.any()


class TestTimeLapse:
    @NO_WARNING
    def test_a_photograph_whose_own_event_is_blank(self, tmp_path):
        media = medium("m0", at(0)) + lapse("m1", at(5)) + medium("m2", at(10))
        observations = event("o1", at(0), at(10), name="Vulpes vulpes", number="e1") + event(
            "o2", at(5), at(5), "blank", number="e2"
        )
        data = LabelledImages.from_camtrap_dp(package(tmp_path, media, observations))
        assert data.table["label"].tolist() == ["Vulpes vulpes", "blank", "Vulpes vulpes"]
        assert data.table["sequence"].tolist() == ["e1", "e2", "e1"]

    @NO_WARNING
    def test_its_own_observation_names_its_event(self, tmp_path):
        # Nobody could tell what the photograph shows, so its event says it.
        media = lapse("m1", at(5)) + lapse("m2", at(6))
        observations = (
            event("o1", at(5), at(5), name="Vulpes vulpes", number="e1")
            + event("o2", at(0), at(9), "blank", number="e2")
            + observation("o3", "media", "m1", "", number="e2", kind="unknown")
        )
        data = LabelledImages.from_camtrap_dp(package(tmp_path, media, observations))
        assert data.table["label"].tolist() == ["blank", "blank"]
        assert data.table["sequence"].tolist() == ["e2", "e2"]

    @NO_WARNING
    def test_an_animal_within_a_longer_blank_event(self, tmp_path):
        media = lapse("m0", at(0)) + lapse("m1", at(5)) + lapse("m2", at(10))
        observations = event("o1", at(0), at(10), "blank", number="e1") + event(
            "o2", at(5), at(5), name="Lepus", number="e2"
        )
        assert labels(tmp_path, media, observations) == ["blank", "Lepus", "blank"]

    @NO_WARNING
    def test_the_only_event_around_it_is_its_own(self, tmp_path):
        media = medium("m0", at(0)) + lapse("m1", at(5))
        assert labels(tmp_path, media, event("o1", at(0), at(9), name="Lepus")) == ["Lepus", "Lepus"]

    def test_two_species_around_a_photograph_that_an_animal_set_off_contradict_each_other(self, tmp_path):
        observations = event("o1", at(0), at(10), name="Lepus") + event("o2", at(5), at(5), name="Vulpes", number="e2")
        with pytest.warns(RuntimeWarning, match="1 photographs show several classes"):
            assert labels(tmp_path, medium("m0", at(5)), observations) == [None]


class TestBeforeTheStandard:
    """Packages of the versions before 1.0 name the event, or the sequence, in the table of media."""

    @NO_WARNING
    @pytest.mark.parametrize("column", ["eventID", "sequenceID"])
    def test_events_by_their_names(self, tmp_path, column):
        package(tmp_path, "", "")
        media = MEDIA_HEADER.strip() + f",{column}\n"
        for i, sequence in enumerate(["s1", "s1", "s2", ""]):
            media += medium(f"m{i}", at(i)).strip() + f",{sequence}\n"
        header = OBSERVATIONS_HEADER.replace("eventID", column).replace("observationLevel", "x")
        (tmp_path / "media.csv").write_text(media)
        (tmp_path / "observations.csv").write_text(
            header
            + observation("o1", "", "", "Vulpes vulpes", number="s1")
            + observation("o2", "", "", "Lepus", at(0), at(3), "s2")
            + observation("o3", "", "m3", "Meles meles")
            + seen("o4", "m1", name="Ardea alba").replace(",e1,", ",s1,")
        )
        data = LabelledImages.from_camtrap_dp(tmp_path)
        assert data.table["label"].tolist() == ["Vulpes vulpes", "Ardea alba", "Lepus", "Meles meles"]
        assert data.table["sequence"].tolist() == ["s1", "s1", "s2", None]

    @NO_WARNING
    def test_the_same_name_at_another_camera_is_another_event(self, tmp_path):
        package(tmp_path, "", "")
        media = MEDIA_HEADER.strip() + ",sequenceID\n"
        media += medium("m0").strip() + ",1\n" + medium("m1", deployment="d2").strip() + ",1\n"
        (tmp_path / "media.csv").write_text(media)
        (tmp_path / "observations.csv").write_text(
            "observationID,deploymentID,sequenceID,mediaID,observationType,scientificName\n"
            "o1,d1,1,,animal,Lepus\no2,d2,1,,animal,Vulpes\n"
        )
        assert LabelledImages.from_camtrap_dp(tmp_path).table["label"].tolist() == ["Lepus", "Vulpes"]
