ledger_test(test_guard SOURCES guard_decide_test.cc guard_problem_test.cc guard_flow_test.cc
            LIBS ledger_guard nlohmann_json::nlohmann_json)
