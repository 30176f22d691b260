"""What people answer to a mood, and which emoji they use often: tables, and texts made of them.

``EMOTIONS`` are those of GoEmotions (Demszky et al. 2020, https://arxiv.org/abs/2005.00547), each
with its emoji, the more fitting first; 27, neutral, has none. ``USED`` is counted in that half of
google_emoji_translation.csv (Google, Apache-2.0) on which the weights of ``teacher`` were chosen;
what occurs once, and flags, are left out.
"""

import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from emoji_gpt2.emoji.text import normalize_text
from emoji_gpt2.errors import MissingFileError, UserError

EMOTIONS = {
    "admiration": "🤩👏😍🙌👍🌟💯",
    "amusement": "😂🤣😆😄😹💀",
    "anger": "😡😠🤬😤👿",
    "annoyance": "😒🙄😤😑😠",
    "approval": "👍👌✅💯🙌",
    "caring": "🤗❤️🫂🥰💕💖",
    "confusion": "😕🤔🤨❓🤷",
    "curiosity": "🤔🧐👀❓🤨",
    "desire": "😍🥺🤤🤞🙏",
    "disappointment": "😞😔🙁☹️😕",
    "disapproval": "👎🙅😒❌😠",
    "disgust": "🤢🤮😖🤧😷",
    "embarrassment": "😳🙈😅🫣😬",
    "excitement": "🎉🤩🥳🙌😃🔥",
    "fear": "😨😱😰😧🫣",
    "gratitude": "🙏😊❤️🤗🥰💐",
    "grief": "😢💔😭🕊️😔🙏",
    "joy": "😊😄😁😀🥳🎉",
    "love": "❤️😍🥰💕😘💖",
    "nervousness": "😬😰😟😅😓",
    "optimism": "🤞🙏😊💪🌟🌈",
    "pride": "😎💪🏆🥇🙌",
    "realization": "💡😮🤯😲🤔",
    "relief": "😌😮‍💨😅🙏",
    "remorse": "😔😢🙏😞😥🥺",
    "sadness": "😢😭😔💔😞🥺",
    "surprise": "😮😲😱🤯😯",
}
NEUTRAL = len(EMOTIONS)

USED = {
    7: "✨",
    6: "💖❤️💯😌🙏",
    5: "🤔🔥💪😊☀️🎉😎🤯😩🗣️😴🥳😬🧠☕😠🎶✅💻",
    4: "🤫🤝🤷🤦😋🏃➡️🙄⏳❓🚶🚗😂🫠💥💨👑💡📉👍👀🎮😭🌊📖🏆📚🗓️🥰👋💅🧘🎤😅😳💸💼✍️🌳✈️🎨🛋️",
    3: (
        "😔🙅🌍🏠⏰🚫😍🤩🤗😢📱🥺🤞🧑‍🍳🌱❄️🎧🤥💭🙌🌲🥂🗺️🏡🌌🎬📸🥵😵‍💫😤👉🚀💧🤨💀🤡💬👂👦🍷🍽️🔄"
        "🤪😒🤓😟💔🕳️👪🍳🍫🏖️🌅🖼️📺📝😮😱👻✋💁‍♀️🧍🫂🐶🍿🧂🌧️🧣💰📈"
    ),
    2: (
        "🙃😈👈👏🌸🍁🌶️🍕⛰️🏞️🏙️🎄🎁🧢🏁😇🧐😨🤬🧡👎👶💃🤸🐾🍂🍔🍪🧊🕰️🌙☁️🏅🥇🎭👟💍🎸🔑🚪🧺⚠️"
        "🆕🤣😉🫣😑😵🤠👌🧑‍🦯👣🐦🍎🍞🌮🥗🍝🍰🧭🏛️🌚⛈️☃️🔮🧩🧤🛍️🎓💎🎵🕯️📧🔨🧹☮️😄😘🤐🤒🥶💚💤"
        "🧑‍💼🏋️🛌🧑‍🤝‍🧑🦃🐠🐛🍀🥕🥖🍬🍻🔪🏕️🏰🌈⚡🎒🎻📞📜🔒❌🆘⚫🚩"
    ),
    1: (
        "😃🫢🤕🤢🤧😫🤖💌💙🤙👇☝️🧑‍🌾🕵️🧍‍♀️🐺🐱🐈🐢🐋🦋🌹🌻🌷🌿🍅🥒🧀🍲🍤🍩🎂🍯🍵🥢🚌🛑🌟🌪️🌬️🌀☔"
        "🎃🎟️⚽👖🎼🎺🥁🔦📍🗑️🛠️🛁🛒🛂📵📶😙😜😶😮‍💨😰😖👽🙉💛💜💦🤚🤏🤘🤳🦵👃👁️👄👴🧑‍⚕️🤵🎅"
        "🧍‍♂️🕺👯🧖🧗🏄‍♀️🏊‍♀️👤🐑🐐🐰🦘🕊️🐸🦎🐍🐬🐟🐙🦑🌴🌵🍇🍊🍋🥨🥚🥘🍚🧁🥧🍼🥛🍹🍺🥄🏜️🏝️🏚️🏫💒🚂"
        "🚕🚲⛵🚢🛰️⌚⭐🌠🎀🏀🕹️🎲♟️🃏🕶️👕🧥👗👙🔊📲🔋🔌🎥🎞️🔍🔎🏮📄📰🧾📮🔐🔧⚖️🔬🔭🛏️🧼🔝⚛️♾️"
        "🔢"
    ),
}
"""What people add to texts of any kind: those of k were there 2^k to 2^(k+1) - 1 times."""

