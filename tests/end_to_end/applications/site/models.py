"""What the consumers of djangochannelsrestframework serve."""

from __future__ import annotations

from django.db import models


class Comment(models.Model):
    text = models.TextField()
