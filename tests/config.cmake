ledger_test(test_config
  SOURCES config_route_test.cc config_values_test.cc config_loader_test.cc config_errors_test.cc
          config_files_test.cc config_egress_test.cc
  LIBS ledger_config yaml-cpp nlohmann_json::nlohmann_json)
