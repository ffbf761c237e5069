"""How Django's own objects are kept: model instances, lazy objects, sessions, the anonymous user.

A model instance is kept as the snapshot it was and comes back without a query: its loaded fields,
annotations, cached properties and cached relations, but never a password hash, which stays behind like a
field that was deferred. Prefetched lists are left behind too; reading them asks the database again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.db.models import Manager, Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.fields.files import FieldFile
from django.utils.functional import LazyObject, SimpleLazyObject

from .extensions import read_object, write_object
from .lazy import AnyLazyObject, StoredLazyObject, StoredValue, stored_form
from .table import (
    CannotEncode,
    Decoder,
    Encoder,
    dotted,
    import_dotted,
    is_derived,
    refuse,
    register,
    register_node,
    type_name,
)

__all__ = ["register_all"]


def register_all() -> None:
    """Add this module's rows to the table. Called once, when the codec is imported."""
    register(lambda kind: issubclass(kind, LazyObject), 40, _write_lazy, _read_lazy)
    register_node(lambda kind: issubclass(kind, Model), 41, _write_model, _read_model)
    register(lambda kind: issubclass(kind, SessionBase), 42, _write_session, _read_session)
    register_node(_is_anonymous, 43, write_object, read_object)
    refuse(QuerySet, "keep its rows, list(queryset), or the values to filter by")
    refuse(Manager, "keep the instance it belongs to")
    refuse(FieldFile, "keep its name, or the instance it belongs to")


# Lazy objects ------------------------------------------------------------------------------------------


def _write_lazy(value: AnyLazyObject) -> list[Any]:
    kind = type(value)
    own = issubclass(kind, (StoredLazyObject, SimpleLazyObject)) and kind is not StoredLazyObject
    return [dotted(kind) if own else None, stored_form(value)]


def _read_lazy(parts: list[Any]) -> Any:
    reference, stored = parts
    kind: Any = import_dotted(reference) if reference else StoredLazyObject
    if issubclass(kind, SimpleLazyObject):
        return kind(StoredValue(stored))
    return kind(stored)


# Model instances ---------------------------------------------------------------------------------------


def _write_model(instance: Model, encoder: Encoder) -> bytes:
    label, state = instance._meta.label_lower, instance._state
    _check_findable(type(instance), label)
    attributes = dict(_attributes(instance))
    texts: dict[str, str] = {}
    related = {name: other for name, other in state.fields_cache.items() if other is None or _is_model(other)}
    content = encoder.encode_or_none([attributes, texts, related])
    if content is None:
        attributes, texts = _reduced(instance, attributes, encoder)
        content = encoder.encode([attributes, texts, related])
    return encoder.encode([label, state.db, state.adding, content])


def _check_findable(kind: type[Model], label: str) -> None:
    try:
        found = apps.get_model(label)
    except LookupError:
        found = None
    if found is not kind:
        raise CannotEncode(type_name(kind), f"no installed application has this class as its model {label!r}")


def _read_model(data: bytes, decoder: Decoder) -> Model:
    label, database, adding, content = decoder.decode(data)
    model: Any = apps.get_model(label)
    # No __init__: no signals, no descriptors, no query. This is the instance that was, not a new one.
    instance: Model = model.__new__(model)
    state = ModelState()
    state.db, state.adding = database, adding
    instance.__dict__["_state"] = state
    decoder.remember(instance)
    attributes, texts, related = decoder.decode(content)
    instance.__dict__.update(attributes)
    for field in model._meta.concrete_fields if texts else ():
        if field.attname in texts:
            instance.__dict__[field.attname] = field.to_python(texts[field.attname])
    state.fields_cache = related
    return instance


def _is_model(value: Any) -> bool:
    return issubclass(type(value), Model)


def _attributes(instance: Model) -> Iterator[tuple[str, Any]]:
    # A user's hash must not leave the database; a raw password that is about to be set neither.
    secret = {"password", "_password"} if hasattr(instance, "check_password") else set()
    for name, value in instance.__dict__.items():
        if name in secret or name in {"_state", "_prefetched_objects_cache"}:
            continue
        yield name, _file_name(value) if isinstance(value, FieldFile) else value


def _file_name(file: FieldFile) -> str | None:
    if not vars(file)["_committed"]:
        raise CannotEncode(type_name(type(file)), "the file has not been saved yet: save the instance first")
    return file.name


def _reduced(instance: Model, attributes: dict[str, Any], encoder: Encoder) -> tuple[dict[str, Any], dict[str, str]]:
    """The attributes that can be kept, and the text forms of fields whose values have a type of their own.

    Left out is what the instance can do without: caches, that is private attributes and cached properties.
    What else cannot be kept stays in, for the encoder to complain about.
    """
    fields = {field.attname: field for field in instance._meta.concrete_fields}
    kept: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for name, value in attributes.items():
        if encoder.can_encode(value):
            kept[name] = value
        elif name in fields and (text := _text_form(instance, fields[name], value)) is not None:
            texts[name] = text
        elif not name.startswith("_") and not is_derived(type(instance), name):
            kept[name] = value
    return kept, texts


def _text_form(instance: Model, field: Any, value: Any) -> str | None:
    """The text that dumpdata would write, if the field reads this very value from it (not an F(), say)."""
    try:
        text = field.value_to_string(instance)
        same = field.to_python(text) == value
    except (ValueError, TypeError, ValidationError):
        return None
    return text if same is True and isinstance(text, str) else None


# Sessions ----------------------------------------------------------------------------------------------


def _write_session(session: SessionBase) -> list[Any]:
    # Not loaded yet is kept as such: the first look loads it, as it would have.
    loaded = session.__dict__.get("_session_cache")
    kind = dotted(type(session))
    return [kind, session.session_key, loaded, session.accessed, session.modified]


def _read_session(parts: list[Any]) -> SessionBase:
    kind, key, loaded, accessed, modified = parts
    session: SessionBase = import_dotted(kind)(key)
    if loaded is not None:
        session.__dict__["_session_cache"] = loaded
    session.accessed, session.modified = accessed, modified
    return session


def _is_anonymous(kind: type) -> bool:
    # By name: importing the class needs django.contrib.auth to be installed.
    return any(f"{base.__module__}.{base.__qualname__}" == _ANONYMOUS for base in kind.__mro__)


_ANONYMOUS = "django.contrib.auth.models.AnonymousUser"
