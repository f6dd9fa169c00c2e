ledger_test(test_store
  SOURCES
    store_contract_test.cc
    store_disk_test.cc
    store_faulty_test.cc
    store_open_test.cc
    store_process_test.cc
    store_recall_test.cc
    store_space_test.cc
    store_sqlite_test.cc
  LIBS ledger_store SQLite::SQLite3 Threads::Threads)
