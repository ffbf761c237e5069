"""Models for the snapshots; they have tables only in the tests that make them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models


class Money:
    """A value with a type of its own, as fields of third parties have them."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)

    def __str__(self) -> str:
        return str(self.cents)


class MoneyField(models.Field):  # type: ignore[type-arg]
    def get_internal_type(self) -> str:
        return "IntegerField"

    def from_db_value(self, value: Any, *args: Any) -> Any:
        return self.to_python(value)

    def get_prep_value(self, value: Any) -> Any:
        return value.cents if isinstance(value, Money) else value

    def to_python(self, value: Any) -> Any:
        return value if value is None or isinstance(value, Money) else Money(int(value))

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.value_from_object(obj))


class Member(AbstractBaseUser):
    name = models.CharField(max_length=20, unique=True)
    USERNAME_FIELD = "name"

    class Meta:
        app_label = "state_tests"


class Room(models.Model):
    name = models.CharField(max_length=20)
    owner = models.ForeignKey(Member, models.CASCADE, null=True)
    picture = models.FileField(blank=True)
    price = MoneyField(null=True)
    data = models.BinaryField(default=b"")

    class Meta:
        app_label = "state_tests"

    @cached_property
    def shout(self) -> str:
        return self.name.upper()

    @cached_property
    def client(self) -> object:
        return object()


class Topic(models.Model):
    room = models.OneToOneField(Room, models.CASCADE, related_name="topic")
    text = models.CharField(max_length=20)

    class Meta:
        app_label = "state_tests"


class PublicRoom(Room):
    class Meta:
        app_label = "state_tests"
        proxy = True


ALL = [Member, Room, Topic]
