import pytest

from tests.fakes import FakeCustomerKeys
from vivavoce.errors import KeyDenied, KeyServiceDown, KeyUnavailable, SealBroken
from vivavoce.vault import vault as vault_module
from vivavoce.vault.seal import SealingKey, new_key
from vivavoce.vault.vault import Vault

ARN = "arn:aws:voiceid:us-east-1:000000000000:domain/one"
OTHER_ARN = "arn:aws:voiceid:us-east-1:000000000000:domain/two"
KEY_ARN = "arn:aws:kms:us-east-1:000000000000:key/first"
PLACE = "domain/d/voiceprint/id#1/vector"


@pytest.fixture
def customer_keys():
    return FakeCustomerKeys()


@pytest.fixture
def vault(customer_keys):
    return Vault(bytes(32), customer_keys)


def test_the_root_key_is_the_one_that_was_given(vault):
    sealed = vault.root.seal(b"secret", place="p")
    assert SealingKey(bytes(32)).unseal(sealed, place="p") == b"secret"
    with pytest.raises(SealBroken):
        Vault(new_key(), FakeCustomerKeys()).root.unseal(sealed, place="p")


def test_a_domains_key_opens_again_in_another_process_and_for_that_domain_only(vault):
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    value = vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN).seal(b"voice", place=PLACE)
    again = Vault(bytes(32), FakeCustomerKeys())
    assert again.domain_key(KEY_ARN, wrapped, domain_arn=ARN).unseal(value, place=PLACE) == b"voice"
    for key_arn, domain_arn in ((KEY_ARN, OTHER_ARN), (f"{KEY_ARN}-2", ARN)):
        with pytest.raises(KeyDenied):
            Vault(bytes(32), FakeCustomerKeys()).domain_key(key_arn, wrapped, domain_arn=domain_arn)


def test_no_two_domains_get_the_same_key(vault):
    wrapped = [vault.new_domain_key(KEY_ARN, domain_arn=ARN) for _ in range(2)]
    value = vault.domain_key(KEY_ARN, wrapped[0], domain_arn=ARN).seal(b"voice", place=PLACE)
    with pytest.raises(SealBroken):
        vault.domain_key(KEY_ARN, wrapped[1], domain_arn=ARN).unseal(value, place=PLACE)


def test_an_opened_key_is_used_again_without_asking_for_it(vault, customer_keys):
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    for _ in range(3):
        vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN)
    assert customer_keys.opened == []  # it was at hand since it was made


def test_an_opened_key_is_asked_for_again_after_its_time(customer_keys):
    vault = Vault(bytes(32), customer_keys, cache_s=0)
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    for times in (1, 2):
        vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN)
        assert customer_keys.opened == [KEY_ARN] * times


def test_a_disabled_customers_key_opens_nothing_though_it_was_open_a_moment_ago(
    vault, customer_keys
):
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    customer_keys.denied.add(KEY_ARN)
    for ask in (
        lambda: vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN),
        lambda: vault.new_domain_key(KEY_ARN, domain_arn=ARN),
        lambda: vault.resolve_customer_key(KEY_ARN, region="us-east-1", account_id="0" * 12),
    ):
        with pytest.raises(KeyDenied) as denied:
            ask()
        assert denied.value.key_id == KEY_ARN
    customer_keys.denied.clear()
    assert vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN)


def test_a_key_service_that_is_down_is_no_denial(vault, customer_keys):
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    customer_keys.down = True
    with pytest.raises(KeyServiceDown):
        vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN)


def test_a_key_is_at_hand_only_while_nobody_has_to_be_asked(vault, customer_keys):
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    assert vault.domain_key_at_hand(KEY_ARN, wrapped) is not None
    assert Vault(bytes(32), customer_keys).domain_key_at_hand(KEY_ARN, wrapped) is None
    customer_keys.denied.add(KEY_ARN)
    assert vault.domain_key_at_hand(KEY_ARN, wrapped) is None
    assert customer_keys.opened == []


def test_the_key_that_was_not_used_for_longest_is_let_go_of_first(customer_keys, monkeypatch):
    monkeypatch.setattr(vault_module, "_MAX_OPENED", 2)
    vault = Vault(bytes(32), customer_keys)
    wrapped = [vault.new_domain_key(KEY_ARN, domain_arn=ARN) for _ in range(3)]
    at_hand = [vault.domain_key_at_hand(KEY_ARN, one) is not None for one in wrapped]
    assert at_hand == [False, True, True]


# --- what keeps keys from being used is logged


def uses(vault, wrapped):
    where = {"region": "us-east-1", "account_id": "0" * 12}
    return (
        lambda: vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN),
        lambda: vault.domain_key_at_hand(KEY_ARN, wrapped),
        lambda: vault.new_domain_key(KEY_ARN, domain_arn=ARN),
        lambda: vault.resolve_customer_key(KEY_ARN, **where),
        lambda: vault.find_customer_key(KEY_ARN, **where),
    )


@pytest.mark.parametrize("kind", [KeyUnavailable, KeyServiceDown])
def test_why_keys_cannot_be_used_is_logged_once_a_minute(
    vault, customer_keys, monkeypatch, caplog, kind
):
    now_s = 1000.0
    monkeypatch.setattr(vault_module.time, "monotonic", lambda: now_s)
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    reason = "keyring.json is damaged; restore it from your backup"

    def fail(*_, **__):
        raise kind(reason)

    for name in ("resolve", "new_data_key", "open_data_key", "is_usable"):
        monkeypatch.setattr(customer_keys, name, fail)
    for use in uses(vault, wrapped):
        with pytest.raises(kind):
            use()
    assert caplog.messages == [reason]
    assert caplog.records[0].levelname == "ERROR"
    now_s += 61
    with pytest.raises(kind):
        vault.domain_key_at_hand(KEY_ARN, wrapped)
    assert caplog.messages == [reason] * 2
    reason = "another one"
    with pytest.raises(kind):
        vault.domain_key_at_hand(KEY_ARN, wrapped)
    assert caplog.messages[2:] == ["another one"]


def test_a_denied_key_is_the_callers_business_and_not_logged(vault, customer_keys, caplog):
    wrapped = vault.new_domain_key(KEY_ARN, domain_arn=ARN)
    customer_keys.denied.add(KEY_ARN)
    with pytest.raises(KeyDenied):
        vault.domain_key(KEY_ARN, wrapped, domain_arn=ARN)
    assert caplog.messages == []
