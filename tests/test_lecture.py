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


def test_a_pages_numbers_are_those_of_one_run_whose_machine_it_names(tmp_path):
    block = "## {}\n\n```python\nprint({})\n```\n\n```text\n{}\n```\n"
    old = "Numbers made on an abacus, 1642-01-01."
    page = f"{old}\n\n{block.format('A', '1.0', '1.01')}\n{block.format('B', '2', '3')}"
    assert snippets.with_outputs(page, ["1.0\n", "3.1\n"]) == page, "within the tolerance"
    renewed = snippets.with_outputs(page, ["1.0\n", "2\n"])
    assert old not in renewed
    assert renewed.startswith(f"{snippets.made()}\n")
    assert renewed.count("```") == page.count("```")
    path = tmp_path / "page.md"
    path.write_text(renewed)
    assert [(b.title, b.output) for b in snippets.blocks(path)] == [("A", "1.0\n"), ("B", "2\n")]
    assert not snippets.noted(path), "the tolerance is not stated"
    path.write_text(f"{renewed}\n{snippets.NOTE}\n")
    assert snippets.noted(path)
    path.write_text(f"{renewed.removeprefix(snippets.made())}\n{snippets.NOTE}\n")
    assert not snippets.noted(path), "the machine is not named"


def test_rows_of_a_table_are_found_in_markdown_and_as_the_program_draws_them():
    drawn = "┃ sample ┃ rows ┃\n│ a → b  │  5,000 │ 30.1% │\n└──┘"
    said = "| sample | rows |\n|---|---|\n| a → b | 5,000 | **30.1 %** |"
    assert snippets.table_rows(drawn) == snippets.table_rows(said) == {"a → b": "5,000 30.1"}
