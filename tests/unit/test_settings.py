import os
import re
from pathlib import Path

import pytest

from vivavoce.errors import SettingsInvalid
from vivavoce.settings import read_settings


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty data folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("VIVAVOCE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def write(folder, text):
    (folder / "vivavoce.toml").write_text(text)


def test_an_option_wins_over_the_environment_and_that_over_the_file(folder, monkeypatch):
    write(folder, "port = 1\nmax_calls = 2\ngrace_s = 3\n")
    monkeypatch.setenv("VIVAVOCE_PORT", "11")
    monkeypatch.setenv("VIVAVOCE_MAX_CALLS", "12")
    settings = read_settings({"data_dir": folder, "port": 21, "host": None})
    assert (settings.port, settings.max_calls, settings.grace_s) == (21, 12, 3)
    assert (settings.host, settings.idle_s) == ("127.0.0.1", 60)


def test_the_file_lies_in_the_data_folder_wherever_that_is_named(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    write(folder / "elsewhere", "port = 5\n")
    assert read_settings({}).port == 8470
    monkeypatch.setenv("VIVAVOCE_DATA_DIR", "elsewhere")
    assert read_settings({}).port == 5
    assert read_settings({"data_dir": Path("other")}).port == 8470


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", "eighty"),
        ("max_calls", 0),
        ("inbox_s", 601),
        ("inbox_s", float("nan")),
        ("token_lifetime_s", float("inf")),
        ("auth", "basic"),
        ("account_id", "123"),
        ("colour", "red"),
        ("kms", "azure"),
        ("key_cache_s", -1),
        ("quotas", "on"),
        ("quota_domains", -1),
        ("throttle_tps", 5),
        ("domain_erase_days", 0),
        ("speaker_expiry_days", float("inf")),
        ("audit", "none"),
        ("public_url", "http://voice.example"),
        ("public_url", "voice.example"),
        ("public_url", "wss://"),
        ("public_url", "wss://voice.example?a=b"),
        ("public_url", "wss://voice.example:99999"),
        ("trusted_proxies", "foo"),
        ("trusted_proxies", ""),
        ("trusted_proxies", "127.0.0.1,nginx"),
        ("trusted_proxies", "10.0.0.1/8"),
    ],
)
def test_a_value_out_of_range_or_an_unknown_name_is_refused_by_name(name, value):
    with pytest.raises(SettingsInvalid, match=f"setting {name}: "):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "wss://voice.example"),
        ("public_url", "ws://[::1]:8470/voice/"),
        ("trusted_proxies", "*"),
        ("trusted_proxies", "127.0.0.1, 10.0.7.0/24,::1"),
    ],
)
def test_addresses_of_streams_and_proxies_are_taken_as_they_are(name, value):
    assert getattr(read_settings({name: value}), name) == value


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("VIVAVOCE_QUTAS", "did you mean VIVAVOCE_QUOTAS?"),
        ("vivavoce_qutas", "did you mean VIVAVOCE_QUOTAS?"),
    ],
)
def test_a_misspelt_variable_is_refused(monkeypatch, variable, hint):
    monkeypatch.setenv(variable, "aws")
    with pytest.raises(SettingsInvalid, match=f"{variable} is not a setting") as refused:
        read_settings({})
    assert hint in str(refused.value)


def test_a_variable_that_is_like_no_setting_is_only_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("VIVAVOCE_SERVICE_HOST", "10.0.0.7")  # as Kubernetes sets it
    read_settings({})
    assert "VIVAVOCE_SERVICE_HOST is not a setting" in caplog.text


def test_a_variable_of_the_tests_is_no_misspelt_setting(monkeypatch):
    monkeypatch.setenv("VIVAVOCE_SPEECH_DATA", "somewhere")
    read_settings({})


def test_so_it_is_from_the_environment(monkeypatch):
    monkeypatch.setenv("VIVAVOCE_PORT", "")
    with pytest.raises(SettingsInvalid, match="port"):
        read_settings({})


@pytest.mark.parametrize("text", ["colour = 'red'", "port = 'x'", "port = 1\nport = 2", "{"])
def test_so_it_is_from_the_file(folder, text):
    write(folder, text)
    with pytest.raises(SettingsInvalid):
        read_settings({"data_dir": folder})


def test_the_file_cannot_name_another_data_folder(folder):
    write(folder, "data_dir = 'other'\n")
    with pytest.raises(SettingsInvalid, match=r"setting data_dir: .* use --data-dir"):
        read_settings({"data_dir": folder})


def test_the_settings_for_a_proxy_are_as_documented(folder):
    page = Path(__file__).parents[2] / "docs" / "howto" / "behind-a-proxy.md"
    (block,) = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    write(folder, block)
    settings = read_settings({"data_dir": folder})
    assert settings.public_url == "wss://voice.example"
    assert settings.trusted_proxies == "127.0.0.1"


def test_a_file_that_is_no_text_is_refused(folder):
    (folder / "vivavoce.toml").write_bytes(b"host = '\xff'\n")
    with pytest.raises(SettingsInvalid, match=r"vivavoce\.toml"):
        read_settings({"data_dir": folder})


def test_rates_are_read_from_the_environment_as_json_and_from_the_file_as_a_table(
    folder, monkeypatch
):
    write(folder, "[throttle_tps]\nListSpeakers = 2\n")
    assert read_settings({"data_dir": folder}).throttle_tps == {"ListSpeakers": 2.0}
    monkeypatch.setenv("VIVAVOCE_THROTTLE_TPS", '{"ListSpeakers": 5}')
    assert read_settings({"data_dir": folder}).throttle_tps == {"ListSpeakers": 5.0}
    for text in ("5", '{"ListSpeakers": "many"}', '{"ListSpeakers": 0}', "{"):
        monkeypatch.setenv("VIVAVOCE_THROTTLE_TPS", text)
        with pytest.raises(SettingsInvalid, match="throttle_tps"):
            read_settings({"data_dir": folder})


def test_a_secret_is_not_shown(monkeypatch):
    monkeypatch.setenv("VIVAVOCE_EVENTS_WEBHOOK_SECRET", "whsec_c2VjcmV0")
    settings = read_settings({})
    assert settings.events_webhook_secret is not None
    assert settings.events_webhook_secret.get_secret_value() == "whsec_c2VjcmV0"
    assert "c2VjcmV0" not in repr(settings)


def test_settings_cannot_be_changed_later():
    with pytest.raises(Exception, match="frozen"):
        read_settings({}).port = 1
