from __future__ import annotations

import inspect
import re
from typing import Any

import channels.exceptions
import channels.layers
import pytest
from django.conf import settings
from django.test import override_settings

import grip_consumers.exceptions
import grip_consumers.layers
from grip_consumers import groups
from grip_consumers.compatibility import advise
from grip_consumers.layers import BaseChannelLayer, ChannelLayerManager, GripChannelLayer, get_channel_layer

both = pytest.mark.parametrize("module", [channels.layers, grip_consumers.layers], ids=["channels", "grip"])

IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


def invalid_layer(module: Any) -> type[Exception]:
    package = channels if module is channels.layers else grip_consumers
    error: type[Exception] = package.exceptions.InvalidChannelLayerError
    return error


# ChannelLayerManager


@both
@override_settings(CHANNEL_LAYERS={"default": {**IN_MEMORY, "CONFIG": {"expiry": 5}, "TEST_CONFIG": {"expiry": 6}}})
def test_a_layer_is_made_once_from_its_config(module: Any) -> None:
    manager = module.ChannelLayerManager()
    layer = manager["default"]
    assert isinstance(layer, channels.layers.InMemoryChannelLayer)
    assert layer.expiry == 5
    assert manager["default"] is layer
    assert manager.make_backend("default") is not layer
    assert manager.make_test_backend("default").expiry == 6


@both
@override_settings(CHANNEL_LAYERS={"default": IN_MEMORY, "other": {}})
def test_an_alias_is_configured_or_not(module: Any) -> None:
    manager = module.ChannelLayerManager()
    assert ("default" in manager, "other" in manager, "third" in manager) == (True, True, False)
    with pytest.raises(KeyError):
        manager["third"]


@both
@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "No BACKEND specified for default"),
        ({"BACKEND": "no.such.Layer"}, "Cannot import BACKEND 'no.such.Layer' specified for default"),
        (
            {"BACKEND": "channels.layers.No"},
            "Cannot import BACKEND 'channels.layers.No' specified for default",
        ),
        (
            {**IN_MEMORY, "ROUTING": "routing"},
            "ROUTING key found for default - this is no longer needed in Channels 2.",
        ),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(module: Any, config: dict[str, str], text: str) -> None:
    with (
        override_settings(CHANNEL_LAYERS={"default": config}),
        pytest.raises(invalid_layer(module)) as caught,
    ):
        module.ChannelLayerManager()["default"]
    assert str(caught.value) == text


@both
@override_settings(CHANNEL_LAYERS={"default": IN_MEMORY})
@pytest.mark.parametrize("alias", ["default", "other"])
def test_a_missing_test_config_says_so(module: Any, alias: str) -> None:
    with pytest.raises(invalid_layer(module), match=f"^No TEST_CONFIG specified for {alias}$"):
        module.ChannelLayerManager().make_test_backend(alias)


@both
@override_settings(CHANNEL_LAYERS={"default": IN_MEMORY})
def test_a_layer_may_be_replaced(module: Any) -> None:
    manager = module.ChannelLayerManager()
    first = manager["default"]
    second = object()
    assert manager.set("default", second) is first
    assert manager["default"] is second
    assert manager.set("third", second) is None
    assert manager["third"] is second


@both
def test_a_changed_setting_makes_new_layers(module: Any) -> None:
    manager = module.ChannelLayerManager()
    with override_settings(CHANNEL_LAYERS={"default": IN_MEMORY}):
        first = manager["default"]
        with override_settings(USE_TZ=False):
            assert manager["default"] is first
        with override_settings(CHANNEL_LAYERS={"default": IN_MEMORY}):
            assert manager["default"] is not first


@both
@override_settings(CHANNEL_LAYERS={"default": IN_MEMORY, "other": IN_MEMORY})
def test_get_channel_layer_knows_the_configured_aliases(module: Any) -> None:
    default = module.get_channel_layer()
    assert default is module.get_channel_layer("default") is module.channel_layers["default"]
    assert module.get_channel_layer("other") is not default
    assert module.get_channel_layer("third") is None


