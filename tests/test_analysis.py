"""What the code of a consumer class shows: which of its attributes are the same for all instances."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils.decorators import method_decorator

from grip_consumers.analysis import assigned_names, assignments, is_code, is_constant, permitted_names
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer


class Base(WebsocketConsumer):
    """A consumer with a constant that it reads."""

    role = "guest"

    def note(self, event):
        self.send(text_data=self.role)


@pytest.mark.parametrize("value", [[], {}, set(), bytearray(), ([],), object(), threading.Lock()])
def test_what_can_change_in_place_is_no_constant(value):
    cls = type("Chat", (WebsocketConsumer,), {"thing": value})
    assert "thing" not in permitted_names(cls)


@pytest.mark.parametrize("value", ["x", b"x", 1, 1.5, None, True, (1, ("a", None)), frozenset({1}), dict, asyncio])
def test_what_cannot_change_in_place_is_a_constant(value):
    assert is_constant(value)
    assert "thing" in permitted_names(type("Chat", (WebsocketConsumer,), {"thing": value}))


def test_methods_are_code_and_objects_that_can_be_called_are_not():
    assert is_code(vars(Base)["note"])
    assert is_code(property(len))
    assert not is_code(functools.partial(len))


@pytest.mark.parametrize("name", ["scope", "channel_name", "channel_layer", "groups", "__module__", "__dict__"])
def test_what_differs_by_its_nature_is_never_permitted(name):
    assert name not in permitted_names(Base)


# Where a class assigns an attribute ----------------------------------------------------------------------


def _module_level_helper(consumer):
    consumer.role = "admin"


def _module_level_setattr(consumer, **names):
    for name, value in names.items():
        setattr(consumer, name, value)


class Decorator:
    """A decorator in the form of a class."""

    def __init__(self, function):
        self.function = function

    def __get__(self, instance, owner):
        return functools.partial(self.function, instance)


def wrapping(function):
    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        self.role = "admin"
        return function(self, *args, **kwargs)

    return wrapper


def passing(function):
    @functools.wraps(function)
    def wrapper(self, *args, **kwargs):
        return function(self, *args, **kwargs)

    return wrapper


class ByMethod(Base):
    def connect(self):
        self.role = "admin"


class ByDel(Base):
    def connect(self):
        del self.role


class BySetattr(Base):
    def connect(self):
        setattr(self, "role", "admin")  # noqa: B010


class ByDict(Base):
    def connect(self):
        self.__dict__["role"] = "admin"


class ByVars(Base):
    def connect(self):
        vars(self).update(role="admin")


class ByNestedFunction(Base):
    def connect(self):
        def later():
            self.role = "admin"

        later()


class ByLambda(Base):
    connect = lambda self: setattr(self, "role", "admin")  # noqa: E731


class ByUnpacking(Base):
    def connect(self):
        (self.role, _), self.other = ("admin", 1), 2


class ByFor(Base):
    def connect(self):
        for self.role in ("admin",):
            pass


class ByWith(Base):
    def connect(self):
        with contextlib.nullcontext("admin") as self.role:
            pass


class ByProperty(Base):
    @property
    def rank(self):
        return None

    @rank.setter
    def rank(self, value):
        self.role = value

    def connect(self):
        self.rank = "admin"


class ByDecorator(Base):
    @wrapping
    def connect(self):
        self.accept()


class UnderDecorator(Base):
    @passing
    @passing
    def connect(self):
        self.role = "admin"


class UnderMethodDecorator(Base):
    @method_decorator(passing)
    def connect(self):
        self.role = "admin"


class UnderClassDecorator(Base):
    @Decorator
    def connect(self):
        self.role = "admin"


class UnderCache(Base):
    def connect(self):
        self.load()

    @functools.lru_cache  # noqa: B019
    def load(self):
        self.role = "admin"


class UnderSingleDispatch(Base):
    def connect(self):
        self.load(1)

    @functools.singledispatchmethod
    def load(self, value):
        self.role = "admin"


class UnderCachedProperty(Base):
    def connect(self):
        self.loaded  # noqa: B018

    @functools.cached_property
    def loaded(self):
        self.role = "admin"


class UnderPartialMethod(Base):
    def _load(self, role):
        self.role = role

    load = functools.partialmethod(_load, "admin")

    def connect(self):
        self.load()


class UnderAsyncToSync(Base):
    def connect(self):
        self.load()

    @async_to_sync
    async def load(self):
        self.role = "admin"


class UnderSyncToAsync(AsyncWebsocketConsumer):
    role = "guest"

    @sync_to_async
    def connect(self):
        self.role = "admin"

    async def note(self, event):
        await self.send(text_data=self.role)


class ByModuleHelper(Base):
    def connect(self):
        _module_level_helper(self)


class ByModuleSetattr(Base):
    def connect(self):
        _module_level_setattr(self, role="admin")


class Helper:
    def __init__(self, consumer):
        consumer.role = "admin"


class ByHelperObject(Base):
    def connect(self):
        Helper(self)


class ByOtherConsumersMixin:
    def enter(self):
        self.role = "admin"


class ByMixin(ByOtherConsumersMixin, Base):
    def connect(self):
        self.enter()


class ByInit(Base):
    def connect(self):
        self.accept()

    def __init__(self, role="guest", **kwargs):
        super().__init__(**kwargs)
        self.role = role


class ByInner(Base):
    class Inner:
        @staticmethod
        def enter(consumer):
            consumer.role = "admin"

    def connect(self):
        self.Inner.enter(self)


KINDS = [
    *(ByMethod, ByDel, BySetattr, ByDict, ByVars, ByNestedFunction, ByLambda, ByUnpacking, ByFor, ByWith),
    *(ByProperty, ByDecorator, UnderDecorator, UnderMethodDecorator, UnderClassDecorator, UnderCache),
    *(UnderSingleDispatch, UnderCachedProperty, UnderPartialMethod, UnderAsyncToSync, UnderSyncToAsync),
    *(ByModuleHelper, ByModuleSetattr, ByHelperObject, ByMixin, ByInit, ByInner),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_attribute_assigned_anywhere_is_not_shared(kind):
    assert "role" not in permitted_names(kind)


def test_an_attribute_assigned_nowhere_is_shared():
    assert "role" in permitted_names(Base)


def test_assigned_names_are_all_found_and_unknowable_ones_said_so():
    class Chat(WebsocketConsumer):
        def connect(self):
            self.one, self.two = 1, 2
            del self.three

    assert assigned_names(Chat) == {"one", "two", "three"}
    assert assigned_names(BySetattr) is None


# Ways by which a consumer gets into the hands of others --------------------------------------------------


def _direct(self):
    _module_level_helper(self)


def _by_alias(self):
    me = self
    _module_level_helper(me)


def _by_keyword(self):
    _module_level_helper(consumer=self)


def _by_star(self):
    _module_level_helper(*(self,))


def _by_double_star(self):
    _module_level_helper(consumer=self)


def _by_list(self):
    for consumer in [self]:
        _module_level_helper(consumer)


def _by_partial(self):
    functools.partial(_module_level_helper, self)()


def _by_closure(self):
    def inner():
        _module_level_helper(self)

    inner()


def _by_lambda(self):
    (lambda: _module_level_helper(self))()


def _by_default(self):
    def inner(consumer=self):
        _module_level_helper(consumer)

    inner()


def _by_comprehension(self):
    list(map(_module_level_helper, [self for _ in range(1)]))


def _by_return(self):
    return self


def _by_yield(self):
    yield self


def _by_subscript(self):
    self.scope["consumer"] = self


def _by_attribute(self):
    self.me = self


def _by_other_name(consumer):
    _module_level_helper(consumer)


def _by_conditional(self):
    _module_level_helper(self if self.accept else None)


def _by_boolean(self):
    _module_level_helper(self or None)


def _by_unpacking(self):
    me, _ = self, 1
    _module_level_helper(me)


def _by_walrus(self):
    _module_level_helper(me := self)
    return me


def _by_locals(self):
    _module_level_helper(locals()["self"])


def _by_raise(self):
    raise LookupError(self)


def _by_context(self):
    with contextlib.nullcontext(self) as consumer:
        _module_level_helper(consumer)


def _by_super_object(self):
    _module_level_helper(super(type(self), self).__self__)


async def _by_coroutine(self):
    _module_level_helper(self)


def _by_bound_method(self):
    self.accept.__self__.accept()
    _module_level_helper(self.accept.__self__)


def _by_arguments(*args):
    _module_level_helper(*args)


def _by_match(self):
    match self:
        case consumer:
            _module_level_helper(consumer)


ESCAPES = [value for name, value in list(globals().items()) if name.startswith("_by_")]


@pytest.mark.parametrize("enter", [_direct, *ESCAPES], ids=lambda function: function.__name__)
def test_a_consumer_that_is_handed_on_keeps_no_constant(enter):
    cls = type("Chat", (WebsocketConsumer,), {"role": "guest", "enter": enter})
    assert "role" not in permitted_names(cls)


def _plain_calls(self):
    self.accept()
    self.send(text_data=self.role)
    print(self.role, [self.role for _ in "x"])
    return self.role


class _Super(WebsocketConsumer):
    role = "guest"

    def connect(self):
        super().connect()
        super().connect()

    async def other(self):
        await asyncio.gather(self.other())
        asyncio.ensure_future(self.other())  # noqa: RUF006


def test_the_method_that_assigns_is_named():
    assert assignments(ByFor).methods["role"] == "connect"
    assert assignments(ByFor).doubt == ""


@pytest.mark.parametrize(
    ("cls", "doubt"),
    [
        (BySetattr, "connect() may assign, for it uses setattr"),
        (ByModuleHelper, "connect() may have changed, for it hands self to _module_level_helper()"),
    ],
)
def test_a_doubt_says_which_method_raises_it(cls, doubt):
    assert assignments(cls).doubt == doubt


def test_an_alias_that_stays_at_home_is_no_doubt():
    class Chat(WebsocketConsumer):
        role = "guest"

        def note(self, event):
            me = self
            me.send(text_data=me.role)

    assert {"role", "note"} <= permitted_names(Chat)


def _eval(self):
    eval("_module_level_helper(self)")


def _exec(self):
    exec("self.role = 'admin'")


def _locals(self):
    _module_level_helper(locals()["self"])


def _vars(self):
    vars().update(role="admin")


def _setattr(self):
    return setattr


def _delattr(self):
    return delattr


def _bound_to(self):
    _module_level_helper(self.accept.__self__)


def _dict(self):
    self.accept.__func__.__dict__.clear()


def _dunder_setattr(self):
    return object.__setattr__


def _dunder_delattr(self):
    return object.__delattr__


REFLECTIONS = [*(_eval, _exec, _locals, _vars, _setattr, _delattr, _bound_to, _dict, _dunder_setattr, _dunder_delattr)]


@pytest.mark.parametrize("enter", REFLECTIONS, ids=lambda function: function.__name__)
def test_reflection_makes_the_assigned_names_unknowable(enter):
    cls = type("Chat", (WebsocketConsumer,), {"role": "guest", "enter": enter})
    assert assigned_names(cls) is None
    assert "role" not in permitted_names(cls)


def test_ordinary_methods_keep_constants_shared():
    cls = type("Chat", (WebsocketConsumer,), {"role": "guest", "enter": _plain_calls})
    assert "role" in permitted_names(cls)
    assert "role" in permitted_names(_Super)


class MakesInstances(type):
    def __call__(cls, *args, **kwargs):
        instance = super().__call__(*args, **kwargs)
        instance.role = "admin"
        return instance


def test_a_metaclass_that_makes_instances_may_assign_any_name():
    class Chat(WebsocketConsumer, metaclass=MakesInstances):
        role = "guest"

    assert "role" not in permitted_names(Chat)


def test_a_method_that_hands_its_instance_on_is_not_permitted_but_others_are():
    class Chat(WebsocketConsumer):
        def hand_on(self):
            print(self)

        def keep(self):
            self.send(text_data="x")

    assert {"hand_on", "keep"} & permitted_names(Chat) == {"keep"}
