"""Which consumer answers which path."""

from channels.routing import URLRouter
from django.urls import path, re_path

from . import consumers, groups, letters, members, people, scope
from .middleware import (
    CatchErrorsMiddleware,
    TenantMiddleware,
    TokenMiddleware,
    UpperMiddleware,
    strip_middleware,
)

nested = URLRouter(
    [
        path("kwargs/<slug:inner>/", scope.Kwargs.as_asgi()),
        re_path(r"^report/(\d+)/(\w+)/$", scope.ScopeReport.as_asgi()),
    ]
)

behind_middleware = URLRouter(
    [
        path("tenant/", TenantMiddleware(scope.Tenant.as_asgi())),
        path("upper/", UpperMiddleware(strip_middleware(consumers.Echo.as_asgi()))),
        path("upper-counter/", UpperMiddleware(consumers.AsyncCounter.as_asgi())),
        path("upper-room/<room_name>/", UpperMiddleware(groups.AsyncRoom.as_asgi())),
        path("upper-member/<room_name>/", UpperMiddleware(members.Member.as_asgi())),
        path("upper-postman/", UpperMiddleware(letters.Postman.as_asgi())),
        path("tenant-member/<room_name>/", TenantMiddleware(members.TenantMember.as_asgi())),
        path("caught/", CatchErrorsMiddleware(consumers.FailingConnect.as_asgi())),
        path("caught-late/", CatchErrorsMiddleware(consumers.FailingAfterAccept.as_asgi())),
        path("token/", TokenMiddleware(consumers.Echo.as_asgi())),
    ]
)

websocket_urlpatterns = [
    path("ws/echo/", consumers.Echo.as_asgi()),
    path("ws/async-echo/", consumers.AsyncEcho.as_asgi()),
    path("ws/default/", consumers.DefaultConsumer.as_asgi()),
    path("ws/listener/", consumers.Listener.as_asgi()),
    path("ws/counter/", consumers.Counter.as_asgi()),
    path("ws/async-counter/", consumers.AsyncCounter.as_asgi()),
    path("ws/late/", consumers.LateAttributes.as_asgi()),
    path("ws/init/", consumers.InitArguments.as_asgi(greeting="hello")),
    path("ws/actions/<room_name>/", consumers.ActionTable.as_asgi()),
    path("ws/async-actions/", consumers.AsyncActionTable.as_asgi()),
    path("ws/types/", consumers.Types.as_asgi()),
    path("ws/scope-names/", scope.ScopeNames.as_asgi()),
    path("ws/scope-keeper/", consumers.ScopeKeeper.as_asgi()),
    path("ws/json/", consumers.Json.as_asgi()),
    path("ws/async-json/", consumers.AsyncJson.as_asgi()),
    path("ws/custom-json/", consumers.CustomJson.as_asgi()),
    path("ws/subprotocol/", consumers.Subprotocol.as_asgi()),
    path("ws/accept-headers/", consumers.AcceptHeaders.as_asgi()),
    path("ws/greeting/", consumers.Greeting.as_asgi()),
    path("ws/accept-then-close/", consumers.AcceptThenClose.as_asgi()),
    path("ws/reject-by-close/", consumers.RejectByClose.as_asgi()),
    path("ws/async-reject-by-close/", consumers.AsyncRejectByClose.as_asgi()),
    path("ws/reject-by-deny/", consumers.RejectByDeny.as_asgi()),
    path("ws/accept-by-exception/", consumers.AcceptByException.as_asgi()),
    path("ws/failing-connect/", consumers.FailingConnect.as_asgi()),
    path("ws/failing-after-accept/", consumers.FailingAfterAccept.as_asgi()),
    path("ws/send-before-accept/", consumers.SendBeforeAccept.as_asgi()),
    path("ws/denial-response/", consumers.DenialResponse.as_asgi()),
    path("ws/closer/", consumers.Closer.as_asgi()),
    path("ws/async-closer/", consumers.AsyncCloser.as_asgi()),
    path("ws/send-and-close/", consumers.SendAndClose.as_asgi()),
    path("ws/send-after-close/", consumers.SendAfterClose.as_asgi()),
    path("ws/stopper/", consumers.Stopper.as_asgi()),
    path("ws/failing/", consumers.Failing.as_asgi()),
    path("ws/async-failing/", consumers.AsyncFailing.as_asgi()),
    path("ws/failing-disconnect/", consumers.FailingDisconnect.as_asgi()),
    path("ws/send-nothing/", consumers.SendNothing.as_asgi()),
    path("ws/who/", scope.WhoAmI.as_asgi()),
    path("ws/logs-in/", scope.LogsIn.as_asgi()),
    path("ws/overridden/", consumers.Overridden.as_asgi()),
    path("ws/report/<int:number>/<slug:name>/", scope.ScopeReport.as_asgi(), {"extra": "given"}),
    path("ws/nested/<slug:outer>/", nested),
    path("ws/behind/", behind_middleware),
    path("ws/room/<room_name>/", groups.Room.as_asgi()),
    path("ws/async-room/<room_name>/", groups.AsyncRoom.as_asgi()),
    path("ws/ordered/<room_name>/", groups.OrderedRoom.as_asgi()),
    path("ws/class-groups/", groups.ClassGroups.as_asgi()),
    path("ws/join-leave/", groups.JoinLeave.as_asgi()),
    path("ws/variety/<room_name>/", groups.Variety.as_asgi()),
    path("ws/other/<room_name>/", groups.OtherRoom.as_asgi()),
    path("ws/self-sender/", groups.SelfSender.as_asgi()),
    path("ws/addressable/", groups.Addressable.as_asgi()),
    path("ws/missing-handler/", groups.MissingHandler.as_asgi()),
    path("ws/presence/<room_name>/", groups.Presence.as_asgi()),
    path("ws/relay/<room_name>/", groups.Relay.as_asgi()),
    path("ws/member/<room_name>/", members.Member.as_asgi()),
    path("ws/async-member/<room_name>/", members.AsyncMember.as_asgi()),
    path("ws/board/<room_name>/", members.Board.as_asgi()),
    path("ws/json-member/<room_name>/", members.JsonMember.as_asgi()),
    path("ws/async-json-member/<room_name>/", members.AsyncJsonMember.as_asgi()),
    path("ws/chain/<room_name>/", members.Chain.as_asgi()),
    path("ws/postman/", letters.Postman.as_asgi()),
    path("ws/sync-postman/", letters.SyncPostman.as_asgi()),
    path("ws/looper/", letters.Looper.as_asgi()),
    path("ws/group-looper/<room_name>/", letters.GroupLooper.as_asgi()),
    path("ws/hasty/<room_name>/", letters.HastyJoiner.as_asgi()),
    path("ws/person/<room_name>/", people.Person.as_asgi()),
    path("ws/guest/<room_name>/", people.Guest.as_asgi()),
]
