"""A connection's mail, and what it leaves for itself: large replies, callbacks, settling."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from asgiref.sync import async_to_sync

from grip_consumers import groups, inbox, joining, mail, mailbox, publisher, refresher
from grip_consumers.dispatcher import ENDED
from grip_consumers.exceptions import MessageTooLarge, PublishError, StopConsumer
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.mailbox.memory import MemoryMailbox
from grip_consumers.naming import group_channel
from grip_consumers.protocol import BinaryMessage, Close, Open, Ping, PingMessage, Pong, Text, TextMessage
from grip_consumers.state.extensions import dotted

from . import batches
from .batches import importable
from .members import Clock, Crowd

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site

#: Bytes of one response, about.
FITS = 24_000


@pytest.fixture
def clock(monkeypatch, settings):
    settings.GRIP_MAILBOX = "memory"
    return Clock(monkeypatch)


def errors(caplog):
    ours = [record for record in caplog.records if record.name.startswith("grip_consumers")]
    return [record for record in ours if record.levelno >= logging.ERROR]


@importable
class Large(WebsocketConsumer):
    """Sends texts, each a letter and how often: `a*3 b*2`; `!…` closes or ends otherwise."""

    def connect(self):
        self.accept()
        self._answer(self.scope["query_string"].decode())

    def receive(self, text_data=None, bytes_data=None):
        self._answer(text_data)

    def disconnect(self, code):
        ENDS.append(code)

    def _answer(self, text):
        for part in text.replace("%20", " ").split():
            letter, _, number = part.partition("*")
            if letter == "!close":
                self.close(code=4000, reason="why")
            elif letter == "!raise":
                raise KeyError("oops")
            elif letter == "!stop":
                raise StopConsumer
            elif letter == "#":
                self.send(bytes_data=b"#" * int(number))
            else:
                self.send(text_data=letter * int(number))


@importable
class AsyncLarge(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        for part in text_data.split():
            letter, _, number = part.partition("*")
            await self.send(text_data=letter * int(number))


ENDS: list = []


def large(site, clock, consumer=Large, *, wait=3.0, **options):
    """A crowd, and a member whose connection has been open for `wait` seconds."""
    ENDS.clear()
    site.serve(consumer)
    crowd = Crowd(site, clock, **options)
    member = crowd.opened()
    clock.sleep(wait)
    return crowd, member


def published(site):
    """Without the pings that are sent the same way."""
    return [item for item in site.published if not isinstance(item.message, PingMessage)]


def lengths(member):
    return [f"{frame[1][:1]}*{len(frame[1])}" for frame in member.got if frame[0] == "text"]


# Large replies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consumer", [Large, AsyncLarge], ids=["sync", "async"])
@pytest.mark.parametrize(
    "reply",
    ["a*20000", "a*20000 b*3000", "a*20000 b*5000", "a*10000 b*10000 c*10000 d*10000 e*1", "a*10000 b*30000 c*10000"],
)
def test_all_of_a_reply_arrives_in_order_whatever_its_size(site, clock, consumer, reply):
    crowd, member = large(site, clock, consumer)
    member.post(Text(reply))
    crowd.work()
    assert lengths(member) == reply.split()


def test_a_reply_that_fits_is_one_response_without_more_ado(site, clock):
    _, member = large(site, clock)
    member.post()
    answer = member.post(Text("a*11000 b*12900"))
    assert len(answer.sent) == 2
    assert (member.pings, site.published, site.refreshed, site.watched) == ([], [], [], [])


def test_what_a_response_has_no_room_for_waits_in_the_connections_own_log(site, clock):
    _, member = large(site, clock)
    answer = member.post(Text("a*10000 b*10000 c*10000 d*10000"))
    assert [frame[1][0] for frame in answer.sent if frame[0] == "text"] == ["a", "b"]
    assert len(answer.body) <= FITS + 100
    # Behind what it sends it pings: the pong makes the next batch.
    assert answer.sent[-1][0] == "ping"
    log = f"outgoing:{member.name}"
    ((_, data),) = mailbox.get().read({log: 0})[log]
    assert [frame[0] for frame in mail.unpack(data).frames] == ["c", "d"]
    assert site.watched[-1][0] == member.name
    assert site.published == []


def test_many_small_messages_come_in_several_responses(site, clock):
    crowd, member = large(site, clock)
    answer = member.post(Text("x*1 " * 501))
    assert sum(frame[0] == "text" for frame in answer.sent) == 200
    crowd.work()
    assert member.texts == ["x"] * 501


def test_order_is_kept_when_frames_come_before_the_rest_was_sent(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*20000 b*20000 c*20000"))
    member.post(Text("d*1"))
    member.post(Text("e*30000"), Text("f*2"))
    crowd.work()
    assert lengths(member) == ["a*20000", "b*20000", "c*20000", "d*1", "e*30000", "f*2"]


def test_a_client_that_answers_no_pings_gets_all_of_it_a_little_later(site, clock):
    crowd, member = large(site, clock, answers_pings=False)
    reply = "a*20000 b*20000 c*30000 d*1"
    member.post(Text(reply))
    crowd.work()
    assert lengths(member) == reply.split()


def test_another_pong_than_the_one_asked_for_is_none(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*20000 b*20000"))
    member.post(Pong(b"unasked"), Pong(b""))
    assert lengths(member) == ["a*20000"]
    crowd.work()
    assert lengths(member) == ["a*20000", "b*20000"]


def test_mail_waits_behind_the_rest_of_a_reply(site, clock):
    @importable
    class Letters(Large):
        def letter(self, event):
            self.send(text_data="letter")

    crowd, member = large(site, clock, Letters)
    member.post(Text("a*20000 b*20000 c*20000"))
    async_to_sync(get_channel_layer().send)(member.name, {"type": "letter"})
    crowd.work()
    assert [text[0] for text in member.texts] == ["a", "b", "c", "l"]


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_message_that_no_response_has_room_for_is_published(site, clock, kind):
    crowd, member = large(site, clock)
    member.post(Text("a*100000" if kind == "text" else "#*100000"))
    # What was published to a client that has not taken the rest would be dropped: so a ping comes first.
    assert (site.published, len(member.pings)) == ([], 1)
    crowd.work()
    (item,) = published(site)
    assert item.channel == member.name
    assert item.message == (TextMessage("a" * 100_000) if kind == "text" else BinaryMessage(b"#" * 100_000))
    assert member.got == [(kind, item.message.content)]


def test_two_of_them_are_published_one_after_the_other(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*50000 b*50000 c*1"))
    crowd._answer_pings()
    assert len(published(site)) == 1
    crowd.work()
    assert len(published(site)) == 2
    assert lengths(member) == ["a*50000", "b*50000", "c*1"]


def test_nothing_overtakes_what_was_published_a_moment_ago(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*50000"))
    crowd._answer_pings()
    assert len(site.published) == 1
    answer = member.post(Text("b*1"))
    assert [frame for frame in answer.sent if frame[0] == "text"] == []
    crowd.work()
    assert lengths(member) == ["a*50000", "b*1"]


def test_a_reply_comes_at_once_again_when_the_published_one_has_arrived(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*50000"))
    crowd.work()
    clock.sleep(1.1)
    assert ("text", "b") in member.post(Text("b*1")).sent


def test_nothing_is_published_before_the_private_channel_is_known_to_work(site, clock):
    """The proxy makes the subscriptions a little after it has shown the client the accept."""
    ENDS.clear()
    site.serve(Large)
    crowd = Crowd(site, clock)
    member = crowd.opened(query="a*100000%20b*1")
    assert member.got == []
    assert (site.published, member.pings) == ([], [])
    # That the client speaks says nothing about the channel.
    member.post(Ping(), Text("c*1"))
    assert (site.published, member.pings) == ([], [])
    crowd.work()
    assert lengths(member) == ["a*100000", "b*1", "c*1"]
    assert len(published(site)) == 1


def test_the_ping_behind_what_was_published_goes_the_same_way_when_that_has_had_time(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*50000 b*1"))
    crowd._answer_pings()
    member.post()
    assert len(site.published) == 1
    clock.sleep(0.11)
    member.post()
    (_, ping) = site.published
    assert ping.channel == member.name
    assert ping.message == PingMessage(b"%d" % int(ping.message.data))
    assert abs(int(ping.message.data) / 1_000 - clock.time()) < 5
    # Nobody asks twice.
    clock.sleep(0.11)
    member.post()
    assert len(site.published) == 2
    crowd.work()
    assert lengths(member) == ["a*50000", "b*1"]


def test_a_callback_shows_that_the_private_channel_works(site, clock):
    _, member = large(site, clock, wait=0.1)
    member.post()
    member.post(Text("a*100000"))
    assert len(member.pings) == 1


def test_so_does_time(site, clock):
    _, member = large(site, clock, wait=2.1)
    member.post(Text("a*100000"))
    assert len(member.pings) == 1
    _, member = large(site, clock, wait=1.5)
    member.post(Text("a*100000"))
    assert len(member.pings) == 0


@pytest.mark.parametrize("reply", ["a*20000 b*20000 !close", "a*100000 !close", "a*100000 b*100000 !close"])
@pytest.mark.parametrize("way", ["proven", "at once", "opening"])
def test_a_close_comes_behind_all_that_was_sent_before_it(site, clock, reply, way):
    if way == "opening":
        ENDS.clear()
        site.serve(Large)
        crowd = Crowd(site, clock)
        member = crowd.opened(query=reply.replace(" ", "%20"))
    else:
        crowd, member = large(site, clock, wait=3.0 if way == "proven" else 0.0)
        member.post(Text(reply))
    crowd.work()
    assert lengths(member) == reply.split()[:-1]
    assert member.got[-1] == ("close", 4000, "why")
    member.post(Close(4000, "why"))
    assert ENDS == [4000]


def test_a_close_waits_for_what_was_published_a_moment_ago(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*50000"))
    crowd._answer_pings()
    member.post(Text("!close"))
    assert not member.closed
    crowd.work()
    assert [frame[0] for frame in member.got] == ["text", "close"]


def test_what_is_sent_after_a_close_that_waits_is_dropped(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("a*20000 b*20000 !close c*1"))
    member.post(Text("d*1"))
    crowd.work()
    assert [frame[1] if frame[0] == "close" else frame[1][0] for frame in member.got] == ["a", "b", 4000]


@pytest.mark.parametrize(("end", "code"), [("!raise", 1011), ("!stop", 1000)])
def test_a_consumer_that_ends_after_a_large_reply_is_closed_at_once_and_the_loss_is_logged(
    site, clock, end, code, caplog
):
    crowd, member = large(site, clock)
    answer = member.post(Text(f"a*20000 b*20000 {end}"))
    assert [frame[1][0] for frame in answer.sent if frame[0] == "text"] == ["a"]
    assert answer.sent[-1] == ("close", code, "")
    assert answer.header("set-meta-state") == ENDED
    assert "the rest is not delivered (1 messages" in errors(caplog)[-1].getMessage()
    crowd.work()
    assert len(member.got) == 2


@pytest.mark.parametrize(("end", "code"), [("!raise", 1011), ("!stop", 1000)])
def test_a_consumer_that_ends_while_the_client_has_yet_to_answer_is_closed_all_the_same(site, clock, end, code, caplog):
    crowd, member = large(site, clock)
    member.post(Text("a*20000 b*20000"))
    answer = member.post(Text(f"c*1 {end}"))
    crowd.work()
    assert member.closed, answer
    assert member.got[-1] == ("close", code, "")


@pytest.mark.parametrize("unit", ["x", "é"])
@pytest.mark.parametrize("first", ["", "a*20000 "], ids=["alone", "behind another"])
def test_a_message_that_no_proxy_takes_is_an_error_that_says_so(site, clock, unit, first, caplog):
    crowd, member = large(site, clock)
    member.post(Text(f"{first}{unit}*{1_000_000 // len(unit.encode())}"))
    crowd.work()
    assert site.published == []
    assert member.got[-1] == ("close", 1011, "")
    (record,) = errors(caplog)
    assert issubclass(record.exc_info[0], MessageTooLarge)
    assert "no proxy takes more at once" in record.exc_text


def test_the_largest_message_arrives(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("x*900000"))
    crowd.work()
    assert lengths(member) == ["x*900000"]


def test_entries_of_the_mailbox_stay_of_a_size_that_caches_take(site, clock):
    crowd, member = large(site, clock)
    member.post(Text("x*1 " * 450 + "a*300000 b*300000 c*1"))
    log = f"outgoing:{member.name}"
    sizes = [len(data) for _, data in mailbox.get().read({log: 0})[log]]
    assert len(sizes) >= 3
    assert max(sizes) <= 410_000
    crowd.work()
    assert lengths(member) == ["x*1"] * 450 + ["a*300000", "b*300000", "c*1"]


def test_a_publish_that_fails_closes_the_connection(site, clock, monkeypatch, caplog):
    def fail(items):
        raise PublishError({"pushpin": "gone"})

    crowd, member = large(site, clock)
    member.post(Text("a*100000"))
    monkeypatch.setattr(publisher, "publish", fail)
    crowd.work()
    assert member.got == [("close", 1011, "")]
    assert "pushpin: gone" in errors(caplog)[0].exc_text


def test_without_subscriptions_a_large_reply_is_sent_as_it_is(site, clock, settings):
    settings.GRIP_SUBSCRIPTION_LIMIT = 0
    _, member = large(site, clock)
    member.post(Text("a*100000"))
    assert lengths(member) == ["a*100000"]


def test_who_leaves_in_the_same_batch_is_left_nothing(site, clock):
    _, member = large(site, clock)
    member.post(Text("a*100000"), Close(1000))
    assert mailbox.get().look([f"private:{member.name}"])[0] == {f"private:{member.name}": 0}
    assert ENDS == [1000]


def test_large_frames_behind_a_middleware_that_wraps_send_pass_it_once(site, clock):
    seen = []
    inner = Large.as_asgi()

    async def middleware(scope, receive, send):
        async def own_send(message):
            if message["type"] == "websocket.send":
                seen.append(message["text"][0])
            await send(message)

        await inner(scope, receive, own_send)

    site.serve(middleware)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    clock.sleep(3)
    member.post(Text("a*20000 b*20000 c*50000"))
    crowd.work()
    assert lengths(member) == ["a*20000", "b*20000", "c*50000"]
    assert seen == ["a", "b", "c"]


def test_a_large_reply_to_a_group_event_arrives_too(site, clock):
    @importable
    class Reply(WebsocketConsumer):
        groups = ["g"]

        def note(self, event):
            for letter in "abc":
                self.send(text_data=letter * 20_000)
            self.send(text_data=self.scope["path"])

    site.serve(Reply)
    crowd = Crowd(site, clock)
    members = [crowd.opened(), crowd.opened()]
    clock.sleep(3)
    async_to_sync(groups.send)("g", {"type": "note"})
    async_to_sync(groups.send)("g", {"type": "note"})
    crowd.work()
    expected = ["a*20000", "b*20000", "c*20000", "/*4"] * 2
    assert [lengths(member) for member in members] == [expected] * 2


# Who looks for mail ------------------------------------------------------------------------------------------


@importable
class Silent(WebsocketConsumer):
    """Nobody may leave it mail while it talks."""

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


@importable
class Reader(Silent):
    def letter(self, event):
        self.count = getattr(self, "count", 0) + 1
        self.send(text_data=f"letter {self.count}")


class Reads(MemoryMailbox):
    """Counts how often somebody reads."""

    def __init__(self):
        super().__init__()
        self.reads = []

    def read(self, cursors):
        self.reads.append(sorted(cursors))
        return super().read(cursors)


@pytest.fixture
def reads(monkeypatch):
    box = Reads()
    monkeypatch.setattr(mailbox, "get", lambda: box)
    return box.reads


@pytest.mark.parametrize(
    ("consumer", "events", "looks"),
    [
        (Silent, [Text("x")], 0),
        (Silent, [], 1),
        (Silent, [Ping()], 0),
        (Reader, [Text("x")], 1),
        (Reader, [], 1),
        (Reader, [Ping()], 1),
        (Reader, [Close()], 0),
        (Reader, [Text("x"), Close()], 1),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_whoever_may_have_mail_looks_for_it_once_in_a_batch(site, reads, consumer, events, looks):
    site.serve(consumer)
    client = site.opened()
    assert reads == []
    client.post(*events)
    assert len(reads) == looks


def test_nobody_looks_any_more_when_the_rest_of_a_reply_was_sent(site, reads):
    site.serve(Large)
    crowd = Crowd(site)
    member = crowd.opened()
    member.post(Text("a*20000 b*20000"))
    member.post(Text("c*1"))
    assert len(reads) == 0
    crowd.work()
    assert lengths(member) == ["a*20000", "b*20000", "c*1"]
    reads.clear()
    member.post(Text("d*1"))
    assert reads == []


def test_own_mail_and_that_of_all_groups_is_one_look(site, reads):
    @importable
    class Member(Reader):
        groups = ["a", "b"]

    site.serve(Member)
    client = site.client()
    user = client.post(Open()).user
    client.post()
    assert reads == [["group:a", "group:b", f"private:specific.grip!{user}"]]


def test_who_has_just_joined_looks_for_copies_though_nothing_else_can_come(site, clock):
    @importable
    class Member(Silent):
        groups = ["g"]

        def note(self, event):
            self.send(text_data="note")

    site.serve(Member)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    async_to_sync(groups.send)("g", {"type": "note"})
    # The callback has fallen together with the frame.
    member.post(Text("x"))
    assert member.texts == ["note", "x"]


def test_a_mailbox_that_is_away_keeps_the_connection(site, clock, monkeypatch, caplog):
    site.serve(Reader)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    async_to_sync(get_channel_layer().send)(member.name, {"type": "letter"})

    def fail(cursors):
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(mailbox.get(), "read", fail)
        member.post(Text("x"))
        assert member.texts == ["x"]
    member.post(Text("y"))
    assert member.texts == ["x", "letter 1", "y"]
    assert "The mailbox cannot be read" in errors(caplog)[0].getMessage()


def test_mail_that_was_read_is_acknowledged(wsgi_site, clock, monkeypatch):
    wsgi_site.serve(Reader)
    member = Crowd(wsgi_site, clock).opened()
    async_to_sync(get_channel_layer().send)(member.name, {"type": "letter"})
    found = []
    monkeypatch.setattr(mailbox.get(), "acknowledge", lambda log, position, *, expiry: found.append((log, position)))
    member.post()
    log = f"private:{member.name}"
    assert found == [(log, mailbox.get().look([log])[0][log])]


class Blocking(MemoryMailbox):
    blocking = True

    def __init__(self):
        super().__init__()
        self.threads = set()

    def append(self, *args, **kwargs):
        self.threads.add(threading.current_thread())
        return super().append(*args, **kwargs)

    def read(self, cursors):
        self.threads.add(threading.current_thread())
        return super().read(cursors)

    def look(self, *args):
        self.threads.add(threading.current_thread())
        return super().look(*args)


@pytest.mark.parametrize("consumer", [Large, AsyncLarge], ids=["sync", "async"])
async def test_a_mailbox_that_blocks_is_never_asked_on_the_event_loop(asgi_site, monkeypatch, consumer):
    box = Blocking()
    monkeypatch.setattr(mailbox, "get", lambda: box)

    @importable
    class Joins(consumer):
        groups = ["g"]

        if consumer is AsyncLarge:

            async def receive(self, text_data=None, bytes_data=None):
                await self.channel_layer.group_add("h", self.channel_name)
                await self.channel_layer.group_send("g", {"type": "note"})
                await self.channel_layer.send("specific.grip!other", {"type": "note"})
                await super().receive(text_data)

            async def note(self, event):
                await self.send(text_data=self.scope["path"])
        else:

            def note(self, event):
                self.send(text_data=self.scope["path"])

    asgi_site.serve(Joins)
    client = asgi_site.client()
    await client.apost(Open())
    await get_channel_layer().group_send("g", {"type": "note"})
    await get_channel_layer().send("specific.grip!other", {"type": "note"})
    await client.apost(Text("a*30000 b*2"))
    await client.apost()
    assert box.threads
    assert threading.current_thread() not in box.threads


# Callbacks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("consumer", "watched"), [(Silent, False), (Reader, True)])
def test_a_new_connection_is_looked_after_if_anybody_may_write_to_it(site, consumer, watched):
    site.serve(consumer)
    client = site.client()
    user = client.post(Open()).user
    name = f"specific.grip!{user}"
    assert site.watched == ([(name, {f"private:{name}": 0})] if watched else [])
    client.post(Text("x"))
    assert len(site.watched) == watched


def test_whoever_joins_is_looked_after_with_its_groups_log(site):
    @importable
    class Joins(Silent):
        groups = ["g"]

        def receive(self, text_data=None, bytes_data=None):
            groups.add("h", self.channel_name)
            groups.add("i", self.channel_name)
            groups.discard("i", self.channel_name)

    site.serve(Joins)
    position = mailbox.get().append("group:h", mail.pack(mail.Frames(["x"])), expiry=60)
    client = site.client()
    private = f"private:specific.grip!{client.post(Open()).user}"
    assert set(site.watched.pop()[1]) == {private, "group:g"}
    client.post(Text("x"))
    assert site.watched.pop()[1] == {private: 0, "group:h": position}


def test_who_is_refused_is_not_looked_after(site):
    @importable
    class Refused(Reader):
        groups = ["g"]

        def connect(self):
            self.close()

    site.serve(Refused)
    site.client().post(Open())
    assert site.watched == []


@importable
class SilentMember(Silent):
    """Those who are in a group may be left copies while they join."""

    groups = ["g"]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("consumer", [Silent, SilentMember, Reader])
def test_a_connection_asks_for_callbacks_itself_where_the_proxy_can_be_asked_for_none(
    site, monkeypatch, consumer, late
):
    monkeypatch.setattr(refresher, "is_late", lambda: late)
    site.serve(consumer)
    client = site.client()
    answer = client.post(Open())
    assert answer.header("keep-alive-interval") == ("20" if late and consumer is not Silent else None)
    assert client.post(Text("x")).header("keep-alive-interval") is None


def test_what_waits_asks_for_callbacks_too_where_the_proxy_can_be_asked_for_none(site, clock, monkeypatch):
    monkeypatch.setattr(refresher, "is_late", lambda: True)
    _, member = large(site, clock)
    assert member.post(Text("a*20000 b*20000")).header("keep-alive-interval") == "20"


# Settling ----------------------------------------------------------------------------------------------------


@importable
class Joiner(Silent):
    groups = ["g"]

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "join":
            groups.add("h", self.channel_name)
        super().receive(text_data)

    def note(self, event):
        self.send(text_data=event["text"])


def note(text="note", group="g"):
    async_to_sync(groups.send)(group, {"type": "note", "text": text})


def settled(member):
    log = f"private:{member.name}"
    entries = [mail.unpack(data) for _, data in mailbox.get().read({log: 0}).get(log, [])]
    return [sorted(entry.groups) for entry in entries if isinstance(entry, mail.Settled)]


def pong(member):
    """The client answers what it was pinged."""
    while member.pings:
        member.post(Pong(member.pings.pop(0)))


@pytest.mark.parametrize(
    ("seconds", "events", "settles"),
    [
        (0.1, [], False),
        (0.4, [], False),
        (0.6, [], True),
        (0.6, [Text("x")], False),
        (0.6, [Ping()], False),
        (1.9, [Text("x")], False),
        (2.1, [Text("x")], True),
        (2.1, [Text("x"), Close()], False),
        (joining.EXPIRY + 0.5, [Text("x")], False),
        (joining.EXPIRY + 0.5, [], False),
    ],
    ids=repr,
)
def test_who_has_joined_settles_when_its_subscription_is_certain_to_be_made(site, clock, seconds, events, settles):
    site.serve(Joiner)
    member = Crowd(site, clock).opened()
    clock.sleep(seconds)
    member.post(*events)
    assert settled(member) == []
    pong(member)
    assert settled(member) == ([["g"]] if settles else [])
    member.post()
    pong(member)
    assert len(settled(member)) <= 1


def test_a_settled_connection_does_not_read_what_it_wrote_itself(site, clock):
    site.serve(Joiner)
    member = Crowd(site, clock).opened()
    clock.sleep(3)
    member.post()
    pong(member)
    assert settled(member) == [["g"]]
    assert member.post().header("set-meta-state") is None


def test_settling_changes_nothing_for_the_client(site, clock):
    site.serve(Joiner)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    clock.sleep(1)
    assert member.post().sent == [("ping", b"settling")]
    pong(member)
    assert site.refreshed == []
    note("published")
    crowd.work()
    member.post()
    assert member.texts == ["published"]
    assert len(site.published) == 1


def test_nobody_settles_before_the_client_has_all_copies(site, clock):
    """What is published at once would overtake the response."""
    site.serve(Joiner)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    clock.sleep(3)
    note("copy")
    site.refreshed.clear()
    member.post()
    assert (member.texts, settled(member)) == (["copy"], [])
    member.post()
    assert settled(member) == []
    pong(member)
    assert settled(member) == [["g"]]


def test_a_copy_that_comes_while_a_batch_is_under_way_keeps_it_from_settling(site, clock):
    @importable
    class Late(Joiner):
        def receive(self, text_data=None, bytes_data=None):
            thread = threading.Thread(target=note, args=("copy",))
            thread.start()
            thread.join(10)

    site.serve(Late)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    clock.sleep(3)
    member.post(Text("x"))
    assert (settled(member), site.published[-1].meta) == ([], {"skip_users": member.user})
    assert site.refreshed[-1] == member.name
    crowd.work()
    assert member.texts == ["copy"]
    assert settled(member) == [["g"]]


def test_a_sender_that_looked_before_the_settling_and_writes_after_it_publishes(site, clock, monkeypatch):
    site.serve(Joiner)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    clock.sleep(3)
    real = joining.look

    def look(*args):
        scene = real(*args)
        if not settled(member):
            thread = threading.Thread(target=lambda: (member.post(), pong(member)))
            thread.start()
            thread.join(10)
        return scene

    monkeypatch.setattr(joining, "look", look)
    note("x")
    assert settled(member) == [["g"]]
    assert [dict(item.meta) for item in site.published] == [{}]
    crowd.work()
    member.post()
    assert member.texts == ["x"]


def test_who_has_just_joined_another_group_settles_for_both_later(site, clock):
    """What one sender sends to several groups is to stay in order."""
    site.serve(Joiner)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    # The time of a join is the batch's own.
    for group in ("g", "h"):
        groups.add(group, member.name)
    crowd.work()
    note("1", "g")
    note("2", "h")
    clock.sleep(3)
    crowd.work()
    member.post()
    assert settled(member) in ([["g", "h"]], [])
    member.post()
    assert settled(member) == [["g", "h"]]
    assert member.texts == ["1", "2"]


def test_a_group_that_was_left_is_not_settled_for(site, clock):
    site.serve(Joiner)
    crowd = Crowd(site, clock)
    member = crowd.opened()
    groups.discard("g", member.name)
    clock.sleep(3)
    crowd.work()
    member.post()
    assert settled(member) == []


def test_the_channel_of_the_private_log_carries_the_prefix(site, settings):
    settings.GRIP_PREFIX = "mine-"
    site.serve(Reader)
    crowd = Crowd(site)
    member = crowd.opened()
    async_to_sync(get_channel_layer().send)(member.name.removeprefix("mine-"), {"type": "letter"})
    assert site.refreshed == [member.name]
    assert site.watched[0][0] == member.name
    crowd.work()
    assert member.texts == ["letter 1"]


def test_times_are_those_of_today():
    assert abs(inbox.milliseconds() - time.time() * 1_000) < 5_000


def test_the_groups_channel_is_not_the_private_one():
    assert group_channel("", "specific.grip", dotted(Joiner)) != "specific.grip!abc"


# Faults around it ---------------------------------------------------------------------------------------------


def test_who_has_just_joined_goes_on_talking_while_the_mailbox_is_down(wsgi_site, clock, monkeypatch, caplog):
    @importable
    class Joins(Large):
        def connect(self):
            async_to_sync(self.channel_layer.group_add)("room", self.channel_name)
            self.accept()

    wsgi_site.serve(Joins)
    member = Crowd(wsgi_site, clock).opened()
    clock.sleep(3)

    def down(*args, **kwargs):
        raise ConnectionError("the mailbox is down")

    for name in ("read", "look", "append", "append_at", "acknowledge"):
        monkeypatch.setattr(mailbox.get(), name, down)
    member.post(Text("a*1"))
    assert member.got == [("text", "a")]
    assert errors(caplog)


def test_another_proxy_that_is_down_does_not_end_who_gets_a_large_message(wsgi_site, clock, monkeypatch, settings):
    crowd, member = large(wsgi_site, clock)
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1"}, {"control_uri": "http://127.0.0.1:2"}]
    record = publisher.publish

    def publish(items):
        record(items)
        raise PublishError({"http://127.0.0.1:2": "it is down"})

    monkeypatch.setattr(publisher, "publish", publish)
    member.post(Text("a*30000"))
    crowd.work()
    assert [len(content) for _, content in member.got] == [30_000]
    assert not member.closed


def test_many_pings_at_once_do_no_harm(wsgi_site, clock):
    crowd, member = large(wsgi_site, clock)
    member.post(Text("a*20000 b*20000"))
    pings = [Ping(b"x" * 125)] * 220
    member.post(Pong(member.pings.pop()), *pings)
    crowd.work()
    member.post(*pings)
    assert not member.closed
    assert [content[0] for kind, content in member.got if kind == "text"] == ["a", "b"]


def test_settling_that_fails_asks_for_nothing(wsgi_site, clock, monkeypatch):
    @importable
    class Joins(Large):
        def connect(self):
            async_to_sync(self.channel_layer.group_add)("room", self.channel_name)
            self.accept()

    wsgi_site.serve(Joins)
    member = Crowd(wsgi_site, clock).opened()
    clock.sleep(3)
    monkeypatch.setattr(mailbox.get(), "append_at", lambda *args, **kwargs: False)
    wsgi_site.refreshed.clear()
    member.post()
    assert wsgi_site.refreshed == []
