"""An estimating token counter that needs the standard library only and errs upward."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, lru_cache
from operator import add

_UP = "A-ZÀ-ÖØ-Þ"
# U+0100 to U+024F and U+1E00 on alternate capital and small letters: all taken as small.
_LOW = "a-zß-öø-ɏḀ-ỿ"  # noqa: RUF001  # letters, on purpose
_SYMBOL = r"!-/:-@\[-`{-~"
_SPACE = r"[\t-\r\x1c- ]"


# Patterns are made when first used: programs with a tokenizer estimate nothing.


@cache
def _pieces() -> re.Pattern[str]:
    # Pieces as openai/tiktoken's o200k_base pattern cuts them, written for `re` (no \p classes):
    # exact for ASCII, except that a piece ends after 64 or 128 characters, so that each step takes
    # bounded time and the cache bounded memory. Text in other scripts is cut into longer runs.
    return re.compile(
        rf"[\t {_SYMBOL}]?(?:[{_UP}]{{1,64}}[{_LOW}]{{0,64}}|[{_LOW}]{{1,64}})"
        r"(?:'(?:[sStTmMdD]|[rRvV][eE]|[lL][lL]))?"
        r"|[0-9]{1,3}"
        rf"| ?[{_SYMBOL}\x00-\x08\x0e-\x1b\x7f]{{1,64}}[\r\n/]{{0,64}}"
        rf"|{_SPACE}{{0,64}}[\r\n]{{1,64}}|{_SPACE}{{1,128}}(?![!-~])|{_SPACE}{{1,128}}"
        rf"| ?[^\x00-\x7f{_UP}{_LOW}]{{1,64}}"
    )


@cache
def _word() -> re.Pattern[str]:
    return re.compile(rf"([^{_UP}{_LOW}]?)(?=[{_UP}{_LOW}])([{_UP}]*)([{_LOW}]*)(.*)")


# The 200 letter pairs most frequent in distinct words of open-source code, documentation, data
# files and licences. A word of other pairs is a name, an abbreviation, another language or noise,
# and each such pair costs about 0.4 tokens more, whatever the word.
_PAIRS = (
    "aaabacadagaiakalamanaparasatauaybabebiblbobucacccechcickclcocrctcudadddedidodsdueaecedee"
    "efegelemenepeqeresetevexfafefffifofrfugegigngrgshahehihohtiaibicidieifigiliminioipirisit"
    "ivizkelaldlelilllolsltlulymamemimmmompnancndnenfngninonsntnuobocodofogolomonoooporosotou"
    "ovowpapepiplpoppprptpupyqurarcrdrergrirmrnrorrrsrtrurysascseshsisospssstsutatctethtitotr"
    "tstttutyubueuiulumunupurusutvaveviwawiwoxpxtypze"
)
_USUAL = frozenset(_PAIRS[i : i + 2] for i in range(0, len(_PAIRS), 2))
# The 200 lowest-numbered (so commonest) tokens of o200k_base of the form "/name".
_PATH_NAMES = (
    "actions ad add admin ajax al all ap api app art article as assets auth base bash bin "
    "blob blog bootstrap build ch class client com common components con config content core "
    "create css custom data db de default delete dev dis dist div doc docs download edit en "
    "env es event ex file files font footer form forms get gl go google gr header helpers her "
    "home html http icon icons image images img in include index internal issues javascript "
    "jquery js json kg lang latest layout legal lib libs lic licenses list local log login "
    "logo main master material media min model models modules month my net new news no node "
    "null of open or ou page pages pkg plain platform plugins png post pr pre pro product "
    "products profile project public python re react register res resources router runtime sc "
    "search select server service services settings sh share shared she show sign sp src st "
    "static status std stdc store style styles sub svg system test testing text the theme "
    "themes time to top tr types ui un update upload uploads use user users util utils vendor "
    "video view views watch web wiki work wp www xml "
)
_PATHS = frozenset(_PATH_NAMES.split())
# Costs are hundredths of a token. Those of words and symbols started as a least-squares fit
# of o200k_base counts over the files named above, were then raised by hand until no recorded
# request fell below its count, and rounded.
_DIGITS = 102  # a group of up to three is one token; the rest is for the letters of hashes
_WORD_COST = 110
_LONG, _ENDLESS = 5, 10  # each letter after the fifth; more after the sixteenth
_RARE = 40  # each pair of letters that is not usual, and once more from the third on
_UPPER, _MIXED = 12, 120  # each letter of a run of capitals; small letters after such a run
_JOINED, _HYPHEN, _DOT = 105, 45, 25  # a symbol before a word, by how often the two are one token
_SYMBOLS, _CONTROL = 60, 120  # each further symbol after two; each control character
_REPEATED = {" ": 2, **dict.fromkeys("-=*#._/", 8), **dict.fromkeys("\n\t!:;+~%<>?@^", 13)}
# Runs of symbols that are one token and that compact JSON is full of.
_JSON = frozenset(('":"', '","', '":{"', '":["', '":"","', '},{"', '"},{"', '"],', '"},', '.","'))
# Once a text: short texts spread more about the mean. Further, 4 in 100 up to ten tokens.
_TEXT, _SPREAD, _SPREAD_MOST = 300, 4, 1000
# Other scripts: cost of a character from each code point on. Scripts with word or syllable tokens
# have 1.3 to 2 times their rate in translated README files, the rest their UTF-8 length.
_PLAIN = frozenset("·×§©®°«»–—‘’“”•…←→↓↑│─├✓✅")  # noqa: RUF001  # signs, on purpose
# fmt: off
_SCRIPTS = {
    0x80: 180, 0x250: 200, 0x370: 60, 0x780: 270, 0x900: 65, 0x1000: 100, 0x1100: 270,
    0x1F00: 200, 0x2000: 110, 0x2070: 200, 0x2190: 150, 0x2200: 200, 0x2300: 260,
    0x2500: 180, 0x2600: 220, 0x27C0: 300, 0x2E80: 130, 0x3040: 110, 0x3100: 150,
    0x3400: 300, 0x4E00: 160, 0xA000: 300, 0xAC00: 140, 0xD7B0: 300, 0xFE00: 110,
    0xFE10: 300, 0xFF00: 120, 0x10000: 400, 0x1F000: 270, 0x20000: 400,
}
# fmt: on
_STARTS, _RATES = list(_SCRIPTS), list(_SCRIPTS.values())


class EstimateCounter:
    """Estimates token counts from the shape of a text, without a vocabulary.

    The figure stands for tokens of OpenAI's o200k_base vocabulary and errs upward. A text is cut
    into pieces by the pattern of that vocabulary (o200k_base in openai/tiktoken), and each piece
    has a cost by its length, letters and symbols. Special tokens are counted as plain text.

    Measured on 21 recorded agent sessions (1.4 million tokens; prefixes and windows of 20 items):
    requests of 2,000 tokens and more are estimated at 1.03 to 1.28 times their count, 1.16 on the
    mean, and no text of them below its count. On sets of other files: English prose 1.2, source
    code 1.1 to 1.2, hashes and hex dumps 1.0, base64 1.1, other languages in Latin letters 1.1 to
    1.3, in other scripts 1.4 to 2.0. A single file of rare names or characters can come out 0.8
    to 1.0 (character tables, transliterated names, ANSI colours on noise), random letters of one
    non-Latin script 0.4. Other vocabularies than o200k_base were not measured.
    """

    name = "estimate"

    def count_texts(self, texts: Sequence[str]) -> list[int]:
        """Return an estimate for each text: 0 for "", else from 1 to its UTF-8 length."""
        return [_estimate(text) for text in texts]

    def exact(self, model: str) -> bool:  # noqa: ARG002  # the same for all
        """Return False: an estimate is exact for no model."""
        return False


def _estimate(text: str) -> int:
    if not text:
        return 0
    cost, step = 0, 1 << 16  # in parts, to hold few pieces at a time
    for start in range(0, len(text), step):
        cost += sum(map(_cost, _pieces().findall(text[start : start + step])))
    cost += _TEXT + min(cost * _SPREAD // 100, _SPREAD_MOST)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return min(size, cost // 100)


@lru_cache(maxsize=1 << 15)
def _cost(piece: str) -> int:
    if piece.isascii() and piece.isdigit():
        return _DIGITS
    if match := _word().fullmatch(piece):
        return _word_cost(*match.groups())
    return _symbol_cost(piece)


def _word_cost(prefix: str, upper: str, lower: str, ending: str) -> int:
    if prefix == "/" and not upper and lower in _PATHS:
        return 100
    word = (upper + lower).lower()
    length = len(word)
    cost = 100
    if length > 2:
        rare = length - 1 - sum(map(_USUAL.__contains__, map(add, word, word[1:])))
        cost = _WORD_COST + _RARE * (rare + max(0, rare - 2))
        cost += _LONG * max(0, length - 5) + _ENDLESS * max(0, length - 16)
    if len(upper) > 1:
        cost += _UPPER * len(upper) + (_MIXED if lower else 0)
    if ending:
        cost += _DOT
    if prefix in ("", " ") or (length == 1 and prefix in "\\_.(\t"):
        return cost
    return cost + (_DOT if prefix in "_.(\t" else _HYPHEN if prefix in "-<#" else _JOINED)


def _symbol_cost(piece: str) -> int:
    if piece in _JSON:
        return 100
    cost = changes = 0
    last = ""
    for char in piece:
        if char == last and char <= "\x7f":  # runs of one symbol are often one token
            cost += _REPEATED.get(char, 50)
        elif char == last and "\u2500" <= char < "\u2600":
            cost += 20
        elif char > "\x7f":
            cost += 70 if char in _PLAIN else _RATES[bisect_right(_STARTS, ord(char)) - 1]
        elif char < " " and char not in "\t\r\n":
            cost += _CONTROL
        elif char not in " \r\n" or (last and last in " \t\r\n"):
            changes += 1
        last = char
    cost += _SYMBOLS * max(0, changes - 2) + _SYMBOLS // 4 * max(0, changes - 6)
    return max(100, cost + (30 if piece.lstrip()[:1] > "\x7f" else 100))
