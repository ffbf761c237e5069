"""What code for Channels counts on and a connection that no process owns cannot give, and what to do instead.

One table for all who say so: the system checks, `python -m grip_consumers.migrate`, errors and warnings at run time,
and docs/compatibility.md. `scan` finds most of it in source.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "Rule", "advise"]


@dataclass(frozen=True)
class Rule:
    """One thing that does not work behind a proxy.

    id      "W021": that of the system check, behind "grip_consumers."
    name    "background-task": what code and documentation call it by
    what    what a consumer does, to be read behind its name: "leaves a task running …"
    why     a sentence: why that does not do what it did
    cure    sentences: what to do instead
    """

    id: str
    name: str
    what: str
    why: str
    cure: str

    @property
    def check_id(self) -> str:
        """The id for Django's checks: "grip_consumers.W021"."""
        return f"grip_consumers.{self.id}"

    @property
    def advice(self) -> str:
        """The cure, with the id behind it, for the end of an error's text."""
        return f"{self.cure} ({self.check_id})"


_TABLE = (
    Rule(
        "W021",
        "background-task",
        "leaves a task, thread or process running when a handler returns",
        "The process answers the proxy and lets go of the connection: what it left running is cancelled, or has nobody "
        "to send to.",
        "Await it in the handler. For work that takes longer, start a Django task, or one of Celery, which answers by "
        "channel_layer.send(channel_name, …) or group_send(); for what repeats, define tick().",
    ),
    Rule(
        "W022",
        "sleeping-loop",
        "waits in a loop within a handler",
        "What a handler sends reaches the client when the handler returns, and no other message is handled before.",
        "Define tick() and tick_interval (20 seconds or more): it is called with the connection's state. For a quicker "
        "pace, let one process of the project, such as a management command, loop and group_send() to all.",
    ),
    Rule(
        "W023",
        "layer-receive",
        "receives from the channel layer",
        "No process owns a connection, so none has a queue of its events.",
        "Define a method that is named by the message's type: it is called when the message comes. For messages "
        "between processes, receive in a worker, under a channel name of its own.",
    ),
    Rule(
        "W024",
        "unkeepable-state",
        "keeps on the instance what does not outlive a request: a task, lock, queue, socket, client, open file, "
        "generator, or an object of a plain class",
        "The next messages are handled by another instance, in another process perhaps, which gets its attributes by "
        "value.",
        "Keep what it is made from and make it anew when it is needed, make its class a dataclass, or name the "
        "attribute in `transient` and make it in __init__().",
    ),
    Rule(
        "W025",
        "late-accept",
        "accepts the connection after connect() has returned",
        "The answer to the handshake goes out when connect() returns, and nobody is left who could decide later.",
        "Call accept() or close() in connect(). Who has yet to prove something can be accepted, and closed later with "
        "a code of your own (4000 to 4999).",
    ),
    Rule(
        "W026",
        "timer",
        "sets a timer: threading.Timer, call_later() or call_at()",
        "The process that would run it has let go of the connection by then.",
        "Define tick() and tick_interval for what is due in 20 seconds or more. For a time of its own, let a Django "
        "task with `run_after`, or one of Celery with `countdown`, answer by channel_layer.send(channel_name, …).",
    ),
    Rule(
        "W027",
        "process-state",
        "fills a dictionary, list or set of its module or class",
        "Each batch of messages may be handled by another process, which has its own; and a deploy empties it.",
        "Keep what connections share in the database or the cache, and what belongs to one connection on `self`.",
    ),
    Rule(
        "W028",
        "too-many-groups",
        "joins more groups than the proxy serves one connection",
        "The proxy ignores one subscription too many without a word, and the connection misses the group's messages.",
        "Join fewer groups (one for each user, say, not one for each thing that the user follows), or raise both the "
        "proxy's limit (Pushpin: connection_subscription_max) and GRIP_SUBSCRIPTION_LIMIT.",
    ),
    Rule(
        "W029",
        "ordinary-layer",
        "uses groups of a channel layer that does not reach the proxy's connections",
        "The events wait in a queue that no process reads: no process owns the connection.",
        "Let its channel_layer_alias name a GripChannelLayer in CHANNEL_LAYERS, or a DualChannelLayer during a move. "
        "Messages between processes may keep an ordinary layer, under another alias.",
    ),
    Rule(
        "W030",
        "local-class",
        "is defined where no import finds it, such as within a function",
        "The process that handles the next messages finds the class by its module and name.",
        "Define it at the top level of a module; what a function gave it can be an argument of as_asgi().",
    ),
    Rule(
        "W031",
        "lasting-call",
        "counts on its `__call__`, or a middleware around it, to run as long as the connection: keeps things in local "
        "variables there, or does something when the inner application has returned",
        "Where receive or send is wrapped it runs for each batch, with fresh variables; otherwise for the first batch "
        "only. Either way it returns at the end of a batch, and exceptions of other batches do not pass it.",
        "Keep it on `self`, in an overridden dispatch(): that is called for each message, and its exceptions pass it. "
        "What is due at the end belongs in disconnect(); what a middleware puts into `scope` at connect is kept.",
    ),
)

#: The rules by name, in the order of their ids.
RULES: dict[str, Rule] = {rule.name: rule for rule in _TABLE}


def advise(name: str) -> str:
    """What to do instead of what the rule `name` is about, and its id. Raises KeyError for no rule."""
    return RULES[name].advice
