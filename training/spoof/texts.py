"""What the synthesisers of this pipeline say: things people say on the telephone."""

import numpy as np

_ENGLISH = (
    ("Hello,", "Good morning,", "Yes, hi,", "Good afternoon,", "Thank you for waiting,"),
    (
        "this is {name} and I am calling about",
        "my name is {name}, I would like to ask about",
        "I spoke to {name} yesterday regarding",
        "could you please connect me to {name} about",
        "{name} told me to call you because of",
    ),
    (
        "the invoice that arrived last Tuesday.",
        "a delivery which never reached our house.",
        "my savings account and the new card.",
        "changing the address on my contract.",
        "an appointment on the twenty third of May.",
        "the broken heating in the upper rooms.",
        "a refund for two tickets to Edinburgh.",
    ),
    (
        "The reference number is {digits}.",
        "My customer number reads {digits}, I think.",
        "You can reach me under {digits} after six.",
        "It says {digits} at the top of the page.",
    ),
    (
        "Please let me know what I should do next.",
        "I have tried to fix it online, but the page would not load.",
        "We have been with you for almost eleven years now.",
        "Somebody promised to ring back, which has not happened.",
        "Would it be possible to settle this today?",
    ),
)
_NAMES = ("Walter Hobbs", "Ms Okafor", "Judith Lane", "Mr Petersen", "Amy Zhang", "Dr Boyle")
_DIGITS = ("seven", "four", "nine", "one", "three", "zero", "eight", "two", "five", "six")

OTHER_LANGUAGES = {
    "fr": "Bonjour, je vous appelle au sujet de ma commande. Le colis n'est jamais arrivé et je "
    "voudrais savoir où il se trouve. Pourriez-vous vérifier mon dossier, s'il vous plaît ?",
    "it": "Buongiorno, chiamo per la bolletta del mese scorso. Vorrei cambiare il mio indirizzo e "
    "sapere quando arriva la nuova tessera. La ringrazio molto della sua pazienza.",
    "es": "Buenas tardes, llamo porque no puedo entrar en mi cuenta. Quisiera cambiar la clave y "
    "preguntar por el pago de enero. Muchas gracias por su ayuda.",
    "ru": "Здравствуйте, я звоню по поводу моего заказа. Посылка не пришла, и я хотела бы узнать, "
    "где она сейчас. Проверьте, пожалуйста, мой адрес.",
    "de": "Guten Tag, ich rufe wegen meiner Rechnung an. Der Betrag stimmt leider nicht, und ich "
    "möchte gerne wissen, wann die neue Karte kommt. Vielen Dank für Ihre Mühe.",
    "cs": "Dobrý den, volám kvůli faktuře za minulý měsíc. Chtěl bych změnit adresu a zeptat se, "
    "kdy přijde nová karta. Děkuji vám za pomoc.",
    "ca": "Bon dia, truco per la factura del mes passat. Voldria canviar la meva adreça i "
    "saber quan arriba la targeta nova. Moltes gràcies per la seva ajuda.",
    "fi": "Hyvää päivää, soitan viime kuun laskusta. Haluaisin muuttaa osoitteeni ja kysyä, "
    "milloin uusi kortti tulee. Kiitos paljon avusta.",
}


def english(rng: np.random.Generator) -> str:
    """Some 8 to 12 s of English, drawn by chance."""
    name = str(rng.choice(_NAMES))
    digits = " ".join(rng.choice(_DIGITS, 6))
    parts = [str(rng.choice(part)) for part in _ENGLISH]
    return " ".join(parts).format(name=name, digits=digits)
