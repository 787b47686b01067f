"""What one piece of work makes and the next can use."""


class Memo:
    """Values by key, each kept as long as every piece of work in turn asks for it.

    A key is a tuple that begins with a kind; whatever the value depends on follows.
    """

    def __init__(self):
        self._kept, self._asked = {}, set()

    def __call__(self, key, make):
        """Return the value of a key; `make` it where it is not kept."""
        if key not in self._kept:
            self._kept[key] = make()
        self._asked.add(key)
        return self._kept[key]

    def forget_unused(self):
        """End a piece of work: drop what was not asked for since the last."""
        self._kept = {key: value for key, value in self._kept.items() if key in self._asked}
        self._asked = set()

    def forget(self, *kinds):
        """Drop all of some kinds."""
        self._kept = {key: value for key, value in self._kept.items() if key[0] not in kinds}


def make_anew(key, make):
    """Stand in for a `Memo` where there is no other work: make it, keep nothing."""
    return make()