def test_without_the_setting_there_is_a_default_layer() -> None:
    assert not hasattr(settings, "CHANNEL_LAYERS")
    assert ChannelLayerManager().configs == {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
    assert isinstance(get_channel_layer(), GripChannelLayer)
    assert get_channel_layer("other") is None


@override_settings(CHANNEL_LAYERS={})
def test_an_empty_setting_means_no_layer() -> None:
    assert get_channel_layer() is None


# BaseChannelLayer


@both
@pytest.mark.parametrize(
    ("name", "group", "channel"),
    [
        ("chat", True, True),
        ("Chat-1_b.c", True, True),
        ("a" * 99, True, True),
        ("a" * 100, False, False),
        ("", False, False),
        ("a b", False, False),
        ("a/b", False, False),
        ("é", False, False),
        ("specific.inmemory!abc", False, True),
        ("specific.inmemory!", False, True),
        ("!abc", False, False),
        ("a!b!c", False, False),
        (b"chat", False, False),
        (None, False, False),
        (5, False, False),
        # Channels' expressions let these pass.
        ("chat\n", True, True),
        ("٣", True, True),
        ("a!é", False, True),
    ],
)
def test_a_name_is_valid_or_not(module: Any, name: Any, group: bool, channel: bool) -> None:
    layer = module.BaseChannelLayer()
    ending = (
        "name must be a valid unicode string with length < 100 containing only ASCII alphanumerics, hyphens, "
        "underscores, or periods."
    )
    for valid, check, kind in (
        (group, layer.require_valid_group_name, "Group"),
        (channel, layer.require_valid_channel_name, "Channel"),
    ):
        if valid:
            assert check(name) is True
        else:
            with pytest.raises(TypeError) as caught:
                check(name)
            assert str(caught.value) == f"{kind} {ending}"


@both
def test_a_name_to_receive_from_ends_at_its_mark(module: Any) -> None:
    layer = module.BaseChannelLayer()
    assert layer.require_valid_channel_name("chat", receive=True) is True
    assert layer.require_valid_channel_name("a!", receive=True) is True
    with pytest.raises(TypeError, match=re.escape("Specific channel names in receive() must end at the !")):
        layer.require_valid_channel_name("a!b", receive=True)


@both
def test_a_list_of_names_is_checked_name_by_name(module: Any) -> None:
    layer = module.BaseChannelLayer()
    assert layer.valid_channel_names(["a", "b!c"]) is True
    with pytest.raises(TypeError):
        layer.valid_channel_names(["a", "b c"])
    with pytest.raises(TypeError, match="must end at the !"):
        layer.valid_channel_names(["b!c"], receive=True)


@both
@pytest.mark.parametrize("names", [[], ("a",), "a", None])
def test_anything_but_a_filled_list_is_no_list_of_names(module: Any, names: Any) -> None:
    with pytest.raises(AssertionError) as caught:
        module.BaseChannelLayer().valid_channel_names(names)
    assert str(caught.value).splitlines()[0] == "names must be a non-empty list"


@both
@pytest.mark.parametrize("kind", ["channel", "group"])
def test_the_old_checks_warn(module: Any, kind: str) -> None:
    check = getattr(module.BaseChannelLayer(), f"valid_{kind}_name")
    text = f"^valid_{kind}_name is deprecated, use require_valid_{kind}_name instead.$"
    with pytest.warns(DeprecationWarning, match=text) as caught:
        assert check("chat") is True
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=text), pytest.raises(TypeError):
        check("a b")


@both
@pytest.mark.parametrize(
    ("name", "expected"),
    [("chat", "chat"), ("a!b", "a!"), ("a!", "a!"), ("!", "!"), ("", ""), ("a!b!c", "a!")],
)
def test_the_part_of_a_name_that_is_not_local(module: Any, name: str, expected: str) -> None:
    assert module.BaseChannelLayer().non_local_name(name) == expected


