"""Words of a caption as the COCO caption evaluation counts them (Chen et al. 2015, section 3.1).

That evaluation runs Stanford's Penn Treebank tokeniser (CoreNLP 3.4.1, `-preserveLines -lowerCase`) in Java and
then drops `PUNCTUATION`. The rules below were found by feeding that program, exhaustively where the space is small
(every string of up to five letters as an abbreviation, every character of the basic plane), and are held to its
output by a golden file. Its oddities are kept, because published numbers contain them: `!!` is a word, brackets
become `-lrb-` and `-rrb-` and are *kept* (the list of dropped tokens has them in capitals), `can't` is `ca n't`, `£5`
is `# 5`.

Differences from the reference:

- a line break inside a caption is white space here; there `\\r`, `\\x0b`, `\\x0c`, `\\x85`, `\\u2028` and `\\u2029` end
  the line and shift every later caption of the file to the wrong clip;
- a token never holds white space here; there an HTML tag or a telephone number may;
- a single letter and a full stop at a caption's end keep the stop here; there it depends on whether the *next* caption
  of the file begins with "The" or the like;
- scripts whose letters Unicode assigned after 2008 are letters here and dropped there; combining marks outside
  Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari and Thai are dropped here;
- web and mail addresses, smileys and mixed nests of hyphens, slashes and full stops follow the common cases only.

None of 27,476 different captions of abstract scenes, PASCAL and COCO differed. Of 30,000 lines of software
documentation, which are full of text that captions do not hold, 122 differed.
"""

from __future__ import annotations

import re

PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", "....", ".....", ";", '"'])
"""Tokens that are dropped: the reference's list without brackets (it has them in capitals, which never occur), and the
spellings of its quotes and dots before it normalises them."""

_ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn assoc asst atty attys aug ave bhd bldg blvd brig bros calif capt cf
    cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri
    ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs
    mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc ppte
    pptes ppty pptys pres prof profs pte ptes pty ptys pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc
    sq sr st ste supt supts sys tel tenn thu thurs treas tue tues univ va vs vt wed wis wisc wm wyo
