"""Portuguese abbreviations: titles, addresses, references to parts of a text, and everyday short forms."""

from __future__ import annotations

import re

from services.dataset.normalise.gender import is_feminine_noun
from services.dataset.normalise.rules import Replace, Rule, after, any_of

# Said before a name. The dot may be missing ("Sr João").
_TITLES = {
    "dr": "doutor",
    "dra": "doutora",
    "drs": "doutores",
    "dras": "doutoras",
    "sr": "senhor",
    "sra": "senhora",
    "srs": "senhores",
    "sras": "senhoras",
    "srta": "senhorita",
    "prof": "professor",
    "profa": "professora",
    "profs": "professores",
    "profas": "professoras",
    "exmo": "excelentíssimo",
    "exma": "excelentíssima",
    "ilmo": "ilustríssimo",
    "ilma": "ilustríssima",
    "sto": "santo",
    "sta": "santa",
    "av": "avenida",
    "jd": "jardim",
    "pça": "praça",
    "trav": "travessa",
}
# The same with a capital and a dot only: without them they are other words ("cinco min. Depois").
_CAPITAL_TITLES = {
    "Gov": "Governador",
    "Des": "Desembargador",
    "Eng": "Engenheiro",
    "Arq": "Arquiteto",
    "Cap": "Capitão",
    "Cel": "Coronel",
    "Gen": "General",
    "Sgt": "Sargento",
    "Ten": "Tenente",
    "Maj": "Major",
    "Mal": "Marechal",
    "Alm": "Almirante",
    "Pe": "Padre",
    "Rev": "Reverendo",
    "Mons": "Monsenhor",
    "Dep": "Deputado",
    "Sen": "Senador",
    "Pres": "Presidente",
    "Min": "Ministro",
    "Adv": "Advogado",
    "Al": "Alameda",
    "Est": "Estrada",
    "Rod": "Rodovia",
    "Vl": "Vila",
    "R": "Rua",
    "S": "São",
}
# Feminine by a raised ª: Dr.ª, Profª.
_RAISED = {"dr": "doutora", "prof": "professora", "sr": "senhora", "eng": "engenheira"}
# With a dot, whatever follows.
_DOTTED = {
    "p. ex": "por exemplo",
    "por ex": "por exemplo",
    "i.e": "isto é",
    "v. exa": "Vossa Excelência",
    "v. sa": "Vossa Senhoria",
    "n. sra": "Nossa Senhora",
    "etc": "et cetera",
    "vs": "versus",
    "vc": "você",
    "vcs": "vocês",
    "tb": "também",
    "tbm": "também",
    "pq": "porque",
    "ltda": "limitada",
    "cia": "companhia",
    "jr": "júnior",
    "tel": "telefone",
    "obs": "observação",
    "cf": "conforme",
    "pág": "página",
    "págs": "páginas",
    "pag": "página",
    "séc": "século",
    "sécs": "séculos",
    "aprox": "aproximadamente",
    "máx": "máximo",
    "mín": "mínimo",
    "núm": "número",
    "qtd": "quantidade",
    "qtde": "quantidade",
    "apto": "apartamento",
    "depto": "departamento",
    "hab": "habitantes",
    "fig": "figura",
    "figs": "figuras",
    "vol": "volume",
    "vols": "volumes",
    "cód": "código",
    "univ": "universidade",
    "a.c": "antes de Cristo",
    "d.c": "depois de Cristo",
    "s.a": "esse-á",
    "e.u.a": "Estados Unidos",
}
# These also end sentences: their dot stays in front of a capital.
_SENTENCE_ENDS = frozenset({"etc", "ltda", "jr", "ac", "dc", "sa", "eua", "vc", "vcs"})
_ERAS = frozenset({"ac", "dc"})
# In front of a number only, with a dot: elsewhere the letters are words or initials.
_BEFORE_NUMBER = {
    "p": "página",
    "pp": "páginas",
    "pgs": "páginas",
    "n": "número",
    "no": "número",
    "cap": "capítulo",
    "caps": "capítulos",
    "inc": "inciso",
    "par": "parágrafo",
    "tab": "tabela",
    "qd": "quadra",
    "lt": "lote",
    "cj": "conjunto",
    "ed": "edição",
    "v": "volume",
    "fl": "folha",
    "fls": "folhas",
}
# In front of a number, with or without a dot.
_BEFORE_NUMBER_BARE = {
    "pg": "página",
    "pág": "página",
    "art": "artigo",
    "arts": "artigos",
    "ap": "apartamento",
    "apto": "apartamento",
    "bl": "bloco",
    "km": "quilômetro",
    "vol": "volume",
    "fig": "figura",
    "séc": "século",
    "tel": "telefone",
}
# Complete without a dot.
_SHORT = {
    "vc": "você",
    "vcs": "vocês",
    "tb": "também",
    "tbm": "também",
    "pq": "porque",
    "etc": "et cetera",
    "vs": "versus",
    "s/n": "sem número",
    "s/nº": "sem número",
    "s/a": "esse-á",
    "e/ou": "e ou",
    "ltda": "limitada",
}
_PREPOSITIONS = {"c": "com", "s": "sem", "p": "para"}
_CAPITAL = "A-ZÀ-ÖØ-Þ"
_NUMBER_FOLLOWS = r"(?=\s?(?:\d|[IVXLC]+(?!\w)))"
_START = r"(?<![\w.])"


