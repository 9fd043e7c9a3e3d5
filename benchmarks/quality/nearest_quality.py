"""Search of the quality whose score is nearest to another format's score."""

from collections.abc import Callable

POINTS_PER_QUALITY = 0.5


def nearest(aim: float, scores: dict[int, float], measure: Callable[[int], float], guess: int) -> int:
    """Find the quality with the score nearest to `aim`, from a guess on. `scores` keeps the measured ones.

    Of equal scores, the lowest quality counts: AVIF has fewer real steps than numbers.
    """
    while True:
        if guess not in scores:
            scores[guess] = measure(guess)
        low = max((each for each in scores if scores[each] < aim), default=None)
        high = min((each for each in scores if scores[each] >= aim), default=None)
        if low is None or high is None:
            known = guess if low is None else low
            step = max(2, round(abs(aim - scores[known]) / POINTS_PER_QUALITY) + 1)
            guess = max(1, known - step) if low is None else min(100, known + step)
            if guess in scores:
                return guess
        elif high - low <= 1:
            return min((low, high), key=lambda each: (abs(scores[each] - aim), each))
        else:
            guess = round(low + (high - low) * (aim - scores[low]) / (scores[high] - scores[low]))
            guess = min(high - 1, max(low + 1, guess))