"""
_TITLED = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"  # words of their own in lower case
_BEFORE_A_NUMBER = "art ca fig figs no nos op pp prop"
_JOINED = {
    "cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"),
    "lemme": ("lem", "me"), "gimme": ("gim", "me"), "'tis": ("'t", "is"), "'twas": ("'t", "was"),
}  # fmt: skip

_OPENERS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Now Once One
    Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""  # a single letter before one of these ends a sentence

_MARKS = (
    r"\u02c2-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065e\u0670\u06d6-\u06ed\u0900-\u0903\u093c-\u0955"
    r"\u0e31-\u0e4e"
)
_UNNUMBERED = r"\W_²³¹¼-¾⁰-₎⅐-↏①-⓿❶-➓㈠-㏿"
_LETTER = rf"(?:[^\d{_UNNUMBERED}])"
_ALNUM = rf"(?:[^{_UNNUMBERED}]|(?<=\w)[{_MARKS}‐‑])"
_PART = rf"(?:[dlo]['’](?={_LETTER}{{2}}))?{_ALNUM}+"
_HYPHENED = rf"{_PART}(?:-{_PART})*"
_NO_LETTER = r"(?![^\W\d_])"


def _any(words: str) -> str:
    return "|".join(sorted(words.split(), key=len, reverse=True))


# Where a rule also checks the text after its token, the token is a group.
_CASELESS = [
    # Words, joined by single stops as in `foo.com`, by hyphens, slashes and underscores.
    rf"{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*(?:-{_PART})*",
    _HYPHENED,
    rf"{_LETTER}+\.(?:-{_PART})+",
    rf"\d+(?:[.,]\d+)*{_ALNUM}*(?:-{_PART})+",
    rf"{_HYPHENED}(?:/{_HYPHENED}){{1,2}}",
    rf"{_ALNUM}+(?:_{_ALNUM}+)+",
    rf"({_LETTER}*[^\W\d_n])n['’`]t",
    # Abbreviations and acronyms keep their stops, and so does any word before another mark.
    rf"(?:{_any(_ABBREVIATIONS)})\.",
    rf"((?:{_any(_BEFORE_A_NUMBER)})\.)\s*\d",
    r"(?:[a-z]\.)+|ph\.d\.",
    rf"(?:{_ALNUM}+-)*[a-z]\.(?:[a-z]\.)+(?:-(?:(?:[a-z]\.)+|{_ALNUM}+))*",
    rf"(?:[a-z]{{1,2}}\.)+(?:-(?:(?:[a-z]\.)+|{_ALNUM}+))+",
    rf"({_HYPHENED}\.)[,;:]",
    # Words that start with, end in or contain an apostrophe.
    r"n['’`]t",
    rf"['’](?:ll|re|ve|[smd]){_NO_LETTER}",
    rf"['’]n(?:['’]|{_NO_LETTER})|['’](?:em|till?|cause)|'(?:tis|twas)",
    r"['’]\d0s|['’]\d\d(?![\w'\"])",
    rf"[dlno]['’](?={_LETTER}{{2}}){_HYPHENED}",
    rf"[dlj]['’](?!(?:ll|re|ve|[smd]){_NO_LETTER})|ol['’]|y['’](?=all)",
    r"(?:ma['’]a[mn]?|c'mon|d['’]you|hallowe'en|s'mores|li'l|ev'ry|nat'l|cap'n|hawai'i|xi'an|shi'(?:a|ite)|qu'il|c'est)",
    r"(?:n?e|o|whate|whoe|howe|where)'er|nor'easter",
    # Numbers and times.
    r"[+-]?\d*(?:[.,:]\d+)+|[+-]\d+|([+-])\d+[^\W\d_]|\(\d{3}\)[ -]?\d{3}-?\d{4}",
    # Addresses and tags.
    r"https?://[^\s<>\"()]+\.[^\s<>\"()]*[\w/]",
    r"[\w.]+\.(?:com|net|org|edu)/[^\s<>\"()]*[\w]",
    r"\w[\w.+-]*@\w+(?:[.-]\w+)*|<\w[\w.+-]*@\w+(?:[.-]\w+)*>",
    rf"[@]+[a-z_]\w*|[#]{_LETTER}+|&#\d+;",
    r"<[a-z][\w:.-]*(?:\s+[a-z][\w-]*(?:=\"[^\"]*\")?)*\s*/?>|</[a-z][\w:.-]*>|<!--.*?-->",
    # Runs that are one token.
    r"[?!]+|\*+|#+|@+|_+|-{5,}|\.{3,5}|--|''|``|<<|>>",
    rf"[:;=][-']?[()\[\]dp]{_NO_LETTER}|\^_\^|-_-|-[lr][rsc]b-|c\+\+|[cf]#",
]
_CASED = [
    rf"(?:{_any(_TITLED + ' ' + _TITLED.upper())})\.",
    rf"([A-Za-z])\.\s+(?:{_any(_OPENERS + _OPENERS.upper())})(?:\s|$)",
    rf"[A-HJ-Z]['’](?={_LETTER}{{2}}){_HYPHENED}",
    r"[A-Z]+(?:&[A-Z]+)+",
    r"[A-Z]{1,2}\$",
]
_RULES = [re.compile(rule, re.IGNORECASE) for rule in _CASELESS] + [re.compile(rule) for rule in _CASED]

_PLAIN = re.compile(r"[A-Za-z]+(?=[ ,]|$)")
# Single characters that are tokens. Other characters outside all rules are dropped, such as emoji.
_SYMBOL = re.compile(
    r"[!-/:-@\[-`{-~¡¥-©¬®-´¶-¹¿×÷;·‖‗‚„-‣‰-‸※‾-⁂⁄⁰⁴-⁾₀-₎℀-℃℈℉№℗℘℞-℣⅀-⅄⅕-⅞←-⯿、。〒・！-／：-＠［-｀｛-･￠￡￥￦]"
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_BRACKET = re.compile(r"[()\[\]{}]")
_SPELT = str.maketrans(
    {"\x92": "’", "›": "'", "‘": "`", "\x91": "`", "‛": "`", "‹": "`", "\xad": ""}
    | {mark: ' " ' for mark in "“”«»\x93\x94"}
    | {dash: " -- " for dash in "–—―\x96\x97"}
    | {"…": " ... ", "€": " $ ", "¤": " $ ", "₠": " $ ", "\x80": " $ ", "£": " # ", "¢": " cents "}
    | {"½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "⅓": " 1/3 ", "⅔": " 2/3 "}
)
_STRAIGHT = {word.replace("'", "’"): word for word in ("n't", "'s", "'m", "'d", "'ll", "'re", "'ve")}
_ENTITIES = {
    "amp": "&", "apos": "'", "lt": " < ", "gt": " > ", "quot": ' " ', "nbsp": " ", "mdash": " -- ", "ndash": " -- ",
}  # fmt: skip
_ENTITY = re.compile(rf"&({'|'.join(_ENTITIES)});", re.IGNORECASE)


def caption_words(caption: str) -> list[str]:
    """Return the words of one caption, in lower case and without `PUNCTUATION`; none for an empty caption."""
    text = _spelt(caption)
    words: list[str] = []
    at = 0
    while at < len(text):
        if plain := _PLAIN.match(text, at):
            token = plain[0].lower()
            at = plain.end()
        elif text[at].isspace():
            at += 1
            continue
        else:
            end = _longest(text, at)
            token = text[at:end].lower()
            at = max(end, at + 1)
        if token in _JOINED and not text.startswith("'", at):
            words += _JOINED[token]
        elif plain:
            words.append(token)
        elif token not in PUNCTUATION:
            token = _STRAIGHT.get(token, token)
            words += _BRACKET.sub(lambda mark: _BRACKETS[mark[0]], token).split()
    return words


def _spelt(caption: str) -> str:
    """Return the caption with quotes, dashes, currencies, fractions and entities as plain ASCII."""
    if not caption.isascii():
        caption = caption.translate(_SPELT)
    return _ENTITY.sub(lambda found: _ENTITIES[found[1].lower()], caption) if "&" in caption else caption


def _longest(text: str, at: int) -> int:
    """Return the end of the token that starts at `at`, or `at` if there is none.

    The rule that reaches farthest wins, and text after the token that the rule checks counts, as in a JFlex lexer.
    """
    found = [match for rule in _RULES if (match := rule.match(text, at))]
    if found:
        # Of rules that reach equally far the first wins, as in a lexer.
        farthest = max(found, key=re.Match.end)
        return farthest.end(farthest.lastindex or 0)
    return at + 1 if _SYMBOL.match(text, at) or text[at].isdigit() else at
