"""Decoding in a child process: the same answers, and a crash or a hang costs one file."""

import io
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict

import numpy as np
import psutil
import pytest
from PIL import Image

from dclust.collection import isolated
from dclust.collection.decode import Decoding, Undecodable, best_decoder, decode
from dclust.collection.isolated import Isolated
from dclust.errors import RunnerError

POLICY = Decoding(size=8)
# A site's own start-up file is how a Pillow comes to break on certain bytes.
BROKEN_PILLOW = """
import ctypes, os, pathlib, signal, sys, time
from PIL import Image
proper, seen = Image.open, 0
print("welcome to this site")
print("nothing works here", file=sys.stderr)
def broken(file, **options):
    global seen
    seen += 1
    start = bytes(file.getbuffer()[:5])
    if start == b"CRASH":
        ctypes.string_at(0)
    if start == b"ABORT":
        print("free(): invalid pointer", file=sys.stderr)
        os.abort()
    if start == b"HANG_":
        pathlib.Path(__file__).with_name("hangs").touch()
        time.sleep(60)
    if start == b"PRINT":
        os.write(1, b"noise" * 100_000)
    if start == b"LATER" and seen > 1:
        os.kill(os.getpid(), signal.SIGBUS)
    return proper(file, **options)
Image.open = broken
"""


def encoded(im, kind="PNG", **options):
    file = io.BytesIO()
    im.save(file, kind, **options)
    return file.getvalue()


GOOD = encoded(Image.new("RGB", (20, 10), (200, 10, 20)))


def verdict(decode_one, data, policy=POLICY):
    """All that becomes of a file, in a form that can be compared."""
    try:
        image = decode_one(data, policy)
    except Undecodable as fault:
        return fault.reason, fault.message
    about = asdict(image)
    pixels = about.pop("pixels")
    return about, pixels.dtype, pixels.shape, pixels.tobytes()


OTHERS = set()  # children of this process that other tests have left to live on


def children():
    return [p for p in psutil.Process().children(recursive=True) if p not in OTHERS]


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Children started from here on have the broken Pillow."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN_PILLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves a process or a zombie."""
    OTHERS.update(psutil.Process().children(recursive=True))
    yield
    assert children() == []


