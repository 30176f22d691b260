"""The teacher: sentence encoders and the lexical matcher together rank all untoned emoji.

    encode = Encoders(["all-MiniLM-L6-v2", "all-mpnet-base-v2"], cache_dir)
    teacher = Teacher(encode, descriptions, maker)
    teacher.scores(encode(["i love pizza"]), [teacher.known_words("i love pizza")])   # [1, E]

A text's score for an emoji is (the cosine to the mean of its name's and keywords' vectors, plus
LARGEST times the largest cosine to one of them) / TEMPERATURE, plus LEXICAL times what the text's
words say by ``PhraseMaker.evidence``, plus USE for each doubling of how often people use it
(``mood.USED``). A cosine is the mean over the encoders.

Several emoji: ``sequences`` goes on to things of the text that no emoji so far stands for. The
numbers were chosen on half of google_emoji_translation.csv; figures of the other half, and of
other choices, are in ``tests/benchmarks/results``.

Shapes: B texts, E untoned emoji, D the width of the encoders' vectors together, W things of a text,
K emoji of an answer, V = 1 + E: end of text, then the emoji.
"""

import numpy as np
import torch
from torch import Tensor

from emoji_gpt2.data.synthetic import PhraseMaker
from emoji_gpt2.distill.encoders import Encoders
from emoji_gpt2.distill.mood import EMOTIONS, USED
from emoji_gpt2.emoji.table import EmojiTable
from emoji_gpt2.emoji.text import words
from emoji_gpt2.model.export import MAX_NEW_TOKENS

TEMPERATURE, LARGEST, LEXICAL, USE = 0.05, 0.3, 0.2, 0.6
COVER, COVERED = 0.4, 0.4
"""The weight of a thing's cosine above what an emoji so far, or anything, has: COVERED."""
NAMED = 0.5
"""An emoji of such a cosine to a word names it: the word counts as a thing to say."""
EARLIER = 0.8
"""Each thing counts so much of the one before: answers are in the order of mention."""
ALIKE, SAME = 0.1, 0.95
"""The weight of being like an emoji so far; above a cosine of SAME it would be a repetition."""
ENOUGH, STEEP = 0.03, 3.0
"""An answer ends where no emoji is likelier than ENOUGH."""
MAX_ANSWER = MAX_NEW_TOKENS
UNFITTING, NEVER = -20.0, -1e4


