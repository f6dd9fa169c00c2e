ledger_test(test_admin
  SOURCES admin_bodies_test.cc admin_explain_test.cc admin_json_test.cc admin_operate_test.cc
          admin_server_test.cc
  LIBS ledger_admin nlohmann_json::nlohmann_json)
