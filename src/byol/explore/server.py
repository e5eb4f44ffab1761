"""A web server for one user on one machine: the page of `byol explore` and its requests.

It listens on 127.0.0.1 only and refuses other Host headers, so that no web page can reach it under another name. Requests
that show or change something need the token of the printed address, so that trying ports reveals no images. Answers with
something for each image are bytes (`explore.packed`).
"""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch

from byol.errors import BrokenImageError, ByolError, DataError, RunError
from byol.explore.layout import MOST_LAID_OUT
from byol.explore.library import Library, Match
from byol.explore.packed import KIND, packed
from byol.runtime.locks import alone

ADDRESS = "127.0.0.1"
FILES = resources.files("byol.explore") / "page_files"
MOST_BYTES = 100 * 2**20
"""Largest size of an uploaded file, in bytes."""
MOST_MATCHES = 200
PAGE_FILES = ("/explore.js", "/map.js", "/labels.js", "/places.js", "/explore.css", "/places.css")
SIDES = (64, 128)
"""Sides of thumbnails, in pixels."""


class BadRequest(Exception):  # noqa: N818
    """A request that cannot be answered; the message is shown on the page."""


def serve(library: Library, port: int, ready: Callable[[str], None]) -> None:
    """Serves until Ctrl-C, which ends the process; `ready` is called with the address. Raises RunError if the port is in use, or another process serves the library's folder."""
    with contextlib.ExitStack() as lock:
        with contextlib.suppress(OSError):  # a folder that cannot be written holds no labels to lose
            library.out.mkdir(parents=True, exist_ok=True)
            lock.enter_context(alone(library.out, lambda holder: _refusal(library.out, holder)))
        library.labels.read_again()  # what an earlier process wrote while this one made the map
        server = make_server(library, port)
        try:
            ready(f"http://{ADDRESS}:{server.server_port}/?of={server.RequestHandlerClass.token}")  # pyright: ignore[reportFunctionMemberAccess]
            server.serve_forever()
        except KeyboardInterrupt:
            library.listener.say("stopped; every label was saved")
            _end()
        finally:
            server.server_close()


