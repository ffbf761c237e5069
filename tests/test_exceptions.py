from __future__ import annotations

import copy
import pickle

import channels.exceptions
import pytest

from grip_consumers import exceptions
from grip_consumers.compatibility import advise
from grip_consumers.exceptions import (
    GripError,
    HandlerFailed,
    MailboxError,
    PerConnectionHandler,
    PublishError,
    SealBroken,
    StateError,
    SubscriptionLimitExceeded,
    UnkeepableState,
)

CHANNELS_NAMES = [
    name for name, value in vars(channels.exceptions).items() if isinstance(value, type) and name[0] != "_"
]
ALL_OF_OURS = [
    UnkeepableState("chat.consumers.ChatConsumer", "lock", "_thread.lock"),
    UnkeepableState("chat.consumers.ChatConsumer", "room", "chat.models.Room", "it has not been saved"),
    SealBroken("The seal does not open."),
    SubscriptionLimitExceeded("lobby", 20),
    PublishError({"pushpin": "refused"}),
    PerConnectionHandler("chat.consumers.ChatConsumer.chat_message", "scope"),
    MailboxError("An entry of the mailbox cannot be read."),
    HandlerFailed("chat.consumers:ChatConsumer"),
]


@pytest.mark.parametrize("name", CHANNELS_NAMES)
def test_each_exception_of_channels_has_its_bases_here(name: str) -> None:
    theirs, ours = getattr(channels.exceptions, name), getattr(exceptions, name)
    assert [base.__name__ for base in ours.__mro__] == [base.__name__ for base in theirs.__mro__]


def test_every_public_name_is_listed() -> None:
    found = vars(exceptions).items()
    defined = {name for name, value in found if isinstance(value, type) and value.__module__ == exceptions.__name__}
    assert set(exceptions.__all__) == defined


@pytest.mark.parametrize("error", ALL_OF_OURS, ids=lambda error: type(error).__name__)
def test_our_errors_form_one_tree(error: Exception) -> None:
    assert isinstance(error, GripError)
    assert isinstance(error, StateError) == isinstance(error, (UnkeepableState, SealBroken))
    assert isinstance(error, TypeError) == isinstance(error, PerConnectionHandler)


@pytest.mark.parametrize("error", ALL_OF_OURS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_our_errors_survive_copying(error: Exception, duplicate: object) -> None:
    again = duplicate(error)  # type: ignore[operator]
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_an_unkeepable_attribute_is_worded_with_both_ways_out() -> None:
    error = UnkeepableState("chat.consumers.ChatConsumer", "lock", "_thread.lock")
    facts = (error.consumer, error.attribute, error.type_name, error.why)
    assert facts == ("chat.consumers.ChatConsumer", "lock", "_thread.lock", "")
    assert str(error) == (
        "chat.consumers.ChatConsumer cannot keep self.lock: a value of type _thread.lock does not outlive the "
        "request, because no process owns the connection between two of them. Keep what it is made from and make "
        "it anew when it is needed (in a cached_property, say); or, if nothing later depends on it, name it in "
        '`transient = ("lock",)` on the class. (grip_consumers.W024)'
    )


def test_an_unkeepable_attribute_is_worded_with_what_is_particular_to_it() -> None:
    error = UnkeepableState("chat.C", "room", "chat.models.Room", why="it has not been saved; save it first")
    assert error.why == "it has not been saved; save it first"
    assert str(error) == (
        "chat.C cannot keep self.room: a value of type chat.models.Room cannot be stored: it has not been saved; "
        'save it first; or, if nothing later depends on it, name it in `transient = ("room",)` on the class. '
        "(grip_consumers.W024)"
    )


@pytest.mark.parametrize("attribute", ["scope['client']", 'scope["client"]'])
def test_an_unkeepable_key_of_the_scope_is_worded_with_its_name_in_transient(attribute: str) -> None:
    text = str(UnkeepableState("chat.C", attribute, "redis.client.Redis"))
    assert text.startswith(f"chat.C cannot keep self.{attribute}: a value of type redis.client.Redis does not outlive")
    assert text.endswith('name it in `transient = ("scope.client",)` on the class. (grip_consumers.W024)')


def test_an_unkeepable_argument_of_as_asgi_cannot_be_transient() -> None:
    assert str(UnkeepableState("chat.C", "as_asgi(client=…)", "redis.client.Redis")) == (
        "chat.C cannot keep as_asgi(client=…): a value of type redis.client.Redis does not outlive the request, "
        "because no process owns the connection between two of them. Pass what it is made from, and make it in "
        "the consumer when it is needed. (grip_consumers.W024)"
    )


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("_asyncio.Task", "background-task"), ("threading.Thread", "background-task"), ("threading.Timer", "timer")],
)
def test_what_runs_in_the_background_is_worded_with_what_to_do_instead(kind: str, rule: str) -> None:
    text = str(UnkeepableState("chat.C", "job", kind))
    assert text == f"chat.C cannot keep self.job, of type {kind}. {advise(rule)}"


def test_a_broken_seal_says_what_it_was_given() -> None:
    assert str(SealBroken("The seal does not open.")) == "The seal does not open."


def test_the_subscription_limit_is_worded_with_the_setting_and_the_silence_of_the_proxy() -> None:
    error = SubscriptionLimitExceeded("lobby", 20)
    assert (error.group, error.limit, error.setting) == ("lobby", 20, "GRIP_SUBSCRIPTION_LIMIT")
    assert str(error) == (
        "Cannot add this connection to group 'lobby': it already holds the 20 subscriptions that "
        "GRIP_SUBSCRIPTION_LIMIT permits. The proxy would ignore one more silently, and the connection would "
        f"miss every message of the group. {advise('too-many-groups')}"
    )


def test_a_failed_publish_names_the_proxy() -> None:
    error = PublishError({"pushpin": "connection refused"})
    assert error.failures == {"pushpin": "connection refused"}
    assert str(error) == "Publishing failed at 1 proxy: pushpin: connection refused"


def test_a_failed_publish_names_every_proxy() -> None:
    error = PublishError({"east": "connection refused", "west": "status 403"})
    assert str(error) == "Publishing failed at 2 proxies: east: connection refused; west: status 403"


def test_a_failed_publish_keeps_its_own_copy_of_the_failures() -> None:
    failures = {"east": "connection refused"}
    error = PublishError(failures)
    failures.clear()
    assert error.failures == {"east": "connection refused"}


def test_a_failed_handler_names_the_consumer_and_where_to_look() -> None:
    error = HandlerFailed("chat.consumers:ChatConsumer")
    assert error.consumer == "chat.consumers:ChatConsumer"
    assert str(error) == (
        "A group handler of chat.consumers:ChatConsumer has failed in the process that sent the event; see its log."
    )


def test_a_per_connection_handler_is_worded_with_what_it_uses() -> None:
    error = PerConnectionHandler("chat.consumers.ChatConsumer.chat_message", "scope")
    assert (error.handler, error.attribute) == ("chat.consumers.ChatConsumer.chat_message", "scope")
    assert str(error) == (
        "Handler chat.consumers.ChatConsumer.chat_message is declared @shared, so it runs once for all members of a "
        "group, but it uses self.scope, which belongs to one connection. Remove the decorator, or put what the "
        "handler needs into the event."
    )
