"""docs/lecture.md: its blocks run in order, hold what they assert, and print what the page says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "lecture.md"
sys.path.insert(0, str(ROOT / "docs"))

import figures  # noqa: E402
import snippets  # noqa: E402


@pytest.fixture(scope="module")
def steps():
    return snippets.blocks(PAGE)


def test_the_page_runs_and_prints_what_it_says(steps):
    namespace = {}
    for step in steps:
        printed = snippets.run(step, namespace, str(PAGE))
        assert snippets.agree(step.output, printed), f"{step.title}: the page says\n{step.output}\nbut now\n{printed}"


def test_each_step_has_a_claim_a_block_a_figure_and_its_exact_statement(steps):
    sections = PAGE.read_text().split("\n## ")[1:]
    assert [s.split("\n")[0] for s in sections] == [step.title for step in steps if step.title]
    for section, step in zip(sections, [s for s in steps if s.title], strict=True):
        assert all(part in section for part in ("**Claim.**", "**Exactly.**", "assert ")), step.title
        assert step.output, step.title
        assert len(step.code.splitlines()) <= 26, step.title
        assert (PAGE.parent / step.image).exists()
    assert {Path(s.image).stem for s in steps if s.image} == set(figures.FIGURES)


def test_outputs_are_compared_by_words_and_by_numbers_within_a_tolerance():
    assert snippets.agree("lost: 0.26 of 1,797\n", "lost:  0.27 of 1,800\n")
    assert not snippets.agree("lost: 0.26", "lost: 0.46")
    assert not snippets.agree("lost: 0.26", "kept: 0.26")
    assert not snippets.agree("AUROC 0.90", "AUROC 0.90, 0.91")
    assert not snippets.agree("gap -5.2", "gap 5.2")


def test_an_output_is_renewed_only_where_it_differs(tmp_path):
    block = "## {}\n\n```python\nprint({})\n```\n\n```text\n{}\n```\n"
    page = block.format("A", "1.0", "1.01") + "\n" + block.format("B", "2", "3")
    renewed = snippets.with_outputs(page, ["1.0\n", "2\n"])
    assert "```text\n1.01\n```" in renewed
    assert "```text\n2\n```" in renewed
    assert renewed.count("```") == page.count("```")
    (tmp_path / "page.md").write_text(renewed)
    assert [(b.title, b.output) for b in snippets.blocks(tmp_path / "page.md")] == [("A", "1.01\n"), ("B", "2\n")]
