"""Files of the web: read from hosts that were allowed by name, and from no others they point to."""

import http.client
import time
from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from dclust.collection.files import WEB
from dclust.collection.sources.base import Given, too_many_bytes

TIMEOUT = 30.0  # seconds without an answer
WHOLE = 300.0  # seconds that one file may take
PART = 64 << 10
KEPT = "%/:=&?~#+!$,;'@()*[]"  # what is written as it is in a URL


def refused(url: str, allow: tuple[str, ...]) -> str:
    """Why a URL of the web is not asked for; empty if it is."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as fault:
        return f"no URL: {fault}"
    if parts.scheme not in WEB or not host:
        return "no URL of http or https"
    if "@" in parts.netloc:
        return "URLs with a user's name are not read"
    return "" if host in allow else f"host {host} is not allowed: --allow {host}"


class Web:
    """Asks hosts for files; an answer that points to another host is a fault."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        # Not `build_opener`, which would also open files and FTP.
        self.opener = OpenerDirector()
        for part in (
            ProxyHandler(),
            HTTPHandler(),
            HTTPSHandler(),
            HTTPDefaultErrorHandler(),
            HTTPErrorProcessor(),
            _Redirects(allow),
        ):
            self.opener.add_handler(part)

    def read(self, url: str, most: int) -> Given:
        """The bytes behind a URL, or why there are none; of a large file no more than `most`."""
        request = Request(quote(url, safe=KEPT), headers={"User-Agent": "dclust"})  # noqa: S310
        until = time.monotonic() + WHOLE
        try:
            answer = self.opener.open(request, timeout=TIMEOUT)
            with answer:
                return _body(answer, most, until)
        except http.client.HTTPException as fault:
            return OSError(f"{type(fault).__name__}: {fault}")
        except OSError as fault:
            # What an error's page says is not kept, nor its connection.
            getattr(fault, "close", lambda: None)()
            return OSError(str(fault))


def _body(answer: HTTPResponse, most: int, until: float) -> Given:
    size = answer.length  # as the host says, if it does
    if size is not None and size > most:
        return too_many_bytes(size, most)
    parts, got = [], 0
    while part := answer.read1(min(PART, most + 1 - got)):
        parts.append(part)
        got += len(part)
        if got > most:
            return too_many_bytes(got, most)
        if time.monotonic() > until:
            return TimeoutError(f"{got:,} bytes in {WHOLE:g} seconds")
    if size is not None and got < size:
        return OSError(f"{got:,} of {size:,} bytes, then the host hung up")
    return b"".join(parts)


class _Redirects(HTTPRedirectHandler):
    """Follows to hosts that are allowed."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        self.allow = allow

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """The next request, unless it is of a host that is not allowed."""
        if why := refused(newurl, self.allow):
            fp.close()
            raise OSError(f"sent on to {newurl[:200]}: {why}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
