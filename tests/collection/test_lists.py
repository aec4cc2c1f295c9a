"""Lists of paths and URLs: what they may name, and what hosts and stores answer."""

import os
import pickle
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
from upath import UPath

from dclust.collection.decode import Undecodable
from dclust.collection.sources import open_source, web
from dclust.collection.sources.base import Files, Reading
from dclust.collection.sources.lists import ListSource
from dclust.errors import SourceError
from tests.collection.test_tables import KINDS, write

MOST = 10_000


def listed(path, spool=None, **reading):
    """A list that is ready to be read, pickled once as on its way to a worker."""
    source = ListSource(str(path), Reading(**reading)).prepare(spool or path.parent / "spool")
    return pickle.loads(pickle.dumps(source))  # noqa: S301


def read(source, names=None):
    """What reading files of a list gives: all of them, or some by name."""
    return list(source.read_files(Files(list(names or source.listing().names)), MOST))


def text_list(path, text, **reading):
    """A list of this text."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return listed(path, **reading)


@pytest.fixture
def photos(tmp_path):
    """A folder of files that hold their own names."""
    for name in ("a.jpg", "cats/b.jpg", "cats/c d.jpg", "dogs/é.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"\xff.jpg")
    return tmp_path


@pytest.mark.parametrize("cut", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_names_files_and_their_classes(photos, cut, end):
    """With a first line or none, quotes, a mark of byte order, any of three separators."""
    rows = ["name|file|Label", "1|cats/b.jpg|cat", '2|"cats/c d.jpg"|cat', "3|dogs/é.jpg|dog", "",
            f"4|{photos}/a.jpg|"]  # fmt: skip
    data = end.join(rows).replace("|", cut).encode("utf-8-sig")
    source = text_list(photos / "list.csv", data)
    listing = source.listing()
    names = ["cats/b.jpg", "cats/c d.jpg", "dogs/é.jpg", f"{photos}/a.jpg"]
    assert listing.names == tuple(n.encode() for n in names)
    assert (listing.form, listing.count, listing.random) == ("files", 4, True)
    assert (listing.labels.tolist(), listing.classes) == ([0, 0, 1, -1], ("cat", "dog"))
    assert [data.decode() for data in read(source)] == [*names[:3], "a.jpg"]
    plain = text_list(photos / "list.tsv", f"cats/b.jpg{cut}x{end}a.jpg{cut}y{end}")
    assert plain.listing().names == (b"cats/b.jpg", b"a.jpg")
    assert plain.listing().labels is None


def test_columns_are_found_or_asked_for(photos):
    """A column that is asked for is in the first line; numbers are classes as they are."""
    data = "path,other,class\na.jpg,cats/b.jpg,7\ncats/b.jpg,a.jpg,0\n"
    listing = text_list(photos / "l.csv", data).listing()
    assert (listing.labels.tolist(), listing.classes) == ([7, 0], None)
    asked = text_list(photos / "l.csv", data, column="other", label="path").listing()
    assert asked.names == (b"cats/b.jpg", b"a.jpg")
    assert asked.classes == ("a.jpg", "cats/b.jpg")
    with pytest.raises(SourceError, match=r"l.csv has columns path, other, class, of which paths"):
        text_list(photos / "l.csv", data, column="none").listing()
    with pytest.raises(SourceError, match=r"classes are: path, other, class. Say.*--label"):
        text_list(photos / "l.csv", data, label="none").listing()
    with pytest.raises(SourceError, match=r"paths or URLs are: none. Say which.*--column"):
        text_list(photos / "l.csv", "picture,label\na.jpg,cat\n").listing()


def test_a_text_file_names_a_file_on_each_line(photos):
    """Of any bytes but line ends; their folders are classes, where that is wanted."""
    data = b"cats/c d.jpg\n\xff.jpg\r\n\ncats/b.jpg\ncats/c, d.jpg"
    source = text_list(photos / "list.txt", data, classes="parent")
    listing = source.listing()
    assert listing.names == (b"cats/c d.jpg", b"\xff.jpg", b"cats/b.jpg", b"cats/c, d.jpg")
    assert (listing.labels.tolist(), listing.classes) == ([1, 0, 1, 1], (".", "cats"))
    found = read(source)
    assert found[:3] == [b"cats/c d.jpg", b"\xff.jpg", b"cats/b.jpg"]
    assert isinstance(found[3], FileNotFoundError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_names_files_too(photos, kind):
    """Its column of paths, or the only one of text; null is no path."""
    names = ["a.jpg", None, "cats/b.jpg", "a.jpg", ""]
    path = photos / f"list.{kind}"
    table = pa.table(
        {"n": range(5), "file_name": names, "cls": [1, 1, 0, 1, 1], "x": list("abcde")}
    )
    write(path, table, 2)
    source = open_source(str(path)).prepare(photos / "spool")
    assert source.label == f"list.{kind}"
    listing = source.listing()
    assert listing.names == (b"a.jpg", b"cats/b.jpg")
    assert listing.labels.tolist() == [1, 0]
    assert listing.others == (
        (f"list.{kind}#1", "no path"), ("a.jpg", "named twice"), (f"list.{kind}#4", "no path"),
    )  # fmt: skip
    assert read(source) == [b"a.jpg", b"cats/b.jpg"]
    only = pa.table({"whatever": ["a.jpg"], "n": [1]})
    assert listed(photos / "o.parquet") if write(photos / "o.parquet", only) else None
    assert listed(photos / "o.parquet").listing().names == (b"a.jpg",)


def test_what_a_list_may_not_name_is_told(photos):
    """Chained URLs, other protocols, hosts nobody allowed, pipes, folders; nothing is opened."""
    os.mkfifo(photos / "fifo.jpg")
    refused = {
        "file:///etc/passwd": "file:// is not read",
        "simplecache::s3://bucket/a.jpg": "chained URLs are not read",
        "s3://bucket/zip://x::a.jpg": "chained URLs are not read",
        "ftp://example.com/a.jpg": "ftp:// is not read",
        "GOPHER://example.com/a": "gopher:// is not read",
        "http://example.com/a.jpg": "host example.com is not allowed: --allow example.com",
        "https://EXAMPLE.com:99/a": "host example.com is not allowed: --allow example.com",
        "http://good.org@example.com/a": "URLs with a user's name are not read",
        "http://good.org.example.com/a": "host good.org.example.com is not allowed: "
        "--allow good.org.example.com",
        "http://[::1/a": "no URL: Invalid IPv6 URL",
        "http:///a.jpg": "no URL of http or https",
        "http://127.0.0.1/a": "host 127.0.0.1 is not allowed: --allow 127.0.0.1",
        "fifo.jpg": "not a file",
        "/dev/zero": "not a file",
        "cats": "not a file",
        "a\0b.jpg": "no path",
    }
    data = "\n".join([*refused, "http://good.org/a", "https://good.org/b", "s3://b/c", "a.jpg"])
    listing = text_list(photos / "list.txt", data, allow=("good.org",)).listing()
    assert dict(listing.others) == refused
    assert listing.count == 4
    with pytest.raises(SourceError, match=r"names no file that can be read: of 1 names the first"):
        text_list(photos / "list.txt", "file:///etc/passwd").listing()
    with pytest.raises(SourceError, match=r"list.csv names no file that can be read\."):
        text_list(photos / "list.csv", "").listing()
    with pytest.raises(SourceError, match=r"not a readable list: field larger than field limit"):
        text_list(photos / "list.csv", "a,b\n" + "x" * 200_000).listing()
    with pytest.raises(SourceError, match=r"gone.csv is not a readable"):
        listed(photos / "gone.csv")


def test_the_fingerprint_tells_lists_and_files_that_changed(photos):
    """Looking twice changes nothing; another file, or one written again, does; stamps say which."""
    source = text_list(photos / "list.txt", "a.jpg\ncats/b.jpg\ngone.jpg\ns3://b/c.jpg")
    before = source.listing()
    assert source.listing().fingerprint == before.fingerprint
    assert before.stamps[2:].tolist() == [0, 0]
    (photos / "a.jpg").write_text("longer than before")
    after = listed(photos / "list.txt").listing()
    assert after.fingerprint != before.fingerprint
    assert (after.stamps != before.stamps).tolist() == [True, False, False, False]
    mark = ListSource(str(photos / "list.txt"), Reading()).mark()
    os.utime(photos / "list.txt", (1, 1))
    assert ListSource(str(photos / "list.txt"), Reading()).mark() != mark


def test_a_remote_list_names_no_local_files(photos):
    """What is relative is so to the list's own folder, and never leaves it."""
    root = UPath(f"memory://{photos.name}")
    for name in ("lists/a.jpg", "b.jpg"):
        (root / name).write_bytes(name.encode())
    names = ["path", "a.jpg", f"{root}/b.jpg", "/etc/passwd", "../b.jpg", f"{photos}/a.jpg",
             "file:///etc/passwd", "http://example.com/a", "gone.jpg"]  # fmt: skip
    (root / "lists" / "list.csv").write_bytes("\n".join(names).encode())
    source = open_source(f"{root}/lists/list.csv").prepare(photos / "spool")
    assert source.label == "list.csv"
    listing = source.listing()
    assert listing.names == (b"a.jpg", f"{root}/b.jpg".encode(), b"gone.jpg")
    local = "a remote list may not name local files"
    assert dict(listing.others) == {
        "/etc/passwd": local,
        "../b.jpg": local,
        f"{photos}/a.jpg": local,
        "file:///etc/passwd": "file:// is not read",
        "http://example.com/a": "host example.com is not allowed: --allow example.com",
    }
    found = read(source)
    assert found[:2] == [b"lists/a.jpg", b"b.jpg"]
    assert isinstance(found[2], FileNotFoundError)