class Teacher:
    """Scores of all untoned emoji for a text, and answers of several.

    Args:
        encode: Gives the vectors of texts.
        descriptions: The name and keywords of each emoji, as ``texts.descriptions`` gives.
        maker: Over the same emoji; says what words speak for which.
    """

    def __init__(self, encode: Encoders, descriptions: list[list[str]], maker: PhraseMaker) -> None:
        self.unit = encode.unit
        flat = sorted({text for group in descriptions for text in group})
        place = {text: i for i, text in enumerate(flat)}
        self._flat_FD = torch.from_numpy(encode(flat)).float()
        groups = [[place[text] for text in group] for group in descriptions]
        self._flat = torch.tensor([i for group in groups for i in group])
        self._owner = torch.tensor([e for e, group in enumerate(groups) for _ in group])
        self.emoji_ED = encode.unit(torch.stack([self._flat_FD[g].mean(0) for g in groups]))
        self._alike_EE = self.emoji_ED @ self.emoji_ED.T
        self.evidence = {word: i for i, word in enumerate(maker.evidence)}
        self._evidence_WE = torch.from_numpy(np.stack(list(maker.evidence.values()))).float()
        table = EmojiTable.builtin()
        number = {emoji: i for i, emoji in enumerate(maker.emoji)}
        self.use_E = torch.zeros(len(number))
        for doublings, emoji in USED.items():
            found = [number[one] for one in table.split(emoji) if one in number]
            self.use_E[found] = USE * (1 + doublings)
        self._emotion_ME = torch.full((len(EMOTIONS), len(number)), UNFITTING)
        for row, emoji in enumerate(EMOTIONS.values()):
            found = [number[one] for one in table.split(emoji) if one in number]
            self._emotion_ME[row, found] = -torch.arange(1.0, len(found) + 1).log()
        self._emotion_ME = self._emotion_ME.softmax(1)

    def known_words(self, text: str) -> list[int]:
        """Return the numbers of the words that speak for some emoji."""
        return [self.evidence[word] for word in dict.fromkeys(words(text)) if word in self.evidence]

    def scores(self, vectors_BD: Tensor, known: list[list[int]]) -> Tensor:
        """Return the score of each emoji in nats, up to a constant, ``[B, E]``.

        Args:
            vectors_BD: Of the texts.
            known: ``known_words`` of each text.
        """
        offsets = np.cumsum([0, *map(len, known)])[:-1]
        numbers = [number for group in known for number in group]
        lexical_BE = torch.nn.functional.embedding_bag(
            torch.tensor(numbers, dtype=torch.long),
            self._evidence_WE,
            torch.from_numpy(offsets).long(),
            mode="sum",
        )
        cosine_BE = vectors_BD @ self.emoji_ED.T
        each_BF = (vectors_BD @ self._flat_FD.T)[:, self._flat]
        owner_BF = self._owner.expand(len(each_BF), -1)
        largest_BE = torch.full_like(cosine_BE, -1.0).scatter_reduce(1, owner_BF, each_BF, "amax")
        meaning_BE = (cosine_BE + LARGEST * largest_BE) / TEMPERATURE
        return meaning_BE + LEXICAL * lexical_BE + self.use_E

    def with_mood(self, scores_BE: Tensor, emotions: list[list[int]], shares_B: Tensor) -> Tensor:
        """Return the scores of a mixture with the emoji of the texts' emotions.

        Args:
            scores_BE: From ``scores``.
            emotions: The numbers of each text's emotions.
            shares_B: How much of the probability they get; 0 where there are none.
        """
        moods_BE = torch.zeros_like(scores_BE)
        for row, numbers in enumerate(emotions):
            if numbers:
                moods_BE[row] = self._emotion_ME[numbers].mean(0)
        shares_B1 = shares_B.unsqueeze(1)
        return (
            ((1 - shares_B1) * scores_BE.softmax(1) + shares_B1 * moods_BE).clamp(min=1e-12).log()
        )

    def sequences(
        self, scores_BE: Tensor, things_BWE: Tensor, most_B: Tensor, *, greedy: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return answers of up to ``MAX_ANSWER`` emoji and the targets at each of their places.

        Args:
            scores_BE: Of the whole texts.
            things_BWE: The cosine of each thing of a text to each emoji; -1 as filler.
            most_B: How many emoji each answer has at most.
            greedy: Take the likeliest emoji instead of drawing.

        Returns:
            The candidate drawn at each place, 0 once the text has ended, ``[B, K + 1]``, and how
            likely each candidate should be there, ``[B, K + 1, V]``.
        """
        scores_BE, rows = scores_BE.clone(), torch.arange(len(scores_BE))
        n_things = things_BWE.shape[1]
        weights_W1 = COVER / TEMPERATURE * EARLIER ** torch.arange(n_things).clamp(max=3)[:, None]
        covered_BW1 = torch.full((*things_BWE.shape[:2], 1), COVERED)
        answers, targets = [], []
        ended_B = torch.zeros(len(rows), dtype=torch.bool)
        for place in range(MAX_ANSWER + 1):
            gain_BE = (weights_W1 * (things_BWE - covered_BW1).relu()).sum(1)
            probs_BE = (scores_BE + gain_BE).softmax(1)
            best_B = probs_BE.max(1).values
            odds_B = best_B * (ENOUGH / best_B) ** STEEP if place else torch.zeros(len(rows))
            end_B = torch.where(most_B <= place, 1.0, odds_B / (1 + odds_B))
            targets.append(torch.cat([end_B[:, None], (1 - end_B)[:, None] * probs_BE], 1))
            ended_B = ended_B | (most_B <= place) | ((best_B < ENOUGH) & (place > 0))
            # Squared, since a model that takes the likeliest emoji goes on from likely ones.
            drawn_B = probs_BE.argmax(1) if greedy else probs_BE.square().multinomial(1)[:, 0]
            answers.append(torch.where(ended_B, 0, drawn_B + 1))
            alike_BE = self._alike_EE[drawn_B]
            scores_BE -= ALIKE / TEMPERATURE * (alike_BE - COVERED).relu()
            scores_BE[alike_BE > SAME] = NEVER
            scores_BE[rows, drawn_B] = NEVER
            drawn_BW1 = things_BWE[rows, :, drawn_B].unsqueeze(2)
            covered_BW1 = torch.maximum(covered_BW1, drawn_BW1)
        return torch.stack(answers, 1), torch.stack(targets, 1)
