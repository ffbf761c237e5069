"""A consumer as the documentation of djangochannelsrestframework has one: CRUD, one instance and the model observed."""

from __future__ import annotations

from typing import Any

from djangochannelsrestframework import mixins
from djangochannelsrestframework.decorators import action
from djangochannelsrestframework.generics import GenericAsyncAPIConsumer
from djangochannelsrestframework.observer import model_observer
from djangochannelsrestframework.observer.generics import ObserverModelInstanceMixin
from djangochannelsrestframework.permissions import AllowAny
from rest_framework import serializers

from .models import Comment


class CommentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Comment
        fields = ["id", "text"]


class CommentConsumer(
    ObserverModelInstanceMixin,
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.UpdateModelMixin,
    mixins.PatchModelMixin,
    mixins.DeleteModelMixin,
    GenericAsyncAPIConsumer,
):
    queryset = Comment.objects.all()
    serializer_class = CommentSerializer
    permission_classes = (AllowAny,)

    @model_observer(Comment, serializer_class=CommentSerializer)
    async def comment_activity(
        self, message: Any, action: str, subscribing_request_ids: list[Any] = (), **kwargs: Any
    ) -> None:
        for request_id in subscribing_request_ids:
            await self.send_json({"request_id": request_id, "seen": action, "comment": message})

    @action()
    async def subscribe_to_comment_activity(self, request_id: Any, **kwargs: Any) -> None:
        await self.comment_activity.subscribe(request_id=request_id)

    @action()
    async def unsubscribe_from_comment_activity(self, request_id: Any, **kwargs: Any) -> None:
        await self.comment_activity.unsubscribe(request_id=request_id)
