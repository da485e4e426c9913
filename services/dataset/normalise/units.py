"""Units of measurement and currencies in Portuguese, with the gender that the number before them takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """How a unit is said.

    Attributes:
        singular: For quantities below two.
        plural: From two on.
        feminine: Whether the noun is feminine.
        bare: Whether the symbol is unmistakable, so that it is read as the unit without a number before it, too.
    """

    singular: str
    plural: str
    feminine: bool = False
    bare: bool = False


@dataclass(frozen=True)
class Currency:
    """How an amount of money is said; a hundredth is a "centavo" of any currency in Brazil.

    Attributes:
        singular: One of it.
        plural: Several of it.
        feminine: Whether the noun is feminine (libra).
    """

    singular: str
    plural: str
    feminine: bool = False


# symbol | singular | plural | m or f | * where the symbol is unmistakable without a number
_UNIT_ROWS = """
mm | milímetro | milímetros | m | *
cm | centímetro | centímetros | m | *
cms | centímetro | centímetros | m |
dm | decímetro | decímetros | m |
m | metro | metros | m |
mts | metro | metros | m |
km | quilômetro | quilômetros | m | *
KM | quilômetro | quilômetros | m |
Km | quilômetro | quilômetros | m |
mm² | milímetro quadrado | milímetros quadrados | m | *
cm² | centímetro quadrado | centímetros quadrados | m | *
m² | metro quadrado | metros quadrados | m | *
km² | quilômetro quadrado | quilômetros quadrados | m | *
cm³ | centímetro cúbico | centímetros cúbicos | m | *
m³ | metro cúbico | metros cúbicos | m | *
km³ | quilômetro cúbico | quilômetros cúbicos | m | *
m/s | metro por segundo | metros por segundo | m | *
m/s² | metro por segundo ao quadrado | metros por segundo ao quadrado | m | *
m³/s | metro cúbico por segundo | metros cúbicos por segundo | m | *
km/h | quilômetro por hora | quilômetros por hora | m | *
KM/H | quilômetro por hora | quilômetros por hora | m |
Km/h | quilômetro por hora | quilômetros por hora | m |
km/s | quilômetro por segundo | quilômetros por segundo | m | *
km/l | quilômetro por litro | quilômetros por litro | m | *
mph | milha por hora | milhas por hora | f |
ha | hectare | hectares | m |
mg | miligrama | miligramas | m | *
mcg | micrograma | microgramas | m |
μg | micrograma | microgramas | m | *
g | grama | gramas | m |
gr | grama | gramas | m |
kg | quilo | quilos | m | *
kgs | quilo | quilos | m |
KG | quilo | quilos | m |
Kg | quilo | quilos | m |
t | tonelada | toneladas | f |
ton | tonelada | toneladas | f |
lb | libra | libras | f |
lbs | libra | libras | f |
oz | onça | onças | f |
g/L | grama por litro | gramas por litro | m | *
mg/dL | miligrama por decilitro | miligramas por decilitro | m | *
g/cm³ | grama por centímetro cúbico | gramas por centímetro cúbico | m | *
kg/m² | quilo por metro quadrado | quilos por metro quadrado | m | *
kg/m³ | quilo por metro cúbico | quilos por metro cúbico | m | *
hab/km² | habitante por quilômetro quadrado | habitantes por quilômetro quadrado | m | *
l | litro | litros | m |
lts | litro | litros | m |
L | litro | litros | m |
ml | mililitro | mililitros | m | *
mL | mililitro | mililitros | m | *
dl | decilitro | decilitros | m |
hl | hectolitro | hectolitros | m |
°C | grau Celsius | graus Celsius | m | *
°F | grau Fahrenheit | graus Fahrenheit | m | *
ms | milissegundo | milissegundos | m |
s | segundo | segundos | m |
seg | segundo | segundos | m |
min | minuto | minutos | m |
h | hora | horas | f |
hs | hora | horas | f |
hr | hora | horas | f |
hrs | hora | horas | f |
bit | bit | bits | m |
kB | quilobyte | quilobytes | m | *
KB | quilobyte | quilobytes | m | *
MB | megabyte | megabytes | m | *
GB | gigabyte | gigabytes | m | *
TB | terabyte | terabytes | m | *
PB | petabyte | petabytes | m |
GiB | gibibyte | gibibytes | m | *
MiB | mebibyte | mebibytes | m | *
Kbps | quilobit por segundo | quilobits por segundo | m | *
kbps | quilobit por segundo | quilobits por segundo | m | *
Mbps | megabit por segundo | megabits por segundo | m | *
Gbps | gigabit por segundo | gigabits por segundo | m | *
Mb/s | megabit por segundo | megabits por segundo | m | *
MB/s | megabyte por segundo | megabytes por segundo | m | *
GB/s | gigabyte por segundo | gigabytes por segundo | m | *
Mb | megabit | megabits | m |
Gb | gigabit | gigabits | m |
Hz | hertz | hertz | m | *
kHz | quilohertz | quilohertz | m | *
MHz | megahertz | megahertz | m | *
GHz | gigahertz | gigahertz | m | *
W | watt | watts | m |
kW | quilowatt | quilowatts | m | *
MW | megawatt | megawatts | m | *
GW | gigawatt | gigawatts | m | *
Wh | watt-hora | watts-hora | m |
kWh | quilowatt-hora | quilowatts-hora | m | *
MWh | megawatt-hora | megawatts-hora | m | *
GWh | gigawatt-hora | gigawatts-hora | m | *
V | volt | volts | m |
mV | milivolt | milivolts | m |
kV | quilovolt | quilovolts | m | *
A | ampere | amperes | m |
mA | miliampere | miliamperes | m |
mAh | miliampere-hora | miliamperes-hora | m | *
Ah | ampere-hora | amperes-hora | m |
Ω | ohm | ohms | m |
N | newton | newtons | m |
J | joule | joules | m |
kJ | quilojoule | quilojoules | m | *
Pa | pascal | pascals | m |
hPa | hectopascal | hectopascals | m | *
kPa | quilopascal | quilopascals | m | *
MPa | megapascal | megapascals | m | *
atm | atmosfera | atmosferas | f |
bar | bar | bars | m |
psi | libra por polegada quadrada | libras por polegada quadrada | f |
mmHg | milímetro de mercúrio | milímetros de mercúrio | m | *
cal | caloria | calorias | f |
kcal | quilocaloria | quilocalorias | f | *
dB | decibel | decibéis | m | *
cv | cavalo | cavalos | m |
hp | cavalo | cavalos | m |
rpm | rotação por minuto | rotações por minuto | f |
bpm | batimento por minuto | batimentos por minuto | m |
fps | quadro por segundo | quadros por segundo | m |
px | pixel | pixels | m |
MP | megapixel | megapixels | m |
dpi | ponto por polegada | pontos por polegada | m |
ppm | parte por milhão | partes por milhão | f |
pol | polegada | polegadas | f |
ft | pé | pés | m |
hab | habitante | habitantes | m |
un | unidade | unidades | f |
mol | mol | mols | m |
kgf | quilograma-força | quilogramas-força | m | *
pp | ponto percentual | pontos percentuais | m |
p.p. | ponto percentual | pontos percentuais | m | *
"""


def _unit(row: str) -> tuple[str, Unit]:
    symbol, singular, plural, gender, bare = (cell.strip() for cell in row.split("|"))
    return symbol, Unit(singular, plural, gender == "f", bare == "*")


UNITS: dict[str, Unit] = dict(_unit(row) for row in _UNIT_ROWS.strip().split("\n"))

_REAL = Currency("real", "reais")
_DOLLAR = Currency("dólar", "dólares")
_EURO = Currency("euro", "euros")
_POUND = Currency("libra", "libras", feminine=True)

# Longer symbols first: "US$" must be tried before "$".
CURRENCIES: dict[str, Currency] = {
    "US$": _DOLLAR,
    "U$": _DOLLAR,
    "CA$": Currency("dólar canadense", "dólares canadenses"),
    "C$": Currency("dólar canadense", "dólares canadenses"),
    "A$": Currency("dólar australiano", "dólares australianos"),
    "AR$": Currency("peso argentino", "pesos argentinos"),
    "R$": _REAL,
    "$": _DOLLAR,
    "BRL": _REAL,
    "USD": _DOLLAR,
    "EUR": _EURO,
    "GBP": _POUND,
    "€": _EURO,
    "£": _POUND,
    "¥": Currency("iene", "ienes"),
    "₿": Currency("bitcoin", "bitcoins"),
    "BTC": Currency("bitcoin", "bitcoins"),
}

# Words and short forms that multiply an amount, with what is said for one and for several.
SCALES: dict[str, tuple[str, str]] = {
    "mil": ("mil", "mil"),
    "k": ("mil", "mil"),
    "mi": ("milhão", "milhões"),
    "mm": ("milhão", "milhões"),
    "milhão": ("milhão", "milhões"),
    "milhões": ("milhão", "milhões"),
    "bi": ("bilhão", "bilhões"),
    "bilhão": ("bilhão", "bilhões"),
    "bilhões": ("bilhão", "bilhões"),
    "tri": ("trilhão", "trilhões"),
    "trilhão": ("trilhão", "trilhões"),
    "trilhões": ("trilhão", "trilhões"),
}
