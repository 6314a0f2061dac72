"""Answers: what a model gave as a summary, checked, put in form, and kept short."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from turnkeep.content import Ref
from turnkeep.model import ModelAnswer
from turnkeep.optimize.reference import REFERENCE, parse_reference
from turnkeep.optimize.shorten import Count
from turnkeep_memory_summarize.scripts import foreign

_THOUGHTS: Final = re.compile(r"^.*(?<!`)</think(?:ing)?>(?!`)", re.DOTALL)
"""Up to their last end: where the model's template opens them, the beginning is not in the answer.
Between backticks the sign is something that was talked about."""
_THINKING: Final = re.compile(r"^\s*<think(?:ing)?>")
_FENCE: Final = re.compile(r"^```\w*\n(.*?)\n?```$", re.DOTALL)
_OPENED: Final = re.compile(r"^```\w*[ \t]*(?:\n|$)(?!(?:.*\n)?```[ \t]*(?:\n|$))", re.DOTALL)
"""The beginning of a fence that has no end."""
_REFERENCE: Final = re.compile(REFERENCE)
_REFUSALS: Final = (
    "i'm sorry", "i am sorry", "sorry,", "i cannot", "i can't", "i can not", "i won't",
    "i will not", "i'm unable", "i am unable", "i'm not able", "i am not able", "as an ai",
    "as a language model", "es tut mir leid", "tut mir leid", "ich kann leider", "lo siento",
    "je suis désolé", "desculpe", "mi dispiace", "к сожалению", "извините", "抱歉", "很抱歉",
    "对不起", "申し訳", "죄송",
)  # fmt: skip
"""How answers begin that refuse. They count only where no heading stands."""


def text_of(answer: ModelAnswer) -> str:
    """Give the text of an answer without what models put around it, and without half a line."""
    text = _THOUGHTS.sub("", answer.text).strip()
    if _THINKING.match(text):  # they were cut off
        return ""
    if fenced := _FENCE.match(text):
        return fenced[1].strip()
    text = _OPENED.sub("", text)
    if answer.finish == "length":  # the line that it was at is not whole
        text = text.rpartition("\n")[0].strip() or (f"{text}…" if text else "")
    return text


def in_form(text: str, headings: Sequence[str]) -> str:
    """Write the headings as they were asked for, and drop what stands before the first of them."""
    if not headings:
        return text
    lines = [_as_heading(line, headings) for line in text.split("\n")]
    first = next((n for n, line in enumerate(lines) if _names(line, headings)), 0)
    return "\n".join(lines[first:]).strip()


def fault_of(
    answer: ModelAnswer, text: str, headings: Sequence[str], conversation: Counter[str]
) -> str | None:
    """Say why an answer is no summary; None if it is one. It quotes nothing of it."""
    if answer.partial:
        return "it was cut off"
    if answer.finish == "content_filter":
        return "the provider's filter stopped it"
    if answer.tool_calls:
        return "it called a tool instead of answering"
    if not any(map(_says_something, _bodies(text, headings))):
        said = "it met its limit of tokens before it said anything"
        return said if answer.finish == "length" else "it was empty"
    there = [line.removeprefix("## ") for line in text.split("\n") if _names(line, headings)]
    if not there and text.lower().replace("\u2019", "'").lstrip("\"'*_ ").startswith(_REFUSALS):
        return "it was a refusal"
    if missing := [heading for heading in headings if heading not in there]:
        return f"it lacks the headings {', '.join(missing)}"
    if script := foreign("\n".join(_bodies(text, headings)), conversation):
        return f"it is in another language than the conversation (its letters are {script})"
    return None


def bounded(text: str, most: int, headings: Sequence[str], count: Count) -> str:
    """Cut a summary to so many tokens, at line ends; of each section as much as the others allow.

    Of a single line that is too long the beginning stays.
    """
    if count([text])[0] <= most:
        return text
    sections = _sections(text, headings)
    titles = [lines[:1] if _names(lines[0], headings) else [] for lines in sections]
    bodies = [lines[len(title) :] for lines, title in zip(sections, titles, strict=True)]
    sizes = [list(count([f"{line}\n" for line in lines])) if lines else [] for lines in bodies]
    room = most - sum(count([f"{line}\n" for title in titles for line in title]))
    shares = _shares([sum(each) for each in sizes], max(room, 0))
    kept: list[str] = []
    for title, lines, tokens, share in zip(titles, bodies, sizes, shares, strict=True):
        kept += [*title, *_beginning(lines, tokens, share, count)]
    return "\n".join(kept).strip()


def with_known_references(text: str, known: Collection[Ref]) -> str:
    """Take the sign off references that name nothing: a model may have made them up."""
    while True:
        cut = _REFERENCE.sub(lambda m: m[0] if parse_reference(m[0]) in known else m[0][1:], text)
        if cut == text:
            return text
        text = cut


def _beginning(lines: Sequence[str], tokens: Sequence[int], room: int, count: Count) -> list[str]:
    kept: list[str] = []
    for line, size in zip(lines, tokens, strict=True):
        if size > room:
            if not kept and room > 1:  # one long line: its beginning, at a word
                front = line[: len(line) * room // size].rsplit(" ", 1)[0]
                while front and count([f"{front}…\n"])[0] > room:
                    front = front[: len(front) * 3 // 4]
                kept += [f"{front}…"] if front else []
            break
        kept.append(line)
        room -= size
    return kept


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Share out room: who wants less than an even part leaves the rest to the others."""
    shares = [0] * len(wanted)
    waiting = sorted(range(len(wanted)), key=lambda place: wanted[place])
    while waiting:
        place = waiting.pop(0)
        shares[place] = min(wanted[place], room // (len(waiting) + 1))
        room -= shares[place]
    return shares


def _sections(text: str, headings: Sequence[str]) -> list[list[str]]:
    sections: list[list[str]] = []
    for line in text.split("\n"):
        if not sections or _names(line, headings):
            sections.append([])
        sections[-1].append(line)
    return sections


def _bodies(text: str, headings: Sequence[str]) -> list[str]:
    return [line for line in text.split("\n") if not _names(line, headings)]


def _says_something(line: str) -> bool:
    """Say whether a line has a letter or digit in it, and does not only say that there is none."""
    bare = line.strip(" \t-*_.:()").lower()
    return bare not in ("", "none", "n/a") and any(map(str.isalnum, bare))


def _names(line: str, headings: Sequence[str]) -> bool:
    return line.startswith("## ") and line[3:] in headings


def _as_heading(line: str, headings: Sequence[str]) -> str:
    """Write a line as the heading that it names in some way, as `**Goal:**` does."""
    bare = re.sub(r"^[#*_\s]*(?:\d+[.)]\s*)?[*_]*|[*_:\s]*$", "", line).lower()
    found = next((heading for heading in headings if heading.lower() == bare), None)
    return line if found is None else f"## {found}"
