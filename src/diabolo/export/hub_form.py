"""A model as a repository of the Hugging Face Hub: its card, the model file, the graph."""

from __future__ import annotations

import json
import shutil
from typing import Any, ClassVar

from diabolo.describe.card import model_card
from diabolo.export.folder import new_folder
from diabolo.export.onnx_file import Graphed
from diabolo.export.targets import targets
from diabolo.file.model_file import ModelFile

PAGE = """---
library_name: diabolo
tags: {tags}
---

# {name}

{what}

```sh
diabolo info {file}
diabolo score {file} NEW.parquet -o SCORES.parquet
```

`model.onnx` gives the score {score} to any engine that runs ONNX, without PyTorch.

## Columns

| column | kind | type |
|---|---|---|
{columns}

## Limits

{limits}

`card.json` has the rest: settings, training, versions.
"""


@targets.register("hub")
class Hub(Graphed):
    """A folder to upload to the Hugging Face Hub: README.md with a model card, the model file, the graph."""

    folder: ClassVar[bool] = True

    def write(self, file: ModelFile, out: str) -> list[str]:
        found, card = self.graph(file), model_card(file)
        with new_folder(out) as part:
            (part / "README.md").write_text(_page(card, self.score or "of its detector"))
            (part / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            (part / "model.onnx").write_bytes(found.data)
            shutil.copyfile(file.path, part / file.path.name)
        said = [f"{out}: hf upload OWNER/NAME {out}", *found.said]
        if file.rows:
            said.append(f"  {file.rows:,} rows of the training table are in the files: whoever has them can read them")
        return said


def _page(card: dict[str, Any], score: str) -> str:
    detector, data = card.get("detector"), card["training_data"]
    what = f"A {card['autoencoder']} with {card['parameters']:,} parameters, fitted without labels."
    if detector is not None:
        what += (
            f" It flags at most {detector['false_alarm_rate']:.3g} of the {detector['holds_for']}; score "
            f"`{detector['score']}`, threshold {detector['threshold']}."
        )
    rows = [f"| {_cell(c['name'])} | {c['kind']} | {c['type']} |" for c in data["columns"]]
    if not rows:
        rows = [f"| pixels | image | {' × '.join(map(str, data['image_shape']))} |"]
    return PAGE.format(
        tags=json.dumps(card["tags"]),
        name=card["model_name"],
        what=what,
        file=card["model_name"],
        score=score,
        columns="\n".join(rows),
        limits="\n".join(f"- {line}" for line in card["bias_risks_limitations"]),
    )


def _cell(text: str) -> str:
    """A name as a cell of Markdown."""
    return "".join(" " if c.isspace() else f"\\{c}" if c in "|\\`*_<>[]&" else c for c in text)
