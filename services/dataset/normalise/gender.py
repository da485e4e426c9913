"""The grammatical gender of what a number counts, from noun endings with tables of exceptions."""

from __future__ import annotations

import re

from services.dataset.normalise.numbers import NUMBER, whole
from services.dataset.normalise.rules import word_set
from services.dataset.normalise.units import UNITS

# Words behind a number that say nothing about gender: the word after them does ("200 grandes empresas").
_NEUTRAL = word_set(
    "mil e grandes diferentes importantes principais jovens maiores menores melhores piores simples enormes "
    "breves fortes tristes felizes possíveis quase tais supostos incríveis excelentes"
)
_FEMININE_PARTITIVES = word_set("das delas dessas destas daquelas")
# Words with the ending of a feminine noun that are no nouns.
_NOT_NOUNS = word_set(
    "a à as às mas elas nas pelas essas estas aquelas minhas suas nossas umas apenas atrás através jamais aliás "
    "demais para da na pela era contra minha sua nossa essa esta aquela cada toda ainda agora nunca outra nada "
    "fora seja estava tinha havia ela nela dela uma está já lá cá há será fará dará terá quanta tanta embora "
    "acima abaixo fica ganha passa chega começa termina volta segue entra muda custa poderia seria estaria teria"
)
_FEMININE = word_set(
    "noite tarde parte gente morte sorte fonte ponte mente frente gripe equipe rede parede sede chave nave neve "
    "greve torre carne árvore flor cor dor mulher mãe mão lei voz luz cruz raiz raíz noz ordem nuvem série "
    "espécie febre lebre chance performance nuance avalanche boate suíte estante enchente corrente semente "
    "serpente lente vertente tribo foto moto base crise fase frase classe tese dose síntese hipótese análise "
    "prótese overdose neurose psicose trombose virose pele fome arte haste peste veste posse gafe prece live fake "
    "selfie hashtag playlist estrofe catástrofe colher fé ré tevê ong startup razão multidão aptidão certidão "
    "imensidão lista pista vista revista entrevista conquista crista"
)
_MASCULINE = word_set(
    "dia mapa planeta cometa cinema tema lema esquema dilema poema teorema idioma clima drama trauma fantasma "
    "diploma telefonema sintoma sofá pijama papa aroma axioma carisma dogma enigma estigma estratagema fonema "
    "prisma plasma diafragma panda gorila profeta poeta atleta colega patriarca monarca déspota pirata guia "
    "mantra samba karma chá delta alfa crachá xará cajá maracujá gambá orixá sabiá maia inca asteca agiota nômade "
    "careta judoca coma edema emblema eczema enfisema hematoma genoma puma belga croata celta dálmata sigma "
    "lambda ímã galã talismã divã coração calção cartão bastão caixão artesão campeão espião avião pião leão "
    "francês inglês português chinês japonês mês xadrez vexame índice cálice vértice apêndice"
)
# Ordered: the first ending that fits decides, so the masculine ones in -a stand before the general rule.
_ENDINGS: tuple[tuple[bool, tuple[str, ...]], ...] = (
    (False, ("grama", "roblema", "sistema", "nauta", "cida", "crata", "iatra")),
    (False, ("ista",)),
    (True, ("a", "ã", "ção", "são", "gião", "nião", "lião", "stão", "xão", "dade", "tude", "gem", "ície", "ice", "triz")),
    (True, ("vez", "idez")),
)
_PLURALS = (
    ("ões", "ão"),
    ("ães", "ão"),
    ("eses", "ês"),
    ("ais", "al"),
    ("éis", "el"),
    ("óis", "ol"),
    ("ns", "m"),
    ("zes", "z"),
    ("res", "r"),
)

_NOUN = r"(?:(?:ex|vice|mini|micro|super)-)?([°\w][^\W\d_]*[²³]?(?:/[a-z]+)?)"
_FOLLOWING = re.compile(rf"(?:\s*(?:-|\b(?:a|e|ou|até)\b)\s*{NUMBER}(?![\w.,]*\d))*\s*-?\s*{_NOUN}(?:\s+{_NOUN})?")
_DETERMINER = re.compile(
    r"(?<!\w)(?:(às|à|as|nas|das|pelas|essas|estas|aquelas|dessas|nessas|destas|nestas|daquelas|minhas|suas|nossas|umas|"
    r"outras|primeiras|últimas|próximas|todas)|(?:os|dos|nos|pelos|esses|estes|aqueles|meus|seus|nossos|todos|uns|outros|"
    r"primeiros|últimos|próximos))\s+$",
    re.IGNORECASE,
)
_YEAR = re.compile(
    r"\b(?:em|anos?(?: de)?|desde|até|(?:janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|"
    r"dezembro) de)\s+$",
    re.IGNORECASE,
)


def is_feminine_noun(word: str) -> bool | None:
    """Whether a noun, singular or plural, is feminine; None for a word that tells nothing.

    Args:
        word: One word in any case. Words outside the tables go by their ending; endings outside them are masculine.
    """
    word = word.lower()
    if word in _NOT_NOUNS or word in _NEUTRAL:
        return None
    if word in _FEMININE_PARTITIVES:
        return True
    forms = _singulars(word)
    if any(form in _FEMININE for form in forms):
        return True
    if any(form in _MASCULINE for form in forms):
        return False
    for feminine, endings in _ENDINGS:
        if forms[0].endswith(endings):
            return feminine
    return False


def _singulars(word: str) -> tuple[str, ...]:
    """Likely singular forms of a word, the most specific first; the word itself when it has no -s."""
    if not word.endswith("s"):
        return (word,)
    specific = (word.removesuffix(plural) + singular for plural, singular in _PLURALS if word.endswith(plural))
    return (*specific, word[:-1], word)


def counts_feminine(before: str, written: str, after: str) -> bool:
    """Whether the number between `before` and `after` takes its feminine form.

    A feminine or masculine determiner in front settles it ("às 2", "os 200"); else the noun that follows does, also
    across further numbers ("21 ou 22 horas") and some adjectives. A year stays masculine.

    Args:
        before: The text up to the number.
        written: The number as written.
        after: The text behind it.
    """
    if len(written) == 4 and written.isdigit() and _YEAR.search(before):
        return False
    determiner = _DETERMINER.search(before)
    if determiner:
        return determiner.group(1) is not None
    following = _FOLLOWING.match(after)
    if not following:
        return False
    first, second = following.group(1), following.group(2)
    noun = second if first.lower() in _NEUTRAL and second else first
    if noun in UNITS:
        return UNITS[noun].feminine
    if whole(written) != 1 and not noun.lower().endswith("s"):
        return False  # "em 2000 era": the ending of a feminine noun, but nothing that could be counted
    return is_feminine_noun(noun) is True