@both
@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("send", ("channel", {}), "send() should be implemented in a channel layer"),
        ("receive", ("channel",), "receive() should be implemented in a channel layer"),
        ("new_channel", (), "new_channel() should be implemented in a channel layer"),
        ("flush", (), "flush() not implemented (flush extension)"),
        ("group_add", ("group", "channel"), "group_add() not implemented (groups extension)"),
        ("group_discard", ("group", "channel"), "group_discard() not implemented (groups extension)"),
        ("group_send", ("group", {}), "group_send() not implemented (groups extension)"),
    ],
)
async def test_the_base_leaves_the_rest_to_subclasses(
    module: Any, method: str, arguments: tuple[Any, ...], text: str
) -> None:
    with pytest.raises(NotImplementedError) as caught:
        await getattr(module.BaseChannelLayer(), method)(*arguments)
    assert str(caught.value) == text


def test_the_bases_have_the_same_surface() -> None:
    theirs, ours = channels.layers.BaseChannelLayer, BaseChannelLayer
    for name in (name for name in dir(theirs) if not name.startswith("_")):
        reference, own = getattr(theirs, name), getattr(ours, name)
        if callable(reference):
            assert list(inspect.signature(own).parameters) == list(inspect.signature(reference).parameters), name
        else:
            assert own == reference, name
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


@both
def test_without_exceptions_every_channel_has_the_layers_capacity(module: Any) -> None:
    assert module.BaseChannelLayer().get_capacity("chat") == 100
    assert module.BaseChannelLayer(capacity=5).get_capacity("chat") == 5


# On Channels the first of these raises: it never compiles the capacities that its constructor is given.
def test_capacities_of_the_constructor_count() -> None:
    layer = BaseChannelLayer(capacity=5, channel_capacity={"chat.*": 20, re.compile(r"^\w+!"): 30, "*": 40})
    names = ["chat.one", "chat.one!x", "http!x", "other"]
    assert [layer.get_capacity(name) for name in names] == [20, 20, 30, 40]


@both
def test_capacities_may_be_compiled_by_a_subclass(module: Any) -> None:
    class Layer(module.BaseChannelLayer):  # type: ignore[misc]
        def __init__(self, channel_capacity: Any) -> None:
            super().__init__(channel_capacity=channel_capacity)
            self.channel_capacity = self.compile_capacities(channel_capacity)

    assert Layer({"chat.*": 20}).get_capacity("chat.one") == 20


def test_compiling_twice_changes_nothing() -> None:
    layer = BaseChannelLayer(channel_capacity={"chat.*": 20})
    assert layer.compile_capacities(layer.channel_capacity) == layer.channel_capacity


