import pytest

from karpenter_gpu.versions import Minor, Version


def test_versions_compare_as_numbers():
    assert Version.parse("1.9.3") < Version.parse("1.14.0")
    assert Minor.parse("1.9") < Minor.parse("1.36")


def test_a_version_knows_its_minor():
    assert Version.parse("1.14.3").line == Minor(1, 14)


@pytest.mark.parametrize("text", ["v1.14.3", "1.14", "1.14.3-rc1", "", "1.14.3.0"])
def test_what_is_no_release_is_refused(text):
    with pytest.raises(ValueError, match="is not a version of the form"):
        Version.parse(text)


@pytest.mark.parametrize("text", ["1", "1.36.4", "v1.36"])
def test_what_is_no_minor_is_refused(text):
    with pytest.raises(ValueError, match="is not a version of the form"):
        Minor.parse(text)


def test_versions_are_written_as_they_were_read():
    assert (str(Version.parse("1.14.3")), str(Minor.parse("1.36"))) == ("1.14.3", "1.36")
