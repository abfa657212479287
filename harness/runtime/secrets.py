"""Masks passwords, tokens and keys in text before it is shown or stored.

Two kinds of text are masked: text that looks like a secret, and every secret passed to `remember`, because libraries
quote parts of an address in their errors.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, unquote

from harness.escaping import visible
from harness.runtime.secret_names import is_harmless, is_secret_name

MASK = "***"

# The quantifiers are bounded or possessive, so that every search takes linear time.
_NEXT = r"[,;|'\"\[({<=]{1,3}[A-Za-z][\w+.-]{0,20}:/"
_ADDRESS = re.compile(rf"(?<=[\w+.-]):/{{1,2}}(?=[^\s/])((?:(?!{_NEXT})\S)+)")
_RUN = re.compile(r"\S{1,2000}")
_WHOLE_ADDRESS = re.compile(r"(?<![\w+.-])([A-Za-z][\w+.-]*):/{1,2}(?=[^\s/])(.+)", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*$")
_HOST = re.compile(r"(?:localhost|[\w-]+(?:\.[\w-]+)+):[0-9]{1,5}(?![^/?#,;|'\"\])}>\\])")
_ENCODED_LOGIN = re.compile(r"(?i)(?<=%3A%2F%2F)(?:(?!%40)[^\s&/]){1,300}(?=%40)")
_NO_LOGIN = ("sqlite", "file")

_ASSIGNMENT = re.compile(r"(?i)(?<![\w.%-])([\w.%-]+)(?:=|%3D)")
_LITERAL = re.compile(r"\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+'|\{[^}\n]*+\}")
_BARE = re.compile(rf"(?:(?!{_NEXT}|[\])}}>,;.]{{1,3}}(?:[\s\"'&]|$))(?:[^&\s\"'<>]|[\"'](?=\w)))+")
_QUOTED = re.compile(r"(?<![\w.-])([\w.-]++)(?:\\?[\"'])?[ \t]*+[:=][ \t]*+(?=[\"'])")
_LINE = re.compile(r"(?m)^[ \t+-]*+([\w.-]++): +(?=[^\s\"'])(\S++)[ \t]*+$")

_TOKENS = re.compile(
    r"\b(?:(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}|gh[pousr]_\w{30,}|github_pat_\w{22,}|glpat-[\w-]{16,}"
    r"|xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|sk-[\w-]{20,}|hf_\w{30,}|dapi[0-9a-f]{32}|pypi-[\w-]{40,}|npm_\w{36}"
    r"|eyJ[\w-]{8,400}\.[\w-]{1,2000}\.[\w-]+)"
    r"|(?<=-----)BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY(?=-----)|\Z)"
    r"|(?<=[Bb]earer )[\w.~+/=-]{8,}|(?<=[Bb]asic )[A-Za-z0-9+/=]{12,}"
)

_CODE = re.compile(r"diff --git .*\.(?:py|pyi|pyx|ipynb|c|cc|cpp|h|rs|go|js|ts|jl|R)\"?\n")

_known: set[str] = set()

Spans = Iterator[tuple[int, int]]


def masked(text: str) -> str:
    """Return `text` with every password, token and key replaced by `***`."""
    return _masked_line(text) if len(text) < 500 else _masked(text, assignments=True)


def shown(text: object) -> str:
    """Return untrusted text, such as a run's name, as one line of text without secrets or control characters."""
    return visible(masked(str(text)))


def masked_value(name: str, value: object) -> str:
    """Return a value as masked text; all of it is masked if `name` is the name of a secret."""
    text = str(value)
    return MASK if text and is_secret_name(name, in_url=False) and not is_harmless(name, text) else masked(text)


def masked_patch(patch: str) -> str:
    """Mask a patch. In code, only literals are masked: `f(token=token)` must stay as it is."""
    files = re.split(r"(?m)^(?=diff --git )", patch)
    return "".join(_masked(file, assignments=not _CODE.match(file)) for file in files)


def remember(*texts: str) -> None:
    """Remember the secrets in these addresses or arguments, and mask them wherever they appear from now on."""
    for text in texts:
        whole = _WHOLE_ADDRESS.search(text)  # The password may contain spaces.
        logins = _login(whole[1].lower(), whole[2], whole.start(2)) if whole else ()
        spans = [*logins, *_logins(text), *_assigned(text), *_quoted(text)]
        rest = _without(text, spans)
        for start, end in spans:
            secret = text[start:end].strip("\"'")
            _add(secret, rest, parts=not _is_path(secret))


def remember_environment() -> None:
    """Remember the values of environment variables with names of secrets, except paths."""
    for name, value in os.environ.items():
        if name not in ("PWD", "OLDPWD") and is_secret_name(name, in_url=False) and not _is_path(value):
            remember(value)
            _add(value, "")


def forget() -> None:
    """Forget what was remembered."""
    _known.clear()
    _caches_are_stale()


