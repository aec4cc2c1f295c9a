"""What becomes of each of the odd images, whatever they lie in: a folder, an archive, a table."""

from pathlib import PurePosixPath

from dclust.collection.decode import Reason

# Formats we do not read; two of the TGAs do not even say that they are some.
_REFUSED_SUFFIXES = {".eps", ".ico", ".jp2", ".tga"}
_REFUSED: dict[Reason, str] = {
    "not_an_image": "LICENSE cross_scan_line_truncated.tga p_8.tga",
    "too_many_pixels": "badwidth.bmp decompression_bomb.gif l2rgb_read.bmp reallybig.bmp",
    "truncated": "shortfile.bmp truncated_end_chunk.png truncated_jpeg.jpg ultrahdr.jpg",
    "corrupt": """
        badbitcount.bmp badheadersize.bmp badpalettesize.bmp broken.png broken_data_stream.png
        chunk_no_fctl.png crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif
        crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif
        crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif
        crash-1185209cf7655b5aed8ae5e77784dfdd18ab59e9.tif crash-2020-10-test.tif
        crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif
        crash-4f085cc12ece8cde18758d42608bed6a2a2cfb1c.tif
        crash-63b1dffefc8c075ddc606c0a2f5fdc15ece78863.tif
        crash-86214e58da443d2b80820cff9677a38a33dcbbca.tif
        crash-f46f5b2f43c370fe65706c11449f567ecc345e74.tif hopper_webp.tif libtiff_segfault.tif
        negative_size.ppm oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif pal2.bmp
        pal8os2v2-16.bmp pal8oversizepal.bmp png_decompression_dos.png rgb16-231.bmp rgb24jpeg.bmp
        rgb24png.bmp rgb32-111110.bmp rgb32bf.bmp rgba16-4444.bmp rgba32abf.bmp seek_too_large.tif
        syntax_num_frames_zero.png unknown_compression_method.png zero_width.gif
        """,
}
_REASON = {name: reason for reason, names in _REFUSED.items() for name in names.split()}


def expected_verdict(name: str) -> Reason | None:
    """Why an odd image of that name does not become one, by the default policy; None if it does.

    The name may have folders or an archive before it, as in `odd.tar/pillow/broken.png`.
    """
    path = PurePosixPath(name)
    if path.name in _REASON:
        return _REASON[path.name]
    return "unsupported_format" if path.suffix in _REFUSED_SUFFIXES else None