def _end() -> None:
    """Ends the process at once: Python would look through all objects for seconds, and a thread that still reads images could abort it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(0)


def _refusal(folder: Path, holder: str) -> str:
    return (
        f"Another byol explore ({holder}) is open with the labels in {folder}. Use its page, "
        f"or stop it by Ctrl-C and start again; --out takes another folder."
    )


def make_server(library: Library, port: int = 0) -> ThreadingHTTPServer:
    """The server, not started yet. Port 0: any free port. Raises RunError if the port is in use."""
    handler = type("Handler", (_Handler,), {"library": library, "token": secrets.token_urlsafe(16)})
    try:
        server = ThreadingHTTPServer((ADDRESS, port), handler)
    except OSError as error:
        raise RunError(f"Port {port} cannot be used ({error.strerror}); choose another --port.") from error
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    library: Library
    token: str
    server_version, sys_version = "byol", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Suppresses the access log of the base class."""

    def _answer(self, act: Callable[[str, dict[str, str]], tuple[bytes, str]]) -> None:
        try:
            allowed = {f"{name}:{self.server.server_port}" for name in (ADDRESS, "localhost")}  # pyright: ignore[reportAttributeAccessIssue]
            if self.headers.get("Host") not in allowed:
                self._send(HTTPStatus.FORBIDDEN, b"this server only answers requests to 127.0.0.1", "text/plain")
                return
            address = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(address.query).items()}
            self._send(HTTPStatus.OK, *act(address.path, query))
        except (BadRequest, ByolError, ValueError, TypeError) as error:
            self._send(HTTPStatus.BAD_REQUEST, _json({"error": str(error)}), "application/json")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the page was closed

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'self'; frame-ancestors 'none'; img-src 'self' data: blob:",
        )
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "max-age=3600" if kind == "image/webp" else "no-store")
        if status != HTTPStatus.OK:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def _require_token(self, query: dict[str, str]) -> None:
        token = self.headers.get("X-Token") or query.get("of", "")
        if not secrets.compare_digest(token.encode(errors="replace"), self.token.encode()):
            raise BadRequest(
                "this address is incomplete or from an earlier start of byol explore: open the address it printed"
            )

    def _get(self, path: str, query: dict[str, str]) -> tuple[bytes, str]:
        library = self.library
        if path in PAGE_FILES:
            kind = "text/javascript" if path.endswith("js") else "text/css"
            return (FILES / path[1:]).read_bytes(), f"{kind}; charset=utf-8"
        self._require_token(query)
        if path == "/":
            page = (FILES / "explore.html").read_text(encoding="utf-8")
            return page.replace("TOKEN", self.token).encode(), "text/html; charset=utf-8"
        if path == "/library":
            return self._about(), KIND
        if path == "/thumbnail":
            return self._picture(library.thumbnail, query, _number(query, "side", 64, SIDES)), "image/webp"
        if path == "/picture":
            return self._picture(library.picture, query), "image/webp"
        if path == "/neighbours":
            count = _number(query, "count", 24, range(1, MOST_MATCHES + 1))
            return _matches(library.neighbours(self._image(query), count)), "application/json"
        if path == "/labels":
            return packed(*library.labels.entries()), KIND
        if path == "/next":
            return _json(
                library.labels.asked(_number(query, "count", 20, range(1, MOST_MATCHES + 1)))
            ), "application/json"
        if path == "/duplicates":
            return self._duplicates()
        if path == "/places":
            return self._places(query), KIND
        raise BadRequest(f"there is no {path}")

    def _post(self, path: str, query: dict[str, str]) -> tuple[bytes, str]:
        library = self.library
        self._require_token(query)
        body = self._body()
        if path == "/search":
            try:
                return _matches(library.search(body, 24)), "application/json"
            except BrokenImageError as error:
                raise BadRequest(f"this file is not a readable image ({error})") from error
        try:
            request = json.loads(body)
            if path in ("/label", "/accept", "/undo"):
                return self._labels(path, request), KIND
            if path == "/clusters":
                library.regroup(int(request["count"]))
                return packed({"clusters": library.clusters()}, {"cluster": library.cluster.int().numpy()}), KIND
            if path == "/name":
                library.names_of_clusters[int(request["cluster"])] = str(request["name"])[:100]
                return _json({"clusters": library.clusters()}), "application/json"
            if path == "/export":
                listed = request["images"] if "images" in request else library.members(int(request["cluster"]))
                images = [int(image) for image in listed]
                path_written = library.export(str(request["name"]), images)
                return _json({"path": str(path_written), "count": len(set(images))}), "application/json"
        except (ValueError, KeyError, TypeError) as error:
            raise BadRequest(f"the request {path} is malformed ({error})") from error
        raise BadRequest(f"there is no {path}")

    def _labels(self, path: str, request: dict[str, Any]) -> bytes:
        labels = self.library.labels
        if path == "/undo":
            labels.undo()
        elif path == "/accept":
            labels.accept([int(image) for image in request["images"]])
        else:
            images, keep = [int(image) for image in request["images"]], bool(request.get("keep"))
            labels.give(images, str(request["class"]), keep)
        return packed(*labels.entries())

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            raise DataError(f"The file is larger than {MOST_BYTES // 2**20} MB.")
        return self.rfile.read(int(length))

    def _about(self) -> bytes:
        library = self.library
        about = {
            "images": library.source.description,
            "names": library.names,
            "maps": list(library.plane),
            "ask": bool(library.labels.first or library.labels.of_image),
            "fit": library.fit,
            "drawn": library.drawn,
            "laid_out": min(MOST_LAID_OUT, library.drawn),
            "clusters": library.clusters(),
        }
        points = {f"map {name}": points.float().numpy() for name, points in library.plane.items()}
        return packed(about, {"cluster": library.cluster.int().numpy(), **points})

    def _duplicates(self) -> tuple[bytes, str]:
        """The groups or, as long as they are sought, how far the search is."""
        search = self.library.duplicates
        found = search.found()
        if found is None:
            doing, done, total = search.progress
            return _json({"doing": doing, "done": done, "total": total}), "application/json"
        return packed({}, {name: values.numpy() for name, values in found.items()}), KIND

    def _places(self, query: dict[str, str]) -> bytes:
        """Places like the one at the fractions x and y of an image, and the cosines of all their images' cells."""
        x, y = (_fraction(query, name) for name in ("x", "y"))
        found = self.library.places.find(self._image(query), x, y, _number(query, "count", 24, range(1, MOST_MATCHES + 1)))  # fmt: skip
        places = [
            (p.image, round(p.similarity, 4), p.row, p.column, *p.cosines.shape, round(p.ratio, 4))
            for p in found.places
        ]
        about = {"places": places, "read": found.read, "wanted": found.wanted}
        return packed(about, {"cosines": torch.cat([place.cosines.flatten() for place in found.places]).numpy()})

    def _image(self, query: dict[str, str]) -> int:
        return _number(query, "image", -1, range(len(self.library)))

    def _picture(self, make: Callable[..., bytes], query: dict[str, str], *more: int) -> bytes:
        try:
            return make(self._image(query), *more)
        except BrokenImageError as error:
            raise BadRequest(f"the image can no longer be read ({error})") from error


def _number(query: dict[str, str], name: str, default: int, allowed: range | tuple[int, ...]) -> int:
    text = query.get(name, str(default))
    if not text.isdigit() or int(text) not in allowed:
        raise BadRequest(f"{name} must not be {text!r}")
    return int(text)


def _fraction(query: dict[str, str], name: str) -> float:
    text = query.get(name, "")
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 1:
            return value
    raise BadRequest(f"{name} must not be {text!r}")


def _matches(matches: list[Match]) -> bytes:
    return _json([[match.image, round(match.similarity, 4)] for match in matches])


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
