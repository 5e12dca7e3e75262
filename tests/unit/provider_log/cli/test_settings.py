"""Does each setting come from where it should, and does one that is none of ours get noticed?"""

from pathlib import Path

import pytest

from engine import EngineOptions
from engine.errors import UsageError
from engine.model.tags import DEFAULT_ONLY, TagFilter
from provider_log.cli.node_run import engine_options
from provider_log.cli.settings import DEFAULT, Settings, resolve
from provider_log.log.kafka import ClientSettings


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
        ({"TURNLOG_LOG": "paper"}, "", "expected log to fit, but TURNLOG_LOG is 'paper'"),
        ({}, "kafka = 4", "expected [kafka] to be a table in turnlog.toml, but it is 4"),
        ({}, "[kafka]\nport = 4", "but port of [kafka] in turnlog.toml is none"),
        ({}, "kafka_ssl_cafile = 'x'", "expected ssl_cafile under [kafka] in turnlog.toml, but kafka_ssl_cafile"),
        ({}, "[kafka]\nsecurity_protocol = 'TLS'", "but security_protocol of [kafka] in turnlog.toml is 'TLS'"),
        ({}, "[kafka]\nssl_password = 4", "but ssl_password of [kafka] in turnlog.toml is (not shown)"),
    ],
)
def test_what_is_none_of_ours_or_does_not_fit_is_told_with_its_source(
    tmp_path: Path, environment: dict[str, str], file: str, says: str
) -> None:
    (tmp_path / "turnlog.toml").write_text(file)
    with pytest.raises(UsageError) as caught:
        resolve({}, environment, tmp_path)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["token", "kafka_sasl_plain_password", "kafka_ssl_password"])
def test_what_is_secret_is_never_shown(tmp_path: Path, name: str) -> None:
    variable = f"TURNLOG_{name.upper()}"
    shown = resolve({}, {variable: "geheim"}, tmp_path).shown()
    assert (name, "(set)", variable) in shown
    assert "geheim" not in str(shown)


def test_every_way_to_be_let_in_is_a_setting(tmp_path: Path) -> None:
    given: dict[str, object] = {f"kafka_{name}": "x" for name in ClientSettings.__annotations__}
    given |= {
        "kafka_security_protocol": "SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_ssl_check_hostname": True,
    }
    assert set(resolve(given, {}, tmp_path).settings.client()) == set(ClientSettings.__annotations__)


def test_how_to_be_let_in_comes_from_a_table_and_from_variables(tmp_path: Path) -> None:
    (tmp_path / "turnlog.toml").write_text(
        'log = "kafka"\nbootstrap = "one:9092"\n[kafka]\nsecurity_protocol = "SSL"\nsasl_plain_username = "file"\n'
        "ssl_check_hostname = false\n"
    )
    found = resolve({"bootstrap": "two:9092"}, {"TURNLOG_KAFKA_SASL_PLAIN_USERNAME": "variable"}, tmp_path)
    settings = found.for_log()
    assert settings.bootstrap == "two:9092"
    assert settings.client() == {
        "security_protocol": "SSL",
        "sasl_plain_username": "variable",
        "ssl_check_hostname": False,
    }
    assert found.sources["kafka_security_protocol"] == "security_protocol of [kafka] in turnlog.toml"


@pytest.mark.parametrize(
    ("flags", "environment", "file", "says"),
    [
        ({"log": "kafka"}, {}, "", "expected --bootstrap HOST:PORT"),
        ({"bootstrap": "b:1"}, {}, "", "expected --log kafka (or TURNLOG_LOG=kafka) with --bootstrap"),
        ({"bootstrap": "b:1", "log": "embedded"}, {}, "", "with --bootstrap, but it is embedded"),
        ({}, {"TURNLOG_BOOTSTRAP": "b:1"}, "", "with TURNLOG_BOOTSTRAP, but it is embedded"),
        ({}, {"TURNLOG_BOOTSTRAP": "b:1"}, "log = 'embedded'", "with TURNLOG_BOOTSTRAP, but it is embedded"),
        ({}, {}, "[kafka]\nssl_cafile = 'x'", "with ssl_cafile of [kafka] in turnlog.toml, but it is embedded"),
    ],
)
def test_settings_of_a_log_that_do_not_fit_together_are_refused(
    tmp_path: Path, flags: dict[str, object], environment: dict[str, str], file: str, says: str
) -> None:
    (tmp_path / "turnlog.toml").write_text(file)
    with pytest.raises(UsageError) as caught:
        resolve(flags, environment, tmp_path).for_log()
    assert says in str(caught.value)


def test_a_word_for_the_embedded_log_overrides_brokers_that_were_named_before_it(tmp_path: Path) -> None:
    (tmp_path / "turnlog.toml").write_text("log = 'kafka'\nbootstrap = 'b:1'")
    assert resolve({"log": "embedded"}, {}, tmp_path).for_log().log == "embedded"


@pytest.mark.parametrize(
    ("says", "served"),
    [
        (None, DEFAULT_ONLY),
        (" , ", DEFAULT_ONLY),
        ("default", DEFAULT_ONLY),
        ("gpu", TagFilter.only(["gpu"])),
        ("gpu, default,video", TagFilter.default_and(["gpu", "video"])),
        ("any", TagFilter.everything()),
        ("none", TagFilter.nothing()),
    ],
)
def test_worker_tags_say_which_activities_a_node_takes(says: str | None, served: TagFilter) -> None:
    assert Settings(worker_tags=says, topic_tags="disk").served() == served


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("gpu,any", "expected any to stand alone in worker_tags, but it is 'gpu,any'"),
        ("none,default", "expected none to stand alone in worker_tags, but it is 'none,default'"),
        ("gpu,disk", "expected each tag in worker_tags or in topic_tags, but in both are disk"),
        ("a,b,c,d,e,f", "expected at most 5 tags, but there are 6"),
    ],
)
def test_worker_tags_that_cannot_be_followed_are_refused(says: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Settings(worker_tags=says, topic_tags="disk").served()


def test_sessions_of_a_node_are_those_of_its_settings() -> None:
    options = engine_options(Settings(max_sessions=3, worker_node_id="here", worker_tags="gpu"))
    assert (options.max_sessions, options.worker_node_id, options.worker_tags) == (3, "here", TagFilter.only(["gpu"]))
    assert engine_options(Settings()) == EngineOptions()
    with pytest.raises(UsageError, match="expected an owner of sessions of 1 to 256 bytes"):
        engine_options(Settings(worker_node_id="x" * 257))
