"""Ten thousand mutations of compressed files; `make fuzz` tries a million."""

import pytest
from fuzz_dbl import corpus, framed, fuzz, parts, rows_of


@pytest.fixture(scope="module")
def files():
    return corpus()


def test_the_parts_make_the_file_again(files):
    for data, rows in files:
        header, codec, chunks, summary, _ = parts(data)
        assert rows_of(framed(header, codec, chunks, summary)) == rows
    assert parts(files[0][0])[1], "the first file has a codec section"


def test_every_mutation_is_read_right_or_refused(files):
    told = fuzz(files, 10_000, seed=0)
    assert told["tried"] == 10_000
    assert told["refused"] > 8_000
    assert told["salvaged"] > 50
