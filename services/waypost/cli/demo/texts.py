"""What people in the demo write to each other: many different short texts, the same ones for every seed."""

import random

_OPENERS = (
    "Are you still up?",
    "Guess who I met at the market.",
    "The ferry leaves earlier on Sundays.",
    "I finally fixed the bicycle.",
    "Grandma asks when you are coming.",
    "Zug fällt aus, ich nehme den Bus.",
    "¿Llegaste bien a casa?",
    "J'ai gardé une place pour toi.",
    "Не забудь про ключи.",  # noqa: RUF001
    "今晚一起吃饺子吗?",
    "明日の朝、駅で会いましょう。",
    "كيف كان يومك؟",
    "The kitchen smells of cardamom 🌱",
    "Nobody answered the door, so I left the parcel with the neighbour.",
)
_MIDDLES = (
    "I can bring {count} {thing} if you like.",
    "We need {count} {thing} for {place}.",
    "They had {count} {thing} left at {place}, imagine.",
    "Somebody left {count} {thing} near {place}.",
    "It took {count} tries, and then the {thing} at {place} simply worked.",
)
_CLOSERS = (
    "See you at {place}.",
    "Call me when you can, but not before {hour} o'clock.",
    "No hurry.",
    "Don't tell anyone yet!",
    "Bring the long umbrella.",
    "I'll wait at {place} until {hour}.",
    "💛",
)
_THINGS = (
    "oranges",
    "candles",
    "spare keys",
    "tickets",
    "notebooks",
    "batteries",
    "paper lanterns",
    "jars of plums",
)
_PLACES = (
    "the old bridge",
    "the library",
    "platform 4",
    "Lin's café",
    "the harbour",
    "the botanical garden",
    "home",
)


def texts(count: int, seed: int) -> list[str]:
    """`count` different texts of one to a few sentences."""
    chance = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        sentences = [chance.choice(_OPENERS)]
        sentences += chance.sample(_MIDDLES, chance.randint(0, 3))
        sentences.append(chance.choice(_CLOSERS))
        text = " ".join(sentences).format(
            count=chance.randint(2, 40),
            thing=chance.choice(_THINGS),
            place=chance.choice(_PLACES),
            hour=chance.randint(6, 22),
        )
        found[text] = None
    return list(found)