def _cased(written: str, words: str) -> str:
    """The words with the capital that the abbreviation had; one all in capitals (S.A.) gives none."""
    return words[0].upper() + words[1:] if written[0].isupper() and not written[1:].isupper() else words


def _from(table: dict[str, str]) -> Replace:
    return lambda match: _cased(match.group(1), table[match.group(1).lower()])


def _letters(abbreviation: str) -> str:
    return re.sub(r"[.\s]", "", abbreviation.lower())


_DOTTED_BY_LETTERS = {_letters(written): words for written, words in _DOTTED.items()}
# Between the parts of an abbreviation a space may stand or be missing: "a. C.", "p.ex."
_DOTTED_PATTERN = any_of(_DOTTED).replace(r"\.\ ", r"\.").replace(r"\.", r"\.\s?")


def _dotted(match: re.Match[str]) -> str:
    """Drop the dot, unless it ends the sentence, which a text of nothing else is not."""
    key, rest = _letters(match.group(1)), after(match)
    words = _DOTTED_BY_LETTERS[key]
    if key not in _ERAS:
        words = _cased(match.group(1), words)
    ends = (match.start() and not rest.strip()) or (key in _SENTENCE_ENDS and re.match(rf"\s+[{_CAPITAL}]", rest))
    return f"{words}." if ends else words


def _title(match: re.Match[str]) -> str:
    """A title in front of a name; at the end of the text its dot stays ("Obrigado, dr.")."""
    words = _cased(match.group(1), _TITLES[match.group(1).lower()])
    return words if after(match).strip() or not match.start() else f"{words}."


def _dom(match: re.Match[str]) -> str:
    """D. Pedro is Dom, D. Maria is Dona."""
    return "Dona " if is_feminine_noun(match.group(1)) else "Dom "


ABBREVIATIONS: tuple[Rule, ...] = (
    (re.compile(rf"{_START}(n)\.?\s?[º°]s\.?(?!\w)", re.I), lambda m: _cased(m.group(1), "números ")),
    (re.compile(rf"{_START}(n)\.?\s?[º°]\s?\.?", re.I), lambda m: _cased(m.group(1), "número ")),
    (re.compile(rf"{_START}([dn]?os )séc\.", re.I), r"\1séculos"),
    (re.compile(rf"{_START}({any_of(_RAISED)})\.?\s?ª", re.I), _from(_RAISED)),
    (re.compile(rf"{_START}({any_of(_SHORT)})(?![\w./])", re.I), _from(_SHORT)),
    (re.compile(r"(?<![\w/])([csp])/\s?(?=[^\W_])"), lambda m: _PREPOSITIONS[m.group(1)] + " "),
    (re.compile(rf"{_START}({any_of(_BEFORE_NUMBER)})\.{_NUMBER_FOLLOWS}", re.I), _from(_BEFORE_NUMBER)),
    (re.compile(rf"{_START}({any_of(_BEFORE_NUMBER_BARE)})\.?{_NUMBER_FOLLOWS}", re.I), _from(_BEFORE_NUMBER_BARE)),
    (re.compile(rf"{_START}(tel|obs)(?=\s?:)", re.I), _from(_DOTTED)),
    (re.compile(r"§§\s?"), "parágrafos "),
    (re.compile(r"§\s?"), "parágrafo "),
    (re.compile(rf"{_START}({_DOTTED_PATTERN})\.(?!\w)", re.I), _dotted),
    (re.compile(rf"{_START}({any_of(_TITLES)})\.(?!\w)", re.I), _title),
    (re.compile(rf"{_START}((?i:{any_of(_TITLES)}))(?=\s[{_CAPITAL}][^\W\d_]*[a-zà-ÿ])"), _from(_TITLES)),
    (re.compile(rf"{_START}[Dd]\.\s?(?=([{_CAPITAL}][^\W\d_]*[^\W\d_]))"), _dom),
    (
        re.compile(rf"{_START}(?<![{_CAPITAL}]\. )({any_of(_CAPITAL_TITLES)})\.\s?(?=(?:d[aeo]s?\s)?[{_CAPITAL}][^\W\d_]+)"),
        lambda m: _CAPITAL_TITLES[m.group(1)] + " ",
    ),
)