def test_objects_of_a_bucket_come_in_order_each_with_its_own_fault(photos, bucket):
    """Missing objects and buckets, empty and large ones, beside those that are there."""
    root = UPath(bucket)
    for i in range(30):
        (root / f"{i}.jpg").write_bytes(b"%d" % i)
    (root / "empty.jpg").write_bytes(b"")
    (root / "large.jpg").write_bytes(b"x" * (MOST + 5))
    urls = [f"{bucket}/{i}.jpg" for i in range(30)] + ["a.jpg"]
    odd = [f"{bucket}/gone.jpg", "s3://no-such-bucket/a.jpg", f"{bucket}/large.jpg"]
    source = text_list(photos / "list.txt", "\n".join([*urls, f"{bucket}/empty.jpg", *odd]))
    found = read(source)
    assert found[:32] == [*(b"%d" % i for i in range(30)), b"a.jpg", b""]
    assert isinstance(found[32], OSError)
    assert isinstance(found[33], OSError)
    assert found[34].message == "10,005 bytes; max_bytes is 10,000"
    (root / "list.csv").write_bytes(b"image,label\n3.jpg,x\n" + f"{bucket}/4.jpg,y\n".encode())
    remote = open_source(f"{bucket}/list.csv").prepare(photos / "spool")
    assert remote.listing().classes == ("x", "y")
    assert read(remote) == [b"3", b"4"]


