"""What the live pages show: a number that everybody may change, and a list of tasks."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction


class Counter(models.Model):
    """A number; `steps` counts its changes, so that of two values the newer one is known."""

    value = models.IntegerField(default=0)
    steps = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.value} after {self.steps} steps"

    @classmethod
    def the_one(cls) -> Counter:
        """The site's only counter; not saved as long as nobody has counted."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)

    @classmethod
    def step(cls, by: int) -> Counter:
        """Add to the number and return the counter as it then is, whoever else counts."""
        with transaction.atomic():
            counter, _ = cls.objects.select_for_update().get_or_create(pk=1)
            counter.value += by
            counter.steps += 1
            counter.save()
        return counter

    def as_dict(self) -> dict[str, int]:
        """JSON types only."""
        return {"value": self.value, "steps": self.steps}


class Task(models.Model):
    """Something to do; `version` counts its changes, so that of two copies the newer one is known."""

    title = models.CharField(max_length=120)
    done = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.title

    def as_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {"id": self.pk, "title": self.title, "done": self.done, "version": self.version}
