ledger_test(test_cli
  SOURCES cli_format_test.cc cli_process_test.cc ../cli/terminal.cc ../cli/rows.cc
  LIBS ledger_admin)
target_compile_definitions(test_cli PRIVATE LEDGER_BINARY="$<TARGET_FILE:ledger>")
add_dependencies(test_cli ledger)
