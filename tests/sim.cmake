# The simulator: the guard's own sources on a clock that is a number (tests/sim/clock comes first in
# the include path). `sim` runs as many seeds as fit; more: tests/sim --seeds N --seconds N.
get_property(guard_sources GLOBAL PROPERTY ledger_guard_sources)
add_library(sim_world STATIC ${guard_sources} sim/auditor.cc sim/clock.cc sim/happenings.cc sim/scenario.cc
            sim/upstream.cc sim/world.cc)
target_include_directories(sim_world BEFORE PUBLIC sim/clock)
target_link_libraries(sim_world PUBLIC ledger_store ledger_config ledger_asio)
add_executable(sim sim/main.cc)
target_link_libraries(sim PRIVATE sim_world ledger_warnings)

set(sim_seconds 60)
if(LEDGER_SANITIZE)
  set(sim_seconds 20)
endif()
add_test(NAME sim COMMAND sim --seeds 100000 --seconds ${sim_seconds})
set_tests_properties(sim PROPERTIES LABELS slow TIMEOUT 300)

ledger_test(test_sim_auditor SOURCES sim_auditor_test.cc sim/auditor.cc)
