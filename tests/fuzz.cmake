# What reads a stranger's bytes, given bytes that nobody thought of (fuzz/*.cc say what must hold). In the preset
# `fuzz` libFuzzer looks for them: scripts/fuzz. Elsewhere fuzz/replay.cc takes the seeds and mutations of them.
add_custom_target(fuzz)

function(ledger_fuzz name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;SEEDS" ${ARGN})
  add_executable(fuzz_${name} fuzz/${name}.cc fuzz/asserts.cc ${ARG_SOURCES})
  target_link_libraries(fuzz_${name} PRIVATE ledger_warnings doctest::doctest ${ARG_LIBS})
  target_compile_definitions(fuzz_${name} PRIVATE LEDGER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_dependencies(fuzz fuzz_${name})
  if(LEDGER_SANITIZE MATCHES "fuzzer")
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(fuzz_${name} PRIVATE fuzz/replay.cc)
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} fuzz/seeds/${name} ${ARG_SEEDS}
      WORKING_DIRECTORY ${CMAKE_CURRENT_LIST_DIR})
    set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 300)
  endif()
endfunction()

ledger_fuzz(json LIBS ledger_core nlohmann_json::nlohmann_json)
ledger_fuzz(url LIBS ledger_config)
ledger_fuzz(body SOURCES ../proxy/body_key.cc LIBS ledger_net nlohmann_json::nlohmann_json ZLIB::ZLIB)
ledger_fuzz(http SOURCES ../proxy/forwarding.cc LIBS ledger_net)
ledger_fuzz(config LIBS ledger_config)
ledger_fuzz(graphql LIBS ledger_core)
ledger_fuzz(hello LIBS ledger_net)
ledger_fuzz(tunnel LIBS ledger_net)
ledger_fuzz(probe LIBS ledger_proxy nlohmann_json::nlohmann_json)
