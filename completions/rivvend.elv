set edit:completion:arg-completer[rivvend] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) RIVVEN_COMPLETE="elvish" rivvend -- $@words) | to-lines
}
