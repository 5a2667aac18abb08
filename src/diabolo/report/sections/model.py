"""The model and its training rows: parts, widths, rows by role, versions."""

from __future__ import annotations

import math

from diabolo.data.roles import ROLES
from diabolo.registry import spec_of
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, columns_table, number, percent, tag
from diabolo.report.sections.base import PageSection, Shown, grid, sections

ROLE_WORDS = {
    "train": "trained on",
    "stop": "decided when to stop",
    "combine": "combined scores",
    "calibrate": "set the threshold",
}
#: Entries of the registry of latents in a few words.
LATENT_WORDS = {"point": "a point", "gaussian": "a Gaussian"}


@sections.register("model")
class ModelSection(PageSection):
    """The card of the model."""

    place = 10
    title = "What was trained on what"
    short = "Model"

    def __call__(self, e: Evidence) -> Shown:
        fitted = e.fitted
        counts = {role: fitted.roles.counts.get(role, 0) for role in ROLES}
        columns = len(e.schema.names)
        what = _images(e) if e.is_image else f"{number(columns)} columns"
        lead = (
            f"{e.given.estimator} with a latent of {e.model.latent_dim} numbers, fitted to "
            f"{number(counts['train'])} rows of {what} in {fitted.training.seconds:.1f}\N{NO-BREAK SPACE}s."
        )
        return Shown(lead, [grid(_network(e), _roles(counts)), grid(_parts(e), _provenance(e))])


def _images(e: Evidence) -> str:
    h, w, c = e.schema.shape or (0, 0, 0)
    return f"{h} × {w} images" + (f" of {c} channels" if c > 1 else "")


def _said(part: object) -> str:
    spec = part if isinstance(part, dict) else spec_of(part)
    settings = ", ".join(
        f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in spec.items() if k != "name"
    )
    return f"{spec['name']} ({settings})" if settings else str(spec["name"])


def _network(e: Evidence) -> Html:
    """The widths as the hourglass that gave diabolo networks their name."""
    plain = e.model.network.name in ("mlp", "linear")
    hidden = list(e.config.hidden or ()) if plain else []
    widths = [e.encoding.width, *hidden, e.model.latent_dim, *hidden[::-1], e.encoding.width]
    n, top = len(widths), math.log2(max(widths) + 1)
    xs = [30 + i * 340 / (n - 1) for i in range(n)]
    half = [max(5.0, 62 * math.log2(w + 1) / top) for w in widths]
    shapes = []
    for i in range(n - 1):
        points = [
            (xs[i], 80 - half[i]),
            (xs[i + 1], 80 - half[i + 1]),
            (xs[i + 1], 80 + half[i + 1]),
            (xs[i], 80 + half[i]),
        ]
        d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"
        shapes.append(tag("path", d=d, class_="funnel" if i < (n - 1) / 2 else "funnel out"))
    for i, w in enumerate(widths):
        middle = i == (n - 1) // 2
        shapes.append(
            tag(
                "rect",
                x=f"{xs[i] - 3:.1f}",
                y=f"{80 - half[i]:.1f}",
                width=6,
                height=f"{2 * half[i]:.1f}",
                rx=3,
                class_="layer code" if middle else "layer",
            )
        )
        y = 80 + half[i] + 16
        shapes.append(
            tag(
                "text",
                number(w),
                x=f"{xs[i]:.1f}",
                y=f"{y:.1f}",
                text_anchor="middle",
                class_="strong" if middle else None,
            )
        )
    said = " → ".join(number(w) for w in widths)
    note = "" if plain else f" ({e.model.network.name}; its inner layers are images)"
    svg = tag(
        "svg",
        tag("title", "Widths of the network"),
        tag("desc", said),
        shapes,
        viewBox="0 0 400 166",
        role="img",
        aria_label=f"Widths of the network: {said}",
        class_="chart",
    )
    caption = f"Inputs → latent → outputs: {said}{note}. {number(e.model.store.flat.shape[-1])} parameters."
    return tag("figure", tag("h3", "The network"), svg, tag("figcaption", caption), class_="card")


def _roles(counts: dict[str, int]) -> Html:
    total = max(1, sum(counts.values()))
    parts, at = [], 0.0
    for i, n in enumerate(counts.values()):
        if n:
            width = 400 * n / total
            parts.append(
                tag(
                    "rect",
                    x=f"{at:.1f}",
                    y=0,
                    width=f"{max(width - 2, 1):.1f}",
                    height=22,
                    rx=3,
                    class_=f"fill s{i + 1}",
                )
            )
            at += width
    bar = tag("svg", parts, viewBox="0 0 400 22", aria_hidden="true", class_="chart", preserveAspectRatio="none")
    rows = [
        (
            tag(
                "span",
                tag(
                    "svg",
                    tag("rect", width=12, height=12, rx=3, class_=f"fill s{i + 1}"),
                    viewBox="0 0 12 12",
                    aria_hidden="true",
                    class_="swatch",
                ),
                name,
            ),
            ROLE_WORDS.get(name, ""),
            number(n),
            percent(n / total),
        )
        for i, (name, n) in enumerate(counts.items())
        if n
    ]
    table = columns_table(
        "Rows by role", ("role", "these rows", "rows", "share"), rows, numeric=(2, 3), hidden_caption=True
    )
    note = "A row plays one part only, by a seeded hash of its place; nothing is chosen on rows that set the threshold."
    return tag("section", tag("h3", "Rows by role"), bar, table, tag("p", note, class_="fine"), class_="card")


def _parts(e: Evidence) -> Html:
    config, model = e.config, e.model
    likelihood = dict.fromkeys(_said(h.likelihood) for h in model.heads if h.block.kind != "missing")
    facts = [
        ("latent", f"{LATENT_WORDS.get(model.latent.name, model.latent.name)}, {model.latent_dim} numbers"),
        ("prior π(z)", _said(model.prior)),
        ("likelihood p(x|z)", "; ".join(likelihood)),
        ("corruption", _said(model.corruption)),
        ("regularizer Ω", f"{_said(model.regularizer)}, weight β = {config.beta:g}"),
        ("bound", config.bound),
        ("robust", str(config.robust)),
    ]
    return _facts("Parts of the model", [f for f in facts if f[1] not in ("elbo", "none")])


def _provenance(e: Evidence) -> Html:
    fitted = e.fitted
    training, roles = fitted.training, fitted.roles
    facts = [
        ("training table", f"{number(roles.rows)} rows, fingerprint {roles.fingerprint}"),
        ("split seed", str(roles.seed)),
    ]
    facts += [(name, version) for name, version in training.versions.items()]
    file = e.given.file
    if file is not None:
        facts.append(("file", f"{file.path.name}, {number(file.size)} bytes"))
        facts += [(f"section {name}", f"SHA-256 {digest[:16]}…") for name, digest in file.hashes.items()]
    return _facts("Provenance", facts)


def _facts(title: str, facts: list[tuple[str, str]]) -> Html:
    items = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("section", tag("h3", title), tag("dl", items), class_="card")
