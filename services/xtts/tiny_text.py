"""The small tokenizer of the `tiny` stand-in: byte-pair encoding in the format that coqui's VoiceBpeTokenizer reads."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import BpeTrainer

LANGUAGES = ("pt", "en", "es", "fr", "de", "it", "pl", "tr", "nl", "cs", "hu")
"""Those of XTTS-v2's languages that are written with Latin letters, and so with the stand-in's alphabet."""

VOCABULARY_SIZE = 384
"""Against 6,681 in XTTS-v2: enough for every letter and about two hundred merges."""

_PUNCTUATION = "!'(),-./:;?¡¿…–—“”‘’%&+=*#@°"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßąćęłńśźżğışčďěňřšťůžőűªº"

# Text to find frequent pairs in; what it says does not matter.
_CORPUS = (
    "a voz humana é o instrumento mais antigo que temos para contar histórias",
    "quando o sol nasce atrás da serra os pássaros começam a cantar devagar",
    "hoje à tarde vamos caminhar pela praia e conversar sobre o trabalho",
    "ela não sabia que a estação ficava tão perto da casa onde morava",
    "as crianças brincam na praça enquanto os avós conversam nos bancos",
    "o trem parte às sete horas da manhã e chega pouco depois do almoço",
    "preciso de uma informação sobre a próxima viagem para o nordeste",
    "the human voice is the oldest instrument that we have for telling stories",
    "when the sun rises behind the hills the birds begin to sing slowly",
    "this afternoon we are going to walk along the beach and talk about work",
    "the train leaves at seven in the morning and arrives shortly after noon",
)


def write_vocabulary(path: Path) -> None:
    """Writes a vocab.json with the special tokens of XTTS-v2 ([STOP] is 0, [UNK] 1, [SPACE] 2) and one per language.

    The result is the same on every run.
    """
    tokenizer = Tokenizer(BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    specials = ["[STOP]", "[UNK]", "[SPACE]", "[START]", *(f"[{language}]" for language in LANGUAGES)]
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=specials,
        initial_alphabet=sorted(_PUNCTUATION + _LETTERS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.save(str(path))