FEELINGS = {
    "joy": "happy, glad, cheerful, delighted",
    "love": "in love, so in love",
    "excitement": "excited, thrilled, pumped, hyped",
    "gratitude": "grateful, thankful",
    "pride": "proud, so proud",
    "relief": "relieved, calm again",
    "amusement": "amused, laughing so hard",
    "sadness": "sad, unhappy, down, heartbroken, lonely",
    "disappointment": "disappointed, let down",
    "anger": "angry, furious, mad, so mad",
    "annoyance": "annoyed, fed up, irritated",
    "fear": "scared, afraid, terrified",
    "nervousness": "nervous, anxious, worried, stressed",
    "embarrassment": "embarrassed, ashamed",
    "disgust": "disgusted, grossed out",
    "confusion": "confused, puzzled, lost",
    "surprise": "surprised, shocked, stunned",
}
NOT = {
    "joy": "sadness",
    "excitement": "disappointment",
    "gratitude": "annoyance",
    "pride": "disappointment",
    "relief": "nervousness",
    "amusement": "annoyance",
    "sadness": "joy",
    "anger": "relief",
    "fear": "optimism",
    "nervousness": "relief",
    "surprise": "annoyance",
}
"""What "not" makes of a feeling."""
FRAMES = "i am *; i'm *; i feel *; we are *; she is *; he was *; *; feeling *; so *; i am so *"
NOT_FRAMES = (
    "i am not *; i'm not *; i don't feel *; we are not *; she is not *; not *; not * at all; "
    "not exactly *; hardly *; anything but *; far from *; nobody is *; he never looks *; "
    "i wouldn't call him *; i can't say i am *; she didn't seem *; they weren't *"
)
SAYINGS = {
    "annoyance": "great, another *; oh great, * again; just great, more *; lovely, another *; "
    "oh joy, another *; just what i needed, *; oh perfect, *; fantastic, another *; "
    "wonderful, the * is late again; thanks for nothing, *; how nice, the * is broken again; "
    "what a surprise, no * again; my favorite: hours of waiting for the *; "
    "thanks a lot for ruining my *; nothing better than a broken *; love it when the * fails",
    "disappointment": "not a good *; this * is not good; not the * i hoped for; the * crashed; "
    "i don't like this *; not my favorite *; we lost the *; the * was cancelled; no * today; "
    "i can't say i enjoyed the *; i wouldn't recommend the *; i expected more of the *; "
    "nobody liked my *; this isn't my idea of a *; the * never came",
    "sadness": "i miss my *; nobody came to the *; my * never called back; "
    "no one came to my *; i can't believe the * is over; crying over *",
    "grief": "rip *; rip my *; rest in peace *; rest in peace, dear *; in loving memory of my *; "
    "my * passed away; my * died",
    "joy": "merry *; happy *; finally *; what a lovely *",
    "gratitude": "thank you for the *; thanks for the *; grateful for my *",
    "love": "i love *; i love my *; i really love *; in love with this *",
    "disapproval": "i don't want *; no more *; stop the *; i don't like *",
    "anger": "i hate *; i hate this *; the * makes me so angry",
    "excitement": "can't wait for the *; so excited for *; the * is tomorrow",
    "nervousness": "nervous about the *; worried about my *; so much stress with the *",
    "surprise": "i did not expect the *; wow, what a *",
}
"""Negation, irony, grief and the like: "*" is a thing, or two."""
TWO = 0.4
"""The share of sayings about two things."""


def feelings() -> Iterator[tuple[str, int]]:
    """Yield short texts of a feeling or of its opposite, and the number of the emotion."""
    number = {emotion: i for i, emotion in enumerate(EMOTIONS)}
    for emotion, said in FEELINGS.items():
        for word in said.split(", "):
            for frame in FRAMES.split("; "):
                yield frame.replace("*", word), number[emotion]
            for frame in NOT_FRAMES.split("; ") if emotion in NOT else ():
                yield frame.replace("*", word), number[NOT[emotion]]


def sayings(
    things: Sequence[str], count: int, seed: int
) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Yield texts with a mood about one or two of the things, these, and the emotion's number."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    number = {emotion: i for i, emotion in enumerate(EMOTIONS)}
    for _ in range(count):
        emotion = rng.choice(list(SAYINGS))
        chosen = tuple(rng.sample(things, 1 + (rng.random() < TWO)))
        saying = rng.choice(SAYINGS[emotion].split("; "))
        yield saying.replace("*", " and ".join(chosen)), chosen, number[emotion]


def goemotions(path: Path) -> list[tuple[str, list[int]]]:
    """Return the comments of a file of GoEmotions, normalised, with the numbers of their emotions.

    Raises:
        UserError: the file is missing, or a line is not ``comment<tab>numbers<tab>…``.
    """
    if not path.is_file():
        raise MissingFileError("data.goemotions", repr(str(path)), "GoEmotions' train.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    try:
        return [(normalize_text(row[0]), [int(n) for n in row[1].split(",")]) for row in rows]
    except (IndexError, ValueError) as error:
        wanted = "a comment, a tab and numbers of emotions"
        raise UserError("data.goemotions", repr(str(path)), wanted) from error
