"""Completion of words in a shell: a script with all names in it, so that a press of TAB starts no Python."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from attnbench.cli.verbs import BENCHES
from attnbench.config import files
from attnbench.config.schema import GROUPS, Config, choices
from attnbench.errors import UserError, unknown

KINDS = ("mechanisms", "backbones", "tasks", "data", "recipes", "experiments")
SHARED = """\
# Completion of attnbench: attnbench completion {shell}
_attnbench_of() {{
  case "$1" in
{cases}
    *) _attnbench_words="$_attnbench_verbs $_attnbench_run_flags $_attnbench_settings" ;;
  esac
}}
{lists}
"""
BASH = """\
_attnbench() {
  local line="${COMP_LINE:0:COMP_POINT}" verb="" lead="" word i
  local cur="${line##* }"
  for word in ${line% *}; do
    case "$word" in attnbench|-*|*=*) ;; *) verb="${verb:-$word}" ;; esac
  done
  _attnbench_of "$verb"
  case "$cur" in *=*,*) lead="${cur%,*},"; cur="${cur%%=*}=${cur##*,}" ;; esac
  COMPREPLY=($(compgen -W "$_attnbench_words" -- "$cur"))
  for i in "${!COMPREPLY[@]}"; do
    [ -n "$lead" ] && COMPREPLY[$i]="$lead${COMPREPLY[$i]#*=}"
    # bash breaks words at '=', so that a reply begins behind it.
    case "$cur" in *=*) COMPREPLY[$i]="${COMPREPLY[$i]#*=}" ;; esac
  done
  case "${COMPREPLY[0]}" in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -F _attnbench attnbench
"""
ZSH = """\
_attnbench() {
  local verb="" word key
  local -a all keys
  for word in "${(@)words[2,CURRENT-1]}"; do
    case "$word" in -*|*=*) ;; *) verb="${verb:-$word}" ;; esac
  done
  _attnbench_of "$verb"
  all=(${=_attnbench_words})
  if [[ "$PREFIX" == *=* ]]; then
    key="${PREFIX%%=*}="
    compset -P '*[=,]'
    compadd -- "${(@)${(@M)all:#$key*}#$key}"
  else
    keys=("${(@u)${(@M)all:#*=*}%%=*}")
    compadd -S '=' -- $keys
    compadd -- "${(@)all:#*=*}"
  fi
}
typeset -f compdef >/dev/null || { autoload -Uz compinit && compinit }
compdef _attnbench attnbench
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH}


def script(shell: str = "", *rest: str) -> str:
    """The script for a shell; raises `UserError` for one that is not known."""
    if rest or not shell:
        raise UserError("completion takes one shell: bash or zsh")
    if shell not in SCRIPTS:
        raise unknown("shell", shell, SCRIPTS)
    from attnbench.cli.parser import VERBS
    from attnbench.sweeping import words

    lists, cases = {"settings": sorted(_settings()), "verbs": list(VERBS)}, []
    for verb in VERBS.values():
        lists[f"{verb.name}_flags"] = ["--help", "--config-dir", *(f for o in verb.options for f in o.flags)]
        cases.append(
            f'    {verb.name}) _attnbench_words="$_attnbench_{verb.name}_flags {_words(verb.name)}" ;;'
        )
    lists["list_kinds"] = [*KINDS, *sorted(words.known())]
    texts = (f"_attnbench_{name}='{' '.join(found)}'" for name, found in lists.items())
    shared = SHARED.format(shell=shell, cases="\n".join(cases), lists="\n".join(texts))
    return shared + SCRIPTS[shell]


def _words(verb: str) -> str:
    own = {
        "list": "$_attnbench_list_kinds",
        "report": "published survey results= difference=",
        "completion": "bash zsh",
    }
    return own.get(verb, " ".join(BENCHES) if verb == "bench" else "$_attnbench_settings")


def _settings() -> Iterator[str]:
    """Every word that can be completed: choices of the groups, settings, and values of closed choices."""
    from attnbench.sweeping import words

    for group in GROUPS:
        found = words.known() if group == "attn" else choices(group)
        yield from (f"{group}={name}" for name in found)
    yield from (f"experiment={name}" for name in files.experiments())
    yield from _paths(Config)


def _paths(kind: Any, prefix: str = "") -> Iterator[str]:
    types = get_type_hints(kind)
    for each in fields(kind):
        path = f"{prefix}{each.name}"
        if is_dataclass(types[each.name]):
            yield from _paths(types[each.name], f"{path}.")
            continue
        closed = ("true", "false") if types[each.name] is bool else each.metadata.get("words", ())
        closed = closed or [str(member) for member in _members(types[each.name])]
        yield from (f"{path}={value}" for value in closed) if closed else (f"{path}=",)


def _members(kind: Any) -> list[Any]:
    from enum import Enum

    return list(kind) if isinstance(kind, type) and issubclass(kind, Enum) and not get_args(kind) else []
