# shellcheck shell=bash
# Reads this machine's paths: sd-scripts-runtime/configs/env.sh, copied from env.example.sh; without it nothing is set.
# Whoever sources this has set ROOT. What is wrong with the file ends in one line: what it says is of a person's hand.
MACHINE=$ROOT/sd-scripts-runtime/configs/env.sh

refuse_machine() {
  printf 'error: %s: %s\n' "$MACHINE" "$1" >&2
  exit 2
}

read_machine() {
  [[ -e $MACHINE || -L $MACHINE ]] || return 0
  [[ -f $MACHINE && -r $MACHINE ]] || refuse_machine "is no file that can be read; copy env.example.sh there"
  local said
  if grep -q $'\r' "$MACHINE"; then
    refuse_machine "has line ends of Windows; run: sed -i 's/\\r\$//' '$MACHINE'"
  fi
  said=$(bash -n "$MACHINE" 2>&1) || refuse_machine "is no shell script (${said##*"$MACHINE": }); mend it"
  # An `exit` in it, or a command that fails, would end the launch without a word, and an exit with code 0.
  trap 'refuse_machine "ends the launch: an exit, a command that fails or a variable that is not set; mend it"' EXIT
  local RUN_BEFORE=${RUN-} ROOT_BEFORE=$ROOT
  # shellcheck source=/dev/null
  source "$MACHINE" >&2
  trap - EXIT
  set -euo pipefail
  IFS=$' \t\n'
  ROOT=$ROOT_BEFORE
  RUN=$RUN_BEFORE
}

# A ~ in quotes is a letter: everything would be looked for in, and written to, a folder of that name.
# shellcheck disable=SC2088,SC2016
refuse_tilde() {
  local name
  for name in "$@"; do
    if [[ ${!name-} == "~" || ${!name-} == "~/"* ]]; then
      printf 'error: %s=%s: in quotes ~ is no home folder; write %s="$HOME%s"\n' "$name" "${!name}" "$name" \
        "${!name#"~"}" >&2
      exit 2
    fi
  done
}

read_machine