def _is_path(value: str) -> bool:
    """Return True for paths of files or folders that could exist; passwords may also begin with a slash."""
    path = os.path.expanduser(value)  # noqa: PTH111
    folder = os.path.dirname(path)  # noqa: PTH120
    return bool(folder) and (os.path.exists(path) or (folder.strip(os.sep) != "" and os.path.isdir(folder)))  # noqa: PTH110, PTH112


def _add(secret: str, rest: str, *, parts: bool = False) -> None:
    """Remember a secret in all its encodings, except common words and text that the `rest` of its address contains.

    Args:
        secret: The secret.
        rest: The text around it.
        parts: Whether to remember the secret's parts as well; otherwise, some of them would be visible if the address
            were split incorrectly.
    """
    plain = unquote(secret)
    spellings = {secret, plain, quote(plain, safe=""), quote(plain), plain.replace("'", "''"), repr(plain)[1:-1]}
    if parts:
        spellings |= {part for spelling in spellings for part in re.split(r"[/@:#?&;,\s]", spelling)}
    found = {word for word in spellings if _is_distinctive(word) and word not in rest}
    if not found <= _known:
        _known.update(found)
        _caches_are_stale()


def _is_distinctive(word: str) -> bool:
    """Return True unless a secret is so short or common that masking it everywhere would hide other words."""
    is_plain = word.isdigit() or (word.isalpha() and (word.islower() or word.istitle()))
    return len(word) >= (12 if is_plain else 6)


def _caches_are_stale() -> None:
    _masked_line.cache_clear()
    _known_words.cache_clear()


@functools.lru_cache(maxsize=8192)
def _masked_line(text: str) -> str:
    return _masked(text, assignments=True)


@functools.cache
def _known_words() -> re.Pattern[str]:
    words = "|".join(map(re.escape, sorted(_known, key=lambda word: (-len(word), word))))
    return re.compile(f"(?=({words}))")  # A lookahead, because secrets may overlap.


def _masked(text: str, *, assignments: bool) -> str:
    if _known:
        text = _without(text, (found.span(1) for found in _known_words().finditer(text)))
    finders: list[Callable[[str], Spans]] = [_logins, _quoted, _tokens]
    if assignments:
        finders += [_assigned, _lines]
    return _without(text, (span for find in finders for span in find(text)))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Replace spans, which may overlap, with the mask."""
    pieces, last = [""], 0
    for start, end in sorted(spans):
        if start > last or not pieces[-1]:
            pieces += [text[last:start], MASK]
        last = max(last, end)
    return "".join([*pieces, text[last:]])


def _logins(text: str) -> Spans:
    """Yield the spans of passwords and tokens in front of a host name."""
    for found in _ADDRESS.finditer(text):
        scheme = _SCHEME.search(text, max(0, found.start() - 30), found.start())
        run = found[1]
        if "@" not in run and (whole := _RUN.match(text, found.start(1))):
            run = whole[0]  # What looks like the next address is part of the password.
        yield from _login(scheme[0].lower() if scheme else "", run, found.start(1))
    yield from (found.span() for found in _ENCODED_LOGIN.finditer(text))


def _login(scheme: str, rest: str, start: int) -> Spans:
    """Yield the secrets in the login of an address, given its part after the slashes, which begins at `start`.

    A password may contain any character, so it ends at the last @.
    """
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    is_web = scheme in ("http", "https")
    if scheme.split("+")[0] in _NO_LOGIN or rest.startswith("["):
        return
    user, colon, after = rest.partition(":")
    if not colon or set(user) & set("/?#@"):
        if is_web and "@" in authority:
            yield start, start + authority.rindex("@")
        return
    if "@" not in authority and _HOST.match(rest):
        return
    length = after.rfind("@")
    if length < 0:
        return
    secret = len(user) + 1
    if is_web and user and after[:length] in ("", "x-oauth-basic", MASK + ":"):
        yield start, start + len(user)
    yield start + secret, start + secret + length


def _assigned(text: str) -> Spans:
    """Yield the values in `name=value` if the name is that of a secret."""
    position = 0
    while found := _ASSIGNMENT.search(text, position):
        position = found.end()
        if is_secret_name(unquote(found[1]), in_url=True):
            value = _LITERAL.match(text, position) or _BARE.match(text, position)
            if value and not is_harmless(found[1], value[0]):
                yield value.span()
                position = value.end()


def _quoted(text: str) -> Spans:
    """Yield string literals that are assigned to the name of a secret, as in Python and JSON."""
    for found in _QUOTED.finditer(text):
        value = _LITERAL.match(text, found.end())
        if value and len(value[0]) > 2 and is_secret_name(found[1], in_url=False):
            yield value.start() + 1, value.end() - 1


def _lines(text: str) -> Spans:
    """Yield the values of secrets in lines `name: value`, as in YAML and HTTP headers."""
    for found in _LINE.finditer(text):
        if is_secret_name(found[1], in_url=False) and not is_harmless(found[1], found[2]):
            yield found.span(2)


def _tokens(text: str) -> Spans:
    """Yield text in the form of a well-known kind of token or key."""
    return (found.span() for found in _TOKENS.finditer(text))