class Host(BaseHTTPRequestHandler):
    """Answers in all the ways that hosts do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """The path says how."""
        path = self.path.rpartition("/")[2]
        if path.startswith("to-"):
            where = {"to-good": "/good", "to-loop": "/to-loop", "to-file": "file:///etc/passwd"}
            port = self.server.server_port
            where["to-other"] = f"http://localhost:{port}/good"
            where["to-ftp"] = "ftp://127.0.0.1/good"
            self.send_response(302)
            self.send_header("Location", where[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "slow":
            time.sleep(1)
            self.close_connection = True
        elif path == "drip":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            for _ in range(20):
                self.wfile.write(b"x")
                time.sleep(0.1)
        elif path == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"x" * 50)
            self.close_connection = True
        elif path in ("large", "endless"):
            self.send_response(200)
            if path == "large":
                self.send_header("Content-Length", str(MOST + 1))
            self.end_headers()
            self.close_connection = True
            for _ in range(MOST // 1000 + 10):
                self.wfile.write(b"x" * 1000)
        elif path == "garbage":
            self.wfile.write(b"\x00\xff" * 50 + b"\r\n")
            self.close_connection = True
        else:
            body = f"{self.path} {self.headers['User-Agent']}".encode()
            self.send_response(200 if path.startswith("good") else 404, "as you see")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args):
        """Nothing."""


class Quiet(ThreadingHTTPServer):
    """A server that does not tell of clients who hang up."""

    daemon_threads = True
    request_queue_size = 64  # as many as ask at once

    def handle_error(self, *args):
        """Nothing."""


@pytest.fixture(scope="module")
def host():
    """A host on this machine: `127.0.0.1` is allowed below, `localhost` is not."""
    with Quiet(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(tmp_path, host, *paths):
    """What a list of files of the host gives."""
    data = "\n".join(f"{host}/{path}" for path in paths)
    return read(text_list(tmp_path / "list.txt", data, allow=("127.0.0.1",)))


def test_files_of_an_allowed_host_come_in_order(tmp_path, host):
    """Several at a time, each at its place; names with spaces, accents and line noise too."""
    paths = [f"good{i}" for i in range(60)]
    assert asked(tmp_path, host, *paths) == [f"/{path} dclust".encode() for path in paths]
    odd = ["good é", "good%20x?a=1&b=[2]#frag", "good\tx", "good\x7f"]
    found = [data.decode() for data in asked(tmp_path, host, *odd)]
    assert found == [
        "/good%20%C3%A9 dclust", "/good%20x?a=1&b=[2] dclust", "/good%09x dclust", "/good%7F dclust"
    ]  # fmt: skip


def test_each_way_a_host_fails_is_a_fault_of_one_file(tmp_path, host, monkeypatch):
    """Missing, too large, cut short, late, garbage, or sent on to where nobody allowed."""
    monkeypatch.setattr(web, "TIMEOUT", 0.5)
    monkeypatch.setattr(web, "WHOLE", 0.5)
    paths = ("good", "gone", "large", "endless", "cut", "slow", "drip", "garbage",
             "to-good", "to-other", "to-file", "to-ftp", "to-loop")  # fmt: skip
    found = dict(zip(paths, asked(tmp_path, host, *paths), strict=True))
    assert found.pop("good") == found.pop("to-good") == b"/good dclust"
    for name in ("large", "endless"):
        fault = found.pop(name)
        assert isinstance(fault, Undecodable)
        assert (fault.reason, fault.message) == (
            "too_many_bytes", "10,001 bytes; max_bytes is 10,000"
        )  # fmt: skip
    assert all(type(fault) in (OSError, TimeoutError) for fault in found.values()), found
    said = {name: str(fault) for name, fault in found.items()}
    assert said["gone"] == "HTTP Error 404: as you see"
    assert said["cut"] == "50 of 100 bytes, then the host hung up"
    assert "timed out" in said["slow"]
    assert "bytes in 0.5 seconds" in said["drip"]
    assert "BadStatusLine" in said["garbage"]
    assert "host localhost is not allowed: --allow localhost" in said["to-other"]
    assert "file:///etc/passwd' is not allowed" in said["to-file"]
    assert "sent on to ftp://127.0.0.1/good: no URL of http or https" in said["to-ftp"]
    assert "infinite loop" in said["to-loop"]
    gone = asked(tmp_path, "http://127.0.0.1:1", "good")
    assert "refused" in str(gone[0])
