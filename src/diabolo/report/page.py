"""The page: sections put together into one file that asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import date
from importlib.resources import files
from typing import Any

from diabolo.progress import tick
from diabolo.report.alarms import Finding, findings
from diabolo.report.evidence import Evidence
from diabolo.report.html import Html, join, number, percent, prose, tag
from diabolo.report.sections import Missing, Shown, sections
from diabolo.version import __version__

__all__ = ["page"]

#: A finding's status in words and as a sign, so that nothing hangs on color.
STATUS = {"alarm": ("alarm", "!"), "note": ("note", "i"), "sound": ("sound", "✓"), "skipped": ("not checked", "–")}


def page(e: Evidence, today: date) -> str:
    """The report as HTML."""
    found = findings(e)
    parts = {}
    for done, name in enumerate(sections):
        tick(done, len(list(sections)), f"sections, {sections.get(name).title.lower()}")
        parts[name] = sections.create(name)(e)
    data = {k: v for part in parts.values() if isinstance(part, Shown) for k, v in part.data.items()}
    style, script = (_asset(f"page.{kind}") for kind in ("css", "js"))
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"diabolo {__version__}"),
        tag("title", f"{e.given.name}: report"),
        tag("style", Html(style)),
    )
    checks = tag(
        "section",
        tag("h2", "Checks", id="checks-h"),
        tag("p", _verdict(found), class_="lead"),
        _checks(found),
        id="checks",
        aria_labelledby="checks-h",
    )
    main = tag("main", _header(e, found), checks, [_section(n, p) for n, p in parts.items()], id="main", tabindex="-1")
    body = tag(
        "body",
        tag("a", "Skip to the report", href="#main", class_="skip"),
        _bar(e, parts),
        main,
        _footer(today),
        tag("script", _json(data), type="application/json", id="data"),
        tag("script", Html(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> str:
    return (files("diabolo.report") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: dict[str, Any]) -> Html:
    """JSON within a script element: no text of the data can end it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for sign, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, code)
    return Html(text)


def _bar(e: Evidence, parts: dict[str, Shown | Missing]) -> Html:
    items = [("checks", "Checks"), *((n, sections.get(n).short) for n in parts)]
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title in items]
    return tag(
        "header",
        tag(
            "div",
            tag("span", "diabolo", class_="brand"),
            tag("span", e.given.name, class_="name"),
            tag("button", "Dark", type="button", id="theme", aria_pressed="false", hidden=True),
            class_="top",
        ),
        tag("nav", tag("ul", links), aria_label="Sections"),
        class_="bar",
    )


def _header(e: Evidence, found: dict[str, Finding]) -> Html:
    alarmed = sum(f.status == "alarm" for f in found.values())
    tiles = [
        ("rows", number(len(e.scores)), _rows_note(e)),
        ("columns", number(len(e.schema.names)), "pixels" if e.is_image else f"{e.encoding.width} inputs"),
        ("latent", str(e.model.latent_dim), f"{percent(e.overall)} explained"),
    ]
    if e.flagged is not None and e.detector is not None:
        share = float(e.flagged[e.judged].mean())
        tiles.append(("flagged", percent(share, 2), f"{percent(e.detector.rate, 2)} promised"))
    tiles.append(("alarms", str(alarmed), f"of {len(found)} checks"))
    shown = [
        tag("div", tag("dt", name), tag("dd", tag("strong", value), tag("span", note))) for name, value, note in tiles
    ]
    return tag(
        "div",
        tag("h1", e.given.name),
        tag("p", f"{e.given.estimator} on {e.rows.name}", class_="lead"),
        tag("dl", shown, class_="tiles"),
        class_="hero",
    )


def _rows_note(e: Evidence) -> str:
    if e.rows.total > len(e.scores):
        return f"of {number(e.rows.total)}, drawn evenly"
    return "all of them" if e.rows.name.endswith(" rows") else e.rows.name


def _verdict(found: dict[str, Finding]) -> str:
    alarmed = [f.title.lower() for f in found.values() if f.status == "alarm"]
    if not alarmed:
        return "No alarm."
    return f"{len(alarmed)} alarm{'s' * (len(alarmed) > 1)}: {', '.join(alarmed)}."


def _checks(found: dict[str, Finding]) -> Html:
    order = {"alarm": 0, "note": 1, "sound": 2, "skipped": 3}
    items = []
    for f in sorted(found.values(), key=lambda f: order[f.status]):
        word, sign = STATUS[f.status]
        items.append(
            tag(
                "li",
                tag("span", sign, class_="sign", aria_hidden="true"),
                tag(
                    "div",
                    tag("h3", f.title, tag("span", word, class_="state")),
                    tag("p", f.measured),
                    tag("p", prose(f.advice), class_="advice") if f.advice else None,
                ),
                class_=f"check {f.status}",
            )
        )
    return tag("ul", items, class_="checks")


def _section(name: str, part: Shown | Missing) -> Html:
    head = tag("h2", sections.get(name).title, id=f"{name}-h")
    if isinstance(part, Missing):
        how = tag("code", part.command) if part.command else None
        return tag(
            "section",
            head,
            tag("p", part.why, " " if how else None, how, class_="absent"),
            id=name,
            aria_labelledby=f"{name}-h",
        )
    return tag(
        "section",
        head,
        tag("p", prose(part.lead), class_="lead"),
        join(part.body),
        id=name,
        aria_labelledby=f"{name}-h",
    )


def _footer(today: date) -> Html:
    made = tag("time", today.isoformat(), datetime=today.isoformat())
    return tag("footer", tag("p", f"Written by diabolo {__version__} on ", made, ". One file, no network."))
