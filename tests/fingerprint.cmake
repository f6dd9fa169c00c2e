ledger_test(test_fingerprint
  SOURCES fingerprint_url_test.cc fingerprint_json_test.cc fingerprint_body_test.cc
          fingerprint_hardening_test.cc fingerprint_reads_test.cc fingerprint_identity_test.cc
          fingerprint_vectors_test.cc fingerprint_property_test.cc
  LIBS ledger_core nlohmann_json::nlohmann_json ZLIB::ZLIB)

# The published vectors, computed a second time by the reference in Python.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  add_test(NAME fingerprint_reference
    COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/vectors/fingerprint_v1.py)
else()
  add_test(NAME fingerprint_reference COMMAND ${CMAKE_COMMAND} -E echo "skipped: python3 is not installed")
  set_tests_properties(fingerprint_reference PROPERTIES SKIP_REGULAR_EXPRESSION "skipped:")
endif()
