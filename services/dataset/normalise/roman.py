"""Roman numerals after names ("D. Pedro II"), centuries and parts, and before events ("II Guerra Mundial").

The grammar: sovereigns, popes and centuries take ordinals up to the tenth and cardinals beyond; a numeral in front of its
noun is an ordinal; parts of a work are read with cardinals, as people do today ("capítulo quatro").
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from services.dataset.normalise.gender import is_feminine_noun
from services.dataset.normalise.numbers import cardinal, ordinal
from services.dataset.normalise.rules import Rule, word_list

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_LAST_ORDINAL = 10

_KINGS = word_list(
    "adriano afonso akihito alberto aleixo alexandre amenófis amadeu andré balduíno bento bonifácio calisto "
    "carlos casimiro celestino clemente constantino cristiano dario duarte eduardo estêvão eugênio felipe "
    "fernando filipe francisco frederico gregório guilherme gustavo harald haroldo henrique honório humberto "
    "inocêncio ivan jaime joão jorge josé juliano júlio justiniano leão leopoldo ludovico luís luiz manoel manuel "
    "marcelo martinho maximiliano miguel napoleão nicolau otto paulo pedro pio ptolomeu rainier ramsés ricardo "
    "roberto rodolfo sancho sebastião sigismundo silvestre sisto teodósio tutmés urbano vítor xerxes zacarias"
)
_QUEENS = word_list("ana beatriz catarina cleópatra cristina elizabeth elisabete isabel joana leonor margarida maria mary")
_MALE_TITLES = word_list("dom rei papa imperador czar príncipe faraó infante sultão")
_FEMALE_TITLES = word_list("dona rainha imperatriz czarina princesa infanta")
_SUCCESSIVE = word_list("século séculos milênio vaticano artigo inciso canto ato")
_PARTS = word_list(
    "capítulo capítulos volume volumes tomo livro parte cena seção título anexo apêndice fase etapa tipo nível "
    "grupo classe categoria módulo unidade bloco série turma quadro tabela figura item grau escala região guerra "
    "mundial"
)
_EVENTS = word_list(
    "guerra congresso encontro simpósio conferência semana jornada bienal fórum seminário festival prêmio "
    "concurso olimpíada olimpíadas jogos plano batalhão exército cúpula copa feira mostra edição dinastia "
    "república reich império concílio colóquio convenção salão torneio campeonato maratona marcha assembleia "
    "reunião turma região ciclo workshop"
)

# A well-formed numeral; the single letters L, C, D and M are initials or labels ("vitamina C") far more often.
_ROMAN = r"(?=[IVXLCDM])(?![LCDM](?!\w))M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?![\w&])(?!'\w)"
_LIST = rf"{_ROMAN}(?:(?:,|\s(?:e|a|ao|ou)|\s?-)\s?{_ROMAN})*"


def value_of(numeral: str) -> int:
    """The value of a well-formed Roman numeral in capitals."""
    values = [_VALUES[character] for character in numeral]
    return sum(-value if value < following else value for value, following in zip(values, [*values[1:], 0], strict=True))


def _read(numerals: str, ordinals: bool, feminine: bool = False) -> str:
    """Read one numeral, or several with their conjunctions ("XIX e XX", "IV-VI")."""

    def words(match: re.Match[str]) -> str:
        value = value_of(match.group())
        return ordinal(value, feminine) if ordinals and value <= _LAST_ORDINAL else cardinal(value)

    return re.sub(r"(?<!\w)[IVXLCDM]+(?!\w)", words, re.sub(r"\s?-\s?", " a ", numerals))


def _of_titled(match: re.Match[str]) -> str:
    feminine = match.group("title").lower() in _FEMALE_TITLES
    return match.group("before") + _read(match.group("roman"), True, feminine)


def _of_named(match: re.Match[str]) -> str:
    return match.group("before") + _read(match.group("roman"), True, match.group("name").lower() in _QUEENS)


def _of_part(match: re.Match[str]) -> str:
    return match.group("before") + _read(match.group("roman"), match.group("name").lower() in _SUCCESSIVE)


def _before_event(match: re.Match[str]) -> str:
    noun = match.group("noun")
    words = ordinal(
        value_of(match.group("roman")),
        feminine=is_feminine_noun(noun) is True,
        plural=noun.lower() in {"jogos", "olimpíadas"},
    )
    return words.title() if noun[0].isupper() else words


def _alone(match: re.Match[str]) -> str:
    return cardinal(value_of(match.group()))


def _after(names: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?P<before>(?<!\w)(?P<name>(?i:{'|'.join(names)}))\s)(?P<roman>{_LIST})")


_TITLED = rf"(?<!\w)(?P<title>(?i:{'|'.join(_MALE_TITLES + _FEMALE_TITLES)}))(?:\s[^\W\d_]+){{1,2}}\s"

ROMAN_NUMERALS: tuple[Rule, ...] = (
    (re.compile(rf"(?P<before>{_TITLED})(?P<roman>{_LIST})"), _of_titled),
    (_after(_KINGS + _QUEENS), _of_named),
    (_after(_SUCCESSIVE + _PARTS), _of_part),
    (re.compile(rf"(?<![\w.])(?P<roman>{_ROMAN})(?=\s(?P<noun>(?i:{'|'.join(_EVENTS)}))(?!\w))"), _before_event),
    # From two letters of I, V and X on it is no other word, but for "eu VI" (I saw) and chromosomes; from five of all.
    (re.compile(rf"(?<![\w.&'-])(?<!\b[Ee][Uu] )(?!XX{{1,2}}(?!\w))(?=[IVX]{{2}}|[IVXLCDM]{{5}}){_ROMAN}"), _alone),
)
