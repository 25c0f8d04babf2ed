complete --keep-order --exclusive --command rivvend --arguments "(RIVVEN_COMPLETE=fish rivvend -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