def test_200_good_and_bad_files_give_what_decode_gives():
    """The same pixels and facts, or the same reason and words, under several policies."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (37, 50, 4), np.uint8))
    kinds = [
        ("RGB", "JPEG"), ("L", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("RGB", "TIFF"),
        ("I;16", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("1", "BMP"), ("RGB", "AVIF"),
    ]  # fmt: skip
    files = [b"", b"no image", b"%PDF-1.7", b"x" * 10_001]
    for mode, kind in kinds:
        whole = encoded(
            noise.convert("L").convert(mode) if ";" in mode else noise.convert(mode), kind
        )
        files.append(whole)
        for _ in range(9):
            files.append(whole[: rng.integers(1, len(whole))])
            at = int(rng.integers(len(whole)))
            files.append(whole[:at] + rng.bytes(1) + whole[at + 1 :])
    policies = [
        Decoding(size=8, max_bytes=10_000, max_pixels=2000),
        Decoding(size=9, colour="grey", resize="fill", filter="lanczos", background=(1, 2, 3)),
        Decoding(size=16, bars=(9, 8, 7), filter="box", decoder=best_decoder()),
    ]
    with Isolated() as child:
        got = [verdict(child.decode, f, policies[i % 3]) for i, f in enumerate(files)]
    assert got == [verdict(decode, f, policies[i % 3]) for i, f in enumerate(files)]
    reasons = [v[0] for v in got if len(v) == 2]
    assert len(files) - len(reasons) > 50
    assert len(set(reasons)) >= 5


@pytest.mark.slow
def test_every_odd_image_gives_what_decode_gives(data):
    """Hundreds of files that broke some Pillow once, and no child is lost over them."""
    files = [p.read_bytes() for p in sorted((data / "odd-images").rglob("*")) if p.is_file()]
    with Isolated() as child:
        got = [verdict(child.decode, f) for f in files]
        assert len(children()) == 1
    assert got == [verdict(decode, f) for f in files]


@pytest.mark.slow
def test_a_large_file_passes_through_the_pipes():
    """Thirty million pixels, in more bytes than any pipe holds."""
    noise = np.random.default_rng(0).integers(0, 256, (5000, 6000), np.uint8)
    data = encoded(Image.fromarray(noise), compress_level=1)
    assert len(data) > 20_000_000
    with Isolated() as child:
        policy = Decoding(size=1024)
        assert verdict(child.decode, data, policy) == verdict(decode, data, policy)


@pytest.mark.usefixtures("broken")
def test_a_crash_costs_one_file_and_says_the_signal():
    """A real segmentation fault and an abort with its last words; the files around them decode."""
    files = [GOOD, b"CRASH", GOOD, b"CRASH again", b"ABORT", GOOD, b"PRINT", GOOD]
    with Isolated() as child:
        got = [verdict(child.decode, f) for f in files]
        assert len(children()) == 1
    fault = ("crashed", "the decoder died of SIGSEGV")
    abort = ("crashed", "the decoder died of SIGABRT: free(): invalid pointer")
    good = verdict(decode, GOOD)
    assert got == [good, fault, good, fault, abort, good, verdict(decode, b"PRINT"), good]


@pytest.mark.usefixtures("broken")
def test_a_hang_costs_one_file_and_says_the_seconds():
    """The limit is for each file; what is killed is the child and not the caller."""
    began = time.monotonic()
    with Isolated(seconds=0.5) as child:
        got = [verdict(child.decode, f) for f in (b"HANG_", GOOD)]
    assert got == [("hung", "the decoder took longer than 0.5 s"), verdict(decode, GOOD)]
    assert 0.5 < time.monotonic() - began < 20


@pytest.mark.usefixtures("broken")
def test_a_file_is_not_convicted_for_what_an_earlier_one_did():
    """A child that dies of a file only after it has seen others is no evidence."""
    with Isolated() as child:
        got = [verdict(child.decode, f) for f in (GOOD, b"LATER", b"LATER")]
        assert got[1:] == [verdict(decode, b"LATER")] * 2


def test_memory_is_limited():
    """What would need more address space than allowed fails alone; small files go on."""
    data = encoded(Image.new("RGB", (6000, 6000)))
    policy = Decoding(size=8)
    with Isolated(memory=300 * 2**20) as child:
        assert verdict(child.decode, data, policy)[0] == "out_of_memory"
        assert verdict(child.decode, GOOD) == verdict(decode, GOOD)
        # The file itself does not fit: the child cannot even take it in.
        assert verdict(child.decode, bytes(300 * 2**20), Decoding(max_bytes=2**30)) == (
            "out_of_memory",
            "the decoder ran out of memory",
        )
    with Isolated() as child:
        assert verdict(child.decode, data, policy) == verdict(decode, data, policy)
        (process,) = children()
        assert process.rlimit(psutil.RLIMIT_AS) == (4 * 2**30, 4 * 2**30)
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_a_child_killed_between_two_files_is_replaced():
    """Whoever killed it, the next file is innocent."""
    with Isolated() as child:
        child.decode(GOOD, POLICY)
        (first,) = children()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the parent
            first.send_signal(number)
        assert verdict(child.decode, GOOD) == verdict(decode, GOOD)
        assert children() == [first]
        first.kill()
        assert verdict(child.decode, GOOD) == verdict(decode, GOOD)
        assert children() != [first]


def test_no_child_is_started_for_files_that_are_refused_unseen():
    """An empty file and one above the ceiling meet no decoder, so they need none."""
    with Isolated() as child:
        assert verdict(child.decode, b"")[0] == "empty"
        assert verdict(child.decode, GOOD, Decoding(max_bytes=9))[0] == "too_many_bytes"
        assert children() == []


@pytest.mark.usefixtures("broken")
def test_an_interrupted_file_does_not_answer_for_the_next():
    """After an interrupt the child and what it was about to say are gone."""
    main = threading.main_thread().ident
    with Isolated() as child:
        child.decode(GOOD, POLICY)
        timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            child.decode(b"HANG_", POLICY)
        timer.join()
        assert children() == []
        assert verdict(child.decode, GOOD) == verdict(decode, GOOD)


def test_a_child_that_cannot_start_is_no_file_s_fault(monkeypatch, tmp_path):
    """Neither a Python that is missing nor one that fails before the first file blames a file."""
    with monkeypatch.context() as patched, Isolated() as child:
        patched.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(RunnerError, match=r"cannot be started .*No such file"):
            child.decode(GOOD, POLICY)
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Isolated() as child, pytest.raises(RunnerError, match=r"lost twice .*status 1: .*PIL"):
        child.decode(GOOD, POLICY)
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)")
    monkeypatch.setattr(isolated, "_READY_SECONDS", 0.2)
    with Isolated() as child, pytest.raises(RunnerError, match=r"longer than 0\.2 s"):
        child.decode(GOOD, POLICY)


def test_the_end_of_stdin_ends_the_child():
    """With nobody left to ask, it goes, content."""
    code = "from dclust.collection.isolated import serve; serve(2**32)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("broken")
@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's death"
)
def test_a_killed_parent_leaves_no_child(tmp_path):
    """Not even one that hangs in a decoder and will never see the end of its stdin."""
    code = """
from dclust.collection.isolated import Decoding, Isolated
Isolated().decode(b"HANG_", Decoding())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    try:
        wait_for((tmp_path / "hangs").exists)
        (child,) = psutil.Process(parent.pid).children()
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def wait_for(found):
    """What `found` returns as soon as it is something; at most 20 seconds."""
    until = time.monotonic() + 20
    while not (answer := found()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return answer


def test_the_folder_it_runs_in_offers_no_modules(monkeypatch, tmp_path):
    """Among the files to be decoded there may be one called like a module."""
    for name in ("json", "numpy", "PIL"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    with Isolated() as child:
        assert verdict(child.decode, GOOD) == verdict(decode, GOOD)


def test_the_child_imports_what_decoding_needs_and_no_more():
    """It starts in a fraction of a second because Zarr, Dask and Parquet stay out."""
    code = "import sys, dclust.collection.isolated; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert not {"zarr", "dask", "fsspec", "scipy", "pyarrow.parquet"} & set(told.stdout.split())
