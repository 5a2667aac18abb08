"""Two hundred hostile model files with valid hashes; `make fuzz` tries a hundred thousand."""

from fuzz_model import corpus, fuzz


def test_every_hostile_model_file_is_refused_or_harmless(tmp_path):
    files = corpus(tmp_path)
    told = fuzz(files, tmp_path, 200, seed=0)
    assert told["tried"] > 150
    assert told["refused"] > 0.7 * told["tried"]
    assert told["used"] > 0, "every file was refused: content that makes no difference is not there"
