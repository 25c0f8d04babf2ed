# One candidate a line. No blank follows what is not over: a folder, `key=`, `host:`.
_rivvend() {
    local IFS=$'\n'
    COMPREPLY=($(RIVVEN_COMPLETE=bash RIVVEN_COMPLETE_WORD=$COMP_CWORD rivvend -- "${COMP_WORDS[@]}"))
    if [[ ${COMPREPLY-} == *[=/:] ]]; then
        compopt -o nospace 2> /dev/null
    fi
}
complete -o bashdefault -o nosort -F _rivvend rivvend 2> /dev/null ||
    complete -o bashdefault -F _rivvend rivvend
