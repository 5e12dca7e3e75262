"""Does each setting come from where it should, and does one that is none of ours get noticed?"""

from pathlib import Path

import pytest

from engine.errors import UsageError
from provider_log.cli.settings import DEFAULT, Settings, resolve


def test_without_anything_said_all_is_as_documented(tmp_path: Path) -> None:
    resolved = resolve({}, {"PATH": "/bin"}, tmp_path)
    assert resolved.settings == Settings()
    assert set(resolved.sources.values()) == {DEFAULT}


def test_a_flag_goes_before_a_variable_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "turnlog.toml").write_text('data = "file"\napp = "file"\nlisten = "file:1"\npartitions = 3\n')
    environment = {"TURNLOG_DATA": "variable", "TURNLOG_APP": "variable"}
    settings, sources = resolve({"data": "flag", "app": None}, environment, tmp_path)
    assert (settings.data, settings.app, settings.listen, settings.partitions) == ("flag", "variable", "file:1", 3)
    assert [sources[name] for name in ("data", "app", "listen", "partitions", "url")] == [
        "--data",
        "TURNLOG_APP",
        "listen in turnlog.toml",
        "partitions in turnlog.toml",
        DEFAULT,
    ]


def test_a_variable_is_text_and_is_read_as_what_the_setting_is(tmp_path: Path) -> None:
    settings = resolve({}, {"TURNLOG_PARTITIONS": "4", "TURNLOG_LOG_JSON": "true"}, tmp_path).settings
    assert (settings.partitions, settings.log_json) == (4, True)


@pytest.mark.parametrize(
    ("environment", "file", "says"),
    [
        ({"TURNLOG_PARTITION": "4"}, "", "but TURNLOG_PARTITION is none"),
        ({"TURNLOG_PARTITIONS": "four"}, "", "expected partitions to fit, but TURNLOG_PARTITIONS is 'four'"),
        ({"TURNLOG_PARTITIONS": "0"}, "", "Expected `int` >= 1"),
        ({"TURNLOG_LOG_LEVEL": "loud"}, "", "expected log_level to fit, but TURNLOG_LOG_LEVEL is 'loud'"),
        ({}, "partition = 4", "but partition in turnlog.toml is none"),
        ({}, "data = 4", "expected data to fit, but data in turnlog.toml is 4"),
        ({}, "data = ", "expected settings in turnlog.toml, but it cannot be read"),
        ({}, "[node]\ndata = 'x'", "but node in turnlog.toml is none"),
        ({}, "token = 4", "expected token to fit, but token in turnlog.toml is (not shown)"),
    ],
)
def test_what_is_none_of_ours_or_does_not_fit_is_told_with_its_source(
    tmp_path: Path, environment: dict[str, str], file: str, says: str
) -> None:
    (tmp_path / "turnlog.toml").write_text(file)
    with pytest.raises(UsageError) as caught:
        resolve({}, environment, tmp_path)
    assert says in str(caught.value)


def test_the_token_is_never_shown(tmp_path: Path) -> None:
    shown = resolve({}, {"TURNLOG_TOKEN": "geheim"}, tmp_path).shown()
    assert ("token", "(set)", "TURNLOG_TOKEN") in shown
    assert "geheim" not in str(shown)
