"""The three examples of django-grip's README, as printed but for the imports and the object that it leaves out."""

# ruff: noqa: RET505 - as printed
from __future__ import annotations

import hashlib

from django.http import HttpResponse, HttpResponseNotAllowed, HttpResponseNotModified
from gripcontrol import HttpResponseFormat, HttpStreamFormat, WebSocketMessageFormat

from grip_consumers import publish, set_hold_longpoll, set_hold_stream, websocket_only
from grip_consumers.views.grip import GripInstruct


def stream(request):
    if request.method == "GET":
        # if the request didn't come through a GRIP proxy, throw 501
        if not request.grip_proxied:
            return HttpResponse("Not Implemented\n", status=501)

        # subscribe every incoming request to a channel in stream mode
        resp = HttpResponse("[stream open]\n", content_type="text/plain")
        set_hold_stream(request, "test")
        return resp
    elif request.method == "POST":
        # publish data to subscribers
        data = request.POST["data"]
        publish("test", HttpStreamFormat(data + "\n"))
        return HttpResponse("Ok\n")
    else:
        return HttpResponseNotAllowed(["GET", "POST"])


class Object:
    """What the long-polling example leaves to the reader."""

    text = ""

    def serialize(self) -> str:
        return self.text

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.text.encode()).hexdigest()[:16]}"'


the_object = Object()


def poll(request):
    if request.method == "GET":
        # get object and its etag
        obj = the_object
        etag = obj.etag

        # if object is unchanged, long-poll, else return object
        inm = request.META.get("HTTP_IF_NONE_MATCH")
        if inm == etag:
            # subscribe request to channel, return status 304 after timeout
            resp = HttpResponseNotModified()
            set_hold_longpoll(request, "test")
        else:
            resp = HttpResponse(obj.serialize())

        resp["ETag"] = etag
        return resp
    elif request.method == "POST":
        data = request.POST["data"]

        # update object based on request, and get resulting object and its etag
        obj = the_object
        obj.text = data
        etag = obj.etag

        # publish data to subscribers
        headers = {"ETag": etag}
        publish("test", HttpResponseFormat(obj.serialize(), headers=headers))
        return HttpResponse("Ok\n")
    else:
        return HttpResponseNotAllowed(["GET", "POST"])


def unchanged(request):
    """As the example for an object that is unchanged, without its 55 seconds."""
    response = HttpResponseNotModified()
    set_hold_longpoll(request, "test", timeout=5)
    response["ETag"] = '"1"'
    return response


# decorator means reject non-websocket-related requests. it also means we
#   don't need to return an HttpResponse object. the middleware will take care
#   of that for us.
@websocket_only
def echo(request):
    # since we used the decorator, this will always be a non-None value
    ws = request.wscontext

    # if this is a new connection, accept it and subscribe it to a channel
    if ws.is_opening():
        ws.accept()
        ws.subscribe("test")

    # here we loop over any messages
    while ws.can_recv():
        message = ws.recv()

        # if return value is None, then the connection is closed
        if message is None:
            ws.close()
            break

        # echo the message
        ws.send(message)


def broadcast(request):
    if request.method == "POST":
        # publish data to all clients that are connected to the echo endpoint
        data = request.POST["data"]
        publish("test", WebSocketMessageFormat(data))
        return HttpResponse("Ok\n")
    else:
        return HttpResponseNotAllowed(["POST"])


@websocket_only
async def counted(request):
    """Count messages, fail when told to, close when told to: asynchronous, with a state."""
    ws = request.wscontext
    if ws.is_opening():
        ws.accept()
        ws.state["count"] = 0
    for message in ws:
        if message == "fail":
            raise RuntimeError("as told")
        if message == "leave":
            ws.close(4001, "as told")
        ws.state["count"] += 1
        ws.send(f"{ws.state['count']} {message}")


def held(request):
    """Hold for whatever channel, data and link the client names."""
    try:
        instruct = GripInstruct()
        instruct.add_channel(request.GET["channel"])
        instruct.set_hold_stream()
        instruct.set_keep_alive(request.GET.get("data", "-"), timeout=1)
        instruct.set_next_link(request.GET.get("link", "/"))
        request.grip.instruct = instruct
    except ValueError:
        return HttpResponse("refused\n", status=400)
    return HttpResponse("held\n")
