"""A short YAML text whose aliases stand for ten thousand million values."""


def _level(number: int) -> str:
    return f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n"


MANY_ALIASES = ("a0: &a0 [0]\n" + "".join(map(_level, range(1, 11))) + "handler: *a10\n").encode()
