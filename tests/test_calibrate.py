"""`calibrate`: p-values renewed without training, in a file whose other sections stay as they are; `score`'s rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from program import done, refused, rewrite, sections_of, table, write

from diabolo import AnomalyDetector, LinearAutoencoder
from diabolo.artifact import Section
from diabolo.data.sample import sampled
from diabolo.data.table import as_table
from diabolo.detect.calibrating import Choice, renewed
from diabolo.errors import CalibrationError, ModelFileError
from diabolo.file.detector import detector_section
from diabolo.file.model_file import ModelFile
from diabolo.fitted.table import fit_table


def rows(rng, n, scale=1.0):
    return scale * (
        rng.normal(size=(n, 2)) @ np.random.default_rng(0).normal(size=(2, 5)) + rng.normal(size=(n, 5)) / 2
    )


@pytest.fixture
def detector(rng):
    return AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(rows(rng, 600))


# ── in Python ─────────────────────────────────────────────────────────────────────────────────────


def test_the_rate_holds_again_and_nothing_else_changes(detector, rng):
    """Rows that became noisier than those of the fit: too many alarms before, the promised share after."""
    new, fresh = rows(rng, 3000, scale=2.5), rows(rng, 5000, scale=2.5)
    model, before = detector.autoencoder_.model_, detector.anomaly_score(fresh)
    parameters = model.store.flat.clone()
    assert (detector.predict(fresh) == -1).mean() > 0.05
    assert not detector.health(fresh).healthy
    assert detector.calibrate(new) is detector
    assert (detector.n_calibration_, detector.n_excluded_) == (3000, 0)
    low, high = detector.calibrated_.calibration.realised(0.01, confidence=0.999)
    assert low - 0.003 < (detector.predict(fresh) == -1).mean() < high + 0.003
    assert detector.health(fresh).healthy
    assert detector.autoencoder_.model_ is model
    assert np.array_equal(detector.anomaly_score(fresh), before)
    assert bool((model.store.flat == parameters).all())


def test_rows_that_were_trained_on_are_left_out(rng):
    X, new = rows(rng, 600), rows(rng, 150)
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2)).fit(X)
    ae = detector.autoencoder_
    first = detector.threshold_
    assert detector.calibrate(X).threshold_ == first, "its own table: the rows that calibrated it"
    assert detector.n_excluded_ == 600 - detector.n_calibration_
    mixed = np.concatenate([X, new])[rng.permutation(750)]
    detector.calibrate(mixed)
    assert detector.n_excluded_ == ae.n_train_ + ae.n_stop_
    assert detector.n_calibration_ == 750 - detector.n_excluded_


def test_rows_that_a_detector_stored_of_another_table_do_not_calibrate_it(rng):
    ae, other = LinearAutoencoder(latent_dim=2).fit(rows(rng, 300)), rows(rng, 800)
    detector = AnomalyDetector(ae).fit(other)
    stored = 0 if detector.calibrated_.reference.stored is None else len(detector.calibrated_.reference.stored)
    detector.calibrate(other)
    assert detector.n_calibration_ <= 800 - stored


def test_too_few_rows_leave_the_detector_as_it_was(detector, rng):
    p, fresh = None, rows(rng, 50)
    p = detector.p_values(fresh)
    with pytest.raises(CalibrationError, match=r"98 of 98 rows are left .* at least 99"):
        detector.calibrate(rows(rng, 98))
    detector.set_params(false_alarm_rate=0.01)
    with pytest.raises(CalibrationError, match=r"at least 99 .* there are 98"):
        detector.calibrate(np.concatenate([rows(rng, 98), np.full((5, 5), np.inf)]))
    assert np.array_equal(detector.p_values(fresh), p)
    detector.calibrate(rows(rng, 99))
    assert detector.n_calibration_ == 99


def test_weights_of_zero_play_no_part_and_others_count(detector, rng):
    X = np.concatenate([rows(rng, 300), 50 * rows(rng, 100)])
    detector.calibrate(X, sample_weight=np.r_[np.ones(300), np.zeros(100)])
    only = detector.threshold_
    assert detector.n_calibration_ == 300
    detector.calibrate(X[:300])
    assert detector.threshold_ == only
    weights = rng.random(300) + 0.1
    scores = detector.anomaly_score(X[:300])
    detector.calibrate(X[:300], sample_weight=weights)
    exact = (1 + (weights / weights.mean() * (scores >= scores[7])).sum()) / 301
    assert detector.p_values(X[7:8])[0] == pytest.approx(exact)


def test_a_costly_score_stays_calibrated(rng):
    detector = AnomalyDetector(LinearAutoencoder(latent_dim=2), score="profile").fit(rows(rng, 400))
    detector.set_params(score="nll").calibrate(rows(rng, 200))
    assert detector.set_params(score="profile").p_values(rows(rng, 3)).min() >= 1 / 201


# ── sections of a file ────────────────────────────────────────────────────────────────────────────


def hashes(path):
    return {name: section.sha256(name) for name, section in sections_of(path).items()}


def with_codec(path):
    sections = sections_of(path)
    codec = Section({"of": "another job"}, {"table": np.arange(7.0)})
    rewrite(path, {**sections, "codec": codec})
    return path


def test_saving_a_detector_keeps_what_other_jobs_added(detector, rng, tmp_path):
    path = tmp_path / "m.diabolo"
    detector.save(path)
    before = hashes(with_codec(path))
    again = AnomalyDetector.load(path).calibrate(rows(rng, 200))
    again.save(path)
    after = hashes(path)
    assert set(after) == {"main", "detector", "codec", "generator"}
    assert (after["main"], after["codec"]) == (before["main"], before["codec"])
    assert after["detector"] != before["detector"]
    other = AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(rows(rng, 600))
    other.save(path)
    assert set(hashes(path)) == {"main", "detector", "generator"}, "a codec of another model tells nothing"


def test_merging_refuses_another_model_and_a_damaged_file(detector, tmp_path):
    path = tmp_path / "m.diabolo"
    detector.save(path)
    file = ModelFile(path)
    AnomalyDetector(LinearAutoencoder(latent_dim=1)).fit(rows(np.random.default_rng(5), 600)).save(path)
    with pytest.raises(ModelFileError, match="holds another section 'main' than when it was read"):
        file.update({"detector": file.section("detector")})
    damaged = tmp_path / "d.diabolo"
    damaged.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError):
        ModelFile(damaged)
    AnomalyDetector.load(path).save(damaged)
    assert hashes(damaged) == hashes(path)


def test_an_update_takes_over_what_another_command_has_added_meanwhile(detector, rng, tmp_path):
    path = tmp_path / "m.diabolo"
    detector.save(path)
    slow, quick = ModelFile(path), ModelFile(path)
    quick.update({"detector": detector_section(AnomalyDetector.load(path).calibrate(rows(rng, 200)).calibrated_)})
    kept = hashes(path)["detector"]
    slow.update({"codec": Section({"of": "another job"}, {"table": np.arange(7.0)})})
    assert hashes(path)["detector"] == kept, "an older calibration is not put back"
    assert "codec" in hashes(path)
    late = ModelFile(path)
    again = AnomalyDetector.load(path).calibrate(rows(rng, 300))
    again.save(path)
    with pytest.raises(ModelFileError, match="another command has changed its section 'detector' meanwhile"):
        late.update({"detector": late.section("detector")})
    assert hashes(path)["detector"] == detector_section(again.calibrated_).sha256("detector")


# ── the verb ──────────────────────────────────────────────────────────────────────────────────────


def test_the_verb_renews_one_section(shop, here):
    Path("m.diabolo").write_bytes((shop / "vae.diabolo").read_bytes())
    before = hashes(with_codec(Path("m.diabolo")))
    write(table(900, seed=5), "new.parquet")
    said = done("calibrate", "m.diabolo", "new.parquet")
    assert "900 rows calibrated" in said
    after = hashes("m.diabolo")
    assert (after["main"], after["codec"]) == (before["main"], before["codec"])
    assert after["detector"] != before["detector"]
    detector = AnomalyDetector.load(shop / "vae.diabolo").calibrate(table(900, seed=5).drop(columns="truth"))
    assert AnomalyDetector.load("m.diabolo").threshold_ == detector.threshold_
    said = done("calibrate", "m.diabolo", shop / "data.parquet", "-o", "n.diabolo")
    assert "rows were left out: the autoencoder was trained on them" in said
    assert hashes("m.diabolo") == after, "-o leaves the model that it read"
    assert hashes("n.diabolo")["codec"] == before["codec"]


def test_the_verb_gives_a_model_its_detector(shop, here):
    write(table(900, seed=5).assign(w=1.0), "new.parquet")
    before = hashes(shop / "ae.diabolo")
    done(
        "calibrate", shop / "ae.diabolo", "new.parquet", "-o", "m.diabolo", "--weight", "w", "--false-alarm-rate", 0.02
    )
    assert hashes("m.diabolo")["main"] == before["main"]
    assert AnomalyDetector.load("m.diabolo").false_alarm_rate_ == 0.02
    assert "anomalies" in done("score", "m.diabolo", "new.parquet", "-o", "s.parquet")


def test_a_larger_table_calibrates_by_a_uniform_sample(shop, here):
    write(table(9000, seed=5), "new.csv")
    Path("m.diabolo").write_bytes((shop / "vae.diabolo").read_bytes())
    said = done("calibrate", "m.diabolo", "new.csv", "--memory", "100kB")
    detector = AnomalyDetector.load("m.diabolo")
    assert 1000 <= detector.n_calibration_ <= 2500
    assert f"a uniform sample of {detector.n_calibration_:,} of 9,000 rows" in said
    known = detector.autoencoder_.model_.encoding.schema
    sample = sampled("new.csv", known, None, 100_000)
    whole = sampled("new.csv", known, None, 1 << 30)
    assert whole.fingerprint == sample.fingerprint
    assert (np.diff(sample.positions) > 0).all()
    np.testing.assert_array_equal(sample.values, whole.values[sample.positions])
    # Uniform over the table: as many of its first half as of its second.
    assert abs((sample.positions < 4500).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(sample.positions))


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_sample_of_the_table_of_the_fit_calibrates_on_rows_kept_apart(rng, tmp_path, share):
    """Of a model that remembers no hashes, beyond 200,000 rows: by the split of its table."""
    X = rows(rng, 2000)
    ae = LinearAutoencoder(latent_dim=2)
    fitted = fit_table(as_table(X), None, ae.settings(), share)
    fitted.row_hashes = None
    np.save(tmp_path / "x.npy", X)
    sample = sampled(str(tmp_path / "x.npy"), fitted.model.encoding.schema, None, 0)
    assert len(sample.values) < sample.rows == 2000
    if not share:
        with pytest.raises(CalibrationError, match=r"0 of \d+ rows are left to calibrate on"):
            renewed(fitted, None, sample, Choice())
        return
    with pytest.warns(UserWarning, match="too many for its file to keep their hashes"):
        detector = renewed(fitted, None, sample, Choice())
    apart = fitted.roles.calibrates(sample.positions)
    assert detector.n_calibration + len(detector.reference.stored) == apart.sum()


def test_what_the_verb_refuses(shop, here):
    Path("m.diabolo").write_bytes((shop / "vae.diabolo").read_bytes())
    old = Path("m.diabolo").read_bytes()
    write(table(50, seed=5), "few.csv")
    write(table(300, seed=5).assign(w=-1.0), "negative.csv")
    write(table(300, seed=5).drop(columns="eta"), "less.csv")
    for words, said in {
        ("few.csv",): "50 of 50 rows are left to calibrate on (0 were trained on); at least 99",
        ("negative.csv", "--weight", "w"): "the weight 'w' of row 0 is -1.0",
        ("negative.csv", "--weight", "v"): "no column 'v': it has pt",
        ("negative.csv", "--weight", "pt"): "is a column that the model was fitted on",
        ("less.csv",): "column 'eta' is missing",
        ("negative.csv", "--false-alarm-rate", 0.001): "at least 999 calibration rows, there are 300",
        ("negative.csv", "--score", "nil"): "nil",
        ("negative.csv", "--memory", "much"): "--memory much: expected a number of bytes",
        ("negative.csv", "-o", "negative.csv"): "negative.csv: is also the input",
        ("nothing.csv",): "nothing.csv: no such file",
    }.items():
        assert said in refused("calibrate", "m.diabolo", *words), words
        assert Path("m.diabolo").read_bytes() == old
    assert "no such file" in refused("calibrate", "nothing.diabolo", "few.csv")


# ── the rules of `score` ──────────────────────────────────────────────────────────────────────────


def test_score_at_a_false_discovery_rate(shop, here):
    frame = table(500, seed=6)
    frame.loc[:40, ["pt", "eta"]] = [90.0, -40.0]
    frame.loc[41:43, "pt"] = np.inf
    write(frame, "new.parquet")
    said = done("score", shop / "vae.diabolo", "new.parquet", "-o", "s.parquet", "--fdr", 0.2)
    scores, detector = pd.read_parquet("s.parquet"), AnomalyDetector.load(shop / "vae.diabolo")
    found = detector.discoveries(frame.drop(columns="truth"), fdr=0.2)
    assert scores["is_anomaly"].isna().tolist() == [i in (41, 42, 43) for i in range(500)]
    np.testing.assert_array_equal(scores["is_anomaly"].fillna(False).astype(bool), found)
    assert found[:41].all()
    n = detector.n_calibration_
    assert f"{found.sum()} discoveries among 497 rows" in said
    assert f"nothing can be rejected before {-(-497 * 5 // (n + 1))} rows have the smallest p-value" in said
    assert "3 rows that cannot be scored are no discoveries: is_anomaly is empty there" in said
    done("score", shop / "vae.diabolo", "new.parquet", "-o", "plain.parquet")
    plain = pd.read_parquet("plain.parquet")
    pd.testing.assert_frame_equal(scores.drop(columns="is_anomaly"), plain.drop(columns="is_anomaly"))


def test_score_at_an_accept_rate(shop, here):
    said = done("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.parquet", "--accept-rate", "2 MHz of 40 MHz")
    done("score", shop / "vae.diabolo", shop / "data.csv", "-o", "t.parquet", "--false-alarm-rate", 0.05)
    pd.testing.assert_frame_equal(pd.read_parquet("s.parquet"), pd.read_parquet("t.parquet"))
    assert "2 MHz of exchangeable rows is a false-alarm rate of 5 %" in said
    assert "(95 %)" in said


def test_what_the_rules_refuse(shop, here):
    score = ("score", shop / "vae.diabolo", shop / "data.csv", "-o", "s.parquet")
    for words, said in {
        ("--fdr", 0.1, "--false-alarm-rate", 0.1): "give one of --false-alarm-rate, --fdr, --accept-rate",
        ("--fdr", 0.1, "--accept-rate", "1%"): "--fdr and --accept-rate are different rules",
        ("--fdr", 1.5): "fdr = 1.5; allowed",
        ("--fdr", 0.001): "a false discovery rate of 0.001 needs at least 999 calibration rows, there are 99",
        ("--accept-rate", "30 kHz"): "--accept-rate: accept rate '30 kHz': allowed are",
        ("--accept-rate", "30 kHz of 40 MHz"): "needs at least 1,333 calibration rows, there are 99",
        ("--accept-rate", "3 of 2"): "is a share of 1.5; allowed are shares above 0 and below 1",
    }.items():
        assert said in refused(*score, *words), words
        assert not Path("s.parquet").exists()
    for rule in (("--fdr", 0.1), ("--accept-rate", "1%")):
        line = refused("score", shop / "ae.diabolo", shop / "data.csv", "-o", "s.parquet", *rule)
        assert "has no detector" in line
