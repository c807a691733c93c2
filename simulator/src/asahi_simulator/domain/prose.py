"""Believable English, the same for the same seed."""

from collections.abc import Iterator
from itertools import count, islice

from asahi_simulator.domain.tokens import split

_SENTENCES_PER_PARAGRAPH = 4
_LEAST_TOKENS = 60
_SPREAD_TOKENS = 65

_OPENINGS = (
    "The short answer is that it depends on a few things that are worth writing down first.",
    "There are two parts to this, and it helps to take them one after the other.",
    "In most cases the simplest approach works well, and the reasons are easy to follow.",
    "This is a common question, and a practical answer begins with the goal behind it.",
    "A clear way to think about this is to separate what is known from what is assumed.",
)

# A prime number of sentences, so that every step below that number visits each of them once.
_SENTENCES = (
    "Start with the result that you need and work backwards to the first step.",
    "A small experiment often answers more than a long discussion does.",
    "Write the constraints down, since the tightest one usually decides the design.",
    "Measure before changing anything, and measure again afterwards under the same conditions.",
    "Most of the effort goes into a few cases, so it pays to find those early.",
    "When two options look equal, choose the one that is easier to undo.",
    "Good names make the rest of the work shorter for everyone who reads it later.",
    "The cost of a mistake here is low, which makes a quick trial the sensible choice.",
    "It is worth checking the source of each figure before relying on it.",
    "A table with one row for each case shows quickly where the gaps are.",
    "Keep the interface small and let the details stay behind it.",
    "If the input can be wrong, say early what was expected and what arrived.",
    "Averages hide a lot, so look at the slowest tenth as well.",
    "The usual trade is between speed now and clarity later, and both have a price.",
    "Ask who will maintain the result, because their time is part of the budget.",
    "One careful example is more convincing than several general claims.",
    "Split the problem at the point where the two halves share the least.",
    "A written decision, even a short one, saves the same debate next month.",
    "Where the data is thin, give a range rather than a single number.",
    "The order of the steps matters less than finishing each before the next begins.",
    "Check the edge cases first, because they tend to change the plan.",
    "It helps to agree on what done means before anybody starts.",
    "Reuse what already works, and replace only the part that does not.",
    "Simple rules that people can remember are followed more often than perfect ones.",
    "Compare against doing nothing, which is sometimes the best of the alternatives.",
    "Leave some room in the schedule for the things that nobody has thought of yet.",
    "A second pair of eyes finds the errors that the first has learned to skip.",
    "Automate the step that is repeated most, and leave the rare ones to people.",
    "Look for the assumption that would change the answer if it turned out to be false.",
    "Record what was tried and did not work, since that knowledge is easily lost.",
    "The same question asked a week later should lead to the same answer.",
    "Prefer evidence from your own situation over advice that was written for another.",
    "Begin with the part that carries the most risk while there is still time to adapt.",
    "A clear summary at the top lets busy readers stop after the first lines.",
    "Changes that can be made in small steps are also easier to explain.",
    "Think about the failure before it happens and decide who would notice it.",
    "Limits should be stated openly so that nobody has to discover them by accident.",
    "The simplest test is whether a newcomer could repeat the work from the notes alone.",
    "Quality improves fastest where feedback arrives within minutes.",
    "Once the basics hold, refinements can follow in any convenient order.",
    "Be careful with totals that combine different units or different periods.",
    "Two short meetings with a clear question are better than one without.",
    "Treat the first version as a draft and plan a date to revise it.",
)


class Prose:
    """A bank of sentences, cut into tokens once."""

    def __init__(self) -> None:
        self._openings = [tuple(split(sentence)) for sentence in _OPENINGS]
        self._first = [tuple(split("\n\n" + sentence)) for sentence in _SENTENCES]
        self._next = [tuple(split(" " + sentence)) for sentence in _SENTENCES]

    def answer(self, seed: int) -> list[str]:
        """Tokens of whole sentences, about 60 to 150 of them."""
        enough = _LEAST_TOKENS + seed % _SPREAD_TOKENS
        pieces: list[str] = []
        for sentence in self._sentences(seed):
            pieces += sentence
            if len(pieces) >= enough:
                break
        return pieces

    def exactly(self, seed: int, tokens: int) -> list[str]:
        """The first `tokens` tokens of a text without end."""
        return list(islice(self.endless(seed), tokens))

    def endless(self, seed: int) -> Iterator[str]:
        """Tokens without end."""
        for sentence in self._sentences(seed):
            yield from sentence

    def _sentences(self, seed: int) -> Iterator[tuple[str, ...]]:
        sentences = len(self._next)
        opening, rest = divmod(seed, len(self._openings))
        yield self._openings[rest]
        stride, position = divmod(opening, sentences)
        step = 1 + stride % (sentences - 1)
        for number in count(1):
            bank = self._next if number % _SENTENCES_PER_PARAGRAPH else self._first
            yield bank[position]
            position = (position + step) % sentences