# GripChannelLayer


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the layer asks the groups for."""
    found: list[tuple[Any, ...]] = []

    def record(name: str) -> Any:
        async def called(*arguments: Any, **keywords: Any) -> None:
            found.append((name, *arguments, *([keywords] if keywords else [])))

        return called

    monkeypatch.setattr(groups, "add", lambda *arguments: found.append(("add", *arguments)))
    monkeypatch.setattr(groups, "discard", lambda *arguments: found.append(("discard", *arguments)))
    for name in ("aadd", "adiscard", "send", "send_to_channel", "close"):
        monkeypatch.setattr(groups, name, record(name))
    return found


async def test_the_layer_hands_on_what_is_valid(calls: list[tuple[Any, ...]]) -> None:
    layer = GripChannelLayer(expiry=5, capacity=6, channel_capacity={"specific.*": 7})
    event = {"type": "chat.message"}
    await layer.group_add("group", "specific.grip!abc")
    await layer.group_discard("group", "specific.grip!abc")
    layer.group_add_now("group", "other")
    layer.group_discard_now("group", "other")
    await layer.group_send("group", event)
    await layer.send("specific.grip!abc", event)
    await layer.send("other", event)
    await layer.close_connection("specific.grip!abc")
    await layer.close_connection("specific.grip!abc", code=4000, reason="why")
    assert calls == [
        ("aadd", "group", "specific.grip!abc"),
        ("adiscard", "group", "specific.grip!abc"),
        ("add", "group", "other"),
        ("discard", "group", "other"),
        ("send", "group", event, {"expiry": 5, "capacity": layer.get_capacity}),
        ("send_to_channel", "specific.grip!abc", event, {"expiry": 5, "capacity": 7}),
        ("send_to_channel", "other", event, {"expiry": 5, "capacity": 6}),
        ("close", "specific.grip!abc", 1000, ""),
        ("close", "specific.grip!abc", 4000, "why"),
    ]
    assert calls[4][2] is calls[5][2] is event


async def test_only_a_channels_name_can_be_closed(calls: list[tuple[Any, ...]]) -> None:
    with pytest.raises(TypeError, match=r"^Channel name must be"):
        await GripChannelLayer().close_connection("a b")
    assert calls == []


async def test_a_new_channel_has_the_prefix() -> None:
    assert re.fullmatch(r"specific\.process-\w{12}!\w{12}", await GripChannelLayer().new_channel())
    assert (await GripChannelLayer().new_channel("mine.")).startswith("mine.process-")


async def test_new_channels_are_valid_and_different() -> None:
    layer = GripChannelLayer()
    names = {await layer.new_channel() for _ in range(20)}
    assert len(names) == 20
    assert all(layer.require_valid_channel_name(name) for name in names)


both_layers = pytest.mark.parametrize(
    "layer", [channels.layers.InMemoryChannelLayer, GripChannelLayer], ids=["channels", "grip"]
)


@both_layers
@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("group_add", ("a b", "a b"), "Group"),
        ("group_add", ("group", "a b"), "Channel"),
        ("group_discard", ("a b", "a b"), "Channel"),
        ("group_discard", ("a b", "channel"), "Group"),
        ("group_send", ("a b", {}), "Group"),
        ("send", ("a b", {}), "Channel"),
        ("group_send", ("a" * 100, {}), "Group"),
    ],
)
async def test_names_are_checked_in_channels_order(
    layer: Any, method: str, arguments: tuple[Any, ...], kind: str, calls: list[Any]
) -> None:
    with pytest.raises(TypeError, match=f"^{kind} name must be"):
        await getattr(layer(), method)(*arguments)
    assert calls == []


@pytest.mark.parametrize("method", ["group_add_now", "group_discard_now"])
@pytest.mark.parametrize("arguments", [("a b", "channel"), ("group", "a b")])
def test_names_are_checked_in_synchronous_code_too(method: str, arguments: tuple[str, str], calls: list[Any]) -> None:
    with pytest.raises(TypeError, match="name must be"):
        getattr(GripChannelLayer(), method)(*arguments)
    assert calls == []


@both_layers
@pytest.mark.parametrize("message", [None, "text", [("type", "x")]])
@pytest.mark.parametrize(("method", "text"), [("group_send", "Message"), ("send", "message")])
async def test_only_a_dict_is_a_message(layer: Any, message: Any, method: str, text: str, calls: list[Any]) -> None:
    with pytest.raises(AssertionError) as caught:
        await getattr(layer(), method)("a b", message)
    assert str(caught.value).splitlines()[0] == f"{text} is not a dict"
    assert calls == []


@both_layers
async def test_a_reserved_key_is_refused(layer: Any, calls: list[Any]) -> None:
    with pytest.raises(AssertionError):
        await layer().send("channel", {"type": "x", "__asgi_channel__": "y"})
    assert calls == []


async def test_nothing_is_received_for_a_connection() -> None:
    with pytest.raises(NotImplementedError) as caught:
        await GripChannelLayer().receive("specific.grip!abc")
    assert str(caught.value) == (
        "channel_layer.receive() expected a queue's name or one from new_channel(), got 'specific.grip!abc': no "
        f"process owns a connection, so none has a queue of its events. {advise('layer-receive')}"
    )


async def test_there_is_nothing_to_flush() -> None:
    with pytest.raises(NotImplementedError) as caught:
        await GripChannelLayer().flush()
    assert str(caught.value) == (
        "flush() not implemented (flush extension): the GRIP proxies hold the groups and the connections in "
        "them, and end them with the connections. In tests, use groups of other names, or close the "
        "connections."
    )


def test_the_layer_offers_groups_alone() -> None:
    assert GripChannelLayer.extensions == ["groups"]


def test_the_layer_takes_the_usual_config() -> None:
    layer = GripChannelLayer(expiry=5, capacity=6, channel_capacity={"chat.*": 7})
    assert (layer.expiry, layer.capacity, layer.get_capacity("chat.x")) == (5, 6, 7)
