"""Coverage-guided fuzzing of what we parse: `python -m tests.fuzzing TARGET --seconds N`.

Each target is a check that any bytes end in a result that keeps its word, or in a SourceError. The
tests put chosen bytes through the same checks; this program lets atheris (libFuzzer) look for more.
"""

import argparse
import gzip
import io
import resource
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

MOST_BYTES = 2**20  # of rows that are read to check a listing
ROOM = 2**31  # bytes of memory that may be asked for at once
PYTHON_2 = "Reading `.npy` or `.npz` file required"  # what NumPy says to those who wrote it with it
X = np.arange(36, dtype=np.uint8).reshape(4, 3, 3)
Y = np.arange(4, dtype=np.uint8)


def kept(named, spool: Path) -> None:
    """Check that a source holds what it lists, or says why not."""
    from dclust.collection.sources.base import Files
    from dclust.errors import SourceError

    try:
        source = named.prepare(spool)
        listing = source.listing()
        assert listing.count > 0
        assert listing.labels is None or len(listing.labels) == listing.count
        if listing.form == "files":
            order = np.lexsort(listing.places.T[::-1])
            names = [listing.names[i] for i in order]
            found = list(source.read_files(Files(names, listing.places[order]), MOST_BYTES))
            assert len(found) == listing.count
            assert sum(len(f) for f in found if isinstance(f, bytes)) <= 2**28
            return
        count = min(listing.count, MOST_BYTES // (8 * prod(listing.shape)))
        rows = source.read_rows(np.arange(count)[::-1].copy())
        assert len(rows) == count
    except SourceError:
        return


def idx(data: bytes, folder: Path) -> None:
    """Images plain, gzipped, or gzipped here; or labels beside images."""
    from dclust.collection.sources.idx import IdxSource

    kind, data = data[0] % 4, data[1:]
    path = folder / ("x-images-idx3-ubyte" + (".gz" if kind in (1, 2) else ""))
    labels = folder / "x-labels-idx1-ubyte"
    labels.unlink(missing_ok=True)
    if kind == 3:
        path.write_bytes(idx_file(X))
        labels.write_bytes(data)
    else:
        path.write_bytes(gzip.compress(data, 1) if kind == 2 else data)
    kept(IdxSource(str(path)), folder / "spool")


def cifar(data: bytes, folder: Path) -> None:
    """A batch of either kind, or of a kind that its size tells; with some class names."""
    from dclust.collection.sources.cifar import CifarSource

    name = ("data_batch_1.bin", "train.bin", "x.bin")[data[0] % 3]
    (folder / "batches.meta.txt").write_bytes(data[-10:])
    (folder / name).write_bytes(data[1:])
    kept(CifarSource(str(folder / name)), folder / "spool")


def npy(data: bytes, folder: Path) -> None:
    """A .npy file."""
    from dclust.collection.sources.arrays import NpySource

    (folder / "x.npy").write_bytes(data)
    kept(NpySource(str(folder / "x.npy")), folder / "spool")


def npz(data: bytes, folder: Path) -> None:
    """A bundle as it is, or one whose only member is the rest."""
    from dclust.collection.sources.arrays import NpzSource

    kind, data = data[0] % 3, data[1:]
    path = folder / "x.npz"
    path.write_bytes(data)
    if kind:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if kind == 2 else 0) as bundle:
            bundle.writestr("x.npy", data)
    kept(NpzSource(str(path)), folder / "spool")


def tar(data: bytes, folder: Path) -> None:
    """An archive plain, compressed, or compressed here."""
    from dclust.collection.sources.base import Reading
    from dclust.collection.sources.tars import TarSource

    kind, data = data[0] % 2, data[1:]
    path = folder / "x.tar"
    path.write_bytes(gzip.compress(data, 1) if kind else data)
    kept(TarSource((str(path),), "x.tar", Reading()), folder / "spool")


def hdf5(data: bytes, folder: Path) -> None:
    """An HDF5 file, most of which is h5py's to read."""
    from dclust.collection.sources.base import Reading
    from dclust.collection.sources.hdf5 import Hdf5Source

    (folder / "x.h5").write_bytes(data)
    kept(Hdf5Source(str(folder / "x.h5"), Reading()), folder / "spool")


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    t.__name__: t for t in (idx, cifar, npy, npz, tar, hdf5)
}


def idx_file(array: np.ndarray, kind: int = 0x08) -> bytes:
    """An array as an IDX file of bytes, or of another kind of number."""
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def saved(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    """What NumPy writes."""
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


def seeds(target: str) -> list[bytes]:
    """Inputs that are right, for others to be made from."""
    if target == "idx":
        plain = [idx_file(X), idx_file(X[:, 0].astype("f4"), 0x0D)]
        packed = [b"\1" + gzip.compress(data, mtime=0) for data in plain]
        return [*packed, b"\3" + idx_file(Y), *(k + data for k in (b"\0", b"\2") for data in plain)]
    if target == "cifar":
        return [bytes(1 + 3073), b"\1" + bytes(3074), b"\2" + bytes(2 * 3073)]
    arrays = [X, X.astype(">f8"), X[:, 0].astype("f4"), X[:, :, 0] > 4]
    if target == "npy":
        return [saved(np.save, x) for x in arrays]
    if target == "npz":
        bundles = [saved(np.savez, x=X, y=Y), saved(np.savez_compressed, x_train=X, y_train=Y)]
        return [b"\0" + b for b in bundles] + [b"\2" + saved(np.save, x) for x in arrays]
    if target == "tar":
        return [bytes([k]) + tar_file(form) for k in (0, 1) for form in (0, 1, 2)]
    return [hdf5_file(how) for how in ({}, {"chunks": (2, 3, 3), "compression": "gzip"})]


def tar_file(form: int) -> bytes:
    """An archive of two images, a class and a link, in one of tarfile's forms."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name in ("a/0.png", "a/0.cls", "a/1.jpg" if form == 0 else "b" * 120 + ".jpg"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"1"))
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "a/0.png"
        archive.addfile(member)
    return file.getvalue()


def hdf5_file(how: dict[str, object]) -> bytes:
    """Rows and labels as h5py writes them."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written.create_dataset("train/x", data=X, **how)
        written["train/y"] = Y
    return file.getvalue()


def main() -> None:
    """Fuzz one target; a crash prints the input that made it and ends with a code of its own."""
    command = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    command.add_argument("target", choices=TARGETS)
    command.add_argument("--seconds", type=int, default=60)
    command.add_argument("--folder", type=Path, help="for the corpus and what crashes")
    given = command.parse_args()
    import atheris

    with atheris.instrument_imports(include=["dclust.collection.sources"]):
        import dclust.collection.sources.hdf5
        import dclust.collection.sources.tars  # noqa: F401
    folder = given.folder or Path(tempfile.mkdtemp(prefix="dclust-fuzzing-"))
    corpus, work = folder / "corpus", folder / "work"
    for path in (corpus, work):
        path.mkdir(parents=True, exist_ok=True)
    for i, data in enumerate(seeds(given.target)):
        (corpus / f"seed{i}").write_bytes(data)
    check = TARGETS[given.target]

    def one(data: bytes) -> None:
        try:
            check(data or b"\0", work)
        except BaseException:
            sys.stdout.write(f"crash of {given.target}: {data.hex()}\n")
            sys.stdout.flush()
            raise

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", PYTHON_2)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    options = [f"-max_total_time={given.seconds}", "-max_len=8192", "-timeout=10"]
    options += [f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
